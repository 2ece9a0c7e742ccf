//! Comparing a submission's tokenizer and chat template with the contest's, by meaning.
//!
//! The contest's own are used whatever is uploaded. But a model trained or calibrated with another tokenizer would be graded
//! with the wrong one, so a difference in meaning is a problem; what compression tools leave behind (truncation, padding, the
//! order of keys, older spellings of merges and of defaults) is not a difference.

use std::collections::BTreeMap;

use assay_contest::Problem;
use serde_json::{Map, Value, json};

use crate::base::BaseModel;
use crate::listing::{Content, ListedFile, Listing};
use crate::problem::{Problems, problem, quoted};
use crate::strict_json::{self, Limits};

/// tokenizer.json: EXAONE's has 102,400 entries and as many merges, about 8 MB.
const LIMITS: Limits = Limits {
    bytes: 48 << 20,
    depth: 16,
    values: 4_000_000,
};
const CONFIG_LIMITS: Limits = Limits {
    bytes: 4 << 20,
    depth: 16,
    values: 100_000,
};

/// A tokenizer.json reduced to what decides how text becomes tokens.
#[derive(Debug, PartialEq)]
pub(crate) struct Meaning {
    /// the kind of model and its settings, vocabulary and merges taken out
    model: Value,
    /// token to id, added tokens included
    vocab: BTreeMap<String, u64>,
    merges: Vec<(String, String)>,
    /// by id: content, single_word, lstrip, rstrip, normalized, special
    added: BTreeMap<u64, (String, [bool; 5])>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
}

impl Meaning {
    /// Reads tokenizer.json; the error says what is unreadable about it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Meaning, String> {
        let value = strict_json::parse(bytes, LIMITS).map_err(|e| quoted(&e.to_string()))?;
        let Value::Object(mut root) = value else {
            return Err("not a JSON object".to_owned());
        };
        let Some(Value::Object(mut model)) = root.remove("model") else {
            return Err("no \"model\"".to_owned());
        };
        let mut vocab = match model.remove("vocab") {
            Some(Value::Object(entries)) => entries
                .into_iter()
                .map(|(token, id)| id.as_u64().map(|id| (token, id)))
                .collect::<Option<BTreeMap<_, _>>>()
                .ok_or("a vocabulary id is not a number")?,
            _ => return Err("no vocabulary of the BPE kind".to_owned()),
        };
        let merges = match model.remove("merges") {
            Some(Value::Array(list)) => list
                .iter()
                .map(merge)
                .collect::<Option<Vec<_>>>()
                .ok_or("a merge is not a pair")?,
            None | Some(Value::Null) => Vec::new(),
            Some(_) => return Err("\"merges\" is not a list".to_owned()),
        };
        let added = added_tokens(root.remove("added_tokens"))?;
        for (id, (content, _)) in &added {
            // Some tools list added tokens in the vocabulary as well, some do not: the ids decide.
            vocab.entry(content.clone()).or_insert(*id);
        }
        let mut part = |name: &str| normalized(root.remove(name).unwrap_or_default());
        Ok(Meaning {
            normalizer: part("normalizer"),
            pre_tokenizer: part("pre_tokenizer"),
            post_processor: part("post_processor"),
            decoder: part("decoder"),
            model: with_defaults(model),
            vocab,
            merges,
            added,
        })
    }

    /// The parts that differ, each with a concrete example: (part, English, Korean).
    fn differences(&self, base: &Meaning) -> Vec<(&'static str, String, String)> {
        let mut found = Vec::new();
        if self.vocab != base.vocab {
            found.push(("vocab", vocab_difference(&self.vocab, &base.vocab)));
        }
        if self.merges != base.merges {
            let at = self.merges.iter().zip(&base.merges).take_while(|(a, b)| a == b).count();
            let shown =
                |m: &[(String, String)]| m.get(at).map_or("—".to_owned(), |(a, b)| quoted(&format!("{a} {b}")));
            found.push((
                "merges",
                format!("#{at}: {} ≠ {}", shown(&self.merges), shown(&base.merges)),
            ));
        }
        if self.added != base.added {
            let ids = self.added.keys().chain(base.added.keys());
            let id = ids
                .copied()
                .filter(|id| self.added.get(id) != base.added.get(id))
                .min()
                .unwrap_or_default();
            let shown =
                |m: &BTreeMap<u64, (String, [bool; 5])>| m.get(&id).map_or("—".to_owned(), |(c, _)| quoted(c));
            found.push((
                "added_tokens",
                format!("id {id}: {} ≠ {}", shown(&self.added), shown(&base.added)),
            ));
        }
        let parts = [
            ("model", &self.model, &base.model),
            ("normalizer", &self.normalizer, &base.normalizer),
            ("pre_tokenizer", &self.pre_tokenizer, &base.pre_tokenizer),
            ("post_processor", &self.post_processor, &base.post_processor),
            ("decoder", &self.decoder, &base.decoder),
        ];
        for (name, ours, theirs) in parts {
            if ours != theirs {
                found.push((
                    name,
                    format!("{} ≠ {}", quoted(&ours.to_string()), quoted(&theirs.to_string())),
                ));
            }
        }
        found
            .into_iter()
            .map(|(name, example)| {
                (
                    name,
                    format!("{name} differs ({example})"),
                    format!("{name}이(가) 다릅니다 ({example})"),
                )
            })
            .collect()
    }
}

fn vocab_difference(ours: &BTreeMap<String, u64>, theirs: &BTreeMap<String, u64>) -> String {
    let shown = |id: Option<&u64>| id.map_or("—".to_owned(), u64::to_string);
    let token = ours
        .keys()
        .chain(theirs.keys())
        .filter(|t| ours.get(*t) != theirs.get(*t))
        .min();
    let token = token.map(String::as_str).unwrap_or_default();
    format!(
        "\"{}\": {} ≠ {}; {} ≠ {}",
        quoted(token),
        shown(ours.get(token)),
        shown(theirs.get(token)),
        ours.len(),
        theirs.len()
    )
}

/// `"a b"` (older) or `["a", "b"]`.
fn merge(value: &Value) -> Option<(String, String)> {
    match value {
        Value::String(pair) => pair.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())),
        Value::Array(pair) => match &pair[..] {
            [Value::String(a), Value::String(b)] => Some((a.clone(), b.clone())),
            _ => None,
        },
        _ => None,
    }
}

fn added_tokens(value: Option<Value>) -> Result<BTreeMap<u64, (String, [bool; 5])>, String> {
    let list = match value {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err("\"added_tokens\" is not a list".to_owned()),
    };
    let mut added = BTreeMap::new();
    for token in list {
        let (Some(id), Some(content)) = (token["id"].as_u64(), token["content"].as_str()) else {
            return Err("an added token lacks id or content".to_owned());
        };
        let special = token["special"].as_bool().unwrap_or(false);
        let flag = |name: &str, default: bool| token[name].as_bool().unwrap_or(default);
        let flags = [
            flag("single_word", false),
            flag("lstrip", false),
            flag("rstrip", false),
            flag("normalized", !special),
            special,
        ];
        if added.insert(id, (content.to_owned(), flags)).is_some() {
            return Err(format!("two added tokens have id {id}"));
        }
    }
    Ok(added)
}

/// The model's settings with what the tokenizers library assumes when a field is absent.
fn with_defaults(mut model: Map<String, Value>) -> Value {
    model.entry("type").or_insert(json!("BPE"));
    for name in [
        "dropout",
        "unk_token",
        "continuing_subword_prefix",
        "end_of_word_suffix",
    ] {
        model.entry(name).or_insert(Value::Null);
    }
    // an empty prefix or suffix adds nothing
    for name in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if model.get(name).and_then(Value::as_str) == Some("") {
            model.insert(name.to_owned(), Value::Null);
        }
    }
    for name in ["fuse_unk", "byte_fallback", "ignore_merges"] {
        model.entry(name).or_insert(json!(false));
    }
    Value::Object(model)
}

/// A pipeline part with defaults written out, and a sequence of one replaced by that one.
fn normalized(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(normalized).collect()),
        Value::Object(fields) => {
            let mut fields: Map<String, Value> = fields.into_iter().map(|(k, v)| (k, normalized(v))).collect();
            match fields.get("type").and_then(Value::as_str) {
                Some("ByteLevel") => {
                    for name in ["add_prefix_space", "trim_offsets", "use_regex"] {
                        fields.entry(name).or_insert(json!(true));
                    }
                }
                Some("Split") => {
                    fields.entry("invert").or_insert(json!(false));
                }
                Some("Sequence") => {
                    let list = ["pretokenizers", "normalizers", "processors", "decoders"]
                        .into_iter()
                        .find_map(|n| fields.get(n));
                    if let Some(Value::Array(items)) = list
                        && let [only] = &items[..]
                    {
                        return only.clone();
                    }
                }
                _ => {}
            }
            Value::Object(fields)
        }
        other => other,
    }
}

/// The chat template of a folder: its own file, or the field of tokenizer_config.json.
pub(crate) fn chat_template(listing: &Listing) -> Option<Vec<u8>> {
    if let Some(file) = listing.text("chat_template.jinja") {
        return Some(file.to_vec());
    }
    let config = strict_json::parse(listing.text("tokenizer_config.json")?, CONFIG_LIMITS).ok()?;
    config["chat_template"].as_str().map(|t| t.as_bytes().to_vec())
}

/// A template's text with line ends unified; a trailing newline is dropped by Jinja itself.
fn same_template(a: &[u8], b: &[u8]) -> bool {
    let plain = |t: &[u8]| {
        String::from_utf8_lossy(t)
            .replace("\r\n", "\n")
            .trim_end_matches('\n')
            .to_owned()
    };
    plain(a) == plain(b)
}

/// Compares; problems for differences in meaning, findings for what is absent.
pub(crate) fn check(listing: &Listing, base: Option<&BaseModel>, problems: &mut Problems, findings: &mut Problems) {
    tokenizer(listing, base, problems, findings);
    let (Some(base), Some(ours)) = (base, chat_template(listing)) else {
        return;
    };
    if !base
        .chat_template
        .as_ref()
        .is_some_and(|theirs| same_template(&ours, theirs))
    {
        problems.push(problem(
            "chat-template-differs",
            "chat_template.jinja",
            (
                "the chat template is not the base model's; prompts are always built with the base model's",
                "채팅 템플릿이 기준 모델의 것과 다릅니다. 프롬프트는 항상 기준 모델의 템플릿으로 만듭니다",
            ),
            (
                "Upload the base model's chat template, or none.",
                "기준 모델의 채팅 템플릿을 올리거나 아예 올리지 마세요.",
            ),
        ));
    }
}

fn tokenizer(listing: &Listing, base: Option<&BaseModel>, problems: &mut Problems, findings: &mut Problems) {
    let bytes = match listing.file("tokenizer.json") {
        Some(ListedFile {
            content: Content::Text(bytes),
            ..
        }) => bytes,
        // a folder, a link or an oversized file is reported by name elsewhere
        Some(_) => return,
        None => {
            findings.push(problem(
                "tokenizer-absent",
                "tokenizer.json",
                (
                    "no tokenizer.json; the contest's own is used anyway",
                    "tokenizer.json이 없습니다. 어차피 대회의 토크나이저를 씁니다",
                ),
                ("Nothing has to be done.", "할 일은 없습니다."),
            ));
            return;
        }
    };
    let Some(base) = base else { return };
    if base.tokenizer.as_ref() == Some(bytes) {
        return;
    }
    let Some(theirs) = base.tokenizer_meaning() else { return };
    let fix = (
        "Upload the base model's tokenizer.json unchanged, or none: the contest's own is used.",
        "기준 모델의 tokenizer.json을 그대로 올리거나 올리지 마세요. 대회의 토크나이저를 씁니다.",
    );
    match Meaning::parse(bytes) {
        Ok(ours) => {
            for (part, en, ko) in ours.differences(theirs) {
                problems.push(differs(part, en, ko, fix));
            }
        }
        Err(why) => problems.push(problem(
            "tokenizer-unreadable",
            "tokenizer.json",
            (
                format!("tokenizer.json cannot be read: {why}"),
                format!("tokenizer.json을 읽을 수 없습니다: {why}"),
            ),
            fix,
        )),
    }
}

fn differs(part: &str, en: String, ko: String, fix: (&str, &str)) -> Problem {
    let message = (
        format!("the tokenizer is not the base model's: {en}"),
        format!("토크나이저가 기준 모델의 것과 다릅니다: {ko}"),
    );
    problem("tokenizer-differs", format!("tokenizer.json: {part}"), message, fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Value {
        json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [{"id": 2, "content": "<s>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}],
            "normalizer": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "post_processor": null, "decoder": {"type": "ByteLevel"},
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 3}, "merges": [["a", "b"]]}
        })
    }

    fn changed(change: impl FnOnce(&mut Value)) -> Vec<&'static str> {
        let mut ours = base();
        change(&mut ours);
        let parse = |v: &Value| Meaning::parse(v.to_string().as_bytes()).unwrap();
        parse(&ours)
            .differences(&parse(&base()))
            .into_iter()
            .map(|(name, ..)| name)
            .collect()
    }

    #[test]
    fn what_tools_leave_behind_is_no_difference() {
        assert!(changed(|_| {}).is_empty());
        assert!(changed(|t| t["truncation"] = json!({"max_length": 256, "strategy": "LongestFirst"})).is_empty());
        assert!(changed(|t| t["padding"] = json!({"strategy": "BatchLongest"})).is_empty());
        assert!(changed(|t| t["model"]["merges"] = json!(["a b"])).is_empty());
        assert!(changed(|t| t["model"]["ignore_merges"] = json!(false)).is_empty());
        assert!(changed(|t| t["model"]["vocab"]["<s>"] = json!(2)).is_empty());
        assert!(changed(|t| t["decoder"]["use_regex"] = json!(true)).is_empty());
        assert!(changed(|t| t["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [t["pre_tokenizer"].clone()]})).is_empty());
    }

    #[test]
    fn every_part_that_decides_tokens_is_compared() {
        assert_eq!(changed(|t| t["model"]["vocab"]["c"] = json!(9)), ["vocab"]);
        assert_eq!(changed(|t| t["model"]["vocab"]["a"] = json!(7)), ["vocab"]);
        assert_eq!(changed(|t| t["model"]["merges"] = json!([])), ["merges"]);
        assert_eq!(changed(|t| t["model"]["ignore_merges"] = json!(true)), ["model"]);
        assert_eq!(
            changed(|t| t["added_tokens"][0]["lstrip"] = json!(true)),
            ["added_tokens"]
        );
        assert_eq!(changed(|t| t["normalizer"] = json!({"type": "NFC"})), ["normalizer"]);
        assert_eq!(
            changed(|t| t["pre_tokenizer"]["add_prefix_space"] = json!(true)),
            ["pre_tokenizer"]
        );
        assert_eq!(
            changed(|t| t["post_processor"] = json!({"type": "ByteLevel"})),
            ["post_processor"]
        );
        assert_eq!(changed(|t| t["decoder"] = json!(null)), ["decoder"]);
    }

    #[test]
    fn broken_tokenizers_are_errors_not_panics() {
        for source in [
            "",
            "[]",
            "{}",
            r#"{"model":3}"#,
            r#"{"model":{"vocab":{"a":"x"}}}"#,
            r#"{"model":{"vocab":{},"merges":[[1]]}}"#,
        ] {
            assert!(Meaning::parse(source.as_bytes()).is_err(), "{source}");
        }
    }
}
