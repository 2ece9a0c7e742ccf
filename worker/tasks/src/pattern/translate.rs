//! Python's pattern syntax, rewritten for the engine: the same language, with Python's `$`, `\s`, `\w`, `\b`, `\Z`,
//! classes without set operations, and literal braces.

use std::iter::Peekable;
use std::str::Chars;

/// `\w` of a Python str: letters and numbers of every script and the underscore, but no combining marks.
const WORD: &str = r"\p{L}\p{N}_";
/// `\s` of a Python str.
const SPACE: &str = r"\s\x1c-\x1f";

/// A pattern the engine reads as Python reads `source`.
pub fn translate(source: &str) -> Result<String, String> {
    let mut translator = Translator {
        chars: source.chars().peekable(),
        out: String::with_capacity(source.len() + 16),
        verbose: false,
        multiline: false,
        groups: Vec::new(),
        atom: false,
    };
    translator.global_flags()?;
    translator.run()?;
    if !translator.groups.is_empty() {
        return Err("missing ), unterminated group".into());
    }
    Ok(translator.out)
}

/// `text` as a pattern that matches just it.
pub fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii_punctuation() || c.is_whitespace() {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

struct Translator<'a> {
    chars: Peekable<Chars<'a>>,
    out: String,
    verbose: bool,
    multiline: bool,
    /// The flags to go back to at each open group's end.
    groups: Vec<(bool, bool)>,
    /// Whether the last thing written can be repeated.
    atom: bool,
}

impl Translator<'_> {
    fn rest(&self) -> String {
        self.chars.clone().collect()
    }

    fn skip(&mut self, n: usize) {
        for _ in 0..n {
            self.chars.next();
        }
    }

    /// `(?ims)` at the very start. Elsewhere Python refuses flags without a group.
    fn global_flags(&mut self) -> Result<(), String> {
        loop {
            let rest = self.rest();
            let Some(flags) = rest.strip_prefix("(?").and_then(|r| r.split_once(')')).map(|(f, _)| f) else {
                return Ok(());
            };
            if flags.is_empty() || !flags.bytes().all(|b| b.is_ascii_alphabetic()) {
                return Ok(());
            }
            for flag in flags.chars() {
                match flag {
                    'i' | 's' => self.out.push_str(&format!("(?{flag})")),
                    'm' => {
                        self.multiline = true;
                        self.out.push_str("(?m)");
                    }
                    'x' => self.verbose = true,
                    'u' => {}
                    _ => return Err(format!("the flag {flag} is not supported")),
                }
            }
            self.skip(flags.len() + 3);
        }
    }

    fn run(&mut self) -> Result<(), String> {
        while let Some(c) = self.chars.next() {
            match c {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.group()?,
                ')' => {
                    let Some((verbose, multiline)) = self.groups.pop() else {
                        return Err("unbalanced parenthesis".into());
                    };
                    (self.verbose, self.multiline) = (verbose, multiline);
                    self.out.push(')');
                    self.atom = true;
                }
                '|' => {
                    self.out.push('|');
                    self.atom = false;
                }
                '*' | '+' | '?' => self.repeat(&c.to_string())?,
                '{' => match self.braces()? {
                    Some(repeat) => self.repeat(&repeat)?,
                    None => self.literal('{'),
                },
                '.' => {
                    self.out.push('.');
                    self.atom = true;
                }
                '^' => {
                    self.out.push('^');
                    self.atom = false;
                }
                '$' => {
                    self.out.push_str(if self.multiline { "$" } else { r"(?=\n?\z)" });
                    self.atom = false;
                }
                c if self.verbose && c.is_ascii_whitespace() => {}
                '#' if self.verbose => while !matches!(self.chars.next(), None | Some('\n')) {},
                c => self.literal(c),
            }
        }
        Ok(())
    }

    fn literal(&mut self, c: char) {
        if c.is_ascii_punctuation() {
            self.out.push('\\');
        }
        self.out.push(c);
        self.atom = true;
    }

    fn repeat(&mut self, quantifier: &str) -> Result<(), String> {
        if !self.atom {
            return Err("nothing to repeat".into());
        }
        self.out.push_str(quantifier);
        if let Some(mode @ ('?' | '+')) = self.chars.peek() {
            self.out.push(*mode);
            self.chars.next();
        }
        self.atom = false;
        Ok(())
    }

    /// The rest of `{m,n}`, normalised; nothing where Python reads the brace as itself.
    fn braces(&mut self) -> Result<Option<String>, String> {
        let mut ahead = self.chars.clone();
        let mut inside = String::new();
        loop {
            match ahead.next() {
                Some('}') => break,
                Some(c) if c.is_ascii_digit() || c == ',' => inside.push(c),
                _ => return Ok(None),
            }
        }
        let (low, high) = match inside.split_once(',') {
            None => (inside.as_str(), Some(inside.as_str())),
            Some((low, "")) => (low, None),
            Some((low, high)) => (low, Some(high)),
        };
        if inside.is_empty() || high.is_some_and(|h| h.contains(',')) {
            return Ok(None);
        }
        let number = |text: &str| {
            text.parse::<u32>()
                .map_err(|_| "the repetition number is too large".to_owned())
        };
        let low = if low.is_empty() { 0 } else { number(low)? };
        let text = match high {
            None => format!("{{{low},}}"),
            Some(high) => {
                let high = number(high)?;
                if high < low {
                    return Err("min repeat greater than max repeat".into());
                }
                format!("{{{low},{high}}}")
            }
        };
        self.skip(inside.len() + 1);
        Ok(Some(text))
    }

    fn group(&mut self) -> Result<(), String> {
        let saved = (self.verbose, self.multiline);
        self.atom = false;
        if self.chars.peek() != Some(&'?') {
            self.out.push('(');
            self.groups.push(saved);
            return Ok(());
        }
        self.chars.next();
        let rest = self.rest();
        if rest.starts_with('#') {
            while self.chars.next().ok_or("missing ), unterminated comment")? != ')' {}
            return Ok(());
        }
        for simple in [":", "=", "!", "<=", "<!", ">"] {
            if rest.starts_with(simple) {
                self.skip(simple.len());
                self.out.push_str("(?");
                self.out.push_str(simple);
                self.groups.push(saved);
                return Ok(());
            }
        }
        let name = |text: &str, end: char| -> Result<String, String> {
            let name = text.split(end).next().unwrap_or("");
            let mut chars = name.chars();
            let good = chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
                && chars.all(|c| c.is_alphanumeric() || c == '_')
                && text[name.len()..].starts_with(end);
            if good {
                Ok(name.to_owned())
            } else {
                Err("bad group name".into())
            }
        };
        if let Some(text) = rest.strip_prefix("P<") {
            let name = name(text, '>')?;
            self.skip(name.chars().count() + 3);
            self.out.push_str(&format!("(?P<{name}>"));
            self.groups.push(saved);
            return Ok(());
        }
        if let Some(text) = rest.strip_prefix("P=") {
            let name = name(text, ')')?;
            self.skip(name.chars().count() + 3);
            self.out.push_str(&format!("(?P={name})"));
            self.atom = true;
            return Ok(());
        }
        if let Some(text) = rest.strip_prefix('(') {
            let id = text.split(')').next().unwrap_or("");
            if id.is_empty() || !text[id.len()..].starts_with(')') {
                return Err("bad conditional group".into());
            }
            let condition = match id.bytes().all(|b| b.is_ascii_digit()) {
                true => id.to_owned(),
                false => format!("<{}>", name(text, ')')?),
            };
            self.skip(id.chars().count() + 2);
            self.out.push_str(&format!("(?({condition})"));
            self.groups.push(saved);
            return Ok(());
        }
        self.scoped_flags(&rest, saved)
    }

    /// `(?i-s:…)`.
    fn scoped_flags(&mut self, rest: &str, saved: (bool, bool)) -> Result<(), String> {
        let Some((flags, _)) = rest.split_once(':') else {
            return Err("unknown extension after (?".into());
        };
        let mut on = true;
        let (mut added, mut removed) = (String::new(), String::new());
        for flag in flags.chars() {
            match flag {
                '-' if on => on = false,
                'x' => self.verbose = on,
                'i' | 's' | 'm' => {
                    if flag == 'm' {
                        self.multiline = on;
                    }
                    if on { added.push(flag) } else { removed.push(flag) }
                }
                'u' if on => {}
                _ => return Err(format!("unknown or unsupported flag {flag:?}")),
            }
        }
        self.skip(flags.chars().count() + 1);
        let minus = if removed.is_empty() { "" } else { "-" };
        self.out.push_str(&format!("(?{added}{minus}{removed}:"));
        self.groups.push(saved);
        Ok(())
    }

    /// What follows a backslash outside a class.
    fn escape(&mut self) -> Result<(), String> {
        let c = self.chars.next().ok_or("bad escape (end of pattern)")?;
        self.atom = true;
        match c {
            'd' => self.out.push_str(r"\d"),
            'D' => self.out.push_str(r"\D"),
            's' => self.out.push_str(&format!("[{SPACE}]")),
            'S' => self.out.push_str(&format!("[^{SPACE}]")),
            'w' => self.out.push_str(&format!("[{WORD}]")),
            'W' => self.out.push_str(&format!("[^{WORD}]")),
            'b' => self.boundary(true),
            'B' => self.boundary(false),
            'A' => self.anchor(r"\A"),
            'Z' => self.anchor(r"\z"),
            '1'..='9' => {
                let mut number = c.to_string();
                if let Some(second) = self.chars.peek().copied().filter(char::is_ascii_digit) {
                    let third = self.chars.clone().nth(1).filter(|c| ('0'..='7').contains(c));
                    if let (Some(third), '0'..='7', '0'..='3') = (third, second, c) {
                        self.skip(2);
                        let octal = [c, second, third]
                            .iter()
                            .fold(0, |n, c| n * 8 + (*c as u32 - '0' as u32));
                        self.literal(char::from_u32(octal).ok_or("bad octal escape")?);
                        return Ok(());
                    }
                    self.chars.next();
                    number.push(second);
                }
                // In a group of its own, so that a digit after it stays a digit.
                self.out.push_str(&format!(r"(?:\{number})"));
            }
            c => {
                let c = self.character(c)?;
                self.literal(c);
            }
        }
        Ok(())
    }

    fn boundary(&mut self, at: bool) {
        self.out.push_str(&match at {
            true => format!("(?:(?<=[{WORD}])(?![{WORD}])|(?<![{WORD}])(?=[{WORD}]))"),
            // In an empty text neither is true.
            false => format!("(?:(?<=[{WORD}])(?=[{WORD}])|(?<![{WORD}])(?![{WORD}])(?!\\A\\z))"),
        });
        self.atom = false;
    }

    fn anchor(&mut self, text: &str) {
        self.out.push_str(text);
        self.atom = false;
    }

    /// The character that an escape stands for, inside and outside classes.
    fn character(&mut self, c: char) -> Result<char, String> {
        Ok(match c {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\u{7}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            'x' => self.hex(2)?,
            'u' => self.hex(4)?,
            'U' => self.hex(8)?,
            '0' => {
                let mut value = 0;
                for _ in 0..2 {
                    let Some(digit) = self.chars.peek().and_then(|c| c.to_digit(8)) else {
                        break;
                    };
                    value = value * 8 + digit;
                    self.chars.next();
                }
                char::from_u32(value).ok_or("bad octal escape")?
            }
            c if c.is_ascii_alphanumeric() => return Err(format!("bad escape \\{c}")),
            c => c,
        })
    }

    fn hex(&mut self, width: usize) -> Result<char, String> {
        let digits: String = self.chars.clone().take(width).collect();
        let value = (digits.len() == width && digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .then(|| u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32))
            .flatten();
        self.skip(width);
        value.ok_or_else(|| "incomplete or impossible hexadecimal escape".into())
    }

    /// `[…]`: rewritten item by item, because `[`, `&&`, `--` and `~~` mean something else to the engine.
    fn class(&mut self) -> Result<(), String> {
        const OPEN: &str = "unterminated character set";
        self.out.push('[');
        if self.chars.peek() == Some(&'^') {
            self.chars.next();
            self.out.push('^');
        }
        let mut first = true;
        loop {
            let c = self.chars.next().ok_or(OPEN)?;
            if c == ']' && !first {
                break;
            }
            first = false;
            let Some(low) = self.class_item(c)? else {
                continue;
            };
            let mut ahead = self.chars.clone();
            let range = ahead.next() == Some('-') && !matches!(ahead.next(), Some(']') | None);
            push_class_char(&mut self.out, low);
            if range {
                self.chars.next();
                let c = self.chars.next().ok_or(OPEN)?;
                let before = self.out.len();
                let high = self.class_item(c)?;
                let Some(high) = high.filter(|high| *high >= low) else {
                    self.out.truncate(before);
                    return Err("bad character range".into());
                };
                self.out.push('-');
                push_class_char(&mut self.out, high);
            }
        }
        self.out.push(']');
        self.atom = true;
        Ok(())
    }

    /// One item of a class: a character, or nothing where a whole category was written.
    fn class_item(&mut self, c: char) -> Result<Option<char>, String> {
        if c != '\\' {
            return Ok(Some(c));
        }
        let c = self.chars.next().ok_or("bad escape (end of pattern)")?;
        let category = match c {
            'd' => r"\d".to_owned(),
            'D' => r"\D".to_owned(),
            's' => SPACE.to_owned(),
            'S' => format!("[^{SPACE}]"),
            'w' => WORD.to_owned(),
            'W' => format!("[^{WORD}]"),
            'b' => return Ok(Some('\u{8}')),
            '1'..='7' => {
                let mut value = c as u32 - '0' as u32;
                for _ in 0..2 {
                    let Some(digit) = self.chars.peek().and_then(|c| c.to_digit(8)) else {
                        break;
                    };
                    value = value * 8 + digit;
                    self.chars.next();
                }
                return Ok(Some(char::from_u32(value).ok_or("bad octal escape")?));
            }
            c => return self.character(c).map(Some),
        };
        self.out.push_str(&category);
        Ok(None)
    }
}

fn push_class_char(out: &mut String, c: char) {
    if c.is_alphanumeric() {
        out.push(c);
    } else {
        out.push_str(&format!("\\x{{{:x}}}", c as u32));
    }
}
