//! A kind of file.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hansa_types::id::{GroupId, GroupKind};
use hansa_wal::fs::Fs;

use crate::findings::{Findings, Place, Stays};

/// A kind of file that a node keeps.
pub trait Format: Send + Sync {
    fn name(&self) -> &'static str;

    /// Whether a file at this path, below a node's folder, is one of its kind.
    fn claims(&self, path: &str) -> bool;

    /// Reads a piece of a file: at least one, about [`PIECE_BYTES`].
    ///
    /// # Errors
    /// What the disk says. Bytes that are not what they should be are said to `to` instead.
    fn read(&self, file: &Opened<'_>, from: Cursor, to: &mut Findings) -> io::Result<Piece>;
}

/// Bytes of a piece, about: what one turn on the loop of the slow disk work reads.
pub const PIECE_BYTES: u64 = 4 << 20;

/// Where the next piece of a file begins, in the format's own terms.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cursor {
    pub part: u8,
    pub at: u64,
}

/// What reading a piece came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Bytes that are explained now, the unused and the unexplained ones included.
    pub bytes: u64,
    /// `None` at the file's end.
    pub next: Option<Cursor>,
}

impl Piece {
    /// The file was read whole.
    pub fn whole(bytes: u64) -> Self {
        Self { bytes, next: None }
    }
}

/// A file under way.
pub struct Opened<'a> {
    pub fs: &'a Arc<dyn Fs>,
    pub path: &'a Path,
    /// Below the node's folder.
    pub name: &'a str,
    pub length: u64,
    /// Whether somebody may be writing to it.
    pub live: bool,
    /// The newest checkpoint of each folder when the sweep began.
    pub newest: &'a Newest,
}

/// Checkpoints by their folders: what a start would have loaded.
pub type Newest = BTreeMap<PathBuf, String>;

impl Opened<'_> {
    /// All of its bytes.
    ///
    /// # Errors
    /// What the disk says.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        self.fs.read(self.path, u64::MAX)
    }

    /// All of it as text; bytes that are none are unexplained.
    ///
    /// # Errors
    /// What the disk says.
    pub fn text(&self, to: &mut Findings) -> io::Result<Option<String>> {
        match String::from_utf8(self.bytes()?) {
            Ok(text) => Ok(Some(text)),
            Err(bad) => {
                let at = bad.utf8_error().valid_up_to() as u64;
                to.unexplained(self.name, at, self.length - at.min(self.length), "not text");
                Ok(None)
            }
        }
    }

    pub fn place(&self, stays: Stays) -> Place {
        Place { file: self.name.into(), stays }
    }

    /// A file beside it.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.path.with_file_name(name)
    }

    /// The folder that it lies in.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// The group in whose folder it lies.
    pub fn group(&self) -> Option<GroupId> {
        group_named(self.path.parent()?.file_name()?.to_str()?)
    }
}

/// The last part of a path.
pub fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The folder's name that a file lies in.
pub fn folder(path: &str) -> &str {
    path.rsplit('/').nth(1).unwrap_or_default()
}

/// The group of this name.
pub fn group_named(name: &str) -> Option<GroupId> {
    let (kind, index) = name.rsplit_once('-')?;
    let kind = GroupKind::ALL.into_iter().find(|known| known.as_str() == kind)?;
    let id = GroupId::new(kind, index.parse().ok()?);
    (id.to_string() == name).then_some(id)
}
