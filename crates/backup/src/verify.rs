//! A whole backup, offline: hashes, frames, order, and the audit chain from genesis.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use thiserror::Error;

use crate::MANIFEST;
use crate::entries::Walk;
use crate::manifest::{self, Group, Manifest, PartKind, hex};
use crate::part::{Bad, Reader};

/// Where a backup's files are.
pub trait Shelf {
    /// Opens a file by its path below the backup.
    ///
    /// # Errors
    /// What the disk says.
    fn open(&self, path: &str) -> io::Result<Box<dyn Read + Send>>;
}

/// A folder on this machine.
#[derive(Clone, Debug)]
pub struct Folder(pub PathBuf);

impl Shelf for Folder {
    fn open(&self, path: &str) -> io::Result<Box<dyn Read + Send>> {
        let file = File::open(self.0.join(path))?;
        Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
    }
}

/// Where a backup is damaged.
#[derive(Debug, Error)]
pub enum Damage {
    #[error("{MANIFEST}: {0}")]
    Manifest(#[from] manifest::BadManifest),
    #[error("{file}: damaged at byte {offset}: {what}")]
    At { file: String, offset: u64, what: String },
    #[error("{file}: {source}")]
    Io { file: String, source: io::Error },
}

/// What was found good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    pub groups: u64,
    pub bytes: u64,
    pub frames: u64,
    /// Entries whose links were computed.
    pub entries: u64,
}

/// Reads the manifest of a backup.
///
/// # Errors
/// See [`Damage`].
pub fn manifest(shelf: &dyn Shelf) -> Result<Manifest, Damage> {
    let at = |source| Damage::Io { file: MANIFEST.to_owned(), source };
    let mut text = Vec::new();
    let file = shelf.open(MANIFEST).map_err(at)?;
    file.take(manifest::BYTES_MAX).read_to_end(&mut text).map_err(at)?;
    Ok(Manifest::parse(&text)?)
}

/// Checks every byte of a backup; `seen` hears of the bytes as they are read.
///
/// # Errors
/// The first damage, with file and offset.
pub fn verify(
    shelf: &dyn Shelf,
    manifest: &Manifest,
    seen: &mut dyn FnMut(u64),
) -> Result<Checked, Damage> {
    let mut checked = Checked::default();
    for group in &manifest.groups {
        for kind in PartKind::ALL {
            self::part(shelf, group, kind, &mut checked, seen)?;
        }
        checked.groups += 1;
    }
    Ok(checked)
}

/// Checks one part.
///
/// # Errors
/// See [`Damage`].
pub fn part(
    shelf: &dyn Shelf,
    group: &Group,
    kind: PartKind,
    checked: &mut Checked,
    seen: &mut dyn FnMut(u64),
) -> Result<(), Damage> {
    let file = group.path(kind);
    let at = |offset, what: String| Damage::At { file: file.clone(), offset, what };
    let bad = |bad| match bad {
        Bad::At(offset, what) => at(offset, what),
        Bad::Io(source) => Damage::Io { file: file.clone(), source },
    };
    let opened = shelf.open(&file).map_err(|source| Damage::Io { file: file.clone(), source })?;
    let mut reader = Reader::open(opened, kind).map_err(bad)?;
    let mut course = Course::new(group, kind);
    let (mut frames, mut told) = (0, 0);
    while let Some(frame) = reader.next_frame().map_err(bad)? {
        course.take(frame.position, frame.bytes).map_err(|what| at(frame.offset, what))?;
        frames += 1;
        seen(reader.read_bytes() - told);
        told = reader.read_bytes();
    }
    let end = reader.read_bytes();
    course.end(group).map_err(|what| at(end, what))?;
    let part = group.part(kind).ok_or_else(|| at(0, "not in the manifest".to_owned()))?;
    if (part.bytes, part.frames) != (end, frames) {
        let what = format!(
            "{end} bytes in {frames} frames, the manifest says {} in {}",
            part.bytes, part.frames
        );
        return Err(at(end, what));
    }
    if part.blake3 != reader.hash() {
        return Err(at(0, "its hash is not that of the manifest".to_owned()));
    }
    checked.bytes += end;
    checked.frames += frames;
    if let Course::Entries(walk) = course {
        checked.entries += walk.next_index;
    }
    Ok(())
}

/// What must follow what within a part.
enum Course {
    State { next: u64 },
    Records { next: u64 },
    Entries(Walk),
}

impl Course {
    fn new(group: &Group, kind: PartKind) -> Self {
        match kind {
            PartKind::State => Self::State { next: 0 },
            PartKind::Records => Self::Records { next: 0 },
            PartKind::Entries => Self::Entries(Walk::new(group.group)),
        }
    }

    fn take(&mut self, position: u64, bytes: bytes::Bytes) -> Result<(), String> {
        match self {
            Self::Entries(walk) => walk.take(position, bytes),
            Self::State { next } | Self::Records { next } if *next != position => {
                Err(format!("{position} does not follow at {next}"))
            }
            Self::State { next } => {
                *next += bytes.len() as u64;
                Ok(())
            }
            Self::Records { next } => {
                *next += count_of_records(&bytes)?;
                Ok(())
            }
        }
    }

    fn end(&self, group: &Group) -> Result<(), String> {
        match self {
            Self::State { next: 0 } => Err("there is no state".to_owned()),
            Self::State { .. } => Ok(()),
            Self::Records { next } if *next == group.records => Ok(()),
            Self::Records { next } => {
                Err(format!("{next} records, the manifest says {}", group.records))
            }
            Self::Entries(walk) => {
                let ends = walk.next_index == group.index + 1
                    && hex(&walk.head) == group.chain_head
                    && walk.term == group.term
                    && walk.records == group.records;
                let what = "the chain does not end where the manifest says";
                if ends { Ok(()) } else { Err(what.to_owned()) }
            }
        }
    }
}

/// How many records a chunk holds: behind its checksum.
fn count_of_records(bytes: &[u8]) -> Result<u64, String> {
    let (sum, body) = bytes.split_first_chunk::<4>().ok_or("an empty chunk")?;
    let (count, _) = body.split_first_chunk::<4>().ok_or("an empty chunk")?;
    match crc32c::crc32c(body) == u32::from_le_bytes(*sum) {
        true => Ok(u64::from(u32::from_le_bytes(*count))),
        false => Err("a chunk's checksum does not match".to_owned()),
    }
}
