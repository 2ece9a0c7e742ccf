//! A task's configuration as the results file of the harness shows it: the same keys in the same order, nulls left out.

use serde_json::{Map, Value};

use super::{Field, FieldValue, OutputType, Reader, TaskConfig};
use crate::yaml::Node;

impl TaskConfig {
    /// As the results file shows it, with the number of few-shot examples and the budget that were used.
    pub fn json(&self, num_fewshot: usize, max_gen_toks: Option<usize>) -> Value {
        let mut raw = self.raw.clone();
        // The key keeps the place it was written with.
        raw.insert("num_fewshot".into(), Value::from(num_fewshot));
        if self.output == OutputType::GenerateUntil && max_gen_toks.is_some() {
            let kwargs = self.generation.kwargs_with(max_gen_toks);
            raw.insert("generation_kwargs".into(), Value::Object(kwargs));
        }
        Value::Object(raw)
    }

    pub(super) fn dump(&self, reader: &Reader<'_>, metadata: Value) -> Map<String, Value> {
        let written = |key: &str| reader.get(key).map_or(Value::Null, |l| l.node.json());
        let or = |key: &str, default: Value| reader.get(key).map_or(default, |l| l.node.json());
        let mut out = Map::new();
        let mut put = |key: &str, value: Value| {
            if !value.is_null() {
                out.insert(key.to_owned(), value);
            }
        };
        put("task", Value::from(self.task.clone()));
        for key in ["task_alias", "dataset_path", "dataset_name"] {
            put(key, written(key));
        }
        let mut kwargs = written("dataset_kwargs");
        if let Some(map) = kwargs.as_object_mut() {
            map.shift_remove("trust_remote_code");
        }
        put("dataset_kwargs", kwargs);
        for key in [
            "training_split",
            "validation_split",
            "test_split",
            "fewshot_split",
            "doc_to_text",
            "doc_to_target",
        ] {
            put(key, written(key));
        }
        put("unsafe_code", Value::from(false));
        put("doc_to_choice", written("doc_to_choice"));
        put("description", or("description", "".into()));
        put("target_delimiter", or("target_delimiter", " ".into()));
        put("fewshot_delimiter", or("fewshot_delimiter", "\n\n".into()));
        put("fewshot_config", self.few_shot_json(reader));
        put("num_fewshot", Value::from(self.num_fewshot.unwrap_or(0)));
        put("metric_list", written("metric_list"));
        put("output_type", Value::from(self.output.name()));
        if !self.generation.kwargs.is_empty() {
            put("generation_kwargs", Value::Object(self.generation.kwargs.clone()));
        }
        put("repeats", Value::from(self.repeats));
        put("filter_list", written("filter_list"));
        put("should_decontaminate", or("should_decontaminate", false.into()));
        put("doc_to_decontamination_query", written("doc_to_decontamination_query"));
        put("gen_prefix", written("gen_prefix"));
        put("metadata", metadata);
        out
    }

    fn few_shot_json(&self, reader: &Reader<'_>) -> Value {
        let few_shot = &self.few_shot;
        let field = |field: &Option<Field>| match field.as_ref().map(|f| &f.value) {
            None => Value::Null,
            Some(FieldValue::Written(text)) => Value::from(text.clone()),
            Some(FieldValue::Fixed(value)) => value.clone(),
        };
        // A mapping of choices is shown as it is written.
        let choices = || {
            let own = reader.get("fewshot_config").and_then(|l| l.node.get("doc_to_choice"));
            let task = || reader.get("doc_to_choice").map(|l| &l.node);
            own.or_else(task).map_or(Value::Null, Node::json)
        };
        let samples = few_shot.samples.clone().map_or(Value::Null, Value::Array);
        let pairs = [
            (
                "sampler",
                Value::from(if few_shot.first_n { "first_n" } else { "default" }),
            ),
            ("split", few_shot.split.clone().map_or(Value::Null, Value::from)),
            ("process_docs", Value::Null),
            ("fewshot_indices", few_shot.indices.clone()),
            ("samples", samples),
            ("doc_to_text", field(&few_shot.doc_to_text)),
            ("doc_to_choice", choices()),
            ("doc_to_target", field(&few_shot.doc_to_target)),
            ("gen_prefix", field(&few_shot.gen_prefix)),
            ("fewshot_delimiter", Value::from(few_shot.fewshot_delimiter.clone())),
            ("target_delimiter", Value::from(few_shot.target_delimiter.clone())),
        ];
        Value::Object(pairs.map(|(key, value)| (key.to_owned(), value)).into_iter().collect())
    }
}
