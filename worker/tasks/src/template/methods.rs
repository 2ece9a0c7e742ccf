//! Python's methods of strings, lists and dicts, as far as templates use them.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::{MAX_OUTPUT, to_str};
use crate::python;

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

pub(super) fn too_long() -> Error {
    Error::new(ErrorKind::WriteFailure, "the text is too long")
}

/// The positional arguments; `split(sep=…, maxsplit=…)` is the only call whose keywords are read.
struct Args<'a> {
    positional: &'a [Value],
    named: Option<Kwargs>,
}

impl<'a> Args<'a> {
    fn new(args: &'a [Value]) -> Result<Self, Error> {
        Ok(match args.split_last() {
            Some((last, rest)) if last.is_kwargs() => Self {
                positional: rest,
                named: Some(Kwargs::try_from(last.clone())?),
            },
            _ => Self {
                positional: args,
                named: None,
            },
        })
    }

    fn get(&self, index: usize, name: &str) -> Option<Value> {
        let named = || self.named.as_ref().and_then(|named| named.get::<Value>(name).ok());
        self.positional
            .get(index)
            .cloned()
            .or_else(named)
            .filter(|v| !v.is_none())
    }

    fn text(&self, index: usize, name: &str) -> Result<Option<String>, Error> {
        self.get(index, name)
            .map(|v| {
                v.as_str()
                    .map(str::to_owned)
                    .ok_or_else(|| invalid(format!("{name} must be a string")))
            })
            .transpose()
    }

    fn need(&self, index: usize, name: &str) -> Result<String, Error> {
        self.text(index, name)?
            .ok_or_else(|| Error::new(ErrorKind::MissingArgument, name.to_owned()))
    }

    fn number(&self, index: usize, name: &str) -> Result<Option<i64>, Error> {
        self.get(index, name)
            .map(|v| v.as_i64().ok_or_else(|| invalid(format!("{name} must be an integer"))))
            .transpose()
    }
}

/// The engine's callback for a method it does not know.
pub fn call(_: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let unknown = || {
        Error::new(
            ErrorKind::UnknownMethod,
            format!("{} has no method {method}", value.kind()),
        )
    };
    let args = Args::new(args)?;
    match value.kind() {
        ValueKind::String => string(value.as_str().unwrap_or_default(), method, &args)?.ok_or_else(unknown),
        ValueKind::Seq | ValueKind::Iterable => list(value, method, &args)?.ok_or_else(unknown),
        ValueKind::Map => map(value, method, &args)?.ok_or_else(unknown),
        _ => Err(unknown()),
    }
}

fn string(s: &str, method: &str, args: &Args<'_>) -> Result<Option<Value>, Error> {
    let chars = |index| -> Result<Option<String>, Error> { args.text(index, "chars") };
    let position = |found: Option<usize>| found.map(|at| python::len(&s[..at]) as i64);
    Ok(Some(match method {
        "strip" => Value::from(match chars(0)? {
            None => python::strip(s),
            Some(set) => s.trim_matches(|c| set.contains(c)),
        }),
        "lstrip" => Value::from(match chars(0)? {
            None => python::lstrip(s),
            Some(set) => s.trim_start_matches(|c| set.contains(c)),
        }),
        "rstrip" => Value::from(match chars(0)? {
            None => python::rstrip(s),
            Some(set) => s.trim_end_matches(|c| set.contains(c)),
        }),
        "split" | "rsplit" => {
            let limit = args.number(1, "maxsplit")?.and_then(|n| usize::try_from(n).ok());
            let parts = split(s, args.text(0, "sep")?.as_deref(), limit, method == "rsplit")?;
            Value::from_iter(parts.into_iter().map(Value::from))
        }
        "splitlines" => Value::from_iter(s.lines().map(Value::from)),
        "replace" => Value::from(replace(
            s,
            &args.need(0, "old")?,
            &args.need(1, "new")?,
            args.number(2, "count")?,
        )?),
        "join" => {
            let items = args.get(0, "iterable").unwrap_or_default().try_iter()?;
            Value::from(join(s, items)?)
        }
        "index" | "rindex" | "find" | "rfind" => {
            let needle = args.need(0, "sub")?;
            let found = if method.starts_with('r') {
                s.rfind(&needle)
            } else {
                s.find(&needle)
            };
            match position(found) {
                Some(at) => Value::from(at),
                None if method.ends_with("find") => Value::from(-1),
                None => return Err(invalid("substring not found")),
            }
        }
        "count" => Value::from(match args.need(0, "sub")?.as_str() {
            "" => python::len(s) + 1,
            needle => s.matches(needle).count(),
        }),
        "startswith" => Value::from(s.starts_with(&args.need(0, "prefix")?)),
        "endswith" => Value::from(s.ends_with(&args.need(0, "suffix")?)),
        "removeprefix" => Value::from(s.strip_prefix(args.need(0, "prefix")?.as_str()).unwrap_or(s)),
        "removesuffix" => Value::from(s.strip_suffix(args.need(0, "suffix")?.as_str()).unwrap_or(s)),
        "lower" => Value::from(s.to_lowercase()),
        "upper" => Value::from(s.to_uppercase()),
        "capitalize" => Value::from(python::capitalize(s)),
        "title" => Value::from(python::title(s)),
        "isdigit" => Value::from(python::digits(s) != python::Digits::No),
        "isspace" => Value::from(!s.is_empty() && s.chars().all(python::is_space)),
        "isalpha" => Value::from(!s.is_empty() && s.chars().all(char::is_alphabetic)),
        "isalnum" => Value::from(!s.is_empty() && s.chars().all(char::is_alphanumeric)),
        "isupper" => Value::from(s.chars().any(char::is_uppercase) && !s.chars().any(char::is_lowercase)),
        "islower" => Value::from(s.chars().any(char::is_lowercase) && !s.chars().any(char::is_uppercase)),
        _ => return Ok(None),
    }))
}

/// `s.split(sep, maxsplit)`: without a separator, runs of whitespace separate and the ends count for nothing.
fn split(s: &str, sep: Option<&str>, limit: Option<usize>, right: bool) -> Result<Vec<String>, Error> {
    let own = |parts: Vec<&str>| parts.into_iter().map(str::to_owned).collect();
    let limit = limit.map_or(usize::MAX, |n| n.saturating_add(1));
    Ok(match (sep, right) {
        (Some(""), _) => return Err(invalid("empty separator")),
        (Some(sep), false) => own(s.splitn(limit, sep).collect()),
        (Some(sep), true) => {
            let mut parts: Vec<&str> = s.rsplitn(limit, sep).collect();
            parts.reverse();
            own(parts)
        }
        (None, false) => {
            let mut parts = Vec::new();
            let mut rest = python::lstrip(s);
            while !rest.is_empty() {
                if parts.len() + 1 == limit {
                    parts.push(rest);
                    break;
                }
                let end = rest.find(python::is_space).unwrap_or(rest.len());
                parts.push(&rest[..end]);
                rest = python::lstrip(&rest[end..]);
            }
            own(parts)
        }
        (None, true) => {
            let mut parts = Vec::new();
            let mut rest = python::rstrip(s);
            while !rest.is_empty() {
                if parts.len() + 1 == limit {
                    parts.push(rest);
                    break;
                }
                let start = rest
                    .char_indices()
                    .rev()
                    .find(|(_, c)| python::is_space(*c))
                    .map_or(0, |(at, c)| at + c.len_utf8());
                parts.push(&rest[start..]);
                rest = python::rstrip(&rest[..start]);
            }
            parts.reverse();
            own(parts)
        }
    })
}

/// `s.replace(old, new, count)`, refusing to write more than a template may.
pub(super) fn replace(s: &str, old: &str, new: &str, count: Option<i64>) -> Result<String, Error> {
    let count = count.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let hits = s.matches(old).count().min(count);
    if hits.saturating_mul(new.len()).saturating_add(s.len()) > MAX_OUTPUT {
        return Err(too_long());
    }
    Ok(s.replacen(old, new, count))
}

/// `separator.join(items)`, refusing to write more than a template may. Python refuses items that are no strings; the
/// `join` filter prints them.
pub(super) fn join(separator: &str, items: impl Iterator<Item = Value>) -> Result<String, Error> {
    let mut out = String::new();
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.push_str(separator);
        }
        out.push_str(&to_str(&item));
        if out.len() > MAX_OUTPUT {
            return Err(too_long());
        }
    }
    Ok(out)
}

fn list(value: &Value, method: &str, args: &Args<'_>) -> Result<Option<Value>, Error> {
    let wanted = || {
        args.positional
            .first()
            .cloned()
            .ok_or_else(|| invalid("one argument is needed"))
    };
    Ok(Some(match method {
        "index" => {
            let wanted = wanted()?;
            let at = value.try_iter()?.position(|item| item == wanted);
            Value::from(at.ok_or_else(|| invalid(format!("{} is not in list", python::repr_str(&to_str(&wanted)))))?)
        }
        "count" => {
            let wanted = wanted()?;
            Value::from(value.try_iter()?.filter(|item| *item == wanted).count())
        }
        _ => return Ok(None),
    }))
}

fn map(value: &Value, method: &str, args: &Args<'_>) -> Result<Option<Value>, Error> {
    let item = |key: &Value| value.get_item(key).unwrap_or_default();
    Ok(Some(match method {
        "keys" => Value::from_iter(value.try_iter()?),
        "values" => Value::from_iter(value.try_iter()?.map(|key| item(&key))),
        "items" => Value::from_iter(value.try_iter()?.map(|key| {
            let pair = vec![key.clone(), item(&key)];
            Value::from(minijinja::value::Tuple::from(pair))
        })),
        "get" => {
            let key = args
                .positional
                .first()
                .cloned()
                .ok_or_else(|| invalid("one argument is needed"))?;
            let found = item(&key);
            match found.is_undefined() {
                true => args.positional.get(1).cloned().unwrap_or(Value::from(())),
                false => found,
            }
        }
        _ => return Ok(None),
    }))
}
