//! What recipe.yaml claims about the weights, and whether they bear it out.

use std::collections::BTreeMap;

use serde_json::Value;

use super::map::{Lineage, Relation};
use crate::listing::Listing;
use crate::problem::{Problems, problem};
use crate::recipe::{Modifier, parse};

/// How the weights are said to have been quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Method {
    /// nothing is said, or something that leaves the scales open
    #[default]
    Open,
    /// rounding to nearest with the scales of the largest weights
    Rounding,
    /// GPTQ with those scales. llm-compressor 0.9 takes them whatever observer is named, 0.8 and 0.14 only without one.
    Gptq,
}

/// A share of weights that is said to be zero.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sparsity {
    /// the modifier, as in recipe.yaml
    pub path: String,
    /// 0 to 1
    pub share: f64,
    /// `2:4`: at most two of four consecutive weights are not zero
    pub two_of_four: bool,
}

/// The claims of a recipe; none where there is no readable one.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    method: Method,
    path: String,
    pub sparsity: Option<Sparsity>,
}

impl Claims {
    pub fn read(listing: &Listing) -> Claims {
        let modifiers = listing.text("recipe.yaml").and_then(|bytes| parse(bytes).ok());
        let mut claims = Claims::default();
        let mut open = false;
        for modifier in modifiers.iter().flatten() {
            let method = match modifier.class.as_str() {
                "QuantizationModifier" => Method::Rounding,
                "GPTQModifier" => Method::Gptq,
                "SparseGPTModifier" | "WandaPruningModifier" | "MagnitudePruningModifier" => {
                    claims.sparsity = sparsity(modifier).or(claims.sparsity);
                    Method::Open
                }
                _ => Method::Open,
            };
            open |= method == Method::Open || !takes_the_largest(modifier);
            (claims.method, claims.path) = (method, modifier.path.clone());
        }
        if open {
            claims.method = Method::Open;
        }
        claims
    }

    /// Matrices that were not made the way the recipe says, although they may well be the base's.
    pub fn hold_against(&self, lineage: &Lineage, against: &mut Problems) {
        let refutes = |relation: Relation| match self.method {
            Method::Open => false,
            Method::Rounding => matches!(relation, Relation::Compensated | Relation::Tuned | Relation::Folded),
            Method::Gptq => matches!(relation, Relation::Tuned | Relation::Folded),
        };
        let coded: Vec<_> = lineage.cells().filter(|(_, cell)| cell.scales.is_some()).collect();
        let refuted: Vec<&str> = coded
            .iter()
            .filter(|(_, cell)| refutes(cell.relation))
            .map(|(place, _)| place.as_str())
            .collect();
        if let Some(first) = refuted.first() {
            let n = refuted.len();
            let (code, en, ko) = match self.method {
                Method::Rounding => (
                    "recipe-rounding-refuted",
                    format!(
                        "the recipe only rounds to nearest; {n} matrices are not what rounding the base gives, the first is {first}"
                    ),
                    format!(
                        "레시피는 단순 반올림인데 기준 모델을 반올림한 값과 다른 행렬이 {n}개 있습니다 (처음: {first})"
                    ),
                ),
                _ => (
                    "recipe-gptq-refuted",
                    format!(
                        "the recipe's GPTQ takes the scales of the base; {n} matrices have others, the first is {first}"
                    ),
                    format!(
                        "레시피의 GPTQ는 기준 모델의 scale을 쓰는데 scale이 다른 행렬이 {n}개 있습니다 (처음: {first})"
                    ),
                ),
            };
            against.push(problem(code, format!("recipe.yaml: {}", self.path), (en, ko), SAME_RUN));
        }
        if self.method == Method::Gptq
            && !coded.is_empty()
            && coded.iter().all(|(_, cell)| cell.relation == Relation::Rounded)
        {
            against.push(problem(
                "recipe-gptq-not-seen",
                format!("recipe.yaml: {}", self.path),
                (
                    "the recipe applies GPTQ; every code is what plain rounding gives, so GPTQ changed nothing",
                    "레시피는 GPTQ인데 모든 코드가 단순 반올림과 같습니다. GPTQ가 적용되지 않았습니다",
                ),
                SAME_RUN,
            ));
        }
    }
}

const SAME_RUN: (&str, &str) = (
    "Upload the recipe.yaml of the run that made these weights.",
    "이 가중치를 만든 실행의 recipe.yaml을 올려 주세요.",
);

/// Whether no observer but min-max is named.
fn takes_the_largest(modifier: &Modifier) -> bool {
    let fields = &modifier.fields;
    let groups = fields.get("config_groups").and_then(Value::as_object);
    let of_groups = groups
        .into_iter()
        .flat_map(|g| g.values())
        .map(|g| g.pointer("/weights/observer"));
    let named = [
        fields.get("weight_observer"),
        fields.get("observer").filter(|v| v.is_string()),
        fields.get("observer").and_then(|v| v.get("weights")),
    ];
    let mut observers = named.into_iter().chain(of_groups).flatten().filter_map(Value::as_str);
    observers.all(|name| name.contains("minmax"))
}

fn sparsity(modifier: &Modifier) -> Option<Sparsity> {
    let number = |key: &str| modifier.fields.get(key).and_then(Value::as_f64);
    let mask = modifier
        .fields
        .get("mask_structure")
        .and_then(Value::as_str)
        .unwrap_or_default();
    Some(Sparsity {
        path: modifier.path.clone(),
        share: number("sparsity")
            .or_else(|| number("final_sparsity"))
            .filter(|s| (0.0..=1.0).contains(s))?,
        two_of_four: mask == "2:4",
    })
}

/// Places by what they share, for messages: `layer 0: q, k; layer 3: up`.
pub(super) fn listed<'a>(places: impl IntoIterator<Item = &'a str>) -> String {
    let mut by_layer: BTreeMap<(usize, &str), Vec<&str>> = BTreeMap::new();
    for (order, place) in places.into_iter().enumerate() {
        let (layer, column) = place.split_once(": ").unwrap_or((place, ""));
        let known = by_layer
            .keys()
            .find(|(_, name)| *name == layer)
            .map(|(order, _)| *order);
        by_layer
            .entry((known.unwrap_or(order), layer))
            .or_default()
            .push(column);
    }
    let shown = by_layer
        .iter()
        .take(6)
        .map(|((_, layer), columns)| match columns.as_slice() {
            [""] => (*layer).to_owned(),
            columns => format!("{layer}: {}", columns.join(", ")),
        });
    let mut text = shown.collect::<Vec<_>>().join("; ");
    if by_layer.len() > 6 {
        text.push_str("; …");
    }
    text
}
