//! Does recipe.yaml tell the same story as config.json?

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::ModelConfig;
use crate::listing::Listing;
use crate::model::Module;
use crate::problem::{Problems, problem, quoted};
use crate::quant::args::{ActOrder, Args};
use crate::quant::config::QuantConfig;
use crate::quant::matching::{Budget, Patterns, Specificity};
use crate::quant::presets::{Preset, expand};
use crate::recipe::{Modifier, RecipeError, parse};

/// Modifiers that decide how weights are quantized.
const QUANTIZING: [&str; 4] = [
    "QuantizationModifier",
    "GPTQModifier",
    "AutoRoundModifier",
    "AWQModifier",
];
/// Modifiers that change weights before they are quantized, or remove some: known, and nothing in config.json to compare.
const SHAPING: [&str; 9] = [
    "SmoothQuantModifier",
    "LogarithmicEqualizationModifier",
    "SparseGPTModifier",
    "WandaPruningModifier",
    "MagnitudePruningModifier",
    "ConstantPruningModifier",
    "SpinQuantModifier",
    "QuIPModifier",
    "IMatrixGatherer",
];

/// One group of a quantizing modifier: what it targets, and the schemes its text may mean.
struct Claim {
    path: String,
    targets: Patterns,
    meanings: Vec<Preset>,
    actorder: Option<ActOrder>,
}

struct Claims {
    groups: Vec<Claim>,
    ignore: Patterns,
}

/// Checks the recipe, if there is one. `quantized` says whether config.json announces quantization.
pub(super) fn check(
    listing: &Listing,
    model: Option<&ModelConfig>,
    quant: Option<&QuantConfig>,
    quantized: bool,
    problems: &mut Problems,
    findings: &mut Problems,
) {
    let Some(bytes) = listing.text("recipe.yaml") else {
        return;
    };
    let modifiers = match parse(bytes) {
        Ok(modifiers) => modifiers,
        Err(reason) => {
            let code = if matches!(reason, RecipeError::Unsafe { .. }) {
                "recipe-unsafe"
            } else {
                "recipe-unreadable"
            };
            let why = quoted(&reason.to_string());
            problems.push(problem(
                code,
                "recipe.yaml",
                (
                    format!("recipe.yaml cannot be read: {why}"),
                    format!("recipe.yaml을 읽을 수 없습니다: {why}"),
                ),
                (
                    "Upload the recipe.yaml that llm-compressor wrote, unchanged, or none.",
                    "llm-compressor가 쓴 recipe.yaml을 그대로 올리거나 올리지 마세요.",
                ),
            ));
            return;
        }
    };
    let mut budget = Budget::default();
    let mut all = Vec::new();
    for modifier in &modifiers {
        if !QUANTIZING.contains(&modifier.class.as_str()) {
            note(modifier, findings);
            continue;
        }
        match claims(modifier, quant.and_then(|q| q.version), &mut budget) {
            Ok(Some(claims)) => all.push(claims),
            Ok(None) => {}
            Err(why) => {
                problems.push(problem(
                    "recipe-unreadable",
                    format!("recipe.yaml: {}", modifier.path),
                    (format!("{}: {why}", modifier.path), format!("{}: {why}", modifier.path)),
                    (
                        "Upload the recipe.yaml that llm-compressor wrote, unchanged, or none.",
                        "llm-compressor가 쓴 recipe.yaml을 그대로 올리거나 올리지 마세요.",
                    ),
                ));
                return;
            }
        }
    }
    if !quantized && !all.is_empty() {
        problems.push(disagrees(
            "config.json: quantization_config",
            "the recipe quantizes the model, config.json says it is dense".to_owned(),
            "레시피는 양자화한다고 하는데 config.json은 dense라고 합니다".to_owned(),
        ));
        return;
    }
    if let (Some(model), Some(quant), false) = (model, quant, all.is_empty()) {
        compare(model, quant, &all, problems, findings);
    }
}

fn disagrees(place: impl Into<String>, en: String, ko: String) -> assay_contest::Problem {
    problem(
        "recipe-disagrees",
        place,
        (en, ko),
        (
            "Upload recipe.yaml and config.json of the same run.",
            "같은 실행에서 나온 recipe.yaml과 config.json을 올려 주세요.",
        ),
    )
}

fn note(modifier: &Modifier, findings: &mut Problems) {
    let class = quoted(&modifier.class);
    let known = SHAPING.contains(&modifier.class.as_str());
    let (code, en, ko) = if known {
        (
            "recipe-modifier",
            format!("the recipe applies {class}"),
            format!("레시피가 {class}을(를) 적용합니다"),
        )
    } else {
        (
            "recipe-modifier-unknown",
            format!("{class} is not a known modifier"),
            format!("{class}은(는) 알려진 modifier가 아닙니다"),
        )
    };
    findings.push(problem(
        code,
        format!("recipe.yaml: {}", modifier.path),
        (en, ko),
        (
            "Nothing has to be done; organizers see this.",
            "할 일은 없습니다. 운영진에게 표시됩니다.",
        ),
    ));
}

/// What a modifier claims; `None` for one that carries no scheme (AWQ as a pure transform).
fn claims(modifier: &Modifier, version: Option<(u32, u32)>, budget: &mut Budget) -> Result<Option<Claims>, String> {
    let fields = &modifier.fields;
    let list = |value: Option<&Value>, budget: &mut Budget| -> Result<Option<Patterns>, String> {
        let strings: Vec<&str> = match value {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(items)) => items
                .iter()
                .map(Value::as_str)
                .collect::<Option<_>>()
                .ok_or("a list of strings is needed")?,
            Some(_) => return Err("a list of strings is needed".to_owned()),
        };
        if strings.is_empty() {
            Ok(None)
        } else {
            Patterns::new(strings, budget).map(Some)
        }
    };
    let linear = |budget: &mut Budget| Patterns::new(["Linear"], budget);
    let own_order = match fields.get("actorder") {
        None => None,
        Some(value) => Some(Args::actorder(Some(value)).ok_or("actorder")?),
    };
    let ignore = list(fields.get("ignore"), budget)?.unwrap_or_default();
    let mut groups = Vec::new();
    let preset = |name: &str| -> Result<Vec<Preset>, String> {
        let meanings = expand(name, version);
        if meanings.is_empty() {
            Err(format!("scheme \"{}\" is unknown", quoted(name)))
        } else {
            Ok(meanings)
        }
    };
    match (fields.get("config_groups"), fields.get("scheme")) {
        (Some(Value::Object(entries)), None | Some(Value::Null)) => {
            for (name, entry) in entries {
                let path = format!("{}.{}", modifier.path, quoted(name));
                let part = |field: &str| match entry.get(field) {
                    None | Some(Value::Null) => Ok(None),
                    Some(Value::Object(args)) => Args::parse(args, &mut Vec::new())
                        .map(Some)
                        .map_err(|why| format!("{path}: {field}.{why}")),
                    Some(_) => Err(format!("{path}: {field}")),
                };
                let weights = part("weights")?;
                let meanings = vec![Preset {
                    weights,
                    input: part("input_activations")?,
                }];
                let targets = list(entry.get("targets"), budget)?.ok_or_else(|| format!("{path}: targets"))?;
                let actorder = weights
                    .map(|w| w.actorder)
                    .filter(|a| *a != ActOrder::None)
                    .or(own_order);
                groups.push(Claim {
                    path,
                    targets,
                    meanings,
                    actorder,
                });
            }
        }
        (None | Some(Value::Null), Some(Value::String(name))) => {
            let targets = match list(fields.get("targets"), budget)? {
                Some(targets) => targets,
                None => linear(budget)?,
            };
            groups.push(Claim {
                path: modifier.path.clone(),
                targets,
                meanings: preset(name)?,
                actorder: own_order,
            });
        }
        (None | Some(Value::Null), Some(Value::Object(schemes))) => {
            for (name, targets) in schemes {
                let targets = list(Some(targets), budget)?.ok_or("scheme without targets")?;
                groups.push(Claim {
                    path: modifier.path.clone(),
                    targets,
                    meanings: preset(name)?,
                    actorder: own_order,
                });
            }
        }
        (None | Some(Value::Null), None | Some(Value::Null)) => return Ok(None),
        _ => return Err("scheme and config_groups exclude each other".to_owned()),
    }
    Ok(Some(Claims { groups, ignore }))
}

impl Claims {
    fn claim(&self, module: Module, name: &str) -> Result<Option<&Claim>, String> {
        if self.ignore.matches(name, module.class())?.is_some() {
            return Ok(None);
        }
        let mut best: Option<(Specificity, &Claim)> = None;
        for claim in &self.groups {
            if let Some(how) = claim.targets.matches(name, module.class())?
                && best.is_none_or(|(b, _)| how < b)
            {
                best = Some((how, claim));
            }
        }
        Ok(best.map(|(_, claim)| claim))
    }
}

/// Module by module. The tied head is left out: tools differ in whether they list a module that has no weights of its own.
fn compare(model: &ModelConfig, quant: &QuantConfig, all: &[Claims], problems: &mut Problems, findings: &mut Problems) {
    let mut orders: BTreeMap<String, (ActOrder, ActOrder)> = BTreeMap::new();
    for module in Module::all(model) {
        if module == Module::Head && model.tie {
            continue;
        }
        let name = module.name(model.family);
        let found = (|| {
            let mut claim = None;
            for claims in all {
                claim = claims.claim(module, &name)?;
                if claim.is_some() {
                    break;
                }
            }
            Ok::<_, String>((claim, quant.group_of(module, &name)?))
        })();
        let (claim, group) = match found {
            Ok(found) => found,
            Err(why) => {
                problems.push(disagrees(
                    "recipe.yaml",
                    format!("a pattern cannot be matched: {why}"),
                    format!("패턴을 맞춰 볼 수 없습니다: {why}"),
                ));
                return;
            }
        };
        let group = group.map(|index| &quant.groups[index]);
        let said: Vec<Preset> = claim.map_or_else(
            || {
                vec![Preset {
                    weights: None,
                    input: None,
                }]
            },
            |c| c.meanings.clone(),
        );
        let stored = Preset {
            weights: group.and_then(|g| g.weights),
            input: group.and_then(|g| g.input),
        };
        if !said.iter().any(|p| same(p, &stored)) {
            let (said, stored) = (describe(&said[0]), describe(&stored));
            problems.push(disagrees(
                name.clone(),
                format!("{name}: the recipe says {said}, config.json says {stored}"),
                format!("{name}: 레시피는 {said}, config.json은 {stored}라고 합니다"),
            ));
        } else if let (Some(claim), Some(weights)) = (claim, stored.weights)
            && let Some(order) = claim.actorder
            && order != weights.actorder
        {
            orders.insert(claim.path.clone(), (order, weights.actorder));
        }
    }
    for (path, (said, stored)) in orders {
        findings.push(problem(
            "recipe-actorder-differs",
            format!("recipe.yaml: {path}"),
            (
                format!("actorder is {said:?} in the recipe and {stored:?} in config.json"),
                format!("actorder가 레시피에는 {said:?}, config.json에는 {stored:?}입니다"),
            ),
            ("Nothing has to be done.", "할 일은 없습니다."),
        ));
    }
}

fn same(a: &Preset, b: &Preset) -> bool {
    let part = |x: &Option<Args>, y: &Option<Args>| match (x, y) {
        (None, None) => true,
        (Some(x), Some(y)) => x.same(y),
        _ => false,
    };
    part(&a.weights, &b.weights) && part(&a.input, &b.input)
}

fn describe(preset: &Preset) -> String {
    match (preset.weights, preset.input) {
        (None, _) => "16-bit".to_owned(),
        (Some(w), None) => w.describe(),
        (Some(w), Some(a)) => format!("{} × {}", w.describe(), a.describe()),
    }
}
