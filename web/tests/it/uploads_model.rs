//! The upload engine against a model: bytes that should be there, and an offset. The disk forgets what was not synced, the
//! process dies between any two steps, writers come and go; every byte below the promised offset is there all the same
//! (invariant 2). A failing run prints its seed; `ASSAY_UPLOAD_SEED=<seed>` repeats it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use assay_web::db::ids::{FileId, SubmissionId, TeamId, UserId};
use assay_web::db::submissions::{self, Declared};
use assay_web::db::uploads::{self, FileState, Owner, Settled, WriterLease};
use assay_web::storage::{FileName, Storage};
use assay_web::uploader::{Checksum, Disk, Ended, Pace, open_at, settle, take_in};
use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::helpers::TestDatabase;

/// How long new cases are tried.
const BUDGET: Duration = Duration::from_secs(12);
const LENGTH: usize = 120_000;

/// Where the upload is; what the engine does to bytes is the concern of [`Engine`].
#[derive(Clone, Copy, Debug, PartialEq)]
enum Life {
    Open,
    Gone,
}

#[derive(Clone, Debug)]
enum Step {
    /// A new upload, in place of one that is gone.
    Create,
    /// A body of this many thousandths of what is missing; `cut`: the connection breaks at its end.
    Patch {
        share: u16,
        chunk: u16,
        cut: bool,
    },
    /// A body with a checksum, right or wrong.
    Checked {
        share: u16,
        right: bool,
    },
    /// A body at another offset than the promised one.
    Elsewhere(i16),
    /// The power fails at the n-th step of the disk, before or after its effect; `fate` decides about each unsynced write.
    Crash {
        share: u16,
        at: u8,
        before: bool,
        fate: u64,
    },
    /// A second process takes the upload over while the first still writes.
    TakeOver {
        share: u16,
    },
    Head,
    Delete,
    Expire,
}

struct Model;

impl ReferenceStateMachine for Model {
    type State = Life;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Life> {
        Just(Life::Open).boxed()
    }

    fn transitions(life: &Life) -> BoxedStrategy<Step> {
        if *life == Life::Gone {
            return prop_oneof![4 => Just(Step::Create), 1 => Just(Step::Head), 1 => Just(Step::Delete)].boxed();
        }
        let share = || prop_oneof![6 => 0..900u16, 1 => Just(1000u16)];
        prop_oneof![
            6 => (share(), 1..9000u16, any::<bool>()).prop_map(|(share, chunk, cut)| Step::Patch { share, chunk, cut }),
            2 => (share(), any::<bool>()).prop_map(|(share, right)| Step::Checked { share, right }),
            1 => any::<i16>().prop_map(Step::Elsewhere),
            6 => (share(), 0..12u8, any::<bool>(), any::<u64>())
                .prop_map(|(share, at, before, fate)| Step::Crash { share, at, before, fate }),
            2 => share().prop_map(|share| Step::TakeOver { share }),
            2 => Just(Step::Head),
            1 => Just(Step::Delete),
            1 => Just(Step::Expire),
        ]
        .boxed()
    }

    fn apply(life: Life, step: &Step) -> Life {
        match step {
            Step::Create => Life::Open,
            Step::Delete | Step::Expire => Life::Gone,
            _ => life,
        }
    }

    fn preconditions(life: &Life, step: &Step) -> bool {
        (*life == Life::Gone) == matches!(step, Step::Create) || matches!(step, Step::Head | Step::Delete)
    }
}

/// A file whose unsynced writes a crash may lose, tear or keep.
struct Frail {
    file: File,
    state: Mutex<FrailState>,
}

#[derive(Default)]
struct FrailState {
    durable: Vec<u8>,
    pending: Vec<(u64, Vec<u8>)>,
    /// Steps left until the power fails, and whether it fails before the step's effect.
    fuse: Option<(u8, bool)>,
    dead: bool,
}

fn put(image: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let end = at as usize + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[at as usize..end].copy_from_slice(bytes);
}

impl Frail {
    fn step(&self, effect: impl FnOnce(&mut FrailState)) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        if state.dead {
            return Err(io::Error::other("the power is off"));
        }
        match &mut state.fuse {
            Some((0, before)) => {
                let before = *before;
                state.dead = true;
                if !before {
                    effect(&mut state);
                }
                Err(io::Error::other("the power failed"))
            }
            fuse => {
                if let Some((left, _)) = fuse {
                    *left -= 1;
                }
                effect(&mut state);
                Ok(())
            }
        }
    }

    /// What is on the disk after the power came back.
    fn after_crash(&self, mut fate: u64) -> Vec<u8> {
        let state = self.state.lock().unwrap();
        let mut image = state.durable.clone();
        for (at, bytes) in &state.pending {
            let keep = match fate & 3 {
                0 => 0,
                1 => bytes.len() / 3,
                _ => bytes.len(),
            };
            put(&mut image, *at, &bytes[..keep]);
            fate = fate.rotate_right(2).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
        image
    }
}

impl Disk for Frail {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.step(|state| {
            FileExt::write_all_at(&self.file, bytes, offset).unwrap();
            state.pending.push((offset, bytes.to_vec()));
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.step(|state| {
            for (at, bytes) in std::mem::take(&mut state.pending) {
                put(&mut state.durable, at, &bytes);
            }
        })
    }
}

/// What all cases share.
struct World {
    runtime: Runtime,
    /// Taken out at the end, so that it is dropped: what is static never is.
    database: Mutex<Option<TestDatabase>>,
    pool: PgPool,
    team: TeamId,
    owner: Owner,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (database, pool) = runtime.block_on(async {
            let database = TestDatabase::migrated().await;
            let pool = PgPool::connect(&database.url).await.unwrap();
            (database, pool)
        });
        let (team, user) = (TeamId::new(), UserId::new());
        runtime.block_on(async {
            for statement in [
                "INSERT INTO contests (id, digest, source) VALUES ('c', '', '')".to_owned(),
                format!("INSERT INTO users (id, email, name, password_hash) VALUES ('{user}', 'a@b.c', 'a', '')"),
                format!("INSERT INTO teams (id, contest_id, name, invite_code) VALUES ('{team}', 'c', 't', 'x')"),
                format!("INSERT INTO memberships (team_id, user_id, contest_id) VALUES ('{team}', '{user}', 'c')"),
            ] {
                sqlx::query(sqlx::AssertSqlSafe(statement))
                    .execute(&pool)
                    .await
                    .unwrap();
            }
        });
        World {
            runtime,
            database: Mutex::new(Some(database)),
            pool,
            team,
            owner: Owner { user, only: None },
        }
    })
}

/// The engine, with what it may promise.
struct Engine {
    folder: TempDir,
    storage: Storage,
    content: Vec<u8>,
    draft: SubmissionId,
    file: FileId,
    /// The disk's memory of the part, across openings.
    durable: Vec<u8>,
    /// The last offset a client was told, and the furthest one ever sent.
    acked: u64,
    sent: u64,
    salt: u8,
}

impl Engine {
    fn create(&mut self) {
        let world = world();
        self.salt = self.salt.wrapping_add(1);
        let salt = u32::from(self.salt);
        self.content = (0..LENGTH as u32)
            .map(|i| ((i + salt).wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let declared = Declared {
            name: FileName::parse("model.safetensors").unwrap(),
            bytes: LENGTH as i64,
            sha256: hex::encode(Sha256::digest(&self.content)),
        };
        let made = world.runtime.block_on(async {
            let mut tx = world.pool.begin().await.unwrap();
            let made = submissions::create_draft(&mut tx, "c", world.team, None, "", &[declared]).await;
            tx.commit().await.unwrap();
            made.unwrap()
        });
        (self.draft, self.file) = (made.0, made.1[0]);
        self.durable.clear();
        (self.acked, self.sent) = (0, 0);
    }

    async fn row(&self) -> Option<uploads::UploadFile> {
        uploads::find(&world().pool, self.file, world().owner).await.unwrap()
    }

    /// Everything that must hold whenever nobody writes.
    async fn offset(&mut self) -> Option<u64> {
        let row = self.row().await?;
        let received = row.received;
        assert!(
            (self.acked..=self.sent).contains(&received),
            "{} was acknowledged, {received} is promised, {} was sent",
            self.acked,
            self.sent
        );
        let place = self.storage.submission_dir(self.draft).join("model.safetensors");
        let kept = match row.state {
            FileState::Complete => std::fs::read(place).unwrap(),
            FileState::Open => std::fs::read(self.storage.part(self.file)).unwrap_or_default(),
            FileState::Expired => return None,
            FileState::Corrupt => panic!("right bytes were called corrupt"),
        };
        let end = received as usize;
        assert!(
            kept.len() >= end && kept[..end] == self.content[..end],
            "promised bytes are not on the disk"
        );
        assert!(row.state == FileState::Open || end == LENGTH);
        Some(received)
    }

    fn open(&self, lease: &WriterLease, fuse: Option<(u8, bool)>) -> io::Result<Arc<Frail>> {
        let file = open_at(&self.storage.part(self.file), lease.offset(), lease.length())?;
        let state = FrailState {
            durable: self.durable.clone(),
            fuse,
            ..FrailState::default()
        };
        Ok(Arc::new(Frail {
            file,
            state: Mutex::new(state),
        }))
    }

    async fn lease(&self, offset: u64) -> Option<WriterLease> {
        uploads::begin(&world().pool, self.file, world().owner, offset)
            .await
            .unwrap()
    }

    /// Sends `bytes` in chunks under `lease`; `cut` breaks the connection after them.
    async fn send(
        &self,
        lease: &WriterLease,
        disk: &Arc<Frail>,
        bytes: &[u8],
        chunk: usize,
        cut: bool,
        checksum: Option<Checksum>,
    ) -> anyhow::Result<(u64, Ended)> {
        let mut chunks: Vec<Result<Bytes, ()>> = bytes
            .chunks(chunk.max(1))
            .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
            .collect();
        if cut {
            chunks.push(Err(()));
        }
        let pace = Pace {
            buffer: 4096,
            commit_bytes: 16_384,
            ..Pace::default()
        };
        let digest = self.storage.slots().digest(self.file, lease.offset());
        let never = std::future::pending();
        let body = futures_util::stream::iter(chunks);
        let received = take_in(&world().pool, disk.clone(), digest, lease, body, never, pace, checksum).await?;
        if let Some(digest) = received.digest {
            self.storage.slots().keep_digest(self.file, received.committed, digest);
        }
        Ok((received.committed, received.ended))
    }

    async fn finish(&self) {
        let Some(row) = self
            .row()
            .await
            .filter(|row| row.state == FileState::Open && row.received == row.length)
        else {
            return;
        };
        let slot = self.storage.slots().take(self.file).await.unwrap();
        let settled = settle(&world().pool, &self.storage, &row, &slot).await.unwrap();
        assert_eq!(settled, Settled::Complete);
    }

    async fn write(&mut self, share: u16, chunk: usize, cut: bool, checked: Option<bool>) {
        let Some(offset) = self.offset().await else { return };
        let Some(lease) = self.lease(offset).await else {
            assert_eq!(offset, LENGTH as u64, "an open upload takes bytes");
            return;
        };
        let end = offset + (LENGTH as u64 - offset) * u64::from(share) / 1000;
        let bytes = self.content[offset as usize..end as usize].to_vec();
        let checksum = checked.map(|right| {
            let mut digest = Sha256::digest(&bytes).to_vec();
            digest[3] ^= u8::from(!right);
            Checksum::new("sha256", digest).unwrap()
        });
        let disk = self.open(&lease, None).unwrap();
        self.sent = self.sent.max(if checked == Some(false) { offset } else { end });
        let (committed, ended) = self.send(&lease, &disk, &bytes, chunk, cut, checksum).await.unwrap();
        if checked == Some(false) {
            assert_eq!((committed, ended), (offset, Ended::Mismatch));
        } else {
            assert_eq!((committed, ended), (end, if cut { Ended::Broken } else { Ended::Body }));
        }
        self.durable = disk.state.lock().unwrap().durable.clone();
        self.acked = committed;
        self.finish().await;
    }

    async fn crash(&mut self, share: u16, fuse: (u8, bool), fate: u64) {
        let Some(offset) = self.offset().await else { return };
        let Some(lease) = self.lease(offset).await else { return };
        let end = offset + (LENGTH as u64 - offset) * u64::from(share) / 1000;
        let bytes = self.content[offset as usize..end as usize].to_vec();
        let disk = self.open(&lease, Some(fuse)).unwrap();
        self.sent = self.sent.max(end);
        // Whether it got through before the power failed or not: its client hears nothing.
        let _ = self.send(&lease, &disk, &bytes, 3000, false, None).await;
        let image = disk.after_crash(fate);
        std::fs::write(self.storage.part(self.file), &image).unwrap();
        self.durable = image;
        // The process is new: no slots, no running digests.
        self.storage = Storage::open(self.folder.path()).unwrap();
        self.offset().await;
        self.finish().await;
    }

    async fn take_over(&mut self, share: u16) {
        let Some(offset) = self.offset().await else { return };
        let Some(old) = self.lease(offset).await else { return };
        let Some(new) = self.lease(offset).await else {
            panic!("the newer writer wins")
        };
        let end = offset + (LENGTH as u64 - offset) * u64::from(share) / 1000;
        let bytes = self.content[offset as usize..end as usize].to_vec();
        let disk = self.open(&new, None).unwrap();
        self.sent = self.sent.max(end);
        let (committed, _) = self.send(&new, &disk, &bytes, 5000, false, None).await.unwrap();
        self.acked = committed;
        let (promised, ended) = self.send(&old, &disk, &bytes, 5000, false, None).await.unwrap();
        if !bytes.is_empty() {
            assert_eq!(
                (promised, ended),
                (offset, Ended::Fenced),
                "an old epoch promised something"
            );
        }
        self.durable = disk.state.lock().unwrap().durable.clone();
        self.offset().await;
        self.finish().await;
    }
}

struct Test;

impl StateMachineTest for Test {
    type SystemUnderTest = Engine;
    type Reference = Model;

    fn init_test(_: &Life) -> Engine {
        let folder = tempfile::tempdir().unwrap();
        let mut engine = Engine {
            storage: Storage::open(folder.path()).unwrap(),
            folder,
            content: Vec::new(),
            draft: SubmissionId::new(),
            file: FileId::new(),
            durable: Vec::new(),
            acked: 0,
            sent: 0,
            salt: 0,
        };
        engine.create();
        engine
    }

    fn apply(mut engine: Engine, life: &Life, step: Step) -> Engine {
        let world = world();
        if matches!(step, Step::Create) {
            engine.create();
            return engine;
        }
        world.runtime.block_on(async {
            match step {
                Step::Create => {}
                Step::Patch { share, chunk, cut } => engine.write(share, chunk.into(), cut, None).await,
                Step::Checked { share, right } => engine.write(share, 7000, false, Some(right)).await,
                Step::Elsewhere(by) => {
                    if let Some(offset) = engine.offset().await
                        && let Some(wrong) = offset.checked_add_signed(by.into()).filter(|wrong| *wrong != offset)
                    {
                        assert!(
                            engine.lease(wrong).await.is_none(),
                            "another offset than the promised one"
                        );
                    }
                }
                Step::Crash {
                    share,
                    at,
                    before,
                    fate,
                } => engine.crash(share, (at, before), fate).await,
                Step::TakeOver { share } => engine.take_over(share).await,
                Step::Head => {
                    engine.offset().await;
                }
                Step::Delete => {
                    let was = engine.row().await.is_some();
                    let done = uploads::delete(&world.pool, engine.file, world.owner).await.unwrap();
                    assert_eq!(done, was);
                    let _ = std::fs::remove_file(engine.storage.part(engine.file));
                    assert!(engine.lease(0).await.is_none(), "deleted uploads take no bytes");
                }
                Step::Expire => {
                    let old = "UPDATE submission_files SET expires_at = now() - interval '1 second' WHERE id = $1";
                    sqlx::query(old).bind(engine.file.0).execute(&world.pool).await.unwrap();
                    let whole = engine.row().await.is_some_and(|row| row.state == FileState::Complete);
                    let expired = uploads::expire(&world.pool).await.unwrap();
                    assert_eq!(expired.contains(&engine.file), !whole);
                    for offset in [0, engine.acked] {
                        assert!(engine.lease(offset).await.is_none(), "expired uploads take no bytes");
                    }
                }
            }
            if *life == Life::Open {
                assert!(
                    engine.offset().await.is_some(),
                    "an open upload answers with its offset"
                );
            }
        });
        engine
    }
}

#[test]
fn no_byte_below_a_promised_offset_is_ever_lost() {
    let given = std::env::var("ASSAY_UPLOAD_SEED").ok();
    let began = Instant::now();
    let mut cases = 0;
    while cases == 0 || given.is_none() && began.elapsed() < BUDGET {
        let seed = match &given {
            Some(seed) => hex::decode(seed).unwrap(),
            None => assay_web::auth::token::random_bytes::<32>().to_vec(),
        };
        let config = Config {
            cases: 4,
            failure_persistence: None,
            max_shrink_iters: 400,
            max_shrink_time: 20_000,
            ..Config::default()
        };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let mut runner = TestRunner::new_with_rng(config.clone(), rng);
        let run = runner.run(&Model::sequential_strategy(1..25), |(life, steps, seen)| {
            Test::test_sequential(config.clone(), life, steps, seen);
            Ok(())
        });
        if let Err(failure) = run {
            panic!("ASSAY_UPLOAD_SEED={} fails: {failure}", hex::encode(seed));
        }
        cases += 4;
    }
    println!("{cases} cases in {:?}", began.elapsed());
    world().runtime.block_on(world().pool.close());
    drop(world().database.lock().unwrap().take());
}
