//! The board: a pure function of stored results and rules.

use assay_contest::wire::{Outcome, Round, Stage, TimeTrack};
use assay_contest::{Certificate, Workload};
use assay_web::boards::Boards;
use assay_web::db::contests;
use serde_json::{Value, json};

use crate::desk::{Hand, graded, graded_by_document, run, submitted, weight_of};
use crate::helpers::{TestApp, sample_elsewhere};

/// Imports the sample contest with another formula and floor.
async fn import_with(app: &TestApp, formula: &str, judge: &str) {
    let file = app.data.path().join("contest.toml");
    let rules = sample_elsewhere()
        .replace("formula = \"base.bytes / bytes\"", &format!("formula = \"{formula}\""))
        .replace("at_least = 0.75\n", &format!("at_least = 0.75\njudge = \"{judge}\"\n"));
    std::fs::write(&file, rules).unwrap();
    assay_web::ingest::import_contest(&app.pool, &app.state.storage, &file, None)
        .await
        .unwrap();
}

/// 100 documents, all right but for these.
fn but(wrong: std::ops::Range<usize>) -> Vec<bool> {
    (0..100).map(|at| !wrong.contains(&at)).collect()
}

#[tokio::test]
async fn bands_and_intervals_say_what_the_documents_do_not() {
    let app = TestApp::spawn().await;
    import_with(&app, "acc.mini_gsm.exact_match.flexible-extract", "lower-bound").await;
    let hand = Hand::enrol(&app, "only").await;
    // Two that cannot be told apart, one that is surely worse than both, one whose value passes the floor by luck.
    for (name, fixture, wrong) in [
        ("Team A", "w4a16-gptq", 0..3),
        ("Team B", "w4a16-asym", 2..6),
        ("Team C", "w8a16", 50..66),
        ("Team D", "untied-w4a16", 0..23),
    ] {
        let captain = name.replace(' ', "").to_lowercase();
        submitted(&mut app.captain(&captain, name).await, "one", fixture).await;
        let claim = hand.claim(5).await.unwrap();
        let Outcome::Graded { mut report } = graded_by_document(&but(wrong), weight_of(&claim)) else {
            unreachable!()
        };
        report.certificate = Some(Certificate::default().seal());
        assert_eq!(hand.put(&claim, Outcome::Graded { report }).await.status(), 200);
    }
    let mut nobody = app.browser();
    let answer = nobody.get_json("/api/v1/board").await;
    let board = answer.json();
    let rows = board["rows"].as_array().unwrap();
    let told: Vec<(Value, Value)> = rows
        .iter()
        .map(|row| (row["rank"].clone(), row["band"].clone()))
        .collect();
    let band = |best: u32, worst: u32| json!({ "best": best, "worst": worst });
    assert_eq!(
        told,
        [
            (json!(1), band(1, 2)),
            (json!(2), band(1, 2)),
            (json!(3), band(3, 3)),
            (Value::Null, Value::Null),
        ]
    );
    let interval = |row: &Value| {
        let ends = &row["intervals"]["acc.mini_gsm.exact_match.flexible-extract"];
        (ends[0].as_f64().unwrap(), ends[1].as_f64().unwrap())
    };
    let (low, high) = interval(&rows[0]);
    assert!(low > 0.91 && low < 0.92 && high > 0.98 && high < 1.0, "{low} {high}");
    // 0.77 passes 0.75, the lower end of its interval does not, and that is the number shown.
    let standing = &rows[3]["standing"];
    assert_eq!(
        (&standing["kind"], &standing["value"]),
        (&json!("below-floor"), &json!(0.77))
    );
    assert_eq!(standing["bound"].as_f64(), Some(interval(&rows[3]).0));
    let page = nobody.get("/").await.text;
    for part in [
        ">1–2<",
        "href=\"/compare?a=",
        "0.915 – 0.990",
        "lower bound of",
        "0.6785",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert_eq!(rows[0]["certificate"], Certificate::default().seal().digest);
    assert_eq!(
        board["resolution"]["measures"]["acc.mini_gsm.exact_match.flexible-extract"], 0.06,
        "six documents of a hundred"
    );

    // A process that has just started computes the same bytes.
    let contest = contests::current(&app.pool).await.unwrap().unwrap();
    let again = Boards::default().of(&app.state, &contest).await.unwrap();
    assert_eq!(again.body.bytes, answer.text);
}

#[tokio::test]
async fn a_score_by_time_stands_beside_its_spread_and_the_rounds_are_for_everybody_to_check() {
    let app = TestApp::spawn().await;
    let file = app.data.path().join("contest.toml");
    let rules = sample_elsewhere().replace("formula = \"base.bytes / bytes\"", "formula = \"1 / time_ratio\"");
    let time = "\n[grading.time]\nprompt_tokens = 64\ngenerated_tokens = 16\nsequences = 4\n";
    std::fs::write(&file, rules + time).unwrap();
    assay_web::ingest::import_contest(&app.pool, &app.state.storage, &file, None)
        .await
        .unwrap();
    let hand = Hand::enrol(&app, "only").await;
    let mut ann = app.captain("ann", "Team A").await;
    let id = submitted(&mut ann, "one", "w4a16-gptq").await;
    let claim = hand.claim(5).await.unwrap();
    hand.beat(&claim, Stage::Time, 3).await;
    let running = ann.get(&format!("/submissions/{id}")).await.text;
    assert!(
        running.contains("data-stage=\"time\" data-state=\"running\""),
        "{running}"
    );

    let Outcome::Graded { mut report } = graded(0.9, weight_of(&claim)) else {
        unreachable!()
    };
    let rounds = [(2.0, 1.0), (2.0, 0.75), (4.0, 3.0), (2.0, 1.0), (2.0, 0.5)];
    let track = TimeTrack {
        workload: Workload {
            prompt_tokens: 64,
            generated_tokens: 16,
            sequences: 4,
            rounds: 5,
        },
        device: "cpu (avx2)".into(),
        host: "test bench".into(),
        rounds: rounds.map(|(base, submission)| Round { base, submission }).to_vec(),
    };
    track.add_measures(&mut report.measures);
    report.time_track = Some(track);
    assert_eq!(hand.put(&claim, Outcome::Graded { report }).await.status(), 200);

    let mut nobody = app.browser();
    let board = nobody.get_json("/api/v1/board").await.json();
    let row = &board["rows"][0];
    assert_eq!((&row["score"], &row["rank"]), (&json!(2.0), &json!(1)));
    let measured = |name: &str| row["measures"][name].as_f64().unwrap();
    assert_eq!(
        ["time_ratio_low", "time_ratio", "time_ratio_high"].map(measured),
        [0.25, 0.5, 0.75]
    );
    assert_eq!(board["base"]["score"], 1.0, "it is what submissions are timed against");
    let page = nobody.get("/").await.text;
    for part in [
        "0.5000",
        "0.250 – 0.750",
        "each of 4 sequences at once",
        "slowest round",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    let own = ann.get(&format!("/submissions/{id}")).await.text;
    assert_eq!(
        own.matches("0.250 – 0.750").count(),
        2,
        "beside the formula and in the time track"
    );
    let answer = ann.get_json(&format!("/api/v1/submissions/{id}")).await.json();
    let told = &answer["result"]["report"]["time_track"];
    assert_eq!(told["rounds"][2], json!({"base": 4.0, "submission": 3.0}));
    assert_eq!(told["host"], "test bench");
}

#[tokio::test]
async fn ranks_floors_best_of_a_team_and_the_etag() {
    let app = TestApp::with_contest().await;
    let hand = Hand::enrol(&app, "only").await;
    let mut nobody = app.browser();
    let empty = nobody.get_json("/api/v1/board").await;
    assert_eq!((empty.status, empty.json()["rows"].clone()), (200, json!([])));
    assert_eq!(empty.json()["base"]["bytes"], 5_042_016);

    // Team A: 4 bits; Team B: 8 bits, then 4 bits below the floor; Team C: below the floor only.
    let mut teams = [
        app.captain("ann", "Team A").await,
        app.captain("bob", "Team B").await,
        app.captain("cho", "팀 C").await,
    ];
    for (team, title, fixture, accuracy) in [
        (0, "a1", "w4a16-gptq", 0.86),
        (1, "b1", "w8a16", 0.88),
        (1, "b2", "w4a16-gptq", 0.70),
        (2, "c1", "w4a16-asym", 0.74),
    ] {
        submitted(&mut teams[team], title, fixture).await;
        hand.grade(accuracy).await;
    }
    let [mut a, _, mut c] = teams;
    let answer = nobody.get_json("/api/v1/board").await;
    let board = answer.json();
    let rows: Vec<(Value, Value, Value)> = board["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["rank"].clone(), row["team"].clone(), row["title"].clone()))
        .collect();
    assert_eq!(
        rows,
        [
            (json!(1), json!("Team A"), json!("a1")),
            (json!(2), json!("Team B"), json!("b1")),
            (Value::Null, json!("팀 C"), json!("c1")),
        ]
    );
    let first = &board["rows"][0];
    assert_eq!(first["bytes"], 1_546_352);
    assert_eq!(first["score"], json!(3.2606), "5042016 / 1546352, rounded as shown");
    assert_eq!(board["rows"][2]["standing"]["kind"], "below-floor");
    assert!(!answer.text.contains("team_id"));

    // The same stored results give the same bytes; a change gives others.
    let etag = answer.header("etag").to_owned();
    assert_eq!(nobody.get_json("/api/v1/board").await.text, answer.text);
    let ask = |tag: String| {
        nobody
            .request(reqwest::Method::GET, "/api/v1/board")
            .header("if-none-match", tag)
    };
    let (same, other) = (ask(etag.clone()), ask("\"other\"".into()));
    let same = nobody.send(same).await;
    assert_eq!(
        (same.status, same.text.as_str(), same.header("etag")),
        (304, "", etag.as_str())
    );
    assert_eq!(nobody.send(other).await.status, 200);
    submitted(&mut c, "c2", "w4a16-asym").await;
    assert_eq!(
        nobody.get_json("/api/v1/board").await.header("etag"),
        etag,
        "a waiting submission changes nothing"
    );
    hand.grade(0.9).await;
    let ask = nobody
        .request(reqwest::Method::GET, "/api/v1/board")
        .header("if-none-match", etag.clone());
    let after = nobody.send(ask).await;
    assert_eq!(after.status, 200);
    assert_ne!(after.header("etag"), etag);
    assert_eq!(
        after.json()["rows"][1]["title"],
        "c2",
        "the asymmetric one is a little larger than the first"
    );

    let page = nobody.get("/").await;
    assert_eq!(page.status, 200);
    for part in ["Team A", "Team B", "팀 C", "1,546,352", "3.2606"] {
        assert!(page.text.contains(part), "{part} in {}", page.text);
    }
    assert!(
        !page.text.contains("/submissions/0"),
        "visitors are led to no submission"
    );
    let page = a.get("/").await;
    assert!(
        page.text
            .contains(&format!("/submissions/{}", first["submission"].as_str().unwrap()))
    );
}

#[tokio::test]
async fn what_was_not_measured_cannot_rank() {
    let app = TestApp::with_contest().await;
    let hand = Hand::enrol(&app, "only").await;
    let mut a = app.captain("ann", "Team A").await;
    submitted(&mut a, "a1", "w4a16-gptq").await;
    hand.grade(0.86).await;
    run(
        &app,
        "UPDATE results SET report = report #- '{measures,acc.mini_gsm.exact_match.flexible-extract}'",
    )
    .await;
    let board = a.get_json("/api/v1/board").await.json();
    assert_eq!(
        (
            board["rows"][0]["rank"].clone(),
            board["rows"][0]["standing"]["kind"].clone()
        ),
        (Value::Null, json!("unscored"))
    );
    assert!(
        board["rows"][0]["standing"]["reason"]["ko"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    );
}

#[tokio::test]
async fn a_re_run_replaces_the_score_only_when_it_has_one() {
    let app = TestApp::with_contest().await;
    let (first, second) = (Hand::enrol(&app, "first").await, Hand::enrol(&app, "second").await);
    let mut a = app.captain("ann", "Team A").await;
    let id = submitted(&mut a, "a1", "w4a16-gptq").await;
    first.grade(0.86).await;
    let before = a.get_json("/api/v1/board").await.text;

    let mut organizer = app.organizer().await;
    let rerun = format!("/admin/submissions/{id}/rerun");
    let token = a.token("/team").await;
    assert_eq!(
        a.post_form(&rerun, &[("csrf", &token)]).await.status,
        403,
        "teams do not re-run"
    );
    assert!(
        organizer
            .submit("/admin", &rerun, &[])
            .await
            .location()
            .starts_with("/admin")
    );
    assert_eq!(
        organizer.submit("/admin", &rerun, &[]).await.status,
        409,
        "one live job a submission"
    );
    assert_eq!(
        a.get_json("/api/v1/board").await.text,
        before,
        "the old score stands meanwhile"
    );
    let record: Value = crate::desk::value(
        &app,
        "SELECT to_jsonb(a) FROM audit_log a WHERE action = 'submission.rerun'",
    )
    .await;
    assert_eq!(record["object"], format!("submission:{id}"));
    assert!(record["actor"].is_string());

    // The platform fails at it: nothing is lost.
    let claim = first.claim(5).await.unwrap();
    assert_eq!(
        first
            .put(
                &claim,
                crate::desk::failed(assay_contest::wire::FailureClass::Submission)
            )
            .await
            .status(),
        200
    );
    assert_eq!(a.get_json("/api/v1/board").await.text, before);
    assert_eq!(
        a.get_json(&format!("/api/v1/submissions/{id}")).await.json()["state"],
        "graded"
    );

    organizer.submit("/admin", &rerun, &[]).await;
    let claim = second.claim(5).await.unwrap();
    assert_eq!(second.put(&claim, graded(0.91, 1_546_352)).await.status(), 200);
    let board = a.get_json("/api/v1/board").await.json();
    assert_eq!(board["rows"].as_array().unwrap().len(), 1);
    assert_eq!(
        board["rows"][0]["measures"]["acc.mini_gsm.exact_match.flexible-extract"],
        0.91
    );
    assert_eq!(crate::desk::value::<i64>(&app, "SELECT count(*) FROM results").await, 2);
}

/// `n` teams of different size and accuracy, graded long ago.
async fn crowd(app: &TestApp, n: i32) {
    sqlx::query(include_str!("../../../tests/fixtures/crowd.sql"))
        .bind(n)
        .execute(&app.pool)
        .await
        .unwrap();
    app.state.boards.changed();
}

/// The teams of a page in its order.
fn teams(page: &str) -> Vec<&str> {
    page.split("data-team=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect()
}

#[tokio::test]
async fn the_address_sorts_filters_and_draws() {
    let app = TestApp::with_contest().await;
    crowd(&app, 7).await;
    let mut nobody = app.browser();
    let base = "tiny Exaone4 (4 layers, 5 MB)";
    let page = nobody.get("/").await;
    assert_eq!(page.status, 200);
    assert_eq!(
        teams(&page.text),
        [
            base, "Team 1", "Team 2", "Team 3", "Team 4", "Team 5", "Team 6", "Team 7"
        ]
    );
    assert!(
        page.text.contains("class=\"rank\" aria-sort=\"ascending\""),
        "sorted by rank"
    );
    // What the contest does not show but every grade has: memory, in its unit.
    assert!(
        page.text.contains("1.00 GB") && page.text.contains(">Memory<"),
        "{}",
        page.text
    );
    let down = nobody.get("/?sort=-bytes&ranked=1").await;
    assert_eq!(
        teams(&down.text)[..3],
        [base, "Team 7", "Team 6"],
        "the base stays on top"
    );
    assert!(
        down.text
            .contains("aria-sort=\"descending\"><a href=\"/?sort=bytes&#38;ranked=1\""),
        "{}",
        down.text
    );
    let best = nobody
        .get("/?sort=-acc.mini_gsm.exact_match.flexible-extract&q=team+")
        .await;
    assert_eq!(teams(&best.text)[1..3], ["Team 7", "Team 6"]);
    let one = nobody.get("/?q=NUMBER%203").await;
    assert_eq!(teams(&one.text), [base, "Team 3"]);
    assert!(one.text.contains("1 of 7 teams"), "{}", one.text);
    let none = nobody.get("/?q=%3Cscript%3E").await;
    assert_eq!(teams(&none.text), [base]);
    assert!(none.text.contains("No team matches") && !none.text.contains("<script>"));
    // The drawing: everyone is in it, whatever the table is filtered by, and leads to its row.
    let row = page.text.split("id=\"s-").nth(1).unwrap().split('"').next().unwrap();
    assert!(one.text.contains(&format!("href=\"#s-{row}\"")), "{row}");
    assert_eq!(
        one.text.matches("<a class=\"point ").count(),
        8,
        "seven teams and the base"
    );
    assert!(one.text.contains("<svg") && !one.text.contains("style=\""));
    let other = nobody.get("/?chart=acc.mini_wino.acc.none").await;
    assert!(other.text.contains("mini_wino against size"));
}

#[tokio::test]
async fn references_stand_beside_the_base() {
    let app = TestApp::spawn().await;
    let file = app.data.path().join("contest.toml");
    let reference = "\n[[references]]\nname = \"=GPTQ, by us\"\nbytes = 2000000\n\
        source = { en = \"Measured by us.\", ko = \"직접 측정\" }\n[references.measures]\n\
        acc.mini_gsm.exact_match.flexible-extract = 0.6484\n\
        acc_stderr.mini_gsm.exact_match.flexible-extract = 0.0211\nitems.mini_gsm = 512\n";
    std::fs::write(&file, sample_elsewhere() + reference).unwrap();
    assay_web::ingest::import_contest(&app.pool, &app.state.storage, &file, None)
        .await
        .unwrap();
    crowd(&app, 2).await;
    let mut nobody = app.browser();
    let board = nobody.get_json("/api/v1/board").await.json();
    let row = &board["references"][0];
    assert_eq!(
        (&row["name"], &row["bytes"], &row["score"]),
        (&json!("=GPTQ, by us"), &json!(2_000_000), &json!(2.521))
    );
    let ends = &row["intervals"]["acc.mini_gsm.exact_match.flexible-extract"];
    assert!(
        ends[0].as_f64().is_some_and(|low| (low - 0.606).abs() < 0.001),
        "{ends}"
    );
    let page = nobody.get("/").await.text;
    assert_eq!(teams(&page)[1], "=GPTQ, by us");
    assert!(
        page.contains("title=\"Measured by us.\"") && page.contains("0.606 – 0.688"),
        "{page}"
    );

    let answer = nobody.get("/board.csv").await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "text/csv; charset=utf-8")
    );
    assert!(answer.header("content-disposition").starts_with("attachment"));
    let text = answer.text.strip_prefix('\u{feff}').expect("a mark");
    let lines: Vec<&str> = text.trim_end().split("\r\n").collect();
    assert_eq!(lines.len(), 5);
    assert!(
        lines[0].starts_with("kind,rank,band_best,band_worst,team,title,submission,score,standing,bytes,"),
        "{}",
        lines[0]
    );
    assert!(lines[2].starts_with("reference,,,,\"'=GPTQ, by us\","), "{}", lines[2]);
    assert!(
        lines[3].starts_with("team,1,") && lines[3].contains(",Team 1,W4A16 number 1,"),
        "{}",
        lines[3]
    );
    // Cells in quotes are those with a comma in a name.
    let count = |line: &str| {
        let outside = line.split('"').step_by(2);
        outside.map(|part| part.matches(',').count()).sum::<usize>()
    };
    assert!(lines.iter().all(|line| count(line) == count(lines[0])), "{text}");
    let tag = answer.header("etag").to_owned();
    let ask = nobody
        .request(reqwest::Method::GET, "/board.csv")
        .header("if-none-match", tag);
    assert_eq!(nobody.send(ask).await.status, 304);
}

/// How fast is `tests/bench`'s to say.
#[tokio::test]
async fn six_hundred_teams_stand_on_one_board() {
    let app = TestApp::with_contest().await;
    crowd(&app, 600).await;
    assert_eq!(teams(&app.browser().get("/").await.text).len(), 601);
    let first = app.browser().get_json("/api/v1/board").await;
    let rows = first.json()["rows"].as_array().unwrap().len();
    assert_eq!(rows, 600);
    let again = app.browser().get_json("/api/v1/board").await;
    assert!(first.text == again.text && first.header("etag") == again.header("etag"));
}
