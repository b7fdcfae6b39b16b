//! How long the disk takes to keep what it is given: printed with every result, since nothing else
//! differs as much between machines and hours.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// What a log writes at a time.
const BLOCK: [u8; 4_096] = [0x5a; 4_096];
const FILE: &str = "fdatasync.probe";

/// Times of so many appends, each synced, in order of length.
///
/// # Errors
/// The disk's.
pub fn syncs(folder: &Path, count: usize) -> io::Result<Vec<Duration>> {
    let path = folder.join(FILE);
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let mut took = (0..count).map(|_| sync(&mut file)).collect::<io::Result<Vec<_>>>()?;
    std::fs::remove_file(&path)?;
    took.sort_unstable();
    Ok(took)
}

fn sync(file: &mut File) -> io::Result<Duration> {
    file.write_all(&BLOCK)?;
    let began = Instant::now();
    file.sync_data()?;
    Ok(began.elapsed())
}

/// The middle of a few, in microseconds; 0 where the disk does not say.
pub fn typical(folder: &Path) -> u64 {
    let took = syncs(folder, 50).unwrap_or_default();
    took.get(took.len() / 2).map_or(0, |took| took.as_micros() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_sorted_and_the_file_goes() {
        let folder = hansa_tests::folder::fresh("bench-disk");
        let took = syncs(&folder, 3).unwrap();
        assert!(took.len() == 3 && took.is_sorted());
        assert!(!folder.join(FILE).exists());
    }
}
