//! A leaf task's configuration, read from its merged keys.

mod dump;
mod generation;

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::{Fault, Place, TaskError};
use crate::filters::Pipeline;
use crate::metrics::Metric;
use crate::reader::{Keys, text, wrong_kind};
use crate::source::{Config, Located};
use crate::yaml::{Node, Yaml};

pub use generation::Generation;

/// What a task asks of the model.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OutputType {
    /// Text, until a stop string.
    GenerateUntil,
    /// The log-likelihood of every choice.
    MultipleChoice,
    /// The log-likelihood of the target.
    Loglikelihood,
}

impl OutputType {
    /// As written in a task.
    pub fn name(self) -> &'static str {
        match self {
            Self::GenerateUntil => "generate_until",
            Self::MultipleChoice => "multiple_choice",
            Self::Loglikelihood => "loglikelihood",
        }
    }
}

/// A key whose value comes from the document.
#[derive(Clone, PartialEq, Debug)]
pub struct Field {
    /// Where it is written.
    pub place: Place,
    /// The key.
    pub key: &'static str,
    /// What is written.
    pub value: FieldValue,
}

/// What a [`Field`] may say.
#[derive(Clone, PartialEq, Debug)]
pub enum FieldValue {
    /// A column's name or a template.
    Written(String),
    /// The same value for every document: an integer or a list.
    Fixed(Value),
}

/// Where few-shot examples come from, and how they read.
#[derive(Clone, Debug)]
pub struct FewShot {
    /// The first examples in order instead of a random draw.
    pub first_n: bool,
    /// The split they are drawn from, if one is named.
    pub split: Option<String>,
    /// Where `fewshot_config` names it rather than `fewshot_split`.
    pub split_in_config: Option<Place>,
    /// Examples written in the task itself.
    pub samples: Option<Vec<Value>>,
    /// The question; the task's own where absent.
    pub doc_to_text: Option<Field>,
    /// The choices; none where absent.
    pub doc_to_choice: Option<Field>,
    /// The answer; the task's own where absent.
    pub doc_to_target: Option<Field>,
    /// How the answer starts.
    pub gen_prefix: Option<Field>,
    /// After each example.
    pub fewshot_delimiter: String,
    /// Between question and answer.
    pub target_delimiter: String,
    indices: Value,
}

/// A leaf task as written.
#[derive(Clone, Debug)]
pub struct TaskConfig {
    /// The task's name.
    pub task: String,
    /// What tables call it.
    pub alias: Option<String>,
    /// The file its name is written in.
    pub place: Place,
    /// Splits and their files as written, each with the place it is written at.
    pub data_files: Vec<(String, Vec<(String, Place)>)>,
    /// The member of a JSON file that holds the records.
    pub data_field: Option<String>,
    /// Where the data set is named.
    pub dataset_place: Place,
    /// Split for few-shot examples.
    pub training_split: Option<String>,
    /// Evaluated where there is no test split.
    pub validation_split: Option<String>,
    /// Evaluated.
    pub test_split: Option<String>,
    /// What the model is asked for.
    pub output: OutputType,
    /// The question.
    pub doc_to_text: Field,
    /// The answer.
    pub doc_to_target: Field,
    /// The choices.
    pub doc_to_choice: Option<Field>,
    /// What stands before everything.
    pub description: Option<Field>,
    /// How the answer starts.
    pub gen_prefix: Option<Field>,
    /// Between question and answer.
    pub target_delimiter: String,
    /// After an example.
    pub fewshot_delimiter: String,
    /// Few-shot examples.
    pub few_shot: FewShot,
    /// How many; 0 where absent.
    pub num_fewshot: Option<usize>,
    /// Of generate_until tasks.
    pub generation: Generation,
    /// How often each request is sent.
    pub repeats: usize,
    /// From responses to what is scored.
    pub filters: Vec<Pipeline>,
    /// What is scored.
    pub metrics: Vec<Metric>,
    /// `metadata.version`.
    pub version: Value,
    raw: Map<String, Value>,
}

/// Most times a request may be repeated.
const MAX_REPEATS: i64 = 1024;
/// Most few-shot examples of one prompt.
const MAX_SHOTS: i64 = 1024;

/// Every key of the harness's task configuration.
const KNOWN: [&str; 33] = [
    "task",
    "task_alias",
    "custom_dataset",
    "dataset_path",
    "dataset_name",
    "dataset_kwargs",
    "training_split",
    "validation_split",
    "test_split",
    "fewshot_split",
    "process_docs",
    "doc_to_text",
    "doc_to_target",
    "doc_to_image",
    "doc_to_audio",
    "unsafe_code",
    "doc_to_choice",
    "process_results",
    "use_prompt",
    "description",
    "target_delimiter",
    "fewshot_delimiter",
    "fewshot_config",
    "num_fewshot",
    "metric_list",
    "output_type",
    "generation_kwargs",
    "repeats",
    "filter_list",
    "should_decontaminate",
    "doc_to_decontamination_query",
    "gen_prefix",
    "metadata",
];

/// The keys that name Python code which would decide the score.
const CODE: [&str; 3] = ["process_docs", "process_results", "custom_dataset"];

/// Takes values out of a merged configuration.
struct Reader<'a>(&'a Config);

impl<'a> Reader<'a> {
    fn get(&self, key: &str) -> Option<&'a Located> {
        self.0.get(key).filter(|l| l.node.value != Yaml::Null)
    }

    fn text(&self, key: &str) -> Result<Option<String>, TaskError> {
        self.get(key).map(|l| text(&l.node, l.place(), key)).transpose()
    }

    fn int(&self, key: &str, most: i64) -> Result<Option<usize>, TaskError> {
        let Some(located) = self.get(key) else {
            return Ok(None);
        };
        match located.node.value {
            Yaml::Int(n) if (0..=most).contains(&n) => Ok(usize::try_from(n).ok()),
            _ => Err(wrong_kind(located.place(), key, "a whole number within its limits")),
        }
    }

    fn field(&self, key: &'static str) -> Result<Option<Field>, TaskError> {
        self.get(key).map(|l| field(&l.node, &l.file, key)).transpose()
    }
}

fn field(node: &Node, file: &Arc<str>, key: &'static str) -> Result<Field, TaskError> {
    let place = Place::line(file.clone(), node.line);
    let value = match &node.value {
        Yaml::Int(n) => FieldValue::Fixed(Value::from(*n)),
        Yaml::List(_) => FieldValue::Fixed(node.json()),
        // A mapping of choices counts as its values, in order.
        Yaml::Map(map) if key == "doc_to_choice" => FieldValue::Fixed(map.values().map(Node::json).collect()),
        _ => FieldValue::Written(text(node, place.clone(), key)?),
    };
    Ok(Field { place, key, value })
}

impl TaskConfig {
    /// Reads the merged keys of one leaf task; `source` is what `metadata.config_source` shall say.
    pub fn read(config: &Config, source: &str) -> Result<Self, TaskError> {
        let reader = Reader(config);
        let name = reader.get("task");
        let place = name.map_or_else(|| Place::file(source), Located::place);
        let missing = |key| TaskError::new(place.clone(), Fault::MissingKey { key });
        let task = reader.text("task")?.ok_or_else(|| missing("task"))?;
        refuse(config, &reader)?;
        let output = output_type(&reader)?;
        let few_shot = few_shot(&reader)?;
        let (data_files, data_field) = data_files(&reader)?;
        let generation = Generation::read(reader.get("generation_kwargs"), output, &few_shot_delimiter(&reader)?)?;
        let filters = match reader.get("filter_list") {
            None => vec![Pipeline::take_first(place.clone())],
            Some(located) => match &located.node.value {
                Yaml::List(items) if !items.is_empty() => items
                    .iter()
                    .map(|i| Pipeline::parse(i, &located.file))
                    .collect::<Result<_, _>>()?,
                _ => return Err(wrong_kind(located.place(), "filter_list", "a list of filters")),
            },
        };
        let metrics = match reader.get("metric_list") {
            None => Metric::defaults(output),
            Some(located) => Metric::list(&located.node, &located.file, output)?,
        };
        let doc_to_choice = reader.field("doc_to_choice")?;
        if output == OutputType::MultipleChoice && doc_to_choice.is_none() {
            return Err(missing("doc_to_choice"));
        }
        let (metadata, version) = metadata(&reader, source);
        let mut config = Self {
            alias: reader.text("task_alias")?,
            dataset_place: reader.get("dataset_path").map_or(place.clone(), Located::place),
            data_files,
            data_field,
            training_split: reader.text("training_split")?,
            validation_split: reader.text("validation_split")?,
            test_split: reader.text("test_split")?,
            output,
            doc_to_text: reader.field("doc_to_text")?.ok_or_else(|| missing("doc_to_text"))?,
            doc_to_target: reader.field("doc_to_target")?.ok_or_else(|| missing("doc_to_target"))?,
            doc_to_choice,
            description: reader.field("description")?.filter(Field::is_not_empty),
            gen_prefix: reader.field("gen_prefix")?,
            target_delimiter: reader.text("target_delimiter")?.unwrap_or_else(|| " ".into()),
            fewshot_delimiter: few_shot_delimiter(&reader)?,
            few_shot,
            num_fewshot: reader.int("num_fewshot", MAX_SHOTS)?,
            generation,
            repeats: reader.int("repeats", MAX_REPEATS)?.unwrap_or(1).max(1),
            filters,
            metrics,
            version,
            raw: Map::new(),
            task,
            place,
        };
        config.raw = config.dump(&reader, metadata);
        Ok(config)
    }
}

impl Field {
    fn is_not_empty(&self) -> bool {
        self.value != FieldValue::Written(String::new())
    }
}

/// Refuses what would need Python or a picture, and keys the harness does not know.
fn refuse(config: &Config, reader: &Reader<'_>) -> Result<(), TaskError> {
    if let Some(class) = reader.get("class") {
        let what = "tasks written in Python (class)".into();
        return Err(TaskError::new(class.place(), Fault::NotSupported { what }));
    }
    for (key, located) in config {
        if !KNOWN.contains(&key.as_str()) && !matches!(key.as_str(), "tag" | "group" | "task_list") {
            return Err(TaskError::new(located.place(), Fault::UnknownKey { key: key.clone() }));
        }
    }
    for key in CODE {
        if let Some(located) = reader.get(key) {
            let name = reader.text(key)?;
            return Err(match name {
                None => continue,
                Some(_) => wrong_kind(located.place(), key, "a !function"),
            });
        }
    }
    for (key, what) in [
        ("doc_to_image", "pictures"),
        ("doc_to_audio", "sound"),
        ("use_prompt", "promptsource prompts"),
    ] {
        if let Some(located) = reader.get(key) {
            let what = what.to_owned();
            return Err(TaskError::new(located.place(), Fault::NotSupported { what }));
        }
    }
    match reader.get("unsafe_code") {
        Some(located) if located.node.value != Yaml::Bool(false) => {
            let what = "tasks that run generated code (unsafe_code)".into();
            Err(TaskError::new(located.place(), Fault::NotSupported { what }))
        }
        _ => Ok(()),
    }
}

fn output_type(reader: &Reader<'_>) -> Result<OutputType, TaskError> {
    let Some(value) = reader.text("output_type")? else {
        return Ok(OutputType::GenerateUntil);
    };
    let place = || reader.get("output_type").map(Located::place).unwrap_or_default();
    match value.as_str() {
        "generate_until" => Ok(OutputType::GenerateUntil),
        "multiple_choice" => Ok(OutputType::MultipleChoice),
        "loglikelihood" => Ok(OutputType::Loglikelihood),
        "loglikelihood_rolling" => {
            let what = "the output type loglikelihood_rolling".into();
            Err(TaskError::new(place(), Fault::NotSupported { what }))
        }
        _ => {
            let key = "output_type".into();
            Err(TaskError::new(place(), Fault::UnknownValue { key, value }))
        }
    }
}

fn few_shot_delimiter(reader: &Reader<'_>) -> Result<String, TaskError> {
    Ok(reader.text("fewshot_delimiter")?.unwrap_or_else(|| "\n\n".into()))
}

/// `fewshot_config`: a key written there counts even where it is null; any other is inherited from the task.
fn few_shot(reader: &Reader<'_>) -> Result<FewShot, TaskError> {
    let mut few_shot = FewShot {
        first_n: false,
        split: reader.text("fewshot_split")?,
        split_in_config: None,
        samples: None,
        doc_to_text: reader.field("doc_to_text")?,
        doc_to_choice: reader.field("doc_to_choice")?,
        doc_to_target: reader.field("doc_to_target")?,
        gen_prefix: reader.field("gen_prefix")?,
        fewshot_delimiter: few_shot_delimiter(reader)?,
        target_delimiter: reader.text("target_delimiter")?.unwrap_or_else(|| " ".into()),
        indices: Value::Null,
    };
    let Some(located) = reader.get("fewshot_config") else {
        return Ok(few_shot);
    };
    let (node, file) = (&located.node, &located.file);
    let mut keys = Keys::of(node, file, "fewshot_config")?;
    let place = keys.place_of("sampler");
    few_shot.first_n = match keys.text("sampler")?.as_deref() {
        None | Some("default") => false,
        Some("first_n") => true,
        Some(other) => {
            let (key, value) = ("sampler".into(), other.to_owned());
            return Err(TaskError::new(place, Fault::UnknownValue { key, value }));
        }
    };
    if node.get("split").is_some() {
        few_shot.split_in_config = Some(keys.place_of("split"));
        few_shot.split = keys.text("split")?;
    }
    for key in ["doc_to_text", "doc_to_choice", "doc_to_target", "gen_prefix"] {
        if node.get(key).is_none() {
            continue;
        }
        let value = keys.take(key).map(|node| field(node, file, key)).transpose()?;
        match key {
            "doc_to_text" => few_shot.doc_to_text = value,
            "doc_to_choice" => few_shot.doc_to_choice = value,
            "doc_to_target" => few_shot.doc_to_target = value,
            _ => few_shot.gen_prefix = value,
        }
    }
    if let Some(delimiter) = keys.text("fewshot_delimiter")? {
        few_shot.fewshot_delimiter = delimiter;
    }
    if let Some(delimiter) = keys.text("target_delimiter")? {
        few_shot.target_delimiter = delimiter;
    }
    // Parsed by the harness and then not given to its sampler: no effect.
    few_shot.indices = keys.take("fewshot_indices").map_or(Value::Null, Node::json);
    let place = keys.place_of("process_docs");
    if let Some(node) = keys.take("process_docs") {
        text(node, place.clone(), "process_docs")?;
        return Err(wrong_kind(place, "process_docs", "a !function"));
    }
    let place = keys.place_of("samples");
    if let Some(samples) = keys.take("samples") {
        let Yaml::List(items) = &samples.value else {
            text(samples, place.clone(), "samples")?;
            return Err(wrong_kind(place, "samples", "a list of documents"));
        };
        if items.iter().any(|item| !matches!(item.value, Yaml::Map(_))) {
            return Err(wrong_kind(place, "samples", "a list of documents"));
        }
        few_shot.samples = Some(items.iter().map(Node::json).collect());
    }
    keys.done()?;
    Ok(few_shot)
}

type DataFiles = Vec<(String, Vec<(String, Place)>)>;

/// `dataset_path: json` with `dataset_kwargs.data_files`: one path, a list, or one of these per split.
fn data_files(reader: &Reader<'_>) -> Result<(DataFiles, Option<String>), TaskError> {
    let Some(path) = reader.get("dataset_path") else {
        let place = reader.get("task").map(Located::place).unwrap_or_default();
        return Err(TaskError::new(place, Fault::MissingKey { key: "dataset_path" }));
    };
    let written = text(&path.node, path.place(), "dataset_path")?;
    let Some(kwargs) = reader.get("dataset_kwargs").filter(|_| written == "json") else {
        let place = path.place();
        return Err(match written.as_str() {
            "json" => TaskError::new(place, Fault::MissingKey { key: "dataset_kwargs" }),
            "csv" | "parquet" | "text" | "arrow" => {
                let what = format!("documents as {written}; json can be read");
                TaskError::new(place, Fault::NotSupported { what })
            }
            _ => TaskError::new(place, Fault::DatasetNotLocal { path: written }),
        });
    };
    let file = &kwargs.file;
    let mut keys = Keys::of(&kwargs.node, file, "dataset_kwargs")?;
    // Dropped by the harness as well.
    keys.take("trust_remote_code");
    let field = keys.text("field")?;
    let node = keys.need("data_files")?;
    keys.done()?;
    let paths = |node: &Node| -> Result<Vec<(String, Place)>, TaskError> {
        let items = match &node.value {
            Yaml::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        items
            .iter()
            .map(|item| {
                let place = Place::line(file.clone(), item.line);
                Ok((text(item, place.clone(), "data_files")?, place))
            })
            .collect()
    };
    let files = match &node.value {
        Yaml::Map(map) => map
            .iter()
            .map(|(split, node)| Ok((split.text().to_owned(), paths(node)?)))
            .collect::<Result<_, TaskError>>()?,
        // Files without a split are the training split, as load_dataset has it.
        _ => vec![("train".to_owned(), paths(node)?)],
    };
    Ok((files, field))
}

/// The metadata with its source, and the version in it.
fn metadata(reader: &Reader<'_>, source: &str) -> (Value, Value) {
    let written = reader.get("metadata").map(|l| l.node.json());
    let mut map = match written {
        Some(Value::Object(map)) => map,
        Some(other) => Map::from_iter([("_metadata".to_owned(), other)]),
        None => Map::new(),
    };
    let version = map.get("version").cloned().unwrap_or_else(|| "Yaml".into());
    map.insert("config_source".into(), Value::from(source));
    (Value::Object(map), version)
}
