//! Accounts and teams: who is who, who may do what, how much a team may have graded.

use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Form, Path, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;

use super::orders::audited;
use super::submissions::line;
use super::{Answer, CameFrom, PAGE, address, admin_only, done, notice, optional, record, words};
use crate::auth::viewer::Role;
use crate::auth::{RequireOrganizer, User};
use crate::controllers::visit::{Visit, after, see_other};
use crate::db::ids::{TeamId, UserId};
use crate::db::people::{self, Person, RoleChange, TeamRow, Wanted};
use crate::db::teams;
use crate::error::ApiError;
use crate::state::AppState;
use crate::views::{
    self, AdminTeamPage, ConfirmPage, Pager, PersonRow, TeamLine, TeamsPage, UsersPage, When, role_key,
};

/// Most published scores a day that a team may be given.
const MOST_QUOTA: i32 = 1000;
const ROLES: [&str; 3] = ["participant", "organizer", "admin"];

/// `/admin/users…` and `/admin/teams…`.
pub(super) fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/admin/users").route(web::get().to(users)))
        .service(
            web::resource("/admin/users/{id}/role")
                .route(web::get().to(ask_role))
                .route(web::post().to(set_role)),
        )
        .service(
            web::resource("/admin/users/{id}/sessions")
                .route(web::get().to(ask_sessions))
                .route(web::post().to(end_sessions)),
        )
        .service(web::resource("/admin/teams").route(web::get().to(team_list)))
        .service(web::resource("/admin/teams/{id}").route(web::get().to(team)))
        .service(web::resource("/admin/teams/{id}/quota").route(web::post().to(quota)));
}

#[derive(Deserialize, Default)]
struct Asked {
    #[serde(default)]
    q: String,
    #[serde(default)]
    role: String,
    #[serde(default)]
    after: String,
}

async fn users(
    state: Data<AppState>,
    RequireOrganizer(user): RequireOrganizer,
    mut visit: Visit,
    asked: Query<Asked>,
) -> Result<HttpResponse, ApiError> {
    notice(&mut visit);
    let zone = visit.zone();
    let contest = visit.contest.as_ref().map(|contest| contest.rules.id.as_str());
    let role = ROLES.contains(&asked.role.as_str()).then_some(asked.role.as_str());
    let beyond = optional(&asked.after)?;
    let search = words(&asked.q);
    let limit = PAGE as i64 + 1;
    let mut rows = people::find(&state.pool, contest, search.as_deref(), role, beyond, limit).await?;
    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let link = |after: &str| {
        address(
            "/admin/users",
            &[("q", &asked.q), ("role", &asked.role), ("after", after)],
        )
    };
    let row = |person: Person| PersonRow {
        you: person.id == user.id,
        id: person.id.to_string(),
        name: person.name,
        email: person.email,
        role: person.role,
        team: person
            .team
            .zip(person.team_id)
            .map(|(name, id)| (name, format!("/admin/teams/{id}"))),
        sessions: person.sessions.unsigned_abs(),
        seen: person.seen_at.map(|at| When::new(at, zone)),
    };
    let page = UsersPage {
        pager: Pager {
            first: beyond.map(|_| link("")),
            next: rows.last().filter(|_| more).map(|row| link(&row.id.to_string())),
        },
        rows: rows.into_iter().map(row).collect(),
        search: asked.q.clone(),
        role: asked.role.clone(),
        admin: user.role == Role::Admin,
        page: visit.page,
    };
    Ok(views::html(StatusCode::OK, &page))
}

#[derive(Deserialize)]
struct NewRole {
    #[serde(default)]
    role: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    back: String,
}

impl NewRole {
    fn known(&self) -> Result<&str, ApiError> {
        let known = ROLES.contains(&self.role.as_str()).then_some(self.role.as_str());
        known.ok_or_else(|| ApiError::unprocessable("role-unknown", "There is no such role.", "없는 역할입니다."))
    }
}

/// The person a confirmation is about.
async fn person(state: &AppState, id: UserId, visit: &Visit) -> Result<(Vec<(String, String)>, String), ApiError> {
    let locale = visit.locale();
    let (name, email, role) = people::one(&state.pool, id).await?.ok_or_else(ApiError::not_found)?;
    let facts = vec![
        (locale.t("field-name"), format!("{name} ({email})")),
        (locale.t("team-role"), locale.t(role_key(&role))),
    ];
    Ok((facts, role))
}

async fn ask_role(
    state: Data<AppState>,
    RequireOrganizer(user): RequireOrganizer,
    visit: Visit,
    id: Path<UserId>,
    wish: Query<NewRole>,
) -> Result<HttpResponse, ApiError> {
    admin_only(&user)?;
    let role = wish.known()?;
    let (mut facts, _) = person(&state, *id, &visit).await?;
    let locale = visit.locale();
    facts.push((locale.t("users-new-role"), locale.t(role_key(role))));
    let page = ConfirmPage {
        title: locale.t("confirm-role"),
        lead: locale.t("confirm-role-lead"),
        facts,
        action: format!("/admin/users/{id}/role"),
        hidden: vec![("role".to_owned(), role.to_owned())],
        reason: Some(audited(locale, false, &Answer::default())),
        button: locale.t("confirm-role-button"),
        back: after(&wish.back, "/admin/users").to_owned(),
        page: visit.page,
        ..ConfirmPage::default()
    };
    Ok(views::html(StatusCode::OK, &page))
}

async fn set_role(
    state: Data<AppState>,
    request: HttpRequest,
    RequireOrganizer(user): RequireOrganizer,
    id: Path<UserId>,
    Form(wish): Form<NewRole>,
) -> Result<HttpResponse, ApiError> {
    admin_only(&user)?;
    let role = wish.known()?;
    let answer = Answer {
        reason: wish.reason.clone(),
        back: wish.back.clone(),
    };
    let reason = answer.reason()?;
    let mut transaction = state.pool.begin().await?;
    let what = match people::set_role(&mut transaction, *id, role).await? {
        RoleChange::Nobody => return Err(ApiError::not_found()),
        RoleChange::LastAdmin => {
            return Err(ApiError::conflict(
                "last-admin",
                "This is the only admin. Make somebody else an admin first.",
                "유일한 관리자입니다. 먼저 다른 사람을 관리자로 지정하세요.",
            ));
        }
        RoleChange::Same => "nothing",
        RoleChange::From(before) => {
            let (object, detail) = (
                format!("user:{id}"),
                json!({ "from": before, "to": role, "reason": reason }),
            );
            record(&mut transaction, &request, &user, "user.role", &object, detail).await?;
            "role"
        }
    };
    transaction.commit().await?;
    Ok(see_other(&done(&wish.back, "/admin/users", what)))
}

/// Organizers look after participants; those who run the installation are looked after by admins.
fn may_end(user: &User, role: &str) -> Result<(), ApiError> {
    if role == "participant" {
        Ok(())
    } else {
        admin_only(user)
    }
}

async fn ask_sessions(
    state: Data<AppState>,
    RequireOrganizer(user): RequireOrganizer,
    visit: Visit,
    id: Path<UserId>,
    from: Query<CameFrom>,
) -> Result<HttpResponse, ApiError> {
    let (facts, role) = person(&state, *id, &visit).await?;
    may_end(&user, &role)?;
    let locale = visit.locale();
    let page = ConfirmPage {
        title: locale.t("confirm-sessions"),
        lead: locale.t("confirm-sessions-lead"),
        facts,
        action: format!("/admin/users/{id}/sessions"),
        reason: Some(audited(locale, false, &Answer::default())),
        button: locale.t("users-end-sessions"),
        back: after(&from.back, "/admin/users").to_owned(),
        page: visit.page,
        ..ConfirmPage::default()
    };
    Ok(views::html(StatusCode::OK, &page))
}

async fn end_sessions(
    state: Data<AppState>,
    request: HttpRequest,
    RequireOrganizer(user): RequireOrganizer,
    id: Path<UserId>,
    Form(answer): Form<Answer>,
) -> Result<HttpResponse, ApiError> {
    let reason = answer.reason()?;
    let mut transaction = state.pool.begin().await?;
    let (.., role) = people::one(&mut *transaction, *id)
        .await?
        .ok_or_else(ApiError::not_found)?;
    may_end(&user, &role)?;
    let ended = people::end_sessions(&mut transaction, *id).await?;
    if ended > 0 {
        let (object, detail) = (format!("user:{id}"), json!({ "sessions": ended, "reason": reason }));
        record(
            &mut transaction,
            &request,
            &user,
            "user.sessions-ended",
            &object,
            detail,
        )
        .await?;
    }
    transaction.commit().await?;
    let what = if ended > 0 { "sessions" } else { "nothing" };
    Ok(see_other(&done(&answer.back, "/admin/users", what)))
}

async fn team_list(
    state: Data<AppState>,
    RequireOrganizer(_): RequireOrganizer,
    mut visit: Visit,
    asked: Query<Asked>,
) -> Result<HttpResponse, ApiError> {
    notice(&mut visit);
    let mut page = TeamsPage {
        search: asked.q.clone(),
        ..TeamsPage::default()
    };
    if let Some(contest) = &visit.contest {
        let beyond = optional(&asked.after)?;
        let (id, limit) = (&contest.rules.id, PAGE as i64 + 1);
        let mut rows = people::teams(&state.pool, id, words(&asked.q).as_deref(), None, beyond, limit).await?;
        let more = rows.len() > PAGE;
        rows.truncate(PAGE);
        let link = |after: &str| address("/admin/teams", &[("q", &asked.q), ("after", after)]);
        page.usual = contest.rules.quota.graded_per_day;
        page.pager = Pager {
            first: beyond.map(|_| link("")),
            next: rows.last().filter(|_| more).map(|row| link(&row.id.to_string())),
        };
        page.rows = rows.into_iter().map(team_line).collect();
    }
    page.page = visit.page;
    Ok(views::html(StatusCode::OK, &page))
}

fn team_line(row: TeamRow) -> TeamLine {
    TeamLine {
        id: row.id.to_string(),
        name: row.name,
        members: row.members.unsigned_abs(),
        submissions: row.submissions.unsigned_abs(),
        quota: row.graded_per_day.and_then(|quota| u32::try_from(quota).ok()),
        disqualified: row.disqualified,
    }
}

async fn team(
    state: Data<AppState>,
    RequireOrganizer(_): RequireOrganizer,
    mut visit: Visit,
    id: Path<TeamId>,
) -> Result<HttpResponse, ApiError> {
    notice(&mut visit);
    draw_team(&state, visit, *id, None).await
}

async fn draw_team(
    state: &AppState,
    visit: Visit,
    id: TeamId,
    wrong: Option<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let zone = visit.zone();
    let contest = visit.contest.as_ref().ok_or_else(ApiError::not_found)?;
    let found = people::teams(&state.pool, &contest.rules.id, None, Some(id), None, 1).await?;
    let team = team_line(found.into_iter().next().ok_or_else(ApiError::not_found)?);
    let members = teams::members(&state.pool, id).await?;
    let board = state.boards.of(state, contest).await?;
    let wanted = Wanted {
        team: Some(id),
        ..Wanted::default()
    };
    let rows = people::submissions(&state.pool, &contest.rules.id, &wanted, 200).await?;
    let status = if wrong.is_some() {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    };
    let own = team.quota.map(|quota| quota.to_string()).unwrap_or_default();
    let (typed, wrong) = match wrong {
        Some((typed, wrong)) => (typed, Some(wrong)),
        None => (own, None),
    };
    let decimals = contest.rules.score.decimals;
    let page = AdminTeamPage {
        usual: contest.rules.quota.graded_per_day,
        members: members
            .into_iter()
            .map(|member| (member.name, member.captain, When::new(member.joined_at, zone)))
            .collect(),
        rows: rows.into_iter().map(|row| line(row, &board, decimals, zone)).collect(),
        team,
        typed,
        wrong,
        page: visit.page,
    };
    Ok(views::html(status, &page))
}

#[derive(Deserialize)]
struct NewQuota {
    quota: String,
}

async fn quota(
    state: Data<AppState>,
    request: HttpRequest,
    RequireOrganizer(user): RequireOrganizer,
    mut visit: Visit,
    id: Path<TeamId>,
    Form(form): Form<NewQuota>,
) -> Result<HttpResponse, ApiError> {
    let place = format!("/admin/teams/{id}");
    let typed = form.quota.trim();
    let wish = match typed {
        "" => Some(None),
        typed => typed
            .parse::<i32>()
            .ok()
            .filter(|wish| (0..=MOST_QUOTA).contains(wish))
            .map(Some),
    };
    let Some(wish) = wish else {
        visit.page.path = place;
        let wrong = visit.locale().t("team-quota-wrong");
        return draw_team(&state, visit, *id, Some((form.quota, wrong))).await;
    };
    let mut transaction = state.pool.begin().await?;
    let before = people::set_quota(&mut transaction, *id, wish)
        .await?
        .ok_or_else(ApiError::not_found)?;
    let changed = before != wish;
    if changed {
        let (object, detail) = (format!("team:{id}"), json!({ "from": before, "to": wish }));
        record(&mut transaction, &request, &user, "team.quota", &object, detail).await?;
    }
    transaction.commit().await?;
    Ok(see_other(&done(
        &place,
        &place,
        if changed { "quota" } else { "nothing" },
    )))
}
