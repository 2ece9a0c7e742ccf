//! Accounts and teams.

use askama::Template;

use super::super::filters;
use super::super::page::{Page, When};
use super::{Pager, SubmissionLine};

/// GET `/admin/users`.
#[derive(Debug, Default, Template)]
#[template(path = "admin/users.html")]
pub struct UsersPage {
    /// What every page carries.
    pub page: Page,
    /// Accounts that match.
    pub rows: Vec<PersonRow>,
    /// The words asked for.
    pub search: String,
    /// The role asked for.
    pub role: String,
    /// The viewer may change roles.
    pub admin: bool,
    /// Where the list goes on.
    pub pager: Pager,
}

/// One account.
#[derive(Clone, Debug, Default)]
pub struct PersonRow {
    /// UUID.
    pub id: String,
    /// Display name.
    pub name: String,
    /// Address.
    pub email: String,
    /// participant, organizer or admin.
    pub role: String,
    /// Team: name and address.
    pub team: Option<(String, String)>,
    /// Live sessions.
    pub sessions: u64,
    /// When it was last seen.
    pub seen: Option<When>,
    /// The viewer.
    pub you: bool,
}

impl PersonRow {
    fn role_key(&self) -> &'static str {
        role_key(&self.role)
    }

    fn others(&self) -> Vec<(&'static str, &'static str)> {
        ["participant", "organizer", "admin"]
            .into_iter()
            .filter(|role| *role != self.role)
            .map(|role| (role, role_key(role)))
            .collect()
    }
}

/// The message key of a role.
pub(crate) fn role_key(role: &str) -> &'static str {
    match role {
        "admin" => "role-admin",
        "organizer" => "role-organizer",
        _ => "role-participant",
    }
}

/// GET `/admin/teams`.
#[derive(Debug, Default, Template)]
#[template(path = "admin/teams.html")]
pub struct TeamsPage {
    /// What every page carries.
    pub page: Page,
    /// Teams that match.
    pub rows: Vec<TeamLine>,
    /// The words asked for.
    pub search: String,
    /// What the rules give every team a day.
    pub usual: u32,
    /// Where the list goes on.
    pub pager: Pager,
}

/// One team.
#[derive(Clone, Debug, Default)]
pub struct TeamLine {
    /// UUID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How many people.
    pub members: u64,
    /// How many submissions were received.
    pub submissions: u64,
    /// Its own quota.
    pub quota: Option<u32>,
    /// Why it is disqualified as a whole.
    pub disqualified: Option<String>,
}

/// GET `/admin/teams/{id}`. Form: POST `/admin/teams/{id}/quota` (`csrf`, `quota`: a number or nothing).
#[derive(Debug, Default, Template)]
#[template(path = "admin/team.html")]
pub struct TeamPage {
    /// What every page carries.
    pub page: Page,
    /// The team.
    pub team: TeamLine,
    /// What the rules give every team a day.
    pub usual: u32,
    /// Its people: name, whether captain, when they came.
    pub members: Vec<(String, bool, When)>,
    /// Its submissions, newest first.
    pub rows: Vec<SubmissionLine>,
    /// What was typed for the quota.
    pub typed: String,
    /// What was wrong with it.
    pub wrong: Option<String>,
}
