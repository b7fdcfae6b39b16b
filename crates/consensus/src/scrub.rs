//! Reads a group's disk again, a little at a time, so that rot is found before it is needed.
//!
//! Live entries of the log, both checkpoints, all chunks of the archive: each byte in its turn, one
//! small piece every few seconds on the loop that does the slow disk work. A damaged log ends the
//! process, damage of the group's own files stops the group; a damaged checkpoint beside a good one
//! is set aside, and another is written.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::archive::Archive;
use crate::checkpoints::{Checkpoint, CheckpointError, Verifying};
use crate::running::Running;

/// Between two pieces.
const EVERY: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
/// How soon damage that somebody else's read came upon is acted on.
const NOTICE_EVERY: Duration = Duration::from_secs(1);
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
    let mut notice = interval(NOTICE_EVERY);
    notice.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = running.stop.cancelled() => return,
            _ = notice.tick() => {}
        }
        if let Some(error) = running.archive.damage() {
            return stop(&running, error.to_string(), true).await;
        }
        let noticed = running.checkpoints.noticed();
        if noticed.is_none() && Instant::now() < next {
            continue;
        }
        let (work, reader) = (stage, running.clone());
        let read = running.writer.run(move || match noticed {
            Some((checkpoint, error)) => harmed(&reader, &checkpoint, error, work),
            None => piece(&reader, work),
        });
        let Ok(found) = read.await else { return };
        next = Instant::now() + EVERY;
        stage = match found {
            Found::Sound(next) => next,
            Found::Replace(next) => {
                running.checkpoint_wanted.notify_one();
                next
            }
            Found::Damage(error) => {
                return stop(&running, error.to_string(), error.is_damage()).await;
            }
            Found::Log(what) => return stop(&running, what, false).await,
        };
    }
}

/// Stops the group, or the process over what is not the group's own.
async fn stop(running: &Running, what: String, group_only: bool) {
    tracing::error!(group = %running.id, what, "found while reading the disk again");
    running.trouble.note(what, group_only);
    running.give_up().await;
}

fn piece(running: &Running, stage: Stage) -> Found {
    match stage {
        Stage::Log(from) => log(running, from),
        Stage::Checkpoints(left) => checkpoints(running, left),
        Stage::Entries(from) => archive(running, |archive| entries(running, archive, from)),
        Stage::Records(from) => archive(running, |archive| records(archive, from)),
    }
}

/// Reads the archive as it lies on the disk. Whatever is found is looked for again before anything
/// stops over it.
fn archive(running: &Running, read: impl Fn(&Archive) -> Found) -> Found {
    let once = || match running.archive.on_disk() {
        Ok(on_disk) => read(&on_disk),
        Err(error) => Found::Damage(error.into()),
    };
    match once() {
        Found::Damage(_) => match once() {
            Found::Damage(CheckpointError::Archive(error)) => {
                running.archive.note(&error);
                Found::Damage(error.into())
            }
            found => found,
        },
        found => found,
    }
}

/// Chunks of entries: each follows the one before, and none is missing.
fn entries(running: &Running, archive: &Archive, from: u64) -> Found {
    let end = archive.end().next_index;
    if from >= end || !running.replica.pending().keeps_entries() {
        return Found::Sound(Stage::Records(0));
    }
    let read = match archive.read_entries(from, end, PIECE_BYTES) {
        Ok(read) => read,
        Err(error) => return Found::Damage(error.into()),
    };
    let missing = (from..).zip(&read).find(|(index, entry)| entry.index != *index);
    match (missing, read.last()) {
        (None, Some(last)) => Found::Sound(Stage::Entries(last.index + 1)),
        (missing, _) => {
            let index = missing.map_or(from, |(index, _)| index);
            Found::Damage(archive.missing("entry", index).into())
        }
    }
}

/// Chunks of records, and where their keys lead.
fn records(archive: &Archive, from: u64) -> Found {
    let end = archive.end().records;
    if from >= end {
        return Found::Sound(Stage::Log(0));
    }
    let read = match archive.read_records(from, end, PIECE_BYTES / 4) {
        Ok(read) => read,
        Err(error) => return Found::Damage(error.into()),
    };
    let misplaced = (from..).zip(&read).find(|(number, record)| record.number != *number);
    let missing = match (misplaced, archive.unindexed(&read)) {
        (_, Err(error)) => return Found::Damage(error.into()),
        (Some((number, _)), _) => Some(number),
        (None, Ok(unindexed)) => unindexed,
    };
    match (missing, read.last()) {
        (None, Some(last)) => Found::Sound(Stage::Records(last.number + 1)),
        (missing, _) => Found::Damage(archive.missing("record", missing.unwrap_or(from)).into()),
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
        Err(error) => harmed(running, &checkpoint, error, Stage::Checkpoints(left)),
    }
}

/// A checkpoint does not read back: it goes if there is another, and `stage` is next.
fn harmed(
    running: &Running,
    checkpoint: &Checkpoint,
    error: CheckpointError,
    stage: Stage,
) -> Found {
    if !error.is_damage() {
        return Found::Damage(error);
    }
    match running.checkpoints.drop_damaged(checkpoint, &error) {
        Ok(true) => Found::Replace(stage),
        Ok(false) => Found::Damage(error),
        Err(worse) => Found::Damage(worse),
    }
}
