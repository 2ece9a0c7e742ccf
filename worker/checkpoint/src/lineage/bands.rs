//! How large an error a scheme explains. Data, with where each figure comes from.

/// Relative error ‖W′ − W⁰‖ / ‖W⁰‖ that rounding to nearest leaves, by codebook and columns that share a scale.
pub(super) struct Band {
    pub book: Book,
    /// most columns that share a scale
    pub columns: usize,
    /// of weights drawn from a normal distribution
    pub normal: f64,
    /// of Student's t with three degrees of freedom: heavier tails than any weight matrix of the base has
    pub heavy: f64,
}

/// What a scale is multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Book {
    Int(u8),
    Float8,
    Float6,
    Float4,
    Table,
}

const fn band(book: Book, columns: usize, normal: f64, heavy: f64) -> Band {
    Band {
        book,
        columns,
        normal,
        heavy,
    }
}

/// Simulated: 384 × 2048 weights, symmetric scales of absmax / ((2^b − 1) / 2), seed 1. The sample models' own errors lie between the
/// two columns: 4 bits in groups of 32 0.091–0.098, of 128 0.104–0.115, 3 bits in groups of 128 0.222–0.247, 2 bits in groups of 32
/// 0.452–0.484, 8 bits a row 0.0072–0.0083, float8 0.0261–0.0271. Zero points make each about a tenth smaller.
pub(super) const BANDS: &[Band] = &[
    band(Book::Int(2), 32, 0.472, 0.539),
    band(Book::Int(2), 128, 0.551, 0.668),
    band(Book::Int(2), usize::MAX, 0.684, 0.880),
    band(Book::Int(3), 32, 0.203, 0.282),
    band(Book::Int(3), 128, 0.238, 0.400),
    band(Book::Int(3), usize::MAX, 0.301, 0.669),
    band(Book::Int(4), 32, 0.095, 0.142),
    band(Book::Int(4), 128, 0.111, 0.214),
    band(Book::Int(4), usize::MAX, 0.141, 0.442),
    band(Book::Int(5), 32, 0.0459, 0.0709),
    band(Book::Int(5), 128, 0.0538, 0.110),
    band(Book::Int(5), usize::MAX, 0.0680, 0.253),
    band(Book::Int(6), 32, 0.0226, 0.0355),
    band(Book::Int(6), 128, 0.0264, 0.0552),
    band(Book::Int(6), usize::MAX, 0.0334, 0.133),
    band(Book::Int(7), 128, 0.0131, 0.0276),
    band(Book::Int(7), usize::MAX, 0.0166, 0.0667),
    band(Book::Int(8), 32, 0.0056, 0.0088),
    band(Book::Int(8), 128, 0.0065, 0.0138),
    band(Book::Int(8), usize::MAX, 0.0083, 0.0336),
    band(Book::Float8, usize::MAX, 0.0265, 0.0265),
    band(Book::Float6, usize::MAX, 0.030, 0.040),
    band(Book::Float4, 16, 0.095, 0.095),
    band(Book::Float4, usize::MAX, 0.112, 0.139),
    band(Book::Table, usize::MAX, 0.092, 0.123),
];

/// What rounding to nearest may add to the nearest code of all: dividing in bfloat16 before rounding moves codes of eight bits by one.
/// Measured on the sample models: 1.0003 at 4 bits, 1.05–1.08 at 8, 1.01 in float8.
pub(super) const ROUNDING: f64 = 1.15;
/// What methods that minimize the error of outputs add to that of the weights. Measured: GPTQ by llm-compressor 0.14 on the sample
/// models at 4 bits 1.45 to 1.76 (activations of such small models are strongly correlated, which is where GPTQ moves codes most).
pub(super) const COMPENSATING: f64 = 2.2;
/// Room above the heaviest tails before the grid itself counts as too coarse for its scheme.
const ROOM: f64 = 1.25;

/// The largest error left by rounding to a grid of this scheme that was made for these weights.
pub(super) fn coarsest(book: Book, columns: usize) -> Option<f64> {
    let band = BANDS.iter().find(|band| band.book == book && columns <= band.columns)?;
    Some(ROOM * band.heavy.max(band.normal))
}
