//! `layer_types`, `sliding_window`, `sliding_window_pattern`: which layers slide, and the cases where loaders disagree.

use serde_json::Value;

use super::LayerType;
use super::fields::{Fields, bounds};

/// The window used when `sliding_window` is absent (not when it is null): transformers' default for Exaone4.
const DEFAULT_WINDOW: usize = 4096;
/// The pattern used when `sliding_window_pattern` is absent.
const DEFAULT_PATTERN: usize = 4;

/// The window (iff a layer slides) and one type a layer.
pub(super) fn read(fields: &mut Fields, layers: usize) -> Option<(Option<usize>, Vec<LayerType>)> {
    let window = match fields.map.get("sliding_window") {
        None => Some(DEFAULT_WINDOW),
        Some(Value::Null) => None,
        Some(_) => Some(fields.optional_count(&["sliding_window"], 1, bounds::POSITIONS)?),
    };
    let types = match fields.get(&["layer_types"]) {
        Some((_, value)) => listed(fields, value, layers)?,
        None => derived(fields, window, layers)?,
    };
    let slides = types.contains(&LayerType::Sliding);
    match (window, slides) {
        (None, true) => {
            fields.reject(
                "config-sliding-without-window",
                "sliding_window",
                (
                    "layer_types has sliding_attention layers but sliding_window is null".to_owned(),
                    "layer_types에 sliding_attention 층이 있는데 sliding_window가 null입니다".to_owned(),
                ),
                (
                    "Set sliding_window to the window's length.",
                    "sliding_window에 창의 길이를 적어 주세요.",
                ),
            );
            None
        }
        (Some(_), false) => {
            fields.reject(
                "config-window-without-sliding",
                "sliding_window",
                (
                    "a sliding window is set (or left to its default, 4096) but no layer slides: transformers then applies RoPE \
                     nowhere and vLLM everywhere"
                        .to_owned(),
                    "sliding_window가 설정되어 있는데(생략하면 4096) 슬라이딩 층이 없습니다. 이 경우 transformers는 RoPE를 전혀 쓰지 않고 \
                     vLLM은 모든 층에 씁니다"
                        .to_owned(),
                ),
                ("Write \"sliding_window\": null.", "\"sliding_window\": null로 적어 주세요."),
            );
            None
        }
        _ => Some((window, types)),
    }
}

fn listed(fields: &mut Fields, value: &Value, layers: usize) -> Option<Vec<LayerType>> {
    let types: Option<Vec<LayerType>> = value.as_array().and_then(|items| {
        items
            .iter()
            .map(|item| match item.as_str() {
                Some("full_attention") => Some(LayerType::Full),
                Some("sliding_attention") => Some(LayerType::Sliding),
                _ => None,
            })
            .collect()
    });
    let Some(types) = types else {
        fields.out_of_range(
            "layer_types",
            value,
            "[full_attention | sliding_attention, …]".to_owned(),
        );
        return None;
    };
    if types.len() != layers {
        let have = types.len();
        fields.reject(
            "config-layer-types-length",
            "layer_types",
            (
                format!("layer_types has {have} entries and num_hidden_layers is {layers}"),
                format!("layer_types는 {have}개인데 num_hidden_layers는 {layers}입니다"),
            ),
            (
                "After dropping layers, drop the same entries of layer_types.",
                "층을 줄였다면 layer_types에서도 같은 항목을 지워 주세요.",
            ),
        );
        return None;
    }
    Some(types)
}

fn derived(fields: &mut Fields, window: Option<usize>, layers: usize) -> Option<Vec<LayerType>> {
    if window.is_none() {
        fields.reject(
            "config-layer-types-missing",
            "layer_types",
            (
                "layer_types is missing while sliding_window is null; transformers cannot load that".to_owned(),
                "sliding_window가 null인데 layer_types가 없습니다. transformers가 읽지 못합니다".to_owned(),
            ),
            (
                "List one \"full_attention\" for each layer.",
                "층마다 \"full_attention\"을 하나씩 적어 주세요.",
            ),
        );
        return None;
    }
    let full = |layer: usize, pattern: usize| (layer + 1).is_multiple_of(pattern);
    let kind = |is_full: bool| if is_full { LayerType::Full } else { LayerType::Sliding };
    match fields.map.get("sliding_window_pattern") {
        None => Some((0..layers).map(|i| kind(full(i, DEFAULT_PATTERN))).collect()),
        // "LLLG": local and global layers, repeated
        Some(Value::String(letters))
            if (1..=64).contains(&letters.len()) && letters.bytes().all(|b| matches!(b, b'L' | b'G')) =>
        {
            let letters = letters.as_bytes();
            Some((0..layers).map(|i| kind(letters[i % letters.len()] == b'G')).collect())
        }
        Some(value) => match value.as_u64() {
            Some(pattern @ 1..=bounds::LAYERS) => Some((0..layers).map(|i| kind(full(i, pattern as usize))).collect()),
            _ => {
                fields.out_of_range("sliding_window_pattern", value, "1–256 | \"LLLG\"".to_owned());
                None
            }
        },
    }
}
