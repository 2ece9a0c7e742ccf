//! A squarified treemap (Bruls, Huizing, van Wijk 2000): areas in proportion, shapes as near to squares as they go.

/// A rectangle, in any unit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Frame {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

/// Divides `frame` among `weights` (largest first is best), one rectangle each in their order; what weighs nothing gets
/// none. `aspect` is how wide one unit of width is on screen against one unit of height.
pub fn squarify(weights: &[u64], frame: Frame, aspect: f64) -> Vec<Frame> {
    let weights: Vec<f64> = weights.iter().map(|weight| *weight as f64).collect();
    let mut frames = vec![Frame::default(); weights.len()];
    let mut rest: Vec<usize> = (0..weights.len()).filter(|at| weights[*at] > 0.0).collect();
    let mut left = frame;
    let mut whole: f64 = rest.iter().map(|at| weights[*at]).sum();
    while !rest.is_empty() {
        let (wide, high) = (left.width * aspect, left.height);
        let upright = wide < high;
        let (short, long) = if upright { (wide, high) } else { (high, wide) };
        let n = best_row(&rest, &weights, whole, short, long);
        let row: Vec<usize> = rest.drain(..n).collect();
        let share: f64 = row.iter().map(|at| weights[*at]).sum();
        let part = if rest.is_empty() { 1.0 } else { share / whole };
        let mut begin = 0.0;
        for at in row {
            let along = weights[at] / share;
            frames[at] = if upright {
                Frame {
                    x: left.x + begin * left.width,
                    width: along * left.width,
                    height: part * left.height,
                    ..left
                }
            } else {
                Frame {
                    y: left.y + begin * left.height,
                    width: part * left.width,
                    height: along * left.height,
                    ..left
                }
            };
            begin += along;
        }
        if upright {
            left.y += part * left.height;
            left.height *= 1.0 - part;
        } else {
            left.x += part * left.width;
            left.width *= 1.0 - part;
        }
        whole -= share;
    }
    frames
}

/// As many of `rest` as make the worst shape of the row better. The row lies along the `short` side.
fn best_row(rest: &[usize], weights: &[f64], whole: f64, short: f64, long: f64) -> usize {
    let worst = |n: usize| {
        let row = rest.iter().take(n).map(|at| weights[*at]);
        let share: f64 = row.clone().sum();
        let thick = share / whole * long;
        row.map(|weight| {
            let length = weight / share * short;
            (length / thick).max(thick / length)
        })
        .fold(0.0, f64::max)
    };
    (1..rest.len()).find(|n| worst(n + 1) > worst(*n)).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame = Frame {
        x: 10.0,
        y: 20.0,
        width: 60.0,
        height: 30.0,
    };

    #[test]
    fn areas_are_in_proportion_and_fill_the_frame_without_overlap() {
        for weights in [
            vec![500, 300, 120, 50, 20, 8, 1, 1],
            vec![7],
            vec![3, 3, 3],
            vec![1_000_000_000, 1],
        ] {
            let frames = squarify(&weights, FRAME, 2.5);
            let whole: u64 = weights.iter().sum();
            for (i, (a, weight)) in frames.iter().zip(&weights).enumerate() {
                let expected = *weight as f64 / whole as f64 * FRAME.width * FRAME.height;
                assert!((a.width * a.height - expected).abs() < 1e-6, "{weights:?} {a:?}");
                assert!(a.x >= 10.0 - 1e-9 && a.y >= 20.0 - 1e-9);
                assert!(a.x + a.width <= 70.0 + 1e-9 && a.y + a.height <= 50.0 + 1e-9);
                for b in &frames[i + 1..] {
                    let apart = |a: f64, wide: f64, b: f64, other: f64| a + wide <= b + 1e-9 || b + other <= a + 1e-9;
                    assert!(
                        apart(a.x, a.width, b.x, b.width) || apart(a.y, a.height, b.y, b.height),
                        "{weights:?}: {a:?} over {b:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_weighs_nothing_has_no_area() {
        assert_eq!(squarify(&[], FRAME, 1.0), []);
        assert_eq!(squarify(&[0, 0], FRAME, 1.0), [Frame::default(); 2]);
        let frames = squarify(&[4, 0, 4], FRAME, 1.0);
        assert_eq!(
            (frames[0].width, frames[1], frames[2].width),
            (30.0, Frame::default(), 30.0)
        );
    }

    #[test]
    fn shapes_stay_near_to_squares() {
        // On a frame of 200 by 100 pixels.
        let frame = Frame {
            width: 100.0,
            height: 100.0,
            ..Frame::default()
        };
        for a in squarify(&[6, 6, 4, 3, 2, 2, 1], frame, 2.0) {
            let (wide, high) = (a.width * 2.0, a.height);
            assert!((wide / high).max(high / wide) < 3.0, "{a:?}");
        }
    }
}
