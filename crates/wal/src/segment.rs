//! Segment files: their names, their header page, and how one is made ready.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::{File, Fs};

/// Records begin here: the header has a page of its own, so no later write touches its sectors.
pub const DATA_START: u32 = 4096;
/// What a segment is called until it is ready.
pub const UNREADY: &str = "next.tmp";
/// The format of segments and records that this binary writes and reads, and of what lies in them:
/// in 1 no entry said what its group begins with.
pub const VERSION: u32 = 2;

const MAGIC: &[u8; 8] = b"HANSAWAL";
const HEADER_LEN: usize = 32;

/// The file name of segment `number`.
pub fn name(number: u32) -> String {
    format!("{number:08x}.seg")
}

/// The path of segment `number` in `dir`.
pub fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(name(number))
}

/// The number in a segment's file name.
pub fn number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".seg")?;
    let number = u32::from_str_radix(digits, 16).ok()?;
    (number > 0 && self::name(number) == name).then_some(number)
}

/// The header page of a segment of `bytes` bytes.
pub fn header(log: u64, number: u32, bytes: u32) -> Vec<u8> {
    let mut page = Vec::with_capacity(DATA_START as usize);
    page.extend_from_slice(MAGIC);
    page.extend_from_slice(&VERSION.to_le_bytes());
    page.extend_from_slice(&number.to_le_bytes());
    page.extend_from_slice(&log.to_le_bytes());
    page.extend_from_slice(&bytes.to_le_bytes());
    let sum = crc32c::crc32c(&page);
    page.extend_from_slice(&sum.to_le_bytes());
    page.resize(DATA_START as usize, 0);
    page
}

/// What is wrong with a header page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadHeader {
    Unreadable,
    Foreign,
    Version(u32),
}

/// The segment's size as its header page says, if the page is that of segment `number` of `log`.
pub fn check_header(page: &[u8], log: u64, number: u32) -> Result<u32, BadHeader> {
    let field = |at: usize| -> Option<u32> {
        Some(u32::from_le_bytes(*page.get(at..at + 4)?.first_chunk()?))
    };
    let (Some(version), Some(found), Some(bytes), Some(sum)) =
        (field(8), field(12), field(24), field(28))
    else {
        return Err(BadHeader::Unreadable);
    };
    let zeros = page[HEADER_LEN..].iter().all(|b| *b == 0);
    if &page[..8] != MAGIC || crc32c::crc32c(&page[..28]) != sum || !zeros {
        return Err(BadHeader::Unreadable);
    }
    if version != VERSION {
        return Err(BadHeader::Version(version));
    }
    if found != number || page[16..24] != log.to_le_bytes() {
        return Err(BadHeader::Foreign);
    }
    Ok(bytes)
}

/// Makes segment `number` ready: allocated, headed and durable before it gets its name.
///
/// A file with a segment's name is therefore whole, and a bad header in one is damage, never a
/// crash. What a failure leaves is removed as far as that works: a full disk needs its space.
pub fn prepare(
    fs: &dyn Fs,
    dir: &Path,
    log: u64,
    number: u32,
    bytes: u32,
) -> io::Result<Arc<dyn File>> {
    let unready = dir.join(UNREADY);
    make(fs, dir, log, number, bytes, &unready).inspect_err(|_| drop(fs.remove(&unready)))
}

fn make(
    fs: &dyn Fs,
    dir: &Path,
    log: u64,
    number: u32,
    bytes: u32,
    unready: &Path,
) -> io::Result<Arc<dyn File>> {
    let file = fs.create(unready)?;
    file.allocate(u64::from(bytes))?;
    file.write_at(&header(log, number, bytes), 0)?;
    file.sync_data()?;
    fs.rename(unready, &path(dir, number))?;
    fs.sync_dir(dir)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_nothing_else_does() {
        assert_eq!(number(&name(1)), Some(1));
        assert_eq!(number(&name(u32::MAX)), Some(u32::MAX));
        for other in ["00000000.seg", "1.seg", "0000000G.seg", "FORMAT", "0000000A.seg"] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn a_header_is_that_of_one_segment_of_one_log() {
        let page = header(5, 3, 8192);
        assert_eq!(check_header(&page, 5, 3), Ok(8192));
        assert_eq!(check_header(&page, 6, 3), Err(BadHeader::Foreign));
        assert_eq!(check_header(&page, 5, 4), Err(BadHeader::Foreign));
        assert_eq!(check_header(&page[..20], 5, 3), Err(BadHeader::Unreadable));
    }

    #[test]
    fn no_flipped_bit_in_a_header_page_passes() {
        let mut page = header(5, 3, 8192);
        for at in 0..page.len() {
            page[at] ^= 1;
            assert_eq!(check_header(&page, 5, 3), Err(BadHeader::Unreadable), "byte {at}");
            page[at] ^= 1;
        }
    }
}
