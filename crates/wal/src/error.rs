//! What can be wrong with a log, named by file and offset.

use std::fmt;
use std::io;
use std::path::PathBuf;

use hansa_types::id::GroupId;
use thiserror::Error;

use crate::config::BadConfig;

/// Bytes that are not what was written and acknowledged. The node must not serve: it re-seeds.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: damaged at byte {offset}: {fault}", file.display())]
pub struct Damage {
    /// The file that is damaged or missing.
    pub file: PathBuf,
    /// The first bad byte's record, or the file's end when it is too short.
    pub offset: u64,
    pub fault: Fault,
}

/// The kind of damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A record at or below a watermark, or in a sealed segment, does not match its checksum or its
    /// place in the sequence.
    Record,
    /// The header of a segment, or the format file, does not match its checksum.
    Header,
    /// A segment of another log, or under another number.
    Foreign,
    /// The file is shorter than it was when it was first synced.
    Short,
    /// The file is not there.
    Missing,
    /// A checksummed record has a kind or a group that this version does not know.
    Unknown,
    /// The records of a group do not join: `index` is missing.
    Hole { group: GroupId, index: u64 },
    /// A record was read from disk but is not the one that the index placed there.
    Misplaced { group: GroupId, index: u64 },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record => f.write_str("acknowledged record unreadable"),
            Self::Header => f.write_str("header unreadable"),
            Self::Foreign => f.write_str("belongs to another log or another place in it"),
            Self::Short => f.write_str("file too short"),
            Self::Missing => f.write_str("file missing"),
            Self::Unknown => f.write_str("record of unknown kind or group"),
            Self::Hole { group, index } => write!(f, "group {group} lacks entry {index}"),
            Self::Misplaced { group, index } => {
                write!(f, "does not hold entry {index} of group {group}")
            }
        }
    }
}

/// Why a log did not open.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Refuse to start; rebuild this node from its peers.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// Written by a version that this binary does not know.
    #[error("{}: log format {found}, this binary knows {known}", file.display())]
    Version { file: PathBuf, found: u32, known: u32 },
    /// Another process, or another log in this process, has the folder.
    #[error("{}: in use by another process", dir.display())]
    Locked { dir: PathBuf },
    #[error(transparent)]
    Config(#[from] BadConfig),
    #[error("{}: {op}: {source}", path.display())]
    Io { op: &'static str, path: PathBuf, source: io::Error },
}

/// Why entries could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The entry is purged; the first one left, or the next to be appended, is `first`.
    #[error("entry purged: the log begins at {first}")]
    Purged { first: u64 },
    /// The bytes on disk are not what was written: stop serving.
    #[error(transparent)]
    Damaged(#[from] Damage),
    #[error("{}: read: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}
