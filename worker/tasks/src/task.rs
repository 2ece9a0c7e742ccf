//! One task with its documents: the requests it makes of a model.

use std::sync::Arc;

use assay_contest::Profile;
use serde_json::{Map, Value};

use crate::chat::ChatTemplate;
use crate::config::{OutputType, TaskConfig};
use crate::data::{self, Docs};
use crate::error::{Fault, Place, TaskError};
use crate::fields::{self, Bound, Doc};
use crate::metrics::Kind;
use crate::prompt::{self, Turn};
use crate::python::is_space;
use crate::sampler::Sampler;
use crate::source::Source;
use crate::template::Templates;

/// How many of a task's documents are asked, from the first.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Limit {
    /// So many.
    Docs(usize),
    /// This share of them, rounded up. Below 1.
    Share(f64),
}

/// How prompts are built. The same settings give the same prompts, always.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// Plain or chat.
    pub profile: Profile,
    /// How many documents; all where absent.
    pub limit: Option<Limit>,
    /// How many few-shot examples, instead of the task's own number. A task that says 0 keeps it.
    pub num_fewshot: Option<usize>,
    /// The few-shot seed; 1234 in the harness.
    pub seed: u64,
    /// The contest's chat template, for the chat profiles.
    pub chat: Option<&'a dyn ChatTemplate>,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            profile: Profile::Plain,
            limit: None,
            num_fewshot: None,
            seed: 1234,
            chat: None,
        }
    }
}

/// One request to the model.
#[derive(Clone, PartialEq, Debug)]
pub struct Instance {
    /// The task.
    pub task: String,
    /// The document's row in the evaluated split.
    pub doc: usize,
    /// Which of the document's requests, from 0: a choice, in choice tasks.
    pub index: usize,
    /// Which repetition of that request, from 0.
    pub repeat: usize,
    /// What is asked.
    pub kind: InstanceKind,
}

/// What is asked of the model.
#[derive(Clone, PartialEq, Debug)]
pub enum InstanceKind {
    /// Greedy text after `prompt`. The answer is handed in cut at the first of `until` (see `cut_at_stops`).
    Generate {
        /// The prompt.
        prompt: String,
        /// Stop strings, besides the model's own end of text.
        until: Vec<String>,
        /// Most tokens; the caller's default where absent.
        max_tokens: Option<usize>,
    },
    /// The log-likelihood of `continuation` after `context` (see `encode_pair`).
    Loglikelihood {
        /// May be empty, for `acc_mutual_info`.
        context: String,
        /// With its delimiter in front.
        continuation: String,
    },
}

impl InstanceKind {
    /// The prompt or context: what `prompt_hash` is the hash of.
    pub fn prompt(&self) -> &str {
        match self {
            Self::Generate { prompt, .. } => prompt,
            Self::Loglikelihood { context, .. } => context,
        }
    }
}

/// A task that can be asked and scored.
pub struct Task {
    config: TaskConfig,
    docs: Docs,
    pool: Arc<Vec<Value>>,
    templates: Templates,
    pub(crate) bound: Fields,
    pub(crate) multiple_input: bool,
    pub(crate) multiple_target: bool,
    same_split: bool,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task")
            .field("name", &self.config.task)
            .field("docs", &self.docs.rows.len())
            .finish_non_exhaustive()
    }
}

pub(crate) struct Fields {
    text: Bound,
    target: Bound,
    choices: Option<Bound>,
    description: Option<Bound>,
    prefix: Option<Bound>,
    shot_text: Option<Bound>,
    shot_target: Option<Bound>,
    shot_choices: Option<Bound>,
    shot_prefix: Option<Bound>,
}

impl Task {
    /// Loads the documents and binds the templates; the first document is tried out.
    pub(crate) fn new(config: TaskConfig, source: &Source) -> Result<Self, TaskError> {
        let missing = || TaskError::new(config.place.clone(), Fault::MissingKey { key: "test_split" });
        let split = config
            .test_split
            .as_ref()
            .or(config.validation_split.as_ref())
            .ok_or_else(missing)?;
        let docs = load(&config, source, split)?;
        if docs.rows.is_empty() {
            let split = split.clone();
            return Err(TaskError::new(
                config.dataset_place.clone(),
                Fault::NoDocuments { split },
            ));
        }
        let few_shot = &config.few_shot;
        let pool_split = match (&few_shot.split, &few_shot.samples) {
            (Some(split), _) => Some(split),
            (None, Some(_)) => None,
            (None, None) => config
                .training_split
                .as_ref()
                .or(config.validation_split.as_ref())
                .or(Some(split)),
        };
        let pool = match (pool_split, &few_shot.samples) {
            (Some(pool), _) if pool != split => load(&config, source, pool)?.rows,
            (Some(_), _) => docs.rows.clone(),
            (None, samples) => samples.clone().unwrap_or_default(),
        };
        let mut templates = Templates::default();
        let columns = docs.columns.as_slice();
        let mut bind = |field: &Option<crate::config::Field>| {
            field
                .as_ref()
                .map(|f| Bound::new(f, columns, &mut templates))
                .transpose()
        };
        let fields = Fields {
            text: bind(&Some(config.doc_to_text.clone()))?.ok_or_else(missing)?,
            target: bind(&Some(config.doc_to_target.clone()))?.ok_or_else(missing)?,
            choices: bind(&config.doc_to_choice)?,
            prefix: bind(&config.gen_prefix)?,
            shot_text: bind(&few_shot.doc_to_text)?,
            shot_target: bind(&few_shot.doc_to_target)?,
            shot_choices: bind(&few_shot.doc_to_choice)?,
            description: config
                .description
                .as_ref()
                .map(|f| Bound::per_document(f, &mut templates))
                .transpose()?,
            shot_prefix: few_shot
                .gen_prefix
                .as_ref()
                .map(|f| Bound::per_document(f, &mut templates))
                .transpose()?,
        };
        let same_split = few_shot.split == config.test_split;
        let mut task = Self {
            config,
            docs,
            pool: Arc::new(pool),
            templates,
            bound: fields,
            multiple_input: false,
            multiple_target: false,
            same_split,
        };
        task.try_first()?;
        Ok(task)
    }

    /// Document 0 decides whether the task has several inputs or several right answers.
    fn try_first(&mut self) -> Result<(), TaskError> {
        let doc = self.doc(0);
        let choices = self.bound.choices.is_some();
        let text = fields::question(&self.bound.text, doc, &self.templates, choices)?;
        let target = fields::target(&self.bound.target, doc, &self.templates, choices)?;
        if choices {
            self.choices(doc)?;
        }
        self.multiple_input = choices && (text.is_i64() || text.is_u64() || text.is_boolean());
        self.multiple_target = target.is_array();
        Ok(())
    }

    /// The task's name.
    pub fn name(&self) -> &str {
        &self.config.task
    }

    /// What tables call it.
    pub fn alias(&self) -> &str {
        self.config.alias.as_deref().unwrap_or(&self.config.task)
    }

    /// The configuration as read.
    pub fn config(&self) -> &TaskConfig {
        &self.config
    }

    /// `metadata.version`, as written.
    pub fn version(&self) -> &Value {
        &self.config.version
    }

    /// What the model is asked for.
    pub fn output(&self) -> OutputType {
        self.config.output
    }

    /// All documents of the evaluated split.
    pub fn docs(&self) -> &[Value] {
        &self.docs.rows
    }

    /// How many documents are asked.
    pub fn doc_count(&self, limit: Option<Limit>) -> usize {
        let all = self.docs.rows.len();
        match limit {
            None => all,
            Some(Limit::Docs(n)) => n.min(all),
            Some(Limit::Share(share)) => ((all as f64 * share).ceil() as usize).min(all),
        }
    }

    /// How many few-shot examples a prompt has. A task that says 0 cannot be given more.
    pub fn num_fewshot(&self, settings: &Settings<'_>) -> usize {
        match (self.config.num_fewshot, settings.num_fewshot) {
            (Some(0), _) => 0,
            (_, Some(n)) => n,
            (own, None) => own.unwrap_or(0),
        }
    }

    pub(crate) fn doc(&self, index: usize) -> Doc<'_> {
        const EMPTY: Value = Value::Null;
        const NOTHING: &Value = &EMPTY;
        Doc {
            index,
            value: self.docs.rows.get(index).unwrap_or(NOTHING),
        }
    }

    pub(crate) fn choices(&self, doc: Doc<'_>) -> Result<Vec<String>, TaskError> {
        match &self.bound.choices {
            Some(bound) => fields::choices(bound, doc, &self.templates),
            None => Ok(Vec::new()),
        }
    }

    /// The evaluated document's answer as the harness logs it.
    pub fn target(&self, doc: usize) -> Result<Value, TaskError> {
        fields::target(
            &self.bound.target,
            self.doc(doc),
            &self.templates,
            self.bound.choices.is_some(),
        )
    }

    pub(crate) fn question(&self, doc: Doc<'_>) -> Result<Value, TaskError> {
        fields::question(&self.bound.text, doc, &self.templates, self.bound.choices.is_some())
    }

    pub(crate) fn target_error(&self, doc: Doc<'_>, what: impl std::fmt::Display) -> TaskError {
        doc.error(&self.bound.target, what)
    }

    /// Every request, document after document, in the order [`score`](Self::score) wants the responses.
    pub fn instances(&self, settings: &Settings<'_>) -> Result<Vec<Instance>, TaskError> {
        if settings.profile != Profile::Plain && settings.chat.is_none() {
            return Err(TaskError::new(self.config.place.clone(), Fault::NoChatTemplate));
        }
        let mut sampler = Sampler::new(settings.seed, self.config.few_shot.first_n);
        let mut all = Vec::new();
        for index in 0..self.doc_count(settings.limit) {
            let doc = self.doc(index);
            let requests = self.requests(doc, &mut sampler, settings)?;
            for (index, kind) in requests.into_iter().enumerate() {
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
                    max_tokens: self.config.generation.max_tokens,
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
        if profile == Profile::Plain {
            return &self.config.target_delimiter;
        }
        let prefix = self.config.gen_prefix.as_ref().map(|f| &f.value);
        match prefix {
            Some(crate::config::FieldValue::Written(p)) if !p.is_empty() && !p.ends_with(is_space) => {
                &self.config.target_delimiter
            }
            _ => "",
        }
    }

    /// The document's prompts: one, or one for every choice.
    fn contexts(&self, doc: Doc<'_>, sampler: &mut Sampler, settings: &Settings<'_>) -> Result<Vec<String>, TaskError> {
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
                prompt::write(&turns, settings.profile, prefix.is_some(), settings.chat).map_err(|error| {
                    let (key, message) = ("chat_template".into(), error.0);
                    TaskError::new(Place::file("chat_template.jinja"), Fault::Template { key, message })
                })
            })
            .collect()
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

/// `choices[number]`: Python counts negative numbers from the end, and a boolean is 0 or 1.
pub(crate) fn pick(choices: &[String], number: &Value) -> Option<String> {
    let index = match number {
        Value::Bool(b) => i64::from(*b),
        other => other.as_i64()?,
    };
    let index = if index < 0 { index + choices.len() as i64 } else { index };
    choices.get(usize::try_from(index).ok()?).cloned()
}

fn load(config: &TaskConfig, source: &Source, split: &str) -> Result<Docs, TaskError> {
    let Some((_, files)) = config.data_files.iter().find(|(name, _)| name == split) else {
        let split = split.to_owned();
        return Err(TaskError::new(
            config.dataset_place.clone(),
            Fault::UnknownSplit { split },
        ));
    };
    let texts = files
        .iter()
        .map(|(path, place)| source.data(&source.folder(&place.file), path, place))
        .collect::<Result<Vec<_>, _>>()?;
    data::read(&texts, config.data_field.as_deref())
}
