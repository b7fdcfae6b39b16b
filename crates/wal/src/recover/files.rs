//! Which files are there, which must be, and their bytes.

use std::path::Path;
use std::sync::Arc;

use super::{damaged, io_error, zeros};
use crate::config::Config;
use crate::error::{Fault, OpenError};
use crate::format;
use crate::fs::{File, Fs};
use crate::record::Seed;
use crate::recover::scan;
use crate::segment::{self, BadHeader, DATA_START, VERSION};

/// The segment files of a log.
pub struct Files {
    /// The log's id.
    pub log: u64,
    /// The numbers that follow one another up to the highest.
    pub run: Vec<u32>,
    /// Segments below a gap: a removal that a crash cut short, if the floor says so.
    older: Vec<u32>,
    /// Files that a crash left unready, removed.
    pub removed: usize,
}

impl Files {
    /// What is in `dir`; `None` when no log was ever begun there.
    pub fn list(fs: &dyn Fs, dir: &Path) -> Result<Option<Self>, OpenError> {
        let names = fs.list(dir).map_err(io_error("list", dir))?;
        let mut removed = 0;
        for name in names.iter().filter(|name| name.ends_with(".tmp")) {
            let path = dir.join(name);
            fs.remove(&path).map_err(io_error("remove", &path))?;
            removed += 1;
        }
        let numbers: Vec<u32> = names.iter().filter_map(|name| segment::number(name)).collect();
        let path = dir.join(format::NAME);
        let Some(text) = format::read(fs, dir).map_err(io_error("read", &path))? else {
            return match begun(fs, dir, &numbers)? {
                true => Err(damaged(&path, 0, Fault::Missing)),
                false => Ok(None),
            };
        };
        let log = format::parse(&text).map_err(|bad| match bad {
            format::Bad::Unreadable => damaged(&path, 0, Fault::Header),
            format::Bad::Version(found) => {
                OpenError::Version { file: path.clone(), found, known: VERSION }
            }
        })?;
        let (older, run) = last_run(numbers);
        if run.is_empty() {
            return Err(damaged(&segment::path(dir, 1), 0, Fault::Missing));
        }
        Ok(Some(Self { log, run, older, removed }))
    }

    /// Begins a log: its first segment, and then, when that is durable, the format file.
    pub fn create(fs: &dyn Fs, dir: &Path, config: &Config, log: u64) -> Result<Self, OpenError> {
        let path = segment::path(dir, 1);
        segment::prepare(fs, dir, log, 1, config.segment_bytes)
            .map_err(io_error("prepare", &path))?;
        format::write(fs, dir, log).map_err(io_error("write", &dir.join(format::NAME)))?;
        Ok(Self { log, run: vec![1], older: Vec::new(), removed: 0 })
    }

    pub fn last(&self) -> u32 {
        self.run.last().copied().unwrap_or_default()
    }

    /// The sequence that the first record must have, when that is known: a log begins at 1.
    pub fn first_seq(&self) -> Option<u64> {
        (self.run.first() == Some(&1)).then_some(1)
    }

    /// The whole of segment `number`, its header checked.
    pub fn read(
        &self,
        fs: &dyn Fs,
        dir: &Path,
        number: u32,
    ) -> Result<(Arc<dyn File>, Vec<u8>), OpenError> {
        let path = segment::path(dir, number);
        let (file, mut bytes) = load(fs, &path)?;
        let page = bytes.get(..DATA_START as usize);
        let page = page.ok_or_else(|| damaged(&path, bytes.len() as u64, Fault::Short))?;
        let size = segment::check_header(page, self.log, number).map_err(|bad| match bad {
            BadHeader::Unreadable => damaged(&path, 0, Fault::Header),
            BadHeader::Foreign => damaged(&path, 0, Fault::Foreign),
            BadHeader::Version(found) => {
                OpenError::Version { file: path.clone(), found, known: VERSION }
            }
        })?;
        if bytes.len() < size as usize {
            return Err(damaged(&path, bytes.len() as u64, Fault::Short));
        }
        bytes.truncate(size as usize);
        Ok((file, bytes))
    }

    /// Whether a segment that should be unused holds any valid record, whatever its header says.
    pub fn holds_records(&self, fs: &dyn Fs, dir: &Path, number: u32) -> Result<bool, OpenError> {
        let (_, bytes) = load(fs, &segment::path(dir, number))?;
        let seed = Seed::new(self.log, number);
        Ok(scan::records(seed, &bytes, DATA_START).next().is_some())
    }

    /// The first segment that is there may be older than the floor, never newer.
    pub fn check_floor(&self, dir: &Path, floor: u32) -> Result<(), OpenError> {
        match self.run.first() {
            Some(first) if *first <= floor => Ok(()),
            Some(first) => Err(damaged(&segment::path(dir, first - 1), 0, Fault::Missing)),
            None => Err(damaged(&segment::path(dir, floor), 0, Fault::Missing)),
        }
    }

    /// Segments below the floor, oldest first.
    pub fn below(&self, floor: u32) -> Vec<u32> {
        let all = self.older.iter().chain(&self.run);
        all.copied().filter(|number| *number < floor).collect()
    }
}

/// Whether the segments are more than what a crash right at the log's beginning leaves.
fn begun(fs: &dyn Fs, dir: &Path, numbers: &[u32]) -> Result<bool, OpenError> {
    match numbers {
        [] => Ok(false),
        [1] => {
            let (_, bytes) = load(fs, &segment::path(dir, 1))?;
            Ok(zeros::used(&bytes) > DATA_START as usize)
        }
        _ => Ok(true),
    }
}

/// Splits ascending numbers before the last stretch without a gap.
fn last_run(mut numbers: Vec<u32>) -> (Vec<u32>, Vec<u32>) {
    numbers.sort_unstable();
    let gap = numbers.windows(2).rposition(|pair| pair[1] != pair[0] + 1);
    let run = numbers.split_off(gap.map_or(0, |at| at + 1));
    (numbers, run)
}

fn load(fs: &dyn Fs, path: &Path) -> Result<(Arc<dyn File>, Vec<u8>), OpenError> {
    let file = fs.open(path).map_err(io_error("open", path))?;
    let len = file.len().map_err(io_error("read", path))?;
    let len = len.min(u64::from(Config::SEGMENT_BYTES_MAX));
    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
    file.read_exact_at(&mut bytes, 0).map_err(io_error("read", path))?;
    Ok((file, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_stretch_without_a_gap_is_the_log() {
        assert_eq!(last_run(vec![]), (vec![], vec![]));
        assert_eq!(last_run(vec![3, 1, 2]), (vec![], vec![1, 2, 3]));
        assert_eq!(last_run(vec![1, 3, 5, 6]), (vec![1, 3], vec![5, 6]));
    }

    #[test]
    fn unready_names_are_temporary() {
        assert!(segment::UNREADY.ends_with(".tmp"));
    }
}
