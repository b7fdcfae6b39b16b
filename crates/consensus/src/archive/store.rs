//! The database of an archive, opened anew after the disk was full.
//!
//! redb takes no more work after a failed write, though nothing is lost: what was not committed is
//! gone, and the rest opens again.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hansa_wal::fs::Fs;
use parking_lot::{Mutex, RwLock};
use redb::Database;

use super::ArchiveError;
use super::backend::{self, Backend, PagesRead};

/// redb's page cache, per group.
const CACHE_BYTES: usize = 4 << 20;

pub(super) struct Store {
    database: RwLock<Option<Arc<Database>>>,
    /// It met a full disk, and must be opened anew.
    spent: AtomicBool,
    /// What was found damaged first: redb says less and less from then on.
    damage: Mutex<Option<String>>,
}

impl Store {
    pub fn open(fs: &Arc<dyn Fs>, file: &Path) -> Result<Self, ArchiveError> {
        Ok(Self::of(open(fs, file)?))
    }

    /// Opens it for reading, whatever has it open for writing and whatever that remembers.
    pub fn reader(fs: &Arc<dyn Fs>, file: &Path) -> Result<Self, ArchiveError> {
        Ok(Self::of(database_on(file, || Backend::reader(fs, file, PagesRead::default()))?))
    }

    /// The pages of the file that the database uses, each sound: what it reads when it checks
    /// everything. `None` where it is not as it should be.
    pub fn pages_in_use(
        fs: &Arc<dyn Fs>,
        file: &Path,
    ) -> Result<Option<BTreeSet<u64>>, ArchiveError> {
        let read = PagesRead::default();
        let mut database = database_on(file, || Backend::reader(fs, file, read.clone()))?;
        let sound = guarded(file, || Ok(database.check_integrity()?));
        guarded(file, || {
            drop(database);
            Ok(())
        })?;
        Ok(sound?.then(|| std::mem::take(&mut *read.lock())))
    }

    fn of(database: Database) -> Self {
        let database = RwLock::new(Some(Arc::new(database)));
        Self { database, spent: AtomicBool::new(false), damage: Mutex::default() }
    }

    /// Runs `work` on the database.
    ///
    /// # Errors
    /// On a full disk [`ArchiveError::is_full`], and nothing has changed.
    pub fn with<T>(
        &self,
        fs: &Arc<dyn Fs>,
        file: &Path,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, ArchiveError> {
        if let Some(what) = self.damage.lock().clone() {
            return Err(ArchiveError::Damaged { file: file.to_owned(), what });
        }
        let database = self.database(fs, file)?;
        let done = guarded(file, || work(&database));
        if let Err(error) = &done {
            self.note(error);
        }
        if done.as_ref().is_err_and(ArchiveError::is_full) {
            self.spent.store(true, Ordering::Release);
        }
        done
    }

    /// Remembers what was found first, if it is damage.
    pub fn note(&self, error: &ArchiveError) {
        if let ArchiveError::Damaged { what, .. } = error {
            self.damage.lock().get_or_insert_with(|| what.clone());
        }
    }

    pub fn damage(&self) -> Option<String> {
        self.damage.lock().clone()
    }

    fn database(&self, fs: &Arc<dyn Fs>, file: &Path) -> Result<Arc<Database>, ArchiveError> {
        if !self.spent.load(Ordering::Acquire)
            && let Some(database) = &*self.database.read()
        {
            return Ok(database.clone());
        }
        let mut held = self.database.write();
        match &*held {
            Some(database) if !self.spent.load(Ordering::Acquire) => return Ok(database.clone()),
            _ => {}
        }
        // The spent one first: readers that still have it get errors, never old pages.
        let spent = held.take();
        guarded(file, || {
            drop(spent);
            Ok(())
        })?;
        let fresh = Arc::new(open(fs, file)?);
        *held = Some(fresh.clone());
        self.spent.store(false, Ordering::Release);
        Ok(fresh)
    }
}

impl Drop for Store {
    /// redb tidies up when it is closed, and may panic over damaged pages then too.
    fn drop(&mut self) {
        let last = self.database.get_mut().take();
        let _closed = guarded(Path::new("archive"), || {
            drop(last);
            Ok(())
        });
    }
}

fn open(fs: &Arc<dyn Fs>, file: &Path) -> Result<Database, ArchiveError> {
    database_on(file, || Backend::open(fs, file))
}

fn database_on(
    file: &Path,
    backend: impl FnOnce() -> io::Result<Backend>,
) -> Result<Database, ArchiveError> {
    guarded(file, || {
        let backend = backend().map_err(redb::Error::Io)?;
        let made = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend);
        made.map_err(Into::into)
    })
}

/// What the backend found wrong with a page, if that is what the error says.
fn found(error: &io::Error) -> Option<String> {
    let damage = error.get_ref()?.downcast_ref::<backend::PageDamage>()?;
    Some(damage.to_string())
}

/// The format of a sound file that another release wrote.
fn other_format(error: &io::Error) -> Option<u32> {
    let other = error.get_ref()?.downcast_ref::<backend::OtherFormat>()?;
    Some(other.0)
}

/// Runs `work` on a store that may panic over damaged pages rather than say so: damage of one group
/// must not end the loop that all groups share.
fn guarded<T>(
    file: &Path,
    work: impl FnOnce() -> Result<T, redb::Error>,
) -> Result<T, ArchiveError> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(redb::Error::Io(error))) if found(&error).is_some() => {
            let what = found(&error).unwrap_or_default();
            Err(ArchiveError::Damaged { file: file.to_owned(), what })
        }
        Ok(Err(redb::Error::Io(error))) if other_format(&error).is_some() => {
            let found = other_format(&error).unwrap_or_default();
            Err(ArchiveError::Version { file: file.to_owned(), found })
        }
        Ok(Err(redb::Error::Corrupted(what))) => {
            let what = format!("damaged: {what}");
            Err(ArchiveError::Damaged { file: file.to_owned(), what })
        }
        Ok(Err(source)) => {
            Err(ArchiveError::Store { file: file.to_owned(), source: Box::new(source) })
        }
        Err(_) => {
            let what = "damaged: the store panicked over it".to_owned();
            Err(ArchiveError::Damaged { file: file.to_owned(), what })
        }
    }
}
