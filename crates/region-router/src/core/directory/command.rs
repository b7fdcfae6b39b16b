//! What can be asked of the directory, and what it answers.

use hansa_types::id::{GroupId, GroupKind, NodeId};
use hansa_types::region::{RegionName, RegionNumber, Slot};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Fence, Isolation, Node, Ownership, OwnershipRecord, Region, SlotRun};

/// A change of the directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// The first state. A repeat changes nothing, whatever it says.
    Bootstrap(Box<Genesis>),
    /// A newer policy file.
    LoadPolicy { text: String },
    /// A region that is new, or whose endpoints changed. Its number and name belong together for
    /// ever.
    PutRegion { number: RegionNumber, region: Region },
    /// A new owner for all that was born in a region, or in one slot of it.
    Own { birth: RegionNumber, slot: Option<Slot>, owner: RegionNumber, epoch: u64 },
    /// Moves slots of this region to another group of their kind.
    MapSlots { kind: GroupKind, run: SlotRun },
    /// The nodes that keep a group of this region.
    PutGroup { group: GroupId, members: Vec<NodeId> },
    /// A node that joins this region, or moved; id 0 asks for one that was never used.
    RegisterNode { node: Node },
    /// A node that is gone for good and keeps no group.
    RetireNode { node: NodeId },
    /// A node that lost its log: a new id for it, in all its groups. The same request gives one id,
    /// however often it is made.
    ReplaceNode { node: NodeId, request: String },
    /// Whom a group of this region is to have as members.
    ChangeMembers { group: GroupId, change: MemberChange },
    /// A node that was to leave a group has left it, says the group's leader.
    Left { group: GroupId, node: NodeId },
    /// The region came back from a backup: on new nodes, in a new epoch.
    Restore(Box<Restored>),
    /// A change of owner that is made here. `drained`: since when the drain runs that was seen to
    /// have ended.
    MakeRecord { record: Box<OwnershipRecord>, drained: Option<u64> },
    /// A change of owner that was made elsewhere; its signature has been checked.
    TakeRecord(Box<OwnershipRecord>),
    /// A region says that it owns in a newer epoch: it came back from a backup.
    HeardEpoch { birth: RegionNumber, ownership: Ownership },
    /// This region hands over what was born there, in the epoch in which it owns it.
    Drain { birth: RegionNumber, to: RegionNumber, epoch: u64 },
    /// A drain is given up.
    Undrain { birth: RegionNumber, epoch: u64 },
    /// No older epoch is renewed here from now on. `since` is the log's.
    Fence { birth: RegionNumber, fence: Fence },
    /// What a region does while it is cut off.
    SetIsolation { region: RegionNumber, isolation: Isolation },
}

/// What a region is after it came back from a backup.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Restored {
    pub nodes: Vec<Node>,
    pub groups: Vec<(GroupId, Vec<NodeId>)>,
    pub epoch: u64,
    /// Who owns what was born here, as the other regions say; `None`: as the backup says.
    pub owner: Option<RegionNumber>,
}

/// One change of what is wanted of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MemberChange {
    /// `hold`: stay a learner until promoted.
    Add {
        node: NodeId,
        hold: bool,
    },
    Promote {
        node: NodeId,
    },
    /// `force`: also when fewer than a majority of what remains is alive.
    Remove {
        node: NodeId,
        force: bool,
    },
    Replace {
        old: NodeId,
        new: NodeId,
        force: bool,
    },
}

/// What a region starts with, from its config.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Genesis {
    pub here: RegionNumber,
    pub policy: String,
    pub regions: Vec<(RegionNumber, Region)>,
    /// Books without members are a part of the orders group of their index.
    pub groups: Vec<(GroupId, Vec<NodeId>)>,
}

impl Command {
    /// The command as the log keeps it.
    ///
    /// # Errors
    /// Out of memory only.
    pub fn encode(&self) -> Result<bytes::Bytes, postcard::Error> {
        postcard::to_allocvec(self).map(Into::into)
    }

    /// # Errors
    /// Bytes that are not one whole command.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        match postcard::take_from_bytes(bytes)? {
            (command, []) => Ok(command),
            _ => Err(postcard::Error::DeserializeBadEncoding),
        }
    }

    /// The record that it carries: one that must be signed.
    pub fn record(&self) -> Option<&OwnershipRecord> {
        match self {
            Self::MakeRecord { record, .. } | Self::TakeRecord(record) => Some(record),
            _ => None,
        }
    }
}

/// What became of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Done; the directory is at this version now.
    Changed {
        version: u64,
    },
    /// It already was so.
    Unchanged {
        version: u64,
    },
    Refused(Refusal),
}

/// Why a command changed nothing. Checked in this order.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refusal {
    #[error("the command does not decode")]
    Malformed,
    #[error("the directory is not bootstrapped")]
    NotBootstrapped,
    #[error("{0} is over its limit")]
    TooMany(&'static str),
    #[error("{0}")]
    Policy(String),
    #[error("the policy must be newer than version {have}")]
    PolicyNotNewer { have: u64 },
    #[error("the directory knows no region {0}")]
    UnknownRegion(RegionNumber),
    #[error("number {number} belongs to {name}")]
    NumberTaken { number: RegionNumber, name: RegionName },
    #[error("the name {name} belongs to number {number}")]
    NameTaken { number: RegionNumber, name: RegionName },
    #[error("the epoch must grow beyond {have}")]
    EpochNotNewer { have: u64 },
    #[error("a slot run ends after it starts")]
    BadRun,
    #[error("there is no group {0}")]
    UnknownGroup(GroupId),
    #[error("a group has between one and seven members, each once")]
    BadMembers,
    #[error("{part} has no members of its own: it lies in {host}")]
    PartOf { part: GroupId, host: GroupId },
    #[error("the region has no node {0}")]
    UnknownNode(NodeId),
    #[error("this request_id was used to reseed another node")]
    RequestIdReused,
    #[error("this request_id gave node {0}, which is retired since; reseed with a new one")]
    RequestSuperseded(NodeId),
    #[error("the node {name} has the id {node}")]
    NodeNameTaken { name: String, node: NodeId },
    #[error("node id {0} was used before; it never comes back")]
    NodeIdUsed(NodeId),
    #[error("node {node} is a member of {group}, or is leaving it; remove it there first")]
    StillMember { node: NodeId, group: GroupId },
    #[error("node {node} is no such member of {group}")]
    NotMember { node: NodeId, group: GroupId },
    /// Found by the shell: apply never sees such a record.
    #[error("the record is not signed: {0}")]
    Unsigned(String),
    #[error("no such record: {0}")]
    BadRecord(&'static str),
    #[error("region {owner} owns it, in epoch {epoch}")]
    NotOwner { owner: RegionNumber, epoch: u64 },
    #[error("it is being handed over to region {to} already")]
    Draining { to: RegionNumber },
    #[error("it is not drained for this record, or no longer")]
    NotDraining,
    #[error("epoch {epoch} is fenced for region {to}; only a newer one can be")]
    Fenced { epoch: u64, to: RegionNumber },
    #[error("region {owner} serves while it is cut off: say that its machines are off")]
    NotConfirmed { owner: RegionNumber },
    #[error("this epoch is not fenced here")]
    NotFenced,
    #[error("a lease may still be held for {left_ms} ms")]
    FenceYoung { left_ms: u64 },
    #[error("the law admits no such owner for the residents of {}", laws.join(", "))]
    NoLawfulRegion { laws: Vec<String> },
}
