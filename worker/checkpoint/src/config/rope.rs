//! Rotary position embedding: plain, or scaled as Llama 3 does it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fields::Fields;
use crate::problem::{Problems, quoted};

/// How queries and keys are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rope {
    /// base of the geometric series of frequencies
    pub theta: f64,
    /// frequency scaling, if any
    pub scaling: Option<Llama3>,
}

/// Llama 3's scaling: wavelengths longer than `original / low` are stretched by `factor`, shorter than `original / high` are
/// kept, and between the two it blends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Llama3 {
    /// stretch of the long wavelengths
    pub factor: f64,
    /// `low_freq_factor`
    pub low: f64,
    /// `high_freq_factor`, greater than `low`
    pub high: f64,
    /// `original_max_position_embeddings`
    pub original: f64,
}

impl Rope {
    /// The scaled frequencies, radians per position, one for each of the `head_dim / 2` pairs. Arithmetic in f64.
    pub fn frequencies(&self, head_dim: usize) -> Vec<f64> {
        (0..head_dim / 2)
            .map(|k| {
                let inv = self.theta.powf(-2.0 * k as f64 / head_dim as f64);
                self.scaling.map_or(inv, |s| s.scale(inv))
            })
            .collect()
    }
}

impl Llama3 {
    fn scale(&self, inv: f64) -> f64 {
        let wavelength = 2.0 * std::f64::consts::PI / inv;
        if wavelength < self.original / self.high {
            inv
        } else if wavelength > self.original / self.low {
            inv / self.factor
        } else {
            let smooth = (self.original / wavelength - self.low) / (self.high - self.low);
            (1.0 - smooth) * inv / self.factor + smooth * inv
        }
    }
}

/// Reads `rope_theta` with `rope_scaling` (transformers 4) or `rope_parameters` (transformers 5, theta may be inside).
pub(super) fn read(fields: &mut Fields) -> Option<Rope> {
    let old = object(fields, "rope_scaling");
    let new = object(fields, "rope_parameters");
    let top_theta = fields.optional_number(&["rope_theta"], 1.0, 1e12);
    let readings: Vec<(&str, Reading)> = [("rope_scaling", old), ("rope_parameters", new)]
        .into_iter()
        .filter_map(|(name, map)| Some((name, read_object(fields, name, map?)?)))
        .collect();
    if let [(_, a), (_, b)] = &readings[..]
        && (a.scaling != b.scaling || (a.theta.is_some() && b.theta.is_some() && a.theta != b.theta))
    {
        disagree(fields, "rope_scaling", "rope_parameters");
    }
    let inner_theta = readings.iter().find_map(|(_, r)| r.theta);
    if let (Some(top), Some(inner)) = (top_theta, inner_theta)
        && top != inner
    {
        disagree(fields, "rope_theta", "rope_parameters.rope_theta");
    }
    // Defaults differ between loaders (10,000 and 1,000,000), so theta has to be said.
    let Some(theta) = inner_theta.or(top_theta) else {
        fields.missing("rope_theta");
        return None;
    };
    Some(Rope {
        theta,
        scaling: readings.iter().find_map(|(_, r)| r.scaling),
    })
}

fn disagree(fields: &mut Fields, a: &str, b: &str) {
    fields.reject(
        "config-fields-disagree",
        a,
        (
            format!("{a} and {b} have different values"),
            format!("{a}와 {b}의 값이 다릅니다"),
        ),
        ("Keep one of the two.", "둘 중 하나만 남겨 주세요."),
    );
}

fn object<'a>(fields: &mut Fields<'a>, name: &'static str) -> Option<&'a Map<String, Value>> {
    let (_, value) = fields.get(&[name])?;
    if value.as_object().is_none() {
        fields.out_of_range(name, value, "{…} | null".to_owned());
    }
    value.as_object()
}

struct Reading {
    theta: Option<f64>,
    scaling: Option<Llama3>,
}

fn read_object(fields: &mut Fields, name: &'static str, map: &Map<String, Value>) -> Option<Reading> {
    let mut inner = Fields {
        map,
        problems: Problems::default(),
    };
    let kind = inner
        .get(&["rope_type", "type"])
        .map(|(_, v)| v.clone())
        .unwrap_or(Value::from("default"));
    let theta = inner.optional_number(&["rope_theta"], 1.0, 1e12);
    let reading = match kind.as_str() {
        Some("default") => Some(Reading { theta, scaling: None }),
        Some("llama3") => {
            let mut number = |field: &'static str, min: f64, max: f64| {
                let value = inner.optional_number(&[field], min, max);
                if value.is_none() && inner.get(&[field]).is_none() {
                    inner.missing(field);
                }
                value
            };
            let factor = number("factor", 1.0, 1024.0);
            let low = number("low_freq_factor", 1e-3, 1024.0);
            let high = number("high_freq_factor", 1e-3, 1024.0);
            let original = number("original_max_position_embeddings", 1.0, 16_777_216.0);
            match (factor, low, high, original) {
                (Some(factor), Some(low), Some(high), Some(original)) if high > low => Some(Reading {
                    theta,
                    scaling: Some(Llama3 {
                        factor,
                        low,
                        high,
                        original,
                    }),
                }),
                (_, Some(low), Some(high), _) if high <= low => {
                    inner.out_of_range(
                        "high_freq_factor",
                        &Value::from(high),
                        format!("> {low} (low_freq_factor)"),
                    );
                    None
                }
                _ => None,
            }
        }
        _ => {
            let shown = quoted(&kind.to_string());
            inner.reject(
                "config-rope-not-supported",
                name,
                (
                    format!("RoPE type {shown} is not one that EXAONE uses"),
                    format!("RoPE 종류 {shown}은(는) EXAONE에서 쓰지 않습니다"),
                ),
                (
                    "Use the base model's RoPE settings: llama3 or default.",
                    "기준 모델의 RoPE 설정(llama3 또는 default)을 쓰세요.",
                ),
            );
            None
        }
    };
    fields.problems.extend(inner.problems.finish());
    reading
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaled_frequencies_of_the_published_model() {
        let scaling = Some(Llama3 {
            factor: 16.0,
            low: 1.0,
            high: 4.0,
            original: 8192.0,
        });
        let scaled = Rope { theta: 1e6, scaling }.frequencies(64);
        let golden = [
            (0, 1.0),
            (8, 0.0316227786),
            (13, 0.00365174143),
            (14, 0.00169834145),
            (15, 5.81203038e-4),
            (16, 1.57436681e-4),
            (17, 4.05863539e-5),
            (24, 1.97642339e-6),
            (31, 9.62454081e-8),
        ];
        for (k, want) in golden {
            assert!((scaled[k] / want - 1.0).abs() < 1e-6, "{k}: {} {want}", scaled[k]);
        }
    }
}
