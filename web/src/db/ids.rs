//! Ids that cannot be mixed up. Each is a UUIDv7 made here, so that ids sort by time and reveal no count.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type)]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id, later than every one made before it.
            #[must_use]
            #[allow(clippy::new_without_default)]
            pub fn new() -> $name {
                $name(Uuid::now_v7())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<$name, uuid::Error> {
                text.parse().map($name)
            }
        }
    )*};
}

ids! {
    /// An account.
    UserId,
    /// A team in one contest.
    TeamId,
    /// A submission, draft or sent.
    SubmissionId,
    /// One declared file of a submission; also the address of its upload.
    FileId,
    /// One order to grade a submission.
    JobId,
    /// One worker's try at a job.
    AttemptId,
    /// An enrolled worker.
    WorkerId,
}
