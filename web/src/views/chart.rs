//! Accuracy against size as a drawing: intervals as bars, the Pareto front, what it is compared with. Drawn on the server, in
//! the page's own colours; the table beside it says the same in figures.

use super::measures::MeasureColumn;

/// Width and height of the drawing, and its margins: left for the axis' figures, below for the sizes.
const WIDTH: f64 = 1080.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 22.0;
const BELOW: f64 = 40.0;
/// With more points than this only those that matter have their bars drawn: the others would hide them.
const BARS: usize = 40;
/// Width of a letter of a label, of a wide one twice as much, and the height of a line.
const LETTER: f64 = 6.4;
const LINE: f64 = 14.0;

/// The drawing with its table.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    /// The accuracy it shows.
    pub measure: MeasureColumn,
    /// The accuracies it can show: name, address, whether it is this one.
    pub choices: Vec<(String, String, bool)>,
    /// Everyone with an accuracy and a size, smallest first.
    pub points: Vec<Point>,
    /// The front as a path.
    pub front: String,
    /// Sizes on the axis: place and figure in MB.
    pub sizes: Vec<(String, String)>,
    /// Accuracies on the axis.
    pub accuracies: Vec<(String, String)>,
    /// A floor of the contest under this accuracy: its place and the value.
    pub floor: Option<(String, String)>,
}

/// What a point stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PointKind {
    /// The base model or a reference.
    Reference,
    /// A team with a rank.
    #[default]
    Ranked,
    /// A team below a floor, or without a score.
    Unranked,
}

/// One model.
#[derive(Clone, Debug, Default)]
pub struct Point {
    /// What it stands for.
    pub kind: PointKind,
    /// The team's or the model's name.
    pub name: String,
    /// The row it belongs to: the fragment of its address.
    pub anchor: String,
    /// Whether it is the viewer's team.
    pub mine: bool,
    /// Length of its weight files.
    pub bytes: u64,
    /// The accuracy.
    pub value: f64,
    /// The ends of its interval.
    pub interval: Option<(f64, f64)>,
    /// Whether no ranked team is both smaller and better.
    pub front: bool,
    /// Where it lies in the drawing.
    pub x: String,
    /// Where it lies in the drawing.
    pub y: String,
    /// The ends of its bar, where it is drawn.
    pub bar: Option<(String, String)>,
    /// Its name beside it, where there is room: place, side of the point (`start`, `end`).
    pub label: Option<(String, String, &'static str)>,
}

impl Point {
    /// Its CSS classes.
    pub fn class(&self) -> String {
        let mut class = match self.kind {
            PointKind::Reference => "reference",
            PointKind::Ranked if self.front => "front",
            PointKind::Ranked => "dominated",
            PointKind::Unranked => "unranked",
        }
        .to_owned();
        if self.mine {
            class.push_str(" mine");
        }
        class
    }
}

/// A linear axis with figures at round places.
struct Axis {
    low: f64,
    high: f64,
    step: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// Around everything between `low` and `high`, drawn from `from` to `to`, with about `ticks` figures.
    fn around(low: f64, high: f64, (from, to): (f64, f64), ticks: f64) -> Axis {
        let span = if high > low {
            high - low
        } else {
            low.abs().max(1.0) * 0.1
        };
        let (low, high) = (low - span * 0.04, high + span * 0.04);
        let rough = (high - low) / ticks;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|step| *step >= rough)
            .unwrap_or(rough);
        Axis {
            low,
            high,
            step,
            from,
            to,
        }
    }

    fn at(&self, value: f64) -> f64 {
        self.from + (value.clamp(self.low, self.high) - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<(String, String)> {
        let decimals = (-self.step.log10().floor()).clamp(0.0, 6.0) as usize;
        let mut ticks = Vec::new();
        let mut at = (self.low / self.step).ceil();
        while at * self.step <= self.high && ticks.len() < 20 {
            let value = at * self.step;
            ticks.push((place(self.at(value)), format!("{value:.decimals$}")));
            at += 1.0;
        }
        ticks
    }
}

fn place(value: f64) -> String {
    format!("{value:.1}")
}

fn width(text: &str) -> f64 {
    text.chars()
        .map(|c| if c.is_ascii() { LETTER } else { 2.0 * LETTER })
        .sum()
}

/// Longest name written beside a point, in letters; the rest is cut.
const NAME: usize = 26;

/// A name that fits beside a point.
pub fn short(name: &str) -> String {
    if name.chars().count() <= NAME {
        name.to_owned()
    } else {
        name.chars().take(NAME - 1).chain(['…']).collect()
    }
}

impl Chart {
    /// Places `points`; `None` when there are fewer than two to compare.
    pub fn new(
        measure: MeasureColumn,
        choices: Vec<(String, String, bool)>,
        mut points: Vec<Point>,
        floor: Option<f64>,
    ) -> Option<Chart> {
        points.retain(|point| point.value.is_finite());
        if points.len() < 2 {
            return None;
        }
        points.sort_by(|a, b| {
            let by_value = b.value.total_cmp(&a.value);
            a.bytes.cmp(&b.bytes).then(by_value).then(a.name.cmp(&b.name))
        });
        let mut best = f64::NEG_INFINITY;
        for point in points.iter_mut().filter(|point| point.kind == PointKind::Ranked) {
            point.front = point.value > best;
            best = best.max(point.value);
        }
        let few = points.len() <= BARS;
        let has_bar = |point: &Point| few || point.front || point.mine || point.kind == PointKind::Reference;
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let spread = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            })
        };
        let (low, high) = spread(&mut points.iter().map(|point| megabytes(point.bytes)));
        let across = Axis::around(low, high, (LEFT, WIDTH - RIGHT), 9.0);
        let ends = points.iter().flat_map(|point| {
            let (low, high) = point
                .interval
                .filter(|_| has_bar(point))
                .unwrap_or((point.value, point.value));
            [low, high]
        });
        let (low, high) = spread(&mut ends.chain(floor));
        let up = Axis::around(low, high, (HEIGHT - BELOW, TOP), 5.0);

        for point in &mut points {
            point.x = place(across.at(megabytes(point.bytes)));
            point.y = place(up.at(point.value));
            let bar = point.interval.filter(|_| has_bar(point));
            point.bar = bar.map(|(low, high)| (place(up.at(low)), place(up.at(high))));
        }
        let mut front = String::new();
        let mut last = None;
        for point in points.iter().filter(|point| point.front) {
            match last {
                None => front.push_str(&format!("M{} {}", point.x, place(HEIGHT - BELOW))),
                Some(()) => front.push_str(&format!("H{}", point.x)),
            }
            front.push_str(&format!("V{}", point.y));
            last = Some(());
        }
        if last.is_some() {
            front.push_str(&format!("H{}", place(WIDTH - RIGHT)));
        }
        label(&mut points);
        Some(Chart {
            measure,
            choices,
            front,
            sizes: across.ticks(),
            accuracies: up.ticks(),
            floor: floor.map(|floor| (place(up.at(floor)), format!("{floor}"))),
            points,
        })
    }

    /// The drawing's `viewBox`.
    pub fn view_box(&self) -> String {
        format!("0 0 {WIDTH} {HEIGHT}")
    }

    /// Where the axis of sizes lies.
    pub fn ground(&self) -> String {
        place(HEIGHT - BELOW)
    }

    /// Where the axis' figures stand.
    pub fn figures(&self) -> String {
        place(HEIGHT - BELOW + 17.0)
    }

    /// Where the axis' name stands.
    pub fn caption(&self) -> String {
        place(HEIGHT - 6.0)
    }

    /// Where the drawing begins and ends.
    pub fn sides(&self) -> (String, String) {
        (place(LEFT), place(WIDTH - RIGHT))
    }

    /// Where it begins from above.
    pub fn top(&self) -> String {
        place(TOP)
    }
}

/// Writes names beside the points that matter, references first, as far as they cover neither each other nor a point that
/// matters.
fn label(points: &mut [Point]) {
    let number = |text: &str| text.parse::<f64>().unwrap_or_default();
    let marks: Vec<(f64, f64)> = points
        .iter()
        .filter(|point| point.front || point.mine || point.kind == PointKind::Reference)
        .map(|point| (number(&point.x), number(&point.y)))
        .collect();
    let mut taken: Vec<(f64, f64, f64)> = Vec::new();
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by_key(|at| match points.get(*at) {
        Some(point) if point.kind == PointKind::Reference => 0,
        Some(point) if point.mine => 1,
        _ => 2,
    });
    for at in order {
        let Some(point) = points.get_mut(at) else { continue };
        if !(point.front || point.mine || point.kind == PointKind::Reference) {
            continue;
        }
        let (x, y, wide) = (number(&point.x), number(&point.y), width(&short(&point.name)));
        let sides = [("start", x + 9.0, x + 9.0), ("end", x - 9.0 - wide, x - 9.0)];
        let found = [y + 4.0, y - 8.0, y + 16.0].into_iter().find_map(|line| {
            sides.into_iter().find_map(|(anchor, left, at)| {
                let inside =
                    left >= LEFT && left + wide <= WIDTH - 2.0 && (TOP - 8.0..=HEIGHT - BELOW - 2.0).contains(&line);
                let free = taken.iter().all(|(from, to, other)| {
                    left > to + 4.0 || left + wide < from - 4.0 || (line - other).abs() >= LINE
                });
                let clear = marks.iter().all(|(mx, my)| {
                    (*mx - x).abs() < 0.05 && (*my - y).abs() < 0.05
                        || *mx < left - 5.0
                        || *mx > left + wide + 5.0
                        || (my - (line - 4.0)).abs() > 9.0
                });
                (inside && free && clear).then_some((anchor, left, at, line))
            })
        });
        if let Some((anchor, left, at, line)) = found {
            taken.push((left, left + wide, line));
            point.label = Some((place(at), place(line), anchor));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(name: &str, bytes: u64, value: f64, kind: PointKind) -> Point {
        Point {
            kind,
            name: name.into(),
            bytes,
            value,
            interval: Some((value - 0.05, (value + 0.05).min(1.0))),
            ..Point::default()
        }
    }

    fn chart(points: Vec<Point>) -> Chart {
        Chart::new(MeasureColumn::default(), vec![], points, Some(0.75)).expect("a chart")
    }

    #[test]
    fn the_front_is_those_that_no_ranked_team_beats_in_both() {
        use PointKind::*;
        let chart = chart(vec![
            point("big and good", 300, 0.9, Ranked),
            point("small", 100, 0.8, Ranked),
            point("as small, worse", 100, 0.79, Ranked),
            point("bigger than small, worse", 200, 0.7, Ranked),
            point("too small to be true", 50, 0.95, Unranked),
            point("a reference", 40, 0.99, Reference),
        ]);
        let front: Vec<&str> = chart
            .points
            .iter()
            .filter(|point| point.front)
            .map(|point| point.name.as_str())
            .collect();
        assert_eq!(front, ["small", "big and good"]);
        assert!(
            chart.front.starts_with('M') && chart.front.matches('V').count() == 2,
            "{}",
            chart.front
        );
        let classes: Vec<String> = chart.points.iter().map(Point::class).collect();
        assert_eq!(
            classes,
            ["reference", "unranked", "front", "dominated", "dominated", "front"]
        );
    }

    #[test]
    fn nothing_is_drawn_of_one_and_everything_stays_inside() {
        assert!(
            Chart::new(
                MeasureColumn::default(),
                vec![],
                vec![point("a", 1, 0.5, PointKind::Ranked)],
                None
            )
            .is_none()
        );
        // Six hundred of all sizes, two the same: no division by nothing, no point outside.
        let many = (0..600u32).map(|i| {
            point(
                &i.to_string(),
                1_000_000 + u64::from(i % 100) * 9_973,
                f64::from(i % 37) / 37.0,
                PointKind::Ranked,
            )
        });
        let chart = chart(many.collect());
        for point in &chart.points {
            let (x, y): (f64, f64) = (point.x.parse().unwrap(), point.y.parse().unwrap());
            assert!(
                (LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BELOW).contains(&y),
                "{x} {y}"
            );
        }
        assert!(
            chart.points.iter().filter(|point| point.bar.is_some()).count() < 60,
            "only the front has bars"
        );
        assert!((3..=20).contains(&chart.sizes.len()) && (3..=12).contains(&chart.accuracies.len()));
        let same = super::Chart::new(
            MeasureColumn::default(),
            vec![],
            vec![
                point("a", 5, 0.5, PointKind::Ranked),
                point("b", 5, 0.5, PointKind::Ranked),
            ],
            None,
        );
        assert!(same.is_some_and(|chart| chart.points.iter().all(|point| !point.x.contains("NaN"))));
    }

    #[test]
    fn names_do_not_cover_each_other() {
        let close = (0..6u32).map(|i| {
            point(
                "a rather long team name",
                100 + u64::from(i),
                0.5 + f64::from(i) * 0.001,
                PointKind::Ranked,
            )
        });
        let chart = chart(close.chain([point("far", 10_000, 0.9, PointKind::Reference)]).collect());
        let labels: Vec<(f64, f64, &str)> = chart
            .points
            .iter()
            .filter_map(|point| point.label.as_ref())
            .map(|(x, y, anchor)| (x.parse().unwrap(), y.parse().unwrap(), *anchor))
            .collect();
        assert!(labels.len() >= 2);
        for (i, a) in labels.iter().enumerate() {
            for b in &labels[i + 1..] {
                assert!(
                    a.2 != b.2 || (a.1 - b.1).abs() >= LINE || (a.0 - b.0).abs() > 40.0,
                    "{a:?} {b:?}"
                );
            }
        }
    }
}
