//! A group that must not serve on this node any more says so in its folder, over restarts.

use std::io;
use std::path::Path;

use hansa_wal::fs::{self, Fs};

/// Its name in the group's folder. Only a node that is rebuilt from its peers is without it again.
const FILE: &str = "STOPPED";
/// Longer reasons are cut.
const BYTES_MAX: usize = 4096;

/// Why the group in `dir` was stopped for good, when it was.
pub(crate) fn read(fs: &dyn Fs, dir: &Path) -> io::Result<Option<String>> {
    let noted = fs::read_start(fs, &dir.join(FILE), BYTES_MAX as u64)?;
    // Whatever became of the words: that the file is there is what counts.
    Ok(noted.map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned()))
}

/// Notes it; durable on return. What was noted first stays.
pub(super) fn write(fs: &dyn Fs, dir: &Path, why: &str) -> io::Result<()> {
    if fs.exists(&dir.join(FILE))? {
        return fs.sync_dir(dir);
    }
    let bytes = why.as_bytes();
    fs::replace(fs, dir, FILE, &bytes[..bytes.len().min(BYTES_MAX)])
}
