//! redb's storage on our file-system trait, every page under a checksum.
//!
//! redb checks its pages after a crash only; a flipped bit in one would be believed. Here every
//! page is checked whenever it is read:
//! ```text
//! sector 0: "HANSAARC" | version: u32 | crc32c of the sector | redb's header
//! page n:   4096 bytes | crc32c of n and them | zeros: u32           n = 1, 2, …
//! ```
//! The header is rewritten in place, in one sector, which a disk writes whole or not at all; redb
//! never rewrites a page that it may still need.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use hansa_wal::fs::{File, Fs};
use parking_lot::Mutex;
use redb::StorageBackend;
use thiserror::Error;

const MAGIC: &[u8; 8] = b"HANSAARC";
const VERSION: u32 = 1;
const SECTOR: usize = 512;
/// Bytes of the sector before redb's header.
const LEAD: usize = 16;
const HEADER: usize = SECTOR - LEAD;
pub(super) const PAGE: usize = 4096;
pub(super) const PITCH: usize = PAGE + 8;
/// Pages that are sealed and written together: large values want no second copy of themselves.
const PIECE: usize = 64;
/// redb's own magic number: without it nothing was ever finished here.
const REDB_MAGIC: usize = 9;

/// Bytes that are not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("damaged at byte {offset}: {what}")]
pub(super) struct PageDamage {
    pub offset: u64,
    pub what: &'static str,
}

/// A sound file of another format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("format {0}, this binary knows {VERSION}")]
pub(super) struct OtherFormat(pub u32);

fn damaged(offset: u64, what: &'static str) -> io::Error {
    io::Error::other(PageDamage { offset, what })
}

/// One file of the trait as redb's storage.
pub(super) struct Backend {
    file: Arc<dyn File>,
    header: Mutex<[u8; HEADER]>,
    aside: Option<Mutex<Aside>>,
}

/// What a reader writes that must leave no trace: redb marks and tidies whatever it opens.
struct Aside {
    length: u64,
    pages: BTreeMap<u64, Vec<u8>>,
    read: PagesRead,
}

/// Pages that a reader took from the file.
pub(super) type PagesRead = Arc<Mutex<BTreeSet<u64>>>;

impl Backend {
    /// Opens `path`, or creates it with its name durable.
    pub fn open(fs: &Arc<dyn Fs>, path: &Path) -> io::Result<Self> {
        let file = match fs.open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let file = fs.create(path)?;
                file.sync_data()?;
                path.parent().map_or(Ok(()), |dir| fs.sync_dir(dir))?;
                file
            }
            other => other?,
        };
        let header = match file.len()? {
            0 => [0; HEADER],
            length => read_header(file.as_ref(), length)?,
        };
        if header[..REDB_MAGIC].iter().all(|byte| *byte == 0) {
            // A crash right at the beginning: redb begins anew on an empty file only.
            file.set_len(0)?;
        }
        Ok(Self { file, header: Mutex::new(header), aside: None })
    }

    /// Opens what lies at `path` for reading; nothing is written to it.
    pub fn reader(fs: &Arc<dyn Fs>, path: &Path, read: PagesRead) -> io::Result<Self> {
        let file = fs.open(path)?;
        let length = file.len()?;
        let header = Mutex::new(read_header(file.as_ref(), length)?);
        let aside = Aside { length: whole_pages(length), pages: BTreeMap::new(), read };
        Ok(Self { file, header, aside: Some(Mutex::new(aside)) })
    }
}

/// The length that redb sees of a file of ours.
fn whole_pages(length: u64) -> u64 {
    let pages = length.checked_sub(SECTOR as u64).map(|rest| 1 + rest / PITCH as u64);
    pages.unwrap_or(0) * PAGE as u64
}

pub(super) fn read_header(file: &dyn File, length: u64) -> io::Result<[u8; HEADER]> {
    let mut sector = [0; SECTOR];
    if length < SECTOR as u64 {
        return Err(damaged(length, "the file ends within its header"));
    }
    if !(length - SECTOR as u64).is_multiple_of(PITCH as u64) {
        return Err(damaged(length, "the file ends within a page"));
    }
    file.read_exact_at(&mut sector, 0)?;
    let mut header = [0; HEADER];
    if sector.iter().all(|byte| *byte == 0) {
        // redb syncs its header before it writes a page: with pages, there was one.
        return match is_blank(file, length)? {
            true => Ok(header),
            false => Err(damaged(0, "no header before its pages")),
        };
    }
    header.copy_from_slice(&sector[LEAD..]);
    let version = sector[8..12].try_into().map_or(0, u32::from_le_bytes);
    // The checksum comes first: a flipped digit is damage and not another format.
    if sector != sector_of_version(version, &header) {
        return Err(damaged(0, "header checksum"));
    }
    if version != VERSION {
        return Err(io::Error::other(OtherFormat(version)));
    }
    Ok(header)
}

/// Whether all is zeros behind the header.
fn is_blank(file: &dyn File, length: u64) -> io::Result<bool> {
    let mut buffer = vec![0; 64 * PITCH];
    let mut at = SECTOR as u64;
    while at < length {
        let read = file.read_at(&mut buffer, at)?;
        if read == 0 || buffer[..read].iter().any(|byte| *byte != 0) {
            return Ok(read == 0);
        }
        at += read as u64;
    }
    Ok(true)
}

fn sector_of(header: &[u8; HEADER]) -> [u8; SECTOR] {
    sector_of_version(VERSION, header)
}

fn sector_of_version(version: u32, header: &[u8; HEADER]) -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    sector[..8].copy_from_slice(MAGIC);
    sector[8..12].copy_from_slice(&version.to_le_bytes());
    sector[LEAD..].copy_from_slice(header);
    let sum = crc32c::crc32c(&sector);
    sector[12..16].copy_from_slice(&sum.to_le_bytes());
    sector
}

/// Where page `number` lies in the file.
pub(super) fn place(number: u64) -> u64 {
    SECTOR as u64 + (number - 1) * PITCH as u64
}

pub(super) fn seal(number: u64, page: &[u8]) -> [u8; PITCH - PAGE] {
    let sum = crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), page);
    let mut seal = [0; PITCH - PAGE];
    seal[..4].copy_from_slice(&sum.to_le_bytes());
    seal
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backend")
    }
}

impl Backend {
    /// Reads from whole pages; `offset` is behind page 0.
    fn read_pages(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let page = PAGE as u64;
        let (first, last) = (offset / page, (offset + out.len() as u64 - 1) / page);
        let mut raw = vec![0; (last - first + 1) as usize * PITCH];
        let ended = |e: io::Error| match e.kind() {
            io::ErrorKind::UnexpectedEof => damaged(place(first), "a page is missing"),
            _ => e,
        };
        match self.file.read_exact_at(&mut raw, place(first)) {
            // Beyond the file lies what a reader has written, if anything.
            Err(error) if self.aside.is_none() || error.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(ended(error));
            }
            _ => {}
        }
        let mut skip = (offset % page) as usize;
        let mut done = 0;
        let aside = self.aside.as_ref().map(Mutex::lock);
        for (number, sealed) in (first..).zip(raw.chunks_exact(PITCH)) {
            let (mut bytes, sum) = sealed.split_at(PAGE);
            match aside.as_ref().and_then(|aside| aside.pages.get(&number)) {
                Some(written) => bytes = written,
                None if seal(number, bytes) != sum => {
                    return Err(damaged(place(number), "page checksum"));
                }
                None => drop(aside.as_ref().map(|aside| aside.read.lock().insert(number))),
            }
            let taken = (PAGE - skip).min(out.len() - done);
            out[done..done + taken].copy_from_slice(&bytes[skip..skip + taken]);
            (done, skip) = (done + taken, 0);
        }
        Ok(())
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        match &self.aside {
            Some(aside) => Ok(aside.lock().length),
            None => Ok(whole_pages(self.file.len()?)),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let mut done = 0;
        if offset < PAGE as u64 {
            let header = self.header.lock();
            let from = offset as usize;
            done = out.len().min(PAGE - from);
            for (at, byte) in out[..done].iter_mut().enumerate() {
                *byte = header.get(from + at).copied().unwrap_or(0);
            }
        }
        match done == out.len() {
            true => Ok(()),
            false => self.read_pages(offset + done as u64, &mut out[done..]),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if let Some(aside) = &self.aside {
            aside.lock().length = len;
            return Ok(());
        }
        let pages = len.div_ceil(PAGE as u64);
        self.file.set_len(if pages == 0 { 0 } else { place(pages) })
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.aside.is_some() {
            return Ok(());
        }
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset < PAGE as u64 {
            let (from, to) = (offset as usize, offset as usize + data.len());
            let mut header = self.header.lock();
            let room = header.get_mut(from..to);
            let room = room.ok_or_else(|| io::Error::other("a header longer than a sector"))?;
            room.copy_from_slice(data);
            if self.aside.is_some() {
                return Ok(());
            }
            return self.file.write_at(&sector_of(&header), 0);
        }
        if !offset.is_multiple_of(PAGE as u64) || !data.len().is_multiple_of(PAGE) {
            return Err(io::Error::other("a write of less than a page"));
        }
        let first = offset / PAGE as u64;
        if let Some(aside) = &self.aside {
            let written = (first..).zip(data.chunks_exact(PAGE).map(<[u8]>::to_vec));
            aside.lock().pages.extend(written);
            return Ok(());
        }
        let mut sealed = Vec::with_capacity(PIECE.min(data.len() / PAGE) * PITCH);
        for (number, piece) in (first..).step_by(PIECE).zip(data.chunks(PIECE * PAGE)) {
            sealed.clear();
            for (number, page) in (number..).zip(piece.chunks_exact(PAGE)) {
                sealed.extend_from_slice(page);
                sealed.extend_from_slice(&seal(number, page));
            }
            self.file.write_at(&sealed, place(number))?;
        }
        Ok(())
    }
}
