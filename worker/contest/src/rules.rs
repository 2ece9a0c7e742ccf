//! What `contest.toml` says, once it has been checked.
//!
//! A [`Contest`] comes from [`Contest::parse`] only in production code; the fields are public so that tests can build one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::problem::Text;

/// The rules of one contest.
#[derive(Serialize, Clone, PartialEq, Debug)]
pub struct Contest {
    /// The slug in addresses: 2 to 64 of `a-z`, `0-9`, `-`.
    pub id: String,
    /// The name people see.
    pub title: Text,
    /// IANA time zone in which every time of the contest is shown, such as `Asia/Seoul`.
    pub timezone: String,
    /// When submissions are taken; in order of time, never overlapping.
    pub phases: Vec<Phase>,
    /// The model every submission is made from.
    pub base: Base,
    /// What a submission may be.
    pub checkpoint: CheckpointRules,
    /// What is run on a submission.
    pub grading: Grading,
    /// How measures become a score and a rank.
    pub score: Score,
    /// How much a team may have graded.
    pub quota: Quota,
    /// Other models shown on the board for comparison; they have no rank.
    #[serde(skip_serializing_if = "is_default")]
    pub references: Vec<Reference>,
}

/// A span of time in which submissions are taken.
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
pub struct Phase {
    /// Slug, unique in the contest.
    pub id: String,
    /// The name people see.
    pub title: Text,
    /// First instant that belongs to the phase, RFC 3339 with an offset.
    pub opens: String,
    /// First instant that no longer belongs to it, RFC 3339 with an offset.
    pub closes: String,
}

/// The base model. Its config, tokenizer and chat template are pinned by digest: an upload's own are only compared.
#[derive(Serialize, Clone, PartialEq, Debug)]
pub struct Base {
    /// The name people see, such as `LGAI-EXAONE/EXAONE-4.0-1.2B`.
    pub name: String,
    /// Folder of the base, relative to `contest.toml`, `/` separated.
    pub dir: String,
    /// sha256 of `config.json`, 64 lowercase hex digits.
    pub config_sha256: String,
    /// sha256 of `tokenizer.json`.
    pub tokenizer_sha256: String,
    /// sha256 of `chat_template.jinja`.
    pub chat_template_sha256: String,
    /// Sum of the lengths of the base's `*.safetensors` files, in bytes.
    pub bytes: u64,
    /// Measures of the base under this contest's grading, without the `base.` prefix: `acc.<task>.<metric>.<filter>`, …
    pub measures: BTreeMap<String, f64>,
}

/// A model that the board shows for comparison beside the base: a published baseline, the organizer's own quantization.
#[derive(Serialize, Clone, PartialEq, Debug)]
pub struct Reference {
    /// The name people see, unique in the contest.
    pub name: String,
    /// Sum of the lengths of its `*.safetensors` files, in bytes.
    pub bytes: u64,
    /// Where the figures come from: who measured them, how and with what.
    pub source: Text,
    /// What it measured, in the names of a submission's measures: `acc.<task>.<metric>.<filter>` with its standard error
    /// `acc_stderr.…` and the number of documents `items.<task>`, `time_per_token`, …
    pub measures: BTreeMap<String, f64>,
}

/// What a submission may be.
#[derive(Serialize, Clone, PartialEq, Debug)]
pub struct CheckpointRules {
    /// Storage formats allowed, by name: see [`FORMATS`].
    pub formats: Vec<String>,
    /// Kinds of module that may be quantized: see [`MODULES`].
    pub modules: Vec<String>,
    /// Top-level fields of config.json that must equal the base's.
    pub locked: Vec<String>,
    /// Most bytes all files of a submission may have together.
    pub max_bytes: u64,
    /// Most files a submission may have.
    pub max_files: u32,
    /// Whether recipe.yaml has to be there.
    pub recipe: RecipeRule,
    /// What becomes of weights that were not made from the base's.
    #[serde(skip_serializing_if = "is_default")]
    pub lineage: LineageRule,
    /// Where a submission might run: shown to teams, without effect on verdict or score. Nothing is shown when absent.
    #[serde(skip_serializing_if = "is_default")]
    pub deployment: Option<Deployment>,
    /// What becomes of a key/value cache scheme that a submission declares.
    #[serde(skip_serializing_if = "is_default")]
    pub kv_cache: CacheRule,
}

/// What becomes of a submission whose weights are not the base's, only compressed.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "kebab-case")]
pub enum LineageRule {
    /// It is graded, and what was found is shown.
    #[default]
    Report,
    /// It is rejected.
    Required,
}

/// Devices against which the memory a submission needs is held.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Deployment {
    /// Tokens of a conversation, prompt and answer together: what the KV cache is counted for.
    pub context: u64,
    /// In the order shown, mostly from small to large.
    pub devices: Vec<Device>,
}

/// A device a model might run on.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Device {
    /// The name people see, unique in the contest.
    pub name: Text,
    /// Memory of which a model may use nine tenths, in bytes.
    pub memory_bytes: u64,
    /// What renting it costs, in US dollars an hour; none for what people own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub usd_per_hour: Option<f64>,
}

/// What becomes of a key/value cache scheme that a submission declares.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "kebab-case")]
pub enum CacheRule {
    /// It is a finding, and the cache is not quantized.
    #[default]
    Bfloat16,
    /// Keys and values are quantized on their way into the cache as the scheme says; one that cannot be applied is rejected.
    Declared,
}

/// Whether a submission must bring its recipe.yaml.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "kebab-case")]
pub enum RecipeRule {
    /// Looked at when there is one.
    #[default]
    Optional,
    /// A submission without one is rejected.
    Required,
}

/// How prompts are built, in lm-evaluation-harness's terms.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// No chat template.
    #[default]
    Plain,
    /// `--apply_chat_template --fewshot_as_multiturn`: every example is a turn.
    Chat,
    /// `--apply_chat_template`: examples and question in one user turn.
    ChatSingle,
    /// The same as lm_eval 0.4.9 did it, which drew the examples twice: their order differs.
    #[serde(rename = "chat-single-0.4.9")]
    ChatSingle049,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Profile; 4] = [
        Profile::Plain,
        Profile::Chat,
        Profile::ChatSingle,
        Profile::ChatSingle049,
    ];
    /// Their names, in the same order.
    pub const NAMES: &[&str] = &["plain", "chat", "chat-single", "chat-single-0.4.9"];

    /// As written in `contest.toml` and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Plain => "plain",
            Profile::Chat => "chat",
            Profile::ChatSingle => "chat-single",
            Profile::ChatSingle049 => "chat-single-0.4.9",
        }
    }
}

impl std::fmt::Display for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Reads [`Profile::name`] back.
impl std::str::FromStr for Profile {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Profile::ALL
            .into_iter()
            .find(|profile| profile.name() == name)
            .ok_or_else(|| format!("unknown profile {name:?}: use one of {}", Profile::NAMES.join(", ")))
    }
}

/// What is run on a submission.
#[derive(Serialize, Clone, PartialEq, Debug)]
pub struct Grading {
    /// The harness whose prompts, filters and statistics are followed, with its version: `lm_eval 0.4.13`.
    pub harness: String,
    /// How prompts are built.
    pub profile: Profile,
    /// Folder of the task files, relative to `contest.toml`, `/` separated.
    pub tasks_dir: String,
    /// Tasks, groups or tags, in the order they run.
    pub tasks: Vec<String>,
    /// Only the first so many documents of each task; all of them when absent.
    pub limit: Option<u32>,
    /// Longest a grade may take, in seconds.
    pub wall_seconds: u64,
    /// Seed of few-shot sampling.
    pub seed: u64,
    /// Whether the chat template is told to let the model think first (`enable_thinking`).
    #[serde(skip_serializing_if = "is_default")]
    pub enable_thinking: bool,
    /// Most tokens of a generated answer, in the place of the tasks' own budget; theirs when absent. What
    /// lm-evaluation-harness calls `--gen_kwargs max_gen_toks=`.
    #[serde(skip_serializing_if = "is_default")]
    pub max_gen_toks: Option<u32>,
    /// What the time track runs; speed is not compared when absent.
    #[serde(skip_serializing_if = "is_default")]
    pub time: Option<Workload>,
    /// Documents whose results are kept back until they are revealed; nothing is when absent.
    #[serde(skip_serializing_if = "is_default")]
    pub sealed: Option<Sealed>,
    /// Prompts whose greedy continuations are shown beside the scores.
    pub samples: Vec<SamplePrompt>,
}

/// The time track: a fixed workload that base and submission run in turn on one device. What a model would rather say, and
/// when it would stop, has no part in it, so that the ratio of the two can be compared between teams.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Workload {
    /// Tokens of the prompt, drawn from the seed; all sequences begin with it.
    pub prompt_tokens: u32,
    /// Tokens that each sequence generates; the end of sequence ends none.
    pub generated_tokens: u32,
    /// Sequences that generate at once.
    pub sequences: u32,
    /// Measured runs of each of the two; one of each that is not measured goes before.
    pub rounds: u32,
}

impl Workload {
    /// Positions that a model needs for it.
    pub fn positions(&self) -> usize {
        self.prompt_tokens as usize + self.generated_tokens as usize
    }
}

/// Which documents of each task are sealed: scored in the same run, kept apart from what teams see. A key that is not in
/// the rules chooses them; see [`crate::sealed`].
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Sealed {
    /// Share of each task's documents, between 0 and 1, both excluded.
    pub share: f64,
    /// Digest of the sealed set, 64 lowercase hex digits: what the organizer committed to beforehand.
    pub digest: String,
    /// What counts once they are revealed. Before, only the documents that are not sealed do.
    pub after: Revealed,
}

/// Which documents count once the sealed ones are revealed.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Revealed {
    /// All documents.
    #[default]
    All,
    /// Only those that were sealed: nobody could tune for them.
    Sealed,
}

/// A prompt whose greedy continuation is shown beside the scores; it has no part in them.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct SamplePrompt {
    /// What the prompt tries out, one word: `math`, `korean`.
    pub kind: String,
    /// The text given to the model.
    pub prompt: String,
    /// Most tokens generated.
    pub max_tokens: u32,
    /// The base model's own continuation, shown beside the submission's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub base: Option<String>,
}

/// How measures become a score and a rank.
#[derive(Serialize, Clone, PartialEq, Debug)]
pub struct Score {
    /// The formula as the organizer wrote it; see [`crate::formula::Formula`].
    pub formula: String,
    /// Measures that have to be reached before the formula counts.
    pub floors: Vec<Floor>,
    /// Which end of the scale wins.
    pub order: Order,
    /// Measures shown as columns of the board.
    pub show: Vec<String>,
    /// Decimals of the score shown. Ranks are computed from the score as shown, so that equal numbers are equal ranks.
    pub decimals: u32,
    /// Confidence of rank bands and of the intervals floors are judged by, two-sided; [`CONFIDENCE`] unless said otherwise.
    #[serde(skip_serializing_if = "is_usual_confidence")]
    pub confidence: f64,
    /// How often documents are drawn anew for rank bands; [`RESAMPLES`] unless said otherwise.
    #[serde(skip_serializing_if = "is_usual_resamples")]
    pub resamples: u32,
}

/// The usual confidence of rank bands and intervals.
pub const CONFIDENCE: f64 = 0.95;
/// The usual number of resamples: fifty in each tail at a confidence of 0.95.
pub const RESAMPLES: u32 = 2000;

fn is_usual_confidence(confidence: &f64) -> bool {
    *confidence == CONFIDENCE
}

fn is_usual_resamples(resamples: &u32) -> bool {
    *resamples == RESAMPLES
}

/// Keys that came after the first canonical form are left out of it at their default: older rules keep their digest.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The least a measure may be.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Floor {
    /// Name of the measure.
    pub measure: String,
    /// The least that passes.
    pub at_least: f64,
    /// What has to reach it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub judge: Judge,
}

/// What of a measure has to reach a floor.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Judge {
    /// What was measured.
    #[default]
    Value,
    /// The lower bound of its confidence interval: passing is then no matter of luck.
    LowerBound,
}

/// Which end of the scale wins.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The highest score is first.
    #[default]
    Descending,
    /// The lowest score is first.
    Ascending,
}

/// How much a team may have graded.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Quota {
    /// Published scores a team may get per day of the contest's time zone.
    pub graded_per_day: u32,
}

/// Every storage format a contest may name, whether or not this version runs it.
///
/// Names are compressed-tensors' own where it has one, else `quant_method` of config.json.
pub const FORMATS: &[&str] = &[
    "dense",
    "pack-quantized",
    "int-quantized",
    "float-quantized",
    "naive-quantized",
    "nvfp4-pack-quantized",
    "mxfp4-pack-quantized",
    "mxfp6-pack-quantized",
    "mxfp8-quantized",
    "mixed-precision",
    "sparse-bitmask",
    "sparse-24-bitmask",
    "marlin-24",
    "gptq",
    "awq",
    "fp8",
    "fbgemm_fp8",
    "bitsandbytes",
    "mxfp4",
    "torchao",
    "hqq",
    "auto-round",
    "modelopt",
];

/// Every kind of module a contest may open to quantization.
pub const MODULES: &[&str] = &["Linear", "lm_head", "embed_tokens"];
