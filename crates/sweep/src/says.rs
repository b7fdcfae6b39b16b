//! What the records of each group's machine say of whom. Exhaustive on purpose: a new kind of
//! command does not compile here until somebody has said what it tells.

mod directory;
mod inventory;
pub mod orders;
mod payments;
mod shard;

use std::io::Read;

use hansa_consensus::ThawError;
use hansa_consensus::inspect::{Archived, Entry};
use hansa_types::id::{GroupId, GroupKind};

use crate::fact::Fact;
use crate::findings::{Findings, Place};

/// Takes facts of one place in.
pub struct Hearing<'a> {
    pub findings: &'a mut Findings,
    pub place: &'a Place,
    /// Where in the file, in words.
    pub at: &'a dyn Fn() -> String,
}

impl Hearing<'_> {
    pub fn fact(&mut self, fact: Fact) {
        self.findings.fact(self.place, fact, self.at);
    }

    /// What is read now is of the books of an orders group.
    fn books(&mut self, group: GroupId) {
        self.findings.books_heard(group, self.place, self.at);
    }
}

/// What an entry of a group says.
///
/// # Errors
/// A command that is none of the group's, to the last byte.
pub fn entry(group: GroupId, entry: &Entry, to: &mut Hearing<'_>) -> Result<(), String> {
    if let (GroupKind::Orders, Some(begins)) = (group.kind(), &entry.begins) {
        shard::beginning(group, begins, to);
    }
    entry.commands.iter().try_for_each(|command| match group.kind() {
        GroupKind::Directory => directory::command(command, to),
        GroupKind::Orders => shard::command(group, command, to),
        GroupKind::Inventory => inventory::command(command),
        GroupKind::Payments => payments::command(command, to),
    })
}

/// What an archived record of a group says.
///
/// # Errors
/// A record that is none of the group's, to the last byte.
pub fn record(group: GroupId, record: &Archived, to: &mut Hearing<'_>) -> Result<(), String> {
    match group.kind() {
        GroupKind::Directory => Err("a record of a group that has none".into()),
        GroupKind::Orders => shard::record(group, record, to),
        GroupKind::Inventory => inventory::record(record),
        GroupKind::Payments => payments::record(record, to),
    }
}

/// What a state says; answers how many records it has.
///
/// # Errors
/// A state that is none of the group's, to the last byte.
pub fn state(group: GroupId, from: &mut dyn Read, to: &mut Hearing<'_>) -> Result<u64, ThawError> {
    match group.kind() {
        GroupKind::Directory => directory::state(from, to),
        GroupKind::Orders => shard::state(group, from, to),
        GroupKind::Inventory => inventory::state(from),
        GroupKind::Payments => payments::state(from, to),
    }
}

/// Whether writing what was read gives what was read.
fn whole<T>(read: Option<T>, same: bool, what: &str) -> Result<T, String> {
    let read = read.ok_or_else(|| format!("not {what}"))?;
    if same { Ok(read) } else { Err(format!("{what} with bytes that it does not need")) }
}
