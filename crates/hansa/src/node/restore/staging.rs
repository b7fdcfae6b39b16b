//! Where a backup's parts are put together before anything of them counts.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hansa_backup::Shelf;
use hansa_wal::fs::{File, Fs};

const COPY_BYTES: usize = 256 << 10;
/// The manifest that the parts belong to.
const MANIFEST: &str = hansa_backup::MANIFEST;

/// The folder, below the node's own; gone once a restore is whole.
pub const FOLDER: &str = "restore";

/// A folder beside the node's own.
#[derive(Clone)]
pub struct Staging {
    fs: Arc<dyn Fs>,
    pub dir: PathBuf,
}

impl Staging {
    pub fn new(fs: Arc<dyn Fs>, data_dir: &Path) -> Self {
        Self { fs, dir: data_dir.join(FOLDER) }
    }

    /// Keeps what is there of the same backup, and throws away what is of another.
    pub fn begin(&self, manifest: &[u8], paths: &[String]) -> io::Result<()> {
        let file = self.dir.join(MANIFEST);
        let same = self.fs.exists(&file)?
            && self.fs.read(&file, hansa_backup::manifest::BYTES_MAX)? == manifest;
        if same {
            return Ok(());
        }
        self.fs.remove_dir_all(&self.dir)?;
        self.fs.create_dir_all(&self.dir)?;
        for path in paths {
            let file = self.dir.join(path);
            if let Some(folder) = file.parent() {
                self.fs.create_dir_all(folder)?;
            }
            self.fs.create(&file)?;
        }
        // Last: parts without a manifest are of no backup.
        let file = self.fs.create(&file)?;
        file.write_at(manifest, 0)?;
        file.sync_data()?;
        self.fs.sync_dir(&self.dir)
    }

    pub fn bytes(&self, path: &str) -> io::Result<u64> {
        self.fs.open(&self.dir.join(path))?.len()
    }

    /// Appends; answers how long the part is now. Bytes for another place change nothing.
    pub fn append(&self, path: &str, offset: u64, data: &[u8]) -> io::Result<u64> {
        let file = self.fs.open(&self.dir.join(path))?;
        let held = file.len()?;
        if offset != held {
            return Ok(held);
        }
        file.write_at(data, offset)?;
        Ok(held + data.len() as u64)
    }

    pub fn remove(&self) -> io::Result<()> {
        self.fs.remove_dir_all(&self.dir)
    }
}

impl Shelf for Staging {
    fn open(&self, path: &str) -> io::Result<Box<dyn Read + Send>> {
        let file = self.fs.open(&self.dir.join(path))?;
        Ok(Box::new(Sequential { file, at: 0, buffer: Vec::new(), read: 0 }))
    }
}

/// A file read from its beginning to its end.
struct Sequential {
    file: Arc<dyn File>,
    at: u64,
    buffer: Vec<u8>,
    read: usize,
}

impl Read for Sequential {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.read == self.buffer.len() {
            self.buffer.resize(COPY_BYTES, 0);
            let filled = self.file.read_at(&mut self.buffer, self.at)?;
            self.buffer.truncate(filled);
            (self.read, self.at) = (0, self.at + filled as u64);
        }
        let taken = out.len().min(self.buffer.len() - self.read);
        out[..taken].copy_from_slice(&self.buffer[self.read..self.read + taken]);
        self.read += taken;
        Ok(taken)
    }
}
