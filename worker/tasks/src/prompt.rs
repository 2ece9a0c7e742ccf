//! Prompts as conversations: built once, then written plain, as one user turn, or as a turn for every example.

use assay_contest::Profile;

use crate::chat::{ChatTemplate, ChatTemplateError, Message, Role};
use crate::python::is_space;

/// One turn and what follows it in plain text.
#[derive(Clone, PartialEq, Debug)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// What.
    pub content: String,
    /// After it, where turns are joined to one text.
    pub delimiter: String,
}

impl Turn {
    fn new(role: Role, content: impl Into<String>, delimiter: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            delimiter: delimiter.into(),
        }
    }

    fn message(&self) -> Message {
        Message {
            role: self.role,
            content: self.content.clone(),
        }
    }
}

/// The system turn of a description, if there is any text in it.
pub fn system(description: &str) -> Option<Turn> {
    (!description.is_empty()).then(|| Turn::new(Role::System, description, ""))
}

/// An example: question and answer. A prefix starts the answer, with a space unless whitespace is already there.
pub fn example(question: &str, answer: &str, prefix: Option<&str>, target: &str, few: &str) -> Vec<Turn> {
    let mut turns = vec![question_turn(question, !answer.is_empty(), prefix, target)];
    if !answer.is_empty() {
        let answer = match prefix.filter(|p| !p.is_empty()) {
            Some(prefix) if touches(prefix, answer) => format!("{prefix}{answer}"),
            Some(prefix) => format!("{prefix} {answer}"),
            None => answer.to_owned(),
        };
        turns.push(Turn::new(Role::Assistant, answer, few));
    } else if let Some(prefix) = prefix.filter(|p| !p.is_empty()) {
        turns.push(Turn::new(Role::Assistant, prefix, ""));
    }
    turns
}

/// The evaluated question, with the start of its answer if there is a prefix.
pub fn question(question: &str, prefix: Option<&str>, target: &str) -> Vec<Turn> {
    example(question, "", prefix, target, "")
}

fn question_turn(question: &str, answered: bool, prefix: Option<&str>, target: &str) -> Turn {
    let delimiter = match prefix.filter(|p| !p.is_empty()) {
        None if answered => target,
        Some(prefix) if !question.is_empty() && !touches(question, prefix) => target,
        _ => "",
    };
    Turn::new(Role::User, question, delimiter)
}

/// Whether whitespace already stands where `left` meets `right`.
fn touches(left: &str, right: &str) -> bool {
    left.ends_with(is_space) || right.starts_with(is_space)
}

/// Writes the turns as the profile has it. `prefixed` says that the last turn is the start of an answer.
pub fn write(
    turns: &[Turn],
    profile: Profile,
    prefixed: bool,
    template: Option<&dyn ChatTemplate>,
) -> Result<String, ChatTemplateError> {
    let (Some(template), true) = (template, profile != Profile::Plain) else {
        return Ok(joined(turns));
    };
    let messages = match profile {
        Profile::ChatSingle | Profile::ChatSingle049 => single_turn(turns),
        _ => turns.iter().map(Turn::message).collect(),
    };
    render(&messages, prefixed, template)
}

/// The messages in the template's form: up to where the model goes on, be that a new turn or the started answer.
pub fn render(messages: &[Message], prefixed: bool, template: &dyn ChatTemplate) -> Result<String, ChatTemplateError> {
    let rendered = match template.render(messages, !prefixed) {
        Ok(text) => text,
        // Templates without a system role raise on one; the harness then leaves it out.
        Err(error) if messages.iter().any(|m| m.role == Role::System) => {
            let rest: Vec<Message> = messages.iter().filter(|m| m.role != Role::System).cloned().collect();
            template.render(&rest, !prefixed).map_err(|_| error)?
        }
        Err(error) => return Err(error),
    };
    match messages.last().filter(|_| prefixed) {
        None => Ok(rendered),
        Some(last) => cut_after(&rendered, &last.content),
    }
}

fn joined(turns: &[Turn]) -> String {
    turns
        .iter()
        .flat_map(|t| [t.content.as_str(), t.delimiter.as_str()])
        .collect()
}

/// A system message, one user message with everything, and the start of the answer if there is one.
fn single_turn(turns: &[Turn]) -> Vec<Message> {
    let (system, rest) = match turns.split_first() {
        Some((first, rest)) if first.role == Role::System => (Some(first), rest),
        _ => (None, turns),
    };
    let (user, start) = match rest.split_last() {
        Some((last, rest)) if last.role == Role::Assistant => (rest, Some(last)),
        _ => (rest, None),
    };
    let text = match user.split_last() {
        Some((last, before)) => joined(before) + &last.content,
        None => String::new(),
    };
    let user = Message {
        role: Role::User,
        content: text,
    };
    let before = system.map(Turn::message);
    before
        .into_iter()
        .chain([user])
        .chain(start.map(Turn::message))
        .collect()
}

/// The rendered conversation up to the end of its last message, so that the model goes on with it.
fn cut_after(rendered: &str, content: &str) -> Result<String, ChatTemplateError> {
    let stripped = content.trim_matches(is_space);
    let (at, length) = match (rendered.rfind(content), rendered.rfind(stripped)) {
        (Some(at), _) => (at, content.len()),
        (None, Some(at)) => (at, stripped.len()),
        (None, None) => {
            return Err(ChatTemplateError(
                "the template leaves out the start of the answer".into(),
            ));
        }
    };
    Ok(rendered[..at + length].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bare;
    impl ChatTemplate for Bare {
        fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, ChatTemplateError> {
            if messages.iter().any(|m| m.role == Role::System && m.content == "no") {
                return Err(ChatTemplateError("system".into()));
            }
            let mut text: String = messages
                .iter()
                .map(|m| format!("<{}>{}</>", m.role.name(), m.content))
                .collect();
            if add_generation_prompt {
                text.push_str("<assistant>");
            }
            Ok(text)
        }
    }

    fn conversation(prefix: Option<&str>) -> Vec<Turn> {
        let mut turns = vec![system("sys").unwrap()];
        turns.extend(example("q1", "a1", prefix, " ", "\n\n"));
        turns.extend(question("q2", prefix, " "));
        turns
    }

    #[test]
    fn three_ways_to_write() {
        let turns = conversation(None);
        let write = |profile| super::write(&turns, profile, false, Some(&Bare)).unwrap();
        assert_eq!(write(Profile::Plain), "sysq1 a1\n\nq2");
        let multi = "<system>sys</><user>q1</><assistant>a1</><user>q2</><assistant>";
        assert_eq!(write(Profile::Chat), multi);
        assert_eq!(
            write(Profile::ChatSingle),
            "<system>sys</><user>q1 a1\n\nq2</><assistant>"
        );
    }

    #[test]
    fn a_prefix_starts_the_answer() {
        let turns = conversation(Some("It is"));
        let write = |profile| super::write(&turns, profile, true, Some(&Bare)).unwrap();
        assert_eq!(write(Profile::Plain), "sysq1 It is a1\n\nq2 It is");
        assert_eq!(
            write(Profile::Chat),
            "<system>sys</><user>q1</><assistant>It is a1</><user>q2</><assistant>It is"
        );
        assert_eq!(
            write(Profile::ChatSingle),
            "<system>sys</><user>q1 It is a1\n\nq2</><assistant>It is"
        );
        assert_eq!(joined(&question("q\n", Some("It"), " ")), "q\nIt");
        assert_eq!(joined(&example("q", "a", Some("x "), " ", "|")), "q x a|");
    }

    #[test]
    fn a_refused_system_message_is_left_out() {
        let turns = [system("no").unwrap(), question("q", None, " ").remove(0)];
        assert_eq!(
            super::write(&turns, Profile::Chat, false, Some(&Bare)).unwrap(),
            "<user>q</><assistant>"
        );
    }
}
