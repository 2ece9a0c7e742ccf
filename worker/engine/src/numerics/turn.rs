//! Rotations of a layer's inputs or outputs.

use assay_checkpoint::Transform;

/// `x ← x·M`, run by run, in f32: a Hadamard matrix by butterflies of neighbours at distance 1, 2, 4, … and one multiplication by 1/√n at
/// the end; any other matrix by chains of additions in the order of the inputs. Every operation is rounded as written.
pub fn turn(transform: &Transform, row: &mut [f32]) {
    match transform {
        Transform::Hadamard { size } => {
            let scale = 1.0 / (*size as f32).sqrt();
            for run in row.chunks_exact_mut(*size) {
                let mut distance = 1;
                while distance < *size {
                    for pair in run.chunks_exact_mut(2 * distance) {
                        let (left, right) = pair.split_at_mut(distance);
                        for (a, b) in left.iter_mut().zip(right) {
                            (*a, *b) = (*a + *b, *a - *b);
                        }
                    }
                    distance *= 2;
                }
                run.iter_mut().for_each(|x| *x *= scale);
            }
        }
        Transform::Matrix { size, values } => {
            let mut sums = vec![0f32; *size];
            for run in row.chunks_exact_mut(*size) {
                sums.fill(0.0);
                for (x, m) in run.iter().zip(values.chunks_exact(*size)) {
                    sums.iter_mut().zip(m).for_each(|(sum, m)| *sum += x * m);
                }
                run.copy_from_slice(&sums);
            }
        }
    }
}
