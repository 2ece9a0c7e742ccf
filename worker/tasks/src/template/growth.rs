//! Refuses task templates whose texts could grow beyond memory before any step or output limit is met.
//!
//! Fuel counts steps, not bytes: thirty assignments that each double a text cost next to nothing and ask for gigabytes.
//! Task templates need none of this, so the ways to accumulate are closed: no macros, no captured blocks, no recursion,
//! and the assignments of one template together may lengthen a text only so much.

/// What assignments and loops may multiply a text's length by, all together.
const MAX_FACTOR: u64 = 1 << 12;
/// Uses of `*`, each of which may make up to 100 MB.
const MAX_PRODUCTS: usize = 4;

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
        products += bare.matches('*').count();
        if statement {
            let bare = bare.trim_start_matches(['-', '+']).trim();
            let word = bare.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or("");
            match word {
                "if" | "elif" | "else" | "endif" | "endfor" | "break" | "continue" | "raw" | "endraw" => {}
                "for" if bare.contains("recursive") => return Err("recursive loops are not allowed here".into()),
                "set" if !bare.contains('=') => return Err("captured blocks are not allowed here".into()),
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
    if products > MAX_PRODUCTS {
        return Err("it multiplies too often".into());
    }
    Ok(())
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
            "{{ a*b*c*d*e*f }}",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check(&"{% set x = x ~ x %}".repeat(13)).is_err());
    }
}
