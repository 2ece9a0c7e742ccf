// What a value in units of its scale is rounded to, as numerics/codes.rs defines it.

fn limit(q: f32, low: f32, high: f32) -> f32 {
    let above = select(q, low, q < low);
    return select(above, high, above > high);
}

// To a small float, ties to even: so many bits dropped from `smallest` on, below that multiples of `step`, of which `steps` make 1.
fn round_float(q: f32, dropped: u32, smallest: f32, steps: f32, step: f32) -> f32 {
    return select(drop_bits(q, dropped), round(q * steps) * step, abs(q) < smallest);
}

fn round_float8(q: f32) -> f32 {
    return round_float(q, 20u, 0.015625, 512.0, 0.001953125);
}
