//! Numbers as people read them. Figures keep a fixed number of decimals so that they line up in a column.

use crate::i18n::Locale;

pub use assay_contest::problem::grouped;

/// What a submission is called: its title, or where it has none the end of its id. The beginning of a UUIDv7 is the time: two
/// begun in one minute share it.
pub fn heading<'a>(title: &'a str, id: &'a str) -> &'a str {
    if title.is_empty() { short_id(id) } else { title }
}

/// The end of a UUIDv7, which differs between those made together.
pub fn short_id(id: &str) -> &str {
    id.get(id.len().saturating_sub(8)..).unwrap_or(id)
}

/// Megabytes (10^6 bytes) with two decimals, without the unit: `971176736` → `971.18`.
pub fn megabytes(bytes: u64) -> String {
    // Rounded in integers: a byte count can exceed what f64 holds exactly.
    let hundredths = bytes / 10_000 + u64::from(bytes % 10_000 >= 5_000);
    format!("{}.{:02}", grouped(hundredths / 100), hundredths % 100)
}

/// The unit that suits a size, for prose: `512 B`, `38.31 kB`, `971.18 MB`, `2.56 GB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.2} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{} MB", megabytes(bytes)),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// A measure: four decimals below ten (accuracies, ratios), fewer for larger numbers, a dash for what is not a number.
pub fn measure(value: f64) -> String {
    let magnitude = value.abs();
    if !value.is_finite() {
        "–".to_owned()
    } else if magnitude < 10.0 {
        minus(format!("{value:.4}"))
    } else if magnitude < 1_000.0 {
        minus(format!("{value:.2}"))
    } else {
        let sign = if value < 0.0 { "−" } else { "" };
        format!("{sign}{}", grouped(magnitude.round() as u64))
    }
}

/// A measure in its own unit.
pub fn in_unit(locale: Locale, key: &str, value: f64) -> String {
    match key {
        "peak_memory" | "peak_device_memory" | "bytes" if value >= 0.0 => size(value as u64),
        "generated_tokens" if value >= 0.0 => grouped(value as u64),
        "load_seconds" | "wall_seconds" | "time_track_seconds" | "time_track_base_seconds" => seconds(locale, value),
        _ if key.starts_with("item_seconds") => seconds(locale, value),
        "time_per_token" if value.is_finite() => format!("{:.2} ms", value * 1e3),
        "tokens_per_second" if value.is_finite() => format!("{value:.1} /s"),
        "energy_joules" if value.is_finite() => format!("{:.2} kJ", value / 1e3),
        _ if key.starts_with("rate.") => share(value),
        _ => measure(value),
    }
}

/// A difference of two measures, with its sign.
pub fn signed(value: f64) -> String {
    let text = measure(value);
    let positive = value > 0.0 && text.chars().any(|c| ('1'..='9').contains(&c));
    if positive { format!("+{text}") } else { text }
}

/// A score with the contest's number of decimals.
pub fn score(value: f64, decimals: u32) -> String {
    if value.is_finite() {
        minus(format!("{value:.*}", decimals.min(12) as usize))
    } else {
        "–".to_owned()
    }
}

/// A duration in seconds: `0.42 s`, `12.3 s`, `4 min 05 s`, `1 h 02 min`; `4분 5초` in Korean.
pub fn seconds(locale: Locale, value: f64) -> String {
    if !value.is_finite() || value < 0.0 {
        return "–".to_owned();
    }
    let whole = value.round() as u64;
    let (minutes, hours) = (whole / 60, whole / 3600);
    let korean = locale == Locale::Ko;
    let second = if korean { "초" } else { " s" };
    match value {
        // A stage that took no time that can be shown still took some.
        v if v < 0.005 => format!("< 0.01{second}"),
        v if v < 1.0 => format!("{v:.2}{second}"),
        v if v < 59.95 => format!("{v:.1}{second}"),
        _ if hours == 0 && korean => format!("{minutes}분 {}초", whole % 60),
        _ if hours == 0 => format!("{minutes} min {:02} s", whole % 60),
        _ if korean => format!("{hours}시간 {}분", minutes % 60),
        _ => format!("{hours} h {:02} min", minutes % 60),
    }
}

/// A share of a whole as a percentage with one decimal: `43.2 %`.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        "–".to_owned()
    } else {
        format!("{:.1} %", part as f64 / whole as f64 * 100.0)
    }
}

/// A share between 0 and 1 as a percentage with one decimal: `2.5 %`.
pub fn share(value: f64) -> String {
    if value.is_finite() {
        minus(format!("{:.1} %", value * 100.0))
    } else {
        "–".to_owned()
    }
}

/// A confidence in percent: `95`, `99.9`.
pub fn confidence(share: f64) -> String {
    let percent = format!("{:.3}", share * 100.0);
    percent.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A band of ranks: `2–4`, or `2` where it holds only one.
pub fn ranks((best, worst): (u32, u32)) -> String {
    if best == worst {
        best.to_string()
    } else {
        format!("{best}–{worst}")
    }
}

/// Two ends of an interval: `0.779 – 0.915`.
pub fn interval((low, high): (f64, f64)) -> String {
    format!("{} – {}", minus(format!("{low:.3}")), minus(format!("{high:.3}")))
}

/// A probability of a test: `0.034`, `< 0.001`.
pub fn probability(p: f64) -> String {
    match p {
        p if !p.is_finite() => "–".to_owned(),
        p if p < 0.001 => "< 0.001".to_owned(),
        p => format!("{p:.3}"),
    }
}

/// A typographic minus, as wide as the digits.
fn minus(text: String) -> String {
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().any(|c| c.is_ascii_digit() && c != '0') => format!("−{rest}"),
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_begun_in_one_minute_have_names_of_their_own() {
        let ids = [
            "0198c3a4-0000-7000-8000-0000d1e55a1f",
            "0198c3a4-0000-7000-8000-00005eed0b0e",
        ];
        assert_eq!(ids.map(|id| heading("", id)), ["d1e55a1f", "5eed0b0e"]);
        assert_eq!(heading("W4A16", ids[0]), "W4A16");
        assert_eq!(short_id("0198"), "0198");
    }

    #[test]
    fn megabytes_round_to_the_nearest_hundredth() {
        assert_eq!(megabytes(971_176_736), "971.18");
        assert_eq!(megabytes(1_390_692_528), "1,390.69");
        assert_eq!(megabytes(4_999), "0.00");
        assert_eq!(megabytes(5_000), "0.01");
        assert_eq!(megabytes(999_995_000), "1,000.00");
    }

    #[test]
    fn measures_keep_their_columns_and_never_show_nan() {
        assert_eq!(measure(0.865), "0.8650");
        assert_eq!(measure(-0.05), "−0.0500");
        assert_eq!(measure(-0.000_01), "0.0000");
        assert_eq!(measure(31.25), "31.25");
        assert_eq!(measure(1_546_352.0), "1,546,352");
        assert_eq!(measure(-1_546_352.4), "−1,546,352");
        assert_eq!(measure(f64::NAN), "–");
        assert_eq!(measure(f64::INFINITY), "–");
    }

    #[test]
    fn seconds_grow_into_minutes_and_hours() {
        let en = |value| seconds(Locale::En, value);
        assert_eq!(en(0.0004), "< 0.01 s");
        assert_eq!(en(0.416), "0.42 s");
        assert_eq!(en(12.34), "12.3 s");
        assert_eq!(en(59.97), "1 min 00 s");
        assert_eq!(en(245.2), "4 min 05 s");
        assert_eq!(en(3599.7), "1 h 00 min");
        assert_eq!(en(3725.0), "1 h 02 min");
        assert_eq!(en(f64::NAN), "–");
        assert_eq!(seconds(Locale::Ko, 12.34), "12.3초");
        assert_eq!(seconds(Locale::Ko, 245.2), "4분 5초");
        assert_eq!(seconds(Locale::Ko, 3725.0), "1시간 2분");
    }
}
