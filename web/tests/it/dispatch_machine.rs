//! Leases as a state machine: two workers, clock jumps, lost answers, repeated reports, zombies. After every step nothing
//! accepted is lost, nothing counts twice, only the live fence writes, and only a published score costs quota.
//!
//! Steps are drawn by proptest and run against a real Postgres; a failing sequence is shrunk and printed. Time is moved in
//! the tables instead of being waited for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use assay_contest::wire::{FailureClass, Outcome, Progress, Report};
use assay_web::db::attempts::{self, Claimed, Standing};
use assay_web::db::ids::{AttemptId, JobId, SubmissionId, TeamId, WorkerId};
use assay_web::db::jobs::{self, Cancelled};
use assay_web::db::receipt;
use assay_web::db::results::{self, Accepted};
use assay_web::db::workers;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use sqlx::PgPool;
use uuid::Uuid;

use crate::desk::{failed, graded, problem};
use crate::helpers::TestDatabase;

/// Seconds of a lease here: far longer than any test runs, so that only jumps end one.
const LEASE: u64 = 1000;
/// Longest the whole test may take.
const BUDGET: Duration = Duration::from_secs(14);

#[derive(Clone, Copy, Debug)]
enum Report1 {
    Graded,
    Rejected,
    Infra,
    Timeout,
    Broken,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Submit {
        team: usize,
    },
    Claim {
        worker: usize,
    },
    /// The server handed a job out and the answer never arrived.
    LostClaim {
        worker: usize,
    },
    /// Both at the same moment.
    RaceClaim,
    /// With the `back`-th latest attempt this worker knows of: 0 is the one it works on, others are zombies.
    Beat {
        worker: usize,
        back: usize,
    },
    Put {
        worker: usize,
        back: usize,
        report: Report1,
    },
    /// The last report again, byte for byte: its answer was lost.
    PutAgain {
        worker: usize,
    },
    Release {
        worker: usize,
        back: usize,
    },
    Cancel {
        submission: usize,
    },
    Rerun {
        submission: usize,
    },
    Drain {
        worker: usize,
        on: bool,
    },
    /// The worker is put out, and a new one takes its place.
    Revoke {
        worker: usize,
    },
    Jump {
        seconds: u64,
    },
    Reap,
}

fn step() -> impl Strategy<Value = Step> {
    let worker = 0..2usize;
    let report = prop_oneof![
        4 => Just(Report1::Graded),
        1 => Just(Report1::Rejected),
        2 => Just(Report1::Infra),
        1 => Just(Report1::Timeout),
        1 => Just(Report1::Broken),
    ];
    // Mostly the current attempt, sometimes one long gone.
    let back = prop_oneof![4 => Just(0usize), 2 => Just(1usize), 1 => Just(2usize)];
    prop_oneof![
        5 => (0..2usize).prop_map(|team| Step::Submit { team }),
        8 => worker.clone().prop_map(|worker| Step::Claim { worker }),
        1 => worker.clone().prop_map(|worker| Step::LostClaim { worker }),
        2 => Just(Step::RaceClaim),
        6 => (worker.clone(), back.clone()).prop_map(|(worker, back)| Step::Beat { worker, back }),
        6 => (worker.clone(), back.clone(), report).prop_map(|(worker, back, report)| Step::Put { worker, back, report }),
        2 => worker.clone().prop_map(|worker| Step::PutAgain { worker }),
        2 => (worker.clone(), back).prop_map(|(worker, back)| Step::Release { worker, back }),
        2 => (0..6usize).prop_map(|submission| Step::Cancel { submission }),
        2 => (0..6usize).prop_map(|submission| Step::Rerun { submission }),
        1 => (worker.clone(), any::<bool>()).prop_map(|(worker, on)| Step::Drain { worker, on }),
        1 => worker.prop_map(|worker| Step::Revoke { worker }),
        5 => prop_oneof![Just(40u64), Just(400), Just(1001)].prop_map(|seconds| Step::Jump { seconds }),
        3 => Just(Step::Reap),
    ]
}

/// What the test itself knows of an attempt.
#[derive(Clone, Debug)]
struct Known {
    attempt: AttemptId,
    job: JobId,
    submission: SubmissionId,
    fence: i64,
    worker: WorkerId,
    /// Virtual second at which the lease ends.
    until: u64,
    /// Nobody has ended it yet, as far as leases go.
    open: bool,
    /// The digest it was settled with.
    settled: Option<String>,
}

struct World {
    pool: PgPool,
    teams: [TeamId; 2],
    workers: [WorkerId; 2],
    submissions: Vec<SubmissionId>,
    known: Vec<Known>,
    /// The last report of each worker: attempt, digest, outcome.
    last: [Option<(usize, String, Outcome)>; 2],
    now: u64,
    puts: usize,
    /// Submissions by whether a score of them was ever accepted.
    scored: BTreeMap<SubmissionId, bool>,
}

type Check = Result<(), String>;

fn ensure(holds: bool, what: impl Into<String>) -> Check {
    if holds { Ok(()) } else { Err(what.into()) }
}

impl World {
    async fn new(pool: &PgPool, teams: [TeamId; 2]) -> World {
        for statement in [
            "DELETE FROM submissions",
            "DELETE FROM workers",
            "UPDATE teams SET served_at = NULL",
        ] {
            sqlx::query(statement).execute(pool).await.unwrap();
        }
        World {
            pool: pool.clone(),
            teams,
            workers: [worker(pool).await, worker(pool).await],
            submissions: Vec::new(),
            known: Vec::new(),
            last: [None, None],
            now: 0,
            puts: 0,
            scored: BTreeMap::new(),
        }
    }

    /// The `back`-th latest attempt that `worker`'s slot knows of.
    fn pick(&self, worker: usize, back: usize) -> Option<usize> {
        let own = self.known.iter().enumerate();
        let mut own = own
            .filter(|(_, known)| known.worker == self.workers[worker])
            .map(|(i, _)| i)
            .rev();
        own.nth(back)
    }

    /// Whether an attempt may still write.
    fn lives(&self, at: usize) -> bool {
        let known = &self.known[at];
        known.open && self.now < known.until && self.workers.contains(&known.worker)
    }

    /// All rows that attempts may change.
    async fn fingerprint(&self) -> String {
        sqlx::query_scalar(
            "SELECT md5(concat((SELECT string_agg(j::text, '|' ORDER BY id) FROM (SELECT id, state, fence, attempts, cancel_requested, not_before FROM jobs) j),
                               (SELECT string_agg(a::text, '|' ORDER BY id) FROM attempts a),
                               (SELECT string_agg(r.job_id::text || r.fence, '|' ORDER BY r.job_id) FROM results r),
                               (SELECT string_agg(s.id::text || s.state, '|' ORDER BY s.id) FROM submissions s)))",
        )
        .fetch_one(&self.pool)
        .await
        .unwrap()
    }

    async fn claim(&mut self, slot: usize) -> Option<Claimed> {
        let worker = self.workers[slot];
        let claimed = ask(&self.pool, worker).await;
        self.forgot(worker);
        claimed
    }

    /// A worker that asks has nothing: what it held is over.
    fn forgot(&mut self, worker: WorkerId) {
        for known in self.known.iter_mut().filter(|known| known.worker == worker) {
            known.open = false;
        }
    }

    /// Notes what was handed out, and checks that it could be.
    fn note(&mut self, worker: WorkerId, claimed: Claimed) -> Check {
        let before = self.known.iter().filter(|known| known.job == claimed.job);
        let highest = before.map(|known| known.fence).max().unwrap_or(0);
        ensure(claimed.fence > highest, "a fence did not rise")?;
        let at_once = (0..self.known.len()).filter(|at| self.known[*at].job == claimed.job && self.lives(*at));
        ensure(
            at_once.count() == 0,
            "a job was handed out while an attempt at it lives",
        )?;
        self.known.push(Known {
            attempt: claimed.attempt,
            job: claimed.job,
            submission: claimed.submission,
            fence: claimed.fence,
            worker,
            until: self.now + LEASE,
            open: true,
            settled: None,
        });
        Ok(())
    }

    async fn take(&mut self, step: Step) -> Check {
        match step {
            Step::Submit { team } => {
                if self.submissions.len() < 6 {
                    let id = SubmissionId::new();
                    let mut transaction = self.pool.begin().await.unwrap();
                    sqlx::query("INSERT INTO submissions (id, contest_id, team_id, state, received_at) VALUES ($1, 'machine', $2, 'received', now())")
                        .bind(id)
                        .bind(self.teams[team])
                        .execute(&mut *transaction)
                        .await
                        .unwrap();
                    jobs::queue(&mut transaction, id).await.unwrap();
                    transaction.commit().await.unwrap();
                    self.submissions.push(id);
                    self.scored.insert(id, false);
                }
                Ok(())
            }
            Step::Claim { worker } => match self.claim(worker).await {
                Some(claimed) => self.note(self.workers[worker], claimed),
                None => Ok(()),
            },
            Step::LostClaim { worker } => match self.claim(worker).await {
                // The worker never hears of it, so it never beats; the fence counts nevertheless.
                Some(claimed) => {
                    self.note(self.workers[worker], claimed)?;
                    if let Some(known) = self.known.last_mut() {
                        known.worker = WorkerId(Uuid::nil());
                    }
                    Ok(())
                }
                None => Ok(()),
            },
            Step::RaceClaim => {
                let [a, b] = self.workers;
                let (first, second) = futures_util::future::join(ask(&self.pool, a), ask(&self.pool, b)).await;
                self.forgot(a);
                self.forgot(b);
                if let (Some(first), Some(second)) = (&first, &second) {
                    ensure(first.job != second.job, "one job was handed to two workers")?;
                }
                for (worker, claimed) in [(a, first), (b, second)] {
                    if let Some(claimed) = claimed {
                        self.note(worker, claimed)?;
                    }
                }
                Ok(())
            }
            Step::Beat { worker, back } => {
                let Some(at) = self.pick(worker, back) else {
                    return Ok(());
                };
                let (lives, known) = (self.lives(at), self.known[at].clone());
                let before = self.fingerprint().await;
                let lease = Duration::from_secs(LEASE);
                let progress = Progress::default();
                let answer = attempts::heartbeat(&self.pool, known.attempt, known.fence, &progress, lease).await;
                let alive = answer.unwrap().is_some();
                ensure(
                    alive == lives,
                    format!("a heartbeat was answered {alive}, and should be {lives}"),
                )?;
                if lives {
                    self.known[at].until = self.now + LEASE;
                    return Ok(());
                }
                ensure(
                    self.fingerprint().await == before,
                    "a zombie's heartbeat changed something",
                )
            }
            Step::Put { worker, back, report } => {
                let Some(at) = self.pick(worker, back) else {
                    return Ok(());
                };
                self.puts += 1;
                let outcome = match report {
                    Report1::Graded => graded(0.5, 100),
                    Report1::Rejected => Outcome::Rejected {
                        problems: vec![problem("bad")],
                        report: Report::default(),
                    },
                    Report1::Infra => failed(FailureClass::Infra),
                    Report1::Timeout => failed(FailureClass::Timeout),
                    Report1::Broken => failed(FailureClass::Submission),
                };
                let digest = format!("digest {}", self.puts);
                self.last[worker] = Some((at, digest.clone(), outcome.clone()));
                self.put(at, &digest, &outcome).await
            }
            Step::PutAgain { worker } => {
                let Some((at, digest, outcome)) = self.last[worker].clone() else {
                    return Ok(());
                };
                self.put(at, &digest, &outcome).await
            }
            Step::Release { worker, back } => {
                let Some(at) = self.pick(worker, back) else {
                    return Ok(());
                };
                let (lives, known) = (self.lives(at), self.known[at].clone());
                let before = self.fingerprint().await;
                let mut transaction = self.pool.begin().await.unwrap();
                let standing = attempts::lock(&mut transaction, known.attempt, known.fence)
                    .await
                    .unwrap();
                let Standing::Live(live) = standing else {
                    transaction.rollback().await.unwrap();
                    ensure(!lives, "a live attempt could not be given back")?;
                    return ensure(
                        self.fingerprint().await == before,
                        "a refused release changed something",
                    );
                };
                ensure(lives, "a dead attempt was given back")?;
                attempts::release(&mut transaction, live, "a test").await.unwrap();
                transaction.commit().await.unwrap();
                self.known[at].open = false;
                Ok(())
            }
            Step::Cancel { submission } => {
                let Some(id) = self.submissions.get(submission) else {
                    return Ok(());
                };
                let mut transaction = self.pool.begin().await.unwrap();
                let cancelled = jobs::cancel(&mut transaction, *id).await.unwrap();
                transaction.commit().await.unwrap();
                if cancelled == Cancelled::Asked {
                    let asked = self.known.iter().any(|known| known.submission == *id && known.open);
                    ensure(asked, "asked to stop what nobody works on")?;
                }
                Ok(())
            }
            Step::Rerun { submission } => {
                let Some(id) = self.submissions.get(submission) else {
                    return Ok(());
                };
                let mut transaction = self.pool.begin().await.unwrap();
                jobs::rerun(&mut transaction, *id).await.unwrap();
                transaction.commit().await.unwrap();
                Ok(())
            }
            Step::Drain { worker, on } => {
                workers::set_draining(&self.pool, self.workers[worker], on)
                    .await
                    .unwrap();
                Ok(())
            }
            Step::Revoke { worker: slot } => {
                let mut transaction = self.pool.begin().await.unwrap();
                assert!(workers::revoke(&mut transaction, self.workers[slot]).await.unwrap());
                transaction.commit().await.unwrap();
                let old = std::mem::replace(&mut self.workers[slot], worker(&self.pool).await);
                self.forgot(old);
                // Its zombie goes on with what it knows.
                for known in self.known.iter_mut().filter(|known| known.worker == old) {
                    known.worker = self.workers[slot];
                }
                Ok(())
            }
            Step::Jump { seconds } => {
                self.now += seconds;
                for statement in [
                    "UPDATE attempts SET lease_until = lease_until - make_interval(secs => $1), heartbeat_at = heartbeat_at - make_interval(secs => $1), started_at = started_at - make_interval(secs => $1)",
                    "UPDATE jobs SET not_before = not_before - make_interval(secs => $1)",
                ] {
                    sqlx::query(statement)
                        .bind(seconds as f64)
                        .execute(&self.pool)
                        .await
                        .unwrap();
                }
                Ok(())
            }
            Step::Reap => {
                let mut transaction = self.pool.begin().await.unwrap();
                attempts::reap(&mut transaction).await.unwrap();
                transaction.commit().await.unwrap();
                let now = self.now;
                for known in self.known.iter_mut().filter(|known| known.until <= now) {
                    known.open = false;
                }
                Ok(())
            }
        }
    }

    async fn put(&mut self, at: usize, digest: &str, outcome: &Outcome) -> Check {
        let (lives, known) = (self.lives(at), self.known[at].clone());
        let expected = match &known.settled {
            Some(before) if before == digest => Accepted::Before,
            Some(_) => Accepted::LeaseLost,
            None if lives => Accepted::Now,
            None => Accepted::LeaseLost,
        };
        let before = self.fingerprint().await;
        let mut transaction = self.pool.begin().await.unwrap();
        let accepted = results::accept(&mut transaction, known.attempt, known.fence, digest, outcome)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        ensure(
            accepted == expected,
            format!("a report was answered {accepted:?}, and should be {expected:?}"),
        )?;
        if accepted != Accepted::Now {
            return ensure(
                self.fingerprint().await == before,
                "a report that does not count changed something",
            );
        }
        self.known[at].open = false;
        self.known[at].settled = Some(digest.to_owned());
        let counted: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM results WHERE attempt_id = $1 AND outcome = 'graded')")
                .bind(known.attempt)
                .fetch_one(&self.pool)
                .await
                .unwrap();
        if counted {
            ensure(
                matches!(outcome, Outcome::Graded { .. }),
                "what is no score was counted",
            )?;
            self.scored.insert(known.submission, true);
        }
        Ok(())
    }

    async fn invariants(&self) -> Check {
        // 1: nothing accepted is lost, nothing counts twice. A grade that fails or is called off leaves the outcome that an
        // earlier one gave.
        let broken: Vec<String> = sqlx::query_scalar(
            "SELECT concat(s.id, ' ', s.state, ' job ', j.state, ' result ', r.outcome) FROM submissions s
             LEFT JOIN LATERAL (SELECT * FROM jobs j WHERE j.submission_id = s.id ORDER BY j.created_at DESC, j.id DESC LIMIT 1) j ON true
             LEFT JOIN LATERAL (SELECT * FROM results r WHERE r.submission_id = s.id ORDER BY r.accepted_at DESC LIMIT 1) r ON true
             WHERE NOT coalesce(CASE j.state WHEN 'queued' THEN s.state = 'queued' WHEN 'running' THEN s.state = 'running'
                                WHEN 'succeeded' THEN s.state = r.outcome
                                WHEN 'failed' THEN s.state = coalesce(r.outcome, 'failed')
                                WHEN 'quarantined' THEN s.state = coalesce(r.outcome, 'failed')
                                WHEN 'cancelled' THEN s.state = coalesce(r.outcome, 'cancelled') END, false)",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        ensure(
            broken.is_empty(),
            format!("a submission is not where its job is: {broken:?}"),
        )?;
        let counts = "
            SELECT (SELECT count(*) FROM submissions) = $1
               AND NOT EXISTS (SELECT 1 FROM jobs WHERE state IN ('queued', 'running') GROUP BY submission_id HAVING count(*) > 1)
               AND NOT EXISTS (SELECT 1 FROM jobs j WHERE (j.state = 'succeeded') <> EXISTS (SELECT 1 FROM results r WHERE r.job_id = j.id))
               AND NOT EXISTS (SELECT 1 FROM results r JOIN attempts a ON a.id = r.attempt_id
                               WHERE a.fence <> r.fence OR a.state <> 'succeeded' OR a.job_id <> r.job_id)
               AND NOT EXISTS (SELECT 1 FROM attempts WHERE state = 'succeeded' GROUP BY job_id HAVING count(*) > 1)";
        ensure(self.holds(counts).await, "a job was lost or counted twice")?;
        // 3: only the newest fence is alive.
        let fences = "
            SELECT (SELECT count(*) FROM submissions) = $1
               AND NOT EXISTS (SELECT 1 FROM jobs j WHERE (j.state = 'running')
                               <> EXISTS (SELECT 1 FROM attempts a WHERE a.job_id = j.id AND a.state = 'running' AND a.fence = j.fence))
               AND NOT EXISTS (SELECT 1 FROM attempts a JOIN jobs j ON j.id = a.job_id WHERE a.fence > j.fence)
               AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.state = 'running' GROUP BY a.job_id HAVING count(*) > 1)
               AND NOT EXISTS (SELECT 1 FROM jobs j JOIN submissions s ON s.id = j.submission_id WHERE j.state = 'running'
                               GROUP BY s.team_id HAVING count(*) > 1)";
        ensure(
            self.holds(fences).await,
            "a fence is not the newest, or a team has two running",
        )?;
        // What waits has been announced.
        let bells = "
            SELECT (SELECT count(*) FROM submissions) = $1
               AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.state = 'queued'
                               AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.job_id = j.id AND o.created_at >= j.created_at))";
        ensure(self.holds(bells).await, "a job waits and nobody was told")?;
        // 4: quota is what was published, nothing else.
        let mut charged = 0;
        for team in self.teams {
            charged += receipt::usage(&self.pool, team, "Asia/Seoul").await.unwrap().published;
        }
        let scored = self.scored.values().filter(|scored| **scored).count() as i64;
        ensure(
            charged == scored,
            format!("{charged} were charged, {scored} were scored"),
        )
    }

    async fn holds(&self, query: &'static str) -> bool {
        sqlx::query_scalar(query)
            .bind(self.submissions.len() as i64)
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }
}

async fn worker(pool: &PgPool) -> WorkerId {
    let id = WorkerId::new();
    sqlx::query("INSERT INTO workers (id, name, public_key, seen_at) VALUES ($1, 'machine', sha256($2), now())")
        .bind(id)
        .bind(id.0.as_bytes().as_slice())
        .execute(pool)
        .await
        .unwrap();
    id
}

/// What the claim endpoint does.
async fn ask(pool: &PgPool, worker: WorkerId) -> Option<Claimed> {
    let mut transaction = pool.begin().await.unwrap();
    attempts::forget(&mut transaction, worker).await.unwrap();
    transaction.commit().await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    let claimed = attempts::claim(&mut transaction, worker, Duration::from_secs(LEASE), 1)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    claimed
}

#[test]
fn leases_hold_whatever_happens() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (database, pool, teams) = runtime.block_on(async {
        let database = TestDatabase::migrated().await;
        let pool = PgPool::connect(&database.url).await.unwrap();
        sqlx::query("INSERT INTO contests (id, digest, source) VALUES ('machine', '', '')")
            .execute(&pool)
            .await
            .unwrap();
        let teams = [TeamId::new(), TeamId::new()];
        for team in teams {
            sqlx::query("INSERT INTO teams (id, contest_id, name, invite_code) VALUES ($1, 'machine', $2, $2)")
                .bind(team)
                .bind(team.to_string())
                .execute(&pool)
                .await
                .unwrap();
        }
        (database, pool, teams)
    });
    let begun = Instant::now();
    let (mut cases, mut steps_taken) = (0, 0);
    let counted = std::cell::RefCell::new((&mut cases, &mut steps_taken));
    let config = Config {
        cases: 400,
        max_shrink_time: 10_000,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&prop::collection::vec(step(), 1..40), |steps| {
        // Bounded by time, not by luck; a failure found late may still be shrunk.
        if begun.elapsed() > BUDGET {
            return Ok(());
        }
        let mut counted = counted.borrow_mut();
        *counted.0 += 1;
        runtime.block_on(async {
            let mut world = World::new(&pool, teams).await;
            for (at, step) in steps.iter().enumerate() {
                *counted.1 += 1;
                let fail = |error: String| TestCaseError::fail(format!("step {at}, {step:?}: {error}"));
                world.take(*step).await.map_err(fail)?;
                world.invariants().await.map_err(fail)?;
            }
            Ok(())
        })
    });
    runtime.block_on(pool.close());
    println!("{cases} cases, {steps_taken} steps in {:?}", begun.elapsed());
    match outcome {
        Ok(()) => assert!(cases >= 10, "too slow to say anything: {cases} cases"),
        Err(TestError::Fail(why, steps)) => panic!("{why}\n{steps:#?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
    drop(database);
}
