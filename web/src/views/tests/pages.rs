//! Every page renders in both languages, says what it should, and is well-formed enough to be trusted with data of others.

use super::gallery::all;
use super::samples::{board, facts, member, page, report, running, submission};
use crate::i18n::Locale;
use crate::outcomes::Shown;
use crate::views::*;
use askama::Template;

#[test]
fn every_page_renders_in_both_languages() {
    for locale in Locale::ALL {
        for (name, html) in all(locale) {
            assert!(html.contains(&format!("<html lang=\"{}\"", locale.code())), "{name}");
            assert_eq!(
                html.matches("<h1>").count(),
                1,
                "{name} needs one heading of the first order"
            );
            balanced(name, &html);
            if let Some(folder) = std::env::var_os("ASSAY_PREVIEW") {
                let path = std::path::Path::new(&folder).join(format!("{name}.{}.html", locale.code()));
                std::fs::write(path, html).expect("preview");
            }
        }
    }
}

/// Every element that is opened is closed, in order: a missing end tag shifts everything after it.
fn balanced(name: &str, html: &str) {
    const VOID: [&str; 6] = ["meta", "link", "input", "br", "img", "hr"];
    let mut open: Vec<&str> = Vec::new();
    for tag in html.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap_or_default();
        let word = tag
            .trim_start_matches('/')
            .split([' ', '\n', '/'])
            .next()
            .unwrap_or_default();
        if tag.starts_with('!') || VOID.contains(&word) || tag.ends_with('/') {
            continue;
        } else if tag.starts_with('/') {
            assert_eq!(
                open.pop(),
                Some(word),
                "{name}: <{tag}> closes something else, after {open:?}"
            );
        } else {
            open.push(word);
        }
    }
    assert!(open.is_empty(), "{name}: never closed: {open:?}");
}

#[test]
fn what_others_typed_is_escaped_everywhere() {
    let evil = "<script>alert(1)</script>\"'&";
    let mut page = board(page(Locale::En, "/?x=\"><script>", Some((evil, true, Some(evil)))));
    page.rows[0].team = evil.into();
    page.rows[0].title = evil.into();
    page.formula = evil.into();
    let mut report = report(Locale::En);
    report.samples[0].text = evil.into();
    report.scheme = evil.into();
    report.problems = vec![ProblemView {
        code: evil.into(),
        place: evil.into(),
        message: evil.into(),
        fix: evil.into(),
    }];
    let stages = running(Locale::En);
    let page_html = page.render().expect("board");
    let mut submission = submission(page.page, stages, Some(report));
    submission.title = evil.into();
    for html in [page_html, submission.render().expect("submission")] {
        assert!(!html.contains("alert(1)</script>"));
        assert!(html.contains("&#60;script&#62;alert(1)&#60;/script&#62;"));
    }
}

#[test]
fn nothing_inline_needs_a_content_security_exception() {
    for (name, html) in all(Locale::En) {
        for forbidden in [
            " style=\"",
            "<style",
            " onclick",
            " onload",
            " onchange",
            "javascript:",
            "http://",
            "https://cdn",
        ] {
            assert!(!html.contains(forbidden), "{name} has {forbidden}");
        }
        for script in html.split("<script").skip(1) {
            assert!(script.contains(" src=\"/static/"), "{name} has a script of its own");
            assert!(
                script
                    .split("</script>")
                    .next()
                    .is_some_and(|script| script.ends_with('>')),
                "{name}: script with a body"
            );
        }
    }
}

#[test]
fn every_address_under_static_is_served() {
    let mut seen = 0;
    for (name, html) in all(Locale::En) {
        for address in html.split("/static/").skip(1) {
            let address = address.split(['"', '\'']).next().unwrap_or_default();
            let (_, path) = address.split_once('/').expect("digest, then path");
            assert!(crate::controllers::assets::exists(path), "{name} asks for {path}");
            seen += 1;
        }
    }
    assert!(seen > 50);
}

#[test]
fn only_graded_teams_above_the_floor_have_a_rank() {
    let html = board(member(Locale::En, "/")).render().expect("board");
    let row = |team: &str| {
        html.split("<tr id=")
            .find(|row| row.contains(&format!("data-team=\"{team}\"")))
            .expect("row")
    };
    assert!(row("Touchstone").contains("class=\"rank-mark\">1<"));
    assert!(row("Cupel").contains("3.3126"));
    assert!(row("Cupel").contains("title=\"1,546,352 bytes\""));
    assert!(row("Cupel").starts_with("\"s-01982\" class=\"ranked mine\""));
    for team in ["Slag", "Retort", "EXAONE-4.0-mini"] {
        assert!(
            !row(team).contains("<td class=\"rank\"><span>"),
            "{team} must not show a rank"
        );
    }
    assert!(row("Slag").contains("0.7280 &lt; 0.7500"), "the bound that was judged");
    assert!(
        html.find("data-team=\"EXAONE-4.0-mini\"").expect("base")
            < html.find("data-team=\"Touchstone\"").expect("first"),
        "the base is pinned on top"
    );
}

#[test]
fn an_empty_board_says_what_to_do_next() {
    let step = |page: Page| {
        BoardPage {
            rows: vec![],
            ..board(page)
        }
        .next_step()
    };
    assert_eq!(step(Page::new(Locale::En, "/")).0, "no-contest");
    assert_eq!(step(page(Locale::En, "/", None)), ("visitor", Some("/signup")));
    assert_eq!(
        step(page(Locale::En, "/", Some(("A", false, None)))),
        ("no-team", Some("/team"))
    );
    assert_eq!(step(member(Locale::En, "/")), ("ready", Some("/submissions/new")));
}

#[test]
fn the_map_is_the_base_and_its_areas_are_in_proportion() {
    let weight = report(Locale::En).weight.expect("weighed");
    let areas = weight.areas();
    let share = |area: &Area| {
        let of = |percent: &str| percent.trim_end_matches('%').parse::<f64>().expect("percent") / 100.0;
        of(&area.width) * of(&area.height)
    };
    let saved = areas.last().filter(|area| area.kind == "saved").expect("saved");
    assert!((share(saved) - (1.0 - 1_859_072.0 / 5_122_464.0)).abs() < 1e-4);
    assert!((areas.iter().map(share).sum::<f64>() - 1.0).abs() < 1e-3);
    let mlp = areas.iter().find(|area| area.kind == "g-mlp").expect("mlp");
    assert!((share(mlp) - 786_432.0 / 5_122_464.0).abs() < 1e-4);
    assert_eq!((mlp.label.as_str(), mlp.figure.as_str()), ("MLP", "786.43 kB · 42.3 %"));
    assert_eq!((mlp.name_room, saved.figure_room), (Room::Always, Room::Always));
    let header = areas.iter().find(|area| area.kind == "g-header").expect("header");
    assert_eq!(header.name_room, Room::Never, "a sliver has no room for words");
    assert_eq!(weight.of_base().as_deref(), Some("36.3 %"));
}

#[test]
fn a_tensor_group_nobody_named_is_drawn_under_its_own_name() {
    let inspection = serde_json::json!({
        "bytes": {"total": 300, "groups": [{"name": "code_books", "bytes": 200}, {"name": "mlp", "bytes": 100}]},
        "hints": [{"code": "less", "saves": 1, "message": "m"}, {"code": "more", "saves": 30, "message": "n"}]
    });
    for locale in Locale::ALL {
        let weight = WeightFragment::from_inspection(locale, None, &inspection).expect("weighed");
        let html = weight.render().expect("weight");
        assert!(
            html.contains("<text x=\"9\" y=\"20\" class=\"name\">Code books</text>"),
            "{html}"
        );
        assert!(html.contains("Code books</th><td class=\"num\">200</td><td class=\"num\">66.7 %</td>"));
        assert!(
            html.find("data-hint=\"more\"") < html.find("data-hint=\"less\""),
            "most bytes first"
        );
        assert!(html.contains("−30 B<small>−10.0 %</small>"));
    }
}

#[test]
fn a_device_says_whether_it_can_run_the_checkpoint() {
    let inspection = serde_json::json!({
        "bytes": {"total": 1000, "groups": [{"name": "mlp", "bytes": 1000}]},
        "parameters": {"total": 2000, "linear": 1600, "linear_bytes": 840},
        "memory": {"context": 4096, "weights": 1_000_000, "kv": 500_000, "working": 2_000, "total": 1_502_000, "devices": [
            {"name": {"en": "Phone", "ko": "휴대전화"}, "memory_bytes": 1_000_000, "fits": false, "longest_context": 0},
            {"name": {"en": "T4", "ko": "T4"}, "memory_bytes": 16_000_000_000_u64, "usd_per_hour": 0.526, "fits": true, "longest_context": 32_768}
        ]}
    });
    let weight = WeightFragment::from_inspection(Locale::En, None, &inspection).expect("weighed");
    let html = weight.render().expect("weight");
    assert!(
        html.contains("4.00 bits per parameter of the whole model; 4.20 in"),
        "{html}"
    );
    assert!(html.contains("About 1.50 MB for a conversation of 4,096 tokens"));
    let row = |device: &str| html.split("<tr>").find(|row| row.contains(device)).expect("row");
    assert!(row(">Phone<").contains("data-tone=\"bad\">no<") && !row(">Phone<").contains('$'));
    assert!(row(">T4<").contains("data-tone=\"good\">yes<") && row(">T4<").contains("$0.53"));
    assert!(row(">T4<").contains("32,768"));
    // Reports of earlier versions know nothing of it.
    let earlier = serde_json::json!({"bytes": {"total": 1000, "groups": []}, "memory": null, "parameters": null});
    let html = WeightFragment::from_inspection(Locale::Ko, None, &earlier)
        .expect("weighed")
        .render();
    assert!(!html.expect("weight").contains("devices"));
}

#[test]
fn the_map_of_lineage_says_which_matrices_are_not_the_bases() {
    let lineage = report(Locale::En).lineage.expect("compared");
    let html = lineage.render().expect("lineage");
    assert!(
        html.contains("data-lineage=\"2\"") && html.contains("20 / 22"),
        "{html}"
    );
    assert!(html.contains("2 matrices of 22 are not what compressing the base model gives."));
    assert!(html.contains("Layers of the base that are not here: 2."));
    let row = |label: &str| html.split("</tr>").find(|row| row.contains(label)).expect("row");
    assert!(row(">Embedding<").contains("class=\"shade-0\" colspan=\"7\""));
    assert!(row(">Layer 0<").contains(">2.00<") && row(">Layer 0<").contains("class=\"shade-5\""));
    assert!(!row(">Layer 0<").contains("against"));
    let changed = row(">Layer 2 <");
    assert!(changed.contains("is the base&#39;s 3"), "{changed}");
    assert_eq!(changed.matches("class=\"against\"").count(), 2);
    assert!(changed.contains("Replaced; relative error 141.00 %; the scheme explains 16.00 %; is layer 0 of the base"));
    assert!(changed.contains(">17.1<"));
    let legend = html.split("relations").nth(1).expect("legend");
    assert!(
        legend.find("Replaced") < legend.find("Compensated"),
        "what is wrong first"
    );
    // Nothing was compared, or an earlier version wrote the report.
    for inspection in [serde_json::json!({}), serde_json::json!({"lineage": null})] {
        assert!(LineageFragment::from_inspection(Locale::Ko, &inspection).is_none());
    }
}

#[test]
fn the_weight_is_shown_while_a_submission_waits() {
    let rules = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/sample/contest.toml"));
    let rules = assay_contest::Contest::parse(&rules.expect("sample contest")).expect("valid");
    let none = Default::default();
    assert!(ReportFragment::from_interim(Locale::En, &rules, None, &none).is_none());
    let inspection = serde_json::json!({"bytes": {"total": 300, "groups": [{"name": "mlp", "bytes": 300}]}});
    let interim = ReportFragment::from_interim(Locale::En, &rules, Some(&inspection), &none).expect("weight");
    let html = interim.render().expect("interim");
    assert!(
        html.contains("data-weight=\"300\"") && !html.contains("data-report"),
        "{html}"
    );
}

#[test]
fn the_upload_panel_gets_its_sentences_with_their_holes() {
    let page = NewSubmissionPage {
        page: member(Locale::Ko, "/submissions/new"),
        gate: SubmitGate::Open,
        limits: None,
        quota: None,
        drafts: vec![],
    };
    let strings: serde_json::Value = serde_json::from_str(&page.strings()).expect("JSON");
    assert_eq!(strings["up-took"], "검사에 {n}초 걸렸습니다.");
    assert!(strings.as_object().is_some_and(|table| table.len() > 40));
}

#[test]
fn a_time_is_shown_with_its_spread_and_every_round() {
    let html = report(Locale::En).render().expect("report");
    let track = html.split("data-time-track").nth(1).expect("time track");
    let track = track.split("</section>").next().expect("its end");
    assert!(
        track.contains("A prompt of 512 tokens, then 1,280 tokens generated by each of 8 sequences at once"),
        "{track}"
    );
    assert!(
        track.contains("0.6250 <span class=\"muted num\">(0.600 – 1.100)</span>"),
        "{track}"
    );
    assert!(track.contains("All 5 rounds") && track.contains("AMD EPYC"));
    assert_eq!(track.matches("<th scope=\"row\"").count(), 5);
    let disturbed = track.split("<tr>").last().expect("the last round");
    for part in [">5<", ">2.0000<", ">2.2000<", ">1.1000<"] {
        assert!(disturbed.contains(part), "{part} in {disturbed}");
    }
    // The formula's own figure has it beside it too.
    let mut spent = report(Locale::Ko);
    let score = spent.score.as_mut().expect("score");
    score.inputs = vec![("time_ratio".into(), 0.625), ("bytes".into(), 9.0)];
    score.spread = Some((0.6, 1.1));
    let html = spent.render().expect("report");
    assert_eq!(html.matches("0.600 – 1.100").count(), 2);
    assert!(html.contains("동시에 도는 시퀀스 8개"), "{html}");
    let untimed = ReportFragment {
        time_track: None,
        ..report(Locale::En)
    };
    assert!(!untimed.render().expect("report").contains("data-time-track"));
}

#[test]
fn the_board_says_what_the_time_track_runs() {
    let work = assay_contest::Workload {
        prompt_tokens: 64,
        generated_tokens: 16,
        sequences: 1,
        rounds: 7,
    };
    let mut timed = BoardPage {
        workload: Some(workload(Locale::En, &work)),
        ..board(page(Locale::En, "/", None))
    };
    let html = timed.render().expect("board");
    assert!(!html.contains("slowest round"), "no column has rounds");
    timed.columns.push(MeasureColumn {
        key: "time_ratio".into(),
        ..MeasureColumn::default()
    });
    let html = timed.render().expect("board");
    assert!(
        html.contains(
            "16 tokens generated by one sequence, whatever they are; 7 rounds of base and submission in turn."
        ),
        "{html}"
    );
    assert!(html.contains("fastest and slowest round"));
    let untimed = board(page(Locale::En, "/", None)).render().expect("board");
    assert!(!untimed.contains("data-workload") && !untimed.contains("slowest round"));
}

#[test]
fn an_event_is_a_full_snapshot() {
    let data = snapshot(&running(Locale::En), None).expect("snapshot");
    let data: serde_json::Value = serde_json::from_str(&data).expect("JSON");
    assert_eq!(
        (&data["state"], &data["done"], &data["report"]),
        (&"running".into(), &false.into(), &serde_json::Value::Null)
    );
    assert!(
        data["stages"]
            .as_str()
            .is_some_and(|html| html.contains("data-stage=\"evaluate\" data-state=\"running\""))
    );
    let done = StagesFragment::new(Locale::En, facts(SubmissionState::Graded));
    let data = snapshot(&done, Some(&report(Locale::En))).expect("snapshot");
    let data: serde_json::Value = serde_json::from_str(&data).expect("JSON");
    assert_eq!(data["done"], true);
    assert!(data["report"].as_str().is_some_and(|html| html.contains("data-report")));
}

#[test]
fn a_workers_report_is_read_by_the_rules_it_was_graded_under() {
    let contest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/sample/contest.toml"));
    let contest = assay_contest::Contest::parse(&contest.expect("sample contest")).expect("valid");
    let report: assay_contest::wire::Report = serde_json::from_value(serde_json::json!({
        "engine": "assay-engine 0.1.0", "device": "cpu", "profile": "plain", "contest_digest": "5f",
        "submission": {"verdict": "accepted", "format": "pack-quantized", "scheme": "W4A16 g128 sym",
                       "bytes": {"total": contest.base.bytes / 2, "groups": [{"name": "mlp", "bytes": contest.base.bytes / 2}]}},
        "tasks": [{"task": "mini_gsm", "alias": "mini_gsm", "n": 100,
                   "measures": {"exact_match,flexible-extract": 0.9, "exact_match,strict-match": 0.88},
                   "stderr": {"exact_match,flexible-extract": 0.03}}],
        "measures": {"bytes": (contest.base.bytes / 2) as f64, "acc.mini_gsm.exact_match.flexible-extract": 0.9, "peak_memory": 2e8},
        "timings": {"evaluate": 11.2, "zeal": 1.0, "load": 0.4}
    }))
    .expect("report");
    let shown = Shown { report, public: None };
    let view = ReportFragment::from_report(Locale::Ko, &contest, &shown);
    let score = view.score.as_ref().expect("score");
    assert_eq!(score.value, Some(2.0));
    assert!(
        score
            .inputs
            .iter()
            .any(|(name, value)| name == "base.bytes" && *value == contest.base.bytes as f64)
    );
    assert!(
        score
            .inputs
            .iter()
            .any(|(name, _)| name == "acc.mini_gsm.exact_match.flexible-extract"),
        "the floor is shown too"
    );
    let rows = &view.tasks[0].rows;
    assert_eq!(rows.iter().map(|row| row.counts).collect::<Vec<_>>(), [true, false]);
    assert_eq!(
        rows[0].cell,
        Cell {
            value: Some(0.9),
            stderr: Some(0.03),
            // Its measures say neither how many documents there were nor how far off they are.
            interval: None,
        }
    );
    assert!(
        rows[0].base.is_some_and(|base| (0.8..=1.0).contains(&base)),
        "the base's value comes from the rules"
    );
    let stages: Vec<&str> = view.timings.iter().map(|(stage, _)| stage.as_str()).collect();
    assert_eq!(
        stages,
        ["load", "evaluate", "zeal"],
        "in the order of the way, what is not known last"
    );
    assert!(view.render().expect("report").contains("50.0 %"));
}
