//! Where each group's live records are: the log's memory, twelve bytes per entry.
//!
//! Pure: callers hold the lock, and no disk is touched here.

mod group;
mod live;
mod slot;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use hansa_types::id::GroupId;

pub use self::group::{Group, Kept};
pub use self::live::Live;
pub use self::slot::{Place, Slot};
use crate::wal::Entry;

/// What a written record stands for in the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    Entry(GroupId, u64),
    Vote(GroupId),
    Committed(GroupId),
    Purged(GroupId),
}

/// Every group's live records, how much of each segment lives, and the cache of recent entries.
#[derive(Default)]
pub struct Index {
    groups: BTreeMap<GroupId, Group>,
    live: Live,
    /// Cached entries, oldest first; may name entries that are gone.
    cached: VecDeque<(GroupId, u64)>,
    cache_bytes: usize,
}

/// A group's records would not join within reason: see [`Index::restore`].
#[derive(Debug, PartialEq, Eq)]
pub struct Gap;

impl Index {
    pub fn group(&self, group: GroupId) -> Option<&Group> {
        self.groups.get(&group)
    }

    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        self.groups.iter().map(|(id, group)| (*id, group))
    }

    pub fn live(&self) -> &Live {
        &self.live
    }

    pub fn cache_bytes(&self) -> usize {
        self.cache_bytes
    }

    pub fn entries(&self) -> usize {
        self.groups.values().map(Group::len).sum()
    }

    /// Adds entries at the group's end, readable from the cache until they are on disk.
    ///
    /// The n-th entry waits under ticket `ticket + n`.
    pub fn append(&mut self, id: GroupId, entries: &[Entry], ticket: u64) {
        let group = self.groups.entry(id).or_default();
        for (entry, ticket) in entries.iter().zip(ticket..) {
            group.push(entry.clone(), Slot::waiting(ticket));
            self.cache_bytes += entry.cache_cost();
            self.cached.push_back((id, entry.index));
        }
    }

    /// Drops the entries from `from` on.
    pub fn truncate(&mut self, id: GroupId, from: u64) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let (slots, cached) = group.cut_from(from);
        self.forget(id, slots, &cached);
    }

    /// Drops the entries up to `upto`, and remembers that they were there.
    pub fn purge(&mut self, id: GroupId, upto: u64, log_id: Bytes, slot: Slot) {
        let group = self.groups.entry(id).or_default();
        let (slots, cached) = group.cut_through(upto);
        let old = group.purged.replace((upto, Kept { value: log_id, slot }));
        self.forget(id, slots, &cached);
        self.swap(id, old.map(|(_, kept)| kept.slot), slot);
    }

    /// Drops all there is of the group.
    pub fn remove(&mut self, id: GroupId) {
        let Some(group) = self.groups.remove(&id) else { return };
        let (slots, cached) = group.into_parts();
        self.forget(id, slots, &cached);
    }

    /// Keeps the group's latest vote.
    pub fn vote(&mut self, id: GroupId, value: Bytes, slot: Slot) {
        let group = self.groups.entry(id).or_default();
        let old = group.vote.replace(Kept { value, slot });
        self.swap(id, old.map(|kept| kept.slot), slot);
    }

    /// Keeps the group's latest committed id.
    pub fn committed(&mut self, id: GroupId, value: Bytes, slot: Slot) {
        let group = self.groups.entry(id).or_default();
        let old = group.committed.replace(Kept { value, slot });
        self.swap(id, old.map(|kept| kept.slot), slot);
    }

    /// The slot that the record of `key` has now.
    pub fn slot(&self, key: Key) -> Option<Slot> {
        match key {
            Key::Entry(id, index) => self.group(id)?.slot(index),
            Key::Vote(id) => self.group(id)?.vote.as_ref().map(|kept| kept.slot),
            Key::Committed(id) => self.group(id)?.committed.as_ref().map(|kept| kept.slot),
            Key::Purged(id) => self.group(id)?.purged.as_ref().map(|(_, kept)| kept.slot),
        }
    }

    /// The value of a vote, committed id or purge, and the index that goes with it.
    pub fn value(&self, key: Key) -> Option<(u64, Bytes)> {
        match key {
            Key::Entry(..) => None,
            Key::Vote(id) => self.group(id)?.vote.as_ref().map(|kept| (0, kept.value.clone())),
            Key::Committed(id) => {
                self.group(id)?.committed.as_ref().map(|kept| (0, kept.value.clone()))
            }
            Key::Purged(id) => {
                self.group(id)?.purged.as_ref().map(|(upto, kept)| (*upto, kept.value.clone()))
            }
        }
    }

    /// Moves the record of `key` from slot `was` to `now`; nothing when it is no longer at `was`,
    /// for then the record written is already history.
    pub fn moved(&mut self, key: Key, was: Slot, now: Slot) {
        if self.slot(key) != Some(was) {
            return;
        }
        let (Key::Entry(id, _) | Key::Vote(id) | Key::Committed(id) | Key::Purged(id)) = key;
        let Some(group) = self.groups.get_mut(&id) else { return };
        match key {
            Key::Entry(_, index) => group.set_slot(index, now),
            Key::Vote(_) => group.vote.iter_mut().for_each(|kept| kept.slot = now),
            Key::Committed(_) => group.committed.iter_mut().for_each(|kept| kept.slot = now),
            Key::Purged(_) => group.purged.iter_mut().for_each(|(_, kept)| kept.slot = now),
        }
        self.swap(id, Some(was), now);
    }

    /// Places an entry found on disk, in whatever order copies made of it.
    ///
    /// # Errors
    /// [`Gap`] when it lies so far from the others that no log could have been that long.
    pub fn restore(&mut self, id: GroupId, index: u64, slot: Slot) -> Result<(), Gap> {
        let group = self.groups.entry(id).or_default();
        if group.purged.as_ref().is_some_and(|(upto, _)| index <= *upto) {
            return Ok(());
        }
        let old = group.restore(index, slot)?;
        self.swap(id, old, slot);
        Ok(())
    }

    /// Evicts written entries from the cache, oldest first, until it holds at most `max` bytes.
    pub fn evict(&mut self, max: usize) {
        while self.cache_bytes > max
            && let Some((id, index)) = self.cached.front().copied()
        {
            let group = self.groups.get_mut(&id);
            let Some(group) = group.filter(|group| group.cache_first() == Some(index)) else {
                self.cached.pop_front();
                continue;
            };
            let written = group.slot(index).is_some_and(|slot| slot.place().is_some());
            if !written {
                return;
            }
            self.cached.pop_front();
            let gone = group.uncache_first();
            self.cache_bytes -= gone.map_or(0, |entry| entry.cache_cost());
        }
    }

    fn forget(&mut self, id: GroupId, slots: Vec<Slot>, cached: &[Entry]) {
        for slot in slots {
            self.swap(id, Some(slot), Slot::HOLE);
        }
        self.cache_bytes -= cached.iter().map(Entry::cache_cost).sum::<usize>();
    }

    fn swap(&mut self, id: GroupId, was: Option<Slot>, now: Slot) {
        if let Some(place) = was.and_then(Slot::place) {
            self.live.remove(id, place);
        }
        if let Some(place) = now.place() {
            self.live.add(id, place);
        }
    }
}
