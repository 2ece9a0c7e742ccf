//! Names that files may have, parsed once: a value of these types cannot leave its folder.

/// A name a submission's file may have. There is no way to make one that leaves its folder, hides, or is executable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileName(String);

/// The files beside the weights that a checkpoint folder of the usual tools holds.
const KNOWN: &[&str] = &[
    "added_tokens.json",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "model.safetensors.index.json",
    "recipe.yaml",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
];

impl FileName {
    /// Accepts a known companion file or `<letters, digits, . _ ->.safetensors` of at most 128 characters.
    #[must_use]
    pub fn parse(name: &str) -> Option<FileName> {
        let weights = name.strip_suffix(".safetensors").is_some_and(|stem| {
            stem.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name.len() <= 128
                && stem
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        });
        (weights || KNOWN.contains(&name)).then(|| FileName(name.to_owned()))
    }

    /// The name as a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for a file that holds tensors, the only files a score weighs.
    #[must_use]
    pub fn is_weights(&self) -> bool {
        self.0.ends_with(".safetensors")
    }
}

/// A name an output of a worker may have: one path component, no leading dot.
#[must_use]
pub fn output_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && !name.starts_with('.')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_a_checkpoint_pass() {
        for good in [
            "config.json",
            "model.safetensors",
            "model-00001-of-00005.safetensors",
            "tokenizer_config.json",
        ] {
            assert!(FileName::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            ".safetensors",
            "..safetensors",
            "../config.json",
            "a/b.safetensors",
            "a\\b.safetensors",
            "modeling_exaone.py",
            "pytorch_model.bin",
            ".hidden.safetensors",
            "가중치.safetensors",
            "config.json\0",
            "CONFIG.JSON",
        ] {
            assert!(FileName::parse(bad).is_none(), "{bad}");
        }
        assert!(FileName::parse(&format!("{}.safetensors", "a".repeat(120))).is_none());
        assert!(!output_name("..") && !output_name("") && output_name("samples_mini_gsm.jsonl"));
    }
}
