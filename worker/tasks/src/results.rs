//! Results and samples in the shapes of lm-evaluation-harness's own files, so that its viewers read them.

use assay_contest::Profile;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::error::TaskError;
use crate::python;
use crate::score::{BOOTSTRAP_ITERATIONS, DocOutcome, Measure, Response, TaskOutcome};
use crate::set::TaskSet;
use crate::task::{Instance, InstanceKind, Limit, Settings, Task};

/// What the results file says about the run besides the scores.
#[derive(Clone, Debug, Default)]
pub struct RunInfo {
    /// The model's name.
    pub model: String,
    /// How it was loaded, as `key=value,…`.
    pub model_args: Option<String>,
    /// Where it ran.
    pub device: Option<String>,
    /// When the run started, seconds since 1970.
    pub started: f64,
    /// How long it took, seconds.
    pub seconds: Option<f64>,
    /// The longest sequence the model takes, tokens.
    pub max_length: Option<usize>,
    /// What made the numbers: name and version.
    pub engine: String,
}

/// SHA-256 of a text, hexadecimal: what every `…_hash` is.
pub fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// `doc_hash`: of the document as Python writes it with an indent of 2.
pub fn doc_hash(doc: &Value) -> String {
    hash(&python::json(doc, Some(2)))
}

/// `metric,filter` and `metric_stderr,filter` of every measure. A number that JSON lacks is null; a missing standard
/// error is `"N/A"`.
pub(crate) fn put_measures(measures: &[Measure], out: &mut Map<String, Value>) {
    let number = |x: f64| serde_json::Number::from_f64(x).map_or(Value::Null, Value::Number);
    for m in measures {
        out.insert(m.key(), number(m.value));
        out.insert(
            format!("{}_stderr,{}", m.metric, m.filter),
            m.stderr.map_or("N/A".into(), number),
        );
    }
}

/// The results file. `hashes` are the tasks' from [`samples`], where samples are written.
pub fn results_json(
    set: &TaskSet,
    outcomes: &[TaskOutcome],
    settings: &Settings<'_>,
    run: &RunInfo,
    hashes: &[(String, String)],
) -> Value {
    let mut results = Map::new();
    let (mut configs, mut versions, mut shots) = (Map::new(), Map::new(), Map::new());
    let (mut better, mut samples) = (Map::new(), Map::new());
    for outcome in outcomes {
        let Some(task) = set.task(&outcome.task) else {
            continue;
        };
        let name = outcome.task.clone();
        let n = task.num_fewshot(settings);
        let mut entry = Map::new();
        entry.insert("name".into(), Value::from(name.clone()));
        entry.insert("alias".into(), Value::from(outcome.alias.clone()));
        entry.insert("sample_len".into(), Value::from(outcome.n));
        put_measures(&outcome.measures, &mut entry);
        results.insert(name.clone(), Value::Object(entry));
        configs.insert(name.clone(), task.config().json(n, settings.max_gen_toks));
        versions.insert(name.clone(), task.version().clone());
        shots.insert(name.clone(), Value::from(n));
        let directions = task
            .config()
            .metrics
            .iter()
            .map(|m| (m.name.clone(), Value::from(m.higher_is_better)));
        better.insert(name.clone(), Value::Object(directions.collect()));
        samples.insert(name, json!({"original": task.docs().len(), "effective": outcome.n}));
    }
    let mut groups = Map::new();
    let mut members = Map::new();
    for (group, outcome) in set.groups().iter().zip(set.group_outcomes(outcomes)) {
        let aggregated = !group.aggregates.is_empty();
        let entry = outcome.json(aggregated);
        results.insert(group.name.clone(), entry.clone());
        if aggregated {
            groups.insert(group.name.clone(), entry);
        }
        members.insert(group.name.clone(), Value::from(group.members.clone()));
        versions.insert(group.name.clone(), Value::from(group.version.clone()));
        if let Some(n) = common(group.members.iter().filter_map(|m| shots.get(m))) {
            shots.insert(group.name.clone(), n);
        }
        let directions = agreed(group.members.iter().filter_map(|m| better.get(m)));
        if !directions.is_empty() {
            better.insert(group.name.clone(), Value::Object(directions));
        }
    }
    let mut out = Map::new();
    out.insert("results".into(), Value::Object(results));
    if !groups.is_empty() {
        out.insert("groups".into(), Value::Object(groups));
    }
    out.insert("group_subtasks".into(), Value::Object(members));
    for (key, mut map) in [
        ("configs", configs),
        ("versions", versions),
        ("n-shot", shots),
        ("higher_is_better", better),
    ] {
        map.sort_keys();
        out.insert(key.into(), Value::Object(map));
    }
    out.insert("n-samples".into(), Value::Object(samples));
    out.insert("config".into(), config(settings, run));
    out.insert("git_hash".into(), Value::Null);
    out.insert("date".into(), json!(run.started));
    out.insert("lm_eval_version".into(), Value::from(version(settings.profile)));
    out.insert("engine".into(), Value::from(run.engine.clone()));
    out.insert("max_length".into(), json!(run.max_length));
    if !hashes.is_empty() {
        let hashes = hashes
            .iter()
            .map(|(task, hash)| (task.clone(), Value::from(hash.clone())));
        out.insert("task_hashes".into(), Value::Object(hashes.collect()));
    }
    let chat = settings.chat.filter(|_| settings.profile != Profile::Plain);
    let template = chat.map(|chat| chat.source().to_owned());
    out.insert("model_source".into(), Value::from("assay"));
    out.insert("model_name".into(), Value::from(run.model.clone()));
    out.insert("system_instruction".into(), Value::Null);
    out.insert("system_instruction_sha".into(), Value::Null);
    out.insert(
        "fewshot_as_multiturn".into(),
        Value::from(settings.profile == Profile::Chat),
    );
    out.insert("chat_template_sha".into(), json!(template.as_deref().map(hash)));
    out.insert("chat_template".into(), json!(template));
    out.insert(
        "total_evaluation_time_seconds".into(),
        json!(run.seconds.map(python::float)),
    );
    Value::Object(out)
}

/// The number of few-shot examples of a group whose members all have the same.
fn common<'a>(mut members: impl Iterator<Item = &'a Value>) -> Option<Value> {
    let first = members.next()?;
    members.all(|n| n == first).then(|| first.clone())
}

/// The directions of a group's metrics; null where its members disagree.
fn agreed<'a>(members: impl Iterator<Item = &'a Value>) -> Map<String, Value> {
    let mut all: Map<String, Value> = Map::new();
    for (metric, better) in members.filter_map(Value::as_object).flatten() {
        match all.get_mut(metric) {
            None => {
                all.insert(metric.clone(), better.clone());
            }
            Some(known) if known != better => *known = Value::Null,
            Some(_) => {}
        }
    }
    all
}

/// The release of the harness whose prompts a profile has.
fn version(profile: Profile) -> &'static str {
    match profile {
        Profile::ChatSingle049 => "0.4.9.2",
        Profile::Plain | Profile::Chat | Profile::ChatSingle => "0.4.13",
    }
}

fn config(settings: &Settings<'_>, run: &RunInfo) -> Value {
    let limit = match settings.limit {
        None => Value::Null,
        Some(Limit::Docs(n)) => json!(n),
        Some(Limit::Share(share)) => json!(share),
    };
    // As they would be written after the harness's --model_args.
    let thinking = settings
        .thinking
        .then_some("enable_thinking=True,think_end_token=</think>");
    let arguments: Vec<&str> = run.model_args.as_deref().into_iter().chain(thinking).collect();
    let arguments = (!arguments.is_empty()).then(|| arguments.join(","));
    json!({
        "model": run.model,
        "model_args": arguments,
        "batch_size": null,
        "batch_sizes": [],
        "device": run.device,
        "use_cache": null,
        "limit": limit,
        "bootstrap_iters": BOOTSTRAP_ITERATIONS,
        "gen_kwargs": settings.max_gen_toks.map(|most| json!({"max_gen_toks": most})),
        "random_seed": 0,
        "numpy_seed": 1234,
        "torch_seed": 1234,
        "fewshot_seed": settings.seed,
    })
}

/// One task's samples: a row for every document under every filter, filter by filter.
pub struct Samples {
    /// As the harness keeps them in memory.
    pub rows: Vec<Value>,
    /// The task's hash: of all rows' hashes in order.
    pub task_hash: String,
}

/// The samples of one task. `instances` and `responses` are those the outcome was made of.
pub fn samples(
    task: &Task,
    instances: &[Instance],
    responses: &[Vec<Response>],
    outcome: &TaskOutcome,
) -> Result<Samples, TaskError> {
    let mut by_doc: Vec<Vec<&Instance>> = vec![Vec::new(); responses.len()];
    for instance in instances.iter().filter(|i| i.repeat == 0) {
        if let Some(list) = by_doc.get_mut(instance.doc) {
            list.push(instance);
        }
    }
    let mut rows = Vec::with_capacity(outcome.docs.len());
    let mut hashes = String::new();
    for doc in &outcome.docs {
        let requests = by_doc.get(doc.doc).map(Vec::as_slice).unwrap_or_default();
        let given = responses.get(doc.doc).map(Vec::as_slice).unwrap_or_default();
        let row = row(task, requests, given, doc)?;
        for key in ["doc_hash", "prompt_hash", "target_hash"] {
            hashes.push_str(row.get(key).and_then(Value::as_str).unwrap_or_default());
        }
        rows.push(Value::Object(row));
    }
    Ok(Samples {
        rows,
        task_hash: hash(&hashes),
    })
}

fn row(
    task: &Task,
    requests: &[&Instance],
    responses: &[Response],
    outcome: &DocOutcome,
) -> Result<Map<String, Value>, TaskError> {
    let doc = task.doc(outcome.doc).value;
    let target = task.target(outcome.doc)?;
    let arguments: Vec<Value> = requests.iter().map(|r| argument(task, r)).collect();
    let prompt = requests.first().map(|r| r.kind.prompt()).unwrap_or_default();
    let number = |x: f64| serde_json::Number::from_f64(x).map_or(Value::Null, Value::Number);
    let shown = |response: &Response| match response {
        Response::Text(text) => Value::from(text.clone()),
        Response::Loglikelihood { value, greedy } => Value::Array(vec![number(*value), Value::Bool(*greedy)]),
    };
    let repeats = task.config().repeats;
    let resps: Vec<Value> = responses
        .chunks(repeats)
        .map(|c| Value::Array(c.iter().map(shown).collect()))
        .collect();
    let metrics: Vec<&String> = outcome.scores.keys().collect();
    let mut row = Map::new();
    row.insert("doc_id".into(), Value::from(outcome.doc));
    row.insert("doc".into(), doc.clone());
    row.insert("target".into(), target.clone());
    row.insert("arguments".into(), Value::Array(arguments));
    row.insert("resps".into(), Value::Array(resps));
    row.insert("filtered_resps".into(), Value::Array(outcome.filtered.clone()));
    row.insert("filter".into(), Value::from(outcome.filter.clone()));
    row.insert("metrics".into(), json!(metrics));
    row.insert("doc_hash".into(), Value::from(doc_hash(doc)));
    row.insert("prompt_hash".into(), Value::from(hash(prompt)));
    row.insert("target_hash".into(), Value::from(hash(&python::str(&target))));
    for (metric, score) in &outcome.scores {
        row.insert(metric.clone(), score.json());
    }
    Ok(row)
}

fn argument(task: &Task, instance: &Instance) -> Value {
    match &instance.kind {
        InstanceKind::Generate { prompt, max_tokens, .. } => {
            let generation = &task.config().generation;
            let changed = max_tokens.filter(|most| generation.max_tokens != Some(*most));
            json!([prompt, generation.kwargs_with(changed)])
        }
        InstanceKind::Loglikelihood { context, continuation } => json!([context, continuation]),
    }
}

/// The samples file of the harness: one row a line, with responses as texts and arguments by name.
pub fn samples_jsonl(samples: &Samples) -> String {
    let mut out = String::new();
    for row in &samples.rows {
        let mut row = row.clone();
        if let Some(row) = row.as_object_mut() {
            for key in ["resps", "filtered_resps"] {
                if let Some(value) = row.get_mut(key) {
                    *value = texts(value);
                }
            }
            if let Some(arguments) = row.get_mut("arguments") {
                *arguments = named(arguments);
            }
            if let Some(target) = row.get_mut("target") {
                *target = Value::from(python::str(target));
            }
        }
        out.push_str(&python::json(&row, None));
        out.push('\n');
    }
    out
}

/// Everything inside nested lists, as Python prints it.
fn texts(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(texts).collect()),
        other => Value::from(python::str(other)),
    }
}

/// `gen_args_0: {arg_0: …, arg_1: …}`.
fn named(arguments: &Value) -> Value {
    let number = |prefix: &str, list: &[Value], f: &dyn Fn(&Value) -> Value| {
        list.iter()
            .enumerate()
            .map(|(i, v)| (format!("{prefix}_{i}"), f(v)))
            .collect::<Map<_, _>>()
    };
    let inner = |v: &Value| {
        let list = v.as_array().map(Vec::as_slice).unwrap_or_default();
        Value::Object(number("arg", list, &Value::clone))
    };
    let list = arguments.as_array().map(Vec::as_slice).unwrap_or_default();
    Value::Object(number("gen_args", list, &inner))
}
