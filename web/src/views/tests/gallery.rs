//! Every page, in every state worth looking at.

use super::samples::{
    admin, at, board, compare, facts, member, organizer, page, problem, rejected, report, running, submission,
};
use crate::i18n::Locale;
use crate::views::*;
use askama::Template;

/// All pages of one language, by name.
pub fn all(locale: Locale) -> Vec<(&'static str, String)> {
    let quota = || QuotaView {
        used: 1,
        per_day: 3,
        resets: Some(at(299)),
    };
    let visitor = |path: &str| page(locale, path, None);
    let empty = |page: Page| BoardPage {
        rows: Vec::new(),
        total: 0,
        chart: None,
        rivals: Vec::new(),
        updated: None,
        ..board(page)
    };
    let error = |field: &str, message: &str| FieldError {
        field: field.into(),
        message: message.into(),
    };
    let graded = StagesFragment::new(
        locale,
        StageFacts {
            stage: "report".into(),
            finished: Some(at(5)),
            ..facts(SubmissionState::Graded)
        },
    );
    let stopped = StagesFragment::new(
        locale,
        StageFacts {
            stage: "verify".into(),
            finished: Some(at(4)),
            problem: Some(problem(locale)),
            ..facts(SubmissionState::Rejected)
        },
    );
    let queued = StagesFragment::new(
        locale,
        StageFacts {
            queue_ahead: Some(6),
            attempt: 0,
            worker: None,
            timings: vec![],
            ..facts(SubmissionState::Queued)
        },
    );
    let limits = UploadLimits {
        max_bytes: 8_589_934_592,
        max_files: 32,
        formats: vec!["dense".into(), "pack-quantized".into()],
        base_bytes: Some(5_122_464),
    };
    let new = |page: Page, gate: SubmitGate| {
        NewSubmissionPage {
            page,
            gate,
            limits: Some(limits.clone()),
            quota: Some(quota()),
            drafts: vec![DraftView {
                id: "0198c3a4-7d52-7c1e-9a60-3f1b2c4d5e6f".into(),
                title: "W4A16, <scales> in half".into(),
                created: Some(at(29)),
                files: vec![
                    DraftFile {
                        name: "config.json".into(),
                        bytes: 1_887,
                        received: 1_887,
                        sha256: "0f".repeat(32),
                    },
                    DraftFile {
                        name: "model.safetensors".into(),
                        bytes: 1_546_352,
                        received: 600_000,
                        sha256: "a1".repeat(32),
                    },
                ],
            }],
        }
        .render()
    };
    let row = |title: &str, state: SubmissionState, score: Option<f64>| SubmissionRow {
        id: "0198c3a4-7d52-7c1e-9a60-3f1b2c4d5e6f".into(),
        title: title.into(),
        state,
        received: (state != SubmissionState::Draft).then(|| at(30)),
        created: Some(at(29)),
        scheme: if state == SubmissionState::Draft {
            String::new()
        } else {
            "W4A16 g128 sym".into()
        },
        bytes: Some(1_546_352),
        score,
        out: title.starts_with("W8A16").then(|| DisqualifiedView {
            reason: "The same weights as another team's".into(),
            ..DisqualifiedView::default()
        }),
    };
    let submissions = SubmissionsPage {
        page: member(locale, "/submissions"),
        decimals: 4,
        out: None,
        rows: vec![
            row("", SubmissionState::Draft, None),
            row("W4A16 GPTQ, tied", SubmissionState::Running, None),
            row("W4A16 g128, asymmetric", SubmissionState::Queued, None),
            row("W8A16 per channel", SubmissionState::Graded, Some(3.3126)),
            row("drop1", SubmissionState::Rejected, None),
        ],
        quota: Some(quota()),
    };
    let team = TeamInfo {
        name: "Cupel".into(),
        invite_code: "hallmark-fineness-7q2k".into(),
        members: vec![
            MemberRow {
                name: locale.pick("Minseo Kim", "김민서").into(),
                captain: true,
                you: true,
                joined: Some(at(0)),
            },
            MemberRow {
                name: "Ada Assayer".into(),
                joined: Some(at(9)),
                ..MemberRow::default()
            },
        ],
    };
    let team_page = |page: Page, team: Option<TeamInfo>, errors: Vec<FieldError>| {
        TeamPage {
            page,
            team,
            name: String::new(),
            code: "hallmark".into(),
            errors,
        }
        .render()
    };
    let enrolment = EnrolmentView {
        token: "asy_enrol_8sKx".into(),
        command: "assay-worker run --server https://assay.example --data /var/lib/assay --enrol asy_enrol_8sKxT2mQ"
            .into(),
        expires: Some(at(120)),
    };
    [
        ("board", board(member(locale, "/")).render()),
        ("board-revealed", {
            let mut board = board(member(locale, "/"));
            board.sealing = Sealing::All;
            for (at, row) in board.rows.iter_mut().enumerate() {
                let rank = 4u32.checked_sub(at as u32).filter(|rank| *rank > 0);
                row.public = Some(PublicStanding { rank, score: row.score });
            }
            board.render()
        }),
        ("compare", compare(visitor("/compare")).render()),
        (
            "compare-none",
            ComparePage {
                rows: vec![],
                ..compare(visitor("/compare"))
            }
            .render(),
        ),
        (
            "board-none-found",
            BoardPage {
                rows: vec![],
                filter: BoardFilter {
                    q: "xyz".into(),
                    clear: "/".into(),
                    ..BoardFilter::default()
                },
                ..board(member(locale, "/?q=xyz"))
            }
            .render(),
        ),
        ("board-empty", empty(member(locale, "/")).render()),
        ("board-visitor", empty(visitor("/")).render()),
        (
            "board-no-contest",
            BoardPage {
                pinned: Vec::new(),
                ..empty(Page::new(locale, "/"))
            }
            .render(),
        ),
        (
            "signup",
            SignupPage {
                page: visitor("/signup"),
                name: "Minseo".into(),
                email: "minseo@example".into(),
                next: String::new(),
                by_mail: false,
                errors: vec![error(
                    "password",
                    locale.pick("At least 8 characters.", "8자 이상이어야 합니다."),
                )],
            }
            .render(),
        ),
        (
            "signup-by-mail",
            SignupPage {
                page: visitor("/signup"),
                name: String::new(),
                email: String::new(),
                next: String::new(),
                by_mail: true,
                errors: vec![],
            }
            .render(),
        ),
        (
            "mailed",
            MailedPage {
                page: visitor("/signup"),
                email: "minseo@example.org".into(),
                minutes: 60,
            }
            .render(),
        ),
        (
            "reset",
            ResetPage {
                page: visitor("/reset"),
                email: String::new(),
                works: true,
                errors: vec![],
            }
            .render(),
        ),
        (
            "reset-choose",
            ChoosePage {
                page: visitor("/reset/choose"),
                token: "0".repeat(64),
                email: "minseo@example.org".into(),
                signup: true,
                errors: vec![],
            }
            .render(),
        ),
        (
            "account",
            AccountPage {
                page: member(locale, "/account"),
                name: "Minseo".into(),
                email: "minseo@example.org".into(),
                sessions: [("Chrome · Linux", true), ("", false)]
                    .map(|(device, current)| SessionRow {
                        id: "01890000-0000-7000-8000-000000000000".into(),
                        device: device.into(),
                        network: "192.0.2.0/24".into(),
                        started: at(1),
                        seen: at(2),
                        current,
                    })
                    .into(),
                errors: vec![error("current", "Not it.")],
            }
            .render(),
        ),
        (
            "login",
            LoginPage {
                page: visitor("/login"),
                email: String::new(),
                next: "/team".into(),
                errors: vec![error(
                    "",
                    locale.pick(
                        "Email or password is not right.",
                        "이메일 또는 비밀번호가 맞지 않습니다.",
                    ),
                )],
            }
            .render(),
        ),
        ("team", team_page(member(locale, "/team"), Some(team), vec![])),
        ("team-none", {
            let message = locale.pick("No team has this code.", "이 코드를 쓰는 팀이 없습니다.");
            team_page(
                page(locale, "/team", Some(("Minseo", false, None))),
                None,
                vec![error("code", message)],
            )
        }),
        ("submissions", submissions.render()),
        (
            "submissions-empty",
            SubmissionsPage {
                rows: vec![],
                ..submissions
            }
            .render(),
        ),
        ("new", new(member(locale, "/submissions/new"), SubmitGate::Open)),
        (
            "new-no-team",
            new(
                page(locale, "/submissions/new", Some(("Minseo", false, None))),
                SubmitGate::NoTeam,
            ),
        ),
        (
            "new-closed",
            new(member(locale, "/submissions/new"), SubmitGate::Closed),
        ),
        (
            "submission-queued",
            submission(member(locale, "/submissions/0198"), queued, None).render(),
        ),
        ("submission-draft", {
            let start = StageFacts {
                received: None,
                attempt: 0,
                worker: None,
                timings: vec![],
                ..StageFacts::default()
            };
            submission(
                member(locale, "/submissions/0198"),
                StagesFragment::new(locale, start),
                None,
            )
            .render()
        }),
        (
            "submission-running",
            submission(member(locale, "/submissions/0198"), running(locale), None).render(),
        ),
        (
            "submission-graded",
            submission(organizer(locale, "/submissions/0198"), graded, Some(report(locale))).render(),
        ),
        (
            "submission-rejected",
            submission(member(locale, "/submissions/0198"), stopped, Some(rejected(locale))).render(),
        ),
        ("admin", admin(organizer(locale, "/admin")).render()),
        (
            "admin-empty",
            AdminPage {
                queue: vec![],
                recent: vec![],
                workers: vec![],
                enrolment: Some(enrolment),
                ..admin(organizer(locale, "/admin"))
            }
            .render(),
        ),
        (
            "error",
            ErrorPage {
                page: visitor("/nothing"),
                status: 404,
                code: "not-found".into(),
                message: locale
                    .pick("There is nothing at this address.", "이 주소에는 아무것도 없습니다.")
                    .into(),
                request_id: "0198c3a4".into(),
            }
            .render(),
        ),
    ]
    .into_iter()
    .map(|(name, html)| (name, html.expect(name)))
    .collect()
}
