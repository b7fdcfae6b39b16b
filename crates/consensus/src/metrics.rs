//! What this crate counts. One label: the group, of which a node has a few dozen at most.

use std::time::Duration;

use hansa_types::id::GroupId;
use metrics::{Counter, Histogram, counter, gauge, histogram};

/// The node's room: bytes that can be written, what is kept back, whether only that is left.
pub(crate) fn disk(room: u64, reserve: u64, short: bool) {
    gauge!("hansa_disk_room_bytes").set(room as f64);
    gauge!("hansa_disk_reserve_bytes").set(reserve as f64);
    gauge!("hansa_disk_short").set(f64::from(u8::from(short)));
}

/// A leader refuses commands because too few members have room, or no longer.
pub(crate) fn refuses_for_room(group: GroupId, refuses: bool) {
    let gauge = gauge!("hansa_raft_refuses_disk_full", "group" => group.to_string());
    gauge.set(f64::from(u8::from(refuses)));
}

/// This node may not lead: its wall clock differs from a quorum's. An alarm.
pub(crate) fn clock_is_wrong(group: GroupId, wrong: bool) {
    let gauge = gauge!("hansa_raft_wall_clock_wrong", "group" => group.to_string());
    gauge.set(f64::from(u8::from(wrong)));
}

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

/// A group does not serve on this node over damage or divergence. An alarm: somebody must look.
pub(crate) fn stopped(id: GroupId) {
    gauge!("hansa_raft_group_stopped", "group" => id.to_string()).set(1.0);
}

/// It serves, again or for the first time.
pub(crate) fn serves(id: GroupId) {
    gauge!("hansa_raft_group_stopped", "group" => id.to_string()).set(0.0);
}

/// A checkpoint was damaged beside a good one, and another is written. An alarm: the disk rots.
pub(crate) fn checkpoint_damaged(id: GroupId) {
    counter!("hansa_raft_checkpoints_damaged_total", "group" => id.to_string()).increment(1);
}

/// Applying waits for the archive, of which too much waits in memory: the group is slow for a disk.
pub(crate) fn apply_waits(id: GroupId) {
    counter!("hansa_raft_apply_waits_total", "group" => id.to_string()).increment(1);
}

/// Replicas differ, as this node found while it led. An alarm, whoever of them is wrong.
pub(crate) fn differs(id: GroupId) {
    counter!("hansa_raft_replicas_differ_total", "group" => id.to_string()).increment(1);
}
