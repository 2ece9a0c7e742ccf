//! The canonical spelling of an expression.

use std::fmt::{Formatter, Result};

use super::{Expr, Op, SIGN};

pub(super) fn print(expr: &Expr, f: &mut Formatter<'_>) -> Result {
    write(expr, 0, f)
}

/// Writes `expr` where the parser reads operators that bind at least as strongly as `least`.
fn write(expr: &Expr, least: u8, f: &mut Formatter<'_>) -> Result {
    match expr {
        Expr::Number(value) => number(*value, f),
        Expr::Measure(name) => f.write_str(name),
        Expr::Negate(inner) => wrapped(SIGN < least, f, |f| {
            f.write_str("-")?;
            write(inner, SIGN, f)
        }),
        Expr::Binary(op, left, right) => {
            let power = op.power();
            // What stands at either side may bind as weakly as this and still be read back the same.
            let (at_left, at_right) = match op {
                Op::Power => (power + 1, SIGN),
                _ if op.is_comparison() => (power + 1, power + 1),
                _ => (power, power + 1),
            };
            wrapped(power < least, f, |f| {
                write(left, at_left, f)?;
                write!(f, " {} ", op.symbol())?;
                write(right, at_right, f)
            })
        }
        Expr::Call(function, arguments) => {
            write!(f, "{}(", function.name())?;
            for (i, argument) in arguments.iter().enumerate() {
                if i > 0 {
                    f.write_str(", ")?;
                }
                write(argument, 0, f)?;
            }
            f.write_str(")")
        }
    }
}

fn wrapped(needed: bool, f: &mut Formatter<'_>, inside: impl FnOnce(&mut Formatter<'_>) -> Result) -> Result {
    if needed {
        f.write_str("(")?;
    }
    inside(f)?;
    if needed {
        f.write_str(")")?;
    }
    Ok(())
}

/// The shortest digits that read back as the same number, with an exponent where that is shorter.
fn number(value: f64, f: &mut Formatter<'_>) -> Result {
    let plain = value.to_string();
    let scientific = format!("{value:e}");
    f.write_str(if scientific.len() < plain.len() {
        &scientific
    } else {
        &plain
    })
}
