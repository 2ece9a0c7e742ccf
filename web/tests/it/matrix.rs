//! Who may ask for what: every route of the application against everyone who could ask and everything they could name.
//!
//! The routes are the router's own list. A route without a line in [`LINES`] fails, and so does a line without a route.
//! Every refusal is exact; where a role is let in, the line names the statuses that may follow.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use actix_web::introspection::IntrospectionTree;
use actix_web::{App, web};
use assay_contest::wire::Claim;
use assay_web::controllers;
use assay_web::db::ids::UserId;
use assay_web::upload_token;
use reqwest::Method;
use serde_json::Value;
use uuid::Uuid;

use crate::desk::{Hand, submitted};
use crate::helpers::{Answer, Browser, TestApp};

/// What a line promises. The statuses are those of whoever is let in.
#[derive(Clone, Copy, Debug)]
enum For {
    /// Anyone, with or without a login or a token.
    Everyone(&'static [u16]),
    /// Whoever is logged in; the answer is about themselves.
    Members(&'static [u16]),
    /// Something of a team: its members. Others, and organizers unless they are named, get what a missing one gets: 404.
    Team {
        own: &'static [u16],
        organizers: Option<&'static [u16]>,
    },
    /// Something of one person: that person. Everyone else gets 404.
    Person(&'static [u16]),
    /// Organizers and admins. Others get 403 whatever they name; a missing object is 404.
    Organizers(&'static [u16]),
    /// Admins: organizers get 403 as everybody else.
    Admins(&'static [u16]),
    /// Workers, by their own credential.
    Workers(&'static [u16]),
    /// The attempt a job token was made for. Another's and a missing one are 404.
    Job(&'static [u16]),
}
use For::{Admins, Everyone, Job, Members, Organizers, Person, Team, Workers};

/// Seen by the team and by organizers.
const fn seen(statuses: &'static [u16]) -> For {
    Team {
        own: statuses,
        organizers: Some(statuses),
    }
}

/// Done by the team alone.
const fn done(own: &'static [u16]) -> For {
    Team { own, organizers: None }
}

/// Method, pattern, who. In the order of the router's list.
const LINES: &[(&str, &str, For)] = &[
    ("GET", "/", Everyone(&[200])),
    ("GET", "/account", Members(&[200])),
    ("GET", "/account/password", Everyone(&[303])),
    ("POST", "/account/password", Members(&[422])),
    ("POST", "/account/sessions/end", Members(&[303])),
    ("POST", "/account/sessions/{id}/end", Person(&[303])),
    ("GET", "/admin", Organizers(&[200])),
    ("GET", "/admin/audit", Organizers(&[200])),
    ("GET", "/admin/audit.csv", Organizers(&[200])),
    ("GET", "/admin/audit.json", Organizers(&[200])),
    ("GET", "/admin/contest", Organizers(&[200])),
    ("POST", "/admin/contest/adopt", Organizers(&[422])),
    ("POST", "/admin/contest/check", Organizers(&[200])),
    ("POST", "/admin/contest/preview", Organizers(&[422])),
    ("GET", "/admin/contest/versions/{version}", Organizers(&[200])),
    ("POST", "/admin/enrol", Organizers(&[200])),
    ("GET", "/admin/jobs/{id}", Organizers(&[200])),
    ("POST", "/admin/jobs/{id}/priority", Organizers(&[303])),
    ("GET", "/admin/queue", Organizers(&[200])),
    ("GET", "/admin/queue/rerun", Organizers(&[200])),
    ("POST", "/admin/queue/rerun", Organizers(&[409])),
    ("POST", "/admin/reveal", Organizers(&[409, 422])),
    ("GET", "/admin/submissions", Organizers(&[200])),
    ("GET", "/admin/submissions/{id}/cancel", Organizers(&[200])),
    ("POST", "/admin/submissions/{id}/cancel", Organizers(&[303, 409])),
    ("GET", "/admin/submissions/{id}/disqualify", Organizers(&[200])),
    ("POST", "/admin/submissions/{id}/disqualify", Organizers(&[422])),
    // A draft is not disqualified: there is nothing to take back.
    ("GET", "/admin/submissions/{id}/reinstate", Organizers(&[404])),
    ("POST", "/admin/submissions/{id}/reinstate", Organizers(&[303])),
    ("GET", "/admin/submissions/{id}/rerun", Organizers(&[200])),
    ("POST", "/admin/submissions/{id}/rerun", Organizers(&[303, 409])),
    ("GET", "/admin/teams", Organizers(&[200])),
    ("GET", "/admin/teams/{id}", Organizers(&[200])),
    ("GET", "/admin/teams/{id}/disqualify", Organizers(&[200])),
    ("POST", "/admin/teams/{id}/disqualify", Organizers(&[422])),
    ("POST", "/admin/teams/{id}/quota", Organizers(&[303])),
    ("GET", "/admin/teams/{id}/reinstate", Organizers(&[404])),
    ("POST", "/admin/teams/{id}/reinstate", Organizers(&[303])),
    ("GET", "/admin/users", Organizers(&[200])),
    ("GET", "/admin/users/{id}/role", Admins(&[200])),
    ("POST", "/admin/users/{id}/role", Admins(&[303])),
    ("GET", "/admin/users/{id}/sessions", Organizers(&[200])),
    ("POST", "/admin/users/{id}/sessions", Organizers(&[303])),
    ("GET", "/admin/workers", Organizers(&[200])),
    ("POST", "/admin/workers/{id}/drain", Organizers(&[303])),
    ("POST", "/admin/workers/{id}/resume", Organizers(&[303])),
    ("GET", "/admin/workers/{id}/revoke", Organizers(&[200])),
    ("POST", "/admin/workers/{id}/revoke", Organizers(&[303])),
    ("GET", "/api/v1/board", Everyone(&[200])),
    ("GET", "/api/v1/board/disqualified", Organizers(&[200])),
    ("POST", "/api/v1/precheck", Members(&[200, 400, 409, 422])),
    ("GET", "/api/v1/sealed", Everyone(&[404])),
    ("POST", "/api/v1/submissions", Members(&[201, 409, 422])),
    ("DELETE", "/api/v1/submissions/{id}", done(&[204])),
    ("GET", "/api/v1/submissions/{id}", seen(&[200])),
    ("PUT", "/api/v1/submissions/{id}/files/{name}", done(&[200, 201, 422])),
    ("POST", "/api/v1/submissions/{id}/submit", done(&[409, 422])),
    ("GET", "/api/v1/submissions/{id}/uploads", done(&[200])),
    ("GET", "/board.csv", Everyone(&[200])),
    ("GET", "/board.json", Everyone(&[200])),
    ("GET", "/board/events", Everyone(&[200])),
    ("GET", "/compare", Everyone(&[400, 404])),
    ("OPTIONS", "/files", Everyone(&[204])),
    ("POST", "/files", Members(&[400])),
    ("DELETE", "/files/{id}", done(&[204])),
    ("HEAD", "/files/{id}", done(&[200, 204])),
    ("OPTIONS", "/files/{id}", Everyone(&[204])),
    ("PATCH", "/files/{id}", done(&[204, 400, 409, 415])),
    ("POST", "/files/{id}", done(&[204, 400, 405, 409, 415])),
    ("GET", "/livez", Everyone(&[200])),
    ("POST", "/locale", Everyone(&[303, 400])),
    ("GET", "/login", Everyone(&[200, 303])),
    ("POST", "/login", Everyone(&[422])),
    ("POST", "/logout", Everyone(&[303])),
    ("GET", "/readyz", Everyone(&[200])),
    ("GET", "/reset", Everyone(&[200])),
    ("POST", "/reset", Everyone(&[200])),
    ("GET", "/reset/choose", Everyone(&[410])),
    ("POST", "/reset/choose", Everyone(&[410])),
    ("GET", "/signup", Everyone(&[200, 303])),
    ("POST", "/signup", Everyone(&[422])),
    ("GET", "/static/{digest}/{path:.*}", Everyone(&[200])),
    ("GET", "/submissions", Members(&[200])),
    ("GET", "/submissions/new", Members(&[200])),
    ("GET", "/submissions/{id}", seen(&[200])),
    ("GET", "/submissions/{id}/events", seen(&[200])),
    ("GET", "/submissions/{id}/outputs/{name}", seen(&[200])),
    ("GET", "/team", Members(&[200])),
    ("POST", "/team", Members(&[409, 422])),
    ("GET", "/team/join", Everyone(&[303])),
    ("POST", "/team/join", Members(&[409, 422])),
    ("GET", "/worker/v1/attempts/{id}/contest/{path:.*}", Job(&[200])),
    ("POST", "/worker/v1/attempts/{id}/heartbeat", Job(&[200, 400])),
    ("PUT", "/worker/v1/attempts/{id}/outputs/{name}", Job(&[204])),
    ("POST", "/worker/v1/attempts/{id}/release", Job(&[204, 400])),
    ("PUT", "/worker/v1/attempts/{id}/result", Job(&[400, 422])),
    ("GET", "/worker/v1/attempts/{id}/submission/{name}", Job(&[200])),
    ("POST", "/worker/v1/claim", Workers(&[200, 204])),
    // By a one-time token or a signature in the body; nothing else opens these.
    ("POST", "/worker/v1/challenge", Everyone(&[400])),
    ("POST", "/worker/v1/enrol", Everyone(&[400])),
    ("POST", "/worker/v1/session", Everyone(&[400])),
];

/// Lines that an upload token opens as well, for its own draft alone.
const BY_UPLOAD_TOKEN: &[(&str, &str)] = &[
    ("DELETE", "/api/v1/submissions/{id}"),
    ("PUT", "/api/v1/submissions/{id}/files/{name}"),
    ("POST", "/api/v1/submissions/{id}/submit"),
    ("GET", "/api/v1/submissions/{id}/uploads"),
    ("DELETE", "/files/{id}"),
    ("HEAD", "/files/{id}"),
    ("PATCH", "/files/{id}"),
    ("POST", "/files/{id}"),
];

/// Routes that answer several methods by one handler, or whose method the router's list cannot tell, would need a line
/// each; there are none.
pub async fn routes() -> BTreeSet<(String, String)> {
    async fn list(tree: web::Data<IntrospectionTree>) -> String {
        tree.report_as_json()
    }
    let app = App::new()
        .configure(controllers::configure)
        .route("/its-own-list", web::get().to(list));
    let app = actix_web::test::init_service(app).await;
    let ask = actix_web::test::TestRequest::get().uri("/its-own-list").to_request();
    let body = actix_web::test::call_and_read_body(&app, ask).await;
    let report: Vec<Value> = serde_json::from_slice(&body).unwrap();
    let mut routes = BTreeSet::new();
    for item in report {
        let path = item["full_path"].as_str().unwrap().to_owned();
        let methods: Vec<&str> = item["methods"]
            .as_array()
            .map(|methods| methods.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        if methods.is_empty() {
            // A scope is no route; a resource without a method guard would answer everything.
            assert_eq!(item["resource_type"], "scope", "{path} answers any method");
        }
        if path != "/its-own-list" {
            routes.extend(methods.iter().map(|method| ((*method).to_owned(), path.clone())));
        }
    }
    // One resource with two patterns: the list shows both methods under both, the handlers of `/files/{id}` need an id.
    for method in ["HEAD", "PATCH", "DELETE", "POST"] {
        if !LINES.iter().any(|(m, path, _)| (*m, *path) == (method, "/files")) {
            routes.remove(&(method.to_owned(), "/files".to_owned()));
        }
    }
    routes
}

#[actix_web::test]
async fn every_route_has_its_line_and_every_line_its_route() {
    let routes = routes().await;
    assert!(routes.len() > 40, "the router's list is read wrongly: {routes:?}");
    let lines: BTreeSet<(String, String)> = LINES
        .iter()
        .map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    assert_eq!(lines.len(), LINES.len(), "a line stands twice");
    let missing: Vec<_> = routes.difference(&lines).collect();
    assert!(missing.is_empty(), "routes without a line: {missing:#?}");
    let gone: Vec<_> = lines.difference(&routes).collect();
    assert!(gone.is_empty(), "lines without a route: {gone:#?}");
}

/// Someone who asks.
struct Who {
    name: &'static str,
    role: Role,
    browser: Browser,
    csrf: String,
    bearer: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    Anonymous,
    /// Logged in, in no team.
    Loner,
    /// In the team that owns.
    Owner,
    Organizer,
    /// Shows a worker's credential.
    Worker,
    /// Shows the job token of the owner's attempt.
    Job,
    /// Shows the upload token of yet another draft of the owner's team.
    Upload,
}

/// Which one is named.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Object {
    Own,
    Other,
    Missing,
}

/// What there is to name: of the team that asks and of another.
struct World {
    app: TestApp,
    /// Team, a member's account, a graded submission, a running attempt.
    teams: [Belongings; 2],
}

struct Belongings {
    team: Uuid,
    captain: Uuid,
    graded: String,
    claim: Claim,
}

impl World {
    async fn new() -> (World, Vec<Who>) {
        // Longer than the test takes on a busy machine: a lease that runs out would change what is asked about.
        let app = TestApp::spawn_with(|settings| settings.lease_seconds = 600).await;
        app.import_sample().await;
        let mut captains = [
            app.captain("captain", "Owners").await,
            app.captain("rival", "Rivals").await,
        ];
        let mut member = app.member("member").await;
        let code: String = sqlx::query_scalar("SELECT invite_code FROM teams WHERE name = 'Owners'")
            .fetch_one(&app.pool)
            .await
            .unwrap();
        assert_eq!(
            member.submit("/team", "/team/join", &[("code", &code)]).await.status,
            303
        );
        let hand = Hand::enrol(&app, "hand").await;
        let mut graded = Vec::new();
        for captain in &mut captains {
            let id = submitted(captain, "graded", "w4a16-gptq").await;
            let claim = hand.claim(5).await.unwrap();
            assert_eq!(claim.submission_id, id);
            let put = hand.request(Method::PUT, &claim, "outputs/results.json").body("{}");
            assert_eq!(put.send().await.unwrap().status(), 204);
            let outcome = crate::desk::graded(0.5, crate::desk::weight_of(&claim));
            assert_eq!(hand.put(&claim, outcome).await.status(), 200);
            graded.push(id);
        }
        let mut teams = Vec::new();
        let hands = [hand, Hand::enrol(&app, "second").await];
        for ((captain, graded), hand) in captains.iter_mut().zip(graded).zip(&hands) {
            submitted(captain, "running", "w4a16-gptq").await;
            let claim = hand.claim(5).await.unwrap();
            let (team, captain): (Uuid, Uuid) = sqlx::query_as(
                "SELECT m.team_id, m.user_id FROM memberships m JOIN submissions s ON s.team_id = m.team_id
                 WHERE s.id = $1 AND m.captain",
            )
            .bind(claim.submission_id.parse::<Uuid>().unwrap())
            .fetch_one(&app.pool)
            .await
            .unwrap();
            teams.push(Belongings {
                team,
                captain,
                graded,
                claim,
            });
        }
        let idle = Hand::enrol(&app, "idle").await;
        let teams: [Belongings; 2] = teams.try_into().ok().unwrap();

        let [captain, _] = captains;
        let admin = app.member("admin").await;
        sqlx::query("UPDATE users SET role = 'admin' WHERE name = 'admin'")
            .execute(&app.pool)
            .await
            .unwrap();
        let world = World { app, teams };
        let app = &world.app;
        let (another, _) = world.draft(0).await;
        let owner = UserId(world.teams[0].captain);
        let upload = upload_token::issue(&app.state.keys, another.parse().unwrap(), owner)
            .unwrap()
            .0;
        let job = world.teams[0].claim.token.clone();
        let people = [
            ("anonymous", Role::Anonymous, app.browser(), None),
            ("loner", Role::Loner, app.member("loner").await, None),
            ("member", Role::Owner, member, None),
            ("captain", Role::Owner, captain, None),
            ("organizer", Role::Organizer, app.organizer().await, None),
            ("admin", Role::Organizer, admin, None),
            ("worker", Role::Worker, app.browser(), Some(idle.key.clone())),
            ("job token", Role::Job, app.browser(), Some(job)),
            ("upload token", Role::Upload, app.browser(), Some(upload)),
        ];
        let mut who = Vec::new();
        for (name, role, mut browser, bearer) in people {
            let page = if bearer.is_none() && role != Role::Anonymous {
                "/team"
            } else {
                "/login"
            };
            let csrf = browser.token(page).await;
            who.push(Who {
                name,
                role,
                browser,
                csrf,
                bearer,
            });
        }
        (world, who)
    }

    /// A new draft with one file that has no byte yet: (submission, file).
    async fn draft(&self, side: usize) -> (String, String) {
        let (submission, file) = (Uuid::now_v7(), Uuid::now_v7());
        sqlx::query(
            "INSERT INTO submissions (id, contest_id, team_id, created_by, title)
             SELECT $1, contest_id, id, $3, 'draft' FROM teams WHERE id = $2",
        )
        .bind(submission)
        .bind(self.teams[side].team)
        .bind(self.teams[side].captain)
        .execute(&self.app.pool)
        .await
        .unwrap();
        sqlx::query(
            "INSERT INTO submission_files (id, submission_id, name, length, sha256_expected, expires_at)
             VALUES ($1, $2, 'config.json', 3, $3, now() + interval '1 hour')",
        )
        .bind(file)
        .bind(submission)
        .bind("0".repeat(64))
        .execute(&self.app.pool)
        .await
        .unwrap();
        (submission.to_string(), file.to_string())
    }

    /// A session of `side`'s captain, or of the one who asks.
    async fn session(&self, user: Uuid) -> String {
        let id: Uuid = sqlx::query_scalar(
            "INSERT INTO sessions (token_sha256, user_id, csrf_secret, expires_at)
             VALUES (sha256(gen_random_uuid()::text::bytea), $1, '', now() + interval '1 hour') RETURNING id",
        )
        .bind(user)
        .fetch_one(&self.app.pool)
        .await
        .unwrap();
        id.to_string()
    }

    async fn user(&self, name: &str) -> Uuid {
        let id = sqlx::query_scalar("SELECT id FROM users WHERE name = $1").bind(name);
        id.fetch_optional(&self.app.pool).await.unwrap().unwrap_or_default()
    }

    /// The address that names `object` in `pattern`, for `who`.
    async fn address(&self, pattern: &str, object: Object, who: &Who) -> String {
        let side = usize::from(object == Object::Other);
        let missing = Uuid::now_v7().to_string();
        let belongings = &self.teams[side];
        let id = if object == Object::Missing {
            missing
        } else if pattern.starts_with("/account/sessions") {
            let user = if object == Object::Own {
                self.user(who.name).await
            } else {
                belongings.captain
            };
            if user.is_nil() {
                missing
            } else {
                self.session(user).await
            }
        } else if pattern.starts_with("/files") {
            self.draft(side).await.1
        } else if pattern.starts_with("/admin/workers") {
            // A new one each time: what is revoked stays revoked.
            Hand::enrol(&self.app, "spare").await.id
        } else if pattern.starts_with("/admin/jobs") {
            belongings.claim.job_id.clone()
        } else if pattern.starts_with("/admin/teams") {
            belongings.team.to_string()
        } else if pattern.starts_with("/admin/users") {
            // Somebody new: what is done to them ends no session of those who ask here.
            self.somebody().await
        } else if pattern.starts_with("/worker/") {
            belongings.claim.attempt_id.clone()
        } else if pattern.contains("/outputs/") {
            belongings.graded.clone()
        } else {
            self.draft(side).await.0
        };
        if pattern.starts_with("/static/") {
            return assay_web::controllers::assets::url("css/base.css");
        }
        let name = if pattern.contains("/outputs/") {
            "results.json"
        } else {
            "config.json"
        };
        pattern
            .replace("{id}", &id)
            .replace("{name}", name)
            .replace("{path:.*}", "contest.toml")
            .replace("{version}", "1")
            .replace("/role", "/role?role=organizer")
    }

    /// A new account nobody is logged in to.
    async fn somebody(&self) -> String {
        let id = Uuid::now_v7();
        sqlx::query("INSERT INTO users (id, email, name, password_hash) VALUES ($1, $2, 'somebody', '')")
            .bind(id)
            .bind(format!("{id}@example.org"))
            .execute(&self.app.pool)
            .await
            .unwrap();
        id.to_string()
    }

    /// What the other team owns and how it stands, as one text. An organizer may change a job's place, so that is left out.
    async fn of_the_other_team(&self) -> String {
        sqlx::query_scalar(
            "SELECT coalesce(string_agg(concat_ws(' ', s.id, s.title, s.state, f::text, j.id, j.state), E'\\n' ORDER BY s.id, f.id, j.id), '')
             FROM submissions s
             LEFT JOIN submission_files f ON f.submission_id = s.id
             LEFT JOIN jobs j ON j.submission_id = s.id
             WHERE s.team_id = $1 AND s.title <> 'draft'",
        )
        .bind(self.teams[1].team)
        .fetch_one(&self.app.pool)
        .await
        .unwrap()
    }
}

/// A body that gets past parsing, so that the answer is about the right to ask.
fn body(method: &str, pattern: &str) -> (&'static str, String) {
    const FORM: &str = "application/x-www-form-urlencoded";
    let token = "0".repeat(64);
    match (method, pattern) {
        ("POST", "/api/v1/precheck") => ("application/json", "{}".into()),
        ("POST", "/api/v1/submissions") => ("application/json", r#"{"title":"x","files":[]}"#.into()),
        ("PUT", "/api/v1/submissions/{id}/files/{name}") => {
            ("application/json", format!(r#"{{"bytes":3,"sha256":"{token}"}}"#))
        }
        ("PATCH" | "POST", "/files/{id}") => ("application/offset+octet-stream", String::new()),
        ("POST" | "PUT", path) if path.starts_with("/worker/") || path.starts_with("/api/") => {
            ("application/json", "{}".into())
        }
        ("POST", "/account/password") => (FORM, "current=wrong&password=short".into()),
        ("POST", "/admin/reveal") => (FORM, "confirm=no".into()),
        ("POST", "/admin/contest/check") => ("application/json", r#"{"source":"x"}"#.into()),
        ("POST", "/admin/contest/adopt" | "/admin/contest/preview") => (FORM, "source=x&digest=x".into()),
        ("POST", "/admin/jobs/{id}/priority") => (FORM, "to=1".into()),
        ("POST", "/admin/queue/rerun") => (FORM, "expected=0".into()),
        ("POST", "/admin/teams/{id}/quota") => (FORM, "quota=".into()),
        ("POST", "/admin/users/{id}/role") => (FORM, "role=organizer".into()),
        ("POST", "/team") => (FORM, "name=".into()),
        ("POST", "/team/join") => (FORM, "code=0000-0000-0000".into()),
        // Another address each time: guesses at one account would be slowed down.
        ("POST", "/login") => (FORM, format!("email={}%40example.org&password=x", Uuid::now_v7())),
        ("POST", "/signup") => (FORM, "name=&email=&password=".into()),
        ("POST", "/reset") => (FORM, "email=x%40example.org".into()),
        ("POST", "/reset/choose") => (FORM, format!("token={token}&password=x")),
        ("POST", "/locale") => (FORM, "locale=en&next=/".into()),
        ("POST", _) => (FORM, String::new()),
        _ => ("", String::new()),
    }
}

impl Who {
    async fn ask(&self, method: &str, pattern: &str, address: &str) -> Answer {
        let address = if pattern == "/reset/choose" && method == "GET" {
            format!("{address}?token={}", "0".repeat(64))
        } else {
            address.to_owned()
        };
        let mut request = self
            .browser
            .request(method.parse().unwrap(), &address)
            .header("accept", "application/json")
            .header("x-csrf-token", &self.csrf);
        if pattern.starts_with("/files") {
            request = request.header("tus-resumable", "1.0.0").header("upload-offset", "0");
            if pattern == "/files/{id}" && method == "POST" {
                request = request.header("x-http-method-override", "PATCH");
            }
        }
        if let Some(bearer) = &self.bearer {
            request = request.bearer_auth(bearer);
        }
        let (kind, body) = body(method, pattern);
        if !kind.is_empty() {
            request = request.header("content-type", kind).body(body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        // A stream of events never ends; that it begins is the answer.
        let stream = headers
            .get("content-type")
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let text = if stream {
            String::new()
        } else {
            response.text().await.unwrap()
        };
        Answer { status, headers, text }
    }

    fn person(&self) -> bool {
        matches!(self.role, Role::Loner | Role::Owner | Role::Organizer)
    }
}

/// What `who` has to get for `object`: the statuses, all of them refusals or all of them not.
fn expected(route: (&str, &str), line: For, who: &Who, object: Object) -> &'static [u16] {
    const LOGIN: &[u16] = &[401];
    const FORBIDDEN: &[u16] = &[403];
    const NOTHING: &[u16] = &[404];
    match line {
        Everyone(statuses) => statuses,
        Members(statuses) if who.person() => statuses,
        // A client that speaks tus alone creates its uploads with the token.
        Members(statuses) if who.role == Role::Upload && route == ("POST", "/files") => statuses,
        Members(_) => LOGIN,
        Team { own, organizers } => match (who.role, object) {
            (Role::Upload, _) if BY_UPLOAD_TOKEN.contains(&route) => NOTHING,
            (_, _) if !who.person() => LOGIN,
            (_, Object::Missing) => NOTHING,
            (Role::Owner, Object::Own) => own,
            (Role::Organizer, _) => organizers.unwrap_or(NOTHING),
            _ => NOTHING,
        },
        Person(own) => match object {
            _ if !who.person() => LOGIN,
            Object::Own => own,
            _ => NOTHING,
        },
        Organizers(statuses) => match (who.role, object) {
            (_, _) if !who.person() => LOGIN,
            (Role::Organizer, Object::Missing) => NOTHING,
            (Role::Organizer, _) => statuses,
            _ => FORBIDDEN,
        },
        Admins(statuses) => match object {
            _ if !who.person() => LOGIN,
            _ if who.name != "admin" => FORBIDDEN,
            Object::Missing => NOTHING,
            _ => statuses,
        },
        Workers(statuses) if who.role == Role::Worker => statuses,
        Workers(_) => LOGIN,
        Job(statuses) => match (who.role, object) {
            (Role::Job, Object::Own) => statuses,
            (Role::Job, _) => NOTHING,
            _ => LOGIN,
        },
    }
}

/// An answer without what differs between any two: ids, times, tokens, and whether the line is kept after a body that nobody
/// read, which depends on how much of it had arrived.
fn shape(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let volatile = ["connection", "date", "x-request-id", "set-cookie"];
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| !volatile.contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
        .collect();
    headers.sort();
    let mut text = answer.text.clone();
    if let Ok(mut problem) = serde_json::from_str::<Value>(&text) {
        if let Some(id) = problem.get_mut("request_id") {
            assert_eq!(id.as_str(), answer.headers["x-request-id"].to_str().ok());
            *id = Value::Null;
        }
        text = problem.to_string();
    }
    (answer.status, headers, text)
}

#[tokio::test]
async fn everyone_gets_what_is_theirs_and_nothing_else() {
    let (world, mut everyone) = World::new().await;
    let before = world.of_the_other_team().await;
    let mut wrong = Vec::new();
    let mut asked = 0;
    for (method, pattern, line) in LINES {
        // A job token's own attempt ends with these; they come when everyone else has asked.
        let ends_it = pattern.ends_with("/release");
        let objects: &[Object] = if pattern.contains("{id}") {
            &[Object::Missing, Object::Other, Object::Own]
        } else {
            &[Object::Own]
        };
        for who in &mut everyone {
            let mut nothing = Vec::new();
            for object in objects {
                if ends_it && who.role == Role::Job && *object == Object::Own {
                    continue;
                }
                let allowed = expected((method, pattern), *line, who, *object);
                // An organizer's act on another team's submission is rightful and would change what is compared below.
                let address = world.address(pattern, *object, who).await;
                let answer = who.ask(method, pattern, &address).await;
                asked += 1;
                if !allowed.contains(&answer.status) {
                    wrong.push(format!(
                        "{method} {pattern} by {} for {object:?}: {} where {allowed:?} is right: {}",
                        who.name,
                        answer.status,
                        answer.text.chars().take(200).collect::<String>()
                    ));
                }
                if allowed == [404] || allowed == [403] || allowed == [401] {
                    nothing.push(shape(&answer));
                }
            }
            nothing.dedup();
            if nothing.len() > 1 {
                wrong.push(format!(
                    "{method} {pattern} by {}: the refusals differ: {nothing:#?}",
                    who.name
                ));
            }
            if *pattern == "/logout" && who.person() {
                let email = format!("{}@example.org", who.name);
                assert_eq!(who.browser.log_in(&email, crate::helpers::PASSWORD).await.status, 303);
                who.csrf = who.browser.token("/team").await;
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {asked} answers are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(asked > 700, "only {asked} questions were asked");
    assert_eq!(
        world.of_the_other_team().await,
        before,
        "nothing of the other team has changed"
    );
    let denied: i64 =
        sqlx::query_scalar("SELECT count(*) FROM audit_log WHERE action = 'access.denied' AND actor IS NOT NULL")
            .fetch_one(&world.app.pool)
            .await
            .unwrap();
    assert!(denied >= 10, "refused organizers' routes are on record: {denied}");
}

#[tokio::test]
async fn another_teams_object_takes_as_long_as_a_missing_one() {
    let (world, everyone) = World::new().await;
    let who = everyone.iter().find(|who| who.name == "member").unwrap();
    for (method, pattern) in [
        ("GET", "/submissions/{id}"),
        ("HEAD", "/files/{id}"),
        ("GET", "/submissions/{id}/outputs/{name}"),
    ] {
        let addresses = [
            world.address(pattern, Object::Other, who).await,
            world.address(pattern, Object::Missing, who).await,
        ];
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..21 {
            for (address, times) in addresses.iter().zip(&mut times) {
                let begun = Instant::now();
                assert_eq!(who.ask(method, pattern, address).await.status, 404);
                times.push(begun.elapsed());
            }
        }
        let [other, missing] = times.map(|mut times| {
            times.sort();
            times[times.len() / 2]
        });
        // Medians within a factor of two, or within what a loaded machine adds: neither reads a file or a hash more.
        let (fast, slow) = (other.min(missing), other.max(missing));
        assert!(
            slow < fast * 2 || slow - fast < Duration::from_millis(5),
            "{method} {pattern}: {other:?} for another team's, {missing:?} for a missing one"
        );
    }
}
