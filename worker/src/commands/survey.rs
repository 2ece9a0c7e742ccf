//! `survey`: what a graphics card offers and how fast its parts are, before kernels are tuned for it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use assay_engine::exec::gpu::device::Card;
use assay_engine::exec::gpu::survey::{self, Scale, Survey};
use assay_engine::{ENGINE_VERSION, Precision};

/// Look a graphics card over: features, limits, matrix units, products, dispatches, memory, and whether they can be trusted.
#[derive(clap::Args)]
pub struct Args {
    /// Part of the card's name, or its PCI bus id; the first real card unless said otherwise
    #[arg(long, value_name = "NAME")]
    card: Option<String>,
    /// Outputs and inputs of the matrix products
    #[arg(long, value_name = "N", num_args = 2, default_values_t = [8192, 2048])]
    shape: Vec<usize>,
    /// Their rows
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 16, 64, 256, 2048])]
    rows: Vec<usize>,
    /// Bytes copied and read at once, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    memory: u64,
    /// Dispatches in a row
    #[arg(long, value_name = "N", default_value_t = 1000)]
    dispatches: u32,
    /// Seconds a single product may take; what would take longer is left out
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    patience: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Fails if a check that the executor counts on did not pass.
pub fn run(mut args: Args) -> anyhow::Result<ExitCode> {
    let (outputs, inputs) = (args.shape[0], args.shape[1]);
    ensure!(
        outputs > 0 && inputs > 0 && inputs % 128 == 0,
        "--shape must name at least one output, and inputs in multiples of 128"
    );
    ensure!(
        args.dispatches > 0 && args.memory > 0 && args.patience > 0.0 && args.patience < 1e6 && !args.rows.contains(&0),
        "--rows, --dispatches, --memory and --patience must be more than nothing"
    );
    args.rows.sort_unstable();
    args.rows.dedup();
    let card = Card::find(args.card.as_deref())?;
    let scale = Scale {
        outputs,
        inputs,
        rows: args.rows,
        dispatches: args.dispatches,
        bytes: args.memory << 20,
        patience: Duration::from_secs_f64(args.patience),
    };
    let found = survey::run(&card, Precision::Pair, &scale, &mut |what| eprintln!("{what}"))?;
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&found)?),
        false => print(&found, &scale),
    }
    let passed = found.checks.iter().all(|check| check.passed || !check.needed);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(f: &Survey, scale: &Scale) {
    println!("{ENGINE_VERSION}, {} ({}, bus {})", f.card, f.kind, f.bus);
    println!("subgroups of {} to {} threads", f.subgroups[0], f.subgroups[1]);
    for (name, value) in &f.limits {
        println!("  {name}: {value}");
    }
    println!("features: {}", f.features.join(" "));
    println!("matrix units:{}", if f.matrix_units.is_empty() { " none" } else { "" });
    for unit in &f.matrix_units {
        let [m, n, k] = unit.size;
        println!("  {m}×{n}×{k}, {} with sums in {}", unit.factors, unit.sums);
    }
    println!("products of {} outputs and {} inputs", scale.outputs, scale.inputs);
    for p in &f.products {
        let told = match (p.seconds, p.rate) {
            (Some(seconds), Some(rate)) => format!("{:>12.3} ms {:>10.1} GFLOP/s", 1e3 * seconds, rate / 1e9),
            _ => format!("{:>12} longer than {:.0} s", "", scale.patience.as_secs_f64()),
        };
        println!("  {:<80} {:>6} rows {told}", p.kernel, p.rows);
    }
    let d = &f.dispatches;
    println!(
        "a dispatch: {:.2} µs after one it depends on, {:.2} µs after others, {:.2} µs of the host to record",
        1e6 * d.dependent,
        1e6 * d.independent,
        1e6 * d.record
    );
    let m = &f.memory;
    println!("memory, GB/s:");
    let rates = [
        ("host to card", Some(m.up)),
        ("card to host", Some(m.down)),
        ("card to card", Some(m.within)),
        ("read by a kernel", Some(m.read)),
        ("through workgroup memory in f32", Some(m.staged_f32)),
        ("through workgroup memory in f16", m.staged_f16),
    ];
    for (what, rate) in rates {
        let rate = rate.map_or("not offered".into(), |rate| format!("{:.1}", rate / 1e9));
        println!("  {what:<32} {rate:>12}");
    }
    println!("checks:");
    for check in &f.checks {
        match (check.passed, check.needed) {
            (true, _) => println!("  yes     {}", check.what),
            (false, false) => println!("  no      {}: {}", check.what, check.found),
            (false, true) => println!("  FAILED  {}: {}", check.what, check.found),
        }
    }
}
