-- Dispatch: an outbox that several relays may empty at once, a fair queue, workers that hold a key of their own.

-- A relay takes rows under a lease, so that no transaction is open while it talks to the broker. A relay that dies leaves
-- its rows to the next one; what it had already sent is sent again, and a second bell for a job wakes nobody twice.
ALTER TABLE outbox
    ADD COLUMN job_id        uuid REFERENCES jobs ON DELETE CASCADE,
    ADD COLUMN available_at  timestamptz NOT NULL DEFAULT now(),  -- a job that waits after a failure is announced when it is due
    ADD COLUMN claim_token   uuid,
    ADD COLUMN claimed_until timestamptz,
    ADD COLUMN attempts      integer NOT NULL DEFAULT 0,
    ADD COLUMN last_error    text;
CREATE INDEX outbox_due_idx ON outbox (available_at, id) WHERE published_at IS NULL;
CREATE INDEX outbox_published_idx ON outbox (published_at) WHERE published_at IS NOT NULL;
CREATE INDEX outbox_job_idx ON outbox (job_id) WHERE published_at IS NULL;

-- When the job was announced last: one that waits long after that is announced again, whatever the broker has lost.
ALTER TABLE jobs ADD COLUMN announced_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX jobs_submission_idx ON jobs (submission_id, created_at DESC);

-- When a job of the team was handed to a worker last: the team served longest ago comes next.
ALTER TABLE teams ADD COLUMN served_at timestamptz;
CREATE INDEX attempts_worker_idx ON attempts (worker_id, started_at DESC);

-- The one order of the queue: claims follow it and pages show it, so they cannot disagree. Higher priority first (re-runs
-- and baselines are below live runs), then jobs that are due, then round by round: every team's first, every team's second,
-- with what it has running counted as rounds it already had. Inside a round the team served longest ago comes first.
CREATE VIEW queue_places AS
WITH busy AS (
    SELECT s.team_id, count(*) AS running
    FROM jobs j JOIN submissions s ON s.id = j.submission_id
    WHERE j.state = 'running' GROUP BY s.team_id
), waiting AS (
    SELECT j.id AS job_id, s.team_id, j.priority, j.not_before > now() AS early, t.served_at, j.created_at,
           coalesce(busy.running, 0) AS running
    FROM jobs j
    JOIN submissions s ON s.id = j.submission_id
    JOIN teams t ON t.id = s.team_id
    LEFT JOIN busy ON busy.team_id = s.team_id
    WHERE j.state = 'queued' AND NOT j.cancel_requested
), rounds AS (
    SELECT *, running + row_number() OVER (PARTITION BY team_id, priority, early ORDER BY created_at, job_id) AS round
    FROM waiting
)
SELECT job_id, team_id, running,
       row_number() OVER (ORDER BY priority DESC, early, round, served_at NULLS FIRST, created_at, job_id) AS place
FROM rounds;

-- A worker makes an Ed25519 key and registers its public half. Workers enrolled before hold a bearer key instead, which
-- opens what it did until they are revoked or enrol again.
ALTER TABLE workers
    ADD COLUMN public_key bytea UNIQUE CHECK (octet_length(public_key) = 32),
    ALTER COLUMN key_sha256 DROP NOT NULL,
    ADD CONSTRAINT workers_some_key CHECK (key_sha256 IS NOT NULL OR public_key IS NOT NULL);

-- What a worker has to sign to open a session; each is good for one answer.
CREATE TABLE worker_challenges (
    challenge_sha256 bytea PRIMARY KEY,
    worker_id        uuid NOT NULL REFERENCES workers ON DELETE CASCADE,
    expires_at       timestamptz NOT NULL
);
CREATE INDEX worker_challenges_expires_idx ON worker_challenges (expires_at);
