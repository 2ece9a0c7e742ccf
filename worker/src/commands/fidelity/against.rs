//! A device's logits beside those of `reference` for the same checkpoint: how much another distribution it samples from.

use assay_engine::Device;
use assay_engine::numerics::log_sum_exp;

use super::compare::{LogitRow, Logits, Note, top};

/// One checkpoint on one device.
pub struct AgainstRow {
    pub checkpoint: String,
    pub device: Device,
    pub note: Option<Note>,
    pub positions: usize,
    /// KL(reference‖device), nats
    pub mean_kl: f64,
    pub max_kl: f64,
    /// Positions with the same most likely token.
    pub same_top: usize,
    /// Largest difference of the log-probability of any token.
    pub largest: f64,
}

impl AgainstRow {
    /// Compares the logits of two devices, which are of the same prompts.
    pub fn of(row: &LogitRow, device: &Logits, reference: &Logits) -> AgainstRow {
        let mut out = AgainstRow {
            checkpoint: row.checkpoint.clone(),
            device: row.device.clone(),
            note: row.note,
            positions: 0,
            mean_kl: 0.0,
            max_kl: 0.0,
            same_top: 0,
            largest: 0.0,
        };
        let mut sum = 0.0;
        for (reference, device) in reference.positions().zip(device.positions()) {
            let (kl, largest) = divergence(reference, device);
            sum += kl;
            out.max_kl = out.max_kl.max(kl);
            out.largest = out.largest.max(largest);
            out.same_top += usize::from(top(reference) == top(device));
            out.positions += 1;
        }
        out.mean_kl = sum / out.positions.max(1) as f64;
        out
    }
}

/// KL(p‖q) in nats of the distributions that two rows of logits stand for, and the largest |log p − log q|.
fn divergence(p: &[f32], q: &[f32]) -> (f64, f64) {
    let (p_sum, q_sum) = (log_sum_exp(p), log_sum_exp(q));
    let (mut kl, mut largest) = (0f64, 0f64);
    for (p, q) in p.iter().zip(q) {
        let log_p = f64::from(*p) - p_sum;
        let d = log_p - (f64::from(*q) - q_sum);
        // Σ p·d with Σ (q − p) = 0 added term by term: none is negative, so that distributions which nearly agree do not cancel
        kl += log_p.exp() * (d + (-d).exp_m1());
        largest = largest.max(d.abs());
    }
    (kl, largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_divergence_of_two_coins() {
        // p = (3/4, 1/4), q = (1/2, 1/2); a constant added to logits changes nothing
        let (kl, largest) = divergence(&[3f32.ln() + 5.0, 5.0], &[-1.0, -1.0]);
        let exact = 0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln();
        assert!((kl - exact).abs() < 1e-6, "{kl} {exact}");
        assert!((largest - 2f64.ln()).abs() < 1e-6, "{largest}");
        assert_eq!(divergence(&[1.0, 2.0, -3.0], &[1.0, 2.0, -3.0]), (0.0, 0.0));
    }
}
