//! The Jinja templates of task files: Python's printing and methods, an error for every undefined name, and bounds on
//! steps and output.

mod filters;
mod growth;
mod methods;
mod print;

use std::fmt::Write as _;
use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde_json::Value as Json;

use crate::error::{Fault, Place, TaskError};

pub(crate) use filters::install as install_filters;
pub(crate) use methods::call as call_method;
pub(crate) use print::to_str;

/// Instructions of one rendering.
const FUEL: u64 = 200_000;
/// Longest template, bytes.
const MAX_SOURCE: usize = 256 << 10;
/// Longest rendering, bytes; also of any text a filter or method makes.
pub(crate) const MAX_OUTPUT: usize = 8 << 20;

/// The compiled templates of one task.
pub struct Templates {
    env: Environment<'static>,
    added: Vec<(String, Place)>,
}

/// A template of one [`Templates`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TemplateId(usize);

impl Default for Templates {
    fn default() -> Self {
        let mut env = Environment::empty();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
            env.set_syntax(syntax);
        }
        env.set_fuel(Some(FUEL));
        env.set_recursion_limit(64);
        install_tests(&mut env);
        env.add_function("range", minijinja::functions::range);
        env.add_function("dict", minijinja::functions::dict);
        python_like(&mut env);
        Self { env, added: Vec::new() }
    }
}

/// What task and chat templates share: Python's printing, methods and filters.
pub(crate) fn python_like(env: &mut Environment<'static>) {
    install_filters(env);
    env.set_unknown_method_callback(call_method);
    env.set_formatter(|out, _, value| {
        out.write_str(&to_str(value))
            .map_err(|_| minijinja::Error::new(ErrorKind::WriteFailure, "cannot write"))
    });
}

fn install_tests(env: &mut Environment<'static>) {
    use minijinja::tests;
    env.add_test("undefined", tests::is_undefined);
    env.add_test("defined", tests::is_defined);
    env.add_test("none", tests::is_none);
    env.add_test("boolean", tests::is_boolean);
    env.add_test("number", tests::is_number);
    env.add_test("integer", tests::is_integer);
    env.add_test("float", tests::is_float);
    env.add_test("string", tests::is_string);
    env.add_test("sequence", tests::is_sequence);
    env.add_test("iterable", tests::is_iterable);
    env.add_test("mapping", tests::is_mapping);
    env.add_test("odd", tests::is_odd);
    env.add_test("even", tests::is_even);
    env.add_test("divisibleby", tests::is_divisibleby);
    env.add_test("eq", tests::is_eq);
    env.add_test("ne", tests::is_ne);
    env.add_test("lt", tests::is_lt);
    env.add_test("le", tests::is_le);
    env.add_test("gt", tests::is_gt);
    env.add_test("ge", tests::is_ge);
    env.add_test("in", tests::is_in);
    env.add_test("true", tests::is_true);
    env.add_test("false", tests::is_false);
    env.add_test("lower", tests::is_lower);
    env.add_test("upper", tests::is_upper);
}

impl Templates {
    /// Compiles the template standing at `key`.
    pub fn add(&mut self, key: &str, place: &Place, source: &str) -> Result<TemplateId, TaskError> {
        let error = |fault| TaskError::new(place.clone(), fault);
        if source.len() > MAX_SOURCE {
            let (what, limit, unit) = ("template", MAX_SOURCE as u64, "bytes");
            return Err(error(Fault::TooLarge { what, limit, unit }));
        }
        growth::check(source).map_err(|message| {
            let key = key.to_owned();
            error(Fault::Template { key, message })
        })?;
        let id = self.added.len();
        self.added.push((key.to_owned(), place.clone()));
        // Jinja2 reads every line ending as a newline.
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        self.env
            .add_template_owned(id.to_string(), source)
            .map_err(|e| error(fault(key, &e)))?;
        Ok(TemplateId(id))
    }

    /// The template filled with a document's fields.
    pub fn render(&self, id: TemplateId, doc: &Json) -> Result<String, TaskError> {
        let (key, place) = self.added.get(id.0).cloned().unwrap_or_default();
        let error = |e: minijinja::Error| TaskError::new(place.clone(), fault(&key, &e));
        let template = self.env.get_template(&id.0.to_string()).map_err(error)?;
        let mut out = Capped::default();
        template
            .render_captured_to(Value::from(Serde(doc)), &mut out)
            .map_err(error)?;
        Ok(out.text())
    }
}

/// The fault that a template's error is.
pub(crate) fn fault(key: &str, error: &minijinja::Error) -> Fault {
    let key = key.to_owned();
    match error.kind() {
        ErrorKind::OutOfFuel | ErrorKind::WriteFailure => Fault::TemplateLimit { key },
        _ => {
            let mut message = match error.detail() {
                Some(detail) => format!("{}: {detail}", error.kind()),
                None => error.kind().to_string(),
            };
            if let Some(line) = error.line() {
                let _ = write!(message, " (line {line} of the template)");
            }
            Fault::Template { key, message }
        }
    }
}

/// A writer that stops at [`MAX_OUTPUT`].
#[derive(Default)]
pub(crate) struct Capped(Vec<u8>);

impl Capped {
    pub(crate) fn text(self) -> String {
        String::from_utf8(self.0).unwrap_or_default()
    }
}

impl io::Write for &mut Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len().saturating_add(bytes.len()) > MAX_OUTPUT {
            return Err(io::Error::other("the text is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(source: &str, doc: Json) -> Result<String, TaskError> {
        let mut templates = Templates::default();
        let id = templates.add("doc_to_text", &Place::line("t.yaml", 3), source)?;
        templates.render(id, &doc)
    }

    fn ok(source: &str, doc: Json) -> String {
        render(source, doc).unwrap_or_else(|e| panic!("{source}: {e}"))
    }

    // Every expectation was printed by Jinja2 3.1.6 with the harness's environment.
    #[test]
    fn templates_render_as_in_jinja2() {
        let doc = json!({
            "s": " a_b ", "n": 3, "f": 1.0, "e": 1e-7, "t": true, "none": null, "l": ["x", "it's"], "q": "hELLO",
            "choices": {"text": ["one", "two"], "label": ["A", "B"]}, "answerKey": "B", "이름": "홍길동", "d": {"k": 1, "z": [1.5]}
        });
        let cases = [
            ("{{s.strip()}}|{{s.split('_')[1].strip()}}", "a_b|b"),
            ("{{choices.label.index(answerKey)}}", "1"),
            ("{{choices.text}}", "['one', 'two']"),
            ("{{l}}", "['x', \"it's\"]"),
            (
                "{{f}} {{e}} {{t}} {{none}} {{d}}",
                "1.0 1e-07 True None {'k': 1, 'z': [1.5]}",
            ),
            ("{{n-1}} {{ (n|int) - 1 }} {{ '7'|int + 1 }} {{ 'x'|int }}", "2 2 8 0"),
            ("{{ [s.split('_')[0] + 'x', l[-1]] }}", "[' ax', \"it's\"]"),
            (
                "{{'y' if t else 'n'}} {% if missing is defined %}a{% else %}b{% endif %}",
                "y b",
            ),
            (
                "{{q.capitalize()}} {{ ', '.join(l) }} {{ l|join(' + ') }}",
                "Hello x, it's x + it's",
            ),
            ("{{s.replace('a', 'c')}}{{ s|replace('a', 'c') }}", " c_b  c_b "),
            ("{{s.lstrip()}}{{s.rstrip()}}|{{ 'xxaxx'.strip('x') }}", "a_b  a_b|a"),
            (
                "{{l|length}} {{ l|list }} {{ n|string + '!' }} {{s|trim}}",
                "2 ['x', \"it's\"] 3! a_b",
            ),
            (
                "{{ s|regex_replace('\\s+', '') }} {{ 'aaa'|regex_replace('a', 'b', 2) }}",
                "a_b bba",
            ),
            ("{{ q[0] }}{{ q[-1] }}{{ q[1:3] }} {{ l[:1] }}", "hOEL ['x']"),
            ("{% for c in l %}{{loop.index0}}{{c}};{% endfor %}", "0x;1it's;"),
            ("{{ 10 / 4 }} {{ 10 // 4 }} {{ 10 / 5 }} {{ 7 % 3 }}", "2.5 2 2.0 1"),
            ("a\n", "a\n"),
            (
                "{{ 'a.b'.split('.', 1) }} {{ 'a b  c'.split() }}",
                "['a', 'b'] ['a', 'b', 'c']",
            ),
            (
                "{{ q.startswith('h') }} {{ 'abc'.find('c') }} {{ 'a' in l }}",
                "True 2 False",
            ),
            (
                "{{ range(1, 4)|list }} {{ l|map('upper')|list }}",
                "[1, 2, 3] ['X', \"IT'S\"]",
            ),
            (
                "{{ d.items()|list }} {{ d.get('k') }} {{ d.get('x', 2) }}",
                "[('k', 1), ('z', [1.5])] 1 2",
            ),
            ("{{ 이름 }} {{ d.한글 is defined }}", "홍길동 False"),
            (
                "{{ 2.5|int }} {{ '2.9'|int }} {{ '1e3'|float }} {{ 1e16 }}",
                "2 2 1000.0 1e+16",
            ),
        ];
        for (source, expected) in cases {
            assert_eq!(ok(source, doc.clone()), expected, "{source}");
        }
    }

    #[test]
    fn undefined_names_are_errors_with_a_place() {
        let error = render("a\n{{ missing }}", json!({})).unwrap_err();
        assert_eq!(
            (error.code(), error.place.to_string().as_str()),
            ("task-template", "t.yaml:3")
        );
        for source in [
            "{{ missing.x }}",
            "{{ 'abc'.index('z') }}",
            "{{ ['a'].index('b') }}",
            "{{ 'a'.nope() }}",
        ] {
            assert_eq!(
                render(source, json!({})).unwrap_err().code(),
                "task-template",
                "{source}"
            );
        }
        for source in [
            "{{ a",
            "{% if %}",
            "{{ 1 | nope }}",
            "{% include 'x' %}",
            "{{ x | regex_replace('(', '') }}",
        ] {
            assert!(render(source, json!({"x": "y", "a": 1})).is_err(), "{source}");
        }
    }

    #[test]
    fn hostile_templates_are_refused() {
        let loops = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        assert_eq!(render(loops, json!({})).unwrap_err().code(), "task-template-limit");
        let long = "{% for a in range(9999) %}{{ x }}{% endfor %}";
        let error = render(long, json!({"x": "y".repeat(10_000)})).unwrap_err();
        assert_eq!(error.code(), "task-template-limit");
        let doubling = format!(
            "{{% set x = 'aaaaaaaa' %}}{}{{{{ x|length }}}}",
            "{% set x = x ~ x ~ x ~ x %}".repeat(30)
        );
        for source in [
            doubling.as_str(),
            "{{ ('a' * 1000)|replace('a', q)|replace('a', q)|replace('a', q) }}",
            "{{ range(99999)|map('replace', '1', q)|list|length }}",
            "{{ (range(99999)|list * 1000)|sort }}",
            "{% macro m(x) %}{{ m(x ~ x) }}{% endmacro %}{{ m('a') }}",
            "{% set x %}{% for a in range(9999) %}aaaaaaaa{% endfor %}{% endset %}{{ x }}",
            "{{ ('a' * 90000000) ~ ('a' * 90000000) ~ ('a' * 90000000) ~ ('a' * 90000000) ~ ('a' * 90000000) }}",
        ] {
            assert!(render(source, json!({"q": "a".repeat(5000)})).is_err(), "{source}");
        }
        let evil = "{{ x|regex_replace('(a+)+(?=b)$', '') }}";
        assert!(render(evil, json!({"x": "a".repeat(64)})).is_err());
        assert!(render("{{ (1) }}", json!({})).is_ok());
        assert!(
            render(
                &format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000)),
                json!({})
            )
            .is_err()
        );
        assert!(render(&"a".repeat(MAX_SOURCE + 1), json!({})).is_err());
    }
}
