//! `ast.literal_eval`, as far as rendered choices and targets need it.

use serde_json::Value;

use super::str;

/// The deepest literal that is read; CPython's own parser gives up not far above.
const LITERAL_DEPTH: usize = 64;

/// `ast.literal_eval(s)`: a Python literal as JSON (tuples become lists), or nothing where Python raises.
pub fn literal(s: &str) -> Option<Value> {
    let mut reader = Literal {
        rest: s.trim_matches([' ', '\t']),
    };
    let value = reader.value(0)?;
    reader.skip();
    reader.rest.is_empty().then_some(value)
}

struct Literal<'a> {
    rest: &'a str,
}

impl Literal<'_> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > LITERAL_DEPTH {
            return None;
        }
        self.skip();
        match self.rest.chars().next()? {
            '[' => self.list('[', ']', depth).map(Value::Array),
            '(' => self.tuple(depth),
            '{' => self.dict(depth),
            '\'' | '"' => self.strings(),
            'T' if self.word("True") => Some(Value::Bool(true)),
            'F' if self.word("False") => Some(Value::Bool(false)),
            'N' if self.word("None") => Some(Value::Null),
            c if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => self.number(),
            _ => None,
        }
    }

    fn word(&mut self, word: &str) -> bool {
        match self.rest.strip_prefix(word) {
            Some(rest) if !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn list(&mut self, open: char, shut: char, depth: usize) -> Option<Vec<Value>> {
        self.rest = self.rest.strip_prefix(open)?;
        let mut items = Vec::new();
        let mut buffer = [0; 4];
        let shut: &str = shut.encode_utf8(&mut buffer);
        while !self.eat(shut) {
            items.push(self.value(depth + 1)?);
            if !self.eat(",") {
                return self.eat(shut).then_some(items);
            }
        }
        Some(items)
    }

    fn tuple(&mut self, depth: usize) -> Option<Value> {
        let start = self.rest;
        let items = self.list('(', ')', depth)?;
        // "(x)" is x, "(x,)" is a tuple.
        let inside = &start[..start.len() - self.rest.len()];
        let comma = inside.trim_end_matches(')').trim_end().ends_with(',');
        match <[Value; 1]>::try_from(items) {
            Ok([single]) if !comma => Some(single),
            Ok([single]) => Some(Value::Array(vec![single])),
            Err(items) => Some(Value::Array(items)),
        }
    }

    fn dict(&mut self, depth: usize) -> Option<Value> {
        self.rest = self.rest.strip_prefix('{')?;
        let mut map = serde_json::Map::new();
        while !self.eat("}") {
            let key = self.value(depth + 1)?;
            if !self.eat(":") {
                return None;
            }
            map.insert(str(&key), self.value(depth + 1)?);
            if !self.eat(",") {
                return self.eat("}").then_some(Value::Object(map));
            }
        }
        Some(Value::Object(map))
    }

    /// One or more string literals; neighbours join, as in Python.
    fn strings(&mut self) -> Option<Value> {
        let mut out = String::new();
        while self.rest.starts_with(['\'', '"']) {
            self.string(&mut out)?;
            self.skip();
        }
        Some(Value::String(out))
    }

    fn string(&mut self, out: &mut String) -> Option<()> {
        let quote = self.rest.chars().next()?;
        let triple = quote.to_string().repeat(3);
        let long = self.rest.starts_with(&triple);
        let shut = if long { triple } else { quote.to_string() };
        self.rest = self.rest.get(shut.len()..)?;
        loop {
            if let Some(rest) = self.rest.strip_prefix(shut.as_str()) {
                self.rest = rest;
                return Some(());
            }
            let mut chars = self.rest.chars();
            match chars.next()? {
                '\\' => {
                    let escape = chars.next()?;
                    self.rest = chars.as_str();
                    self.escape(escape, out)?;
                }
                '\n' if !long => return None,
                c => {
                    out.push(c);
                    self.rest = chars.as_str();
                }
            }
        }
    }

    fn escape(&mut self, escape: char, out: &mut String) -> Option<()> {
        match escape {
            '\n' => {}
            '\\' | '\'' | '"' => out.push(escape),
            'a' => out.push('\u{7}'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'v' => out.push('\u{b}'),
            'x' => out.push(self.hex(2)?),
            'u' => out.push(self.hex(4)?),
            'U' => out.push(self.hex(8)?),
            '0'..='7' => {
                let mut n = escape.to_digit(8)?;
                for _ in 0..2 {
                    let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(8)) else {
                        break;
                    };
                    n = n * 8 + digit;
                    self.rest = &self.rest[1..];
                }
                out.push(char::from_u32(n)?);
            }
            other => {
                out.push('\\');
                out.push(other);
            }
        }
        Some(())
    }

    fn hex(&mut self, width: usize) -> Option<char> {
        let (text, rest) = self.rest.split_at_checked(width)?;
        self.rest = rest;
        char::from_u32(u32::from_str_radix(text, 16).ok()?)
    }

    fn number(&mut self) -> Option<Value> {
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '_')))
            .unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        let text = text.replace('_', "");
        if let Ok(n) = text.parse::<i64>() {
            let bare = text.trim_start_matches(['-', '+']);
            return (bare == "0" || !bare.starts_with('0')).then(|| n.into());
        }
        if text.contains(['i', 'n', 'I', 'N']) {
            return None;
        }
        let x = text.parse::<f64>().ok()?;
        serde_json::Number::from_f64(x).map(Value::Number)
    }
}

#[cfg(test)]
mod tests {
    use super::literal;
    use crate::python::repr;
    use serde_json::json;

    #[test]
    fn literals_read_back() {
        let value = json!(["it's", "b\n", 1, -2.5, true, null, ["x"], {"k": "v"}]);
        assert_eq!(literal(&repr(&value)), Some(value));
        assert_eq!(literal("('a', 'b')"), Some(json!(["a", "b"])));
        assert_eq!(literal("('a',)"), Some(json!(["a"])));
        assert_eq!(literal("('a')"), Some(json!("a")));
        assert_eq!(literal("['a' 'b']"), Some(json!(["ab"])));
        assert_eq!(literal("[]"), Some(json!([])));
        for bad in ["[1, x]", "[", "['a\n']", "f()", "", "[1] 2", "007", "[inf]"] {
            assert_eq!(literal(bad), None, "{bad}");
        }
        assert_eq!(literal(&"[".repeat(10_000)), None);
    }
}
