//! Declared against stored: when a matrix' tensors do not fit its configuration, the configuration they would fit.

use std::collections::BTreeMap;

use crate::problem::{Problems, problem};
use crate::quant::{Layout, Quantized, Storage, Strategy};

use super::format::Tensors;
use super::modules::{self, Expect};

/// Group sizes that tools write.
const GROUPS: [u64; 8] = [128, 64, 32, 16, 8, 256, 512, 1024];
const BITS: [u8; 7] = [4, 8, 3, 2, 5, 6, 7];

/// What was found of earlier matrices: all of a model usually deviate alike.
#[derive(Default)]
pub(super) struct Deviations {
    last: Option<Quantized>,
}

impl Deviations {
    /// True when the tensors of `name` fit their configuration, or no configuration at all; otherwise one problem that says what they are.
    pub fn none(
        &mut self,
        name: &str,
        shape: (usize, usize),
        how: Storage,
        tensors: &Tensors,
        problems: &mut Problems,
    ) -> bool {
        let Storage::Quantized(said) = how else { return true };
        // other tools' layouts take what they are from the tensors in the first place
        if matches!(said.layout, Layout::Foreign(_)) || fits(name, shape, said, tensors) {
            return true;
        }
        let found = self
            .last
            .into_iter()
            .chain(others(said))
            .find(|q| *q != said && divides(*q, shape.1) && fits(name, shape, *q, tensors));
        let Some(found) = found else { return true };
        self.last = Some(found);
        let (code, en, ko) = if found.bits != said.bits {
            ("bits-differ", "bits", "비트 수가")
        } else if found.strategy != said.strategy {
            ("group-size-differs", "groups", "그룹 크기가")
        } else {
            ("symmetry-differs", "zero points", "영점이")
        };
        let (declared, stored) = (describe(said), describe(found));
        problems.push(problem(
            code,
            name,
            (
                format!("the {en} of {name} are not the declared ones: config.json says {declared}, the tensors are {stored}"),
                format!("{name}의 {ko} 선언과 다릅니다: config.json은 {declared}, 텐서는 {stored}입니다"),
            ),
            (
                "Upload config.json and safetensors of the same save.",
                "같은 저장의 config.json과 safetensors를 올려 주세요.",
            ),
        ));
        false
    }
}

/// Configurations beside the declared one, the likeliest first.
fn others(said: Quantized) -> impl Iterator<Item = Quantized> {
    let grouped = GROUPS.map(Strategy::Group);
    let strategies = [said.strategy]
        .into_iter()
        .chain(grouped)
        .chain([Strategy::Channel, Strategy::Tensor]);
    strategies.flat_map(move |strategy| {
        [said.bits].into_iter().chain(BITS).flat_map(move |bits| {
            [said.symmetric, !said.symmetric]
                .into_iter()
                .map(move |symmetric| Quantized {
                    bits,
                    strategy,
                    symmetric,
                    ..said
                })
        })
    })
}

/// Groups that end inside a row are only believed where they are declared.
fn divides(q: Quantized, cols: usize) -> bool {
    match q.strategy {
        Strategy::Group(size) => size >= cols as u64 || (cols as u64).is_multiple_of(size),
        _ => true,
    }
}

/// Whether the tensors under `name` are exactly those of a matrix stored like that.
fn fits(name: &str, shape: (usize, usize), q: Quantized, tensors: &Tensors) -> bool {
    let mut expected: BTreeMap<String, Expect> = BTreeMap::new();
    let (mut unread, mut unheard) = (Problems::default(), Problems::default());
    modules::expect(
        name,
        shape,
        Storage::Quantized(q),
        &mut expected,
        &mut unread,
        &mut unheard,
    );
    let whole = expected
        .iter()
        .all(|(tensor, expect)| match tensors.get(tensor.as_str()) {
            None => !expect.required,
            Some(info) => {
                (expect.shapes.is_empty() || expect.shapes.contains(&info.shape))
                    && (expect.dtypes.is_empty() || expect.dtypes.contains(&info.dtype))
            }
        });
    let prefix = format!("{name}.");
    let own = tensors
        .range(prefix.as_str()..)
        .take_while(|(tensor, _)| tensor.starts_with(&prefix));
    whole && own.into_iter().all(|(tensor, _)| expected.contains_key(*tensor))
}

fn describe(q: Quantized) -> String {
    let groups = match q.strategy {
        Strategy::Group(size) => format!("groups of {size}"),
        Strategy::Channel => "a scale a row".to_owned(),
        Strategy::Tensor => "one scale".to_owned(),
        Strategy::Block { rows, cols } => format!("blocks of {rows} × {cols}"),
    };
    let symmetry = if q.symmetric { "symmetric" } else { "with zero points" };
    format!("{} bits, {groups}, {symmetry}", q.bits)
}
