//! What a lineage says to people: each kind of deviation once, with the places where it was found.

use super::claims::listed;
use super::map::{Cell, Lineage, Relation};
use crate::problem::{Problems, problem, quoted};

type Sentence = fn(&Cell, usize) -> (String, String);

/// The weights were not compared.
pub(super) fn base_absent(why: &str, notes: &mut Problems) {
    let why = quoted(why);
    notes.push(problem(
        "lineage-base-absent",
        "base",
        (
            format!("the weights were not compared with the base model's, which are not at hand here ({why})"),
            format!("기준 모델의 가중치가 여기에 없어 비교하지 못했습니다 ({why})"),
        ),
        (
            "Nothing has to be done; an organizer can put the base's safetensors beside its config.json.",
            "할 일은 없습니다. 운영진이 기준 모델의 safetensors를 config.json 옆에 두면 비교합니다.",
        ),
    ));
}

/// Everything: what speaks against the base, and what is only worth knowing.
pub(super) fn all(lineage: &Lineage, against: &mut Problems, notes: &mut Problems) {
    placement(lineage, against, notes);
    if !lineage.norms.is_empty() {
        let (n, first) = (lineage.norms.len(), quoted(&lineage.norms[0]));
        against.push(problem(
            "lineage-norms-changed",
            first.clone(),
            (
                format!("{n} norms are not the base's, the first is {first}; no compression changes a norm"),
                format!("기준 모델과 다른 norm이 {n}개 있습니다 (처음: {first}). 압축은 norm을 바꾸지 않습니다"),
            ),
            KEEP,
        ));
    }
    for (relation, code, sentence) in AGAINST {
        let found: Vec<(String, &Cell)> = lineage.cells().filter(|(_, cell)| cell.relation == *relation).collect();
        let Some((_, worst)) = found
            .iter()
            .max_by(|a, b| a.1.error.unwrap_or(0.0).total_cmp(&b.1.error.unwrap_or(0.0)))
        else {
            continue;
        };
        let (en, ko) = sentence(worst, found.len());
        let places = listed(found.iter().map(|(place, _)| place.as_str()));
        against.push(problem(
            code,
            places.clone(),
            (format!("{en} ({places})"), format!("{ko} ({places})")),
            KEEP,
        ));
    }
    removed(lineage, notes);
}

const KEEP: (&str, &str) = (
    "Quantize the base model's own weights. Training, merging and editing are not compression; ask the organizers if they allow them.",
    "기준 모델의 가중치를 그대로 양자화하세요. 학습, 병합, 편집은 압축이 아닙니다. 허용 여부는 운영진에게 물어보세요.",
);

const AGAINST: &[(Relation, &str, Sentence)] = &[
    (Relation::Changed, "lineage-weights-changed", |worst, n| {
        let (error, band) = (worst.error.unwrap_or(0.0), worst.band.unwrap_or(0.0));
        let scales = worst
            .scales
            .map(|s| format!("; {:.1}% of its scales are the base's", 100.0 * s))
            .unwrap_or_default();
        let same = worst
            .scales
            .map(|s| format!(", scale의 {:.1}%만 기준과 같음", 100.0 * s))
            .unwrap_or_default();
        (
            format!(
                "{n} matrices are close to the base's and not made from them: at most {error:.4} from it where {band:.4} is explained{scales}"
            ),
            format!(
                "기준 모델과 비슷하지만 그것으로 만든 것이 아닌 행렬이 {n}개 있습니다: 상대 오차 최대 {error:.4}, 설명되는 범위 {band:.4}{same}"
            ),
        )
    }),
    (Relation::Rescaled, "lineage-scales-differ", |worst, n| {
        let factor = worst.factor.unwrap_or(1.0);
        (
            format!("in {n} matrices every scale is the base's times {factor:.6}"),
            format!("행렬 {n}개의 모든 scale이 기준 모델의 {factor:.6}배입니다"),
        )
    }),
    (Relation::Replaced, "lineage-weights-replaced", |worst, n| {
        let error = worst.error.unwrap_or(0.0);
        let en = worst
            .from
            .map(|l| format!("; they are those of the base's layer {l}"))
            .unwrap_or_default();
        let ko = worst
            .from
            .map(|l| format!(". 기준 모델 {l}번 층의 것입니다"))
            .unwrap_or_default();
        (
            format!("{n} matrices are not the base's: relative error up to {error:.3}{en}"),
            format!("기준 모델의 것이 아닌 행렬이 {n}개 있습니다: 상대 오차 최대 {error:.3}{ko}"),
        )
    }),
    (Relation::Pruned, "lineage-weights-pruned", |worst, n| {
        let zeros = 100.0 * worst.zeros.unwrap_or(0.0);
        (
            format!("{n} matrices have weights set to zero, up to {zeros:.1}% of them"),
            format!("가중치 일부를 0으로 만든 행렬이 {n}개 있습니다 (최대 {zeros:.1}%)"),
        )
    }),
    (Relation::Resized, "lineage-resized", |_, n| {
        (
            format!("{n} matrices have another shape than the base's and are no selection of its rows"),
            format!("기준 모델과 모양이 다르고 그 행을 골라낸 것도 아닌 행렬이 {n}개 있습니다"),
        )
    }),
    (Relation::Unplaced, "lineage-layer-unknown", |_, n| {
        (
            format!("{n} matrices belong to layers that are none of the base's"),
            format!("기준 모델의 어느 층도 아닌 층의 행렬이 {n}개 있습니다"),
        )
    }),
];

/// Layers that moved, appear twice, or are gone.
fn placement(lineage: &Lineage, against: &mut Problems, notes: &mut Problems) {
    let mut last = None;
    let mut moved = Vec::new();
    for row in &lineage.rows {
        let Some(base) = row.base else { continue };
        if last.is_some_and(|last| base <= last) || (lineage.rows.len() == lineage.base_layers && base != row.layer) {
            moved.push((row.layer, base));
        }
        last = last.max(Some(base));
    }
    if let Some((layer, base)) = moved.first() {
        let list = moved
            .iter()
            .take(8)
            .map(|(layer, base)| format!("{layer} ← {base}"))
            .collect::<Vec<_>>()
            .join(", ");
        against.push(problem(
            "lineage-layers-moved",
            format!("layer {layer}"),
            (
                format!("layers are not in the base's order: layer {layer} is the base's layer {base} ({list})"),
                format!("층의 순서가 기준 모델과 다릅니다: {layer}번 층은 기준 모델의 {base}번 층입니다 ({list})"),
            ),
            ("Keep the base's order of layers.", "기준 모델의 층 순서를 지키세요."),
        ));
    }
    let kept: Vec<usize> = lineage.rows.iter().filter_map(|row| row.base).collect();
    let gone: Vec<String> = (0..lineage.base_layers)
        .filter(|l| !kept.contains(l))
        .map(|l| l.to_string())
        .collect();
    if !gone.is_empty() && kept.len() == lineage.rows.len() {
        let list = gone.join(", ");
        notes.push(problem(
            "lineage-layers-dropped",
            format!("{} of {} layers", kept.len(), lineage.base_layers),
            (
                format!("the base's layers {list} were dropped"),
                format!("기준 모델의 {list}번 층이 빠졌습니다"),
            ),
            (
                "Nothing has to be done if that is intended.",
                "의도한 것이라면 할 일은 없습니다.",
            ),
        ));
    }
}

/// Heads and units of the MLP that are gone.
fn removed(lineage: &Lineage, notes: &mut Problems) {
    for (column, code, en, ko) in [
        ("q", "lineage-heads-pruned", "query rows", "쿼리 행"),
        ("gate", "lineage-mlp-pruned", "units of the MLP", "MLP 유닛"),
    ] {
        let Some(at) = lineage.columns.iter().position(|c| c == column) else {
            continue;
        };
        let kept = |row: &super::map::LineageRow| row.cells.get(at).and_then(|cell| cell.kept);
        let cut: Vec<_> = lineage
            .rows
            .iter()
            .filter_map(|row| Some((row.layer, kept(row)?)))
            .collect();
        if let Some((layer, [kept, of])) = cut.first() {
            let n = cut.len();
            notes.push(problem(
                code,
                format!("layer {layer}"),
                (
                    format!("{kept} of {of} {en} were kept in {n} layers; the kept ones were compared with the base's"),
                    format!(
                        "{n}개 층에서 {ko} {of}개 가운데 {kept}개가 남았습니다. 남은 것을 기준 모델과 비교했습니다"
                    ),
                ),
                (
                    "Nothing has to be done if that is intended.",
                    "의도한 것이라면 할 일은 없습니다.",
                ),
            ));
        }
    }
}
