//! The shared write-ahead log of a process: one file sequence, one sync for every Raft group that
//! waits.
//!
//! - [`fs`]: the file system as a trait, real and simulated.
//! - [`Wal`]: the handle; [`Wal::open`] recovers the log and starts its two loops.
//! - `record`, `segment`, `format`: what the bytes mean.
//! - `recover`: reads the log back, and tells a torn tail from damage.
//! - `index`: where each group's live records are.
//! - `log_loop`, `batch`, `prepare`, `collect`: one write, one sync, callbacks in order; the next
//!   segment made aside; old segments emptied and removed.
//!
//! Absent on purpose: the log knows nothing of Raft terms, orders or money; it reads no clock,
//! starts no thread and ends no process except through [`hansa_node::env::Env`].

mod config;
mod error;
mod format;
pub mod fs;
mod index;
pub mod inspect;
mod log_loop;
mod metrics;
mod prepare;
mod record;
mod recover;
mod segment;
mod shared;
mod wal;

pub use config::{BadConfig, Config};
pub use error::{Damage, Fault, OpenError, ReadError};
pub use wal::{Cut, Done, Entry, GroupState, Purged, Recovery, Stats, Wal};
