//! Chat templates: a conversation written the way the model was taught.

use std::fmt;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use serde::Serialize;

use crate::template::{Capped, python_like};

/// Who speaks.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions.
    System,
    /// The questioner.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// As templates spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One message of a conversation.
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Who.
    pub role: Role,
    /// What.
    pub content: String,
}

/// Why a conversation could not be written: the template's sentence.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ChatTemplateError(pub String);

/// Writes conversations. The contest's pinned template, never an uploaded one.
pub trait ChatTemplate {
    /// The conversation as text, with the start of the model's turn where `add_generation_prompt` is set.
    fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, ChatTemplateError>;

    /// The template's source, for the results file.
    fn source(&self) -> &str {
        ""
    }
}

/// Instructions of one rendering: a few-shot conversation of a hundred turns takes some ten thousand.
const FUEL: u64 = 20_000_000;
/// Longest template, bytes. The longest published ones have some 20 kB.
const MAX_SOURCE: usize = 1 << 20;

/// A Jinja chat template with the settings of transformers: trimmed blocks, loop controls, `raise_exception`.
///
/// `enable_thinking` is false unless asked for, `tools` and `documents` are none. Asking for the date is an error, because prompts
/// must not change with it. Steps and output are bounded; what a template may accumulate in variables is not, so only
/// a template that the contest pins may be given here.
pub struct JinjaTemplate {
    env: Environment<'static>,
    source: String,
    tokens: Vec<(String, String)>,
    thinking: bool,
}

impl fmt::Debug for JinjaTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JinjaTemplate")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl JinjaTemplate {
    /// Compiles `source`.
    pub fn new(source: &str) -> Result<Self, ChatTemplateError> {
        if source.len() > MAX_SOURCE {
            return Err(ChatTemplateError(format!(
                "the chat template is longer than {MAX_SOURCE} bytes"
            )));
        }
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Lenient);
        env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        env.set_syntax(syntax.map_err(sentence)?);
        env.set_fuel(Some(FUEL));
        python_like(&mut env);
        env.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        env.add_function("strftime_now", |_: String| -> Result<Value, Error> {
            let message = "the template asks for the date, which would make prompts change from day to day";
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        let text = source.replace("\r\n", "\n").replace('\r', "\n");
        env.add_template_owned("chat", text).map_err(sentence)?;
        Ok(Self {
            env,
            source: source.to_owned(),
            tokens: Vec::new(),
            thinking: false,
        })
    }

    /// Gives the template a special token by name, such as `bos_token`.
    #[must_use]
    pub fn with_token(mut self, name: &str, token: &str) -> Self {
        self.tokens.push((name.to_owned(), token.to_owned()));
        self
    }

    /// Sets `enable_thinking`.
    #[must_use]
    pub fn with_thinking(mut self, thinking: bool) -> Self {
        self.thinking = thinking;
        self
    }
}

fn sentence(error: Error) -> ChatTemplateError {
    let mut text = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    if let Some(line) = error.line() {
        text.push_str(&format!(" (chat template, line {line})"));
    }
    ChatTemplateError(text)
}

impl ChatTemplate for JinjaTemplate {
    fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, ChatTemplateError> {
        let mut context = vec![
            ("messages".to_owned(), Value::from(Serde(messages))),
            ("add_generation_prompt".to_owned(), Value::from(add_generation_prompt)),
            ("enable_thinking".to_owned(), Value::from(self.thinking)),
            ("tools".to_owned(), Value::from(())),
            ("documents".to_owned(), Value::from(())),
        ];
        context.extend(
            self.tokens
                .iter()
                .map(|(name, token)| (name.clone(), Value::from(token.as_str()))),
        );
        let template = self.env.get_template("chat").map_err(sentence)?;
        let mut out = Capped::default();
        template
            .render_captured_to(Value::from_pairs(context), &mut out)
            .map_err(sentence)?;
        Ok(out.text())
    }

    fn source(&self) -> &str {
        &self.source
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(role: Role, content: &str) -> Message {
        Message {
            role,
            content: content.into(),
        }
    }

    #[test]
    fn blocks_are_trimmed_and_loops_controlled() {
        let source = "{% for m in messages %}\n    {% if m.role == 'system' %}\n{% continue %}\n    {% endif %}\n\
                      {{ m['content'] }}\n{% endfor %}\n{% if add_generation_prompt %}\n>{{ bos_token }}\n{% endif %}\n";
        let template = JinjaTemplate::new(source).unwrap().with_token("bos_token", "[B]");
        let messages = [turn(Role::System, "s"), turn(Role::User, "a"), turn(Role::User, "b")];
        assert_eq!(template.render(&messages, true).unwrap(), "a\nb\n>[B]\n");
        assert_eq!(template.render(&messages, false).unwrap(), "a\nb\n");
    }

    #[test]
    fn exceptions_speak() {
        let template = JinjaTemplate::new("\n{{ raise_exception('roles ' ~ messages[0].role) }}").unwrap();
        let error = template.render(&[turn(Role::User, "a")], true).unwrap_err();
        assert_eq!(error.0, "roles user (chat template, line 2)");
        assert!(
            JinjaTemplate::new("{{ strftime_now('%d') }}")
                .unwrap()
                .render(&[], true)
                .is_err()
        );
        assert!(JinjaTemplate::new("{% for %}").is_err());
        let endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
        assert!(JinjaTemplate::new(endless).unwrap().render(&[], true).is_err());
    }
}
