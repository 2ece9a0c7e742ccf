-- The organizers' desk: disqualifications, versions of the rules, a team's own quota, and a queue that can be paged.

-- Who is out of the ranking, and why. A row is never changed back or deleted: undoing it says when and by whom, so that the
-- table itself tells the story. Rows whose undone_at is null are in force.
CREATE TABLE disqualifications (
    id            uuid PRIMARY KEY,
    contest_id    text NOT NULL REFERENCES contests,
    team_id       uuid NOT NULL REFERENCES teams ON DELETE CASCADE,
    submission_id uuid REFERENCES submissions ON DELETE CASCADE,  -- null: everything of the team
    reason        text NOT NULL CHECK (reason <> ''),             -- the team reads it
    made_by       uuid REFERENCES users,
    made_at       timestamptz NOT NULL DEFAULT now(),
    undone_by     uuid REFERENCES users,
    undone_at     timestamptz
);
-- At most one in force a submission and a team: saying it twice changes nothing.
CREATE UNIQUE INDEX disqualifications_submission_key ON disqualifications (submission_id)
    WHERE undone_at IS NULL AND submission_id IS NOT NULL;
CREATE UNIQUE INDEX disqualifications_team_key ON disqualifications (team_id)
    WHERE undone_at IS NULL AND submission_id IS NULL;

-- Every contest.toml that was in force, for those who want to know under which rules something happened.
CREATE TABLE contest_versions (
    contest_id text NOT NULL REFERENCES contests ON DELETE CASCADE,
    version    integer NOT NULL,
    digest     text NOT NULL,
    source     text NOT NULL,
    adopted_by uuid REFERENCES users,                             -- null: the command line
    adopted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (contest_id, version)
);
INSERT INTO contest_versions (contest_id, version, digest, source, adopted_at)
    SELECT id, version, digest, source, imported_at FROM contests;

-- Published scores a day for this team; null: as the rules say.
ALTER TABLE teams ADD COLUMN graded_per_day integer CHECK (graded_per_day >= 0);

-- How a worker has fared.
CREATE INDEX attempts_worker_started_idx ON attempts (worker_id, started_at DESC);
-- Ids rise with time, so one column pages by age.
CREATE INDEX jobs_state_id_idx ON jobs (state, id);
CREATE INDEX audit_log_action_idx ON audit_log (action text_pattern_ops, id);
CREATE INDEX audit_log_at_idx ON audit_log (at);
