//! The template filters: `{{ bytes|mb }}`. Each is a thin door to [`super::format`].

use super::format;
use askama::{Result, Values, filter_fn};

/// A count that a filter may receive by value or by any depth of reference.
pub trait Count {
    /// The count.
    fn count(&self) -> u64;
}

impl<T: Count + ?Sized> Count for &T {
    fn count(&self) -> u64 {
        (**self).count()
    }
}

impl Count for u64 {
    fn count(&self) -> u64 {
        *self
    }
}

impl Count for u32 {
    fn count(&self) -> u64 {
        u64::from(*self)
    }
}

impl Count for usize {
    fn count(&self) -> u64 {
        *self as u64
    }
}

/// A real number that a filter may receive by value or by any depth of reference.
pub trait Real {
    /// The number.
    fn real(&self) -> f64;
}

impl<T: Real + ?Sized> Real for &T {
    fn real(&self) -> f64 {
        (**self).real()
    }
}

impl Real for f64 {
    fn real(&self) -> f64 {
        *self
    }
}

/// Megabytes with two decimals, no unit.
#[filter_fn]
pub fn mb<T: Count>(bytes: T, _: &dyn Values) -> Result<String> {
    Ok(format::megabytes(bytes.count()))
}

/// An integer with its thousands grouped.
#[filter_fn]
pub fn grouped<T: Count>(n: T, _: &dyn Values) -> Result<String> {
    Ok(format::grouped(n.count()))
}

/// A size in the unit that suits it.
#[filter_fn]
pub fn size<T: Count>(bytes: T, _: &dyn Values) -> Result<String> {
    Ok(format::size(bytes.count()))
}

/// A measure or score.
#[filter_fn]
pub fn measure<T: Real>(value: T, _: &dyn Values) -> Result<String> {
    Ok(format::measure(value.real()))
}

/// Two ends of an interval.
#[filter_fn]
pub fn interval(ends: &(f64, f64), _: &dyn Values) -> Result<String> {
    Ok(format::interval(*ends))
}

/// A share as a percentage.
#[filter_fn]
pub fn share<T: Real>(value: T, _: &dyn Values) -> Result<String> {
    Ok(format::share(value.real()))
}
