//! Who may ask for what: every route of the application against everyone who could ask. A route without a line in the
//! table fails the test.

use std::collections::BTreeSet;
use std::fs;

use reqwest::Method;

use crate::helpers::{Browser, TestApp, repository};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum For {
    /// Anyone, logged in or not.
    Everyone,
    /// Whoever is logged in; what is not theirs is not there.
    Members,
    /// Organizers.
    Organizers,
    /// Admins: an organizer is not enough.
    Admins,
    /// Workers, by their key or job token; a person's session counts for nothing.
    Workers,
}
use For::{Admins, Everyone, Members, Organizers, Workers};

pub const ROUTES: &[(For, &str, &str)] = &[
    (Everyone, "GET", "/"),
    (Everyone, "GET", "/api/v1/board"),
    (Everyone, "GET", "/board.csv"),
    (Everyone, "GET", "/board.json"),
    (Everyone, "GET", "/board/events"),
    (Everyone, "GET", "/compare"),
    (Everyone, "GET", "/api/v1/sealed"),
    (Everyone, "GET", "/livez"),
    (Everyone, "GET", "/readyz"),
    (Everyone, "GET", "/static/{digest}/{path:.*}"),
    (Everyone, "GET", "/signup"),
    (Everyone, "POST", "/signup"),
    (Everyone, "GET", "/login"),
    (Everyone, "POST", "/login"),
    (Everyone, "POST", "/logout"),
    (Everyone, "POST", "/locale"),
    (Members, "GET", "/account"),
    (Everyone, "GET", "/account/password"),
    (Members, "POST", "/account/password"),
    (Members, "POST", "/account/sessions/end"),
    (Members, "POST", "/account/sessions/{id}/end"),
    (Everyone, "GET", "/reset"),
    (Everyone, "POST", "/reset"),
    (Everyone, "GET", "/reset/choose"),
    (Everyone, "POST", "/reset/choose"),
    (Members, "GET", "/team"),
    (Members, "POST", "/team"),
    (Everyone, "GET", "/team/join"),
    (Members, "POST", "/team/join"),
    (Members, "POST", "/api/v1/precheck"),
    (Members, "POST", "/api/v1/submissions"),
    (Members, "GET", "/api/v1/submissions/{id}"),
    (Members, "DELETE", "/api/v1/submissions/{id}"),
    (Members, "GET", "/api/v1/submissions/{id}/uploads"),
    (Members, "PUT", "/api/v1/submissions/{id}/files/{name}"),
    (Members, "POST", "/api/v1/submissions/{id}/submit"),
    (Everyone, "OPTIONS", "/files"),
    (Members, "POST", "/files"),
    (Members, "HEAD", "/files/{id}"),
    (Members, "PATCH", "/files/{id}"),
    (Members, "DELETE", "/files/{id}"),
    (Members, "GET", "/submissions"),
    (Members, "GET", "/submissions/new"),
    (Members, "GET", "/submissions/{id}"),
    (Members, "GET", "/submissions/{id}/events"),
    (Members, "GET", "/submissions/{id}/outputs/{name}"),
    (Organizers, "GET", "/admin"),
    (Organizers, "POST", "/admin/enrol"),
    (Organizers, "POST", "/admin/reveal"),
    (Organizers, "POST", "/admin/submissions/{id}/rerun"),
    (Organizers, "POST", "/admin/submissions/{id}/cancel"),
    (Organizers, "POST", "/admin/workers/{id}/drain"),
    (Organizers, "POST", "/admin/workers/{id}/resume"),
    (Organizers, "POST", "/admin/workers/{id}/revoke"),
    (Organizers, "GET", "/admin/workers/{id}/revoke"),
    (Organizers, "GET", "/admin/workers"),
    (Organizers, "GET", "/admin/queue"),
    (Organizers, "GET", "/admin/queue/rerun"),
    (Organizers, "POST", "/admin/queue/rerun"),
    (Organizers, "GET", "/admin/jobs/{id}"),
    (Organizers, "POST", "/admin/jobs/{id}/priority"),
    (Organizers, "GET", "/admin/submissions"),
    (Organizers, "GET", "/admin/submissions/{id}/rerun"),
    (Organizers, "GET", "/admin/submissions/{id}/cancel"),
    (Organizers, "GET", "/admin/submissions/{id}/disqualify"),
    (Organizers, "POST", "/admin/submissions/{id}/disqualify"),
    (Organizers, "GET", "/admin/submissions/{id}/reinstate"),
    (Organizers, "POST", "/admin/submissions/{id}/reinstate"),
    (Organizers, "GET", "/api/v1/board/disqualified"),
    (Organizers, "GET", "/admin/teams"),
    (Organizers, "GET", "/admin/teams/{id}"),
    (Organizers, "POST", "/admin/teams/{id}/quota"),
    (Organizers, "GET", "/admin/teams/{id}/disqualify"),
    (Organizers, "POST", "/admin/teams/{id}/disqualify"),
    (Organizers, "GET", "/admin/teams/{id}/reinstate"),
    (Organizers, "POST", "/admin/teams/{id}/reinstate"),
    (Organizers, "GET", "/admin/users"),
    (Organizers, "GET", "/admin/users/{id}/sessions"),
    (Organizers, "POST", "/admin/users/{id}/sessions"),
    (Organizers, "GET", "/admin/contest"),
    (Organizers, "POST", "/admin/contest/check"),
    (Organizers, "POST", "/admin/contest/preview"),
    (Organizers, "POST", "/admin/contest/adopt"),
    (Organizers, "GET", "/admin/contest/versions/{version}"),
    (Organizers, "GET", "/admin/audit"),
    (Organizers, "GET", "/admin/audit.csv"),
    (Organizers, "GET", "/admin/audit.json"),
    (Admins, "GET", "/admin/users/{id}/role"),
    (Admins, "POST", "/admin/users/{id}/role"),
    (Workers, "POST", "/worker/v1/claim"),
    (Workers, "POST", "/worker/v1/attempts/{id}/heartbeat"),
    (Workers, "GET", "/worker/v1/attempts/{id}/submission/{name}"),
    (Workers, "GET", "/worker/v1/attempts/{id}/contest/{path:.*}"),
    (Workers, "PUT", "/worker/v1/attempts/{id}/outputs/{name}"),
    (Workers, "PUT", "/worker/v1/attempts/{id}/result"),
    (Workers, "POST", "/worker/v1/attempts/{id}/release"),
];

/// Opened by a one-time token or a signature in its body; tested where enrolment is.
const BY_TOKEN: &[&str] = &["/worker/v1/enrol", "/worker/v1/challenge", "/worker/v1/session"];

/// What a person gets, or `None` for "it is answered, and not by a refusal of the person".
async fn refusal(browser: &mut Browser, token: &str, method: &str, path: &str) -> Option<u16> {
    let id = "01890000-0000-7000-8000-000000000000";
    let path = path
        .replace("{id}", id)
        .replace("{name}", "config.json")
        .replace("{digest}", "x")
        .replace("{path:.*}", "x");
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = browser
        .request(method, &path)
        .header("accept", "text/html")
        .header("x-csrf-token", token);
    let request = if path.starts_with("/files/") {
        request.header("tus-resumable", "1.0.0")
    } else {
        request
    };
    // An event stream that opens would never end.
    let wait = std::time::Duration::from_secs(if path.ends_with("/events") { 1 } else { 20 });
    let Ok(answer) = tokio::time::timeout(wait, browser.send(request)).await else {
        return None;
    };
    match answer.status {
        401 | 403 => Some(answer.status),
        303 if answer.header("location").starts_with("/login") => Some(401),
        200..500 => None,
        other => panic!("{path}: {other} {}", answer.text),
    }
}

#[tokio::test]
async fn everyone_gets_what_is_theirs_to_get() {
    let app = TestApp::with_contest().await;
    let mut organizer = app.organizer().await;
    for (audience, method, path) in ROUTES {
        // New people each time: some of these routes log them out.
        let (mut stranger, mut member, mut boss) = (app.browser(), member_of(&app).await, organizer.clone());
        let mut seen = Vec::new();
        for browser in [&mut stranger, &mut member, &mut boss] {
            let token = browser.token("/").await;
            seen.push(refusal(browser, &token, method, path).await);
        }
        let expected = match audience {
            Everyone => [None, None, None],
            Members => [Some(401), None, None],
            Organizers => [Some(401), Some(403), None],
            Admins => [Some(401), Some(403), Some(403)],
            Workers => [Some(401), Some(401), Some(401)],
        };
        assert_eq!(seen, expected, "{audience:?} {method} {path}");
        if path == &"/logout" {
            organizer
                .log_in("organizer@example.org", crate::helpers::PASSWORD)
                .await;
        }
    }
}

/// Someone with a fresh session.
async fn member_of(app: &TestApp) -> Browser {
    let mut browser = app.browser();
    if browser
        .log_in("member@example.org", crate::helpers::PASSWORD)
        .await
        .status
        != 303
    {
        browser = app.member("member").await;
    }
    browser
}

#[test]
fn every_route_is_in_the_table() {
    let mut declared = BTreeSet::new();
    let folder = repository().join("web/src/controllers");
    let files = [folder.clone(), folder.join("admin")]
        .into_iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|file| file.unwrap().path())
        // What answers on the listener for metrics is not of this application.
        .filter(|path| path.is_file() && !path.ends_with("metrics.rs"));
    for file in files {
        let source = fs::read_to_string(file).unwrap();
        let scope = source
            .split("web::scope(\"")
            .nth(1)
            .map_or("", |rest| rest.split('"').next().unwrap());
        let spaceless: String = source.split_whitespace().collect();
        for opening in ["resource(", ".route("] {
            for rest in spaceless.split(opening).skip(1) {
                let arguments = rest.trim_start_matches('[');
                for literal in arguments.split('"').skip(1).step_by(2) {
                    if !literal.starts_with('/') {
                        break;
                    }
                    let scope = if literal.starts_with("/attempts")
                        || ["/enrol", "/challenge", "/session", "/claim"].contains(&literal)
                    {
                        scope
                    } else {
                        ""
                    };
                    declared.insert(format!("{scope}{literal}"));
                    if !rest.starts_with('[') {
                        break;
                    }
                }
            }
        }
    }
    assert!(declared.len() > 30, "the sources are read wrongly: {declared:?}");
    let known: BTreeSet<_> = ROUTES
        .iter()
        .map(|(_, _, path)| *path)
        .chain(BY_TOKEN.iter().copied())
        .collect();
    let unknown: Vec<_> = declared.iter().filter(|path| !known.contains(path.as_str())).collect();
    assert!(unknown.is_empty(), "routes without a line in the table: {unknown:?}");
    let gone: Vec<_> = known.iter().filter(|path| !declared.contains(**path)).collect();
    assert!(gone.is_empty(), "lines for routes that are gone: {gone:?}");
}
