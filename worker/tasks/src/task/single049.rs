//! Single-turn chat as lm-evaluation-harness 0.4.9 built it.
//!
//! Its prompts differ from those of 0.4.10 and later in more than the draw, and scores were published with it. What is
//! kept of it here, each as version 0.4.9.2 does it:
//! - a document draws its examples twice; the first draw is thrown away;
//! - a drawn example that equals the document is left out even where the splits differ, and nothing takes its place;
//! - the start of the answer is the evaluated document's, stands in every example after the delimiter, and is always
//!   followed by a space; between it and a choice stands nothing;
//! - an example without an answer has no delimiters either;
//! - of `fewshot_config` only the sampler, the samples and the question, choices and answer count;
//! - with several inputs, the examples are a finished conversation of their own, and each choice is another after it.

use serde_json::Value;

use super::{Settings, Task, pick};
use crate::chat::{ChatTemplate, Message, Role};
use crate::error::{Fault, TaskError};
use crate::fields::{self, Doc};
use crate::prompt;
use crate::python;
use crate::sampler::Sampler;

impl Task {
    /// The document's prompts: one, or one for every choice.
    pub(super) fn contexts_049(
        &self,
        doc: Doc<'_>,
        sampler: &mut Sampler,
        settings: &Settings<'_>,
        chat: &dyn ChatTemplate,
    ) -> Result<Vec<String>, TaskError> {
        if let Some(place) = &self.config.few_shot.split_in_config {
            let what = "fewshot_config.split in the profile chat-single-0.4.9, which reads only fewshot_split".into();
            return Err(TaskError::new(place.clone(), Fault::NotSupported { what }));
        }
        let prefix = match &self.bound.prefix {
            Some(bound) => fields::text(bound, doc, &self.templates)?,
            None => String::new(),
        };
        let mut messages = Vec::new();
        if let Some(bound) = &self.bound.description {
            let content = fields::rendered(bound, doc, &self.templates)?;
            if !content.is_empty() {
                messages.push(message(Role::System, content));
            }
        }
        let n = self.num_fewshot(settings);
        if n > 0 {
            let content = self.examples_049(doc, n, sampler, &prefix)?;
            messages.push(message(Role::User, content));
        }
        let render = |messages: &[Message], prefixed| {
            prompt::render(messages, prefixed, chat).map_err(|error| Self::chat_error(&error))
        };
        if self.multiple_input {
            let before = match messages.is_empty() {
                true => String::new(),
                false => render(&messages, false)?,
            };
            let one = |choice| Ok(before.clone() + &render(&[message(Role::User, choice)], false)?);
            return self.choices(doc)?.into_iter().map(one).collect();
        }
        let question = match self.question(doc)? {
            Value::String(text) => text,
            number if !number.is_array() && self.bound.choices.is_none() => python::str(&number),
            number => pick(&self.choices(doc)?, &number).ok_or_else(|| doc.error(&self.bound.text, "is no text"))?,
        };
        match messages.last_mut() {
            Some(last) if last.role == Role::User => last.content.push_str(&question),
            _ => messages.push(message(Role::User, question)),
        }
        let prefixed = !prefix.is_empty();
        if prefixed {
            messages.push(message(Role::Assistant, prefix));
        }
        Ok(vec![render(&messages, prefixed)?])
    }

    /// The examples as one text.
    fn examples_049(&self, doc: Doc<'_>, n: usize, sampler: &mut Sampler, prefix: &str) -> Result<String, TaskError> {
        let fault = |fault| TaskError::new(self.config.place.clone(), fault);
        let asked = n + usize::from(self.same_split);
        sampler.draw_whole(&self.pool, asked).map_err(fault)?;
        let drawn = sampler.draw_whole(&self.pool, asked).map_err(fault)?;
        let others = drawn
            .into_iter()
            .filter(|i| !crate::sampler::equal(&self.pool[*i], doc.value));
        let prefix = match prefix {
            "" => String::new(),
            prefix => format!("{prefix} "),
        };
        let mut text = String::new();
        for index in others.take(n) {
            self.example_049(index, &prefix, &mut text)?;
        }
        Ok(text)
    }

    fn example_049(&self, index: usize, prefix: &str, text: &mut String) -> Result<(), TaskError> {
        let value = &self.pool[index];
        let doc = Doc { index, value };
        let numbers = self.bound.choices.is_some();
        let asks = self.bound.shot_text.as_ref().unwrap_or(&self.bound.text);
        let says = self.bound.shot_target.as_ref().unwrap_or(&self.bound.target);
        let choices = self.bound.shot_choices.as_ref().or(self.bound.choices.as_ref());
        let chosen = |number: &Value| match choices.filter(|_| numbers) {
            Some(bound) => Ok(pick(&fields::choices(bound, doc, &self.templates)?, number)),
            None => Ok::<_, TaskError>(None),
        };
        match fields::question(asks, doc, &self.templates, numbers)? {
            Value::String(question) => text.push_str(&question),
            number => text.push_str(&chosen(&number)?.ok_or_else(|| doc.error(asks, "is no text in an example"))?),
        }
        let answer = match fields::target(says, doc, &self.templates, numbers)? {
            Value::String(answer) if answer.is_empty() => return Ok(()),
            Value::String(answer) => Some(answer),
            Value::Array(items) => items.first().map(python::str),
            number => chosen(&number)?,
        };
        let answer = answer.ok_or_else(|| doc.error(says, "is no answer in an example"))?;
        let config = &self.config;
        text.extend([&config.target_delimiter, prefix, &answer, &config.fewshot_delimiter]);
        Ok(())
    }
}

fn message(role: Role, content: String) -> Message {
    Message { role, content }
}
