//! How fast a submission of EXAONE-4.0-1.2B's size is looked at: its header, and every byte of its data against the rate at which this
//! machine reads memory, both in one run.
//!
//!     cargo run --release -p assay-checkpoint --example data_speed -- FOLDER [SEED]
//!
//! FOLDER gets the submission (1.39 GB: W4A16 in groups of 128 with the duplicated head, as llm-compressor writes it), from the seed; one that
//! is there already is used as it is. The file is read once before the clock starts, so that disks are not what is measured.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use assay_checkpoint::safetensors::{Dtype, NewTensor, header_of};
use assay_checkpoint::{Inspection, Listing, verify, verify_data};
use serde_json::json;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const LAYERS: usize = 30;
const HIDDEN: u64 = 2048;
const VOCAB: u64 = 102_400;
const GROUP: u64 = 128;
/// matrix, rows, columns
const MATRICES: [(&str, u64, u64); 7] = [
    ("self_attn.q_proj", 2048, 2048),
    ("self_attn.k_proj", 512, 2048),
    ("self_attn.v_proj", 512, 2048),
    ("self_attn.o_proj", 2048, 2048),
    ("mlp.gate_proj", 4096, 2048),
    ("mlp.up_proj", 4096, 2048),
    ("mlp.down_proj", 2048, 4096),
];
const ROUNDS: usize = 7;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("usage: data_speed FOLDER [SEED]")?;
    let dir = Path::new(&dir);
    let seed = args.next().map_or(Ok(1), |seed| seed.parse())?;
    fs::create_dir_all(dir)?;
    let file = dir.join("model.safetensors");
    if !file.exists() {
        make(dir, seed)?;
    }
    let bytes = fs::metadata(&file)?.len();
    warm(&file)?;

    let mut headers = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let found = verify(&Listing::read_dir(dir)?, None, None);
        headers.push(began.elapsed());
        expect_sound(&found)?;
    }
    let header = median(&mut headers);
    println!(
        "inspect, headers only: {:.1} ms (goal: under 50)",
        1e3 * header.as_secs_f64()
    );

    let threads = std::thread::available_parallelism()?.get().min(8);
    let (mut floors, mut times) = (Vec::new(), Vec::new());
    let first = verify(&Listing::read_dir(dir)?, None, None);
    let mut peak = 0;
    // by turns, so that whatever else the machine does meets both
    for _ in 0..ROUNDS {
        floors.push(read_memory(512 << 20, threads));
        reset_peak();
        let began = Instant::now();
        let found = verify_data(dir, &first);
        times.push(began.elapsed());
        expect_sound(&found)?;
        peak = peak.max(resident()?);
    }
    let floor = (512 << 20) as f64 / median(&mut floors).as_secs_f64() / 1e9;
    let rate = bytes as f64 / median(&mut times).as_secs_f64() / 1e9;
    let shown = bytes as f64 / 1e9;
    println!("memory read, {threads} threads: {floor:.2} GB/s");
    println!(
        "data checks of {shown:.2} GB: {rate:.2} GB/s of file, {:.2} of the memory's rate (goal: 0.5)",
        rate / floor
    );
    let read = read_bytes(&dir.join("model.safetensors"))?;
    let rate = read as f64 / median(&mut times).as_secs_f64() / 1e9;
    println!(
        "of them looked at byte by byte {:.2} GB: {rate:.2} GB/s, {:.2} of the memory's rate",
        read as f64 / 1e9,
        rate / floor
    );
    println!(
        "peak memory of the process meanwhile: {} MiB (goal: under 300)",
        peak >> 20
    );
    Ok(())
}

/// A submission that is made to be the base's bytes here would speak too well of the look: its findings must be the expected ones.
fn expect_sound(found: &Inspection) -> Result<()> {
    if found.accepted() {
        return Ok(());
    }
    Err(format!("rejected: {:?}", found.problems).into())
}

/// Bytes of floats, whose every element is looked at.
fn read_bytes(file: &Path) -> Result<u64> {
    let mut first8 = [0u8; 8];
    let mut open = File::open(file)?;
    open.read_exact(&mut first8)?;
    let length = fs::metadata(file)?.len();
    let n = assay_checkpoint::safetensors::header_len(&first8, length)?;
    let mut prefix = first8.to_vec();
    open.take(n).read_to_end(&mut prefix)?;
    let header = assay_checkpoint::safetensors::parse_header(&prefix, length)?;
    let floats = header.tensors.values().filter(|t| t.dtype.is_plain_float());
    Ok(floats.map(|t| t.bytes()).sum())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Sums a buffer that no cache holds, each thread a part of it.
fn read_memory(bytes: usize, threads: usize) -> Duration {
    let buffer = vec![0x5Au64; bytes / 8];
    let began = Instant::now();
    std::thread::scope(|scope| {
        for part in buffer.chunks(buffer.len().div_ceil(threads)) {
            scope.spawn(|| {
                let mut sums = [0u64; 16];
                for words in part.as_chunks::<16>().0 {
                    sums.iter_mut()
                        .zip(words)
                        .for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
                }
                black_box(sums);
            });
        }
    });
    began.elapsed()
}

fn warm(file: &Path) -> Result<()> {
    let mut file = File::open(file)?;
    let mut buffer = vec![0u8; 1 << 20];
    while file.read(&mut buffer)? > 0 {}
    Ok(())
}

/// Peak of resident memory since the last reset, bytes.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .ok_or("no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib << 10)
}

fn reset_peak() {
    // refused in some containers: then the peak is that of the whole run, which is larger
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// xorshift64*: enough for weights nobody runs.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

fn make(dir: &Path, seed: u64) -> Result<()> {
    let mut list: Vec<(String, Dtype, Vec<u64>)> = vec![
        ("lm_head.weight".into(), Dtype::BF16, vec![VOCAB, HIDDEN]),
        ("model.embed_tokens.weight".into(), Dtype::BF16, vec![VOCAB, HIDDEN]),
        ("model.norm.weight".into(), Dtype::BF16, vec![HIDDEN]),
    ];
    for layer in 0..LAYERS {
        let name = |rest: &str| format!("model.layers.{layer}.{rest}");
        for (norm, width) in [
            ("self_attn.q_norm", 64),
            ("self_attn.k_norm", 64),
            ("post_attention_layernorm", HIDDEN),
            ("post_feedforward_layernorm", HIDDEN),
        ] {
            list.push((name(&format!("{norm}.weight")), Dtype::BF16, vec![width]));
        }
        for (matrix, rows, cols) in MATRICES {
            list.push((
                name(&format!("{matrix}.weight_packed")),
                Dtype::I32,
                vec![rows, cols / 8],
            ));
            list.push((
                name(&format!("{matrix}.weight_scale")),
                Dtype::BF16,
                vec![rows, cols / GROUP],
            ));
            list.push((name(&format!("{matrix}.weight_shape")), Dtype::I64, vec![2]));
        }
    }
    // the header wants slices of the right lengths; one of zeros serves for all of them
    let longest = list
        .iter()
        .map(|(_, dtype, shape)| shape.iter().product::<u64>() * dtype.bits() / 8)
        .max()
        .unwrap_or(0);
    let zeros = vec![0u8; longest as usize];
    let tensors: Vec<NewTensor> = list
        .iter()
        .map(|(name, dtype, shape)| NewTensor {
            name: name.clone(),
            dtype: *dtype,
            shape: shape.clone(),
            data: &zeros[..(shape.iter().product::<u64>() * dtype.bits() / 8) as usize],
        })
        .collect();
    let (header, _) = header_of(&tensors, &[("format", "pt")])?;
    let parsed = assay_checkpoint::safetensors::parse_header(
        &header,
        header.len() as u64 + tensors.iter().map(|t| t.data.len() as u64).sum::<u64>(),
    )?;
    let mut order: Vec<_> = parsed.tensors.into_iter().collect();
    order.sort_by_key(|(_, info)| info.begin);
    let partial = dir.join("model.part");
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&partial)?);
    out.write_all(&header)?;
    for (name, info) in order {
        if name.ends_with("weight_shape") {
            let (_, rows, cols) = MATRICES
                .into_iter()
                .find(|(m, ..)| name.contains(m))
                .ok_or("shape of what?")?;
            out.write_all(&[rows.to_le_bytes(), cols.to_le_bytes()].concat())?;
            continue;
        }
        // head and embedding from one seed: they are copies of each other
        let mut random = Random(
            seed.wrapping_mul(0x9E37_79B9)
                .wrapping_add(u64::from(info.dtype == Dtype::I32))
                | 1,
        );
        for _ in 0..info.bytes() / 8 {
            let word = random.next();
            // bfloat16 values of sane size: exponents from 2^-8 to 2^-1
            let word = if info.dtype == Dtype::BF16 {
                word & 0x03FF_03FF_03FF_03FF
                    | 0x3C00_3C00_3C00_3C00
                    | if name.contains("scale") {
                        0
                    } else {
                        word & 0x8000_8000_8000_8000
                    }
            } else {
                word
            };
            out.write_all(&word.to_le_bytes())?;
        }
    }
    out.into_inner()?.sync_all()?;
    fs::rename(partial, dir.join("model.safetensors"))?;
    let config = json!({
        "architectures": ["Exaone4ForCausalLM"], "model_type": "exaone4", "vocab_size": VOCAB, "hidden_size": HIDDEN,
        "intermediate_size": 4096, "num_hidden_layers": LAYERS, "num_attention_heads": 32, "num_key_value_heads": 8,
        "head_dim": 64, "hidden_act": "silu", "max_position_embeddings": 65536, "rms_norm_eps": 1e-5, "rope_theta": 1e6,
        "sliding_window": null, "layer_types": vec!["full_attention"; LAYERS], "tie_word_embeddings": false,
        "bos_token_id": 1, "eos_token_id": 361, "pad_token_id": 0, "torch_dtype": "bfloat16",
        "quantization_config": {
            "quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed",
            "config_groups": {"group_0": {"targets": ["Linear"], "input_activations": null, "output_activations": null, "weights": {
                "num_bits": 4, "type": "int", "symmetric": true, "strategy": "group", "group_size": GROUP, "dynamic": false}}},
            "ignore": ["lm_head"], "version": "0.12.2"
        }
    });
    fs::write(dir.join("config.json"), config.to_string())?;
    Ok(())
}
