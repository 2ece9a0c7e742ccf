//! What a plain scalar is in YAML 1.1, as PyYAML resolves it.

use super::Yaml;

/// The value of an unquoted, untagged scalar.
pub fn resolve(text: &str) -> Yaml {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Yaml::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Yaml::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Yaml::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Yaml::Float(f64::NAN),
        _ => {}
    }
    let first = text.as_bytes()[0];
    if !(first.is_ascii_digit() || matches!(first, b'-' | b'+' | b'.')) {
        return Yaml::Str(text.to_owned());
    }
    int(text)
        .or_else(|| float(text).map(Yaml::Float))
        .unwrap_or_else(|| Yaml::Str(text.to_owned()))
}

fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn all(text: &str, good: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(|b| good(b) || b == b'_')
}

/// Integers: `0b1`, `0x1`, `017` (octal), `1_000`, `1:30` (base 60). One too long for 64 bits becomes a float.
fn int(text: &str) -> Option<Yaml> {
    let (negative, digits) = sign(text);
    let radix = |text: &str, radix| i128::from_str_radix(&text.replace('_', ""), radix).ok();
    let value = if let Some(binary) = digits
        .strip_prefix("0b")
        .filter(|d| all(d, |b| matches!(b, b'0' | b'1')))
    {
        radix(binary, 2)?
    } else if let Some(hex) = digits.strip_prefix("0x").filter(|d| all(d, |b| b.is_ascii_hexdigit())) {
        radix(hex, 16)?
    } else if digits == "0" {
        0
    } else if let Some(octal) = digits
        .strip_prefix('0')
        .filter(|d| all(d, |b| matches!(b, b'0'..=b'7')))
    {
        radix(octal, 8)?
    } else if !digits.starts_with(|c: char| ('1'..='9').contains(&c)) {
        return None;
    } else if all(digits, |b| b.is_ascii_digit()) {
        match radix(digits, 10) {
            Some(value) => value,
            None => return digits.replace('_', "").parse().ok().map(Yaml::Float),
        }
    } else {
        sexagesimal(digits).filter(|(_, fraction)| fraction.is_none())?.0
    };
    let value = if negative { -value } else { value };
    Some(match i64::try_from(value) {
        Ok(value) => Yaml::Int(value),
        Err(_) => Yaml::Float(value as f64),
    })
}

/// `h:mm:ss`, and the text after a point if there is one.
fn sexagesimal(digits: &str) -> Option<(i128, Option<&str>)> {
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (digits, None),
    };
    let mut parts = whole.split(':');
    let head = parts
        .next()
        .filter(|p| all(p, |b| b.is_ascii_digit()) && !p.starts_with('_'))?;
    let mut value: i128 = head.replace('_', "").parse().ok()?;
    let mut count = 0;
    for part in parts {
        if !matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']) {
            return None;
        }
        value = value.checked_mul(60)?.checked_add(part.parse().ok()?)?;
        count += 1;
    }
    (count > 0).then_some((value, fraction))
}

/// Floats need a point, and an exponent needs its sign: `1e5` and `1.0e5` are strings.
fn float(text: &str) -> Option<f64> {
    let (negative, digits) = sign(text);
    let apply = |x: f64| if negative { -x } else { x };
    if matches!(digits, ".inf" | ".Inf" | ".INF") {
        return Some(apply(f64::INFINITY));
    }
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => (&digits[..at], Some(&digits[at + 1..])),
        None => (digits, None),
    };
    if let Some(exponent) = exponent {
        let (_, power) = sign(exponent);
        if power.len() == exponent.len() || power.is_empty() || !power.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
    }
    let (whole, fraction) = mantissa.split_once('.')?;
    let good_fraction = |f: &str| f.is_empty() || all(f, |b| b.is_ascii_digit());
    if whole.is_empty() {
        // No sign may stand before a bare point.
        if digits.len() != text.len() || !fraction.starts_with(|c: char| c.is_ascii_digit()) || !good_fraction(fraction)
        {
            return None;
        }
    } else if whole.contains(':') {
        if exponent.is_some() || !good_fraction(fraction) {
            return None;
        }
        let (value, _) = sexagesimal(mantissa)?;
        let fraction: f64 = format!("0.{}0", fraction.replace('_', "")).parse().ok()?;
        return Some(apply(value as f64 + fraction));
    } else if !whole.starts_with(|c: char| c.is_ascii_digit())
        || !all(whole, |b| b.is_ascii_digit())
        || !good_fraction(fraction)
    {
        return None;
    }
    digits.replace('_', "").parse().ok().map(apply)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The types PyYAML 6.0.3 gives these.
    #[test]
    fn scalars_resolve_as_in_pyyaml() {
        let int = |n| Yaml::Int(n);
        let float = |x| Yaml::Float(x);
        let text = |s: &str| Yaml::Str(s.to_owned());
        let cases = [
            ("No", Yaml::Bool(false)),
            ("on", Yaml::Bool(true)),
            ("y", text("y")),
            ("yEs", text("yEs")),
            ("1", int(1)),
            ("+12", int(12)),
            ("-0", int(0)),
            ("0123", int(83)),
            ("089", text("089")),
            ("0o17", text("0o17")),
            ("0x1F", int(31)),
            ("0b101", int(5)),
            ("1_000", int(1000)),
            ("1:30", int(90)),
            ("1:60", text("1:60")),
            ("190:20:30", int(685_230)),
            ("190:20:30.15", float(685_230.15)),
            ("3.0", float(3.0)),
            ("3.", float(3.0)),
            (".5", float(0.5)),
            ("-.5", text("-.5")),
            ("1e5", text("1e5")),
            ("1.0e5", text("1.0e5")),
            ("1.0e+5", float(1e5)),
            ("1e-5", text("1e-5")),
            ("-.inf", float(f64::NEG_INFINITY)),
            ("2024-01-02", text("2024-01-02")),
            ("-", text("-")),
            (".", text(".")),
            ("1.2.3", text("1.2.3")),
            ("99999999999999999999", float(99999999999999999999.0)),
            ("nULL", text("nULL")),
        ];
        for (source, value) in cases {
            assert_eq!(resolve(source), value, "{source}");
        }
        assert!(matches!(resolve(".NaN"), Yaml::Float(x) if x.is_nan()));
    }
}
