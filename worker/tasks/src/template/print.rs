//! How Python prints a template's values.

use minijinja::value::{Value, ValueKind};

use crate::python;

/// `str(value)`; an undefined value prints as nothing.
pub fn to_str(value: &Value) -> String {
    if let Some(text) = value.as_str() {
        return text.to_owned();
    }
    let mut out = String::new();
    write(value, &mut out, 0);
    out
}

/// Deeper values than JSON documents can have are cut short.
const MAX_DEPTH: usize = 200;

fn write(value: &Value, out: &mut String, depth: usize) {
    if depth > MAX_DEPTH {
        out.push_str("...");
        return;
    }
    let list = |open: &str, close: &str, tuple: bool, out: &mut String| {
        out.push_str(open);
        let mut count = 0;
        if let Ok(items) = value.try_iter() {
            for item in items {
                if count > 0 {
                    out.push_str(", ");
                }
                repr(&item, out, depth + 1);
                count += 1;
            }
        }
        if tuple && count == 1 {
            out.push(',');
        }
        out.push_str(close);
    };
    match value.kind() {
        ValueKind::Undefined => {}
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => match (value.is_integer(), f64::try_from(value.clone())) {
            (false, Ok(x)) => out.push_str(&python::float(x)),
            _ => out.push_str(&value.to_string()),
        },
        ValueKind::String => out.push_str(value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable if value.is_tuple() => list("(", ")", true, out),
        ValueKind::Seq | ValueKind::Iterable => list("[", "]", false, out),
        ValueKind::Map => {
            out.push('{');
            if let Ok(keys) = value.try_iter() {
                for (i, key) in keys.enumerate() {
                    if i > 0 {
                        out.push_str(", ");
                    }
                    repr(&key, out, depth + 1);
                    out.push_str(": ");
                    repr(&value.get_item(&key).unwrap_or_default(), out, depth + 1);
                }
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_string()),
    }
}

fn repr(value: &Value, out: &mut String, depth: usize) {
    match value.as_str() {
        Some(text) => out.push_str(&python::repr_str(text)),
        None => write(value, out, depth),
    }
}
