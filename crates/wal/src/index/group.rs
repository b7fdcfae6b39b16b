//! One group's part of the index.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Gap, Slot};
use crate::wal::Entry;

/// Slots between entries met during recovery that no log can have had: it would not fit the disk.
const HOLES_MAX: u64 = 1 << 28;

/// A small value of which only the latest counts.
#[derive(Clone, Debug)]
pub struct Kept {
    pub value: Bytes,
    pub slot: Slot,
}

/// A group's entries, without a gap, and its latest vote, committed id and purge.
#[derive(Default)]
pub struct Group {
    /// Index of the first slot; meaningless when there is none.
    first: u64,
    slots: VecDeque<Slot>,
    /// The last entries, without a gap, up to the very last.
    cache: VecDeque<Entry>,
    pub vote: Option<Kept>,
    pub committed: Option<Kept>,
    pub purged: Option<(u64, Kept)>,
}

impl Group {
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// First and last index, when there is an entry.
    pub fn span(&self) -> Option<(u64, u64)> {
        let len = self.slots.len() as u64;
        (len > 0).then(|| (self.first, self.first + len - 1))
    }

    /// Index from which on there are entries, or will be.
    pub fn begins(&self) -> u64 {
        let purged = || self.purged.as_ref().map_or(0, |(upto, _)| upto.saturating_add(1));
        self.span().map_or_else(purged, |(first, _)| first)
    }

    /// Whether an entry may be appended at `index`: where the others end, or where a log may begin.
    pub fn may_append(&self, index: u64) -> bool {
        match (self.span(), &self.purged) {
            (Some((_, last)), _) => index == last + 1,
            (None, Some((upto, _))) => index == upto + 1,
            (None, None) => index <= 1,
        }
    }

    /// Whether an entry at `index` would replace one that is there, and all after it.
    pub fn would_replace(&self, index: u64) -> bool {
        self.span().is_some_and(|(first, last)| (first..=last).contains(&index))
    }

    /// The first index missing between where the log must begin and its last entry.
    pub fn first_hole(&self) -> Option<u64> {
        let (first, _) = self.span()?;
        match &self.purged {
            Some((upto, _)) if first != upto + 1 => return Some(upto + 1),
            None if first > 1 => return Some(1),
            _ => {}
        }
        let hole = self.slots.iter().position(|slot| slot.is_hole())?;
        Some(first + hole as u64)
    }

    pub fn slot(&self, index: u64) -> Option<Slot> {
        self.slots.get(usize::try_from(index.checked_sub(self.first)?).ok()?).copied()
    }

    /// Entries and their slots from `from` on.
    pub fn slots_from(&self, from: u64) -> impl Iterator<Item = (u64, Slot)> {
        let skip = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        (self.first..).zip(self.slots.iter().copied()).skip(skip)
    }

    /// The entry, if it is in memory.
    pub fn cached(&self, index: u64) -> Option<&Entry> {
        let at = index.checked_sub(self.cache.front()?.index)?;
        self.cache.get(usize::try_from(at).ok()?)
    }

    pub fn cache_first(&self) -> Option<u64> {
        self.cache.front().map(|entry| entry.index)
    }

    pub(super) fn uncache_first(&mut self) -> Option<Entry> {
        self.cache.pop_front()
    }

    pub(super) fn push(&mut self, entry: Entry, slot: Slot) {
        assert!(self.may_append(entry.index), "entry {} does not join", entry.index);
        if self.slots.is_empty() {
            self.first = entry.index;
        }
        self.slots.push_back(slot);
        self.cache.push_back(entry);
    }

    pub(super) fn set_slot(&mut self, index: u64, now: Slot) {
        let at = index.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some(slot) = at.and_then(|at| self.slots.get_mut(at)) {
            *slot = now;
        }
    }

    /// Drops entries from `from` on; answers what they had.
    pub(super) fn cut_from(&mut self, from: u64) -> (Vec<Slot>, Vec<Entry>) {
        let keep = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let slots = self.slots.drain(keep.min(self.slots.len())..).collect();
        let keep = self.cache.partition_point(|entry| entry.index < from);
        (slots, self.cache.drain(keep..).collect())
    }

    /// Drops entries up to and with `upto`; answers what they had.
    pub(super) fn cut_through(&mut self, upto: u64) -> (Vec<Slot>, Vec<Entry>) {
        let count = (upto + 1).saturating_sub(self.first);
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(self.slots.len());
        let slots = self.slots.drain(..count).collect();
        self.first += count as u64;
        let count = self.cache.partition_point(|entry| entry.index <= upto);
        (slots, self.cache.drain(..count).collect())
    }

    /// Everything that it holds on disk and in memory.
    pub(super) fn into_parts(self) -> (Vec<Slot>, Vec<Entry>) {
        let purged = self.purged.map(|(_, kept)| kept);
        let kept = [self.vote, self.committed, purged].into_iter().flatten().map(|kept| kept.slot);
        (self.slots.into_iter().chain(kept).collect(), self.cache.into())
    }

    /// Puts an entry found on disk in its place, with holes for those still to be found. Answers
    /// the slot that it replaces.
    pub(super) fn restore(&mut self, index: u64, slot: Slot) -> Result<Option<Slot>, Gap> {
        let Some((first, last)) = self.span() else {
            self.first = index;
            self.slots.push_back(slot);
            return Ok(None);
        };
        if index < first {
            let holes = first - index - 1;
            self.check_gap(holes)?;
            (0..holes).for_each(|_| self.slots.push_front(Slot::HOLE));
            self.slots.push_front(slot);
            self.first = index;
            return Ok(None);
        }
        if index > last {
            let holes = index - last - 1;
            self.check_gap(holes)?;
            self.slots.extend((0..holes).map(|_| Slot::HOLE));
            self.slots.push_back(slot);
            return Ok(None);
        }
        let old = self.slot(index);
        self.set_slot(index, slot);
        Ok(old)
    }

    fn check_gap(&self, holes: u64) -> Result<(), Gap> {
        if holes > HOLES_MAX { Err(Gap) } else { Ok(()) }
    }
}
