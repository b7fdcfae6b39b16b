//! A view in `sled`.
//!
//! sled 0.34 does not fsync what it calls flushed and may panic on a folder that a power cut left
//! behind. Both are harmless here: the position travels in the same atomic batch as the entries,
//! so what is lost is fed again, and a folder that does not open is moved aside.
//!
//! # Source
//! ADR 0001, `research/storage-and-raft.md` §2.

use std::ffi::OsString;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parking_lot::RwLock;
use tracing::warn;

use crate::{Batch, Entry, Error, Order, Range, View};

/// How a view is kept on disk.
#[derive(Clone, Debug)]
pub struct Config {
    pub folder: PathBuf,
    /// The version of the owner's keys and values: a view written in another is built anew.
    pub schema: u32,
    /// sled may use several times as much memory as it is told.
    pub cache_bytes: u64,
}

/// The bound that suits a node with several views.
pub const CACHE_BYTES_DEFAULT: u64 = 16 << 20;

/// How often what was written goes to the disk by itself: losing it costs a rebuild of that much.
const FLUSH_EVERY_MS: u64 = 1_000;

/// Our own key sorts before those of the owner, which all get `DATA` in front.
const POSITION: &[u8] = &[0];
const DATA: u8 = 1;

/// A view in a folder of its own.
pub struct SledView {
    config: Config,
    /// `None` only while, or after, reopening failed.
    db: RwLock<Option<sled::Db>>,
}

impl SledView {
    /// Opens the view, or an empty one when there is none that can be used.
    ///
    /// # Errors
    /// A folder that can neither be opened nor moved aside: a disk that is full or read-only.
    pub fn open(config: Config) -> Result<Self, Error> {
        let db = match open(&config) {
            Ok(db) => db,
            Err(error) => {
                let folder = config.folder.display();
                warn!(%folder, %error, "view does not open, moved aside and built anew");
                metrics::counter!("hansa_views_discarded_total").increment(1);
                move_aside(&config.folder)?;
                open(&config)?
            }
        };
        let view = Self { config, db: RwLock::new(Some(db)) };
        if view.schema()? != Some(view.config.schema) {
            view.reset()?;
        }
        Ok(view)
    }

    /// The schema of what is stored; our own for a view that is empty.
    fn schema(&self) -> Result<Option<u32>, Error> {
        self.with(|db| {
            let stored = db.get(POSITION)?;
            Ok(match stored {
                None if db.is_empty() => Some(self.config.schema),
                None => None,
                Some(stored) => decode_position(&stored).map(|(schema, _)| schema),
            })
        })
    }

    /// Runs `work`; a panic inside sled is a damaged view, not the end of the process.
    fn with<R>(&self, work: impl FnOnce(&sled::Db) -> Result<R, Error>) -> Result<R, Error> {
        let guard = self.db.read();
        let Some(db) = guard.as_ref() else {
            return Err(Error::Damaged("the view could not be reopened".to_owned()));
        };
        caught(|| work(db))
    }
}

impl View for SledView {
    fn apply(&self, batch: Batch, position: u64) -> Result<(), Error> {
        let mut changes = sled::Batch::default();
        for (key, value) in batch.changes {
            match value {
                Some(value) => changes.insert(inside(&key), value),
                None => changes.remove(inside(&key)),
            }
        }
        changes.insert(POSITION, encode_position(self.config.schema, position));
        self.with(|db| Ok(db.apply_batch(changes)?))
    }

    fn position(&self) -> Result<Option<u64>, Error> {
        self.with(|db| {
            let stored = db.get(POSITION)?;
            Ok(stored.and_then(|stored| decode_position(&stored)).map(|(_, position)| position))
        })
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.with(|db| Ok(db.get(inside(key))?.map(|value| value.to_vec())))
    }

    fn scan(&self, range: &Range, limit: usize) -> Result<Vec<Entry>, Error> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let from = match &range.from {
            Bound::Included(key) => Bound::Included(inside(key)),
            Bound::Excluded(key) => Bound::Excluded(inside(key)),
            Bound::Unbounded => Bound::Included(vec![DATA]),
        };
        let to = match &range.to {
            Bound::Included(key) => Bound::Included(inside(key)),
            Bound::Excluded(key) => Bound::Excluded(inside(key)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let outside = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, value) = entry?;
            Ok((key.get(1..).unwrap_or_default().to_vec(), value.to_vec()))
        };
        self.with(|db| {
            let entries = db.range((from, to));
            match range.order {
                Order::Ascending => entries.take(limit).map(outside).collect(),
                Order::Descending => entries.rev().take(limit).map(outside).collect(),
            }
        })
    }

    fn reset(&self) -> Result<(), Error> {
        let mut guard = self.db.write();
        // Closed first: sled locks its folder. What cannot be closed cleanly is going anyway.
        let _ = caught(|| {
            drop(guard.take());
            Ok(())
        });
        move_aside(&self.config.folder)?;
        *guard = Some(open(&self.config)?);
        Ok(())
    }
}

impl Drop for SledView {
    fn drop(&mut self) {
        // What is not flushed is fed again; a failure is not worth more than that.
        let _ = self.with(|db| Ok(db.flush()?));
    }
}

fn open(config: &Config) -> Result<sled::Db, Error> {
    caught(|| {
        let db = sled::Config::new()
            .path(&config.folder)
            .cache_capacity(config.cache_bytes)
            .mode(sled::Mode::HighThroughput)
            .flush_every_ms(Some(FLUSH_EVERY_MS))
            .open()?;
        // Reads a page, so that damage shows now rather than in a caller's listing.
        db.get(POSITION)?;
        Ok(db)
    })
}

/// Runs `work` and turns a panic into an error.
fn caught<R>(work: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(Error::Damaged(text.unwrap_or_else(|| "sled panicked".to_owned())))
    })
}

/// Renames the folder to `<folder>.damaged`, in place of one that an earlier accident left there.
fn move_aside(folder: &Path) -> io::Result<()> {
    let mut name = OsString::from(folder.as_os_str());
    name.push(".damaged");
    let aside = PathBuf::from(name);
    gone(std::fs::remove_dir_all(&aside))?;
    gone(std::fs::rename(folder, &aside))
}

/// That something is not there is no reason to stop.
fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn inside(key: &[u8]) -> Vec<u8> {
    let mut inside = Vec::with_capacity(key.len() + 1);
    inside.push(DATA);
    inside.extend_from_slice(key);
    inside
}

fn encode_position(schema: u32, position: u64) -> Vec<u8> {
    let mut bytes = schema.to_be_bytes().to_vec();
    bytes.extend_from_slice(&position.to_be_bytes());
    bytes
}

fn decode_position(bytes: &[u8]) -> Option<(u32, u64)> {
    let (schema, position) = bytes.split_at_checked(4)?;
    let schema = u32::from_be_bytes(schema.try_into().ok()?);
    Some((schema, u64::from_be_bytes(position.try_into().ok()?)))
}
