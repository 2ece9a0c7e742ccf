//! Reading single fields of a JSON object, collecting what is wrong with them.

use serde_json::{Map, Value};

use crate::problem::{Problems, problem, quoted};

/// Largest accepted values. Each leaves room above the largest published EXAONE; together no product of three reaches 2^64.
pub mod bounds {
    /// rows of the embedding (EXAONE: 102,400)
    pub const VOCAB: u64 = 1 << 20;
    /// residual width (EXAONE 4.0 32B: 5,120)
    pub const HIDDEN: u64 = 1 << 15;
    /// MLP width (32B: 27,392)
    pub const INTERMEDIATE: u64 = 1 << 17;
    /// layers (32B: 64)
    pub const LAYERS: u64 = 256;
    /// heads (32B: 40)
    pub const HEADS: u64 = 256;
    /// head width (32B: 128)
    pub const HEAD_DIM: u64 = 512;
    /// positions (32B: 131,072)
    pub const POSITIONS: u64 = 1 << 24;
}

/// A view of config.json that collects problems.
pub(super) struct Fields<'a> {
    pub map: &'a Map<String, Value>,
    pub problems: Problems,
}

impl<'a> Fields<'a> {
    /// The first of these names whose value is not null.
    pub fn get(&self, names: &[&'static str]) -> Option<(&'static str, &'a Value)> {
        names
            .iter()
            .find_map(|name| self.map.get(*name).filter(|v| !v.is_null()).map(|v| (*name, v)))
    }

    /// Two spellings of one field must agree, because different loaders read different ones.
    pub fn agree(&mut self, names: &[&'static str]) {
        let present: Vec<_> = names
            .iter()
            .filter_map(|n| self.map.get(*n).filter(|v| !v.is_null()).map(|v| (*n, v)))
            .collect();
        if let [(a, x), (b, y), ..] = present[..]
            && x != y
        {
            self.problems.push(problem(
                "config-fields-disagree",
                format!("config.json: {a}"),
                (
                    format!("{a} and {b} mean the same and have different values"),
                    format!("{a}와 {b}는 같은 뜻인데 값이 다릅니다"),
                ),
                (
                    format!("Keep one of {a} and {b}."),
                    format!("{a}와 {b} 중 하나만 남겨 주세요."),
                ),
            ));
        }
    }

    /// A required whole number in `min..=max`.
    pub fn count(&mut self, names: &[&'static str], min: u64, max: u64) -> Option<usize> {
        if self.get(names).is_none() {
            self.missing(names[0]);
            return None;
        }
        self.optional_count(names, min, max)
    }

    /// A whole number in `min..=max`, or nothing when absent or null.
    pub fn optional_count(&mut self, names: &[&'static str], min: u64, max: u64) -> Option<usize> {
        let (name, value) = self.get(names)?;
        match value.as_u64() {
            Some(n) if (min..=max).contains(&n) => Some(n as usize),
            _ => {
                self.out_of_range(name, value, format!("{min}–{max}"));
                None
            }
        }
    }

    /// A finite number in `min..=max`, or nothing when absent or null.
    pub fn optional_number(&mut self, names: &[&'static str], min: f64, max: f64) -> Option<f64> {
        let (name, value) = self.get(names)?;
        match value.as_f64() {
            Some(n) if (min..=max).contains(&n) => Some(n),
            _ => {
                self.out_of_range(name, value, format!("{min:e}–{max:e}"));
                None
            }
        }
    }

    /// A flag, or nothing when absent or null.
    pub fn optional_flag(&mut self, name: &'static str) -> Option<bool> {
        let (_, value) = self.get(&[name])?;
        if value.as_bool().is_none() {
            self.out_of_range(name, value, "true | false".to_owned());
        }
        value.as_bool()
    }

    /// A token id below the vocabulary's size, or nothing.
    pub fn optional_token(&mut self, name: &'static str, vocab: Option<usize>) -> Option<u32> {
        let max = vocab.map_or(bounds::VOCAB, |v| v as u64).saturating_sub(1);
        self.optional_count(&[name], 0, max).and_then(|n| u32::try_from(n).ok())
    }

    pub fn missing(&mut self, name: &str) {
        self.problems.push(problem(
            "config-field-missing",
            format!("config.json: {name}"),
            (format!("{name} is missing"), format!("{name} 항목이 없습니다")),
            (
                format!("Copy {name} from the base model's config.json (or write the value your model has)."),
                format!("기준 모델의 config.json에서 {name}을(를) 가져오거나 모델의 실제 값을 적어 주세요."),
            ),
        ));
    }

    pub fn out_of_range(&mut self, name: &str, value: &Value, allowed: String) {
        let shown = quoted(&value.to_string());
        self.problems.push(problem(
            "config-field-invalid",
            format!("config.json: {name}"),
            (
                format!("{name} is {shown}; allowed: {allowed}"),
                format!("{name} 값이 {shown}입니다. 가능한 값: {allowed}"),
            ),
            (
                format!("Correct {name} in config.json."),
                format!("config.json의 {name} 값을 고쳐 주세요."),
            ),
        ));
    }

    /// A rejection with its own code.
    pub fn reject(&mut self, code: &str, field: &str, message: (String, String), fix: (&str, &str)) {
        self.problems
            .push(problem(code, format!("config.json: {field}"), message, fix));
    }
}
