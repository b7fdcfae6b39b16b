//! What the log should hold, as plainly as it can be said.

use std::collections::BTreeMap;

use bytes::Bytes;
use hansa_types::id::GroupId;
use hansa_wal::{Entry, Wal};

use crate::rig::all;

/// One record's worth of change.
#[derive(Clone, Debug)]
pub enum Step {
    Entry(GroupId, Entry),
    Truncate(GroupId, u64),
    Purge(GroupId, u64, Bytes),
    Vote(GroupId, Bytes),
    Committed(GroupId, Bytes),
    Forget(GroupId),
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Group {
    pub vote: Option<Bytes>,
    pub committed: Option<Bytes>,
    pub purged: Option<(u64, Bytes)>,
    pub entries: BTreeMap<u64, Entry>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Model {
    pub groups: BTreeMap<GroupId, Group>,
}

impl Model {
    pub fn step(&mut self, step: &Step) {
        match step.clone() {
            Step::Entry(id, entry) => {
                self.group(id).entries.insert(entry.index, entry);
            }
            Step::Truncate(id, from) => drop(self.group(id).entries.split_off(&from)),
            Step::Purge(id, upto, log_id) => {
                let group = self.group(id);
                group.entries = group.entries.split_off(&(upto + 1));
                group.purged = Some((upto, log_id));
            }
            Step::Vote(id, vote) => self.group(id).vote = Some(vote),
            Step::Forget(id) => drop(self.groups.remove(&id)),
            Step::Committed(id, log_id) => self.group(id).committed = Some(log_id),
        }
    }

    pub fn group(&mut self, id: GroupId) -> &mut Group {
        self.groups.entry(id).or_default()
    }

    /// What the log says it holds.
    pub fn of(wal: &Wal) -> Self {
        let mut model = Self::default();
        for id in wal.groups() {
            let state = wal.state(id).expect("readable");
            let entries: BTreeMap<_, _> = all(wal, id).into_iter().map(|e| (e.index, e)).collect();
            assert_eq!(state.first, entries.keys().next().copied());
            let last = entries.values().next_back().map(|e| (e.index, e.head.clone()));
            assert_eq!(state.last, last);
            let group = Group {
                vote: state.vote,
                committed: state.committed,
                purged: state.purged,
                entries,
            };
            // Whether an empty group is known or not makes no difference.
            if group != Group::default() {
                model.groups.insert(id, group);
            }
        }
        model
    }

    pub fn without_empty(&self) -> Self {
        let groups = self.groups.iter().filter(|(_, group)| **group != Group::default());
        Self { groups: groups.map(|(id, group)| (*id, group.clone())).collect() }
    }
}

/// All steps ever taken, and how many of them are acknowledged.
#[derive(Default)]
pub struct History {
    /// The model before the first of `steps`.
    base: Model,
    /// The model after the last of `steps`.
    pub now: Model,
    steps: Vec<Step>,
    /// Steps before `steps`.
    before: u64,
}

impl History {
    pub fn take(&mut self, step: Step) {
        self.now.step(&step);
        self.steps.push(step);
    }

    /// Steps taken so far.
    pub fn len(&self) -> u64 {
        self.before + self.steps.len() as u64
    }

    /// Forgets how the first `acked` steps came about: they are fixed.
    pub fn fix(&mut self, acked: u64) {
        let n = acked.saturating_sub(self.before) as usize;
        for step in self.steps.drain(..n) {
            self.base.step(&step);
        }
        self.before = self.before.max(acked);
    }

    /// Goes on from `found`, which must be the state after some number of steps, all acknowledged
    /// ones among them.
    pub fn resume(&mut self, acked: u64, found: &Model) -> Result<(), String> {
        self.fix(acked);
        let mut model = self.base.clone();
        let mut taken = 0;
        while model.without_empty() != *found {
            let Some(step) = self.steps.get(taken) else {
                return Err(format!("no state from step {acked} on looks like this: {found:?}"));
            };
            model.step(step);
            taken += 1;
        }
        self.before += taken as u64;
        self.steps.clear();
        self.base = model.clone();
        self.now = model;
        Ok(())
    }
}
