//! The verdict on a model of 1.2 billion parameters, from its header of 750 tensors.

use std::time::Instant;

use anyhow::ensure;
use assay_e2e::person::Person;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::Line;
use crate::server::{Server, config};

const HIDDEN: u64 = 2048;
const MLP: u64 = 4096;
const KEYS: u64 = 512;
const GROUP: u64 = 128;
const GOAL_MS: f64 = 50.0;

/// The header of EXAONE-4.0-1.2B in GPTQ W4A16, and the length of the file.
fn header() -> (Vec<u8>, u64) {
    let mut tensors = Map::new();
    let mut at = 0;
    let mut add = |name: String, dtype: &str, shape: &[u64]| {
        let size: u64 = shape.iter().product::<u64>()
            * match dtype {
                "BF16" => 2,
                "I32" => 4,
                _ => 8,
            };
        tensors.insert(
            name,
            json!({ "dtype": dtype, "shape": shape, "data_offsets": [at, at + size] }),
        );
        at += size;
    };
    for layer in 0..30 {
        let layer = format!("model.layers.{layer}");
        for (name, rows, columns) in [
            ("mlp.down_proj", HIDDEN, MLP),
            ("mlp.gate_proj", MLP, HIDDEN),
            ("mlp.up_proj", MLP, HIDDEN),
            ("self_attn.k_proj", KEYS, HIDDEN),
            ("self_attn.o_proj", HIDDEN, HIDDEN),
            ("self_attn.q_proj", HIDDEN, HIDDEN),
            ("self_attn.v_proj", KEYS, HIDDEN),
        ] {
            add(format!("{layer}.{name}.weight_packed"), "I32", &[rows, columns / 8]);
            add(format!("{layer}.{name}.weight_scale"), "BF16", &[rows, columns / GROUP]);
            add(format!("{layer}.{name}.weight_shape"), "I64", &[2]);
        }
        for name in ["post_attention_layernorm", "post_feedforward_layernorm"] {
            add(format!("{layer}.{name}.weight"), "BF16", &[HIDDEN]);
        }
        for name in ["k_norm", "q_norm"] {
            add(format!("{layer}.self_attn.{name}.weight"), "BF16", &[64]);
        }
    }
    add("model.embed_tokens.weight".to_owned(), "BF16", &[102_400, HIDDEN]);
    add("model.norm.weight".to_owned(), "BF16", &[HIDDEN]);
    let mut text = Value::Object(tensors).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.extend(text);
    let length = header.len() as u64 + at;
    (header, length)
}

pub async fn measure(server: &Server) -> anyhow::Result<Line> {
    let (header, length) = header();
    let config = serde_json::to_vec_pretty(&config("w4a16-gptq")?)?;
    let question = json!({ "files": [
        { "name": "config.json", "bytes": config.len(), "text_base64": STANDARD.encode(&config) },
        { "name": "model.safetensors", "bytes": length, "header_base64": STANDARD.encode(&header) },
    ] });
    let mut person = Person::in_a_team(&server.address, "precheck").await?;
    let mut took = Vec::new();
    let mut verdict = Value::Null;
    for _ in 0..25 {
        let request = person
            .script(reqwest::Method::POST, "/api/v1/precheck")
            .await?
            .json(&question);
        let began = Instant::now();
        let answer = request.send().await?;
        ensure!(answer.status() == 200, "precheck answered {}", answer.status());
        let body = answer.bytes().await?;
        took.push(1e3 * began.elapsed().as_secs_f64());
        verdict = serde_json::from_slice(&body)?;
    }
    // The first ones read the base model.
    let mut warm = took.split_off(5);
    warm.sort_by(f64::total_cmp);
    let (median, worst) = (warm[warm.len() / 2], warm[warm.len() - 1]);
    println!(
        "precheck of {length} bytes, header of {}: {}, {:.1} ms at first, {median:.1} ms in the middle, {worst:.1} ms at worst; {}",
        header.len(),
        verdict["verdict"],
        took[0],
        verdict["problems"].to_string().chars().take(300).collect::<String>()
    );
    Ok(Line {
        what: "precheck of a 1.2B header",
        figure: format!("{median:.1} ms"),
        floor: format!("{GOAL_MS} ms"),
        ratio: format!("{:.0} %", 100.0 * median / GOAL_MS),
        goal: "< 50 ms, request to answer",
        met: median < GOAL_MS,
    })
}
