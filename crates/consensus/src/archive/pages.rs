//! Every page of an archive's file, whether the store uses it or not.

use std::io;
use std::path::Path;
use std::sync::Arc;

use hansa_wal::fs::{File, Fs};

use super::backend::{PAGE, PITCH, place, read_header, seal};

/// Reads pages as they lie in the file.
pub(crate) struct PageReader {
    file: Arc<dyn File>,
    length: u64,
}

impl PageReader {
    /// # Errors
    /// A damaged header, a file that ends within a page.
    pub fn open(fs: &Arc<dyn Fs>, path: &Path) -> io::Result<Self> {
        let file = fs.open(path)?;
        let length = file.len()?;
        if length > 0 {
            read_header(file.as_ref(), length)?;
        }
        Ok(Self { file, length })
    }

    pub fn count(&self) -> u64 {
        self.length.saturating_sub(place(1)) / PITCH as u64
    }

    pub fn bytes(&self) -> u64 {
        self.length
    }

    /// The content of pages from `first` on, and the numbers of those that are damaged. A page that
    /// was never written is zeros, its checksum too.
    ///
    /// # Errors
    /// What the disk says.
    pub fn read(&self, first: u64, pages: u64) -> io::Result<(Vec<u8>, Vec<u64>)> {
        let pages = pages.min((self.count() + 1).saturating_sub(first));
        let mut raw = vec![0; pages as usize * PITCH];
        self.file.read_exact_at(&mut raw, place(first))?;
        let (mut content, mut damaged) = (Vec::with_capacity(pages as usize * PAGE), Vec::new());
        for (number, sealed) in (first..).zip(raw.chunks_exact(PITCH)) {
            let (page, sum) = sealed.split_at(PAGE);
            if seal(number, page) != sum && sealed.iter().any(|byte| *byte != 0) {
                damaged.push(number);
            }
            content.extend_from_slice(page);
        }
        Ok((content, damaged))
    }
}
