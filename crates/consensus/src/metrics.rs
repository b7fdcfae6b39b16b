//! What this crate counts. One label: the group, of which a node has a few dozen at most.

use std::time::Duration;

use hansa_types::id::GroupId;
use metrics::{Counter, Histogram, counter, histogram};

/// The figures of one group on one node.
pub(crate) struct Group {
    entries: Counter,
    commands: Counter,
    bytes: Counter,
    commit_seconds: Histogram,
}

impl Group {
    pub fn new(id: GroupId) -> Self {
        let group = id.to_string();
        Self {
            entries: counter!("hansa_raft_entries_proposed_total", "group" => group.clone()),
            commands: counter!("hansa_raft_commands_committed_total", "group" => group.clone()),
            bytes: counter!("hansa_raft_bytes_proposed_total", "group" => group.clone()),
            commit_seconds: histogram!("hansa_raft_commit_seconds", "group" => group),
        }
    }

    pub fn proposed(&self, _commands: usize, bytes: usize) {
        self.entries.increment(1);
        self.bytes.increment(bytes as u64);
    }

    pub fn committed(&self, commands: usize, took: Duration) {
        self.commands.increment(commands as u64);
        self.commit_seconds.record(took.as_secs_f64());
    }
}
