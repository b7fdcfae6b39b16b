//! Pages that the store was writing when the power went.
//!
//! It writes only pages that it does not use yet. Those of a commit that came to nothing are half
//! written perhaps, and stay so until they are taken again: bytes that nobody can explain.

use super::backend::{PITCH, place};
use super::store::{self, Store};
use super::{Archive, ArchiveError, PageReader};

impl Archive {
    /// Whether it was not closed when its file was opened last; yes once for each time.
    pub fn take_broken_off(&self) -> bool {
        self.store.take_broken_off()
    }

    /// Makes damaged pages that the store does not use as if they had never been written, among
    /// `pages` from `first` on; durable on return. Answers where to go on.
    ///
    /// Where a page in use is damaged too, all stay as they are: the archive is to be rebuilt, and
    /// whoever looks into it shall find what was there.
    ///
    /// # Errors
    /// What the disk says.
    pub fn tidy(&self, first: u64, pages: u64) -> Result<Option<u64>, ArchiveError> {
        let _changing = self.changing.lock();
        let (damaged, next) = store::on_file(&self.file, || {
            let reader = PageReader::open(&self.fs, &self.file)?;
            let next = first + pages;
            let next = (next <= reader.count()).then_some(next);
            Ok((reader.read(first, pages)?.1, next))
        })?;
        if damaged.is_empty() {
            return Ok(next);
        }
        if !Store::is_sound(&self.fs, &self.file)? {
            return Ok(None);
        }
        store::on_file(&self.file, || {
            let file = self.fs.open(&self.file)?;
            for page in &damaged {
                file.write_at(&[0; PITCH], place(*page))?;
            }
            file.sync_data()
        })?;
        tracing::info!(file = %self.file.display(), pages = damaged.len(), "torn pages tidied");
        Ok(next)
    }
}
