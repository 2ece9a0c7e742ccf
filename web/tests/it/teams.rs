//! Making a team, joining one, and what others see of it.

use crate::helpers::TestApp;

/// The invitation code a member sees.
fn code(page: &str) -> String {
    let is_code = |word: &&str| {
        let parts: Vec<_> = word.split('-').collect();
        parts.len() == 3
            && parts
                .iter()
                .all(|part| part.len() == 4 && part.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()))
    };
    let mut words = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words
        .find(is_code)
        .unwrap_or_else(|| panic!("no invitation code in {page}"))
        .to_owned()
}

#[tokio::test]
async fn a_team_is_made_and_joined_by_its_code() {
    let app = TestApp::with_contest().await;
    let mut captain = app.member("captain").await;
    let made = captain.submit("/team", "/team", &[("name", "  눌러   담은 팀 ")]).await;
    assert_eq!(made.location(), "/team?done=created");
    let page = captain.get(made.location()).await.text;
    assert!(
        page.contains("눌러 담은 팀") && page.contains("Share its invitation code."),
        "{page}"
    );

    let mut friend = app.member("friend").await;
    let typed = format!(" {} ", code(&page).to_lowercase());
    let joined = friend.submit("/team", "/team/join", &[("code", &typed)]).await;
    assert_eq!(joined.location(), "/team?done=joined");
    let page = friend.get("/team").await.text;
    assert!(page.contains("눌러 담은 팀"), "{page}");
    let main = page.split("<main").nth(1).unwrap();
    assert!(
        main.find("captain").unwrap() < main.find("friend").unwrap(),
        "the captain comes first"
    );

    let record: Vec<String> = sqlx::query_scalar("SELECT action FROM audit_log WHERE action LIKE 'team.%' ORDER BY id")
        .fetch_all(&app.pool)
        .await
        .unwrap();
    assert_eq!(record, ["team.created", "team.joined"]);
}

#[tokio::test]
async fn wrong_codes_join_nothing_and_are_slowed_down() {
    let app = TestApp::with_contest().await;
    app.captain("captain", "Team").await;
    let mut stranger = app.member("stranger").await;
    for guess in ["", "0000-0000-0000", "가나다"] {
        let answer = stranger.submit("/team", "/team/join", &[("code", guess)]).await;
        assert_eq!(answer.status, 422);
        assert!(
            answer.text.contains("No team has this invitation code."),
            "{}",
            answer.text
        );
    }
    assert_eq!(stranger.get("/team/join").await.location(), "/team");
    let token = stranger.token("/team").await;
    let mut statuses = Vec::new();
    for _ in 0..55 {
        statuses.push(
            stranger
                .post_form("/team/join", &[("code", "0000-0000-0000"), ("csrf", &token)])
                .await
                .status,
        );
    }
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn names_are_one_team_each_in_a_contest() {
    let app = TestApp::with_contest().await;
    app.captain("captain", "Team One").await;
    let mut other = app.member("other").await;
    let answer = other.submit("/team", "/team", &[("name", "TEAM one")]).await;
    assert_eq!(answer.status, 422);
    assert!(
        answer.text.contains("Another team of this contest has this name."),
        "{}",
        answer.text
    );
    assert!(answer.text.contains("value=\"TEAM one\""), "what was typed stays");
    // The same Korean name, typed where syllables are stored as their letters.
    app.captain("third", "팀").await;
    let answer = other
        .submit("/team", "/team", &[("name", "\u{1110}\u{1175}\u{11b7}")])
        .await;
    assert!(
        answer.status == 422 && answer.text.contains("has this name"),
        "{}",
        answer.text
    );
    let answer = other.submit("/team", "/team", &[("name", "\u{200b}")]).await;
    assert!(
        answer.status == 422 && answer.text.contains("Enter a team name"),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn a_person_is_in_one_team() {
    let app = TestApp::with_contest().await;
    let mut captain = app.captain("captain", "One").await;
    let mut other = app.captain("other", "Two").await;
    let code = code(&other.get("/team").await.text);
    for (action, field, value) in [("/team", "name", "Three"), ("/team/join", "code", code.as_str())] {
        let answer = captain.submit("/team", action, &[(field, value)]).await;
        assert_eq!(answer.status, 409, "{}", answer.text);
        assert!(answer.text.contains("already-in-a-team"), "{}", answer.text);
    }
    // Nothing of the third team is left behind.
    let names: Vec<String> = sqlx::query_scalar("SELECT name FROM teams ORDER BY name")
        .fetch_all(&app.pool)
        .await
        .unwrap();
    assert_eq!(names, ["One", "Two"]);
}

#[tokio::test]
async fn the_code_and_the_members_are_for_members() {
    let app = TestApp::with_contest().await;
    let mut captain = app.captain("captain", "Secretive").await;
    let code = code(&captain.get("/team").await.text);
    let mut stranger = app.captain("stranger", "Other").await;
    for path in ["/team", "/", "/api/v1/board"] {
        let page = stranger.get(path).await.text;
        assert!(
            !page.contains(&code) && !page.contains(&code.replace('-', "")),
            "{path}"
        );
    }
    assert!(!stranger.get("/team").await.text.contains("captain@example.org"));
}

#[tokio::test]
async fn without_a_contest_there_is_nothing_to_join() {
    let app = TestApp::spawn().await;
    let mut browser = app.member("someone").await;
    let answer = browser.submit("/team", "/team", &[("name", "Early")]).await;
    assert_eq!(answer.status, 409);
    assert!(answer.text.contains("no-contest"), "{}", answer.text);
}
