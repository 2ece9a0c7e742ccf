//! A person's team: make one, join one by its code, see its members.

use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;

use super::field_error;
use super::visit::{Visit, see_other};
use crate::auth::throttle::Subject;
use crate::auth::{RequireUser, User, client};
use crate::db::audit::{self, Entry};
use crate::db::ids::TeamId;
use crate::db::teams;
use crate::domain::{InviteCode, Refused, TeamName, unknown_code};
use crate::error::{ApiError, violates};
use crate::middleware::origin;
use crate::state::AppState;
use crate::views::{self, MemberRow, Page, TeamInfo, TeamPage, When};

/// `GET` and `POST /team`, `POST /team/join`.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(
        web::resource("/team")
            .route(web::get().to(show))
            .route(web::post().to(create)),
    )
    .service(
        web::resource("/team/join")
            .route(web::get().to(show_join))
            .route(web::post().to(join)),
    );
}

#[derive(Deserialize)]
struct Done {
    done: Option<String>,
}

#[derive(Deserialize)]
struct CreateForm {
    name: String,
}

#[derive(Deserialize)]
struct JoinForm {
    code: String,
}

/// What the page shows again after a fault.
#[derive(Default)]
struct Typed {
    name: String,
    code: String,
    fault: Option<(&'static str, Refused)>,
}

async fn show(
    RequireUser(user): RequireUser,
    state: web::Data<AppState>,
    mut visit: Visit,
    query: web::Query<Done>,
) -> Result<HttpResponse, ApiError> {
    let notice = match query.done.as_deref() {
        Some("created") => Some((
            "The team is made. Share its invitation code.",
            "팀을 만들었습니다. 초대 코드를 팀원에게 알려 주세요.",
        )),
        Some("joined") => Some(("You have joined the team.", "팀에 들어왔습니다.")),
        _ => None,
    };
    visit.page.notice = notice.map(|(en, ko)| visit.locale().pick(en, ko).to_owned());
    draw(StatusCode::OK, &state, visit, &user, Typed::default()).await
}

/// A reload after a refused code, or the address typed by hand.
async fn show_join() -> HttpResponse {
    see_other("/team")
}

async fn draw(
    status: StatusCode,
    state: &AppState,
    visit: Visit,
    user: &User,
    typed: Typed,
) -> Result<HttpResponse, ApiError> {
    let zone = visit.zone();
    let team = match &visit.team {
        None => None,
        Some(team) => {
            let members = teams::members(&state.pool, team.id).await?;
            let row = |member: teams::Member| MemberRow {
                you: member.user == user.id,
                name: member.name,
                captain: member.captain,
                joined: Some(When::new(member.joined_at, zone)),
            };
            let code = InviteCode::parse(&team.invite_code).map(|code| code.to_string());
            Some(TeamInfo {
                name: team.name.clone(),
                invite_code: code.unwrap_or_else(|_| team.invite_code.clone()),
                members: members.into_iter().map(row).collect(),
            })
        }
    };
    let locale = visit.locale();
    let page = Page {
        path: "/team".to_owned(),
        ..visit.page
    };
    let errors = typed
        .fault
        .iter()
        .map(|(field, fault)| field_error(locale, field, fault))
        .collect();
    let page = TeamPage {
        page,
        team,
        name: typed.name,
        code: typed.code,
        errors,
    };
    Ok(views::html(status, &page))
}

async fn create(
    RequireUser(user): RequireUser,
    request: HttpRequest,
    state: web::Data<AppState>,
    visit: Visit,
    form: web::Form<CreateForm>,
) -> Result<HttpResponse, ApiError> {
    let contest = contest_of(&visit)?;
    let made = match TeamName::parse(&form.name) {
        Ok(name) => make(&request, &state, &contest, &name, &user).await?,
        Err(fault) => Err(fault),
    };
    match made {
        Ok(_) => Ok(see_other("/team?done=created")),
        Err(fault) => {
            let typed = Typed {
                name: form.into_inner().name,
                fault: Some(("name", fault)),
                ..Typed::default()
            };
            draw(StatusCode::UNPROCESSABLE_ENTITY, &state, visit, &user, typed).await
        }
    }
}

async fn make(
    request: &HttpRequest,
    state: &AppState,
    contest: &str,
    name: &TeamName,
    user: &User,
) -> Result<Result<TeamId, Refused>, ApiError> {
    let mut transaction = state.pool.begin().await?;
    let team = match teams::create(&mut transaction, contest, name, &InviteCode::random(), user.id).await {
        Ok(team) => team,
        Err(error) if violates(&error, teams::NAME_KEY) => {
            return Ok(Err(Refused::new(
                "team-name-taken",
                "Another team of this contest has this name. Choose another.",
                "이 대회에 같은 이름의 팀이 있습니다. 다른 이름으로 정하세요.",
            )));
        }
        Err(error) if violates(&error, teams::ONE_TEAM_KEY) => return Err(in_a_team()),
        Err(error) => return Err(error.into()),
    };
    let object = format!("team:{team}");
    let entry = Entry::new("team.created", &object).after(json!({ "name": name.as_str() }));
    audit::record(&mut *transaction, &origin(request), entry).await?;
    transaction.commit().await?;
    Ok(Ok(team))
}

async fn join(
    RequireUser(user): RequireUser,
    request: HttpRequest,
    state: web::Data<AppState>,
    visit: Visit,
    form: web::Form<JoinForm>,
) -> Result<HttpResponse, ApiError> {
    let contest = contest_of(&visit)?;
    // Guessing codes is slowed like guessing passwords, for the person and for the network.
    let address = client::address(&request, &state.settings);
    let subjects = [Subject::Account(format!("join {}", user.id)), Subject::network(address)];
    let wait = state.throttle.wait(&subjects);
    if !wait.is_zero() {
        return Err(ApiError::too_many(
            "join-throttled",
            wait,
            &format!("Too many wrong codes. Try again in {} seconds.", wait.as_secs() + 1),
            &format!(
                "초대 코드를 여러 번 잘못 입력했습니다. {}초 뒤에 다시 시도하세요.",
                wait.as_secs() + 1
            ),
        ));
    }
    let team = match InviteCode::parse(&form.code) {
        Ok(code) => teams::by_invite_code(&state.pool, &contest, &code).await?,
        Err(_) => None,
    };
    let Some(team) = team else {
        state.throttle.failed(&subjects);
        let typed = Typed {
            code: form.into_inner().code,
            fault: Some(("code", unknown_code())),
            ..Typed::default()
        };
        return draw(StatusCode::UNPROCESSABLE_ENTITY, &state, visit, &user, typed).await;
    };
    let mut transaction = state.pool.begin().await?;
    match teams::add_member(&mut *transaction, team.id, &team.contest_id, user.id, false).await {
        Ok(()) => {}
        Err(error) if violates(&error, teams::ONE_TEAM_KEY) => return Err(in_a_team()),
        Err(error) => return Err(error.into()),
    }
    let object = format!("team:{}", team.id);
    let entry = Entry::new("team.joined", &object);
    audit::record(&mut *transaction, &origin(&request), entry).await?;
    transaction.commit().await?;
    Ok(see_other("/team?done=joined"))
}

fn contest_of(visit: &Visit) -> Result<String, ApiError> {
    let contest = visit.contest.as_ref().map(|contest| contest.rules.id.clone());
    contest.ok_or_else(|| {
        ApiError::conflict(
            "no-contest",
            "There is no contest yet. Come back when the organizers have opened one.",
            "아직 열린 대회가 없습니다. 운영진이 대회를 연 뒤에 다시 오세요.",
        )
    })
}

fn in_a_team() -> ApiError {
    ApiError::conflict(
        "already-in-a-team",
        "You are already in a team of this contest, and a person can be in only one.",
        "이미 이 대회의 팀에 속해 있습니다. 한 사람은 한 팀에만 속할 수 있습니다.",
    )
}
