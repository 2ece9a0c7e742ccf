//! Jinja2's filters with Python's meaning, and the harness's `regex_replace`.

use minijinja::value::{Kwargs, Rest, Value, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State};

use super::methods::{join, replace, too_long};
use super::{MAX_OUTPUT, to_str};
use crate::pattern::Pattern;
use crate::python;

/// Registers the filters that templates may use. Only these exist: each is bounded.
pub fn install(env: &mut Environment<'static>) {
    use minijinja::filters as engine;
    env.add_filter("string", |value: Value| to_str(&value));
    env.add_filter("int", |value: Value, default: Option<Value>| {
        int(&value).unwrap_or(default.unwrap_or(Value::from(0)))
    });
    env.add_filter("float", |value: Value, default: Option<Value>| {
        float(&value).map_or(default.unwrap_or(Value::from(0.0)), Value::from)
    });
    env.add_filter("trim", |value: Value, chars: Option<String>| match chars {
        None => python::strip(&to_str(&value)).to_owned(),
        Some(set) => to_str(&value).trim_matches(|c| set.contains(c)).to_owned(),
    });
    env.add_filter("replace", |value: Value, old: Value, new: Value, count: Option<i64>| {
        replace(&to_str(&value), &to_str(&old), &to_str(&new), count)
    });
    env.add_filter("join", |value: Value, separator: Option<String>| {
        join(separator.as_deref().unwrap_or(""), value.try_iter()?)
    });
    env.add_filter("regex_replace", regex_replace);
    env.add_filter("length", length);
    env.add_filter("count", length);
    env.add_filter("list", |value: Value| -> Result<Vec<Value>, Error> {
        Ok(value.try_iter()?.collect())
    });
    env.add_filter("tojson", tojson);
    env.add_filter("lower", |value: Value| to_str(&value).to_lowercase());
    env.add_filter("upper", |value: Value| to_str(&value).to_uppercase());
    env.add_filter("capitalize", |value: Value| python::capitalize(&to_str(&value)));
    env.add_filter("title", |value: Value| python::title(&to_str(&value)));
    env.add_filter("default", engine::default);
    env.add_filter("d", engine::default);
    env.add_filter("first", engine::first);
    env.add_filter("last", engine::last);
    env.add_filter("abs", engine::abs);
    env.add_filter("round", engine::round);
    env.add_filter("reverse", |value: Value| engine::reverse(&bounded(value)?));
    env.add_filter("sort", |state: &State, value: Value, kwargs: Kwargs| {
        engine::sort(state, bounded(value)?, kwargs)
    });
    env.add_filter("unique", |state: &State, value: Value, kwargs: Kwargs| {
        engine::unique(state, bounded(value)?, kwargs)
    });
    env.add_filter("min", |state: &State, value: Value, kwargs: Kwargs| {
        engine::min(state, bounded(value)?, kwargs)
    });
    env.add_filter("max", |state: &State, value: Value, kwargs: Kwargs| {
        engine::max(state, bounded(value)?, kwargs)
    });
    env.add_filter("items", engine::items);
    env.add_filter("dictsort", engine::dictsort);
    env.add_filter("attr", engine::attr);
    env.add_filter("map", map);
    env.add_filter("safe", |value: Value| value);
}

/// Most items a filter makes a list of.
const MAX_ITEMS: usize = 100_000;

/// The items of a value, refused beyond [`MAX_ITEMS`]: `[x] * 100000000` costs nothing until it is one.
fn collected(value: &Value) -> Result<Vec<Value>, Error> {
    let items: Vec<Value> = value.try_iter()?.take(MAX_ITEMS + 1).collect();
    if items.len() > MAX_ITEMS {
        Err(too_long())
    } else {
        Ok(items)
    }
}

fn bounded(value: Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => Ok(Value::from(collected(&value)?)),
        _ => Ok(value),
    }
}

/// `map('filter', …)` or `map(attribute=…, default=…)`, with a bound on all texts together.
fn map(state: &mut State, value: Value, args: Rest<Value>) -> Result<Vec<Value>, Error> {
    let (args, kwargs): (&[Value], Kwargs) = from_args(&args)?;
    let attribute: Option<String> = kwargs.get("attribute")?;
    let default: Option<Value> = kwargs.get("default")?;
    kwargs.assert_all_used()?;
    let mut out = Vec::new();
    let mut bytes = 0;
    for item in collected(&value)? {
        let mapped = match (&attribute, args.split_first()) {
            (Some(path), None) => {
                let mut value = item;
                for part in path.split('.') {
                    value = match part.parse::<usize>() {
                        Ok(index) => value.get_item_by_index(index)?,
                        Err(_) => value.get_attr(part)?,
                    };
                }
                if value.is_undefined() {
                    default.clone().unwrap_or(value)
                } else {
                    value
                }
            }
            (None, Some((name, rest))) => {
                let name = name
                    .as_str()
                    .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "no filter's name"))?;
                let all: Vec<Value> = std::iter::once(item).chain(rest.iter().cloned()).collect();
                state.apply_filter(name, &all)?
            }
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    "a filter's name or an attribute is needed",
                ));
            }
        };
        bytes += mapped.as_str().map_or(0, str::len);
        if bytes > MAX_OUTPUT {
            return Err(too_long());
        }
        out.push(mapped);
    }
    Ok(out)
}

/// `int(value)`, the float's whole part where that fails, nothing where both do.
fn int(value: &Value) -> Option<Value> {
    match value.kind() {
        ValueKind::Bool => Some(Value::from(i64::from(value.is_true()))),
        ValueKind::Number if value.is_integer() => Some(value.clone()),
        ValueKind::Number => truncate(f64::try_from(value.clone()).ok()?),
        ValueKind::String => {
            let text = python::strip(value.as_str()?);
            match text.replace('_', "").parse::<i64>() {
                Ok(n) => Some(Value::from(n)),
                Err(_) => truncate(text.parse().ok()?),
            }
        }
        _ => None,
    }
}

fn truncate(x: f64) -> Option<Value> {
    (x.is_finite() && x.abs() < 9e18).then(|| Value::from(x.trunc() as i64))
}

fn float(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        ValueKind::String => python::strip(value.as_str()?).parse().ok(),
        _ => None,
    }
}

fn length(value: Value) -> Result<usize, Error> {
    match value.as_str() {
        Some(text) => Ok(python::len(text)),
        None => match value.len() {
            Some(n) => Ok(n),
            None => Ok(value.try_iter()?.count()),
        },
    }
}

fn regex_replace(text: String, pattern: String, replacement: String, count: Option<usize>) -> Result<String, Error> {
    let failed = |fault: crate::error::Fault| match fault {
        crate::error::Fault::PatternLimit { .. } => too_long(),
        other => Error::new(ErrorKind::InvalidOperation, other.text().en),
    };
    let out = Pattern::new(&pattern)
        .and_then(|p| p.sub(&replacement, &text, count.unwrap_or(0)))
        .map_err(failed)?;
    if out.len() > MAX_OUTPUT {
        Err(too_long())
    } else {
        Ok(out)
    }
}

/// `json.dumps(value, ensure_ascii=False, indent=…)`, as chat templates get it.
fn tojson(value: Value, kwargs: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    let json = serde_json::to_value(&value).map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))?;
    let out = python::json(&json, indent.map(|n| n.min(16)));
    if out.len() > MAX_OUTPUT {
        Err(too_long())
    } else {
        Ok(out)
    }
}
