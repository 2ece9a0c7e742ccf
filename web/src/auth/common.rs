//! Passwords that are guessed first, recognised by how they are made: a word everybody takes, a row of the keyboard, a
//! run of digits, with the decorations everybody adds. A list of strings would miss `Dragon2027!`; this does not.

/// What remains of most leaked passwords once digits, signs and case are taken away: words, names, teams, keyboard rows
/// (also as typed on a Korean keyboard by habit). Lower case, sorted, one blank between two.
const WORDS: &str = "\
    abcd abcdef abcdefg abcdefgh abcdefghij access adidas admin adminadmin administrator alexander america andrew angel \
    anthony apple arsenal asdf asdfasdf asdfg asdfgh asdfghjk asdfghjkl ashley assay assayassay asshole austin azerty \
    babygirl bailey banana barcelona baseball basketball batman beautiful benjamin bigdaddy blink brandon butterfly \
    buster camaro carolina champion changeit changeme charles charlie cheese chelsea chicken chocolate christian \
    christopher cocacola computer contest cookie corvette cowboys creative dallas daniel danielle default diamond dkssud \
    dkssudgktpdy dolphin donald dragon eagles elephant elizabeth eminem everton exaone explorer facebook falcon family \
    ferrari flower football forever freedom friend friends fuckyou garfield gateway george ginger google googlepassword \
    guest guitar hammer hannah harley hello hellohello helloworld hockey hunter iloveu iloveyou internet jackson jasmine \
    jennifer jessica jesus jonathan jordan joseph joshua justin killer kimberly korea lakers letmein letmeinplease \
    liverpool login lollipop london loveme lovely loveyou maggie marlboro martin master matrix matthew maverick mercedes \
    merlin metallica michael michelle microsoft midnight minecraft monkey monster mother mustang mynoob mypassword \
    naruto naver newpassword nicholas nicole nintendo nothing onepiece orange parola pass passport passw passwd passwo \
    passwor password passwordpassword passwort patrick peanut pepper phoenix pokemon porsche power princess private \
    purple pussycat qazwsx qazwsxedc qlalfqjsgh qwer qwerasdf qwerasdfzxcv qwert qwerty qwertyui qwertyuiop qwertz \
    rainbow ranger rangers rebecca redskins richard rkskek rkskekfkakqktk robert root rootroot rosebud samantha samsung \
    secret seoul shadow silver slipknot snoopy soccer sophie spiderman starwars steelers summer sunshine superman \
    superuser swordfish taylor teacher temp tennis test tester testing testtest thomas thunder tigger tiger tkfkdgo \
    tkfkdgody tkfkdgodyo trustno user username victoria welcome whatever william winner winter wizard xxxxxx yamaha \
    yankees zaq zxcv zxcvbn zxcvbnm";

/// Rows people walk along, both ways and wrapped around.
const ROWS: &[&str] = &[
    "01234567890123456789",
    "qwertyuiopqwertyuiop",
    "asdfghjklasdfghjkl",
    "zxcvbnmzxcvbnm",
    "abcdefghijklmnopqrstuvwxyz",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "qazwsxedcrfvtgbyhnujmikolp",
    "1q2w3e4r5t6y7u8i9o0p",
    "q1w2e3r4t5y6u7i8o9p0",
    "112233445566778899001122",
];

/// Is this among the passwords that are tried first?
#[must_use]
pub fn is_common(password: &str) -> bool {
    let folded = password.to_lowercase();
    let characters: Vec<char> = folded.chars().collect();
    repeats(&characters) || walks(&folded) || decorated(&folded)
}

/// One character over and over, or a short piece repeated: `aaaaaaaa`, `12121212`, `abcabcabc`.
fn repeats(characters: &[char]) -> bool {
    let mut distinct = characters.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let period = |length: usize| characters.iter().zip(&characters[length..]).all(|(a, b)| a == b);
    distinct.len() <= 2 || (1..=4).any(|length| characters.len() >= 2 * length && period(length))
}

/// Made of one or two walks along rows, whatever case.
fn walks(text: &str) -> bool {
    let on_a_row = |piece: &str| {
        let backwards: String = piece.chars().rev().collect();
        piece.chars().count() >= 3 && ROWS.iter().any(|row| row.contains(piece) || row.contains(&backwards))
    };
    if on_a_row(text) {
        return true;
    }
    let mut cuts = text.char_indices().map(|(at, _)| at).skip(3);
    cuts.any(|at| on_a_row(&text[..at]) && on_a_row(&text[at..]))
}

/// A common word with digits and signs before, after, or in place of letters.
fn decorated(text: &str) -> bool {
    let word = |text: &str| WORDS.split(' ').any(|word| word == text);
    let plain = |c: char| match c {
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        other => other,
    };
    let core = text.trim_matches(|c: char| !c.is_alphabetic());
    let letters: String = text.chars().filter(|c| c.is_alphabetic()).collect();
    // `p@ssw0rd2026!`: the decorations at the end are digits, those inside are letters in disguise.
    let tail = text.trim_end_matches(|c: char| c.is_ascii_digit() || c.is_ascii_punctuation());
    let disguised = |text: &str| word(&text.chars().map(plain).collect::<String>());
    // What is added counts only while it is short: a word with twelve random digits is no common password.
    let added = |core: &str| text.chars().count() - core.chars().count() <= 6;
    (word(core) && added(core))
        || (word(&letters) && added(&letters))
        || disguised(text)
        || (!tail.is_empty() && disguised(tail) && added(tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_first_is_recognised() {
        for common in [
            "password",
            "Password1",
            "PASSWORD123",
            "p@ssw0rd",
            "P@ssw0rd2026!",
            "passw0rd",
            "qwerty123",
            "Qwerty12!",
            "12345678",
            "123456789",
            "87654321",
            "1234567890",
            "11111111",
            "12121212",
            "abcabcabc",
            "aaaaaaaaaa",
            "1q2w3e4r",
            "1qaz2wsx",
            "1qaz2wsx3edc",
            "qazwsxedc",
            "asdfghjk",
            "zxcvbnm1",
            "letmein1",
            "iloveyou",
            "iloveyou12",
            "dragon2027!",
            "Monkey99",
            "welcome1",
            "admin1234",
            "administrator1",
            "superman",
            "football",
            "trustno1",
            "changeme123",
            "qwer1234",
            "asdf1234",
            "abcd1234",
            "1234qwer",
            "dkssudgktpdy",
            "tkfkdgodyo1",
            "qlalfqjsgh1",
            "11223344",
            "0987654321",
            "assay2026",
            "samsung1",
            "test1234",
        ] {
            assert!(is_common(common), "{common}");
        }
    }

    #[test]
    fn others_are_not() {
        for fine in [
            "correct horse battery",
            "ten chars!",
            "vq8#mTzd",
            "우리집 고양이",
            "k7-plum-otter",
            "dragonfruit salad",
            "testimony of rain",
            "passionate-46-ferns",
            "password 8842719305",
            "gehtdichnixan",
            "8f3a91c2",
        ] {
            assert!(!is_common(fine), "{fine}");
        }
    }
}
