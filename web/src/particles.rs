//! Korean particles whose form depends on the sound before them. Messages about names of files, tensors and fields are written
//! with both forms, `model.norm.weight은(는)`; the one that fits is chosen where a person reads it.

/// Both forms as written, the one after a consonant and the one after a vowel.
const PARTICLES: [(&str, &str, &str); 7] = [
    ("은(는)", "은", "는"),
    ("이(가)", "이", "가"),
    ("을(를)", "을", "를"),
    ("와(과)", "과", "와"),
    ("과(와)", "과", "와"),
    ("(으)로", "으로", "로"),
    ("(이)어야", "이어야", "여야"),
];

/// How a word ends when it is said aloud in Korean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Vowel,
    /// A consonant like any other, but for `로`.
    Rieul,
    Consonant,
}

/// `text` with the fitting form of every particle. Where nobody can tell how the word before it is read aloud, both stay.
#[must_use]
pub fn fit(text: &str) -> String {
    let mut fitted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, (both, after_consonant, after_vowel))) = first(rest) {
        let (before, after) = rest.split_at(at);
        fitted.push_str(before);
        fitted.push_str(match end(&fitted) {
            None => both,
            Some(End::Rieul) if both == "(으)로" => after_vowel,
            Some(End::Vowel) => after_vowel,
            Some(_) => after_consonant,
        });
        rest = after.strip_prefix(both).unwrap_or_default();
    }
    fitted.push_str(rest);
    fitted
}

fn first(text: &str) -> Option<(usize, (&'static str, &'static str, &'static str))> {
    let found = PARTICLES
        .into_iter()
        .filter_map(|particle| Some((text.find(particle.0)?, particle)));
    found.min_by_key(|(at, _)| *at)
}

/// The end of the last word. What stands behind it in brackets is not said before the particle, and quotes are not said at all.
fn end(text: &str) -> Option<End> {
    let mut word = text.trim_end_matches(['"', '\'', '`', ']', '}', '”', '’']);
    while word.ends_with(')') {
        word = word.get(..word.rfind('(')?)?.trim_end();
    }
    let word = word.trim_end_matches(['"', '\'', '`', ']', '}', '”', '’']);
    let last = word.chars().next_back()?;
    match last {
        '가'..='힣' => Some(match (u32::from(last) - u32::from('가')) % 28 {
            0 => End::Vowel,
            8 => End::Rieul,
            _ => End::Consonant,
        }),
        '1' | '7' | '8' => Some(End::Rieul),
        '0' | '3' | '6' => Some(End::Consonant),
        '2' | '4' | '5' | '9' => Some(End::Vowel),
        'L' | 'R' => Some(End::Rieul),
        'M' | 'N' => Some(End::Consonant),
        'A'..='Z' => Some(End::Vowel),
        'a'..='z' => english(word),
        _ => None,
    }
}

/// English words as they are borrowed: `파일`, `스케일`, `네임`, `클래스`. Endings that are borrowed in more than one way
/// (`태스크` but `블록`) are left open.
fn english(word: &str) -> Option<End> {
    let ends = |endings: &[&str]| endings.iter().any(|ending| word.ends_with(ending));
    if ends(&["l", "le"]) {
        Some(End::Rieul)
    } else if ends(&["type", "map", "m", "n", "me", "ne", "ng", "ic"]) {
        Some(End::Consonant)
    } else if ends(&["pe", "te", "ke", "be"]) || ends(&["b", "c", "k", "p", "q", "t"]) {
        None
    } else {
        Some(End::Vowel)
    }
}

#[cfg(test)]
mod tests {
    use super::fit;

    #[test]
    fn the_form_follows_the_sound() {
        for (written, read) in [
            ("텐서을(를) 지우세요", "텐서를 지우세요"),
            ("그룹이(가) 없고 값이(가) 있습니다", "그룹이 없고 값이 있습니다"),
            ("정수(으)로 쓰십시오", "정수로 쓰십시오"),
            ("서울(으)로, 집(으)로", "서울로, 집으로"),
            ("512(으)로 되돌려 주세요", "512로 되돌려 주세요"),
            ("611(으)로, 256(으)로, 2560(으)로", "611로, 256으로, 2560으로"),
            ("512(이)어야, 256(이)어야", "512여야, 256이어야"),
            ("값 0.7280은(는)", "값 0.7280은"),
            (
                "num_hidden_layers을(를) \"exaone4\"(으)로",
                "num_hidden_layers를 \"exaone4\"로",
            ),
            ("[\"Exaone4ForCausalLM\"](으)로", "[\"Exaone4ForCausalLM\"]으로"),
            ("config.json이(가)", "config.json이"),
            (
                "hidden_size와(과) vocab_scale와(과) MLP",
                "hidden_size와 vocab_scale과 MLP",
            ),
            ("`acc`(정확도)은(는) 있고", "`acc`(정확도)은(는) 있고"),
            (
                "norm.scale(F32 [64], 256바이트)은(는) 남습니다",
                "norm.scale(F32 [64], 256바이트)은 남습니다",
            ),
            ("model_type을(를), auto_map은(는)", "model_type을, auto_map은"),
            ("chat_task은(는) 지워도", "chat_task은(는) 지워도"),
            ("괄호 (으)로만", "괄호 (으)로만"),
            ("은(는)", "은(는)"),
            ("particles: none", "particles: none"),
        ] {
            assert_eq!(fit(written), read);
        }
    }
}
