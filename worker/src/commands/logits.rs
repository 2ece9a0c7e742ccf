//! `logits`: the door through which an engine is held to a reference.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use assay_checkpoint::Checkpoint;
use assay_checkpoint::safetensors::{self, Dtype, NewTensor};
use assay_engine::{Engine, Model, Options, executor};

use super::Compute;
use crate::files;

/// Largest file of prompts.
const MAX_PROMPTS_BYTES: u64 = 256 << 20;

/// Write the logits of given token ids, and greedy continuations.
#[derive(clap::Args)]
pub struct Args {
    /// Checkpoint folder
    dir: PathBuf,
    /// safetensors file with tensors prompt.<i> (I64, one dimension)
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,
    /// Where to write logits.<i> (F32, positions × vocabulary) and greedy.<i> (I64)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Also continue every prompt greedily by at most N tokens
    #[arg(long, value_name = "N")]
    greedy: Option<usize>,
    /// Quantize keys and values on their way into the cache, where the checkpoint declares it
    #[arg(long)]
    kv_cache: bool,
    #[command(flatten)]
    compute: Compute,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let prompts = read_prompts(&args.prompts).with_context(|| args.prompts.display().to_string())?;
    let longest = prompts.iter().map(|(_, ids)| ids.len()).max().unwrap_or(0) + args.greedy.unwrap_or(0);
    let options = args.compute.options();
    let options = Options {
        kv_tokens: options.kv_tokens.max(longest),
        ..options
    };
    let mut model = open_with(&args.dir, &options, args.kv_cache, |model| model)?;
    eprintln!("device: {}", model.engine.device());

    let mut tensors = Vec::new();
    for (index, ids) in &prompts {
        let rows = model.engine.logits(ids).with_context(|| format!("prompt.{index}"))?;
        let bytes = rows.iter().flat_map(|value| value.to_le_bytes()).collect();
        tensors.push((
            format!("logits.{index}"),
            Dtype::F32,
            vec![ids.len() as u64, model.vocab as u64],
            bytes,
        ));
        if let Some(most) = args.greedy {
            let ids = model
                .engine
                .greedy(ids, most, &model.eos)
                .with_context(|| format!("prompt.{index}"))?;
            let bytes = ids.iter().flat_map(|&id| i64::from(id).to_le_bytes()).collect();
            tensors.push((format!("greedy.{index}"), Dtype::I64, vec![ids.len() as u64], bytes));
        }
    }
    let tensors: Vec<NewTensor> = tensors
        .iter()
        .map(
            |(name, dtype, shape, data): &(String, Dtype, Vec<u64>, Vec<u8>)| NewTensor {
                name: name.clone(),
                dtype: *dtype,
                shape: shape.clone(),
                data,
            },
        )
        .collect();
    let file = safetensors::write(&tensors, &[("engine", assay_engine::ENGINE_VERSION)])?;
    files::write_whole(&args.out, &file).with_context(|| args.out.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// A model ready to answer.
pub struct Opened {
    pub engine: Engine,
    pub vocab: usize,
    pub eos: Vec<u32>,
}

/// Loads the checkpoint in `dir`, with the key/value cache scheme it declares if `cache` says so; `change` changes the model before
/// it is handed to the executor.
pub fn open_with(
    dir: &Path,
    options: &Options,
    cache: bool,
    change: impl FnOnce(Model) -> Model,
) -> anyhow::Result<Opened> {
    let checkpoint = Checkpoint::open(dir).with_context(|| dir.display().to_string())?;
    let (vocab, eos) = (checkpoint.config().vocab, checkpoint.config().eos.clone());
    let model = Model::load(&checkpoint);
    let model = if cache {
        model.and_then(|model| model.with_cache_scheme(&checkpoint))
    } else {
        model
    };
    let model = change(model.with_context(|| dir.display().to_string())?);
    let engine = Engine::new(executor(Arc::new(model), options)?, options);
    Ok(Opened { engine, vocab, eos })
}

/// A safetensors file in memory.
pub struct Tensors {
    header: safetensors::Header,
    bytes: Vec<u8>,
}

impl Tensors {
    pub fn read(path: &Path) -> anyhow::Result<Tensors> {
        let length = std::fs::metadata(path)?.len();
        ensure!(
            length <= MAX_PROMPTS_BYTES,
            "the file is larger than {MAX_PROMPTS_BYTES} bytes"
        );
        let bytes = std::fs::read(path)?;
        let header = safetensors::parse_header(&bytes, bytes.len() as u64)?;
        Ok(Tensors { header, bytes })
    }

    /// Names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.header.tensors.keys().map(String::as_str)
    }

    /// The bytes of a tensor of the given dtype, and its shape.
    fn get(&self, name: &str, dtype: Dtype) -> anyhow::Result<(&[u8], &[u64])> {
        let info = self
            .header
            .tensors
            .get(name)
            .with_context(|| format!("there is no tensor {name}"))?;
        ensure!(info.dtype == dtype, "{name} is {}, not {dtype}", info.dtype);
        let at = |offset: u64| usize::try_from(self.header.header_bytes + offset);
        let data = self
            .bytes
            .get(at(info.begin)?..at(info.end)?)
            .context("the file is cut")?;
        Ok((data, &info.shape))
    }

    /// Token ids of a one-dimensional I64 tensor.
    pub fn ids(&self, name: &str) -> anyhow::Result<Vec<u32>> {
        let (data, shape) = self.get(name, Dtype::I64)?;
        ensure!(shape.len() == 1, "{name} has {} dimensions, not one", shape.len());
        let ids = data
            .as_chunks::<8>()
            .0
            .iter()
            .map(|bytes| u32::try_from(i64::from_le_bytes(*bytes)));
        ids.collect::<Result<_, _>>()
            .with_context(|| format!("{name} holds a number that is no token id"))
    }

    /// Values of an F32 tensor and its shape.
    pub fn floats(&self, name: &str) -> anyhow::Result<(Vec<f32>, Vec<u64>)> {
        let (data, shape) = self.get(name, Dtype::F32)?;
        Ok((
            data.as_chunks::<4>()
                .0
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect(),
            shape.to_vec(),
        ))
    }
}

/// The prompts of a file with their numbers, in order.
fn read_prompts(path: &Path) -> anyhow::Result<Vec<(usize, Vec<u32>)>> {
    let file = Tensors::read(path)?;
    let numbers = file
        .names()
        .filter_map(|name| name.strip_prefix("prompt."))
        .map(str::parse::<usize>);
    let mut numbers = numbers
        .collect::<Result<Vec<_>, _>>()
        .context("prompts are named prompt.0, prompt.1, …")?;
    numbers.sort_unstable();
    if numbers.is_empty() {
        bail!("there is no tensor named prompt.0");
    }
    numbers
        .into_iter()
        .map(|number| Ok((number, file.ids(&format!("prompt.{number}"))?)))
        .collect()
}
