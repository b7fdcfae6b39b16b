//! The vault's file on disk: read whole, changed under a lock, never left beside itself.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hansa_node::env::{Clock, Entropy};
use hansa_wal::fs::{File, Fs};
use zeroize::Zeroizing;

use super::VaultError;
use super::ring::Ring;

const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where the file lies, and what changing it takes. Its calls block.
pub(super) struct Disk {
    pub fs: Arc<dyn Fs>,
    pub path: PathBuf,
    pub entropy: Arc<dyn Entropy>,
    pub clock: Arc<dyn Clock>,
}

impl Disk {
    /// The keys as they lie there durably. Who put the file in its place may have failed before he
    /// could tell: what is read is used, so its name is synced first.
    pub fn read(&self) -> Result<Ring, VaultError> {
        let ring = self.whole()?;
        self.fs.sync_dir(self.folder())?;
        Ok(ring)
    }

    fn whole(&self) -> Result<Ring, VaultError> {
        // Twice: a file that is replaced while it is read turns to zeros.
        for last in [false, true] {
            let bytes = match self.fs.read(&self.path, FILE_BYTES_MAX) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Err(VaultError::NoKey),
                other => Zeroizing::new(other?),
            };
            let text = std::str::from_utf8(&bytes).map_err(|_| VaultError::BadFile)?;
            match Ring::read(text) {
                Err(VaultError::BadFile) if !last => {}
                read => return read,
            }
        }
        Err(VaultError::BadFile)
    }

    /// A first file, if nobody else has made it meanwhile.
    pub fn make(&self) -> Result<(), VaultError> {
        self.fs.create_dir_all(self.folder())?;
        let _lock = self.lock()?;
        // Nodes that share the path race for the file: one makes it, the others read it.
        if !self.fs.exists(&self.path)? {
            let ring = Ring::draw(self.entropy.as_ref(), self.clock.wall().ms());
            self.put(&ring, |aside| match self.fs.rename_new(aside, &self.path) {
                // Without our lock: a file that somebody puts there by hand.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    self.wipe(aside)?;
                    Ok(())
                }
                other => Ok(other?),
            })?;
            tracing::info!(path = %self.path.display(), "vault made");
        }
        // Before the first key is wrapped: a name lost in a crash would lose every key with it.
        Ok(self.fs.sync_dir(self.folder())?)
    }

    /// Changes the file under its lock, if `change` says that there is something to change; what
    /// it says after that.
    pub fn change<R>(
        &self,
        change: impl FnOnce(&mut Ring) -> Result<(bool, R), VaultError>,
    ) -> Result<(Ring, R), VaultError> {
        let _lock = self.lock()?;
        self.wipe_leftovers()?;
        let mut ring = self.read()?;
        let (changed, result) = change(&mut ring)?;
        if changed {
            self.replace(&ring)?;
        }
        Ok((ring, result))
    }

    /// What a crash left of writing the file holds every key: it goes, unless somebody is at it.
    pub fn clean(&self) -> Result<(), VaultError> {
        if self.leftovers()?.is_empty() {
            return Ok(());
        }
        match self.lock() {
            Ok(_lock) => self.wipe_leftovers(),
            // They may be his, and if not, then he wipes them.
            Err(VaultError::Busy) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn lock(&self) -> Result<hansa_wal::fs::Lock, VaultError> {
        let lock = self.fs.lock(&self.path.with_extension("lock"));
        lock.map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => VaultError::Busy,
            _ => VaultError::Io(error),
        })
    }

    fn folder(&self) -> &Path {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder.unwrap_or(Path::new("."))
    }

    /// Writes the file whole under another name first: a reader never sees half of it. What is
    /// not put in place is not left either.
    fn put(
        &self,
        ring: &Ring,
        place: impl FnOnce(&Path) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        let number = self.entropy.number();
        let aside = self.path.with_extension(format!("new-{number:016x}"));
        let written = self.write(&aside, ring).and_then(|()| place(&aside));
        if written.is_err() {
            // The error tells; what cannot be wiped now goes with the next change.
            let _ = self.wipe(&aside);
        }
        written
    }

    fn write(&self, aside: &Path, ring: &Ring) -> Result<(), VaultError> {
        let file = self.fs.create_private(aside)?;
        file.write_at(ring.write().as_bytes(), 0)?;
        Ok(file.sync_data()?)
    }

    fn replace(&self, ring: &Ring) -> Result<(), VaultError> {
        let old = self.fs.open(&self.path)?;
        self.put(ring, |aside| Ok(self.fs.rename(aside, &self.path)?))?;
        // Before the new key is used anywhere.
        self.fs.sync_dir(self.folder())?;
        // The old file has no name any more, but its blocks may hold a key that is destroyed.
        overwrite(old.as_ref())
    }

    fn leftovers(&self) -> Result<Vec<PathBuf>, VaultError> {
        let stem = self.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let prefix = format!("{stem}.new-");
        let names = match self.fs.list(self.folder()) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        let ours = names.into_iter().filter(|name| name.starts_with(&prefix));
        Ok(ours.map(|name| self.folder().join(name)).collect())
    }

    fn wipe_leftovers(&self) -> Result<(), VaultError> {
        let leftovers = self.leftovers()?;
        for path in &leftovers {
            tracing::warn!(path = %path.display(), "left by a crash, with every key in it: wiped");
            self.wipe(path)?;
        }
        match leftovers.is_empty() {
            true => Ok(()),
            false => Ok(self.fs.sync_dir(self.folder())?),
        }
    }

    fn wipe(&self, path: &Path) -> Result<(), VaultError> {
        match self.fs.open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            opened => overwrite(opened?.as_ref())?,
        }
        Ok(self.fs.remove(path)?)
    }
}

fn overwrite(file: &dyn File) -> Result<(), VaultError> {
    let zeros = vec![0; usize::try_from(file.len()?).unwrap_or(0)];
    file.write_at(&zeros, 0)?;
    Ok(file.sync_data()?)
}
