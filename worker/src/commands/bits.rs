//! `bits`: results do not depend on how they are computed.
//!
//! The same questions are asked one by one, each of an engine that has seen nothing else, and then together under every choice that
//! may change speed: how many run at once, how prompts are cut, what the cache holds, in which order, on how many threads, with
//! how little room, and shared out among several engines. Every token and every bit of every log-probability must be the same.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use assay_checkpoint::Checkpoint;
use assay_engine::numerics::PAGE_TOKENS;
use assay_engine::{Answer, Device, Engine, Executor, Model, Options, Order, Request, Stats, executor};
use serde::Serialize;

use crate::synthetic::{self, Random, Scheme, Shape};

/// Rows of the largest steps.
const MOST_ROWS: usize = 2048;

/// Engines that share the questions out.
const SHARDS: usize = 3;

/// Show that no bit of a result depends on batch, pieces, cache, order, threads, preemption or shards.
///
/// Exit 0 when nothing differs, else 1.
#[derive(clap::Args)]
pub struct Args {
    /// A checkpoint; made-up weights unless given
    #[arg(value_name = "DIR", conflicts_with_all = ["model", "scheme"])]
    checkpoint: Option<PathBuf>,
    /// Whose sizes the made-up weights have
    #[arg(long, value_enum, default_value = "tiny")]
    model: Shape,
    /// How they are compressed
    #[arg(long, value_enum, default_value = "w4a16")]
    scheme: Scheme,
    /// Devices, as --device names them elsewhere
    #[arg(long, value_name = "DEVICE", value_delimiter = ',', default_value = "cpu")]
    devices: Vec<Device>,
    /// Prompts to continue, and questions with four choices each
    #[arg(long, value_name = "N", default_value_t = 16)]
    prompts: usize,
    /// Tokens of the longest prompt; half of them are the beginning of all
    #[arg(long, value_name = "N", default_value_t = 300)]
    length: usize,
    /// Tokens that each continuation has
    #[arg(long, value_name = "N", default_value_t = 80)]
    generate: usize,
    /// Most sequences at once: 1, 2, 4, … up to this
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch: usize,
    /// Do without a graphics card's matrix units
    #[arg(long, env = "ASSAY_NO_MATRIX_UNITS")]
    no_matrix_units: bool,
    /// What weights and questions are drawn from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was found of one way to compute.
#[derive(Serialize)]
struct Found {
    device: String,
    way: String,
    /// tokens that were compared, and how many differ
    tokens: usize,
    differing_tokens: usize,
    /// bits of log-probabilities that were compared, and how many differ
    bits: usize,
    differing_bits: usize,
    /// prompt tokens that the cache had
    cached: u64,
    preemptions: u64,
    seconds: f64,
}

impl Found {
    fn same(&self) -> bool {
        self.differing_tokens == 0 && self.differing_bits == 0
    }
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    ensure!(
        args.prompts > 0 && args.length >= 2 && args.generate > 0 && args.batch > 0,
        "--prompts, --generate and --batch must be at least 1, --length at least 2"
    );
    let model = Arc::new(match &args.checkpoint {
        Some(dir) => {
            let checkpoint = Checkpoint::open(dir).with_context(|| dir.display().to_string())?;
            Model::load(&checkpoint).with_context(|| dir.display().to_string())?
        }
        None => synthetic::model(args.model, args.scheme, args.seed)?,
    });
    let longest = args.length + args.generate;
    ensure!(
        longest <= model.plan().positions,
        "the model has {} positions, too few for {longest} tokens",
        model.plan().positions
    );
    let asks = asks(&args, model.plan().vocab);
    let mut found = Vec::new();
    if !args.json {
        println!(
            "{:<14} {:<28} {:>9} {:>8} {:>11} {:>8} {:>9} {:>9} {:>8}",
            "device", "way", "tokens", "differ", "logprobs", "bits", "cached", "preempted", "seconds"
        );
    }
    for device in &args.devices {
        let mut bench = Bench {
            model: &model,
            asks: &asks,
            device,
            room: args.batch * longest.div_ceil(PAGE_TOKENS) * PAGE_TOKENS,
            matrix_units: !args.no_matrix_units,
            executor: None,
        };
        let expected = bench.alone()?;
        for way in ways(&args, device) {
            let row = bench.compare(&way, &expected).with_context(|| way.name.clone())?;
            if !args.json {
                let log_probs = row.bits / 64;
                println!(
                    "{:<14} {:<28} {:>9} {:>8} {:>11} {:>8} {:>9} {:>9} {:>8.1}",
                    row.device,
                    row.way,
                    row.tokens,
                    row.differing_tokens,
                    log_probs,
                    row.differing_bits,
                    row.cached,
                    row.preemptions,
                    row.seconds
                );
            }
            found.push(row);
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    }
    let differing = found.iter().filter(|row| !row.same()).count();
    if !args.json {
        match differing {
            0 => println!("No bit differs in {} ways to compute.", found.len()),
            _ => println!("{differing} of {} ways to compute give other bits.", found.len()),
        }
    }
    Ok(ExitCode::from(u8::from(differing > 0)))
}

/// A question that can be asked again.
enum Ask {
    Generate(Vec<u32>, usize),
    Score(Vec<u32>, Vec<u32>),
}

impl Ask {
    fn request(&self) -> Request {
        match self {
            Ask::Generate(prompt, max_tokens) => Request::Generate {
                prompt: prompt.clone(),
                max_tokens: *max_tokens,
                eos: Vec::new(), // made-up weights would end anywhere
                stop: Box::new(|_| false),
            },
            Ask::Score(context, continuation) => Request::Score {
                context: context.clone(),
                continuation: continuation.clone(),
            },
        }
    }
}

// Prompts of every length up to the longest, which begin alike as few-shot prompts do, and the choices of one question each.
fn asks(args: &Args, vocab: usize) -> Vec<Ask> {
    let mut random = Random(args.seed ^ 0x5eed);
    let mut tokens = |n: usize| -> Vec<u32> { (0..n).map(|_| (random.next() % vocab as u64) as u32).collect() };
    let beginning = tokens(args.length / 2);
    let mut asks = Vec::new();
    for i in 0..args.prompts {
        let own = 1 + (args.length - beginning.len() - 1) * i / args.prompts;
        let prompt = [&beginning[..], &tokens(own)].concat();
        asks.push(Ask::Generate(prompt, args.generate));
        let question = [&beginning[..], &tokens(own.div_ceil(2))].concat();
        for choice in 0..4 {
            let most = args.length + args.generate - question.len();
            asks.push(Ask::Score(question.clone(), tokens((1 + choice * 2).min(most))));
        }
    }
    asks
}

/// One way to compute.
struct Way {
    name: String,
    options: Options,
    /// whether the same is asked a second time, and only that counted
    again: bool,
    shards: usize,
}

fn ways(args: &Args, device: &Device) -> Vec<Way> {
    let way = |name: String, options: Options| Way {
        name,
        options,
        again: false,
        shards: 1,
    };
    let pages = |sequences: usize| sequences * (args.length + args.generate).div_ceil(PAGE_TOKENS);
    let base = Options {
        step_tokens: 256,
        threads: 1,
        kv_tokens: pages(args.batch) * PAGE_TOKENS,
        ..Options::default()
    };
    let with = |change: &dyn Fn(&mut Options)| {
        let mut options = base.clone();
        change(&mut options);
        options
    };
    let mut ways = Vec::new();
    let mut batch = 1;
    while batch <= args.batch {
        ways.push(way(format!("{batch} at once"), with(&|o| o.sequences = batch)));
        batch *= 2;
    }
    for rows in [1, 7, 64, MOST_ROWS] {
        ways.push(way(
            format!("prompts in pieces of {rows}"),
            with(&|o| o.step_tokens = rows),
        ));
    }
    ways.push(way("without the cache".into(), with(&|o| o.prefix_cache = false)));
    ways.push(Way {
        again: true,
        ..way("all from the cache".into(), base.clone())
    });
    for seed in [1, 2] {
        let order = Order::Shuffled(seed);
        ways.push(way(format!("shuffled, seed {seed}"), with(&|o| o.order = order)));
    }
    if matches!(device, Device::Cpu | Device::Fast) {
        ways.extend([1, 2, 3].map(|n| way(format!("{n} threads"), with(&|o| o.threads = n))));
    }
    if matches!(device, Device::Gpu(_)) {
        ways.push(way("steps one by one".into(), with(&|o| o.steps_ahead = false)));
    }
    // those admitted will outgrow it
    let little = pages(2) * PAGE_TOKENS;
    ways.push(way(
        "preempted and resumed".into(),
        with(&|o| (o.kv_tokens, o.prefix_cache) = (little, false)),
    ));
    ways.push(Way {
        shards: SHARDS,
        ..way(format!("in {SHARDS} shards"), base.clone())
    });
    ways
}

struct Bench<'a> {
    model: &'a Arc<Model>,
    asks: &'a [Ask],
    device: &'a Device,
    /// tokens of cache where little room is not the point
    room: usize,
    matrix_units: bool,
    /// that of the way before, and how many threads it was made for
    executor: Option<(Box<dyn Executor>, usize)>,
}

impl Bench<'_> {
    // What an executor's cache still holds from before is as good as anything: an engine must not look at it.
    fn engine(&mut self, options: &Options) -> anyhow::Result<Engine> {
        let executor = match self.executor.take() {
            Some((executor, threads)) if threads == options.threads => executor,
            _ => executor(
                self.model.clone(),
                &Options {
                    device: self.device.clone(),
                    threads: options.threads,
                    kv_tokens: self.room,
                    step_tokens: MOST_ROWS,
                    matrix_units: self.matrix_units,
                    ..Options::default()
                },
            )?,
        };
        Ok(Engine::new(executor, options))
    }

    // Every question by itself, with nothing in the cache.
    fn alone(&mut self) -> anyhow::Result<Vec<Answer>> {
        let options = Options {
            threads: 1,
            prefix_cache: false,
            kv_tokens: self.room,
            step_tokens: MOST_ROWS,
            ..Options::default()
        };
        let mut engine = self.engine(&options)?;
        let answers = self.asks.iter().map(|ask| {
            let answers = engine.run(vec![ask.request()], &mut |_, _| ControlFlow::Continue(()))?;
            answers.into_iter().next().context("no answer")
        });
        let answers = answers.collect();
        self.executor = Some((engine.into_executor(), 1));
        answers
    }

    fn compare(&mut self, way: &Way, expected: &[Answer]) -> anyhow::Result<Found> {
        let begun = Instant::now();
        let mut found = Found {
            device: self.device.to_string(),
            way: way.name.clone(),
            tokens: 0,
            differing_tokens: 0,
            bits: 0,
            differing_bits: 0,
            cached: 0,
            preemptions: 0,
            seconds: 0.0,
        };
        for shard in 0..way.shards {
            let mut engine = self.engine(&way.options)?;
            let own = || (shard..self.asks.len()).step_by(way.shards);
            let mut answers = Vec::new();
            let mut before = Stats::default();
            for _ in 0..=usize::from(way.again) {
                before = engine.stats();
                let requests = own().map(|i| self.asks[i].request()).collect();
                answers = engine.run(requests, &mut |_, _| ControlFlow::Continue(()))?;
            }
            for (i, answer) in own().zip(&answers) {
                found.add(answer, &expected[i])?;
            }
            found.cached += engine.stats().cached_tokens - before.cached_tokens;
            found.preemptions += engine.stats().preemptions - before.preemptions;
            self.executor = Some((engine.into_executor(), way.options.threads));
        }
        found.seconds = begun.elapsed().as_secs_f64();
        Ok(found)
    }
}

impl Found {
    fn add(&mut self, got: &Answer, expected: &Answer) -> anyhow::Result<()> {
        match (got, expected) {
            (Answer::Generated { tokens, .. }, Answer::Generated { tokens: expected, .. }) => {
                let length = tokens.len().max(expected.len());
                self.tokens += length;
                self.differing_tokens += (0..length).filter(|&i| tokens.get(i) != expected.get(i)).count();
            }
            (Answer::Scored { logprobs, .. }, Answer::Scored { logprobs: expected, .. })
                if logprobs.len() == expected.len() =>
            {
                self.bits += 64 * logprobs.len();
                let pairs = logprobs.iter().zip(expected);
                let differing = pairs.map(|(a, b)| (a.to_bits() ^ b.to_bits()).count_ones() as usize);
                self.differing_bits += differing.sum::<usize>();
            }
            _ => bail!("an answer of another kind"),
        }
        Ok(())
    }
}
