//! Names and addresses that people type, parsed once at the edge: a value of these types is already valid.

use std::fmt;

use assay_contest::Text;

use crate::auth::common;

/// Why a typed value was refused: a stable code, and what to do about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// Stable kebab-case name.
    pub code: &'static str,
    /// The sentence beside the field.
    pub message: Text,
}

impl Refused {
    /// A refusal in both languages.
    pub fn new(code: &'static str, en: &str, ko: &str) -> Refused {
        Refused {
            code,
            message: Text::new(en, ko),
        }
    }
}

/// An e-mail address of plausible form. Only a message could prove more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(String);

/// The name shown for a person, 1 to 40 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserName(String);

/// The name shown for a team, 1 to 40 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamName(String);

/// A password as typed. It is never printed and lives only as long as the request.
#[derive(Clone)]
pub struct Password(String);

/// An invitation code: 12 characters of Crockford's base 32, that is 60 random bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InviteCode(String);

/// Longest shown name, in characters: fits a table row on a phone.
const NAME_CHARS: usize = 40;
/// RFC 5321 §4.5.3.1: 254 octets for a whole address, 64 before the `@`.
const EMAIL_BYTES: usize = 254;
const EMAIL_LOCAL_BYTES: usize = 64;
/// ASVS 6.2: at least 8, better 15, and at least 64 allowed; the upper bound only keeps hashing cheap.
const PASSWORD_CHARS: std::ops::RangeInclusive<usize> = 8..=128;
/// Crockford's alphabet leaves out I, L, O and U, so that a code survives being read aloud.
const INVITE_ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const INVITE_CHARS: usize = 12;

impl Email {
    /// Accepts `local@domain` with a dotted domain; case is kept here and ignored by the database's unique index.
    pub fn parse(text: &str) -> Result<Email, Refused> {
        let text = text.trim();
        let plausible = || {
            let (local, domain) = text.rsplit_once('@')?;
            let word = |c: char| !c.is_whitespace() && !c.is_control() && !"\"(),:;<>[]\\@".contains(c);
            let local_ok = !local.is_empty() && local.len() <= EMAIL_LOCAL_BYTES && local.chars().all(word);
            let label_ok = |label: &str| {
                !label.is_empty()
                    && label.len() <= 63
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.chars().all(|c| c.is_alphanumeric() || c == '-')
            };
            let domain_ok = domain.contains('.') && domain.split('.').all(label_ok);
            (local_ok && domain_ok && text.len() <= EMAIL_BYTES).then(|| Email(text.to_owned()))
        };
        plausible().ok_or_else(|| {
            Refused::new(
                "email-invalid",
                "Enter an e-mail address like name@example.org.",
                "name@example.org 형식의 이메일 주소를 입력하세요.",
            )
        })
    }

    /// The address as typed, trimmed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form under which two spellings are one account.
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

/// Trims, joins runs of blanks, and refuses characters that would let one name pass for another: controls, direction
/// overrides and invisible joiners.
fn shown_name(text: &str) -> Option<String> {
    let name = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let hidden = |c: char| {
        c.is_control()
            || matches!(
                c,
                '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}'
            )
            || matches!(c, '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
    };
    let length = name.chars().count();
    ((1..=NAME_CHARS).contains(&length) && !name.chars().any(hidden)).then_some(name)
}

impl UserName {
    /// See [`UserName`].
    pub fn parse(text: &str) -> Result<UserName, Refused> {
        shown_name(text).map(UserName).ok_or_else(|| {
            Refused::new(
                "name-invalid",
                "Enter a name of 1 to 40 visible characters.",
                "눈에 보이는 글자로 1~40자의 이름을 입력하세요.",
            )
        })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TeamName {
    /// See [`TeamName`].
    pub fn parse(text: &str) -> Result<TeamName, Refused> {
        shown_name(text).map(TeamName).ok_or_else(|| {
            Refused::new(
                "team-name-invalid",
                "Enter a team name of 1 to 40 visible characters.",
                "눈에 보이는 글자로 1~40자의 팀 이름을 입력하세요.",
            )
        })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Password {
    /// A new password: length, and not one that is guessed first. No rules on kinds of characters (ASVS 6.2.5): they
    /// make passwords worse. `email` and `name` are what it must not repeat.
    pub fn parse_new(text: &str, email: &str, name: &str) -> Result<Password, Refused> {
        let length = text.chars().count();
        if length < *PASSWORD_CHARS.start() {
            return Err(Refused::new(
                "password-too-short",
                "Use at least 8 characters; a few unrelated words are easy to remember and hard to guess.",
                "8자 이상으로 정하세요. 서로 관계없는 단어 몇 개를 이어 쓰면 외우기 쉽고 추측하기 어렵습니다.",
            ));
        }
        if length > *PASSWORD_CHARS.end() {
            return Err(Refused::new(
                "password-too-long",
                "Use at most 128 characters.",
                "128자 이하로 정하세요.",
            ));
        }
        let folded = text.to_lowercase();
        let own = [email, name, email.split('@').next().unwrap_or_default()];
        if own.iter().any(|word| !word.is_empty() && folded == word.to_lowercase()) || common::is_common(text) {
            return Err(Refused::new(
                "password-too-common",
                "This password is among the first that get guessed. Choose another.",
                "가장 먼저 추측되는 비밀번호입니다. 다른 것으로 정하세요.",
            ));
        }
        Ok(Password(text.to_owned()))
    }

    /// A password to compare with a stored one. Too long to be anyone's: `None`.
    pub fn for_login(text: &str) -> Option<Password> {
        (text.chars().count() <= *PASSWORD_CHARS.end()).then(|| Password(text.to_owned()))
    }

    /// The characters, for the hash alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl InviteCode {
    /// A new random code.
    pub fn random() -> InviteCode {
        let bytes = crate::auth::token::random_bytes::<INVITE_CHARS>();
        InviteCode(
            bytes
                .iter()
                .map(|byte| char::from(INVITE_ALPHABET[usize::from(byte % 32)]))
                .collect(),
        )
    }

    /// Reads a code as a person types it: any case, with or without hyphens, O for 0, I or L for 1.
    pub fn parse(text: &str) -> Result<InviteCode, Refused> {
        let code: String = text
            .chars()
            .filter(|c| !c.is_whitespace() && *c != '-')
            .map(|c| match c.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            })
            .take(INVITE_CHARS + 1)
            .collect();
        let known = |c: char| u8::try_from(c).is_ok_and(|byte| INVITE_ALPHABET.contains(&byte));
        if code.chars().count() == INVITE_CHARS && code.chars().all(known) {
            Ok(InviteCode(code))
        } else {
            Err(unknown_code())
        }
    }

    /// As stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The same sentence for a code of the wrong form and for one nobody has: a guess learns nothing.
pub fn unknown_code() -> Refused {
    Refused::new(
        "invite-code-unknown",
        "No team has this invitation code. Ask a member to copy it again.",
        "이 초대 코드를 쓰는 팀이 없습니다. 팀원에게 코드를 다시 복사해 달라고 하세요.",
    )
}

/// As shown: `XXXX-XXXX-XXXX`.
impl fmt::Display for InviteCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = [0, 4, 8].map(|at| self.0.get(at..at + 4).unwrap_or_default());
        write!(f, "{a}-{b}-{c}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plausible_addresses_pass_and_others_do_not() {
        for good in ["a@b.kr", " Kim.Min-su+assay@sub.example.org ", "팀@예시.한국"] {
            assert!(Email::parse(good).is_ok(), "{good}");
        }
        let long = format!("{}@example.org", "a".repeat(65));
        for bad in [
            "",
            "a",
            "a@b",
            "@b.kr",
            "a@",
            "a b@c.kr",
            "a@b..kr",
            "a@-b.kr",
            "a@b.kr\r\nBcc: x@y.z",
            "a@@b.kr",
            &long,
        ] {
            assert!(Email::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Email::parse(" A@B.kr").unwrap().folded(), "a@b.kr");
    }

    #[test]
    fn names_are_visible_and_bounded() {
        assert_eq!(TeamName::parse("  눌러   담은 팀 ").unwrap().as_str(), "눌러 담은 팀");
        assert!(TeamName::parse(&"가".repeat(40)).is_ok());
        for bad in [
            "",
            "   ",
            &"가".repeat(41),
            "a\u{202e}b",
            "\u{200b}",
            "a\u{0}b",
            "\u{3164}",
        ] {
            assert_eq!(TeamName::parse(bad).unwrap_err().code, "team-name-invalid", "{bad:?}");
            assert_eq!(UserName::parse(bad).unwrap_err().code, "name-invalid", "{bad:?}");
        }
    }

    #[test]
    fn passwords_need_length_not_symbols() {
        let parse = |text: &str| {
            Password::parse_new(text, "someone@example.org", "Someone Else").map_err(|refused| refused.code)
        };
        assert!(parse("ten chars!").is_ok());
        assert!(parse(&"긴".repeat(127)).is_err(), "one character over and over");
        assert!(parse(&"긴 말 여러 개".repeat(14)).is_ok());
        assert!(parse("vq8#mTzd").is_ok());
        assert_eq!(parse("7 chars").unwrap_err(), "password-too-short");
        assert_eq!(parse(&"ab".repeat(101)).unwrap_err(), "password-too-long");
        for common in [
            "password123",
            "PASSWORD123",
            "aaaaaaaaaa",
            "someone@example.org",
            "someone else",
        ] {
            assert_eq!(parse(common).unwrap_err(), "password-too-common", "{common}");
        }
        assert_eq!(format!("{:?}", parse("correct horse").unwrap()), "Password(…)");
    }

    #[test]
    fn codes_survive_being_typed() {
        let code = InviteCode::random();
        assert_eq!(InviteCode::parse(&code.to_string()).unwrap(), code);
        assert_eq!(
            InviteCode::parse(&format!(" {} ", code.to_string().to_lowercase())).unwrap(),
            code
        );
        assert_eq!(InviteCode::parse("oil0-0000-0000").unwrap().as_str(), "011000000000");
        for bad in ["", "ABCD", "UUUU-UUUU-UUUU", "0000-0000-0000-0", "가나다라-0000-0000"] {
            assert_eq!(InviteCode::parse(bad).unwrap_err().code, "invite-code-unknown", "{bad}");
        }
    }
}
