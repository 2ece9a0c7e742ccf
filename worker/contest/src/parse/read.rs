//! Reading TOML values with their places: whatever is wrong is noted, something harmless is returned, reading goes on.

use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, short};
use super::notes::{Item, Notes};
use crate::nearest::nearest;
use crate::problem::Text;

/// A table whose keys are asked for one by one; those nobody asked for are mistakes.
pub(super) struct Section<'p, 's> {
    notes: &'p Notes<'s>,
    /// `None` stands for a table that is missing or of another type, which has been noted: it answers everything
    /// harmlessly.
    table: Option<&'p DeTable<'p>>,
    span: Range<usize>,
    path: String,
    asked: Vec<&'static str>,
}

impl<'p, 's> Section<'p, 's> {
    pub(super) fn root(notes: &'p Notes<'s>, table: &'p DeTable<'p>) -> Self {
        Self {
            notes,
            table: Some(table),
            span: 0..0,
            path: String::new(),
            asked: Vec::new(),
        }
    }

    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Where the table is written.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The value of an optional key.
    fn get(&mut self, key: &'static str) -> Option<&'p Spanned<DeValue<'p>>> {
        self.asked.push(key);
        self.table?.get(key)
    }

    /// The value of a required key.
    fn need(&mut self, key: &'static str) -> Option<&'p Spanned<DeValue<'p>>> {
        let value = self.get(key);
        if value.is_none() && self.table.is_some() {
            self.notes.add(self.span.clone(), &self.key(key), Fault::missing(key));
        }
        value
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: Text) {
        self.notes.add(
            value.span(),
            key,
            Fault::wrong_type(value.get_ref().type_str(), &wanted),
        );
    }

    /// Ends the reading of this table: notes every key nobody asked for.
    pub(super) fn close(self) {
        for (key, _) in self.table.into_iter().flatten() {
            if !self.asked.iter().any(|asked| *asked == key.get_ref().as_ref()) {
                let name = key.get_ref();
                let near = nearest(name, self.asked.iter().copied());
                self.notes.add(
                    key.span(),
                    &self.key(&short(name)),
                    Fault::unknown_key(&short(name), near, &self.asked),
                );
            }
        }
    }

    fn sub(&self, path: String, span: Range<usize>, table: Option<&'p DeTable<'p>>) -> Section<'p, 's> {
        Section {
            notes: self.notes,
            table,
            span,
            path,
            asked: Vec::new(),
        }
    }

    /// A required table.
    pub(super) fn table(&mut self, key: &'static str) -> Section<'p, 's> {
        let path = self.key(key);
        let Some(value) = self.need(key) else {
            return self.sub(path, self.span.clone(), None);
        };
        match value.get_ref() {
            DeValue::Table(table) => self.sub(path, value.span(), Some(table)),
            _ => {
                self.wrong_type(&path, value, Text::new("a table", "표"));
                self.sub(path, value.span(), None)
            }
        }
    }

    /// An optional table.
    pub(super) fn table_maybe(&mut self, key: &'static str) -> Option<Section<'p, 's>> {
        self.table?.get(key)?;
        Some(self.table(key))
    }

    /// An array of tables; `count` tells how many there may be. An absent one is empty where that is allowed.
    pub(super) fn tables(&mut self, key: &'static str, count: RangeInclusive<usize>) -> Vec<Section<'p, 's>> {
        let path = self.key(key);
        let items = self.array(key, &count, Text::new("an array of tables", "표의 배열"));
        let mut sections = Vec::new();
        for (i, value) in items.iter().enumerate() {
            let path = format!("{path}[{i}]");
            match value.get_ref() {
                DeValue::Table(table) => sections.push(self.sub(path, value.span(), Some(table))),
                _ => self.wrong_type(&path, value, Text::new("a table", "표")),
            }
        }
        sections
    }

    /// The values of an array, at most as many as may be there.
    fn array(&mut self, key: &'static str, count: &RangeInclusive<usize>, wanted: Text) -> &'p [Spanned<DeValue<'p>>] {
        let path = self.key(key);
        let value = if *count.start() == 0 {
            self.get(key)
        } else {
            self.need(key)
        };
        let Some(value) = value else { return &[] };
        let DeValue::Array(array) = value.get_ref() else {
            self.wrong_type(&path, value, wanted);
            return &[];
        };
        if !count.contains(&array.len()) {
            self.notes.add(value.span(), &path, Fault::count(array.len(), count));
        }
        &array[..array.len().min(*count.end())]
    }

    /// A required string that passes `check`; the empty string when it does not.
    pub(super) fn string(&mut self, key: &'static str, check: impl Fn(&str) -> Result<(), Fault>) -> Item<String> {
        let value = self.need(key);
        self.checked_string(key, value, check)
    }

    /// An optional string that passes `check`; `otherwise` when it is not there.
    pub(super) fn string_or(
        &mut self,
        key: &'static str,
        otherwise: &str,
        check: impl Fn(&str) -> Result<(), Fault>,
    ) -> Item<String> {
        match self.get(key) {
            None => Item::new(otherwise.to_owned(), self.span.clone(), self.key(key)),
            value => self.checked_string(key, value, check),
        }
    }

    /// An optional string that passes `check`.
    pub(super) fn string_maybe(
        &mut self,
        key: &'static str,
        check: impl Fn(&str) -> Result<(), Fault>,
    ) -> Option<Item<String>> {
        let value = self.get(key)?;
        Some(self.checked_string(key, Some(value), check))
    }

    /// `true` or `false`; `otherwise` when it is not there.
    pub(super) fn flag_or(&mut self, key: &'static str, otherwise: bool) -> bool {
        match self.get(key) {
            None => otherwise,
            Some(value) => match value.get_ref() {
                DeValue::Boolean(flag) => *flag,
                _ => {
                    self.wrong_type(&self.key(key), value, Text::new("true or false", "true 또는 false"));
                    otherwise
                }
            },
        }
    }

    fn checked_string(
        &self,
        key: &str,
        value: Option<&'p Spanned<DeValue<'p>>>,
        check: impl Fn(&str) -> Result<(), Fault>,
    ) -> Item<String> {
        let path = self.key(key);
        match value {
            Some(value) => self.string_value(path, value, check),
            None => Item::new(String::new(), self.span.clone(), path),
        }
    }

    fn string_value(
        &self,
        path: String,
        value: &Spanned<DeValue<'_>>,
        check: impl Fn(&str) -> Result<(), Fault>,
    ) -> Item<String> {
        let text = match value.get_ref() {
            DeValue::String(text) => match check(text) {
                Ok(()) => text.clone().into_owned(),
                Err(fault) => {
                    self.notes.add(value.span(), &path, fault);
                    String::new()
                }
            },
            _ => {
                self.wrong_type(&path, value, Text::new("a string", "문자열"));
                String::new()
            }
        };
        Item::new(text, value.span(), path)
    }

    /// An array of different strings that each pass `check`.
    pub(super) fn strings(
        &mut self,
        key: &'static str,
        count: RangeInclusive<usize>,
        check: impl Fn(&str) -> Result<(), Fault>,
    ) -> Vec<Item<String>> {
        let path = self.key(key);
        let values = self.array(key, &count, Text::new("an array of strings", "문자열 배열"));
        let mut items: Vec<Item<String>> = Vec::new();
        for (i, value) in values.iter().enumerate() {
            let item = self.string_value(format!("{path}[{i}]"), value, &check);
            if items.iter().any(|earlier| earlier.value == item.value) && !item.value.is_empty() {
                self.notes.add(value.span(), &item.key, Fault::repeated(&item.value));
            }
            items.push(item);
        }
        items
    }

    /// A sentence in both languages, each passing `check`.
    pub(super) fn text(&mut self, key: &'static str, check: impl Fn(&str) -> Result<(), Fault>) -> Text {
        let mut section = self.table(key);
        let text = Text::new(section.string("en", &check).value, section.string("ko", &check).value);
        section.close();
        text
    }

    /// A required whole number in `range`; its start when it is not.
    pub(super) fn integer(&mut self, key: &'static str, range: RangeInclusive<u64>) -> u64 {
        let value = self.need(key);
        value
            .and_then(|value| self.integer_value(key, value, &range))
            .unwrap_or(*range.start())
    }

    /// An optional whole number in `range`.
    pub(super) fn integer_maybe(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.get(key)?;
        self.integer_value(key, value, &range)
    }

    fn integer_value(&self, key: &str, value: &Spanned<DeValue<'_>>, range: &RangeInclusive<u64>) -> Option<u64> {
        let path = self.key(key);
        let DeValue::Integer(integer) = value.get_ref() else {
            self.wrong_type(&path, value, Text::new("a whole number", "정수"));
            return None;
        };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                self.notes
                    .add(value.span(), &path, Fault::range(&short(integer.as_str()), range));
                None
            }
        }
    }

    /// A required number, finite, that passes `check`; 0 when it does not.
    pub(super) fn number(&mut self, key: &'static str, check: impl Fn(f64) -> Result<(), Fault>) -> f64 {
        let value = self.need(key);
        self.checked_number(key, value, check, 0.0).value
    }

    /// An optional number, finite, that passes `check`; `otherwise` when it is not there or does not.
    pub(super) fn number_or(
        &mut self,
        key: &'static str,
        otherwise: f64,
        check: impl Fn(f64) -> Result<(), Fault>,
    ) -> Item<f64> {
        let value = self.get(key);
        self.checked_number(key, value, check, otherwise)
    }

    /// An optional number, finite, that passes `check`.
    pub(super) fn number_maybe(&mut self, key: &'static str, check: impl Fn(f64) -> Result<(), Fault>) -> Option<f64> {
        let value = self.get(key)?;
        Some(self.checked_number(key, Some(value), check, 0.0).value)
    }

    fn checked_number(
        &self,
        key: &str,
        value: Option<&'p Spanned<DeValue<'p>>>,
        check: impl Fn(f64) -> Result<(), Fault>,
        otherwise: f64,
    ) -> Item<f64> {
        let path = self.key(key);
        let span = value.map_or(self.span.clone(), Spanned::span);
        let number = value.and_then(|value| self.number_value(&path, value));
        let checked = number.map(|number| check(number).map(|()| number));
        if let Some(Err(fault)) = checked {
            self.notes.add(span.clone(), &path, fault);
            return Item::new(otherwise, span, path);
        }
        Item::new(checked.and_then(Result::ok).unwrap_or(otherwise), span, path)
    }

    fn number_value(&self, path: &str, value: &Spanned<DeValue<'_>>) -> Option<f64> {
        let number = match value.get_ref() {
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            // Parsed as an integer first: `0x10` is one. Beyond 2^53 it is rounded, as any JSON reader would.
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
                .ok()
                .map(|n| n as f64),
            _ => {
                self.wrong_type(path, value, Text::new("a number", "수"));
                return None;
            }
        };
        match number {
            Some(number) if number.is_finite() => Some(number),
            _ => {
                self.notes.add(value.span(), path, Fault::not_finite());
                None
            }
        }
    }

    /// A required time, written as TOML's date-time or as a string; both with their offset from UTC.
    pub(super) fn time(&mut self, key: &'static str) -> Item<Option<chrono::DateTime<chrono::FixedOffset>>> {
        let path = self.key(key);
        let Some(value) = self.need(key) else {
            return Item::new(None, self.span.clone(), path);
        };
        let written = match value.get_ref() {
            DeValue::Datetime(time) => time.to_string(),
            DeValue::String(text) => text.clone().into_owned(),
            _ => {
                let wanted = Text::new("a time with its offset", "시차가 있는 시각");
                self.wrong_type(&path, value, wanted);
                return Item::new(None, value.span(), path);
            }
        };
        let time = chrono::DateTime::parse_from_rfc3339(&written).ok();
        if time.is_none() {
            self.notes.add(value.span(), &path, Fault::time(&short(&written)));
        }
        Item::new(time, value.span(), path)
    }

    /// A table of numbers whose keys may be dotted, quoted or both: `a.b = 1`, `"a.b" = 1`. At most `most`.
    pub(super) fn numbers(&mut self, key: &'static str, most: usize) -> Vec<Item<(String, f64)>> {
        let path = self.key(key);
        let Some(value) = self.get(key) else { return Vec::new() };
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong_type(&path, value, Text::new("a table", "표"));
            return Vec::new();
        };
        let mut numbers = Vec::new();
        // Recursion is bounded by the TOML parser's own limit of 80 levels.
        self.flatten("", &path, table, &mut numbers);
        if numbers.len() > most {
            self.notes
                .add(value.span(), &path, Fault::count(numbers.len(), &(0..=most)));
            numbers.truncate(most);
        }
        numbers
    }

    fn flatten(&self, prefix: &str, path: &str, table: &DeTable<'_>, numbers: &mut Vec<Item<(String, f64)>>) {
        for (key, value) in table {
            let name = if prefix.is_empty() {
                key.get_ref().to_string()
            } else {
                format!("{prefix}.{}", key.get_ref())
            };
            // A name beyond any measure's length is reported as it is, cut.
            let shown = format!("{path}.{}", short(&name));
            match value.get_ref() {
                DeValue::Table(inner) if name.len() <= crate::measure::MAX_NAME => {
                    self.flatten(&name, path, inner, numbers);
                }
                _ => {
                    if let Some(number) = self.number_value(&shown, value) {
                        numbers.push(Item::new((name, number), key.span(), shown));
                    }
                }
            }
        }
    }
}
