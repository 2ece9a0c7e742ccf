//! Strict evaluation: a number or an error, never NaN and never infinity.

use super::{Expr, Function, Op};
use crate::measure::Measures;
use crate::problem::Text;

/// Why a submission has no score.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum ScoreError {
    /// A measure the rules name was not measured.
    #[error("{0} was not measured")]
    Missing(String),
    /// A measure the rules name is NaN or infinite.
    #[error("{0} is not a finite number")]
    NotFinite(String),
    /// A division by zero.
    #[error("the formula divides by zero")]
    DivisionByZero,
    /// A function outside its domain, by its name: `sqrt`, `ln`, `^`, `clamp`.
    #[error("{0} is not defined for this value")]
    Domain(&'static str),
    /// A value left the range of a double.
    #[error("a value of the formula is too large")]
    Overflow,
    /// The formula itself cannot be read; a checked contest never has one.
    #[error("the formula cannot be read: {0}")]
    Formula(String),
}

impl ScoreError {
    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            ScoreError::Missing(_) => "measure-missing",
            ScoreError::NotFinite(_) => "measure-not-finite",
            ScoreError::DivisionByZero => "score-division-by-zero",
            ScoreError::Domain(_) => "score-undefined",
            ScoreError::Overflow => "score-overflow",
            ScoreError::Formula(_) => "score-formula",
        }
    }

    /// The sentence for people.
    pub fn text(&self) -> Text {
        let ko = match self {
            ScoreError::Missing(name) => format!("{name}이(가) 측정되지 않았습니다"),
            ScoreError::NotFinite(name) => format!("{name}이(가) 유한한 수가 아닙니다"),
            ScoreError::DivisionByZero => "수식이 0으로 나눕니다".to_owned(),
            ScoreError::Domain(function) => format!("이 값에 대해 {function}이(가) 정의되지 않습니다"),
            ScoreError::Overflow => "수식의 값이 너무 큽니다".to_owned(),
            ScoreError::Formula(message) => format!("수식을 읽을 수 없습니다: {message}"),
        };
        Text::new(self.to_string(), ko)
    }
}

/// Recursion is bounded by the parser's depth and node limits.
pub(super) fn eval(expr: &Expr, measures: &Measures) -> Result<f64, ScoreError> {
    match expr {
        Expr::Number(value) => Ok(*value),
        Expr::Measure(name) => measures.finite(name),
        Expr::Negate(inner) => Ok(-eval(inner, measures)?),
        Expr::Binary(op, left, right) => binary(*op, eval(left, measures)?, eval(right, measures)?),
        Expr::Call(Function::If, arguments) => match arguments.as_slice() {
            [condition, then, otherwise] => {
                let taken = if eval(condition, measures)? != 0.0 {
                    then
                } else {
                    otherwise
                };
                eval(taken, measures)
            }
            _ => Err(ScoreError::Domain("if")),
        },
        Expr::Call(function, arguments) => {
            let values = arguments
                .iter()
                .map(|a| eval(a, measures))
                .collect::<Result<Vec<f64>, _>>()?;
            call(*function, &values)
        }
    }
}

fn binary(op: Op, a: f64, b: f64) -> Result<f64, ScoreError> {
    let truth = |holds: bool| Ok(f64::from(u8::from(holds)));
    match op {
        Op::Add => finite(a + b),
        Op::Subtract => finite(a - b),
        Op::Multiply => finite(a * b),
        Op::Divide if b == 0.0 => Err(ScoreError::DivisionByZero),
        Op::Divide => finite(a / b),
        Op::Power if a == 0.0 && b < 0.0 => Err(ScoreError::DivisionByZero),
        Op::Power => {
            let value = a.powf(b);
            if value.is_nan() {
                Err(ScoreError::Domain("^"))
            } else {
                finite(value)
            }
        }
        Op::Less => truth(a < b),
        Op::LessEqual => truth(a <= b),
        Op::Greater => truth(a > b),
        Op::GreaterEqual => truth(a >= b),
        Op::Equal => truth(a == b),
        Op::NotEqual => truth(a != b),
    }
}

fn call(function: Function, values: &[f64]) -> Result<f64, ScoreError> {
    match (function, values) {
        (Function::Min, [first, rest @ ..]) => Ok(rest.iter().fold(*first, |a, &b| if b < a { b } else { a })),
        (Function::Max, [first, rest @ ..]) => Ok(rest.iter().fold(*first, |a, &b| if b > a { b } else { a })),
        (Function::Abs, [x]) => Ok(x.abs()),
        (Function::Sqrt, [x]) if *x >= 0.0 => Ok(x.sqrt()),
        (Function::Ln, [x]) if *x > 0.0 => Ok(x.ln()),
        (Function::Exp, [x]) => finite(x.exp()),
        (Function::Clamp, [x, low, high]) if low <= high => Ok(x.clamp(*low, *high)),
        _ => Err(ScoreError::Domain(function.name())),
    }
}

fn finite(value: f64) -> Result<f64, ScoreError> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(ScoreError::Overflow)
    }
}
