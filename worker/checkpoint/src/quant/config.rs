//! `quantization_config` of compressed-tensors.

use serde_json::{Map, Value};

use super::args::Args;
use super::matching::{Budget, Patterns, Specificity};
use super::presets::{self, Preset};
use super::transform::TransformConfig;
use crate::model::Module;
use crate::problem::quoted;

/// A group of modules that share a scheme.
#[derive(Debug)]
pub(crate) struct Group {
    pub name: String,
    pub targets: Patterns,
    pub weights: Option<Args>,
    pub input: Option<Args>,
    pub output: Option<Args>,
    /// its own `format`, when it has one that means something
    pub format: Option<String>,
}

/// What the configuration says. Unknown keys are kept for the report.
#[derive(Debug)]
pub(crate) struct QuantConfig {
    /// top-level `format`, when it means something
    pub format: Option<String>,
    pub groups: Vec<Group>,
    pub ignore: Patterns,
    /// `kv_cache_scheme`, or what old versions wrote in its place: quantized outputs of the key and value projections
    pub kv_cache: Option<Args>,
    /// modules of groups that quantize outputs and nothing else
    pub output_targets: Vec<Patterns>,
    /// `sparsity_config.format` other than `dense`
    pub sparse: Option<String>,
    /// `transform_config`
    pub transforms: TransformConfig,
    pub version: Option<(u32, u32)>,
    pub status: Option<String>,
    pub unknown: Vec<String>,
}

const KNOWN: [&str; 11] = [
    "quant_method",
    "format",
    "config_groups",
    "ignore",
    "kv_cache_scheme",
    "quantization_status",
    "global_compression_ratio",
    "sparsity_config",
    "transform_config",
    "moe_sparsity_config",
    "version",
];

/// Most groups.
const MAX_GROUPS: usize = 64;

impl QuantConfig {
    /// Reads the object; the error is a short reason naming the field.
    pub fn parse(map: &Map<String, Value>) -> Result<QuantConfig, String> {
        let mut budget = Budget::default();
        let mut unknown: Vec<String> = map
            .keys()
            .filter(|k| !KNOWN.contains(&k.as_str()))
            .map(|k| quoted(k))
            .collect();
        let text = |name: &str| map.get(name).and_then(Value::as_str).map(quoted);
        let version = text("version").as_deref().and_then(presets::version);
        let transforms = TransformConfig::parse(map.get("transform_config"), &mut budget)
            .map_err(|why| format!("transform_config.{why}"))?;
        let mut groups = Vec::new();
        match map.get("config_groups") {
            Some(Value::Object(entries)) if (1..=MAX_GROUPS).contains(&entries.len()) => {
                for (name, value) in entries {
                    let group = group(name, value, version, &mut unknown, &mut budget);
                    groups.push(group.map_err(|why| format!("config_groups.{}: {why}", quoted(name)))?);
                }
            }
            // a model that was only made sparse, or only rotated
            None | Some(Value::Null) if alone(map) => {}
            Some(Value::Object(entries)) if entries.is_empty() && alone(map) => {}
            _ => return Err(format!("config_groups: 1 to {MAX_GROUPS} groups are needed")),
        }
        let ignore = match map.get("ignore") {
            None | Some(Value::Null) => Patterns::default(),
            Some(list) => patterns(list, &mut budget).map_err(|why| format!("ignore: {why}"))?,
        };
        let kv_cache = match map.get("kv_cache_scheme") {
            None | Some(Value::Null) => None,
            Some(Value::Object(scheme)) => {
                Some(Args::parse(scheme, &mut unknown).map_err(|why| format!("kv_cache_scheme.{why}"))?)
            }
            Some(_) => return Err("kv_cache_scheme: not an object".to_owned()),
        };
        let kv_cache = kv_cache.or(groups.iter().find_map(|g: &Group| g.output));
        let is_output = |g: &mut Group| g.weights.is_none() && g.input.is_none() && g.output.is_some();
        let output_targets = groups.extract_if(.., is_output).map(|g| g.targets).collect();
        let sparse = map
            .get("sparsity_config")
            .and_then(|s| s.get("format"))
            .and_then(Value::as_str)
            .filter(|f| *f != "dense")
            .map(quoted);
        Ok(QuantConfig {
            format: text("format").filter(|f| f != "fakequant"),
            groups,
            ignore,
            kv_cache,
            output_targets,
            sparse,
            transforms,
            version,
            status: text("quantization_status"),
            unknown,
        })
    }

    /// The group a module belongs to: not ignored, and matched most specifically, the first such group.
    pub fn group_of(&self, module: Module, name: &str) -> Result<Option<usize>, String> {
        if self.ignore.matches(name, module.class())?.is_some() {
            return Ok(None);
        }
        let mut best: Option<(Specificity, usize)> = None;
        for (index, group) in self.groups.iter().enumerate() {
            if let Some(how) = group.targets.matches(name, module.class())?
                && best.is_none_or(|(b, _)| how < b)
            {
                best = Some((how, index));
            }
        }
        Ok(best.map(|(_, index)| index))
    }
}

/// Something else than groups of quantized modules is configured.
fn alone(map: &Map<String, Value>) -> bool {
    ["sparsity_config", "transform_config", "kv_cache_scheme"]
        .iter()
        .any(|name| map.get(*name).and_then(Value::as_object).is_some_and(|o| !o.is_empty()))
}

pub(super) fn patterns(value: &Value, budget: &mut Budget) -> Result<Patterns, String> {
    let strings: Option<Vec<&str>> = match value {
        Value::String(one) => Some(vec![one]),
        Value::Array(list) => list.iter().map(Value::as_str).collect(),
        _ => None,
    };
    Patterns::new(strings.ok_or("a list of strings is needed")?, budget)
}

fn group(
    name: &str,
    value: &Value,
    version: Option<(u32, u32)>,
    unknown: &mut Vec<String>,
    budget: &mut Budget,
) -> Result<Group, String> {
    // shorthand: preset name → list of targets
    if value.is_array() {
        let meanings = presets::expand(name, version);
        let [preset] = meanings[..] else {
            return Err("not the name of one preset".to_owned());
        };
        let targets = patterns(value, budget)?;
        let Preset { weights, input } = preset;
        return Ok(Group {
            name: name.to_owned(),
            targets,
            weights,
            input,
            output: None,
            format: None,
        });
    }
    let map = value.as_object().ok_or("not an object")?;
    for key in map.keys() {
        if ![
            "targets",
            "weights",
            "input_activations",
            "output_activations",
            "format",
        ]
        .contains(&key.as_str())
        {
            unknown.push(quoted(key));
        }
    }
    let targets = patterns(map.get("targets").ok_or("targets is missing")?, budget)?;
    let mut part = |field: &str| match map.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(args)) => Args::parse(args, unknown)
            .map(Some)
            .map_err(|why| format!("{field}.{why}")),
        Some(_) => Err(format!("{field}: not an object")),
    };
    Ok(Group {
        name: name.to_owned(),
        targets,
        weights: part("weights")?,
        input: part("input_activations")?,
        output: part("output_activations")?,
        format: map
            .get("format")
            .and_then(Value::as_str)
            .filter(|f| *f != "fakequant")
            .map(quoted),
    })
}
