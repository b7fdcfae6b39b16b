//! The `FORMAT` file: which log this is and which version wrote it, readable by people.

use std::io;
use std::path::Path;

use crate::fs::Fs;
use crate::segment::VERSION;

/// Its name in the log's folder.
pub const NAME: &str = "FORMAT";
/// Longer than any version's file.
const BYTES_MAX: u64 = 4096;

/// What is wrong with the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bad {
    Unreadable,
    Version(u32),
}

fn text(log: u64, version: u32) -> String {
    let body = format!("hansa-wal\nversion {version}\nlog {log:016x}\n");
    let sum = crc32c::crc32c(body.as_bytes());
    format!("{body}crc {sum:08x}\n")
}

/// The log's id.
///
/// The checksum comes first, so that a flipped digit is damage and not another version.
pub fn parse(bytes: &[u8]) -> Result<u64, Bad> {
    let text = std::str::from_utf8(bytes).map_err(|_| Bad::Unreadable)?;
    let (body, sum) = text.rsplit_once("crc ").ok_or(Bad::Unreadable)?;
    if format!("{:08x}\n", crc32c::crc32c(body.as_bytes())) != sum {
        return Err(Bad::Unreadable);
    }
    let rest = body.strip_prefix("hansa-wal\nversion ").ok_or(Bad::Unreadable)?;
    let (version, rest) = rest.split_once('\n').ok_or(Bad::Unreadable)?;
    let version: u32 = version.parse().map_err(|_| Bad::Unreadable)?;
    if version != VERSION {
        return Err(Bad::Version(version));
    }
    let log = rest.strip_prefix("log ").and_then(|l| l.strip_suffix('\n'));
    log.and_then(|l| u64::from_str_radix(l, 16).ok()).ok_or(Bad::Unreadable)
}

/// Reads the file; `None` when there is none.
pub fn read(fs: &dyn Fs, dir: &Path) -> io::Result<Option<Vec<u8>>> {
    crate::fs::read_start(fs, &dir.join(NAME), BYTES_MAX)
}

/// Writes the file, durable on return.
pub fn write(fs: &dyn Fs, dir: &Path, log: u64) -> io::Result<()> {
    crate::fs::replace(fs, dir, NAME, text(log, VERSION).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_id_reads_back() {
        assert_eq!(parse(text(0xfeed, VERSION).as_bytes()), Ok(0xfeed));
    }

    #[test]
    fn another_version_is_named() {
        assert_eq!(parse(text(1, 9).as_bytes()), Err(Bad::Version(9)));
    }

    #[test]
    fn no_flipped_bit_and_no_shortening_passes() {
        let good = text(0xfeed, VERSION).into_bytes();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert_eq!(parse(&bad), Err(Bad::Unreadable), "byte {at} bit {bit}");
            }
            assert_eq!(parse(&good[..at]), Err(Bad::Unreadable), "first {at} bytes");
        }
    }
}
