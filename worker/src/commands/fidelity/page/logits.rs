//! Logits beside golden ones, and beside those of `reference`.

use std::fmt::Write;

use super::{percent, small};
use crate::commands::fidelity::against::AgainstRow;
use crate::commands::fidelity::compare::{LogitRow, Note};

pub fn render(rows: &[LogitRow], out: &mut String) {
    out.push_str(LOGITS);
    out.push_str("| checkpoint | scheme | executor | positions | largest difference | in float64 | same top token | by at most | same continuations |\n");
    out.push_str("|---|---|---|---:|---:|---:|---:|---:|---:|\n");
    for row in rows {
        let differs = row.same_top < row.positions;
        let lead = if differs {
            format!("{:.3}", row.lead)
        } else {
            String::new()
        };
        let _ = writeln!(
            out,
            "| {}{} | {} | {} | {} | {:.1e} | {} | {} | {lead} | {} of {} |",
            row.checkpoint,
            row.note.map_or("", Note::mark),
            row.scheme,
            row.device,
            row.positions,
            row.largest,
            row.largest64.map_or(String::new(), |largest| format!("{largest:.1e}")),
            percent(row.same_top, row.positions),
            row.same_greedy,
            row.prompts
        );
    }
    for note in [Note::Bf16Frequencies, Note::CacheScheme, Note::QuantizedInputs] {
        if rows.iter().any(|row| row.note == Some(note)) {
            let text = match note {
                Note::Bf16Frequencies => BF16_FREQUENCIES,
                Note::CacheScheme => CACHE_SCHEME,
                Note::QuantizedInputs => QUANTIZED_INPUTS,
            };
            let _ = writeln!(out, "\n{} {text}", note.mark());
        }
    }
}

pub fn render_against(rows: &[AgainstRow], out: &mut String) {
    if rows.is_empty() {
        return;
    }
    out.push_str(AGAINST);
    out.push_str(
        "| checkpoint | executor | positions | mean KL | largest KL | same top token | largest Δ log-probability |\n",
    );
    out.push_str("|---|---|---:|---:|---:|---:|---:|\n");
    for row in rows {
        let _ = writeln!(
            out,
            "| {}{} | {} | {} | {} | {} | {} | {} |",
            row.checkpoint,
            row.note.map_or("", Note::mark),
            row.device,
            row.positions,
            small(row.mean_kl),
            small(row.max_kl),
            percent(row.same_top, row.positions),
            small(row.largest)
        );
    }
}

const LOGITS: &str = "
## Logits

The golden files hold what transformers computes in float32 from each checkpoint, its weights dequantized to bfloat16.
`reference` computes in float64 with unrounded activations and must stay within 2e-3 with the same greedy continuations. `cpu`
follows the numerics of the engine (`numerics.rs`: inputs of linear layers rounded, sums in a fixed order) and must agree on
the most likely token in at least 99.5% of positions. `gpu` follows the same numerics in shaders, on the adapter and driver named
above. `cpu:fast` rounds the inputs of integer matrices of at most four bits to eight bits and is held to nothing. \"by at most\" is
how far the golden logits prefer their token where another is the most likely here.

";

const AGAINST: &str = "
## Against `reference`

The distributions of the next token at every position of the same prompts, beside those of `reference` for the same checkpoint:
KL(reference‖executor) in nats, how often both have the same most likely token, and the largest difference of the log-probability of
any token of the vocabulary. Checkpoint and scheme are the same on both sides, so this is what an executor's own rounding comes to;
where caches² or inputs³ are quantized, that includes codes at the border of two that fall the other way.

";

const BF16_FREQUENCIES: &str = "\
The golden files of these random-weight models were computed with RoPE's inverse frequencies rounded to bfloat16, because the \
script that made them casts every buffer. The comparison rounds them too; the engine itself keeps them in float32, as runtimes do \
that load a checkpoint from its files.";

const CACHE_SCHEME: &str = "\
This checkpoint declares an fp8 key/value cache, and its golden and harness files were computed with it. The comparison applies it, as a \
contest does whose rules say `kv_cache = \"declared\"`: keys and values are rounded to e4m3 with the stored scales. A value at the border of \
two codes falls either way with the last bit of a sum, so a logit may differ by 0.03 on `reference`, and every continuation must be equal.";

const QUANTIZED_INPUTS: &str = "\
This checkpoint quantizes the inputs of its layers. A value at the border of two codes falls either way with the last bit of a sum, \
and one code that does moves every later logit about as much as quantization does: no two implementations that add in another order \
agree to more. The column \"in float64\" compares with transformers and compressed-tensors in float64 throughout (the first two \
prompts), where the borders are met alike: it must stay within 5e-5. Symmetric dynamic int8 (w8a8, w4a8) has no such column: \
compressed-tensors divides the largest magnitude of a row into 127.5 codes, so that this very value always lies between two. \
For all of these, tokens that differ must be near-ties: the golden logits lead by less than 0.3.";
