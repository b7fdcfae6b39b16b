//! Reads a log back: what is there, what was torn off, what is damaged.
//!
//! The rule, from architecture.md: a bad record at or below a watermark found in any later valid
//! record, or in a sealed segment, is damage and the log does not open. Otherwise the log ends at
//! the first bad record, for nobody was ever told that it held more.

mod files;
mod mend;
mod replay;
mod scan;
pub(crate) mod zeros;

use std::collections::BTreeMap;
use std::path::Path;

use hansa_node::env::Env;

use self::files::Files;
use self::replay::Replay;
use self::scan::{End, Walk};
use crate::config::Config;
use crate::error::{Damage, Fault, OpenError};
use crate::fs::{Fs, Lock};
use crate::index::Index;
use crate::record::Seed;
use crate::segment;
use crate::shared::Segment;
use crate::wal::{Cut, Recovery};

/// What an opened log holds.
pub struct Found {
    /// The log's id.
    pub log: u64,
    pub index: Index,
    pub segments: BTreeMap<u32, Segment>,
    /// Segments below the floor, to be removed.
    pub leftover: Vec<u32>,
    pub position: Position,
}

/// Where the log goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    pub segment: u32,
    pub offset: u32,
    /// Sequence of the last record; 0 in a new log.
    pub seq: u64,
}

/// An operation on `path` that failed.
fn io_error(op: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { op, path, source }
}

fn damaged(file: &Path, offset: u64, fault: Fault) -> OpenError {
    OpenError::Damaged(Damage { file: file.to_owned(), offset, fault })
}

/// Locks the folder, reads the log and makes it fit to go on: synced, its torn tail zeroed.
pub fn open(
    fs: &dyn Fs,
    dir: &Path,
    config: &Config,
    env: &Env,
) -> Result<(Found, Recovery, Lock), OpenError> {
    fs.create_dir_all(dir).map_err(io_error("create", dir))?;
    let lock = fs.lock(&dir.join("LOCK")).map_err(|e| match e.kind() {
        std::io::ErrorKind::WouldBlock => OpenError::Locked { dir: dir.to_owned() },
        _ => io_error("lock", dir)(e),
    })?;
    let (files, fresh) = match Files::list(fs, dir)? {
        Some(files) => (files, false),
        None => (Files::create(fs, dir, config, env.entropy.number())?, true),
    };
    let (found, mut recovery) = read(fs, dir, files)?;
    recovery.fresh = fresh;
    Ok((found, recovery, lock))
}

fn read(fs: &dyn Fs, dir: &Path, files: Files) -> Result<(Found, Recovery), OpenError> {
    let mut replay = Replay::default();
    let mut walk = Walk::new(files.first_seq());
    let mut segments = BTreeMap::new();
    let mut recovery = Recovery { removed: files.removed, ..Recovery::default() };
    let mut run = files.run.iter().copied();
    let (active, end, tail) = loop {
        let Some(number) = run.next() else {
            // The last segment read is sealed, so the next one was there.
            return Err(damaged(&segment::path(dir, files.last() + 1), 0, Fault::Missing));
        };
        let (file, bytes) = files.read(fs, dir, number)?;
        let path = segment::path(dir, number);
        let seed = Seed::new(files.log, number);
        segments.insert(number, Segment { file, bytes: bytes.len() as u32 });
        let end = walk.segment(number, seed, &bytes, |place, raw| replay.record(place, raw));
        match end.map_err(|(offset, fault)| damaged(&path, u64::from(offset), fault))? {
            End::Sealed => {}
            End::Open(offset) => break (number, offset, bytes),
        }
    };
    let path = segment::path(dir, active);
    let seed = Seed::new(files.log, active);
    if walk.contradicted(seed, &tail, end) {
        return Err(damaged(&path, u64::from(end), Fault::Record));
    }
    let spares: Vec<u32> = run.collect();
    for spare in &spares {
        if files.holds_records(fs, dir, *spare)? {
            return Err(damaged(&path, u64::from(end), Fault::Record));
        }
    }
    files.check_floor(dir, replay.floor)?;
    replay.check_joined(&path, u64::from(end))?;

    let position = Position { segment: active, offset: end, seq: walk.last() };
    recovery.cut = cut(&path, &tail, position);
    recovery.records = walk.records();
    recovery.removed += spares.len();
    mend::remove_spares(fs, dir, &spares)?;
    mend::make_durable(fs, dir, &segments, walk.last_batch(), position, &tail)?;
    let leftover = files.below(replay.floor);
    segments.retain(|number, _| *number >= replay.floor);
    recovery.segments = segments.len();
    recovery.entries = replay.index.entries();
    let index = replay.index;
    Ok((Found { log: files.log, index, segments, leftover, position }, recovery))
}

/// What lies behind the last good record, if anything does: unused space is zeros.
fn cut(path: &Path, tail: &[u8], position: Position) -> Option<Cut> {
    let torn = zeros::used(&tail[position.offset as usize..]);
    (torn > 0).then(|| Cut {
        file: path.to_owned(),
        offset: u64::from(position.offset),
        bytes: torn as u64,
        after: position.seq,
    })
}
