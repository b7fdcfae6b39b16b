//! redb's storage on our file-system trait, so that the archive runs on a simulated disk too.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use hansa_wal::fs::{File, Fs};
use redb::StorageBackend;

/// One file of the trait as redb's storage.
pub(super) struct Backend {
    file: Arc<dyn File>,
}

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
        Ok(Self { file })
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backend")
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        // A failed sync is never taken for a full disk that could be waited for.
        hansa_wal::fs::sync(self.file.as_ref())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(data, offset)
    }
}
