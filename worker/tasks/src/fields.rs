//! What a document says for each key of the task: question, answer, choices.

use serde_json::Value;

use crate::config::{Field, FieldValue};
use crate::error::{Fault, Place, TaskError};
use crate::python::{self, Digits};
use crate::template::{TemplateId, Templates};

/// A key bound to the documents: a column, a template, or the same for all.
#[derive(Clone, Debug)]
pub struct Bound {
    key: &'static str,
    place: Place,
    source: BoundSource,
}

#[derive(Clone, Debug)]
enum BoundSource {
    Column(String),
    Template(TemplateId),
    Fixed(Value),
    /// A column of this very document if it has one of that name, else a template.
    Either(String, TemplateId),
}

impl Bound {
    /// A field that names a column of the evaluated split or is a template.
    pub fn new(field: &Field, columns: &[String], templates: &mut Templates) -> Result<Self, TaskError> {
        let source = match &field.value {
            FieldValue::Fixed(value) => BoundSource::Fixed(value.clone()),
            FieldValue::Written(text) if columns.contains(text) => BoundSource::Column(text.clone()),
            FieldValue::Written(text) => BoundSource::Template(templates.add(field.key, &field.place, text)?),
        };
        Ok(Self::at(field, source))
    }

    /// A field for which each document's own columns count.
    pub fn per_document(field: &Field, templates: &mut Templates) -> Result<Self, TaskError> {
        let source = match &field.value {
            FieldValue::Fixed(value) => BoundSource::Fixed(value.clone()),
            FieldValue::Written(text) => {
                BoundSource::Either(text.clone(), templates.add(field.key, &field.place, text)?)
            }
        };
        Ok(Self::at(field, source))
    }

    fn at(field: &Field, source: BoundSource) -> Self {
        Self {
            key: field.key,
            place: field.place.clone(),
            source,
        }
    }
}

/// A document of one split, for messages.
#[derive(Clone, Copy)]
pub struct Doc<'a> {
    /// Its row.
    pub index: usize,
    /// Its fields.
    pub value: &'a Value,
}

impl Doc<'_> {
    /// An error that names the document and the key.
    pub fn error(&self, bound: &Bound, what: impl std::fmt::Display) -> TaskError {
        let what = format!("{} {what}", bound.key);
        TaskError::new(bound.place.clone(), Fault::Document { doc: self.index, what })
    }
}

/// The value a column or template gives; `true` beside it if it was rendered.
fn value(bound: &Bound, doc: Doc<'_>, templates: &Templates) -> Result<(Value, bool), TaskError> {
    match &bound.source {
        BoundSource::Fixed(value) => Ok((value.clone(), false)),
        BoundSource::Column(name) => match doc.value.get(name) {
            Some(value) => Ok((value.clone(), false)),
            None => Err(doc.error(bound, format!("names the column {name:?}, which the document lacks"))),
        },
        BoundSource::Either(name, template) => match doc.value.get(name) {
            Some(value) => Ok((value.clone(), false)),
            None => Ok((Value::String(templates.render(*template, doc.value)?), true)),
        },
        BoundSource::Template(template) => Ok((Value::String(templates.render(*template, doc.value)?), true)),
    }
}

fn number(text: &str, bound: &Bound, doc: Doc<'_>) -> Result<Option<Value>, TaskError> {
    match python::digits(text) {
        Digits::No => Ok(None),
        Digits::Int(n) => Ok(Some(Value::from(n))),
        Digits::Bad => Err(doc.error(bound, format!("gives the digits {text:?}, which are no Python integer"))),
    }
}

/// The question: text, or the number of the right context in a task with several inputs.
pub fn question(bound: &Bound, doc: Doc<'_>, templates: &Templates, choices: bool) -> Result<Value, TaskError> {
    let (value, rendered) = value(bound, doc, templates)?;
    match value.as_str() {
        Some(text) if rendered && choices => Ok(number(text, bound, doc)?.unwrap_or(value)),
        _ => Ok(value),
    }
}

/// The answer: a number with choices, a list, or text.
pub fn target(bound: &Bound, doc: Doc<'_>, templates: &Templates, choices: bool) -> Result<Value, TaskError> {
    let (value, rendered) = value(bound, doc, templates)?;
    let Some(text) = value.as_str().filter(|_| rendered) else {
        return Ok(value);
    };
    if choices && let Some(number) = number(text, bound, doc)? {
        return Ok(number);
    }
    if text.len() >= 2 && text.starts_with('[') && text.ends_with(']') {
        return Ok(python::literal(text).unwrap_or(value));
    }
    Ok(value)
}

/// The choices.
pub fn choices(bound: &Bound, doc: Doc<'_>, templates: &Templates) -> Result<Vec<String>, TaskError> {
    let (value, rendered) = value(bound, doc, templates)?;
    let list = match value.as_str() {
        Some(text) if rendered => python::literal(text),
        _ => Some(value),
    };
    let texts = match list {
        Some(Value::Array(items)) if !items.is_empty() => items
            .into_iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>(),
        _ => None,
    };
    texts.ok_or_else(|| doc.error(bound, "gives no list of texts"))
}

/// The text of a field whose template counts even where it reads like a column's name.
pub fn rendered(bound: &Bound, doc: Doc<'_>, templates: &Templates) -> Result<String, TaskError> {
    match &bound.source {
        BoundSource::Either(_, template) => templates.render(*template, doc.value),
        _ => text(bound, doc, templates),
    }
}

/// Plain text: a description, the start of an answer. Nothing for null.
pub fn text(bound: &Bound, doc: Doc<'_>, templates: &Templates) -> Result<String, TaskError> {
    match value(bound, doc, templates)?.0 {
        Value::String(text) => Ok(text),
        Value::Null => Ok(String::new()),
        _ => Err(doc.error(bound, "is no text")),
    }
}
