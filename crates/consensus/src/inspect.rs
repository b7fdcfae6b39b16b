//! A node's files for who explains every byte of them: read only, no group has to run.
//!
//! The decoders are those that write and read in service; what they let through unread, such as
//! bytes behind the last item, is refused here by writing what was read once more.

mod archive;

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hansa_types::id::GroupId;
use hansa_types::time::LogTime;
use hansa_wal::fs::File;
use hansa_wal::inspect::{Record, What};

pub use self::archive::{ArchiveReader, Pages, entries, pages_in_use, records};
use crate::batch::Batch;
use crate::checkpoints::{self, FileError};
use crate::machine::{Frozen as _, Machine, ThawError};
use crate::pending::{ArchivedEntry, ArchivedRecord};
use crate::raft::codec::{self, BadBytes, Kind};

/// The names of files in a node's folder that this room keeps.
pub const IDENTITY: &str = "identity";
pub const ANCHORS: &str = "anchors";
pub const STOPPED: &str = "STOPPED";
pub const FORGOTTEN: &str = checkpoints::FORGOTTEN;
/// The ending of a checkpoint that was set aside as damaged.
pub const DAMAGED: &str = checkpoints::DAMAGED;
pub const ARCHIVE: &str = "archive.redb";

/// One entry of a group's history.
#[derive(Clone, Debug)]
pub struct Entry {
    pub index: u64,
    pub term: u64,
    /// The leader's time, of entries that have one.
    pub at: Option<LogTime>,
    /// Empty for an entry of the group itself: who belongs to it, by which version it applies.
    pub commands: Vec<Bytes>,
    /// What the group's machine begins with, of the entry that says so.
    pub begins: Option<Bytes>,
}

/// One record that left hot state.
#[derive(Clone, Debug)]
pub struct Archived {
    pub number: u64,
    pub table: u8,
    pub key: Bytes,
    pub value: Bytes,
}

impl From<ArchivedRecord> for Archived {
    fn from(record: ArchivedRecord) -> Self {
        let ArchivedRecord { number, table, key, value, index: _ } = record;
        Self { number, table, key, value }
    }
}

/// The entry of a log record; `None` for a record that has none.
///
/// # Errors
/// Content that is not what its kind says, to the last byte.
pub fn log_record(record: &Record<'_>) -> Result<Option<Entry>, String> {
    let said = |bad: BadBytes| bad.to_string();
    match record.what {
        What::Entry => {
            let mut head = record.head;
            let kind = Kind::from_number(codec::u8_of(&mut head).map_err(said)?).map_err(said)?;
            let term = codec::u64_of(&mut head).map_err(said)?;
            whole(head.is_empty(), "an entry's head")?;
            let payload = Bytes::copy_from_slice(record.body);
            entry(record.index, term, kind, payload).map(Some)
        }
        What::Vote => {
            whole(record.head.is_empty(), "a vote's head")?;
            let mut body = record.body;
            let vote = codec::vote_of(&mut body).map_err(said)?;
            let mut again = BytesMut::new();
            codec::put_vote(&mut again, &vote);
            whole(again == record.body, "a vote").map(|()| None)
        }
        What::Committed | What::Purge => {
            whole(record.head.is_empty(), "a log id's head")?;
            let mut body = record.body;
            codec::log_id_of(&mut body).map_err(said)?;
            whole(body.is_empty(), "a log id").map(|()| None)
        }
        What::Truncate | What::Forget | What::Mark => Ok(None),
    }
}

/// The term of an entry or a vote, for who does not ask what it says besides.
pub fn term(record: &Record<'_>) -> Option<u64> {
    match record.what {
        What::Entry => codec::u64_of(&mut record.head.get(1..)?).ok(),
        What::Vote => codec::u64_of(&mut &record.body[..]).ok(),
        _ => None,
    }
}

fn whole(is: bool, what: &str) -> Result<(), String> {
    if is { Ok(()) } else { Err(format!("{what} has bytes that it does not need")) }
}

fn entry(index: u64, term: u64, kind: Kind, payload: Bytes) -> Result<Entry, String> {
    let id = crate::raft::log_id(term, index);
    let read = codec::entry_of(id, kind, payload.clone()).map_err(|bad| bad.to_string())?;
    let (_, again) = codec::payload(&read);
    whole(again == payload, "an entry")?;
    let (at, commands) = match kind {
        Kind::Commands => {
            let batch = Batch::decode(payload.clone()).map_err(|bad| bad.to_string())?;
            let commands = batch.commands().map(|command| payload.slice_ref(command)).collect();
            (Some(batch.at()), commands)
        }
        Kind::Blank | Kind::Membership | Kind::Raise | Kind::Begin => (None, Vec::new()),
    };
    let begins = match kind {
        Kind::Begin => Batch::decode_begin(payload).map_err(|bad| bad.to_string())?,
        _ => return Ok(Entry { index, term, at, commands, begins: None }),
    };
    let begins = begins.beginning().map(Bytes::copy_from_slice);
    Ok(Entry { index, term, at, commands, begins })
}

fn entry_of(entry: ArchivedEntry) -> Result<Entry, String> {
    self::entry(entry.index, entry.term, entry.kind, entry.payload)
}

/// As of where a checkpoint was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// One past the last applied entry.
    pub next_index: u64,
    pub time: LogTime,
}

/// Opens a checkpoint; the reader yields its state and ends where the file does.
///
/// # Errors
/// Damage, another format, another group's.
pub fn checkpoint(
    file: &Arc<dyn File>,
    path: &Path,
    group: GroupId,
) -> Result<(At, StateBytes), FileError> {
    let (position, reader) = checkpoints::open_file(file.clone(), path, group)?;
    let next_index = position.applied.map_or(0, |id| id.index() + 1);
    Ok((At { next_index, time: position.time }, StateBytes(reader)))
}

/// The bytes of a checkpoint's state, each block checked.
pub struct StateBytes(checkpoints::StateReader);

impl StateBytes {
    /// Checks that everything was read, and answers where the state ends in the file.
    ///
    /// # Errors
    /// Bytes that nobody has read.
    pub fn end(mut self) -> io::Result<u64> {
        let mut probe = [0];
        match self.0.read(&mut probe)? {
            0 => Ok(self.0.position()),
            _ => Err(io::Error::other("bytes behind the state's last record")),
        }
    }
}

impl Read for StateBytes {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

/// The machine that `state` holds. What it would write is what was read, byte for byte: so no byte
/// of the state is anything but the machine's.
///
/// # Errors
/// Damage, another format, or bytes that the machine does not know of.
pub fn machine<M: Machine>(state: &mut dyn Read) -> Result<M, ThawError> {
    let mut read = Heard { from: state, hash: blake3::Hasher::new(), bytes: 0 };
    let machine = M::thaw(&mut read)?;
    let mut rest = Vec::new();
    read.read_to_end(&mut rest)?;
    let mut written = Hashed { hash: blake3::Hasher::new(), bytes: 0 };
    machine.freeze().write(&mut written)?;
    let same = rest.is_empty()
        && (read.bytes, read.hash.finalize()) == (written.bytes, written.hash.finalize());
    match same {
        true => Ok(machine),
        false => Err(ThawError::Damaged("bytes that are no record's".to_owned())),
    }
}

/// Hashes what is read through it.
struct Heard<'a> {
    from: &'a mut dyn Read,
    hash: blake3::Hasher,
    bytes: u64,
}

impl Read for Heard<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(out)?;
        self.hash.update(&out[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

struct Hashed {
    hash: blake3::Hasher,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The hash by which backups name their parts.
pub fn hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// Regions of whose chains the anchors file keeps heads.
///
/// # Errors
/// Bytes that are no anchors.
pub fn anchors(bytes: &[u8]) -> Result<Vec<String>, String> {
    crate::anchors::regions_in(bytes).map_err(|bad| bad.to_string())
}

/// Checks that these are a node's identity and nothing else.
///
/// # Errors
/// Bytes that are none.
pub fn identity(bytes: &[u8]) -> Result<(), String> {
    let trailing = crate::identity::trailing(bytes).map_err(|bad| bad.to_string())?;
    whole(trailing == 0, "an identity")
}

/// Checks that these bytes say how far a group's disk has forgotten, and nothing else.
///
/// # Errors
/// Bytes that do not.
pub fn forgotten(bytes: &[u8]) -> Result<(), String> {
    whole(checkpoints::mark_of(bytes).is_some(), "a mark")
}

#[cfg(test)]
mod tests;
