//! Which responses hold an answer at all, right or wrong.

use serde_json::Value;

use crate::config::OutputType;
use crate::error::TaskError;
use crate::filters::{NOTHING, Pipeline};
use crate::score::Response;
use crate::task::Task;

impl Task {
    /// How many documents no filter finds an answer for: each of them falls back on its default, or leaves nothing but
    /// space. `responses[d]` are those of document `d`. `None` where the task asks for no text.
    ///
    /// # Errors
    /// A filter that cannot be applied, as in [`score`](Self::score).
    pub fn unanswered(&self, responses: &[Vec<Response>]) -> Result<Option<usize>, TaskError> {
        if self.output() != OutputType::GenerateUntil {
            return Ok(None);
        }
        let strict: Vec<Pipeline> = self.config().filters.iter().map(Pipeline::without_fallbacks).collect();
        let mut unanswered = 0;
        for (index, responses) in responses.iter().enumerate() {
            let mut found = false;
            for pipeline in &strict {
                let texts = responses.iter().filter_map(|response| match response {
                    Response::Text(text) => Some(text.clone()),
                    Response::Loglikelihood { .. } => None,
                });
                let filtered = pipeline.apply(texts.collect(), self.doc(index).value);
                found |= says(
                    &filtered
                        .map_err(|fault| TaskError::new(pipeline.place.clone(), fault))?
                        .json(),
                );
            }
            unanswered += usize::from(!found);
        }
        Ok(Some(unanswered))
    }
}

fn says(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.trim().is_empty() && !text.contains(NOTHING),
        Value::Array(items) => items.iter().any(says),
        Value::Null => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::set::TaskSet;

    #[test]
    fn a_document_is_unanswered_when_no_filter_finds_anything() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/tasks");
        let set = TaskSet::load(root.as_ref(), &["mini_gsm".into(), "mini_arc".into()]).unwrap();
        let gsm = set.task("mini_gsm").unwrap();
        let said = |text: &str| vec![Response::Text(text.into())];
        // The strict filter fails on the second, both on the last two.
        let responses = [said("#### 12"), said("it is 12."), said("I do not know"), said(" \n")];
        assert_eq!(gsm.unanswered(&responses).unwrap(), Some(2));
        assert_eq!(gsm.unanswered(&[said("[invalid] 1")]).unwrap(), Some(0));
        assert_eq!(set.task("mini_arc").unwrap().unanswered(&[]).unwrap(), None);
    }
}
