//! The requests a task makes for its documents: examples drawn, turns built, prompts written.

use assay_contest::Profile;
use serde_json::{Map, Value};

use super::{Instance, InstanceKind, Settings, Task, pick};
use crate::chat::ChatTemplateError;
use crate::config::{FieldValue, OutputType};
use crate::error::{Fault, Place, TaskError};
use crate::fields::{self, Bound, Doc};
use crate::metrics::Kind;
use crate::prompt::{self, Turn};
use crate::python::is_space;
use crate::sampler::Sampler;

/// Most text that the requests of one task may hold together, bytes.
const MAX_TEXT: usize = 2 << 30;

impl Task {
    /// Every request, document after document, in the order [`score`](Self::score) wants the responses.
    pub fn instances(&self, settings: &Settings<'_>) -> Result<Vec<Instance>, TaskError> {
        if settings.profile != Profile::Plain && settings.chat.is_none() {
            return Err(TaskError::new(self.config.place.clone(), Fault::NoChatTemplate));
        }
        let thoughtless = self.config.output != OutputType::GenerateUntil && settings.profile != Profile::ChatSingle049;
        if settings.thinking && thoughtless {
            return Err(TaskError::new(self.config.place.clone(), Fault::ThinkingChoices));
        }
        let mut sampler = Sampler::new(settings.seed, self.config.few_shot.first_n);
        let (mut all, mut bytes) = (Vec::new(), 0usize);
        if self.doc_count(settings.limit) == 0 {
            let split = self
                .config
                .test_split
                .as_ref()
                .or(self.config.validation_split.as_ref());
            let split = split.cloned().unwrap_or_default();
            return Err(TaskError::new(self.config.place.clone(), Fault::NoDocuments { split }));
        }
        for index in 0..self.doc_count(settings.limit) {
            let doc = self.doc(index);
            let requests = self.requests(doc, &mut sampler, settings)?;
            for (index, kind) in requests.into_iter().enumerate() {
                bytes = bytes.saturating_add(kind.prompt().len().saturating_mul(self.config.repeats));
                if bytes > MAX_TEXT {
                    let (what, limit, unit) = ("text of all prompts", MAX_TEXT as u64, "bytes");
                    return Err(TaskError::new(
                        self.config.place.clone(),
                        Fault::TooLarge { what, limit, unit },
                    ));
                }
                for repeat in 0..self.config.repeats {
                    all.push(Instance {
                        task: self.config.task.clone(),
                        doc: doc.index,
                        index,
                        repeat,
                        kind: kind.clone(),
                    });
                }
            }
        }
        Ok(all)
    }

    fn requests(
        &self,
        doc: Doc<'_>,
        sampler: &mut Sampler,
        settings: &Settings<'_>,
    ) -> Result<Vec<InstanceKind>, TaskError> {
        let contexts = self.contexts(doc, sampler, settings)?;
        let target = || fields::target(&self.bound.target, doc, &self.templates, self.bound.choices.is_some());
        let score = |context: &String, continuation: String| InstanceKind::Loglikelihood {
            context: context.clone(),
            continuation,
        };
        match self.config.output {
            OutputType::GenerateUntil => Ok(contexts
                .into_iter()
                .map(|prompt| InstanceKind::Generate {
                    prompt,
                    until: self.config.generation.until.clone(),
                    max_tokens: settings.max_gen_toks.or(self.config.generation.max_tokens),
                })
                .collect()),
            OutputType::Loglikelihood => {
                let target = target()?;
                let text = target.as_str().ok_or_else(|| self.target_error(doc, "is no text"))?;
                Ok(contexts.iter().map(|context| score(context, text.to_owned())).collect())
            }
            OutputType::MultipleChoice => {
                let choices = self.choices(doc)?;
                let delimiter = self.choice_delimiter(settings.profile);
                let mut requests: Vec<InstanceKind> = if self.multiple_input {
                    let continuation = format!("{delimiter}{}", crate::python::str(&target()?));
                    contexts
                        .iter()
                        .map(|context| score(context, continuation.clone()))
                        .collect()
                } else {
                    let context = contexts.first().cloned().unwrap_or_default();
                    choices
                        .iter()
                        .map(|choice| score(&context, format!("{delimiter}{choice}")))
                        .collect()
                };
                if self.mutual_info() {
                    let alone = choices
                        .iter()
                        .map(|choice| score(&String::new(), format!("{delimiter}{choice}")));
                    requests.extend(alone);
                }
                Ok(requests)
            }
        }
    }

    pub(crate) fn mutual_info(&self) -> bool {
        self.config
            .metrics
            .iter()
            .any(|m| matches!(m.kind, Kind::AccMutualInfo))
    }

    /// Between context and choice. A chat template ends its own way: then nothing, unless the answer has been started.
    fn choice_delimiter(&self, profile: Profile) -> &str {
        match profile {
            Profile::Plain => return &self.config.target_delimiter,
            Profile::ChatSingle049 => return "",
            Profile::Chat | Profile::ChatSingle => {}
        }
        let prefix = self.config.gen_prefix.as_ref().map(|f| &f.value);
        match prefix {
            Some(FieldValue::Written(p)) if !p.is_empty() && !p.ends_with(is_space) => &self.config.target_delimiter,
            _ => "",
        }
    }

    /// The document's prompts: one, or one for every choice.
    fn contexts(&self, doc: Doc<'_>, sampler: &mut Sampler, settings: &Settings<'_>) -> Result<Vec<String>, TaskError> {
        if let (Profile::ChatSingle049, Some(chat)) = (settings.profile, settings.chat) {
            return self.contexts_049(doc, sampler, settings, chat);
        }
        let text = |bound: &Option<Bound>, doc| match bound {
            Some(bound) => fields::text(bound, doc, &self.templates).map(Some),
            None => Ok(None),
        };
        let mut turns: Vec<Turn> = Vec::new();
        turns.extend(prompt::system(&text(&self.bound.description, doc)?.unwrap_or_default()));
        let n = self.num_fewshot(settings);
        let empty = doc.value.as_object().is_none_or(Map::is_empty);
        let own = (self.same_split && !empty).then_some(doc.value);
        let shots = sampler.draw(&self.pool, n, own).map_err(|fault| {
            let place = self.config.place.clone();
            TaskError::new(place, fault)
        })?;
        for index in shots {
            self.shot(index, &mut turns)?;
        }
        let prefix = text(&self.bound.prefix, doc)?.filter(|p| !p.is_empty());
        let question = self.question(doc)?;
        let questions = if self.multiple_input {
            self.choices(doc)?
                .into_iter()
                .map(|q| prompt::question(&q, prefix.as_deref(), ""))
                .collect()
        } else {
            let question = question
                .as_str()
                .ok_or_else(|| doc.error(&self.bound.text, "is no text"))?;
            vec![prompt::question(
                question,
                prefix.as_deref(),
                &self.config.target_delimiter,
            )]
        };
        let shared = turns.len();
        questions
            .into_iter()
            .map(|question: Vec<Turn>| {
                turns.truncate(shared);
                turns.extend(question);
                prompt::write(&turns, settings.profile, prefix.is_some(), settings.chat)
                    .map_err(|error| Self::chat_error(&error))
            })
            .collect()
    }

    /// A chat template's refusal.
    pub(super) fn chat_error(error: &ChatTemplateError) -> TaskError {
        let (key, message) = ("chat_template".into(), error.0.clone());
        TaskError::new(Place::file("chat_template.jinja"), Fault::Template { key, message })
    }

    /// One few-shot example.
    fn shot(&self, index: usize, turns: &mut Vec<Turn>) -> Result<(), TaskError> {
        let Some(value) = self.pool.get(index) else {
            return Ok(());
        };
        let doc = Doc { index, value };
        let few_shot = &self.config.few_shot;
        let numbers = self.bound.choices.is_some();
        let text = self.bound.shot_text.as_ref().unwrap_or(&self.bound.text);
        let target = self.bound.shot_target.as_ref().unwrap_or(&self.bound.target);
        let mut question = fields::question(text, doc, &self.templates, numbers)?;
        let answer = fields::target(target, doc, &self.templates, numbers)?;
        let mut choices = match &self.bound.shot_choices {
            Some(bound) => Some(fields::choices(bound, doc, &self.templates)?),
            None => None,
        };
        if self.multiple_input {
            let chosen = choices.take().and_then(|choices| pick(&choices, &question));
            question = chosen
                .map(Value::String)
                .ok_or_else(|| doc.error(text, "is no number of a choice"))?;
        }
        let question = question
            .as_str()
            .ok_or_else(|| doc.error(text, "is no text in an example"))?;
        let answer = match (&choices, &answer) {
            (_, Value::Null) => Some(String::new()),
            (_, Value::String(text)) => Some(text.clone()),
            (_, Value::Array(items)) => items.first().and_then(Value::as_str).map(str::to_owned),
            (Some(choices), number) => pick(choices, number),
            _ => None,
        };
        let answer = answer.ok_or_else(|| doc.error(target, "is no answer in an example"))?;
        let prefix = match &self.bound.shot_prefix {
            Some(bound) => Some(fields::text(bound, doc, &self.templates)?),
            None => None,
        };
        turns.extend(prompt::example(
            question,
            &answer,
            prefix.as_deref(),
            &few_shot.target_delimiter,
            &few_shot.fewshot_delimiter,
        ));
        Ok(())
    }
}
