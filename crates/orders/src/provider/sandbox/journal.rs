//! What the sandbox remembers: an append-only file that the region's nodes share.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::provider::{Fault, Listed};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    pub reference: String,
    pub visible_ms: u64,
    pub void: bool,
}

/// Lines `charge <key> <visible ms> <reference>` and `void <key>`. A line is one append, and each
/// question first reads what others have appended, so processes agree. A line that a crash or a
/// full disk cut short was never answered for: the next append ends it with [`TORN`], and nobody
/// reads it.
pub struct Journal {
    inner: Mutex<Inner>,
}

/// In no key and no reference.
const TORN: char = '?';

struct Inner {
    /// `None` for a journal that nobody else keeps: what is known is all there is.
    file: Option<Shared>,
    known: BTreeMap<String, Known>,
}

/// The file that others append to as well.
struct Shared {
    path: PathBuf,
    append: File,
    read_to: u64,
}

impl Journal {
    pub fn open(path: &Path) -> std::io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // It holds references of payments: nobody's but the owner's.
        let append =
            OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
        let file = Some(Shared { path: path.to_owned(), append, read_to: 0 });
        Ok(Self { inner: Mutex::new(Inner { file, known: BTreeMap::new() }) })
    }

    /// A journal in memory, for a provider that does not live in a node's process.
    pub fn apart() -> Self {
        Self { inner: Mutex::new(Inner { file: None, known: BTreeMap::new() }) }
    }

    pub fn known(&self, key: &str) -> Result<Option<Known>, Fault> {
        let mut inner = self.inner.lock();
        inner.catch_up().map_err(unreachable)?;
        Ok(inner.known.get(key).cloned())
    }

    pub fn charge(&self, key: &str, reference: &str, visible_ms: u64) -> Result<(), Fault> {
        self.append(&format!("charge {key} {visible_ms} {reference}\n"))
    }

    /// Charges that became visible at `since_ms` or later.
    pub fn charges(&self, since_ms: u64) -> Result<Vec<Listed>, Fault> {
        let mut inner = self.inner.lock();
        inner.catch_up().map_err(unreachable)?;
        let charges = inner.known.iter().filter(|(_, known)| known.visible_ms >= since_ms);
        let charges = charges.filter(|(_, known)| !known.reference.is_empty());
        let listed = charges.map(|(key, known)| Listed {
            key: key.clone(),
            reference: known.reference.clone(),
            void: known.void,
        });
        Ok(listed.collect())
    }

    pub fn void(&self, key: &str) -> Result<(), Fault> {
        self.append(&format!("void {key}\n"))
    }

    /// All that is known, as lines.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (key, known) in &self.inner.lock().known {
            if !known.reference.is_empty() {
                text += &format!("charge {key} {} {}\n", known.visible_ms, known.reference);
            }
            if known.void {
                text += &format!("void {key}\n");
            }
        }
        text
    }

    fn append(&self, line: &str) -> Result<(), Fault> {
        let mut inner = self.inner.lock();
        inner.add(line).map_err(unreachable)
    }
}

/// A sandbox without its journal is a provider that cannot be reached.
fn unreachable(error: std::io::Error) -> Fault {
    tracing::warn!(%error, "sandbox journal");
    Fault::Unreachable
}

impl Inner {
    fn catch_up(&mut self) -> std::io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        for line in file.news()? {
            self.take(&line);
        }
        Ok(())
    }

    fn add(&mut self, line: &str) -> std::io::Result<()> {
        match &mut self.file {
            Some(file) => file.add(line)?,
            None => self.take(line.trim_end()),
        }
        Ok(())
    }

    fn take(&mut self, line: &str) {
        if line.ends_with(TORN) {
            tracing::warn!("sandbox journal has a torn line");
            return;
        }
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("charge"), Some(key), Some(visible), Some(reference)) => {
                let visible_ms = visible.parse().unwrap_or(0);
                let reference = reference.to_owned();
                let fresh = Known { reference, visible_ms, void: false };
                self.known.entry(key.to_owned()).or_insert(fresh);
            }
            (Some("void"), Some(key), None, None) => {
                let none = || Known { reference: String::new(), visible_ms: 0, void: true };
                self.known.entry(key.to_owned()).or_insert_with(none).void = true;
            }
            _ => tracing::warn!("sandbox journal has a line that is not one"),
        }
    }
}

impl Shared {
    /// Whole lines that were appended since the last look.
    fn news(&mut self) -> std::io::Result<Vec<String>> {
        let (mut lines, mut to) = (Vec::new(), self.read_to);
        if self.append.metadata()?.len() == self.read_to {
            return Ok(lines);
        }
        let mut file = BufReader::new(File::open(&self.path)?);
        file.seek(SeekFrom::Start(self.read_to))?;
        loop {
            let mut line = String::new();
            let read = file.read_line(&mut line)?;
            if read == 0 || !line.ends_with('\n') {
                self.read_to = to;
                return Ok(lines);
            }
            to += read as u64;
            line.truncate(line.trim_end().len());
            lines.push(line);
        }
    }

    fn add(&mut self, line: &str) -> std::io::Result<()> {
        let mut last = [b'\n'];
        if let Some(at) = self.append.metadata()?.len().checked_sub(1) {
            self.append.read_exact_at(&mut last, at)?;
        }
        let cut = if last == *b"\n" { String::new() } else { format!("{TORN}\n") };
        // One write: what two processes append at once must not mix.
        self.append.write_all(format!("{cut}{line}").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_line_costs_neither_itself_nor_the_next_one() {
        for torn in ["c", "charge pay-1", "charge pay-1 12 sbx-o", "void pay-1", "charge pay-1 1 "]
        {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("journal");
            let whole = "charge pay-0 7 sbx-0\n";
            std::fs::write(&path, format!("{whole}{torn}")).unwrap();
            let journal = Journal::open(&path).unwrap();
            assert_eq!(journal.known("pay-1"), Ok(None), "{torn}: before");
            journal.charge("pay-2", "sbx-2", 9).unwrap();
            journal.void("pay-0").unwrap();

            for journal in [journal, Journal::open(&path).unwrap()] {
                assert_eq!(journal.known("pay-1"), Ok(None), "{torn}: never answered for");
                let second = journal.known("pay-2").unwrap().unwrap();
                assert_eq!((second.reference.as_str(), second.visible_ms), ("sbx-2", 9), "{torn}");
                assert!(journal.known("pay-0").unwrap().unwrap().void, "{torn}");
            }
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text, format!("{whole}{torn}?\ncharge pay-2 9 sbx-2\nvoid pay-0\n"));
        }
    }
}
