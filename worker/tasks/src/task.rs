//! One task with its documents: the requests it makes of a model.

mod requests;
mod single049;

use assay_contest::Profile;
use serde_json::Value;

use crate::chat::ChatTemplate;
use crate::config::{OutputType, TaskConfig};
use crate::data::{self, Docs};
use crate::error::{Fault, TaskError};
use crate::fields::{self, Bound, Doc};
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
    /// Whether answers are thought about first, `enable_thinking`. The harness then refuses tasks that ask for
    /// log-likelihoods, and so is done here; 0.4.9 did not.
    pub thinking: bool,
    /// Most tokens of every answer, instead of the tasks' own numbers: `--gen_kwargs max_gen_toks=`.
    pub max_gen_toks: Option<usize>,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            profile: Profile::Plain,
            limit: None,
            num_fewshot: None,
            seed: 1234,
            chat: None,
            thinking: false,
            max_gen_toks: None,
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
    /// Greedy text after `prompt`. The answer is handed in cut at the earliest of `until`.
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
    pool: Vec<Value>,
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
            pool,
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
