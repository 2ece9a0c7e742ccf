//! `transform_config` of compressed-tensors: rotations of weights and activations (SpinQuant, QuIP), and which of them are applied when
//! the model runs.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::matching::{Budget, Patterns};
use crate::config::ModelConfig;
use crate::model::{Linear, Module};
use crate::problem::quoted;

/// Most groups, and most entries of a group.
const MAX: usize = 64;

/// How a matrix is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TransformKind {
    /// Sylvester's, entries ±1, over √n
    Hadamard,
    /// entries ±1, over √n
    RandomHadamard,
    /// as stored; its inverse is stored as well
    Matrix,
}

/// Where a transform is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Location {
    WeightInput,
    WeightOutput,
    Input,
    Output,
    Attention,
}

/// One group.
#[derive(Debug)]
struct Group {
    name: String,
    kind: TransformKind,
    permuted: bool,
    head_dim: Option<usize>,
    apply: Vec<Apply>,
}

#[derive(Debug)]
struct Apply {
    targets: Patterns,
    ignore: Patterns,
    location: Location,
    inverse: bool,
}

/// All groups, as written.
#[derive(Debug, Default)]
pub(crate) struct TransformConfig {
    groups: Vec<Group>,
}

/// One matrix that is applied when the model runs; equal ones are one matrix, stored once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    /// the group's name
    pub group: String,
    pub kind: TransformKind,
    pub permuted: bool,
    /// values it turns together
    pub size: usize,
    pub inverse: bool,
}

/// What is applied to one matrix's inputs and outputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turns {
    pub input: Option<Turn>,
    pub output: Option<Turn>,
}

/// What a configuration means for a model.
#[derive(Clone, Debug, Default)]
pub(crate) struct Assigned {
    pub modules: BTreeMap<Module, Turns>,
    /// queries and keys are rotated alike, which cancels in their products
    pub attention: bool,
    /// names of the groups that do the latter
    pub attention_groups: Vec<String>,
}

/// Why a configuration is refused: in English and Korean.
pub(crate) type Reason = (String, String);

impl TransformConfig {
    /// Reads `transform_config`; the error is a short reason naming the field.
    pub fn parse(value: Option<&Value>, budget: &mut Budget) -> Result<TransformConfig, String> {
        let groups = match value {
            None | Some(Value::Null) => return Ok(TransformConfig::default()),
            Some(Value::Object(fields)) => match fields.get("config_groups") {
                None | Some(Value::Null) => return Ok(TransformConfig::default()),
                Some(Value::Object(groups)) if groups.len() <= MAX => groups,
                Some(_) => return Err(format!("config_groups: an object of at most {MAX} groups is needed")),
            },
            Some(_) => return Err("not an object".to_owned()),
        };
        let read = |(name, value): (&String, &Value)| {
            group(name, value, budget).map_err(|why| format!("config_groups.{}: {why}", quoted(name)))
        };
        let groups = groups.iter().map(read).collect::<Result<_, _>>()?;
        Ok(TransformConfig { groups })
    }

    /// Nothing is declared.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// What is applied to which module when the model runs. Refused is what would change the function that the weights had before
    /// they were rotated: on both sides of every matrix a rotation of the weight needs its inverse beside it.
    pub fn assign(&self, model: &ModelConfig) -> Result<Assigned, Reason> {
        let mut assigned = Assigned::default();
        let mut found: BTreeMap<Module, Found> = BTreeMap::new();
        for (index, group) in self.groups.iter().enumerate() {
            for apply in &group.apply {
                if apply.location == Location::Attention {
                    assigned.attention = true;
                    assigned.attention_groups.push(group.name.clone());
                    continue;
                }
                for module in Module::all(model) {
                    let name = module.name(model.family);
                    let hit = |patterns: &Patterns| {
                        let matched = patterns.matches(&name, module.class());
                        matched.map_err(|why| (why.clone(), why))
                    };
                    if hit(&apply.targets)?.is_none() || hit(&apply.ignore)?.is_some() {
                        continue;
                    }
                    if module == Module::Embedding {
                        return Err((
                            "the embedding is rotated: this model's norms stand on the branches, so a rotated residual stream is another model"
                                .to_owned(),
                            "임베딩을 회전했습니다. 이 모델의 norm은 가지(branch) 위에 있어서 회전한 residual stream은 다른 모델이 됩니다"
                                .to_owned(),
                        ));
                    }
                    let one = One {
                        group: index,
                        inverse: apply.inverse,
                    };
                    let slots = found.entry(module).or_default();
                    let slot = match apply.location {
                        Location::WeightInput => &mut slots.weight_input,
                        Location::WeightOutput => &mut slots.weight_output,
                        Location::Input => &mut slots.input,
                        _ => &mut slots.output,
                    };
                    if slot.replace(one).is_some() {
                        return Err((
                            format!("{name} has several rotations on one side"),
                            format!("{name}의 한쪽에 회전이 여러 번 적용됩니다"),
                        ));
                    }
                }
            }
        }
        for (module, slots) in &found {
            if *module == Module::Head && model.tie {
                return Err((
                    "the head is rotated and tied to the embedding, which is not".to_owned(),
                    "헤드를 회전했는데, 회전하지 않은 임베딩에 묶여 있습니다".to_owned(),
                ));
            }
            if *module == Module::Head && slots.output.is_some() {
                return Err((
                    "the outputs of the head, the logits, are rotated".to_owned(),
                    "헤드의 출력인 logit을 회전했습니다".to_owned(),
                ));
            }
            self.paired(*module, slots, &found, model)?;
            let (rows, cols) = module.shape(model);
            let turns = Turns {
                input: slots
                    .input
                    .map(|one| self.turn(one, cols, *module, model))
                    .transpose()?,
                output: slots
                    .output
                    .map(|one| self.turn(one, rows, *module, model))
                    .transpose()?,
            };
            if turns != Turns::default() {
                assigned.modules.insert(*module, turns);
            }
        }
        Ok(assigned)
    }

    // Every rotation of the module beside its inverse.
    fn paired(
        &self,
        module: Module,
        slots: &Found,
        found: &BTreeMap<Module, Found>,
        model: &ModelConfig,
    ) -> Result<(), Reason> {
        let name = module.name(model.family);
        let undone = |a: Option<One>, b: Option<One>| match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) => a.group == b.group && a.inverse != b.inverse,
            _ => false,
        };
        let beside = |module: Module| found.get(&module).cloned().unwrap_or_default();
        // values are mixed by attention, head by head: what turns a head's outputs can be undone at the output projection
        let through = |layer: usize| {
            let (v, o) = (
                beside(Module::Layer(layer, Linear::V)),
                beside(Module::Layer(layer, Linear::O)),
            );
            let size = v.weight_output.and_then(|one| self.groups[one.group].head_dim);
            v.output.is_none()
                && o.input.is_none()
                && undone(v.weight_output, o.weight_input)
                && size.is_some_and(|size| size > 0 && model.head_dim.is_multiple_of(size))
        };
        let input = undone(slots.weight_input, slots.input)
            || matches!(module, Module::Layer(layer, Linear::O) if through(layer));
        let output = undone(slots.weight_output, slots.output)
            || matches!(module, Module::Layer(layer, Linear::V) if through(layer));
        match (input, output) {
            (true, true) => Ok(()),
            (false, _) => Err((
                format!(
                    "the inputs of {name} are rotated and nothing undoes it (a rotation of the residual stream, SpinQuant's R1, is none of this architecture: its norms are not fused)"
                ),
                format!(
                    "{name}의 입력을 회전했는데 되돌리는 것이 없습니다(residual stream의 회전, 곧 SpinQuant R1은 norm을 합칠 수 없는 이 구조에 쓸 수 없습니다)"
                ),
            )),
            (_, false) => Err((
                format!(
                    "the outputs of {name} are rotated and nothing undoes it (a rotation of the residual stream, SpinQuant's R1, is none of this architecture: its norms are not fused)"
                ),
                format!(
                    "{name}의 출력을 회전했는데 되돌리는 것이 없습니다(residual stream의 회전, 곧 SpinQuant R1은 norm을 합칠 수 없는 이 구조에 쓸 수 없습니다)"
                ),
            )),
        }
    }

    fn turn(&self, one: One, width: usize, module: Module, model: &ModelConfig) -> Result<Turn, Reason> {
        let group = &self.groups[one.group];
        let size = group.head_dim.unwrap_or(width);
        if size == 0 || !width.is_multiple_of(size) {
            let name = module.name(model.family);
            return Err((
                format!("blocks of {size} do not divide the {width} values of {name}"),
                format!("{name}의 값 {width}개는 {size}개씩 나누어지지 않습니다"),
            ));
        }
        Ok(Turn {
            group: group.name.clone(),
            kind: group.kind,
            permuted: group.permuted,
            size,
            inverse: one.inverse,
        })
    }
}

/// What is declared for one module.
#[derive(Clone, Debug, Default)]
struct Found {
    weight_input: Option<One>,
    weight_output: Option<One>,
    input: Option<One>,
    output: Option<One>,
}

#[derive(Clone, Copy, Debug)]
struct One {
    group: usize,
    inverse: bool,
}

fn group(name: &str, value: &Value, budget: &mut Budget) -> Result<Group, String> {
    let map = value.as_object().ok_or("not an object")?;
    // the name becomes part of tensor names
    if name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)) {
        return Err("the name is not one of up to 64 letters, digits, _ and -".to_owned());
    }
    let kind = match map.get("type").and_then(Value::as_str) {
        Some("hadamard") => TransformKind::Hadamard,
        Some("random-hadamard") => TransformKind::RandomHadamard,
        Some("random-matrix") => TransformKind::Matrix,
        _ => return Err(wrong(map, "type")),
    };
    let head_dim = match map.get("head_dim") {
        None | Some(Value::Null) => None,
        Some(v) => {
            let size = v.as_u64().filter(|d| (1..=1 << 20).contains(d));
            Some(size.ok_or_else(|| wrong(map, "head_dim"))? as usize)
        }
    };
    let permuted = flag(map, "randomize")?;
    let apply = match map.get("apply") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) if list.len() <= MAX => list
            .iter()
            .map(|value| self::apply(value, budget))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(format!("apply: a list of at most {MAX} entries is needed")),
    };
    Ok(Group {
        name: name.to_owned(),
        kind,
        permuted: permuted && kind != TransformKind::Matrix,
        head_dim,
        apply,
    })
}

fn apply(value: &Value, budget: &mut Budget) -> Result<Apply, String> {
    let map = value.as_object().ok_or("apply: not an object")?;
    let location = match map.get("location").and_then(Value::as_str) {
        Some("weight_input") => Location::WeightInput,
        Some("weight_output") => Location::WeightOutput,
        Some("input") => Location::Input,
        Some("output") => Location::Output,
        Some("q_attn" | "k_cache") => Location::Attention,
        _ => return Err(wrong(map, "location")),
    };
    let mut patterns = |name: &str| match map.get(name) {
        None | Some(Value::Null) => Ok(Patterns::default()),
        Some(list) => super::config::patterns(list, budget).map_err(|why| format!("{name}: {why}")),
    };
    Ok(Apply {
        targets: patterns("targets")?,
        ignore: patterns("ignore")?,
        location,
        inverse: flag(map, "inverse")?,
    })
}

fn flag(map: &Map<String, Value>, name: &str) -> Result<bool, String> {
    match map.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(v) => v.as_bool().ok_or_else(|| wrong(map, name)),
    }
}

fn wrong(map: &Map<String, Value>, name: &str) -> String {
    format!(
        "{name}: {}",
        quoted(&map.get(name).cloned().unwrap_or_default().to_string())
    )
}

impl Assigned {
    /// Names under which a module's matrix on one side may be stored.
    pub fn name(model: &ModelConfig, module: Module, turn: &Turn, output: bool) -> String {
        let side = if output { "output" } else { "input" };
        format!("{}.{}_{side}", module.name(model.family), turn.group)
    }

    /// Every matrix that is applied, with the names it may be stored under: it is shared, and stored with one of its modules. Inverses of
    /// Hadamard matrices are their transposes, and are the same tensor.
    pub fn stored(&self, model: &ModelConfig) -> BTreeMap<Turn, Vec<String>> {
        let mut names: BTreeMap<Turn, Vec<String>> = BTreeMap::new();
        for (module, turns) in &self.modules {
            for (turn, output) in [(&turns.input, false), (&turns.output, true)] {
                if let Some(turn) = turn {
                    let name = Assigned::name(model, *module, turn, output);
                    names.entry(turn.key()).or_default().push(name);
                }
            }
        }
        names
    }
}

impl Turn {
    /// What tells stored matrices apart.
    pub fn key(&self) -> Turn {
        Turn {
            inverse: self.inverse && self.kind == TransformKind::Matrix,
            ..self.clone()
        }
    }

    /// Whether the matrix is known without a tensor.
    pub fn is_known(&self) -> bool {
        self.kind == TransformKind::Hadamard && self.size.is_power_of_two() && !self.permuted
    }
}
