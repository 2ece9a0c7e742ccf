//! A team's submissions: the pages. One submission is drawn from the same parts whether it is asked for or pushed.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Path, ServiceConfig};
use assay_contest::Standing;
use chrono::Utc;
use chrono_tz::Tz;
use serde_json::Value;

use super::compare;
use super::submissions::{find, items};
use super::visit::Visit;
use crate::auth::{RequireUser, User};
use crate::db::contests::StoredContest;
use crate::db::disqualifications::Disqualification;
use crate::db::ids::SubmissionId;
use crate::db::results::Stored;
use crate::db::submissions::{self, State, Submission};
use crate::db::uploads::{self, FileState};
use crate::db::{contests, disqualifications, jobs, objects, receipt, results};
use crate::error::ApiError;
use crate::i18n::Locale;
use crate::outcomes::{Lens, Measured, Shown};
use crate::particles;
use crate::state::AppState;
use crate::storage::Key;
use crate::uploader::blocking;
use crate::views::{
    self, DisqualifiedView, DraftFile, DraftView, FileRow, NewSubmissionPage, ProblemView, QuotaView, ReportFragment,
    Sealing, StageFacts, StagesFragment, SubmissionPage, SubmissionRow, SubmissionState, SubmissionsPage, SubmitGate,
    UploadLimits, When,
};

/// `/submissions…`.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/submissions").route(web::get().to(list)))
        .service(web::resource("/submissions/new").route(web::get().to(new)))
        .service(web::resource("/submissions/{id}").route(web::get().to(show)));
}

/// The team's submissions.
async fn list(state: Data<AppState>, RequireUser(user): RequireUser, visit: Visit) -> Result<HttpResponse, ApiError> {
    let zone = visit.zone();
    let (mut rows, mut decimals) = (Vec::new(), 0);
    let out = match &visit.team {
        Some(team) => disqualifications::against(&state.pool, team.id).await?,
        None => Vec::new(),
    };
    if let Some(contest) = &visit.contest {
        decimals = contest.rules.score.decimals;
        let board = state.boards.of(&state, contest).await?;
        for submission in submissions::mine(&state.pool, &contest.rules.id, user.id).await? {
            let score = board.scores.get(&submission.id).copied();
            let out = out.iter().find(|out| out.submission == Some(submission.id));
            rows.push(row(submission, score, out, zone));
        }
    }
    let team_out = out.iter().find(|out| out.submission.is_none());
    let quota = quota(&state, &visit).await?;
    Ok(views::html(
        StatusCode::OK,
        &SubmissionsPage {
            page: visit.page,
            decimals,
            rows,
            out: team_out.map(|out| out_view(out, zone)),
            quota,
        },
    ))
}

/// Why something is out of the ranking, for its team.
fn out_view(out: &Disqualification, zone: Tz) -> DisqualifiedView {
    DisqualifiedView {
        reason: out.reason.clone(),
        team: out.submission.is_none(),
        at: Some(When::new(out.at, zone)),
    }
}

fn row(submission: Submission, score: Option<f64>, out: Option<&Disqualification>, zone: Tz) -> SubmissionRow {
    let verdict = submission.verdict.unwrap_or_default();
    SubmissionRow {
        id: submission.id.to_string(),
        title: submission.title,
        state: SubmissionState::parse(submission.state.name()),
        received: submission.received_at.map(|at| When::new(at, zone)),
        created: Some(When::new(submission.created_at, zone)),
        scheme: verdict["scheme"].as_str().unwrap_or_default().to_owned(),
        bytes: verdict["bytes"]["total"].as_u64().filter(|bytes| *bytes > 0),
        score,
        out: out.map(|out| out_view(out, zone)),
    }
}

async fn quota(state: &AppState, visit: &Visit) -> Result<Option<QuotaView>, ApiError> {
    let (Some(contest), Some(team)) = (&visit.contest, &visit.team) else {
        return Ok(None);
    };
    let usage = receipt::usage(&state.pool, team.id, &contest.rules.timezone).await?;
    Ok(Some(QuotaView {
        used: u32::try_from(usage.published).unwrap_or(u32::MAX),
        per_day: usage.limit(&contest.rules),
        resets: Some(When::new(usage.resets, visit.zone())),
    }))
}

/// The page that checks, uploads and sends.
async fn new(state: Data<AppState>, RequireUser(user): RequireUser, visit: Visit) -> Result<HttpResponse, ApiError> {
    let gate = match (&visit.contest, &visit.team) {
        (None, _) => SubmitGate::NoContest,
        (Some(_), None) => SubmitGate::NoTeam,
        // The database's clock decides when a draft is sent; this one only decides what the page says.
        (Some(contest), Some(_)) if contest.rules.phase_at(Utc::now()).is_none() => SubmitGate::Closed,
        _ => SubmitGate::Open,
    };
    let limits = visit.contest.as_ref().map(|contest| UploadLimits {
        max_bytes: contest.rules.checkpoint.max_bytes,
        max_files: contest.rules.checkpoint.max_files,
        formats: contest.rules.checkpoint.formats.clone(),
        base_bytes: Some(contest.rules.base.bytes),
    });
    let quota = quota(&state, &visit).await?;
    let drafts = match &visit.contest {
        Some(contest) if gate == SubmitGate::Open => drafts(&state, contest, &user, visit.zone()).await?,
        _ => Vec::new(),
    };
    Ok(views::html(
        StatusCode::OK,
        &NewSubmissionPage {
            page: visit.page,
            gate,
            limits,
            quota,
            drafts,
        },
    ))
}

/// The team's uploads that were begun and not sent. One whose every file was given up has nothing to go on with.
async fn drafts(state: &AppState, contest: &StoredContest, user: &User, zone: Tz) -> Result<Vec<DraftView>, ApiError> {
    let mut drafts = Vec::new();
    for submission in submissions::mine(&state.pool, &contest.rules.id, user.id).await? {
        if submission.state != State::Draft {
            continue;
        }
        let files = uploads::of_submission(&state.pool, submission.id).await?;
        if files
            .iter()
            .all(|file| matches!(file.state, FileState::Expired | FileState::Corrupt))
        {
            continue;
        }
        drafts.push(DraftView {
            id: submission.id.to_string(),
            title: submission.title,
            created: Some(When::new(submission.created_at, zone)),
            files: files
                .into_iter()
                .map(|file| DraftFile {
                    // What was given up is sent again.
                    received: match file.state {
                        FileState::Open | FileState::Complete => file.received,
                        FileState::Expired | FileState::Corrupt => 0,
                    },
                    name: file.name,
                    bytes: file.length,
                    sha256: file.sha256_expected,
                })
                .collect(),
        });
    }
    Ok(drafts)
}

/// One submission.
async fn show(
    state: Data<AppState>,
    RequireUser(user): RequireUser,
    visit: Visit,
    id: Path<SubmissionId>,
) -> Result<HttpResponse, ApiError> {
    let submission = find(&state, *id, &user).await?;
    let files = uploads::of_submission(&state.pool, *id).await?;
    let parts = parts(&state, &submission, visit.locale()).await?;
    let live = submission.state.is_live() || submission.state == State::Draft;
    let page = SubmissionPage {
        page: visit.page,
        id: id.to_string(),
        title: submission.title,
        team: submission.team,
        received: submission.received_at.map(|at| When::new(at, parts.zone)),
        files: files
            .into_iter()
            .map(|file| FileRow {
                name: file.name,
                bytes: file.length,
                received: file.received,
                sha256: file.sha256_expected,
            })
            .collect(),
        stages: parts.stages,
        report: parts.report,
        events_url: live.then(|| format!("/submissions/{id}/events")),
    };
    Ok(views::html(StatusCode::OK, &page))
}

/// The parts of a submission's page that change.
pub(super) struct Parts {
    pub(super) stages: StagesFragment,
    pub(super) report: Option<ReportFragment>,
    zone: Tz,
}

/// Draws the changing parts from what the database says now. The caller has checked who is asking.
pub(super) async fn parts(state: &AppState, submission: &Submission, locale: Locale) -> Result<Parts, ApiError> {
    let contest = contests::find(&state.pool, &submission.contest_id)
        .await?
        .ok_or_else(ApiError::not_found)?;
    let lens = Lens::of(state, &contest).await.map_err(ApiError::internal)?;
    let zone = contest.rules.zone();
    let job = jobs::latest(&state.pool, submission.id).await?;
    let result = results::latest(&state.pool, submission.id).await?;
    let shown = match &result {
        Some(result) => lens.report(&result.report, &items(state, &lens, result).await?),
        None => None,
    };

    let out = disqualifications::of_submission(&state.pool, submission.id).await?;
    let mut facts = StageFacts {
        state: SubmissionState::parse(submission.state.name()),
        received: submission.received_at.map(|at| When::new(at, zone)),
        finished: submission.finished_at.map(|at| When::new(at, zone)),
        problem: problems(locale, submission).into_iter().next(),
        disqualified: out.as_ref().map(|out| out_view(out, zone)),
        timed: contest.rules.grading.time.is_some(),
        ..StageFacts::default()
    };
    let mut measures = Measured::new();
    if let Some(job) = &job {
        facts.attempt = u32::try_from(job.attempts).unwrap_or(0);
        facts.max_attempts = u32::try_from(job.max_attempts).unwrap_or(0);
        match submission.state {
            State::Queued => {
                facts.queue_ahead = u64::try_from(job.ahead).ok();
                facts.wait = jobs::pace(&state.pool).await?.wait(job.ahead);
            }
            // What an earlier attempt reported says nothing about a job that waits again.
            State::Draft | State::Received => {}
            _ => {
                facts.worker.clone_from(&job.worker);
                if let Some(progress) = job.progress.as_ref().and_then(|progress| lens.progress(progress)) {
                    facts.stage = progress.stage.name().to_owned();
                    facts.task = progress.task;
                    facts.done = progress.done;
                    facts.total = progress.total;
                    facts.timings = progress.timings.into_iter().collect();
                    if submission.state == State::Running {
                        measures = progress.measures;
                    }
                }
            }
        }
    }
    if let (false, Some(shown)) = (submission.state.is_live(), &shown) {
        facts.timings = shown
            .report
            .timings
            .iter()
            .map(|(stage, seconds)| (stage.clone(), *seconds))
            .collect();
    }
    let facts_of = Grade {
        contest: &contest,
        submission,
        result: result.as_ref(),
        shown: shown.as_ref(),
        lens: &lens,
        out: out.is_some(),
    };
    // A re-run shows what it finds, as soon as there is something, not the result it may replace.
    let found = submission.verdict.as_ref().filter(|_| submission.state.is_live());
    let report = match ReportFragment::from_interim(locale, &contest.rules, found, &measures) {
        Some(interim) if !interim.tasks.is_empty() => Some(interim),
        interim => facts_of.report(state, locale).await?.or(interim),
    };
    Ok(Parts {
        stages: StagesFragment::new(locale, facts),
        report,
        zone,
    })
}

fn problems(locale: Locale, submission: &Submission) -> Vec<ProblemView> {
    submission
        .reason
        .as_ref()
        .map(|reason| ProblemView::list_from_json(locale, reason))
        .unwrap_or_default()
}

/// What a report is drawn from.
struct Grade<'a> {
    contest: &'a StoredContest,
    submission: &'a Submission,
    result: Option<&'a Stored>,
    shown: Option<&'a Shown>,
    lens: &'a Lens,
    /// Out of the ranking: no other submission stands in its place for being better.
    out: bool,
}

impl Grade<'_> {
    /// The report, once there is one: of the result that counts, or of the inspection of what cannot be graded.
    async fn report(&self, state: &AppState, locale: Locale) -> Result<Option<ReportFragment>, ApiError> {
        let (rules, submission) = (&self.contest.rules, self.submission);
        let base_bytes = Some(rules.base.bytes);
        let outcome = self.result.map(|result| result.outcome.as_str());
        let mut fragment = match (outcome, self.shown) {
            (Some("graded"), Some(shown)) => {
                let mut fragment = ReportFragment::from_report(locale, rules, shown);
                fragment.sealing = self.lens.sealing();
                if fragment.sealing == Sealing::Hidden {
                    fragment.forget_base();
                }
                self.stand(state, locale, &mut fragment).await?;
                fragment
            }
            (Some(_), Some(shown)) => {
                let inspection = if shown.report.submission.is_object() {
                    Some(&shown.report.submission)
                } else {
                    submission.verdict.as_ref()
                };
                ReportFragment {
                    accepted: false,
                    problems: problems(locale, submission),
                    ..ReportFragment::from_inspection(locale, base_bytes, inspection.unwrap_or(&Value::Null))
                }
            }
            _ => match &submission.verdict {
                Some(verdict)
                    if matches!(submission.state, State::Failed | State::Cancelled) || refused(submission, verdict) =>
                {
                    ReportFragment::from_inspection(locale, base_bytes, verdict)
                }
                _ => return Ok(None),
            },
        };
        if let Some(result) = self.result.filter(|_| !self.lens.hides()) {
            fragment.outputs = outputs(state, submission.id, result).await;
        }
        Ok(Some(fragment))
    }

    /// Where the submission stands on the board, and whom it can be compared with.
    async fn stand(&self, state: &AppState, locale: Locale, fragment: &mut ReportFragment) -> Result<(), ApiError> {
        let board = state.boards.of(state, self.contest).await?;
        let rows = &board.scoreboard.rows;
        let own = self.submission.id.to_string();
        let at = rows.iter().position(|row| row.submission == own);
        let line = at.and_then(|at| rows.get(at));
        if let Some(score) = &mut fragment.score {
            score.rank = line.and_then(|line| line.rank);
            score.band = line.and_then(|line| line.band).map(|band| (band.best, band.worst));
            score.note = note(
                locale,
                line.map(|line| &line.standing),
                score.value.is_some() && !self.out,
            );
        }
        // A team's best is compared with its neighbours on the board, another submission with the best.
        let others = match at {
            Some(at) => [at.checked_sub(1), Some(at + 1)],
            None => [rows.iter().position(|row| row.team_id == self.submission.team_id), None],
        };
        fragment.compare = others
            .into_iter()
            .filter_map(|at| rows.get(at?))
            .map(|other| {
                let title = if other.team_id == self.submission.team_id {
                    &other.title
                } else {
                    &other.team
                };
                (title.clone(), compare::address(&own, &other.submission))
            })
            .collect();
        Ok(())
    }
}

/// A draft that was held against the rules and turned away.
fn refused(submission: &Submission, verdict: &Value) -> bool {
    submission.state == State::Draft && verdict["verdict"] == "rejected"
}

fn note(locale: Locale, standing: Option<&Standing>, scored: bool) -> String {
    match standing {
        Some(Standing::Ranked { .. }) => String::new(),
        Some(Standing::BelowFloor {
            measure,
            value,
            bound,
            at_least,
            ..
        }) => {
            let (en, ko) = match bound {
                None => (
                    format!("{measure} is {value:.4}, below the floor of {at_least}: not ranked."),
                    format!("{measure} 값 {value:.4}은(는) 하한 {at_least}보다 낮아 순위에 들지 않습니다."),
                ),
                Some(bound) => (
                    format!(
                        "{measure} is {value:.4}; the lower bound of its interval, {bound:.4}, is below the floor of {at_least}: not \
                         ranked."
                    ),
                    format!(
                        "{measure} 값은 {value:.4}이지만 신뢰구간 하한 {bound:.4}이(가) 기준 {at_least}보다 낮아 순위에 들지 않습니다."
                    ),
                ),
            };
            locale.pick(&en, &particles::fit(&ko)).to_owned()
        }
        Some(Standing::Unscored { reason }) => locale.pick(&reason.en, &particles::fit(&reason.ko)).to_owned(),
        None if scored => locale
            .pick(
                "The board shows another submission of the team, its best.",
                "리더보드에는 이 팀의 가장 좋은 다른 제출이 표시됩니다.",
            )
            .to_owned(),
        None => String::new(),
    }
}

/// The files the worker handed back, by name, wherever they lie. A folder that cannot be read has none to offer.
async fn outputs(state: &AppState, id: SubmissionId, result: &Stored) -> Vec<(String, String)> {
    let folder = state.storage.output_dir(result.job, result.fence);
    let names = blocking(move || {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    });
    let mut names = names.await.unwrap_or_default();
    if state.storage.bucket().is_some() {
        let folder = Key::output(result.job, result.fence, "");
        let moved = objects::below(&state.pool, folder.as_str()).await.unwrap_or_default();
        names.extend(
            moved
                .iter()
                .filter_map(|key| key.strip_prefix(folder.as_str()).map(str::to_owned)),
        );
    }
    names.sort();
    names.dedup();
    names
        .into_iter()
        .map(|name| (name.clone(), format!("/submissions/{id}/outputs/{name}")))
        .collect()
}
