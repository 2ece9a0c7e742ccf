-- The spine: accounts, teams, contests, submissions with their files, jobs with attempts, results, workers.
-- Every id is a UUIDv7 made by the application, so that ids sort by time and never reveal a count.
-- All times are timestamptz; every deadline and lease is judged by this database's clock, nobody else's.

CREATE TABLE users (
    id            uuid PRIMARY KEY,
    email         text NOT NULL,
    name          text NOT NULL,
    password_hash text NOT NULL,                       -- PHC string, argon2id
    role          text NOT NULL DEFAULT 'participant' CHECK (role IN ('participant', 'organizer', 'admin')),
    locale        text NOT NULL DEFAULT 'en' CHECK (locale IN ('en', 'ko')),
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_email_key ON users (lower(email));

CREATE TABLE sessions (
    token_sha256 bytea PRIMARY KEY,                    -- the cookie holds the token, the table only its digest
    user_id      uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    csrf_secret  bytea NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    seen_at      timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL
);
CREATE INDEX sessions_user_id_idx ON sessions (user_id);

CREATE TABLE contests (
    id         text PRIMARY KEY,                       -- the slug of contest.toml
    digest     text NOT NULL,                          -- sha256 of the canonical form
    source     text NOT NULL,                          -- contest.toml as given
    version    integer NOT NULL DEFAULT 1,
    imported_at timestamptz NOT NULL DEFAULT now()
);

-- What a grade needs beside the submission: the base's config, tokenizer and template, tasks and their documents.
CREATE TABLE contest_files (
    contest_id text NOT NULL REFERENCES contests ON DELETE CASCADE,
    path       text NOT NULL,                          -- relative, '/' separated
    bytes      bigint NOT NULL CHECK (bytes >= 0),
    sha256     text NOT NULL,
    PRIMARY KEY (contest_id, path)
);

CREATE TABLE teams (
    id          uuid PRIMARY KEY,
    contest_id  text NOT NULL REFERENCES contests,
    name        text NOT NULL,
    invite_code text NOT NULL UNIQUE,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX teams_contest_name_key ON teams (contest_id, lower(name));

CREATE TABLE memberships (
    team_id   uuid NOT NULL REFERENCES teams ON DELETE CASCADE,
    user_id   uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    contest_id text NOT NULL REFERENCES contests,
    captain   boolean NOT NULL DEFAULT false,
    joined_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (team_id, user_id),
    UNIQUE (contest_id, user_id)                       -- one team a person in a contest
);

-- draft -> received -> queued -> running -> graded | rejected | failed | cancelled.
-- `received` lasts for one transaction's length at most: it is the moment the deadline was judged.
CREATE TABLE submissions (
    id           uuid PRIMARY KEY,
    contest_id   text NOT NULL REFERENCES contests,
    team_id      uuid NOT NULL REFERENCES teams,
    created_by   uuid REFERENCES users,
    title        text NOT NULL DEFAULT '',
    state        text NOT NULL DEFAULT 'draft'
                 CHECK (state IN ('draft', 'received', 'queued', 'running', 'graded', 'rejected', 'failed', 'cancelled')),
    verdict      jsonb,                                -- the precheck's answer, for the page
    reason       jsonb,                                -- why it was rejected or failed: a list of coded problems
    created_at   timestamptz NOT NULL DEFAULT now(),
    received_at  timestamptz,
    finished_at  timestamptz,
    version      bigint NOT NULL DEFAULT 0             -- rises with every visible change; the SSE event id
);
CREATE INDEX submissions_team_id_idx ON submissions (team_id, created_at DESC);
CREATE INDEX submissions_contest_state_idx ON submissions (contest_id, state);

-- One row a declared file. `received` is the only authority on how many bytes are safe on disk.
CREATE TABLE submission_files (
    id               uuid PRIMARY KEY,
    submission_id    uuid NOT NULL REFERENCES submissions ON DELETE CASCADE,
    name             text NOT NULL,
    length           bigint NOT NULL CHECK (length >= 0),
    received         bigint NOT NULL DEFAULT 0 CHECK (received >= 0 AND received <= length),
    writer_epoch     bigint NOT NULL DEFAULT 0,
    sha256_expected  text NOT NULL,
    sha256_actual    text,
    state            text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'complete', 'corrupt', 'expired')),
    metadata         text NOT NULL DEFAULT '',         -- Upload-Metadata exactly as received
    expires_at       timestamptz NOT NULL,
    last_progress_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (submission_id, name)
);

CREATE TABLE workers (
    id           uuid PRIMARY KEY,
    name         text NOT NULL,
    key_sha256   bytea NOT NULL UNIQUE,
    device       jsonb NOT NULL DEFAULT '{}',
    draining     boolean NOT NULL DEFAULT false,
    revoked_at   timestamptz,
    enrolled_at  timestamptz NOT NULL DEFAULT now(),
    seen_at      timestamptz
);

CREATE TABLE enrolments (
    token_sha256 bytea PRIMARY KEY,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    used_by      uuid REFERENCES workers
);

CREATE TABLE jobs (
    id            uuid PRIMARY KEY,
    submission_id uuid NOT NULL REFERENCES submissions ON DELETE CASCADE,
    kind          text NOT NULL DEFAULT 'grade' CHECK (kind IN ('grade')),
    state         text NOT NULL DEFAULT 'queued'
                  CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'quarantined')),
    priority      smallint NOT NULL DEFAULT 0,
    not_before    timestamptz NOT NULL DEFAULT now(),
    attempts      integer NOT NULL DEFAULT 0,
    max_attempts  integer NOT NULL DEFAULT 3,
    fence         bigint NOT NULL DEFAULT 0,           -- the live fence; only rises
    cancel_requested boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT now(),
    finished_at   timestamptz
);
-- At most one live job a submission: a second would be a second grade.
CREATE UNIQUE INDEX jobs_live_submission_key ON jobs (submission_id) WHERE state IN ('queued', 'running');
CREATE INDEX jobs_queued_idx ON jobs (priority DESC, not_before, created_at) WHERE state = 'queued';

CREATE TABLE attempts (
    id           uuid PRIMARY KEY,
    job_id       uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    fence        bigint NOT NULL,
    worker_id    uuid NOT NULL REFERENCES workers,
    state        text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'succeeded', 'failed', 'lost', 'released', 'cancelled')),
    lease_until  timestamptz NOT NULL,
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    progress     jsonb NOT NULL DEFAULT '{}',
    error_class  text,
    error        jsonb,
    result_sha256 text,                                -- of the outcome it reported: a repeated PUT is recognised by it
    started_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz,
    UNIQUE (job_id, fence)
);
CREATE UNIQUE INDEX attempts_running_job_key ON attempts (job_id) WHERE state = 'running';
CREATE INDEX attempts_lease_idx ON attempts (lease_until) WHERE state = 'running';

-- One result a job, whoever was killed on the way: the primary key is the invariant.
CREATE TABLE results (
    job_id        uuid PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
    submission_id uuid NOT NULL REFERENCES submissions ON DELETE CASCADE,
    attempt_id    uuid NOT NULL REFERENCES attempts,
    fence         bigint NOT NULL,
    outcome       text NOT NULL CHECK (outcome IN ('graded', 'rejected')),
    report        jsonb NOT NULL,
    accepted_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX results_submission_id_idx ON results (submission_id, accepted_at DESC);

CREATE TABLE outbox (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dedupe_key   uuid NOT NULL UNIQUE,
    topic        text NOT NULL,
    payload      jsonb NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz
);
CREATE INDEX outbox_unpublished_idx ON outbox (id) WHERE published_at IS NULL;

CREATE TABLE audit_log (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    actor      uuid REFERENCES users,
    action     text NOT NULL,
    object     text NOT NULL,
    detail     jsonb NOT NULL DEFAULT '{}',
    request_id text NOT NULL DEFAULT ''
);
