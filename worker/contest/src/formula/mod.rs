//! The score formula: an expression over named measures.
//!
//! ```text
//! comparison := sum [ ( "<" | "<=" | ">" | ">=" | "==" | "!=" ) sum ]      one at most; 1 when true, else 0
//! sum        := product { ( "+" | "-" ) product }
//! product    := unary { ( "*" | "/" ) unary }
//! unary      := "-" unary | power
//! power      := atom [ "^" unary ]                                        right associative: 2 ^ 3 ^ 2 = 2 ^ 9
//! atom       := number | measure | function "(" comparison { "," comparison } ")" | "(" comparison ")"
//! function   := min max (2 to 16 arguments), abs sqrt ln exp (1), clamp(x, low, high), if(condition, then, else)
//! measure    := letter { letter | digit } { "." part },  part := ( letter | digit ) { letter | digit | "-" }
//! ```
//! `_` counts as a letter. A hyphen inside a part after the first dot belongs to the name
//! (`acc.mini_gsm.exact_match.strict-match`), so a minus after such a name needs a space before it.
//!
//! Evaluation is strict: every measure the formula names has to be there and finite, also in the branch of an `if` that
//! is not taken, and so does every intermediate result. Anything else is an error, never a number: what was not measured
//! cannot rank.
//!
//! `exp`, `ln` and `^` come from the platform's mathematics library, which may differ in the last bit; scores are rounded
//! to the contest's decimals before anything is compared.

mod eval;
mod lex;
mod parse;
mod print;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

pub use eval::ScoreError;

use crate::measure::Measures;
use crate::problem::Text;

/// Longest formula accepted, in bytes of UTF-8. The longest ready-made one has about a hundred.
pub const MAX_BYTES: usize = 2000;
/// Deepest nesting accepted: parentheses, calls, signs and powers. Bounds the parser's recursion.
pub const MAX_DEPTH: usize = 64;
/// Most numbers, measures, operators and calls together. Bounds the recursion over a long left-leaning sum.
pub const MAX_NODES: usize = 500;
/// Most arguments of one call.
pub const MAX_ARGUMENTS: usize = 16;

/// A parsed score formula.
#[derive(Clone, Debug)]
pub struct Formula {
    root: Expr,
    /// Where each measure stands in the source, in order of appearance.
    names: Vec<(String, Range<usize>)>,
}

/// Formulas are equal when they compute the same expression, however they were written.
impl PartialEq for Formula {
    fn eq(&self, other: &Self) -> bool {
        self.root == other.root
    }
}

/// What is wrong with a formula, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("at byte {at}: {message}")]
pub struct FormulaError {
    /// First byte of the mistake, counted from the start of the formula.
    pub at: usize,
    /// Bytes it covers; 0 when something is missing there.
    pub len: usize,
    /// Stable code, `formula-…`.
    pub code: &'static str,
    /// What is the matter.
    pub message: Text,
    /// What makes it go away. Boxed to keep results small.
    pub fix: Box<Text>,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Expr {
    /// Finite and not negative: a sign is a [`Expr::Negate`].
    Number(f64),
    Measure(String),
    Negate(Box<Expr>),
    Binary(Op, Box<Expr>, Box<Expr>),
    Call(Function, Vec<Expr>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Add,
    Subtract,
    Multiply,
    Divide,
    Power,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Equal,
    NotEqual,
}

/// Binding power of a sign: weaker than `^`, stronger than `*`.
pub(crate) const SIGN: u8 = 7;

impl Op {
    /// How strongly it binds; [`parse`] and [`print`] share this one table.
    pub(crate) fn power(self) -> u8 {
        match self {
            Op::Less | Op::LessEqual | Op::Greater | Op::GreaterEqual | Op::Equal | Op::NotEqual => 1,
            Op::Add | Op::Subtract => 3,
            Op::Multiply | Op::Divide => 5,
            Op::Power => 9,
        }
    }

    pub(crate) fn is_comparison(self) -> bool {
        self.power() == 1
    }

    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Op::Add => "+",
            Op::Subtract => "-",
            Op::Multiply => "*",
            Op::Divide => "/",
            Op::Power => "^",
            Op::Less => "<",
            Op::LessEqual => "<=",
            Op::Greater => ">",
            Op::GreaterEqual => ">=",
            Op::Equal => "==",
            Op::NotEqual => "!=",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Function {
    Min,
    Max,
    Abs,
    Sqrt,
    Ln,
    Exp,
    Clamp,
    If,
}

impl Function {
    pub(crate) const ALL: [Function; 8] = [
        Function::Min,
        Function::Max,
        Function::Abs,
        Function::Sqrt,
        Function::Ln,
        Function::Exp,
        Function::Clamp,
        Function::If,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Function::Min => "min",
            Function::Max => "max",
            Function::Abs => "abs",
            Function::Sqrt => "sqrt",
            Function::Ln => "ln",
            Function::Exp => "exp",
            Function::Clamp => "clamp",
            Function::If => "if",
        }
    }

    /// Fewest and most arguments.
    pub(crate) fn arity(self) -> (usize, usize) {
        match self {
            Function::Min | Function::Max => (2, MAX_ARGUMENTS),
            Function::Abs | Function::Sqrt | Function::Ln | Function::Exp => (1, 1),
            Function::Clamp | Function::If => (3, 3),
        }
    }
}

impl Formula {
    /// Reads a formula.
    ///
    /// # Errors
    /// The first mistake, with its place in `source`.
    pub fn parse(source: &str) -> Result<Formula, FormulaError> {
        parse::parse(source)
    }

    /// The measures it names, `base.` ones included.
    pub fn measures(&self) -> BTreeSet<String> {
        self.names.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Holds every measure against `known`.
    ///
    /// # Errors
    /// One for each place that names a measure `known` denies.
    pub fn check(&self, known: &dyn Fn(&str) -> bool) -> Result<(), Vec<FormulaError>> {
        let unknown: Vec<FormulaError> = self
            .places()
            .filter(|(name, _)| !known(name))
            .map(|(name, span)| FormulaError {
                at: span.start,
                len: span.len(),
                code: "formula-unknown-measure",
                message: Text::new(
                    format!("the formula names `{name}`, which is not measured here"),
                    format!("수식에 나온 `{name}`은(는) 이 대회에서 측정하지 않는 값입니다"),
                ),
                fix: Box::new(Text::new(
                    "Name a measure of this contest; put a space before a minus that follows a name with dots.",
                    "이 대회의 측정값 이름을 쓰십시오. 점이 있는 이름 뒤의 빼기 기호 앞에는 공백을 두십시오.",
                )),
            })
            .collect();
        if unknown.is_empty() { Ok(()) } else { Err(unknown) }
    }

    /// Every mention of a measure with its bytes in the source, in order of appearance.
    pub(crate) fn places(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.names.iter().map(|(name, span)| (name.as_str(), span.clone()))
    }

    /// The value of the formula, finite and never the negative zero.
    ///
    /// # Errors
    /// A measure is missing or not finite, or the arithmetic is not defined.
    pub fn eval(&self, measures: &Measures) -> Result<f64, ScoreError> {
        for (name, _) in &self.names {
            measures.finite(name)?;
        }
        // -0.0 + 0.0 = 0.0: one zero, so that equal scores look equal.
        eval::eval(&self.root, measures).map(|value| value + 0.0)
    }
}

/// The canonical spelling: one space around operators, fewest parentheses, shortest numbers. Parsing it gives an equal
/// formula.
impl fmt::Display for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print::print(&self.root, f)
    }
}

#[cfg(test)]
mod tests;
