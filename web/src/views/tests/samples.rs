//! Sample data: the contest's four compressed variants as four teams, with figures of the size of real ones.

use crate::i18n::Locale;
use crate::views::*;

/// A moment in Seoul, `minute` minutes after 19:00.
pub fn at(minute: u32) -> When {
    let local = format!("2026-11-21 {:02}:{:02}", 19 + minute / 60, minute % 60);
    When {
        utc: format!("2026-11-21T{:02}:{:02}:00Z", 10 + minute / 60, minute % 60),
        local,
        zone: "KST".into(),
    }
}

pub fn page(locale: Locale, path: &str, viewer: Option<(&str, bool, Option<&str>)>) -> Page {
    Page {
        viewer: viewer.map(|(name, organizer, team)| ViewerInfo {
            name: name.into(),
            organizer,
            team: team.map(str::to_owned),
        }),
        csrf: "csrf-token".into(),
        contest: Some(ContestInfo {
            title: locale
                .pick("EXAONE compression, rehearsal", "EXAONE 경량화 예비 대회")
                .into(),
            timezone: "Asia/Seoul".into(),
            phase: Some(PhaseInfo {
                title: locale.pick("Open phase", "공개 단계").into(),
                closes: at(300),
            }),
        }),
        ..Page::new(locale, path)
    }
}

pub fn member(locale: Locale, path: &str) -> Page {
    page(
        locale,
        path,
        Some((locale.pick("Minseo Kim", "김민서"), false, Some("Cupel"))),
    )
}

pub fn organizer(locale: Locale, path: &str) -> Page {
    page(locale, path, Some((locale.pick("Jiwoo Park", "박지우"), true, None)))
}

const GSM: &str = "acc.mini_gsm.exact_match.flexible-extract";
const KOMATH: &str = "acc.mini_komath.exact_match.strict-match";
const ARC: &str = "acc.mini_arc.acc_norm.none";

/// A mean of 200 right-or-wrong documents.
fn cell(value: f64) -> Cell {
    let stderr = (value * (1.0 - value) / 199.0).sqrt();
    Cell {
        value: Some(value),
        stderr: Some(stderr),
        interval: Some(((value - 1.96 * stderr).max(0.0), (value + 1.96 * stderr).min(1.0))),
    }
}

pub fn board(page: Page) -> BoardPage {
    let locale = page.locale;
    let row = |rank: u32, team: &str, title: &str, bytes: u64, values: [f64; 3]| BoardRow {
        standing: BoardStanding::Ranked(rank),
        band: Some((rank.saturating_sub(1).max(1), (rank + 1).min(4))),
        compare: Some(("Touchstone".into(), "/compare?a=0198&b=0199".into())),
        team: team.into(),
        title: title.into(),
        submission: format!("0198{rank}"),
        anchor: format!("s-0198{rank}"),
        place: rank as usize,
        href: Some("/submissions/0198".into()),
        mine: team == "Cupel",
        score: Some(5_122_464.0 / bytes as f64),
        public: None,
        bytes: Some(bytes),
        cells: values.into_iter().map(cell).collect(),
        received: Some(at(rank * 7)),
    };
    let mut rows = vec![
        row(1, "Touchstone", "W4A16 g128, asymmetric", 1_532_856, [0.86, 0.99, 1.0]),
        row(
            2,
            "Cupel",
            "W4A16 GPTQ, tied, 2048 calibration rows",
            1_546_352,
            [0.845, 0.985, 0.995],
        ),
        row(
            3,
            "하이브리드 연구실",
            "W4A16, 학습 데이터 512건",
            1_859_072,
            [0.85, 0.99, 1.0],
        ),
        row(
            4,
            "Quarter Note Collective",
            "W8A16 per channel",
            2_862_144,
            [0.865, 0.995, 1.0],
        ),
    ];
    rows.push(BoardRow {
        standing: BoardStanding::BelowFloor {
            measure: GSM.into(),
            value: 0.79,
            bound: Some(0.728),
            at_least: 0.75,
        },
        score: Some(4.1),
        ..row(5, "Slag", "2-bit, everything", 1_248_000, [0.71, 0.93, 0.97])
    });
    rows.push(BoardRow {
        standing: BoardStanding::Unscored(
            locale
                .pick(
                    "A measure is missing: time_per_token.",
                    "측정값이 없습니다: time_per_token",
                )
                .into(),
        ),
        score: None,
        cells: vec![Cell::default(); 3],
        ..row(6, "Retort", "", 1_300_000, [0.0; 3])
    });
    let pinned = vec![
        BoardRow {
            standing: BoardStanding::Base,
            team: "EXAONE-4.0-mini".into(),
            anchor: "reference-0".into(),
            score: Some(1.0),
            bytes: Some(5_122_464),
            cells: [0.865, 0.995, 1.0].into_iter().map(cell).collect(),
            ..BoardRow::default()
        },
        BoardRow {
            standing: BoardStanding::Reference,
            team: "EXAONE-4.0-mini, GPTQ W4A16".into(),
            title: locale.pick("Measured by the organizers.", "운영진이 측정함").into(),
            anchor: "reference-1".into(),
            score: Some(2.0),
            bytes: Some(2_722_464),
            cells: [0.765, 0.975, 0.99].into_iter().map(cell).collect(),
            ..BoardRow::default()
        },
    ];
    let point = |row: &BoardRow| {
        let cell = row.cells.first()?;
        Some(Point {
            kind: match row.standing {
                BoardStanding::Base | BoardStanding::Reference => PointKind::Reference,
                BoardStanding::Ranked(_) => PointKind::Ranked,
                _ => PointKind::Unranked,
            },
            name: row.team.clone(),
            anchor: row.anchor.clone(),
            mine: row.mine,
            bytes: row.bytes?,
            value: cell.value?,
            interval: cell.interval,
            ..Point::default()
        })
    };
    BoardPage {
        page,
        columns: [GSM, KOMATH, ARC]
            .iter()
            .map(|key| MeasureColumn::from_key(locale, key))
            .collect(),
        groups: vec![ColumnGroup {
            kind: MeasureKind::Quality,
            label: locale.t("kind-quality"),
            span: 3,
        }],
        headings: (0..8)
            .map(|at| Heading {
                href: format!("/?sort={at}"),
                sorted: (at == 0).then_some("ascending"),
            })
            .collect(),
        total: rows.len(),
        ranked: 4,
        rivals: rows
            .iter()
            .map(|row| (row.submission.clone(), row.team.clone()))
            .collect(),
        filter: BoardFilter::default(),
        chart: Chart::new(
            MeasureColumn::from_key(locale, GSM),
            vec![
                ("mini_gsm".into(), "/?chart=a".into(), true),
                ("mini_arc".into(), "/?chart=b".into(), false),
            ],
            rows.iter().chain(&pinned).filter_map(point).collect(),
            Some(0.75),
        ),
        pinned,
        rows,
        formula: "base.bytes / bytes".into(),
        decimals: 4,
        descending: true,
        floors: vec![FloorView {
            measure: GSM.into(),
            at_least: 0.75,
            bound: true,
        }],
        workload: None,
        confidence: "95".into(),
        resamples: 2000,
        score_resolution: Some(0.031),
        resolution: vec![("mini_gsm".into(), 0.062)],
        sealing: Sealing::None,
        updated: Some(at(63)),
        digest: "aa07".into(),
        events_url: None,
    }
}

pub fn problem(locale: Locale) -> ProblemView {
    ProblemView {
        code: "scale-missing".into(),
        place: "model.layers.3.mlp.up_proj.weight_scale".into(),
        message: locale
            .pick(
                "A packed weight has no scale, so its values cannot be known.",
                "묶인 가중치에 스케일이 없어 값을 알 수 없습니다.",
            )
            .into(),
        fix: locale
            .pick(
                "Save the model again with the tool that compressed it.",
                "압축에 쓴 도구로 모델을 다시 저장하세요.",
            )
            .into(),
    }
}

fn certificate() -> assay_contest::Certificate {
    assay_contest::Certificate {
        checkpoint: "8c6b".repeat(16),
        contest: "5f1d".repeat(16),
        tasks: "aa07".repeat(16),
        profile: "plain".into(),
        engine: "assay-engine 0.1.0".into(),
        device: "cpu x86_64 avx2".into(),
        precision: "split".into(),
        outputs: "e419".repeat(16),
        ..assay_contest::Certificate::default()
    }
    .seal()
}

/// Two submissions of which one answers some documents better.
pub fn compare(page: Page) -> ComparePage {
    let side = |team: &str, title: &str, rank: u32, bytes: u64| Side {
        team: team.into(),
        title: title.into(),
        href: None,
        rank: Some(rank),
        score: Some(5_122_464.0 / bytes as f64),
        bytes: Some(bytes),
    };
    let row = |task: &str, metric: &str, filter: &str, table: [u64; 4], p: f64| {
        let [_, first, second, _] = table;
        let difference = (first as f64 - second as f64) / 200.0;
        let half = 1.96 * ((first + second) as f64).sqrt() / 200.0;
        CompareRow {
            task: task.into(),
            metric: metric.into(),
            filter: filter.into(),
            n: 200,
            table: Some(table),
            difference,
            interval: Some((difference - half, difference + half)),
            p: Some(p),
            differs: p < 0.05,
        }
    };
    ComparePage {
        page,
        sides: [
            side("Touchstone", "W4A16 g128, asymmetric", 1, 1_532_856),
            side("하이브리드 연구실", "W4A16, 학습 데이터 512건", 3, 1_859_072),
        ],
        decimals: 4,
        rows: vec![
            row("mini_gsm", "exact_match", "flexible-extract", [164, 8, 6, 22], 0.791),
            row("mini_arc", "acc_norm", "none", [180, 15, 2, 3], 0.0023),
        ],
        confidence: "95".into(),
        sealing: Sealing::None,
        swap: "/compare?a=2&b=1".into(),
    }
}

/// A lineage with something in every shade, and two matrices that are not the base's.
fn lineage() -> serde_json::Value {
    let cell = |relation: &str, error: f64, codes: f64| serde_json::json!({"relation": relation, "error": error, "band": 0.16, "scales": 1.0, "codes": codes});
    let layer = |layer: usize, base: usize| {
        let mut cells: Vec<_> = (0..7)
            .map(|i| cell("compensated", 0.02 * f64::from(i + 1), 0.93))
            .collect();
        if layer == 2 {
            cells[5] = cell("changed", 0.1714, 0.61);
            cells[0] = serde_json::json!({"relation": "replaced", "error": 1.41, "band": 0.16, "from": 0});
        }
        serde_json::json!({"layer": layer, "base": base, "cells": cells})
    };
    serde_json::json!({
        "scheme": "W4A16 g128 sym",
        "columns": ["q", "k", "v", "o", "gate", "up", "down"],
        "rows": [layer(0, 0), layer(1, 1), layer(2, 3)],
        "embedding": {"relation": "same", "error": 0.0, "band": 0.0},
        "head": null, "norms": [], "base_layers": 4
    })
}

/// Five rounds, one of them disturbed.
fn time_track() -> assay_contest::wire::TimeTrack {
    let seconds = [(2.0, 1.25), (2.0, 1.2), (2.5, 1.5), (2.0, 1.3), (2.0, 2.2)];
    assay_contest::wire::TimeTrack {
        workload: assay_contest::Workload {
            prompt_tokens: 512,
            generated_tokens: 1280,
            sequences: 8,
            rounds: 5,
        },
        device: "cpu (avx512-bf16, split inputs, 2 threads)".into(),
        host: "AMD EPYC".into(),
        rounds: seconds
            .map(|(base, submission)| assay_contest::wire::Round { base, submission })
            .to_vec(),
    }
}

/// The report of an accepted `untied-w4a16`: the inspection as the verifier writes it, the rest as a worker reports it.
pub fn report(locale: Locale) -> ReportFragment {
    let inspection = serde_json::json!({
        "verdict": "accepted", "format": "pack-quantized", "scheme": "W4A16 g128 sym", "problems": [],
        "findings": [{
            "code": "tokenizer-settings-differ", "where": "tokenizer.json: truncation",
            "message": {"en": "The uploaded tokenizer carries truncation settings of the compression tool; the contest's own is used.",
                        "ko": "업로드한 토크나이저에 압축 도구의 잘라내기 설정이 남아 있습니다. 채점에는 대회의 토크나이저를 씁니다."},
            "fix": {"en": "", "ko": ""}
        }],
        "bytes": {"total": 1_859_072_u64, "groups": [
            {"name": "embedding", "bytes": 312_832}, {"name": "head", "bytes": 312_832}, {"name": "attention", "bytes": 393_216},
            {"name": "mlp", "bytes": 786_432}, {"name": "norms", "bytes": 5_376}, {"name": "scales", "bytes": 36_864},
            {"name": "shapes", "bytes": 448}, {"name": "header", "bytes": 11_072}
        ]},
        "hints": [
            {"code": "untied-copy", "saves": 312_832, "message": {"en": "lm_head repeats the tied embedding. Call tie_weights() before saving: the model stays the same.",
             "ko": "lm_head가 임베딩과 같은 내용을 한 번 더 담고 있습니다. 저장하기 전에 tie_weights()를 호출하면 모델은 그대로이고 파일만 작아집니다."}},
            {"code": "scales-f32", "saves": 18_432, "message": {"en": "Scales are stored as F32; BF16 holds the same values here.",
             "ko": "스케일이 F32로 저장되어 있습니다. 여기서는 BF16으로도 같은 값을 담을 수 있습니다."}}
        ],
        "lineage": lineage()
    });
    let row = |metric: &str, filter: &str, value: f64, base: f64, counts: bool| TaskMeasure {
        metric: metric.into(),
        filter: filter.into(),
        cell: cell(value),
        base: Some(base),
        public: None,
        counts,
    };
    let task = |task: &str, rows: Vec<TaskMeasure>| TaskView {
        task: task.into(),
        n: 200,
        rates: vec![
            ("truncated".into(), 0.0),
            ("no_answer".into(), 0.005),
            ("repetition".into(), 0.01),
        ],
        rows,
    };
    ReportFragment {
        score: Some(ScoreView {
            decimals: 4,
            value: Some(2.755_387),
            rank: None,
            band: None,
            public: None,
            note: locale
                .pick(
                    "The board shows another submission of the team, its best.",
                    "리더보드에는 이 팀의 가장 좋은 다른 제출이 표시됩니다.",
                )
                .into(),
            formula: "base.bytes / bytes".into(),
            inputs: vec![
                ("base.bytes".into(), 5_122_464.0),
                ("bytes".into(), 1_859_072.0),
                (GSM.into(), 0.85),
            ],
            spread: None,
        }),
        time_track: TimeTrackView::new(locale, &time_track()),
        tasks: vec![
            task(
                "mini_gsm",
                vec![
                    row("exact_match", "flexible-extract", 0.85, 0.865, true),
                    row("exact_match", "strict-match", 0.84, 0.86, false),
                ],
            ),
            task(
                "mini_komath",
                vec![row("exact_match", "strict-match", 0.99, 0.995, false)],
            ),
            task(
                "mini_arc",
                vec![
                    row("acc", "none", 1.0, 1.0, false),
                    row("acc_norm", "none", 1.0, 0.99, false),
                ],
            ),
        ],
        timings: [
            ("fetch", 0.21),
            ("verify", 0.034),
            ("weigh", 0.001),
            ("load", 0.4),
            ("evaluate", 74.2),
            ("samples", 1.9),
        ]
        .map(|(stage, seconds)| (stage.to_owned(), seconds))
        .to_vec(),
        measures: vec![
            ("generated_tokens".into(), 48_213.0),
            ("item_seconds_p99".into(), 0.31),
            ("tokens_per_second".into(), 1834.2),
            ("peak_memory".into(), 218_103_808.0),
        ],
        samples: vec![
            SampleView {
                kind: "korean".into(),
                prompt: "사과 3개와 배 5개가 있습니다. 과일은 모두 몇 개입니까?".into(),
                text: "사과 3개와 배 5개를 더하면 3 + 5 = 8입니다.\n#### 8".into(),
                base: Some("사과 3개와 배 5개를 더하면 모두 8개입니다.\n#### 8".into()),
            },
            SampleView {
                kind: "english".into(),
                prompt: "Question: Tom has 4 boxes of 6 pencils. How many pencils does he have?\nAnswer:".into(),
                text: "Tom has 4 * 6 = <<4*6=24>>24 pencils.\n#### 24".into(),
                base: Some("Tom has 4 * 6 = <<4*6=24>>24 pencils.\n#### 24".into()),
            },
        ],
        certificate: Some(CertificateView::new(&certificate())),
        confidence: "95".into(),
        compare: vec![("Touchstone".into(), "/compare?a=0198&b=0199".into())],
        engine: "assay-engine 0.1.0".into(),
        device: "cpu · AVX2 · 2 threads".into(),
        profile: "plain".into(),
        contest_digest: "5f1d9c0a3b7e4c2286f0d91e7a3c5b8811d20f4e6a9b3c7d5e8f0a1b2c3d4e5f".into(),
        outputs: vec![
            ("results.json".into(), "/submissions/0198/outputs/results.json".into()),
            (
                "samples_mini_gsm.jsonl".into(),
                "/submissions/0198/outputs/samples_mini_gsm.jsonl".into(),
            ),
        ],
        ..ReportFragment::from_inspection(locale, Some(5_122_464), &inspection)
    }
}

pub fn rejected(locale: Locale) -> ReportFragment {
    ReportFragment {
        locale,
        format: "pack-quantized".into(),
        problems: vec![
            problem(locale),
            ProblemView {
                code: "config-locked".into(),
                place: "config.json: max_position_embeddings".into(),
                message: locale
                    .pick(
                        "This field must equal the base model's: 65536, found 16384.",
                        "기준 모델과 같아야 하는 항목입니다. 기준 65536, 제출 16384.",
                    )
                    .into(),
                fix: locale.pick("Set it back to 65536.", "65536으로 되돌리세요.").into(),
            },
        ],
        ..ReportFragment::default()
    }
}

pub fn facts(state: SubmissionState) -> StageFacts {
    StageFacts {
        state,
        received: Some(at(3)),
        attempt: 1,
        max_attempts: 3,
        worker: Some("bench-2".into()),
        timings: [
            ("fetch", 0.21),
            ("verify", 0.034),
            ("weigh", 0.001),
            ("load", 0.4),
            ("evaluate", 74.2),
            ("samples", 1.9),
        ]
        .map(|(stage, seconds)| (stage.to_owned(), seconds))
        .to_vec(),
        ..StageFacts::default()
    }
}

pub fn running(locale: Locale) -> StagesFragment {
    StagesFragment::new(
        locale,
        StageFacts {
            stage: "evaluate".into(),
            task: Some("mini_gsm".into()),
            done: 83,
            total: 200,
            attempt: 2,
            wait: Some(400.0),
            ..facts(SubmissionState::Running)
        },
    )
}

pub fn submission(page: Page, stages: StagesFragment, report: Option<ReportFragment>) -> SubmissionPage {
    let live = !stages.facts.state.finished();
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let file = |name: &str, bytes: u64| FileRow {
        name: name.into(),
        bytes,
        received: bytes,
        sha256: digest.into(),
    };
    SubmissionPage {
        page,
        id: "0198c3a4-7d52-7c1e-9a60-3f1b2c4d5e6f".into(),
        title: "W4A16 GPTQ, tied, 2048 calibration rows".into(),
        team: "Cupel".into(),
        received: Some(at(3)),
        files: vec![
            file("config.json", 1_887),
            file("model.safetensors", 1_859_072),
            file("recipe.yaml", 319),
            file("tokenizer.json", 30_084),
        ],
        stages,
        report,
        events_url: live.then(|| "/submissions/0198c3a4-7d52-7c1e-9a60-3f1b2c4d5e6f/events".to_owned()),
    }
}

pub fn admin(page: Page) -> AdminPage {
    let locale = page.locale;
    let job = |title: &str, team: &str, state: SubmissionState| JobRow {
        submission: "0198c3a4-7d52-7c1e-9a60-3f1b2c4d5e6f".into(),
        title: title.into(),
        team: team.into(),
        state,
        attempts: 1,
        max_attempts: 3,
        worker: Some("bench-2".into()),
        received: Some(at(41)),
        seconds: Some(76.8),
        ..JobRow::default()
    };
    let worker = |name: &str, status: WorkerStatus, silent: f64, job: Option<&str>| WorkerRow {
        id: "0198c3a4-7d52-7c1e-9a60-3f1b2c4d5e6f".into(),
        name: name.into(),
        device: "cpu · AVX2 · 2 threads".into(),
        seen: Some(at(62)),
        silent_seconds: Some(silent),
        job: job.map(str::to_owned),
        job_href: job.map(|_| "/admin/jobs/0198c3a4".to_owned()),
        status,
        ..WorkerRow::default()
    };
    AdminPage {
        counts: vec![
            (SubmissionState::Draft, 2),
            (SubmissionState::Queued, 1),
            (SubmissionState::Running, 1),
            (SubmissionState::Graded, 1_284),
            (SubmissionState::Rejected, 31),
            (SubmissionState::Failed, 1),
        ],
        queue: vec![
            JobRow {
                stage: "evaluate".into(),
                done: 83,
                total: 200,
                ..job("W4A16 GPTQ, tied", "Cupel", SubmissionState::Running)
            },
            JobRow {
                worker: None,
                attempts: 0,
                seconds: Some(12.0),
                ..job("", "Touchstone", SubmissionState::Queued)
            },
        ],
        recent: vec![
            JobRow {
                can_rerun: true,
                ..job("W8A16 per channel", "Quarter Note Collective", SubmissionState::Graded)
            },
            JobRow {
                can_rerun: true,
                attempts: 3,
                problem: Some(problem(locale)),
                ..job("drop1", "Slag", SubmissionState::Failed)
            },
        ],
        workers: vec![
            worker("bench-2", WorkerStatus::Busy, 1.2, Some("W4A16 GPTQ, tied")),
            worker("bench-1", WorkerStatus::Silent, 4_000.0, None),
            worker("spot-7f", WorkerStatus::Draining, 8.0, None),
        ],
        enrolment: None,
        seal: Some(SealView {
            contest: "sample".into(),
            documents: 150,
            share: 0.3,
            digest: "5f1d".repeat(16),
            all: true,
            revealed: None,
            wrong: None,
        }),
        oldest_wait: Some(12.0),
        set_aside: 1,
        silent: 1,
        page,
    }
}
