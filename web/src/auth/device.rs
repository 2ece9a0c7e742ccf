//! A browser in a few words, so that a person recognises their sessions. The header itself is not kept: it identifies.

/// `Firefox · Windows`, from a `User-Agent`. Unknown parts are left out; nothing known: empty.
#[must_use]
pub fn words(user_agent: &str) -> String {
    // The order decides: most browsers also name the ones they descend from.
    const BROWSERS: [(&str, &str); 11] = [
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("Whale/", "Whale"),
        ("SamsungBrowser/", "Samsung Internet"),
        ("KAKAOTALK", "KakaoTalk"),
        ("Firefox/", "Firefox"),
        ("FxiOS/", "Firefox"),
        ("CriOS/", "Chrome"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ];
    const SYSTEMS: [(&str, &str); 7] = [
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("CrOS", "ChromeOS"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ];
    let known = |table: &[(&str, &'static str)]| {
        let found = table.iter().find(|(mark, _)| user_agent.contains(mark));
        found.map(|(_, name)| *name)
    };
    let parts: Vec<&str> = [known(&BROWSERS), known(&SYSTEMS)].into_iter().flatten().collect();
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn browsers_are_named_shortly() {
        let chrome =
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";
        let edge = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0";
        let phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.0 Mobile/15E148 Safari/604.1";
        assert_eq!(words(chrome), "Chrome · Linux");
        assert_eq!(words(edge), "Edge · Windows");
        assert_eq!(words(phone), "Safari · iPhone");
        assert_eq!(words("<script>alert(1)</script>"), "");
        assert_eq!(words(""), "");
    }
}
