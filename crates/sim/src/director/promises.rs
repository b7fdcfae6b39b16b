//! What a machine has promised its peers, read from its disk before its next process reads it.
//!
//! A vote that is forgotten, or entries that come back after they were cut off, rarely change what
//! a client sees: two more things must go wrong first. They are what safety rests on all the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hansa_consensus::inspect;
use hansa_types::id::GroupId;
use hansa_wal::fs::SimFs;
use hansa_wal::inspect::{self as wal, What};

use crate::trace;

/// A group's part of a log, by the terms alone.
#[derive(Default)]
struct Group {
    vote: u64,
    entries: BTreeMap<u64, u64>,
}

/// What the log in `dir` says that no honest one can say.
pub fn broken(disk: &SimFs, dir: &Path) -> Option<String> {
    let groups = read(disk, dir)?;
    trace::count("log read before a start", 1);
    groups.iter().find_map(|(group, of)| {
        let pairs = of.entries.iter().zip(of.entries.iter().skip(1));
        if let Some(((at, a), (_, b))) = pairs.into_iter().find(|((_, a), (_, b))| a > b) {
            return Some(format!("{group}: term {b} follows on term {a} at entry {at}"));
        }
        let newest = of.entries.values().next_back().copied().unwrap_or(0);
        let forgotten = of.vote < newest;
        forgotten.then(|| format!("{group}: entries of term {newest}, and a vote of {}", of.vote))
    })
}

/// The log as a start reads it; `None` where there is none yet.
fn read(disk: &SimFs, dir: &Path) -> Option<BTreeMap<GroupId, Group>> {
    let log = wal::log_of(&disk.bytes(&dir.join(wal::FORMAT)).ok()?).ok()?;
    let mut groups: BTreeMap<GroupId, Group> = BTreeMap::new();
    for (number, file) in segments(disk, dir) {
        let bytes = disk.bytes(&file).ok()?;
        // What is torn off is for the start to say.
        let _torn = wal::segment(log, number, &bytes, |record| {
            let Some(id) = record.group else { return Ok(()) };
            let group = groups.entry(id).or_default();
            let term = inspect::term(&record).unwrap_or(0);
            match record.what {
                What::Entry => drop(group.entries.insert(record.index, term)),
                What::Vote => group.vote = term,
                What::Purge => group.entries = group.entries.split_off(&(record.index + 1)),
                What::Truncate => drop(group.entries.split_off(&record.index)),
                What::Forget => drop(groups.remove(&id)),
                What::Committed | What::Mark => {}
            }
            Ok(())
        });
    }
    Some(groups)
}

/// By their numbers.
fn segments(disk: &SimFs, dir: &Path) -> Vec<(u32, PathBuf)> {
    let named = disk.files().into_iter().filter(|file| file.parent() == Some(dir));
    let number = |file: &PathBuf| wal::number(&file.file_name()?.to_string_lossy());
    let mut found: Vec<_> = named.filter_map(|file| Some((number(&file)?, file))).collect();
    found.sort_unstable();
    found
}
