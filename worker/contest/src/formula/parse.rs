//! Precedence climbing over the tokens; depth and node count are bounded on the way.

use std::ops::Range;

use super::lex::{Token, Tokens, lex};
use super::{Expr, Formula, FormulaError, Function, MAX_ARGUMENTS, MAX_BYTES, MAX_DEPTH, MAX_NODES, Op, SIGN};
use crate::nearest::nearest;
use crate::problem::Text;

pub(super) fn parse(source: &str) -> Result<Formula, FormulaError> {
    if source.len() > MAX_BYTES {
        return Err(FormulaError {
            at: 0,
            len: source.len(),
            code: "formula-too-long",
            message: Text::new(
                format!("the formula has {} bytes; {MAX_BYTES} are allowed", source.len()),
                format!("수식이 {}바이트입니다. 최대 {MAX_BYTES}바이트입니다", source.len()),
            ),
            fix: Box::new(Text::new("Shorten the formula.", "수식을 줄이십시오.")),
        });
    }
    let mut parser = Parser {
        tokens: lex(source)?,
        at: 0,
        end: source.len(),
        depth: 0,
        nodes: 0,
        names: Vec::new(),
    };
    let root = parser.expression(0)?;
    match parser.peek() {
        None => Ok(Formula {
            root,
            names: parser.names,
        }),
        Some((Token::Close, span)) => Err(error(
            span.clone(),
            "formula-parenthesis",
            Text::new("this parenthesis closes nothing", "짝이 없는 닫는 괄호입니다"),
            Text::new(
                "Remove it, or open one before.",
                "괄호를 지우거나 앞에 여는 괄호를 넣으십시오.",
            ),
        )),
        Some((_, span)) => Err(error(
            span.clone(),
            "formula-operator",
            Text::new("an operator is missing before this", "이 앞에 연산자가 빠졌습니다"),
            Text::new(
                "Put an operator between the two, such as `*`.",
                "둘 사이에 `*` 같은 연산자를 넣으십시오.",
            ),
        )),
    }
}

struct Parser {
    tokens: Tokens,
    at: usize,
    /// Length of the source: where something missing at the end is reported.
    end: usize,
    depth: usize,
    nodes: usize,
    names: Vec<(String, Range<usize>)>,
}

impl Parser {
    fn peek(&self) -> Option<&(Token, Range<usize>)> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<(Token, Range<usize>)> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    /// Bytes of the next token, or the end of the source.
    fn here(&self) -> Range<usize> {
        self.peek().map_or(self.end..self.end, |(_, span)| span.clone())
    }

    fn count_node(&mut self, span: &Range<usize>) -> Result<(), FormulaError> {
        self.nodes += 1;
        if self.nodes <= MAX_NODES {
            return Ok(());
        }
        Err(error(
            span.clone(),
            "formula-too-big",
            Text::new(
                format!("the formula has more than {MAX_NODES} parts"),
                format!("수식의 항이 {MAX_NODES}개를 넘습니다"),
            ),
            Text::new("Simplify the formula.", "수식을 단순하게 고치십시오."),
        ))
    }

    /// An expression whose operators bind at least as strongly as `least`.
    fn expression(&mut self, least: u8) -> Result<Expr, FormulaError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(error(
                self.here(),
                "formula-too-deep",
                Text::new(
                    format!("the formula is nested more than {MAX_DEPTH} deep"),
                    format!("수식의 중첩이 {MAX_DEPTH}단계를 넘습니다"),
                ),
                Text::new("Use fewer parentheses.", "괄호를 줄이십시오."),
            ));
        }
        let mut left = self.atom()?;
        let mut compared = false;
        while let Some((Token::Operator(op), span)) = self.peek().cloned() {
            if op.power() < least {
                break;
            }
            if op.is_comparison() && compared {
                return Err(error(
                    span,
                    "formula-chained-comparison",
                    Text::new("comparisons cannot be chained", "비교 연산자는 연달아 쓸 수 없습니다"),
                    Text::new(
                        "Write `min(a < b, b < c)` for `a < b < c`.",
                        "`a < b < c` 대신 `min(a < b, b < c)`로 쓰십시오.",
                    ),
                ));
            }
            compared |= op.is_comparison();
            self.count_node(&span)?;
            self.at += 1;
            // `^` is right associative, all others are not.
            let right = self.expression(op.power() + u8::from(op != Op::Power))?;
            left = Expr::Binary(op, Box::new(left), Box::new(right));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn atom(&mut self) -> Result<Expr, FormulaError> {
        let here = self.here();
        self.count_node(&here)?;
        match self.next() {
            Some((Token::Number(value), _)) => Ok(Expr::Number(value)),
            Some((Token::Operator(Op::Subtract), _)) => Ok(Expr::Negate(Box::new(self.expression(SIGN)?))),
            Some((Token::Open, open)) => {
                let inner = self.expression(0)?;
                self.close(&open)?;
                Ok(inner)
            }
            Some((Token::Name(name), span)) => {
                if let Some((Token::Open, open)) = self.peek().cloned() {
                    self.at += 1;
                    self.call(&name, &span, &open)
                } else if let Some(function) = Function::ALL.iter().find(|f| f.name() == name) {
                    Err(error(
                        span,
                        "formula-arguments",
                        Text::new(
                            format!("`{name}` is a function and needs arguments"),
                            format!("`{name}`은(는) 인수가 필요한 함수입니다"),
                        ),
                        arguments_fix(*function),
                    ))
                } else {
                    self.names.push((name.clone(), span));
                    Ok(Expr::Measure(name))
                }
            }
            _ => Err(error(
                here,
                "formula-value",
                Text::new(
                    "a number, a measure or an opening parenthesis is missing here",
                    "여기에 수, 측정값 또는 여는 괄호가 있어야 합니다",
                ),
                Text::new("Complete the formula.", "수식을 완성하십시오."),
            )),
        }
    }

    /// The arguments of a call, after its parenthesis.
    fn call(&mut self, name: &str, span: &Range<usize>, open: &Range<usize>) -> Result<Expr, FormulaError> {
        let Some(&function) = Function::ALL.iter().find(|f| f.name() == name) else {
            let names = Function::ALL.map(Function::name);
            let fix = match nearest(name, names) {
                Some(near) => Text::new(
                    format!("Did you mean `{near}`?"),
                    format!("`{near}`을(를) 쓰려던 것입니까?"),
                ),
                None => Text::new(
                    format!("The functions are {}.", names.join(", ")),
                    format!("쓸 수 있는 함수: {}.", names.join(", ")),
                ),
            };
            return Err(error(
                span.clone(),
                "formula-unknown-function",
                Text::new(
                    format!("there is no function `{name}`"),
                    format!("`{name}` 함수는 없습니다"),
                ),
                fix,
            ));
        };
        let mut arguments = Vec::new();
        if !matches!(self.peek(), Some((Token::Close, _))) {
            loop {
                arguments.push(self.expression(0)?);
                if !matches!(self.peek(), Some((Token::Comma, _))) || arguments.len() > MAX_ARGUMENTS {
                    break;
                }
                self.at += 1;
            }
        }
        let (fewest, most) = function.arity();
        if arguments.len() < fewest || arguments.len() > most {
            return Err(error(
                span.clone(),
                "formula-arguments",
                Text::new(
                    format!(
                        "`{name}` does not take {} argument{}",
                        arguments.len(),
                        if arguments.len() == 1 { "" } else { "s" }
                    ),
                    format!("`{name}` 함수의 인수는 {}개일 수 없습니다", arguments.len()),
                ),
                arguments_fix(function),
            ));
        }
        self.close(open)?;
        Ok(Expr::Call(function, arguments))
    }

    fn close(&mut self, open: &Range<usize>) -> Result<(), FormulaError> {
        let here = self.here();
        match self.next() {
            Some((Token::Close, _)) => Ok(()),
            None => Err(error(
                open.clone(),
                "formula-parenthesis",
                Text::new("this parenthesis is never closed", "닫히지 않은 괄호입니다"),
                Text::new("Close it.", "괄호를 닫으십시오."),
            )),
            Some(_) => Err(error(
                here,
                "formula-operator",
                Text::new(
                    "an operator or a closing parenthesis is missing before this",
                    "이 앞에 연산자나 닫는 괄호가 빠졌습니다",
                ),
                Text::new(
                    "Put an operator such as `*`, or close the parenthesis.",
                    "`*` 같은 연산자를 넣거나 괄호를 닫으십시오.",
                ),
            )),
        }
    }
}

fn arguments_fix(function: Function) -> Text {
    let call = match function {
        Function::Min | Function::Max => format!("{}(a, b, …)", function.name()),
        Function::Clamp => "clamp(x, low, high)".to_owned(),
        Function::If => "if(condition, then, else)".to_owned(),
        _ => format!("{}(x)", function.name()),
    };
    Text::new(format!("Write `{call}`."), format!("`{call}` 형태로 쓰십시오."))
}

fn error(span: Range<usize>, code: &'static str, message: Text, fix: Text) -> FormulaError {
    FormulaError {
        at: span.start,
        len: span.len(),
        code,
        message,
        fix: Box::new(fix),
    }
}
