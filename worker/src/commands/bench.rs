//! `bench`: how fast the engine is on this machine, beside what the machine could do.
//!
//! Steps are handed to the executor itself, so that what is measured is the work of a step and not the scheduler's choice of steps. The
//! floor of a step is the time its bytes take to be read or its arithmetic to be done, whichever is longer, at rates measured just before it:
//! what disturbs a machine disturbs both, so that what was reached is a ratio of neighbours.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use assay_checkpoint::config::ModelConfig;
use assay_engine::exec::cpu::isa::Isa;
use assay_engine::exec::cpu::pool::Pool;
use assay_engine::exec::cpu::rates::Rates;
use assay_engine::exec::cpu::{bytes, nibbles};
use assay_engine::{Device, ENGINE_VERSION, Executor, Model, Options, executor};
use serde::Serialize;

use super::Compute;
use crate::host;
use crate::steps::{Ended, Sequences, fill};
use crate::synthetic::{self, Random, Scheme, Shape};

/// Measure speed with made-up weights of a real model's sizes.
#[derive(clap::Args)]
pub struct Args {
    /// Whose sizes
    #[arg(long, value_enum, default_value = "exaone-4.0-1.2b")]
    model: Shape,
    /// How the layers' matrices are compressed
    #[arg(long, value_enum, default_value = "w4a16")]
    scheme: Scheme,
    /// Tokens of the prompt, computed in steps of at most --step rows
    #[arg(long, value_name = "N", default_value_t = 256)]
    prompt: usize,
    /// Rows of a prompt's steps
    #[arg(long, value_name = "N", default_value_t = 256)]
    step: usize,
    /// Sequences that generate at once
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 8, 32])]
    batches: Vec<usize>,
    /// Tokens before those that are generated
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [128])]
    contexts: Vec<usize>,
    /// Tokens that each sequence generates
    #[arg(long, value_name = "N", default_value_t = 16)]
    generate: usize,
    /// Times each measurement is repeated; the median counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    repeat: usize,
    /// What weights and tokens are drawn from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: Compute,
}

/// What was found.
#[derive(Serialize)]
struct Found {
    engine: &'static str,
    device: String,
    host: String,
    threads: usize,
    model: String,
    scheme: String,
    /// bytes of weights that a step reads
    weight_bytes: Option<u64>,
    /// seconds the executor took to take the weights over
    prepare: f64,
    /// most memory of the process, weights as drawn included, bytes
    peak_memory: Option<u64>,
    /// bytes a second; operations a second in f32, in 16-bit integers and in 4-bit times 8-bit ones: of the host
    read: f64,
    float: f64,
    integer: f64,
    byte: f64,
    measures: Vec<Measure>,
}

/// One measurement.
#[derive(Serialize)]
struct Measure {
    what: &'static str,
    batch: usize,
    context: usize,
    /// tokens a second: median, slowest and quickest
    rate: f64,
    slowest: f64,
    quickest: f64,
    /// the same at the floor, on the host: median
    floor: Option<f64>,
    /// the rate over the floor of its own repetition: median
    reached: Option<f64>,
    /// whether the floor is reading rather than arithmetic
    reads: bool,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    ensure!(
        args.prompt > 0 && args.generate > 0 && args.repeat > 0 && args.step > 0,
        "--prompt, --step, --generate and --repeat must be at least 1"
    );
    let positions = args.model.config().max_positions;
    let longest = args.contexts.iter().copied().max().unwrap_or(0) + args.generate;
    ensure!(
        longest.max(args.prompt) <= positions && args.contexts.iter().chain(&args.batches).all(|n| *n > 0),
        "batches and contexts must be at least 1, and a sequence at most {positions} tokens long"
    );
    let widest = args.batches.iter().copied().max().unwrap_or(1);
    let options = Options {
        kv_tokens: Sequences::new(widest, longest)
            .kv_tokens()
            .max(Sequences::new(1, args.prompt).kv_tokens()),
        step_tokens: args.step.max(widest),
        ..args.compute.options()
    };
    let pool = Pool::new(options.threads);
    let isa = Isa::detect();
    let rates = Rates::measure(&pool, isa);
    eprintln!("drawing the weights");
    let model = Arc::new(synthetic::model(args.model, args.scheme, args.seed)?);
    let floors = Floors::new(&model, rates, options.device == Device::Fast);
    eprintln!("packing them");
    let begun = Instant::now();
    let mut executor = executor(model.clone(), &options)?;
    let prepare = begun.elapsed().as_secs_f64();
    let on_host = executor.memory().is_none();
    let mut bench = Bench {
        weight_bytes: executor.weight_bytes(),
        device: executor.describe(),
        executor: executor.as_mut(),
        random: Random(args.seed),
        vocab: model.config().vocab as u64,
        args: &args,
        floors: on_host.then_some(floors),
        machine: (pool, isa),
    };
    let measures = bench.measure()?;
    let found = Found {
        engine: ENGINE_VERSION,
        device: bench.device,
        host: host::cpu_name(),
        threads: options.threads,
        model: name(&args.model),
        scheme: name(&args.scheme),
        weight_bytes: bench.weight_bytes,
        prepare,
        peak_memory: host::peak_memory(),
        read: rates.read,
        float: rates.float,
        integer: rates.integer,
        byte: rates.byte,
        measures,
    };
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&found)?),
        false => print(&found),
    }
    Ok(ExitCode::SUCCESS)
}

fn name(value: &impl clap::ValueEnum) -> String {
    value
        .to_possible_value()
        .map_or_else(String::new, |v| v.get_name().to_owned())
}

fn print(f: &Found) {
    println!("{}, {}, {}", f.engine, f.device, f.host);
    let gigabytes = |bytes: Option<u64>| bytes.map_or("unknown".into(), |b| format!("{:.2} GB", b as f64 / 1e9));
    println!(
        "{} {}: {} of weights a step, taken over in {:.1} s, peak memory {}",
        f.model,
        f.scheme,
        gigabytes(f.weight_bytes),
        f.prepare,
        gigabytes(f.peak_memory)
    );
    println!(
        "the host reads {:.1} GB/s, computes {:.0} G/s in f32, {:.0} G/s in 16-bit integers, {:.0} G/s in bytes",
        f.read / 1e9,
        f.float / 1e9,
        f.integer / 1e9,
        f.byte / 1e9
    );
    println!(
        "{:<8} {:>6} {:>8} {:>10} {:>17} {:>10} {:>8}  limit",
        "what", "batch", "context", "tokens/s", "range", "floor", "reached"
    );
    for m in &f.measures {
        let floor = m.floor.map_or_else(String::new, |floor| {
            let limit = if m.reads { "reading" } else { "arithmetic" };
            let reached = 100.0 * m.reached.unwrap_or(0.0);
            format!("{floor:>10.1} {reached:>7.0}%  {limit}")
        });
        let range = format!("{:.1} – {:.1}", m.slowest, m.quickest);
        let (what, batch, context, rate) = (m.what, m.batch, m.context, m.rate);
        println!("{what:<8} {batch:>6} {context:>8} {rate:>10.1} {range:>17} {floor}");
    }
}

/// What a row costs at least.
struct Floors {
    rates: Rates,
    config: ModelConfig,
    /// multiplications of a row that are done in f32, in integers and in bytes, without the head
    float: f64,
    integer: f64,
    byte: f64,
}

impl Floors {
    fn new(model: &Model, rates: Rates, fast: bool) -> Floors {
        let (mut float, mut integer, mut byte) = (0.0, 0.0, 0.0);
        for l in &model.parts().layers {
            for m in [&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down] {
                let products = (m.rows * m.cols) as f64;
                if fast && bytes::Plan::of(m).is_some() {
                    byte += products;
                } else if nibbles::Plan::of(m).is_some() {
                    integer += products;
                } else {
                    float += products;
                }
            }
        }
        Floors {
            rates,
            config: model.config().clone(),
            float,
            integer,
            byte,
        }
    }

    /// Seconds of a step, and whether reading decides: `rows` rows, of which `outputs` go on to the head, `keys` keys that all rows
    /// look at together and `cached` keys that are read.
    fn step(&self, weight_bytes: u64, rows: usize, outputs: usize, keys: usize, cached: usize) -> (f64, bool) {
        let c = &self.config;
        // keys and values are f32
        let key_bytes = c.layers * c.kv_dim() * 2 * 4;
        let reading = (weight_bytes as f64 + (cached * key_bytes) as f64) / self.rates.read;
        let head = (c.vocab * c.hidden * outputs) as f64;
        let attention = (c.layers * c.q_dim() * 2 * keys) as f64;
        let float = 2.0 * (self.float * rows as f64 + head + attention) / self.rates.float;
        let integers = self.integer / self.rates.integer + self.byte / self.rates.byte;
        let arithmetic = float + 2.0 * integers * rows as f64;
        (reading.max(arithmetic), reading > arithmetic)
    }
}

struct Bench<'a> {
    executor: &'a mut dyn Executor,
    device: String,
    weight_bytes: Option<u64>,
    random: Random,
    vocab: u64,
    args: &'a Args,
    floors: Option<Floors>,
    machine: (Pool, Isa),
}

/// One repetition: its seconds, those of its floor, and whether reading is the floor.
struct Timed {
    seconds: f64,
    floor: Option<(f64, bool)>,
}

impl Bench<'_> {
    fn measure(&mut self) -> anyhow::Result<Vec<Measure>> {
        let args = self.args;
        let mut measures = Vec::new();
        self.fill(0, args.prompt.min(args.step))?; // once unmeasured: memory is touched, clocks rise
        eprintln!("prompt of {}", args.prompt);
        let floor = |f: &Floors, bytes: u64| {
            let starts = (0..args.prompt).step_by(args.step);
            let steps = starts.map(|at| {
                let rows = args.step.min(args.prompt - at);
                let keys = rows * at + rows * (rows + 1) / 2;
                f.step(bytes, rows, usize::from(at + rows == args.prompt), keys, at + rows)
            });
            steps.fold((0.0, false), |sum, step| (sum.0 + step.0, step.1))
        };
        let timed = self.repeat(floor, |bench| bench.fill(0, args.prompt))?;
        measures.push(measure("prompt", (1, args.prompt), args.prompt, &timed));
        let mut filled = args.prompt;
        let mut contexts = args.contexts.clone();
        contexts.sort_unstable();
        for context in contexts {
            if context > filled {
                self.fill(filled, context)?;
                filled = context;
            }
            for &batch in &args.batches {
                eprintln!("{batch} sequences after {context} tokens");
                let sequences = Sequences::new(batch, context + args.generate);
                sequences.spread(self.executor).context("the cache is too small")?;
                let keys = batch * (args.generate * context + args.generate * (args.generate + 1) / 2);
                let floor = |f: &Floors, bytes: u64| {
                    let (step, reads) = f.step(bytes, batch, batch, keys / args.generate, keys / args.generate);
                    (step * args.generate as f64, reads)
                };
                let timed = self.repeat(floor, |bench| bench.decode(sequences, context))?;
                let tokens = batch * args.generate;
                measures.push(measure("generate", (batch, context), tokens, &timed));
            }
        }
        Ok(measures)
    }

    /// Every repetition, the shortest first.
    fn repeat(
        &mut self,
        floor: impl Fn(&Floors, u64) -> (f64, bool),
        mut run: impl FnMut(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<Vec<Timed>> {
        let mut all = Vec::new();
        for _ in 0..self.args.repeat {
            let floor = match (&mut self.floors, self.weight_bytes) {
                (Some(floors), Some(bytes)) => {
                    floors.rates = Rates::measure(&self.machine.0, self.machine.1);
                    Some(floor(floors, bytes))
                }
                _ => None,
            };
            let begun = Instant::now();
            run(self)?;
            let seconds = begun.elapsed().as_secs_f64();
            all.push(Timed { seconds, floor });
        }
        all.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        Ok(all)
    }

    fn tokens(&mut self, n: usize) -> Vec<u32> {
        (0..n).map(|_| (self.random.next() % self.vocab) as u32).collect()
    }

    /// Computes tokens `from..to` of a sequence in the first pages.
    fn fill(&mut self, from: usize, to: usize) -> anyhow::Result<()> {
        let tokens = self.tokens(to - from);
        let filled = fill(self.executor, &tokens, from, self.args.step, &mut on);
        Ok(filled.map_err(Ended::step)?)
    }

    /// Generates on every sequence.
    fn decode(&mut self, sequences: Sequences, context: usize) -> anyhow::Result<()> {
        let first = self.tokens(sequences.count);
        let generated = sequences.generate(self.executor, &first, context, self.args.generate, &mut on);
        Ok(generated.map_err(Ended::step)?)
    }
}

/// Nobody ends a bench but its user, by ending the program.
fn on() -> Result<(), Infallible> {
    Ok(())
}

/// Of repetitions, the shortest first.
fn measure(what: &'static str, (batch, context): (usize, usize), tokens: usize, timed: &[Timed]) -> Measure {
    let rate = |seconds: f64| tokens as f64 / seconds;
    let middle = timed.len() / 2;
    let median = |of: fn(f64, f64) -> f64| {
        let values = timed.iter().map(|t| Some(of(t.floor?.0, t.seconds)));
        let mut values = values.collect::<Option<Vec<f64>>>()?;
        values.sort_by(f64::total_cmp);
        Some(values[middle])
    };
    Measure {
        what,
        batch,
        context,
        rate: rate(timed[middle].seconds),
        slowest: rate(timed[timed.len() - 1].seconds),
        quickest: rate(timed[0].seconds),
        floor: median(|floor, _| floor).map(rate),
        reached: median(|floor, seconds| floor / seconds),
        reads: timed[middle].floor.is_some_and(|(_, reads)| reads),
    }
}
