//! Refuses task templates whose texts could grow beyond memory before any step or output limit is met.
//!
//! Fuel counts steps, not bytes: thirty assignments that each double a text cost next to nothing and ask for gigabytes.
//! Task templates need none of this, so the ways to accumulate are closed: no macros, no captured blocks, no recursion,
//! and the assignments of one template together may lengthen a text only so much.

/// What assignments and loops may multiply a text's length by, all together.
const MAX_FACTOR: u64 = 1 << 12;
/// The largest number that may stand beside `*`, which repeats texts and lists as well; and only one `*` may stand.
const MAX_TIMES: u32 = 1000;

/// Checks the template's source; the answer is a sentence on what is refused.
pub fn check(source: &str) -> Result<(), String> {
    let mut factor: u64 = 1;
    let mut products = 0;
    let mut rest = source;
    while let Some(at) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
        let statement = rest[at..].starts_with("{%");
        let body = &rest[at + 2..];
        let end = end_of(body, if statement { "%}" } else { "}}" });
        let (inside, after) = body.split_at(end);
        let bare = without_strings(inside);
        for (at, _) in bare.match_indices('*') {
            products += 1;
            let number = |text: Option<&str>| text.and_then(|t| t.parse::<u32>().ok()).is_some_and(|n| n <= MAX_TIMES);
            let word = |c: char| !(c.is_alphanumeric() || c == '_' || c == '.');
            let before = bare[..at].trim_end().rsplit(word).next();
            let after = bare[at + 1..].trim_start().split(word).next();
            if products > 1 || !(number(before) || number(after)) {
                return Err("multiplication is allowed once, with a number up to 1000".into());
            }
        }
        if statement {
            let bare = bare.trim_start_matches(['-', '+']).trim();
            let word = bare.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or("");
            match word {
                "if" | "elif" | "else" | "endif" | "endfor" | "break" | "continue" | "raw" | "endraw" => {}
                "for" if bare.contains("recursive") => return Err("recursive loops are not allowed here".into()),
                "set" if !assigns(bare) => return Err("captured blocks are not allowed here".into()),
                "set" | "for" => {
                    let parts = 1 + bare.matches(['~', '+', '*', ',']).count() as u64;
                    factor = factor.saturating_mul(parts);
                }
                other => return Err(format!("the statement {other:?} is not allowed here")),
            }
        }
        rest = after.get(2..).unwrap_or("");
    }
    if factor > MAX_FACTOR {
        return Err("its assignments could make a text too long".into());
    }
    Ok(())
}

/// Whether `set` gives a name an expression, rather than a block's output.
fn assigns(bare: &str) -> bool {
    let rest = bare.trim_start_matches("set");
    let rest = rest.trim_start_matches(|c: char| c.is_alphanumeric() || c.is_whitespace() || "_,().".contains(c));
    rest.starts_with('=') && !rest.starts_with("==")
}

/// Where `close` stands in `body` outside string literals; the end where it does not.
fn end_of(body: &str, close: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None if body[at..].starts_with(close) => return at,
            None => {}
        }
    }
    body.len()
}

/// The code with its string literals emptied.
fn without_strings(code: &str) -> String {
    let mut out = String::new();
    let mut quote = None;
    let mut escaped = false;
    for c in code.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn ordinary_templates_pass() {
        for good in [
            "Question: {{question}}\nAnswer:",
            "{% set letters = 'ABC' %}{% for c in options %}{{letters[loop.index0]}}. {{c}}\n{% endfor %}",
            "{% set x = text[:n] %}{{[x+options[0], x+options[1]]}}",
            "{{ 2 * n }}{{ 'a * b' }}",
            "{{ 'a %} b' }}{% if x == '{% macro %}' %}y{% endif %}",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn growth_is_refused() {
        for bad in [
            "{% macro m() %}{% endmacro %}",
            "{%- set x %}a{% endset %}",
            "{% for x in y recursive %}{% endfor %}",
            "{% with x = 1 %}{% endwith %}",
            "{{ a * b }}",
            "{{ 'a' * 100000000 }}",
            "{{ [1] * 1000 * 1000 }}",
            "{%- set x | default(a == b) %}a{% endset %}",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check(&"{% set x = x ~ x %}".repeat(13)).is_err());
    }
}
