//! A host for many Raft groups on one node: what they replicate is behind [`Machine`].
//!
//! - [`Host`] opens the shared log and starts groups; [`Group`] submits, reads and peeks.
//! - `queue`, `propose`, `batch`, `clock`: commands gather into entries with one leader timestamp.
//! - `replica`, `chain`, `digests`: apply, the audit chain, state digests.
//! - `pending`, `archive`, `checkpoints`, `keeper`, `writer`: the durable truth beside the log.
//! - `room`: a full disk is met early, by a reserve and a leader that refuses.
//! - `version`, `raise`: the version of behaviour that a group applies by, and how it goes up.
//! - `reads`: linearizable reads in shared ReadIndex rounds.
//! - `part`: handles on machines that are parts of another, and share its log.
//! - `failure`: what came of a submit or a read, to a caller over gRPC.
//! - `membership`, `succession`, `fitness`: who belongs to a group, who leads next, who may lead.
//! - `link`, `outgoing`, `inbound`, `incoming`, `identity`: frames between nodes, and whom they
//!   are accepted from.
//! - `raft`: the adapter, the only place that names openraft; its docs list the pitfalls.
//!
//! Absent on purpose: this crate knows nothing of what commands mean, and no lease serves a read.

mod anchors;
mod archive;
mod archived;
mod audit;
mod batch;
mod chain;
mod checkpoints;
mod clock;
mod digests;
pub mod failure;
mod fitness;
mod group;
mod grpc;
mod host;
mod identity;
mod inbound;
mod incoming;
pub mod inspect;
mod keeper;
mod link;
mod machine;
mod membership;
mod metrics;
mod outcome;
mod outgoing;
mod part;
mod pending;
mod propose;
mod queue;
mod raft;
mod raise;
mod reader;
mod reads;
mod replica;
mod room;
mod running;
mod scrub;
mod succession;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod timing;
mod trouble;
mod version;
mod writer;

#[cfg(test)]
mod tests;

pub use archive::ArchiveError;
pub use archived::Archived;
pub use audit::{Audit, AuditError, Mark, Walked};
pub use checkpoints::{CheckpointError, FileError};
pub use clock::LeaderClock;
pub use group::Group;
pub use host::{Chunk, Cursor, Cut, ExportError, Exports};
pub use host::{Files, Judge, RestoreError, RestoredGroup, check_state, plan_hash};
pub use host::{GroupSpec, Host, HostConfig, OpenError, StartError};
pub use identity::{IdentityError, owner_of};
pub use machine::{Frozen, Machine, Record, Records, ThawError};
pub use membership::{ChangeError, Membership, Progress, Wanted};
pub use outcome::{GroupStatus, Leadership, ReadError, Role, SubmitError};
pub use part::Holds;
pub use raise::RaiseError;
pub use replica::ReadAt;
pub use room::Disk;
pub use timing::{Profile, Timing};
pub use version::{GENESIS as GENESIS_VERSION, Unsupported, Versions};
