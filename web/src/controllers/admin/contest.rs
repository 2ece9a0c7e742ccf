//! The rules: read, checked while they are typed, compared with what is in force, and adopted.
//!
//! What is in force was imported with files (the base's config and tokenizer, the tasks). Rules that concern those files
//! change with them, by `assay-web import-contest`; all others may change here.

use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Form, Json, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use assay_contest::wire::CONTEST_FILE;
use assay_contest::{Contest, Problem, Standing, Text};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{done, notice, record};
use crate::auth::RequireOrganizer;
use crate::boards::{self, Board};
use crate::controllers::precheck::current;
use crate::controllers::visit::{Visit, see_other};
use crate::db::contests::{self, StoredContest, Version};
use crate::error::ApiError;
use crate::i18n::{self, Locale};
use crate::ingest;
use crate::middleware::csrf::FORM_BYTES;
use crate::sealing;
use crate::state::AppState;
use crate::uploader::blocking;
use crate::views::{
    self, ContestPage, Difference, Move, PreviewPage, ProblemView, VersionPage, VersionRow, When, format,
};

/// `/admin/contest…`.
pub(super) fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/admin/contest").route(web::get().to(show)))
        .service(web::resource("/admin/contest/check").route(web::post().to(check)))
        .service(web::resource("/admin/contest/preview").route(web::post().to(preview)))
        .service(web::resource("/admin/contest/adopt").route(web::post().to(adopt)))
        .service(web::resource("/admin/contest/versions/{version}").route(web::get().to(version)));
}

/// A mistake with its place in the file; line 0 where it has none.
type Mistake = (u64, u64, Problem);

/// Reads rules and holds them against what is in force: all that is wrong, or the rules.
async fn read(
    state: &AppState,
    stored: &StoredContest,
    source: &str,
) -> Result<Result<Contest, Vec<Mistake>>, ApiError> {
    let rules = match Contest::parse(source) {
        Ok(rules) => rules,
        Err(errors) => {
            let mistake = |mistake: assay_contest::Mistake| {
                let place = if mistake.key.is_empty() {
                    "contest.toml"
                } else {
                    &mistake.key
                };
                let problem = Problem::new(mistake.code, place, mistake.message, mistake.fix);
                (mistake.line as u64, mistake.column as u64, problem)
            };
            return Ok(Err(errors.mistakes.into_iter().map(mistake).collect()));
        }
    };
    let mut wrong: Vec<Problem> = needs_files(&stored.rules, &rules).into_iter().map(by_command).collect();
    if wrong.is_empty() {
        let tasks = state.task_sets.of(state, stored).await.map_err(ApiError::internal)?;
        wrong = ingest::unknown_measures(&tasks, &rules);
        if rules.grading.sealed.is_some() {
            wrong.extend(sealing::unscorable(&tasks, &rules).into_iter().map(unscorable));
        }
    }
    if wrong.is_empty() {
        return Ok(Ok(rules));
    }
    Ok(Err(wrong.into_iter().map(|problem| (0, 0, problem)).collect()))
}

fn unscorable(measure: String) -> Problem {
    Problem::new(
        "measure-not-public",
        measure,
        Text::new(
            "This cannot be computed over the public documents alone, so a contest with sealed documents cannot score by it.",
            "공개 문항만으로는 계산할 수 없는 값이므로, 봉인 문항이 있는 대회의 점수에 쓸 수 없습니다.",
        ),
        Text::new(
            "Use an accuracy of a task, or something that a run costs.",
            "과제의 정확도나 실행 비용을 나타내는 값을 사용하세요.",
        ),
    )
}

/// The keys that differ and belong to files of the contest.
fn needs_files(before: &Contest, after: &Contest) -> Vec<&'static str> {
    let (b, a) = (before, after);
    let (bb, ab, bg, ag) = (&b.base, &a.base, &b.grading, &a.grading);
    let differs = [
        ("id", b.id != a.id),
        ("base.dir", bb.dir != ab.dir),
        ("base.config_sha256", bb.config_sha256 != ab.config_sha256),
        ("base.tokenizer_sha256", bb.tokenizer_sha256 != ab.tokenizer_sha256),
        (
            "base.chat_template_sha256",
            bb.chat_template_sha256 != ab.chat_template_sha256,
        ),
        ("base.bytes", bb.bytes != ab.bytes),
        ("grading.profile", bg.profile != ag.profile),
        ("grading.tasks_dir", bg.tasks_dir != ag.tasks_dir),
        ("grading.tasks", bg.tasks != ag.tasks),
        ("grading.limit", bg.limit != ag.limit),
        ("grading.seed", bg.seed != ag.seed),
        ("grading.enable_thinking", bg.enable_thinking != ag.enable_thinking),
        ("grading.max_gen_toks", bg.max_gen_toks != ag.max_gen_toks),
        ("grading.time", bg.time != ag.time),
        ("grading.sealed", bg.sealed != ag.sealed),
    ];
    differs
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(key, _)| key)
        .collect()
}

fn by_command(key: &'static str) -> Problem {
    Problem::new(
        "needs-import",
        key,
        Text::new(
            format!(
                "`{key}` belongs to the contest's files or to what is run; results under the old and the new value cannot be compared."
            ),
            format!("`{key}` 값은 대회 파일이나 실행 내용에 속하므로, 바꾸기 전과 후의 결과를 비교할 수 없습니다."),
        ),
        Text::new(
            "Put it back, or import the contest with its files: assay-web import-contest contest.toml",
            "원래대로 되돌리거나 파일과 함께 가져오세요: assay-web import-contest contest.toml",
        ),
    )
}

fn mistakes(locale: Locale, wrong: &[Mistake]) -> Vec<(u64, u64, ProblemView)> {
    let view = |(line, column, problem): &Mistake| (*line, *column, ProblemView::from_json(locale, &json!(problem)));
    wrong.iter().map(view).collect()
}

async fn show(
    state: Data<AppState>,
    RequireOrganizer(_): RequireOrganizer,
    mut visit: Visit,
) -> Result<HttpResponse, ApiError> {
    notice(&mut visit);
    let source = current(&state).await?.source;
    draw(&state, visit, source, Vec::new()).await
}

async fn draw(state: &AppState, visit: Visit, source: String, wrong: Vec<Mistake>) -> Result<HttpResponse, ApiError> {
    let contest = current(state).await?;
    let (locale, zone) = (visit.locale(), visit.zone());
    let versions = contests::versions(&state.pool, &contest.rules.id).await?;
    let status = if wrong.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::UNPROCESSABLE_ENTITY
    };
    let page = ContestPage {
        title: locale.pick(&contest.rules.title.en, &contest.rules.title.ko).to_owned(),
        id: contest.rules.id,
        version: contest.version.unsigned_abs(),
        digest: contest.digest,
        lines: source.lines().count().clamp(12, 40),
        source,
        mistakes: mistakes(locale, &wrong),
        versions: versions.into_iter().map(|version| row(version, zone)).collect(),
        page: visit.page,
    };
    Ok(views::html(status, &page))
}

fn row(version: Version, zone: chrono_tz::Tz) -> VersionRow {
    VersionRow {
        version: version.version.unsigned_abs(),
        digest: version.digest,
        at: Some(When::new(version.adopted_at, zone)),
        by: version.by,
    }
}

#[derive(Deserialize)]
struct Source {
    source: String,
    #[serde(default)]
    digest: String,
}

impl Source {
    /// Forms travel with carriage returns; files here have none.
    fn text(&self) -> String {
        self.source.replace("\r\n", "\n")
    }
}

/// All that is wrong with rules, for the editor: line, column, code, sentence, fix.
async fn check(
    state: Data<AppState>,
    RequireOrganizer(_): RequireOrganizer,
    visit: Visit,
    Json(given): Json<Source>,
) -> Result<HttpResponse, ApiError> {
    if given.source.len() > FORM_BYTES {
        return Err(ApiError::of_status(StatusCode::PAYLOAD_TOO_LARGE));
    }
    let stored = current(&state).await?;
    let wrong = read(&state, &stored, &given.text()).await?.err().unwrap_or_default();
    let view = |(line, column, problem): (u64, u64, ProblemView)| {
        json!({ "line": line, "column": column, "code": problem.code, "where": problem.place, "message": problem.message,
                "fix": problem.fix })
    };
    let problems: Vec<Value> = mistakes(visit.locale(), &wrong).into_iter().map(view).collect();
    Ok(HttpResponse::Ok().json(json!({ "problems": problems })))
}

async fn preview(
    state: Data<AppState>,
    RequireOrganizer(_): RequireOrganizer,
    mut visit: Visit,
    Form(given): Form<Source>,
) -> Result<HttpResponse, ApiError> {
    visit.page.path = "/admin/contest".to_owned();
    let (stored, source) = (current(&state).await?, given.text());
    match read(&state, &stored, &source).await? {
        Err(wrong) => draw(&state, visit, source, wrong).await,
        Ok(rules) => compare(&state, visit, &stored, rules, source, None).await,
    }
}

/// Draws what would change, rules and board.
async fn compare(
    state: &AppState,
    visit: Visit,
    stored: &StoredContest,
    rules: Contest,
    source: String,
    wrong: Option<String>,
) -> Result<HttpResponse, ApiError> {
    let locale = visit.locale();
    let differences = differences(locale, &stored.rules, &rules);
    let now = state.boards.of(state, stored).await?;
    let candidate = StoredContest {
        digest: rules.digest(),
        rules,
        source: source.clone(),
        ..stored.clone()
    };
    let then = boards::replay(state, &candidate).await?;
    let (moves, still) = moves(locale, (&stored.rules, &now), (&candidate.rules, &then));
    let status = if wrong.is_some() {
        StatusCode::CONFLICT
    } else {
        StatusCode::OK
    };
    let page = PreviewPage {
        source,
        digest: stored.digest.clone(),
        differences,
        moves,
        still,
        wrong,
        page: visit.page,
    };
    Ok(views::html(status, &page))
}

/// Teams whose rank or shown score differs, in the order of the new board; and how many stay.
fn moves(locale: Locale, (old, now): (&Contest, &Board), (new, then): (&Contest, &Board)) -> (Vec<Move>, u64) {
    let shown = |score: Option<f64>, rules: &Contest| {
        score.map_or_else(|| "–".to_owned(), |score| format::score(score, rules.score.decimals))
    };
    let mut still = 0;
    let mut moves = Vec::new();
    for line in &then.scoreboard.rows {
        let before = now.scoreboard.rows.iter().find(|before| before.team_id == line.team_id);
        let row = Move {
            team: line.team.clone(),
            before: before.map_or((None, "–".to_owned()), |before| {
                (before.rank, shown(before.score, old))
            }),
            after: (line.rank, shown(line.score, new)),
            note: match &line.standing {
                Standing::Ranked { .. } => String::new(),
                Standing::BelowFloor {
                    measure,
                    value,
                    bound,
                    at_least,
                    ..
                } => format!("{measure} {} < {at_least}", format::measure(bound.unwrap_or(*value))),
                Standing::Unscored { reason } => locale.pick(&reason.en, &reason.ko).to_owned(),
            },
        };
        if row.before == row.after {
            still += 1;
        } else {
            moves.push(row);
        }
    }
    (moves, still)
}

/// The rules that differ, by their names.
fn differences(locale: Locale, before: &Contest, after: &Contest) -> Vec<Difference> {
    let (before, after) = (rules_by_key(before), rules_by_key(after));
    let mut keys: Vec<&String> = before.iter().chain(&after).map(|(key, _)| key).collect();
    let mut seen = std::collections::HashSet::new();
    keys.retain(|key| seen.insert(*key));
    let find = |of: &[(String, String)], key: &str| of.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone());
    let difference = |key: &String| {
        let (before, after) = (find(&before, key), find(&after, key));
        (before != after).then(|| Difference {
            label: label(locale, key),
            key: key.clone(),
            before,
            after,
        })
    };
    keys.into_iter().filter_map(difference).collect()
}

/// The name of a rule: of the longest part of its key that has one.
fn label(locale: Locale, key: &str) -> String {
    let dashed = key.replace(['.', '_', '['], "-");
    let mut part = dashed.as_str();
    loop {
        let name = format!("rule-{part}");
        if i18n::has(locale, &name) {
            return locale.t(&name);
        }
        match part.rsplit_once('-') {
            Some((shorter, _)) => part = shorter,
            None => return key.to_owned(),
        }
    }
}

/// Every rule by its dotted key, as it is written. Lists of plain values are one rule, lists of tables one rule an entry.
fn rules_by_key(rules: &Contest) -> Vec<(String, String)> {
    fn walk(key: &str, value: &Value, into: &mut Vec<(String, String)>) {
        let below = |name: &str| {
            if key.is_empty() {
                name.to_owned()
            } else {
                format!("{key}.{name}")
            }
        };
        match value {
            // Measures have dots in their own names; a table of them is one level deep like any other.
            Value::Object(fields) => fields.iter().for_each(|(name, value)| walk(&below(name), value, into)),
            Value::Array(items) if items.iter().any(Value::is_object) => {
                for (at, item) in items.iter().enumerate() {
                    walk(&format!("{key}[{at}]"), item, into);
                }
            }
            Value::Array(items) => {
                let words: Vec<String> = items.iter().map(plain).collect();
                into.push((key.to_owned(), words.join(", ")));
            }
            Value::Null => {}
            other => into.push((key.to_owned(), plain(other))),
        }
    }
    fn plain(value: &Value) -> String {
        match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
    let mut into = Vec::new();
    walk("", &json!(rules), &mut into);
    into
}

/// Puts rules into force, if those they were compared with still are.
async fn adopt(
    state: Data<AppState>,
    request: HttpRequest,
    RequireOrganizer(user): RequireOrganizer,
    mut visit: Visit,
    Form(given): Form<Source>,
) -> Result<HttpResponse, ApiError> {
    visit.page.path = "/admin/contest".to_owned();
    let (stored, source) = (current(&state).await?, given.text());
    let rules = match read(&state, &stored, &source).await? {
        Err(wrong) => return draw(&state, visit, source, wrong).await,
        Ok(rules) => rules,
    };
    let stale = |locale: Locale| Some(locale.t("preview-stale"));
    if given.digest != stored.digest {
        let wrong = stale(visit.locale());
        return compare(&state, visit, &stored, rules, source, wrong).await;
    }
    if source == stored.source {
        return Ok(see_other(&done("", "/admin/contest", "nothing")));
    }
    let (storage, bytes) = (state.storage.clone(), source.clone().into_bytes());
    let length = bytes.len() as u64;
    let sha256 = blocking(move || storage.put_blob(&bytes))
        .await
        .map_err(ApiError::internal)?;
    let mut files = contests::files(&state.pool, &stored.rules.id).await?;
    for file in files.iter_mut().filter(|file| file.name == CONTEST_FILE) {
        file.bytes = length;
        file.sha256.clone_from(&sha256);
    }
    let mut transaction = state.pool.begin().await?;
    if contests::lock(&mut transaction, &rules.id).await?.as_deref() != Some(stored.source.as_str()) {
        transaction.rollback().await?;
        let stored = current(&state).await?;
        let wrong = stale(visit.locale());
        return compare(&state, visit, &stored, rules, source, wrong).await;
    }
    let keys: Vec<String> = differences(Locale::En, &stored.rules, &rules)
        .into_iter()
        .map(|difference| difference.key)
        .collect();
    let version = contests::store(&mut transaction, &rules, &source, &files, Some(user.id)).await?;
    let detail = json!({ "version": version, "from": stored.digest, "to": rules.digest(), "changed": keys });
    let object = format!("contest:{}", rules.id);
    record(&mut transaction, &request, &user, "contest.adopted", &object, detail).await?;
    transaction.commit().await?;
    state.boards.changed();
    Ok(see_other(&done("", "/admin/contest", "adopted")))
}

async fn version(
    state: Data<AppState>,
    RequireOrganizer(_): RequireOrganizer,
    visit: Visit,
    number: Path<String>,
) -> Result<HttpResponse, ApiError> {
    // Read here, so that who may not look is told that first.
    let number: i32 = number.parse().map_err(|_| ApiError::not_found())?;
    let contest = current(&state).await?;
    let (version, source) = contests::version(&state.pool, &contest.rules.id, number)
        .await?
        .ok_or_else(ApiError::not_found)?;
    // An old version may be of a form that no longer parses; it is shown as it was.
    let differences = match Contest::parse(&source) {
        Ok(rules) => differences(visit.locale(), &rules, &contest.rules),
        Err(_) => Vec::new(),
    };
    let page = VersionPage {
        row: row(version, visit.zone()),
        source,
        differences,
        page: visit.page,
    };
    Ok(views::html(StatusCode::OK, &page))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(change: impl Fn(String) -> String) -> Contest {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/sample/contest.toml");
        Contest::parse(&change(std::fs::read_to_string(file).unwrap())).unwrap()
    }

    #[test]
    fn changed_rules_are_named() {
        let before = rules(|text| text);
        let after = rules(|text| {
            text.replace("at_least = 0.75", "at_least = 0.8")
                .replace("graded_per_day = 10", "graded_per_day = 3")
        });
        let named = |locale| -> Vec<(String, String)> {
            let of = |difference: Difference| (difference.key, difference.label);
            differences(locale, &before, &after).into_iter().map(of).collect()
        };
        assert_eq!(
            named(Locale::En),
            [
                ("score.floors[0].at_least".to_owned(), "Floors".to_owned()),
                (
                    "quota.graded_per_day".to_owned(),
                    "Published scores a team a day".to_owned()
                ),
            ]
        );
        assert_eq!(named(Locale::Ko)[0].1, "하한");
        assert!(differences(Locale::En, &before, &before).is_empty());
    }

    #[test]
    fn rules_about_files_need_the_command() {
        let before = rules(|text| text);
        assert!(needs_files(&before, &rules(|text| text.replace("decimals = 4", "decimals = 2"))).is_empty());
        assert_eq!(
            needs_files(&before, &rules(|text| text.replace("limit = 100", "limit = 50"))),
            ["grading.limit"]
        );
        let timed = rules(|text| text + "\n[grading.time]\nrounds = 7\n");
        assert_eq!(needs_files(&before, &timed), ["grading.time"]);
    }
}
