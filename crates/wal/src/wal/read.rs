//! Reads: from memory what is recent, from disk the rest.

use std::io;
use std::sync::Arc;

use hansa_types::id::GroupId;

use super::fetch::{self, Wanted};
use super::{Entry, GroupState};
use crate::error::ReadError;
use crate::fs::File;
use crate::index::Slot;
use crate::record::Seed;
use crate::segment;
use crate::shared::{Phase, Shared};

/// Where an entry comes from; the file stays readable when its segment is removed meanwhile.
enum Source {
    Memory(Entry),
    Disk(Wanted, Arc<dyn File>),
}

pub fn entries(
    shared: &Shared,
    group: GroupId,
    from: u64,
    to: u64,
    max_bytes: usize,
) -> Result<Vec<Entry>, ReadError> {
    let sources = plan(shared, group, from, to, max_bytes)?;
    let mut out = Vec::with_capacity(sources.len());
    let mut run: Vec<Wanted> = Vec::new();
    let mut run_file: Option<Arc<dyn File>> = None;
    for source in sources {
        let same = match (&source, run.last()) {
            (Source::Disk(next, _), Some(last)) => next.place.segment == last.place.segment,
            _ => false,
        };
        if !same {
            read_run(shared, &mut run, run_file.take(), &mut out)?;
        }
        match source {
            Source::Memory(entry) => out.push(entry),
            Source::Disk(wanted, file) => {
                run.push(wanted);
                run_file = Some(file);
            }
        }
    }
    read_run(shared, &mut run, run_file, &mut out)?;
    Ok(out)
}

/// Reads the wanted entries of one segment, if there are any, and forgets them.
fn read_run(
    shared: &Shared,
    run: &mut Vec<Wanted>,
    file: Option<Arc<dyn File>>,
    out: &mut Vec<Entry>,
) -> Result<(), ReadError> {
    let (Some(first), Some(file)) = (run.first(), file) else { return Ok(()) };
    let number = first.place.segment;
    let path = segment::path(&shared.dir, number);
    out.extend(fetch::entries(file.as_ref(), Seed::new(shared.log, number), &path, run)?);
    run.clear();
    Ok(())
}

/// Decides under the lock where each entry is, so that all are of one moment.
fn plan(
    shared: &Shared,
    group: GroupId,
    from: u64,
    to: u64,
    max_bytes: usize,
) -> Result<Vec<Source>, ReadError> {
    let core = shared.core.lock();
    let Some(entries) = core.index.group(group) else { return Ok(Vec::new()) };
    let first = entries.begins();
    if from < first && to > from {
        return Err(ReadError::Purged { first });
    }
    let mut sources = Vec::new();
    let mut bytes = 0;
    for (index, slot) in entries.slots_from(from).take_while(|(index, _)| *index < to) {
        let source = match entries.cached(index) {
            Some(entry) => Source::Memory(entry.clone()),
            None => match on_disk(&core.segments, slot) {
                Some((place, file)) => Source::Disk(Wanted { group, index, place }, file),
                // Entries stay cached until they are on disk, so there is no third place.
                None => panic!("entry {index} of group {group} is nowhere"),
            },
        };
        bytes += match &source {
            Source::Memory(entry) => entry.head.len() + entry.payload.len(),
            Source::Disk(wanted, _) => wanted.place.len as usize,
        };
        if bytes > max_bytes && !sources.is_empty() {
            return Ok(sources);
        }
        sources.push(source);
    }
    match &core.phase {
        // It refused what came since: what it lacks may be there all the same, and a reader that
        // took its end for the end would pass over a committed entry.
        Phase::Failed(why) if from + (sources.len() as u64) < to => {
            let source = io::Error::other(format!("the log failed: {why}"));
            Err(ReadError::Io { path: shared.dir.clone(), source })
        }
        _ => Ok(sources),
    }
}

type Segments = std::collections::BTreeMap<u32, crate::shared::Segment>;

fn on_disk(segments: &Segments, slot: Slot) -> Option<(crate::index::Place, Arc<dyn File>)> {
    let place = slot.place()?;
    Some((place, segments.get(&place.segment)?.file.clone()))
}

pub fn state(shared: &Shared, group: GroupId) -> Result<GroupState, ReadError> {
    loop {
        let (mut state, last) = {
            let core = shared.core.lock();
            let Some(found) = core.index.group(group) else { return Ok(GroupState::default()) };
            let state = GroupState {
                vote: found.vote.as_ref().map(|kept| kept.value.clone()),
                committed: found.committed.as_ref().map(|kept| kept.value.clone()),
                purged: found.purged.as_ref().map(|(upto, kept)| (*upto, kept.value.clone())),
                first: found.span().map(|(first, _)| first),
                last: None,
            };
            (state, found.span().map(|(_, last)| last))
        };
        let Some(last) = last else { return Ok(state) };
        match entries(shared, group, last, last + 1, 0) {
            Ok(found) if found.is_empty() => {}
            Err(ReadError::Purged { .. }) => {}
            Err(e) => return Err(e),
            Ok(found) => {
                state.last = found.into_iter().next().map(|entry| (entry.index, entry.head));
                return Ok(state);
            }
        }
        // The last entry went between the two looks: look again.
    }
}
