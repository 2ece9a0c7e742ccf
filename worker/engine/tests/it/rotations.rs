//! Rotations of inputs and outputs: a model whose weights were rotated, and which rotates back when it runs, is the model it was.

use std::sync::Arc;

use assay_checkpoint::safetensors::{Dtype, NewTensor, write};
use assay_checkpoint::{Checkpoint, Matrix, Transform, Transforms, Weights};
use assay_engine::numerics::turn;
use assay_engine::{Device, Model};
use serde_json::{Value, json};

use crate::gpu_kernels::SOFTWARE;
use crate::support::{PLAIN, Random, Shape, engine, fixtures, model_of, options, parts, read_tensors};

/// Sylvester's over √size, times a change of signs: orthogonal, its values ± a power of two where the size is one of four.
fn signed(r: &mut Random, size: usize) -> Vec<f32> {
    let signs: Vec<f32> = (0..size).map(|_| [1.0, -1.0][r.below(2)]).collect();
    let at = |i: usize, j: usize| if (i & j).count_ones() % 2 == 1 { -1.0 } else { 1.0 };
    let scale = 1.0 / (size as f32).sqrt();
    let values = (0..size * size).map(|k| (k / size, k % size));
    values.map(|(i, j)| signs[i] * at(i, j) * scale).collect()
}

fn transposed(values: &[f32], size: usize) -> Vec<f32> {
    (0..size * size).map(|k| values[k % size * size + k / size]).collect()
}

/// W·M by blocks of columns, which is what undoes x·M in x·Wᵀ for an orthogonal M.
fn turn_inputs(m: &mut Matrix, by: &Transform) {
    let Weights::F32(w) = &mut m.weights else { panic!() };
    w.chunks_mut(m.cols).for_each(|row| turn(by, row));
}

/// Mᵀ·W by blocks of rows: its outputs are those of W times M.
fn turn_outputs(m: &mut Matrix, by: &Transform) {
    let Weights::F32(w) = &mut m.weights else { panic!() };
    for c in 0..m.cols {
        let mut column: Vec<f32> = w.iter().skip(c).step_by(m.cols).copied().collect();
        turn(by, &mut column);
        w.iter_mut()
            .skip(c)
            .step_by(m.cols)
            .zip(column)
            .for_each(|(w, x)| *w = x);
    }
}

/// Weights that stay exact in bf16 when blocks of 16 are rotated: integers from -7 to 7, times a power of two.
fn integers(m: &mut Matrix) {
    let Weights::F32(w) = &mut m.weights else { panic!() };
    w.iter_mut()
        .for_each(|w| *w = (*w * 16.0).round().clamp(-7.0, 7.0) / 16.0);
}

#[test]
fn a_rotated_model_that_rotates_back_gives_the_logits_it_gave() {
    let shape = Shape { tie: false, ..PLAIN };
    let (config, mut plain) = parts(&shape, 3);
    let (_, mut turned) = parts(&shape, 3);
    for l in plain.layers.iter_mut().chain(&mut turned.layers) {
        for m in [
            &mut l.q,
            &mut l.k,
            &mut l.v,
            &mut l.o,
            &mut l.gate,
            &mut l.up,
            &mut l.down,
        ] {
            integers(m);
        }
    }
    let r = &mut Random(4);
    let hadamard = Arc::new(Transform::Hadamard { size: 16 });
    let forth = signed(r, 16);
    let matrix = |values: &[f32]| {
        Arc::new(Transform::Matrix {
            size: 16,
            values: values.to_vec(),
        })
    };
    let (back, forth) = (matrix(&transposed(&forth, 16)), matrix(&forth));
    for l in &mut turned.layers {
        // R4 with a Hadamard matrix, QuIP's V with another one on inputs that are shared, its U on outputs
        for (m, by) in [
            (&mut l.down, &hadamard),
            (&mut l.q, &forth),
            (&mut l.v, &forth),
            (&mut l.o, &hadamard),
        ] {
            turn_inputs(m, by);
            m.transforms.input = Some(Arc::clone(by));
        }
        for m in [&mut l.k, &mut l.q, &mut l.up, &mut l.down] {
            turn_outputs(m, &forth);
            m.transforms.output = Some(Arc::clone(&back));
        }
    }
    let (plain, turned) = (model_of(config.clone(), plain), model_of(config, turned));
    assert!(turned.turns() && !plain.turns());
    let prompt = r.tokens(90, shape.vocab);
    let logits = |model: &Arc<Model>, device: Device| engine(model, &options(device)).logits(&prompt).unwrap();
    let exact = logits(&plain, Device::Reference);
    let apart = |a: &[f32]| exact.iter().zip(a).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    let size = exact.iter().fold(0f32, |m, x| m.max(x.abs()));
    assert!(apart(&logits(&turned, Device::Reference)) <= 1e-6 * size);
    let rounding = apart(&logits(&plain, Device::Cpu));
    for device in [Device::Cpu, format!("gpu:{SOFTWARE}").parse().unwrap()] {
        let off = apart(&logits(&turned, device.clone()));
        println!("{device}: {off:.1e} beside {rounding:.1e} of {size:.1e}");
        assert!(off <= 4.0 * rounding + 1e-5, "{device}: {off:e}, {rounding:e}");
    }

    // alone or with others, a row is the same bits
    let mut one = engine(&turned, &options(Device::Cpu));
    let whole = one.logits(&prompt).unwrap();
    let mut small = options(Device::Cpu);
    small.step_tokens = 7;
    assert_eq!(engine(&turned, &small).logits(&prompt).unwrap(), whole);
}

/// The fixture's own weights, rotated on disk: R4 as a configuration declares it.
#[test]
fn a_rotated_checkpoint_is_the_checkpoint_it_was_within_the_rounding_of_its_weights() {
    let base = fixtures().join("checkpoints/base");
    let dir = tempfile::tempdir().unwrap();
    let mut config: Value = serde_json::from_slice(&std::fs::read(base.join("config.json")).unwrap()).unwrap();
    let apply = |location: &str, inverse: bool| json!({"targets": ["re:.*down_proj$"], "location": location, "inverse": inverse});
    let turned = json!({"R4": {"type": "hadamard", "apply": [apply("input", false), apply("weight_input", true)]}});
    config["quantization_config"] =
        json!({"quant_method": "compressed-tensors", "transform_config": {"config_groups": turned}});
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();

    let rotate = |rotated: bool| {
        let mut tensors = read_tensors(&base.join("model.safetensors"));
        for (name, dtype, shape, data) in &mut tensors {
            if rotated && name.ends_with("down_proj.weight") {
                let cols = shape[1] as usize;
                let values = data.as_chunks::<2>().0.iter();
                let mut w: Vec<f32> = values
                    .map(|b| f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16))
                    .collect();
                w.chunks_mut(cols)
                    .for_each(|row| turn(&Transform::Hadamard { size: cols }, row));
                (*dtype, *data) = (Dtype::F32, w.iter().flat_map(|w| w.to_le_bytes()).collect());
            }
        }
        let tensors: Vec<NewTensor> = tensors
            .iter()
            .map(|(name, dtype, shape, data)| NewTensor {
                name: name.clone(),
                dtype: *dtype,
                shape: shape.clone(),
                data,
            })
            .collect();
        let file = write(&tensors, &[("format", "pt")]).unwrap();
        std::fs::write(dir.path().join("model.safetensors"), file).unwrap();
        Arc::new(Model::load(&Checkpoint::open(dir.path()).unwrap()).unwrap())
    };
    let case = &crate::support::golden("base")[0];
    let apart = |model: Arc<Model>, device: Device| {
        let logits = engine(&model, &options(device)).logits(&case.prompt).unwrap();
        let pairs = logits.iter().zip(&case.logits);
        pairs.map(|(a, b)| (a - b).abs()).fold(0f32, f32::max)
    };
    let (reference, cpu) = (apart(rotate(true), Device::Reference), apart(rotate(true), Device::Cpu));
    let unrotated = apart(rotate(false), Device::Cpu);
    println!("reference {reference:.1e}, cpu {cpu:.1e}; weights left as they were {unrotated:.1e}");
    assert!(reference < 0.1 && cpu < 0.1 && unrotated > 1.0);
}

#[test]
fn no_transforms_are_the_default() {
    assert!(Transforms::default().is_empty());
}
