//! The Python text rules that scores depend on: printing, JSON writing, whitespace, literals.

mod literal;

use serde_json::Value;

pub use literal::literal;

/// `str.isspace` of one character: Rust's `White_Space` and the four separators U+001C to U+001F.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `s.strip()`.
pub fn strip(s: &str) -> &str {
    s.trim_matches(is_space)
}

/// `s.rstrip()`.
pub fn rstrip(s: &str) -> &str {
    s.trim_end_matches(is_space)
}

/// `s.lstrip()`.
pub fn lstrip(s: &str) -> &str {
    s.trim_start_matches(is_space)
}

/// `len(s)`: code points.
pub fn len(s: &str) -> usize {
    s.chars().count()
}

/// `s.capitalize()`: the first character in title case, the others in lower case.
pub fn capitalize(s: &str) -> String {
    let mut chars = s.chars();
    let Some(first) = chars.next() else {
        return String::new();
    };
    let mut out = title_case(first);
    out.push_str(&chars.as_str().to_lowercase());
    out
}

/// `s.title()`: each run of letters starts in title case.
pub fn title(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    let mut inside = false;
    for c in s.chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.push_str(&title_case(c));
        }
        inside = c.is_lowercase() || c.is_uppercase();
    }
    out
}

fn title_case(c: char) -> String {
    match c {
        'Ǆ' | 'ǅ' | 'ǆ' => "ǅ".into(),
        'Ǉ' | 'ǈ' | 'ǉ' => "ǈ".into(),
        'Ǌ' | 'ǋ' | 'ǌ' => "ǋ".into(),
        'Ǳ' | 'ǲ' | 'ǳ' => "ǲ".into(),
        _ => {
            // Upper case of one character may be several ("ß" gives "SS"); its title case is "Ss".
            let mut upper = c.to_uppercase();
            let mut out = String::new();
            out.extend(upper.next());
            out.extend(upper.flat_map(char::to_lowercase));
            out
        }
    }
}

/// What `str.isdigit` and `ast.literal_eval` make of a rendered text where a number is expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Digits {
    /// Not digits: a string.
    No,
    /// A number.
    Int(i64),
    /// Digits that are no Python integer: `007`, other scripts, superscripts. Python raises here.
    Bad,
}

/// Reads `s` the way the harness decides whether a rendered target is a number.
pub fn digits(s: &str) -> Digits {
    use unicode_general_category::{GeneralCategory, get_general_category};
    if s.is_empty() {
        return Digits::No;
    }
    if s.bytes().all(|b| b.is_ascii_digit()) {
        let zeros = s.len() > 1 && s.starts_with('0') && s.bytes().any(|b| b != b'0');
        return match s.parse() {
            Ok(n) if !zeros => Digits::Int(n),
            _ => Digits::Bad,
        };
    }
    let digit = |c: char| {
        get_general_category(c) == GeneralCategory::DecimalNumber
            || matches!(c, '²' | '³' | '¹' | '⁰' | '⁴'..='⁹' | '₀'..='₉' | '①'..='⑨' | '⑴'..='⑼' | '⒈'..='⒐')
    };
    if s.chars().all(digit) { Digits::Bad } else { Digits::No }
}

/// `repr(x)` of a float: the shortest digits that read back the same, `1e-05` and `1e+16` outside 10⁻⁴…10¹⁶.
pub fn float(x: f64) -> String {
    if x.is_nan() {
        return "nan".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let scientific = format!("{x:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{x}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

/// `repr(s)`.
pub fn repr_str(s: &str) -> String {
    let quote = if s.contains('\'') && !s.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::with_capacity(s.len() + 2);
    out.push(quote);
    for c in s.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if printable(c) => out.push(c),
            c if (c as u32) < 0x100 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if (c as u32) < 0x10000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push(quote);
    out
}

/// `str.isprintable` of one character.
fn printable(c: char) -> bool {
    use unicode_general_category::GeneralCategory as G;
    if c == ' ' {
        return true;
    }
    !matches!(
        unicode_general_category::get_general_category(c),
        G::Control
            | G::Format
            | G::Surrogate
            | G::PrivateUse
            | G::Unassigned
            | G::LineSeparator
            | G::ParagraphSeparator
            | G::SpaceSeparator
    )
}

/// `str(value)`.
pub fn str(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        other => repr(other),
    }
}

/// `repr(value)`.
pub fn repr(value: &Value) -> String {
    let mut out = String::new();
    write_repr(value, &mut out);
    out
}

fn write_repr(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Number(n) => match n.as_f64() {
            Some(x) if n.is_f64() => out.push_str(&float(x)),
            _ => out.push_str(&n.to_string()),
        },
        Value::String(s) => out.push_str(&repr_str(s)),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                write_repr(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (i, (key, item)) in map.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                out.push_str(&repr_str(key));
                out.push_str(": ");
                write_repr(item, out);
            }
            out.push('}');
        }
    }
}

/// `json.dumps(value, indent=indent, ensure_ascii=False)`; without an indent `", "` and `": "` separate.
pub fn json(value: &Value, indent: Option<usize>) -> String {
    let mut out = String::new();
    write_json(value, indent, 0, &mut out);
    out
}

fn write_json(value: &Value, indent: Option<usize>, level: usize, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) => match n.as_f64() {
            Some(x) if n.is_f64() => out.push_str(&float(x)),
            _ => out.push_str(&n.to_string()),
        },
        Value::String(s) => write_json_str(s, out),
        Value::Array(items) if items.is_empty() => out.push_str("[]"),
        Value::Object(map) if map.is_empty() => out.push_str("{}"),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                separate(i, indent, level + 1, out);
                write_json(item, indent, level + 1, out);
            }
            close(indent, level, out);
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (i, (key, item)) in map.iter().enumerate() {
                separate(i, indent, level + 1, out);
                write_json_str(key, out);
                out.push_str(": ");
                write_json(item, indent, level + 1, out);
            }
            close(indent, level, out);
            out.push('}');
        }
    }
}

fn separate(i: usize, indent: Option<usize>, level: usize, out: &mut String) {
    if i > 0 {
        out.push_str(if indent.is_some() { "," } else { ", " });
    }
    close(indent, level, out);
}

fn close(indent: Option<usize>, level: usize, out: &mut String) {
    if let Some(width) = indent {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', width * level));
    }
}

fn write_json_str(s: &str, out: &mut String) {
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn floats_print_as_in_python() {
        let cases = [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (0.0001, "0.0001"),
            (1e16, "1e+16"),
            (1e15, "1000000000000000.0"),
            (123456789012345680.0, "1.2345678901234568e+17"),
            (-0.0, "-0.0"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (x, text) in cases {
            assert_eq!(float(x), text);
        }
    }

    #[test]
    fn values_print_as_in_python() {
        assert_eq!(
            repr(&json!(["a", "it's", null, true, 1, 2.0])),
            r#"['a', "it's", None, True, 1, 2.0]"#
        );
        assert_eq!(
            repr_str("a'b\"c\n\u{200b}\u{e000}é한"),
            "'a\\'b\"c\\n\\u200b\\ue000é한'"
        );
        assert_eq!(str(&json!("plain")), "plain");
        assert_eq!(repr(&json!({"a": [1]})), "{'a': [1]}");
    }

    #[test]
    fn json_is_written_as_in_python() {
        let value = json!({"a": [], "b": {}, "c": [1, 1e-5], "d": "한\u{7f}\u{1}\n\""});
        assert_eq!(
            json(&value, Some(2)),
            "{\n  \"a\": [],\n  \"b\": {},\n  \"c\": [\n    1,\n    1e-05\n  ],\n  \"d\": \"한\u{7f}\\u0001\\n\\\"\"\n}"
        );
        assert_eq!(json(&json!([1, {"x": 2}]), None), "[1, {\"x\": 2}]");
    }

    #[test]
    fn words_and_digits() {
        assert_eq!(capitalize("hELLO wORLD"), "Hello world");
        assert_eq!(capitalize("ßa"), "Ssa");
        assert_eq!(strip("\u{1c} a\u{1f}\n"), "a");
        assert_eq!(digits("12"), Digits::Int(12));
        assert_eq!(digits("-1"), Digits::No);
        assert_eq!(digits("007"), Digits::Bad);
        assert_eq!(digits("٣"), Digits::Bad);
        assert_eq!(digits("x1"), Digits::No);
    }
}
