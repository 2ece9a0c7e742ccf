//! Dispatches and memory.

use std::time::Instant;

use wgpu::{BufferUsages, ComputePass, Features, MapMode};

use super::{Dispatches, Memory, Notes, once, seconds};
use crate::exec::gpu::GpuError;
use crate::exec::gpu::device::{Card, Opened};
use crate::exec::gpu::kernels::{Kernel, plain};
use crate::exec::gpu::probe::{Probe, read_back};

/// Threads that read memory: more than any card runs at once.
const THREADS: u32 = 1 << 18;

/// Bytes copied to and from the host at once: bounded, since drivers hold them a second time.
const BETWEEN: u64 = 64 << 20;

pub fn dispatches(probe: &Probe, notes: &mut Notes<'_>) -> Result<Dispatches, GpuError> {
    let (device, count) = (&probe.device, notes.scale.dispatches);
    let kernel = plain(device, "count", include_str!("../shaders/survey_count.wgsl"), 5, 1);
    let zero = device.buffer("zeros", 16, BufferUsages::empty())?;
    let bound = || -> Result<_, GpuError> {
        let own = device.buffer("a count", 16, BufferUsages::COPY_SRC)?;
        Ok((kernel.bind(device, &[&zero, &zero, &zero, &zero, &zero, &own]), own))
    };
    let (one, counted) = bound()?;
    let many = (0..count)
        .map(|_| bound().map(|(bind, _)| bind))
        .collect::<Result<Vec<_>, _>>()?;
    let record = |pass: &mut ComputePass<'_>, bind| {
        pass.set_pipeline(&kernel.pipeline);
        pass.set_bind_group(0, bind, &[]);
        pass.dispatch_workgroups(1, 1, 1);
    };
    let run = |dependent: bool| {
        let which = |own| if dependent { &one } else { own };
        once(device, |pass| many.iter().for_each(|own| record(pass, which(own))))
    };
    // the first of each pays for pipelines and memory
    let (_, dependent) = (run(true)?, run(true)?);
    let (_, independent) = (run(false)?, run(false)?);
    let found = read_back::<u32>(device, &counted, 1)?[0];
    let wanted = 2 * count;
    let told = match found == wanted {
        true => Ok(()),
        false => Err(format!("it counted to {found}, not {wanted}")),
    };
    notes.check("a dispatch sees what the one before it wrote", true, told);
    let each = 1.0 / f64::from(count);
    Ok(Dispatches {
        dependent: dependent.done * each,
        independent: independent.done * each,
        record: dependent.recorded * each,
    })
}

pub fn memory(card: &Card, probe: &Probe, most: u64) -> Result<Memory, GpuError> {
    let device = &probe.device;
    let bytes = most.min(device.largest()) / 16 * 16;
    let (first, second) = (
        device.buffer("bytes", bytes, BufferUsages::COPY_SRC)?,
        device.buffer("their copy", bytes, BufferUsages::COPY_SRC)?,
    );
    let within = best(|| {
        let mut encoder = device.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&first, 0, &second, 0, bytes);
        let begun = Instant::now();
        device.queue.submit([encoder.finish()]);
        device.wait()?;
        Ok(begun.elapsed().as_secs_f64())
    })?;
    let (up, down) = (up(device, &first, bytes)?, down(device, &first, bytes)?);
    let read = plain(device, "read", include_str!("../shaders/survey_read.wgsl"), 1, 1);
    let stage = |device: &Opened, head: &str| {
        let source = format!("{head}{}", include_str!("../shaders/survey_stage.wgsl"));
        plain(device, "stage", &source, 1, 1)
    };
    let f32s = stage(device, "alias Vector = vec4<f32>;\n");
    let staged_f16 = match card.offers(Features::SHADER_F16) {
        true => {
            let device = card.open_with(Features::SHADER_F16)?;
            let halves = device.buffer("bytes", bytes, BufferUsages::empty())?;
            let kernel = stage(&device, "enable f16;\nalias Vector = vec4<f16>;\n");
            Some(pass_over(&device, &kernel, &halves, bytes, 8)?)
        }
        false => None,
    };
    Ok(Memory {
        up,
        down,
        within: bytes as f64 / within,
        read: pass_over(device, &read, &first, bytes, 16)?,
        staged_f32: pass_over(device, &f32s, &first, bytes, 16)?,
        staged_f16,
    })
}

// Bytes a second of a kernel that goes over a buffer once, in vectors of so many bytes.
fn pass_over(device: &Opened, kernel: &Kernel, data: &wgpu::Buffer, bytes: u64, vector: u64) -> Result<f64, GpuError> {
    let out = device.buffer("what was seen", u64::from(THREADS) * 4, BufferUsages::empty())?;
    let bind = kernel.bind(device, &[data, &out]);
    let words = [(bytes / vector) as u32, THREADS];
    let taken = seconds(device, |pass| {
        pass.set_pipeline(&kernel.pipeline);
        pass.set_bind_group(0, &bind, &[]);
        pass.set_immediates(0, bytemuck::cast_slice(&words));
        pass.dispatch_workgroups(THREADS / 256, 1, 1);
    })?;
    Ok(bytes as f64 / taken)
}

fn up(device: &Opened, to: &wgpu::Buffer, bytes: u64) -> Result<f64, GpuError> {
    let content = vec![1u8; bytes.min(BETWEEN) as usize];
    let taken = best(|| {
        let begun = Instant::now();
        device.queue.write_buffer(to, 0, &content);
        device.queue.submit([]);
        device.wait()?;
        Ok(begun.elapsed().as_secs_f64())
    })?;
    Ok(content.len() as f64 / taken)
}

fn down(device: &Opened, from: &wgpu::Buffer, bytes: u64) -> Result<f64, GpuError> {
    let bytes = bytes.min(BETWEEN);
    let host = device.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("readback"),
        size: bytes,
        usage: BufferUsages::COPY_DST | BufferUsages::MAP_READ,
        mapped_at_creation: false,
    });
    let taken = best(|| {
        let begun = Instant::now();
        let mut encoder = device.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(from, 0, &host, 0, bytes);
        device.queue.submit([encoder.finish()]);
        host.map_async(MapMode::Read, .., |_| {}); // a failure shows in `wait`
        device.wait()?;
        let view = host
            .get_mapped_range(..)
            .map_err(|error| GpuError::Reported(error.to_string()))?;
        let copy = view.to_vec();
        let taken = begun.elapsed().as_secs_f64();
        drop((view, std::hint::black_box(copy)));
        host.unmap();
        Ok(taken)
    })?;
    Ok(bytes as f64 / taken)
}

// The shortest of three: the first pays for memory that is touched for the first time.
fn best(mut run: impl FnMut() -> Result<f64, GpuError>) -> Result<f64, GpuError> {
    Ok(run()?.min(run()?).min(run()?))
}
