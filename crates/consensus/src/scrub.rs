//! Reads a group's disk again, a little at a time, so that rot is found before it is needed.
//!
//! Live entries of the log, both checkpoints, all chunks of the archive: each byte in its turn, one
//! small piece every few seconds on the loop that does the slow disk work. A damaged log ends the
//! process, damage of the group's own files stops the group; a damaged checkpoint beside a good one
//! is set aside, and another is written.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::archive::ArchiveError;
use crate::checkpoints::{Checkpoint, CheckpointError, Verifying};
use crate::running::Running;

/// Between two pieces.
const EVERY: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
/// Bytes of a piece, about: at 10 s less than half a megabyte a second and group.
const PIECE_BYTES: usize = 4 << 20;

/// What is read next.
enum Stage {
    Log(u64),
    Checkpoints(Vec<(Checkpoint, Option<Verifying>)>),
    Entries(u64),
    Records(u64),
}

/// What a piece came to.
enum Found {
    Sound(Stage),
    /// A checkpoint was set aside; another is to be written.
    Replace(Stage),
    Damage(CheckpointError),
    /// The log is damaged, and with it the node.
    Log(String),
}

/// Scrubs until the group stops.
pub(crate) async fn run(running: Arc<Running>) {
    let mut stage = Stage::Log(0);
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = running.stop.cancelled() => return,
            _ = every.tick() => {}
        }
        let (work, reader) = (stage, running.clone());
        let Ok(found) = running.writer.run(move || piece(&reader, work)).await else { return };
        let (what, group_only) = match found {
            Found::Sound(next) => {
                stage = next;
                continue;
            }
            Found::Replace(next) => {
                stage = next;
                running.checkpoint_wanted.notify_one();
                continue;
            }
            Found::Damage(error) => (error.to_string(), error.is_damage()),
            Found::Log(what) => (what, false),
        };
        tracing::error!(group = %running.id, what, "found while reading the disk again");
        running.trouble.note(what, group_only);
        running.give_up().await;
        return;
    }
}

fn piece(running: &Running, stage: Stage) -> Found {
    match stage {
        Stage::Log(from) => log(running, from),
        Stage::Checkpoints(left) => checkpoints(running, left),
        Stage::Entries(from) => {
            let end = running.archive.end().next_index;
            let read = running.archive.read_entries(from, end, PIECE_BYTES);
            next(read, |last| Stage::Entries(last.index + 1), Stage::Records(0))
        }
        Stage::Records(from) => {
            let end = running.archive.end().records;
            let read = running.archive.read_records(from, end, PIECE_BYTES);
            next(read, |last| Stage::Records(last.number + 1), Stage::Log(0))
        }
    }
}

fn next<T>(read: Result<Vec<T>, ArchiveError>, on: impl FnOnce(&T) -> Stage, then: Stage) -> Found {
    match read {
        Ok(read) => Found::Sound(read.last().map_or(then, on)),
        Err(error) => Found::Damage(error.into()),
    }
}

fn log(running: &Running, from: u64) -> Found {
    let checkpoints = || {
        let kept = running.checkpoints.kept();
        Stage::Checkpoints(kept.into_iter().map(|kept| (kept, None)).collect())
    };
    let Some((first, last)) = running.wal.span(running.id) else {
        return Found::Sound(checkpoints());
    };
    let from = from.max(first);
    match running.wal.read(running.id, from, last + 1, PIECE_BYTES) {
        Ok(read) => match read.last() {
            Some(read) => Found::Sound(Stage::Log(read.index + 1)),
            None => Found::Sound(checkpoints()),
        },
        // Purged meanwhile: there is less to read.
        Err(hansa_wal::ReadError::Purged { first }) => Found::Sound(Stage::Log(first)),
        Err(error) => Found::Log(error.to_string()),
    }
}

fn checkpoints(running: &Running, mut left: Vec<(Checkpoint, Option<Verifying>)>) -> Found {
    let Some((checkpoint, begun)) = left.pop() else { return Found::Sound(Stage::Entries(0)) };
    let all = &running.checkpoints;
    let stepped = match begun {
        Some(begun) => Ok(begun),
        None => all.begin_verifying(&checkpoint),
    };
    match stepped.and_then(|begun| begun.step(PIECE_BYTES)) {
        Ok(Some(more)) => {
            left.push((checkpoint, Some(more)));
            Found::Sound(Stage::Checkpoints(left))
        }
        Ok(None) => Found::Sound(Stage::Checkpoints(left)),
        Err(error) if error.is_damage() => match all.drop_damaged(&checkpoint, &error) {
            Ok(true) => Found::Replace(Stage::Checkpoints(left)),
            Ok(false) => Found::Damage(error),
            Err(worse) => Found::Damage(worse),
        },
        Err(error) => Found::Damage(error),
    }
}
