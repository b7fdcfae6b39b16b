//! The bytes of a checkpoint: a header, then the state in checksummed blocks.
//!
//! ```text
//! "HANSACKP" | version: u32 | header length: u32 | header | crc32c of all before
//! block: length: u32 | crc32c: u32 | bytes            until a block of length 0,
//! which carries the number of state bytes: u64        so that a cut file is never whole
//! ```

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, BytesMut};
use hansa_types::hash::StateHash;
use hansa_types::id::GroupId;
use hansa_types::time::LogTime;
use hansa_wal::fs::File;
use thiserror::Error;

use crate::raft::codec::{self, BadBytes};
use crate::replica::Position;
use crate::version::GENESIS;

const MAGIC: &[u8; 8] = b"HANSACKP";
/// The format that is written; all from the first on are read. The first had no version of
/// behaviour.
const VERSION: u32 = 2;
const BLOCK_BYTES: usize = 256 << 10;
const HEADER_BYTES_MAX: u32 = 1 << 20;

/// What is wrong with a checkpoint file.
#[derive(Debug, Error)]
pub enum FileError {
    #[error("{}: damaged at byte {offset}: {what}", file.display())]
    Damaged { file: PathBuf, offset: u64, what: String },
    #[error("{}: checkpoint format {found}, this binary reads 1 to {VERSION}", file.display())]
    Version { file: PathBuf, found: u32 },
    #[error("{}: {source}", file.display())]
    Io { file: PathBuf, source: io::Error },
}

/// Writes `position` and whatever `state` writes; synced on return. Returns the file's length.
pub(super) fn write(
    file: &Arc<dyn File>,
    group: GroupId,
    position: &Position,
    state: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<u64> {
    let header = encode_header(group, position);
    let mut head = BytesMut::new();
    head.put_slice(MAGIC);
    head.put_u32_le(VERSION);
    head.put_u32_le(header.len() as u32);
    head.put_slice(&header);
    head.put_u32_le(crc32c::crc32c(&head));
    file.write_at(&head, 0)?;
    let mut blocks = Blocks::new(file.clone(), head.len() as u64);
    state(&mut blocks)?;
    let length = blocks.finish()?;
    file.set_len(length)?;
    file.sync_data()?;
    Ok(length)
}

fn encode_header(group: GroupId, position: &Position) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u32_le(group.number());
    codec::put_log_id(&mut out, position.applied.as_ref());
    codec::put_stored_membership(&mut out, &position.membership);
    out.put_slice(&position.chain);
    out.put_u64_le(position.time.ms());
    out.put_u64_le(position.records);
    out.put_u128_le(position.digest.0);
    out.put_u32_le(position.version);
    out
}

fn decode_header(format: u32, mut from: &[u8]) -> Result<(u32, Position), BadBytes> {
    let group = codec::u32_of(&mut from)?;
    let applied = codec::log_id_of(&mut from)?;
    let membership = codec::stored_membership_of(&mut from)?;
    let chain = codec::array_of(&mut from)?;
    let time = LogTime(codec::u64_of(&mut from)?);
    let records = codec::u64_of(&mut from)?;
    let digest = StateHash(from.try_get_u128_le().map_err(|_| BadBytes::Short)?);
    let version = if format == 1 { GENESIS } else { codec::u32_of(&mut from)? };
    Ok((group, Position { applied, membership, chain, time, records, digest, version }))
}

/// Reads and checks a header; the reader then yields the state.
pub(crate) fn open(
    file: Arc<dyn File>,
    path: &Path,
    group: GroupId,
) -> Result<(Position, StateReader), FileError> {
    let io_error = |source| FileError::Io { file: path.to_owned(), source };
    let damaged = |offset, what: &str| FileError::Damaged {
        file: path.to_owned(),
        offset,
        what: what.to_owned(),
    };
    let mut fixed = [0; 16];
    if file.read_at(&mut fixed, 0).map_err(io_error)? < fixed.len() {
        return Err(damaged(0, "too short for a header"));
    }
    let mut rest = &fixed[8..];
    let (version, length) = (rest.get_u32_le(), rest.get_u32_le());
    if &fixed[..8] != MAGIC {
        return Err(damaged(0, "not a checkpoint"));
    }
    if length > HEADER_BYTES_MAX {
        return Err(damaged(12, "header length"));
    }
    let mut head = vec![0; 16 + length as usize + 4];
    if file.read_at(&mut head, 0).map_err(io_error)? < head.len() {
        return Err(damaged(16, "too short for its header"));
    }
    let (covered, sum) = head.split_at(head.len() - 4);
    if crc32c::crc32c(covered).to_le_bytes() != sum {
        return Err(damaged(16, "header checksum"));
    }
    // The checksum comes first: a flipped digit is damage and not another format.
    if !(1..=VERSION).contains(&version) {
        return Err(FileError::Version { file: path.to_owned(), found: version });
    }
    let decoded = decode_header(version, &covered[16..]);
    let (number, position) = decoded.map_err(|e| damaged(16, &e.to_string()))?;
    if number != group.number() {
        return Err(damaged(16, "checkpoint of another group"));
    }
    let reader = StateReader {
        path: path.to_owned(),
        next: head.len() as u64,
        file,
        block: Vec::new(),
        read: 0,
        total: 0,
        ended: false,
    };
    Ok((position, reader))
}

/// Collects what a state writes into checksummed blocks.
struct Blocks {
    file: Arc<dyn File>,
    at: u64,
    block: Vec<u8>,
    total: u64,
}

impl Blocks {
    fn new(file: Arc<dyn File>, at: u64) -> Self {
        Self { file, at, block: Vec::with_capacity(BLOCK_BYTES), total: 0 }
    }

    fn put_block(&mut self, length: u32) -> io::Result<()> {
        let mut out = BytesMut::with_capacity(8 + self.block.len());
        out.put_u32_le(length);
        out.put_u32_le(crc32c::crc32c(&self.block));
        out.put_slice(&self.block);
        self.file.write_at(&out, self.at)?;
        self.at += out.len() as u64;
        self.block.clear();
        Ok(())
    }

    /// Writes the last blocks; returns the file's length.
    fn finish(mut self) -> io::Result<u64> {
        self.flush()?;
        self.block.extend_from_slice(&self.total.to_le_bytes());
        self.put_block(0)?;
        Ok(self.at)
    }
}

impl Write for Blocks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK_BYTES - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        self.total += taken as u64;
        if self.block.len() == BLOCK_BYTES {
            self.put_block(BLOCK_BYTES as u32)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.block.is_empty() { Ok(()) } else { self.put_block(self.block.len() as u32) }
    }
}

/// Reads a state back, block by checked block.
pub(crate) struct StateReader {
    path: PathBuf,
    file: Arc<dyn File>,
    next: u64,
    block: Vec<u8>,
    read: usize,
    total: u64,
    ended: bool,
}

impl StateReader {
    fn damaged(&self, what: &str) -> io::Error {
        let (file, offset) = (self.path.clone(), self.next);
        io::Error::other(FileError::Damaged { file, offset, what: what.to_owned() })
    }

    fn next_block(&mut self) -> io::Result<()> {
        let mut head = [0; 8];
        if self.file.read_at(&mut head, self.next)? < head.len() {
            return Err(self.damaged("ends before its last block"));
        }
        let mut rest = &head[..];
        let (length, sum) = (rest.get_u32_le() as usize, rest.get_u32_le());
        if length > BLOCK_BYTES {
            return Err(self.damaged("block length"));
        }
        let ends = length == 0;
        self.block.resize(if ends { 8 } else { length }, 0);
        self.read = 0;
        if self.file.read_at(&mut self.block, self.next + 8)? < self.block.len() {
            return Err(self.damaged("block cut short"));
        }
        if crc32c::crc32c(&self.block) != sum {
            return Err(self.damaged("block checksum"));
        }
        if ends {
            if self.block != self.total.to_le_bytes() {
                return Err(self.damaged("state bytes are missing"));
            }
            self.block.clear();
            self.ended = true;
        }
        self.next += 8 + self.block.len() as u64;
        self.total += self.block.len() as u64;
        Ok(())
    }

    /// Reads and checks blocks of about `bytes`; `true` once the closing one was read.
    pub fn check(&mut self, bytes: usize) -> io::Result<bool> {
        let mut read = 0;
        while !self.ended && read < bytes {
            self.next_block()?;
            self.read = self.block.len();
            read += self.block.len();
        }
        Ok(self.ended)
    }

    /// Where in the file the next block begins; where the state ends once all of it was read.
    pub fn position(&self) -> u64 {
        // The closing block's own bytes are cleared as they are checked.
        if self.ended { self.next + 8 } else { self.next }
    }

    /// Checks that the state was read to its end: the closing block says that nothing is missing.
    pub fn finish(mut self) -> io::Result<()> {
        let mut probe = [0];
        if self.read(&mut probe)? == 0 {
            Ok(())
        } else {
            Err(self.damaged("bytes after the state"))
        }
    }
}

impl Read for StateReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.read == self.block.len() && !self.ended {
            self.next_block()?;
        }
        let taken = out.len().min(self.block.len() - self.read);
        out[..taken].copy_from_slice(&self.block[self.read..self.read + taken]);
        self.read += taken;
        Ok(taken)
    }
}
