//! Our own byte forms of openraft's values: in the log, in checkpoints and between nodes.
//!
//! Written by hand rather than derived, so that an upgrade of openraft cannot change what lies on
//! disk.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use openraft::EntryPayload;
use openraft::impls::leader_id_std::LeaderId;
use thiserror::Error;

use super::{Entry, LogId, Membership, StoredMembership, Vote, log_id, term_of};
use crate::batch::Batch;

/// Most nodes a membership names; a guard against damaged lengths.
const NODES_MAX: u32 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum BadBytes {
    #[error("the bytes end too early")]
    Short,
    #[error("{0} is not a known value")]
    Unknown(&'static str),
    #[error("it has format {found}, this binary reads {reads}")]
    Format { found: u32, reads: u32 },
}

/// What an entry carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Blank = 0,
    Commands = 1,
    Membership = 2,
    /// The group's version of behaviour goes up.
    Raise = 3,
    /// What the group's machine begins with.
    Begin = 4,
}

impl Kind {
    pub fn from_number(n: u8) -> Result<Self, BadBytes> {
        match n {
            0 => Ok(Self::Blank),
            1 => Ok(Self::Commands),
            2 => Ok(Self::Membership),
            3 => Ok(Self::Raise),
            4 => Ok(Self::Begin),
            _ => Err(BadBytes::Unknown("entry kind")),
        }
    }
}

pub(crate) fn u8_of(from: &mut impl Buf) -> Result<u8, BadBytes> {
    from.try_get_u8().map_err(|_| BadBytes::Short)
}

pub(crate) fn u32_of(from: &mut impl Buf) -> Result<u32, BadBytes> {
    from.try_get_u32_le().map_err(|_| BadBytes::Short)
}

pub(crate) fn u64_of(from: &mut impl Buf) -> Result<u64, BadBytes> {
    from.try_get_u64_le().map_err(|_| BadBytes::Short)
}

pub(crate) fn array_of<const N: usize>(from: &mut impl Buf) -> Result<[u8; N], BadBytes> {
    let mut out = [0; N];
    from.try_copy_to_slice(&mut out).map_err(|_| BadBytes::Short)?;
    Ok(out)
}

pub(crate) fn put_log_id(to: &mut BytesMut, id: Option<&LogId>) {
    match id {
        None => to.put_u8(0),
        Some(id) => {
            to.put_u8(1);
            to.put_u64_le(term_of(id));
            to.put_u64_le(id.index());
        }
    }
}

pub(crate) fn log_id_of(from: &mut impl Buf) -> Result<Option<LogId>, BadBytes> {
    match u8_of(from)? {
        0 => Ok(None),
        1 => Ok(Some(log_id(u64_of(from)?, u64_of(from)?))),
        _ => Err(BadBytes::Unknown("log id")),
    }
}

pub(crate) fn put_vote(to: &mut BytesMut, vote: &Vote) {
    to.put_u64_le(vote.leader_id.term);
    to.put_u64_le(vote.leader_id.voted_for);
    to.put_u8(u8::from(vote.committed));
}

pub(crate) fn vote_of(from: &mut impl Buf) -> Result<Vote, BadBytes> {
    let leader_id = LeaderId { term: u64_of(from)?, voted_for: u64_of(from)? };
    Ok(Vote { leader_id, committed: u8_of(from)? == 1 })
}

fn put_membership(to: &mut BytesMut, membership: &Membership) {
    to.put_u32_le(membership.get_joint_config().len() as u32);
    for config in membership.get_joint_config() {
        to.put_u32_le(config.len() as u32);
        config.iter().for_each(|node| to.put_u64_le(*node));
    }
    let nodes: Vec<u64> = membership.nodes().map(|(node, ())| *node).collect();
    to.put_u32_le(nodes.len() as u32);
    nodes.iter().for_each(|node| to.put_u64_le(*node));
}

fn count_of(from: &mut impl Buf) -> Result<u32, BadBytes> {
    let count = u32_of(from)?;
    if count > NODES_MAX { Err(BadBytes::Unknown("count")) } else { Ok(count) }
}

fn membership_of(from: &mut impl Buf) -> Result<Membership, BadBytes> {
    let mut configs = Vec::new();
    for _ in 0..count_of(from)? {
        let mut config = BTreeSet::new();
        for _ in 0..count_of(from)? {
            config.insert(u64_of(from)?);
        }
        configs.push(config);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..count_of(from)? {
        nodes.insert(u64_of(from)?, ());
    }
    if configs.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, nodes).map_err(|_| BadBytes::Unknown("membership"))
}

pub(crate) fn put_stored_membership(to: &mut BytesMut, stored: &StoredMembership) {
    put_log_id(to, stored.log_id().as_ref());
    put_membership(to, stored.membership());
}

pub(crate) fn stored_membership_of(from: &mut impl Buf) -> Result<StoredMembership, BadBytes> {
    let id = log_id_of(from)?;
    Ok(StoredMembership::new(id, membership_of(from)?))
}

/// An entry's payload as kind and bytes; a batch's bytes are shared, not copied.
pub(crate) fn payload(entry: &Entry) -> (Kind, Bytes) {
    match &entry.payload {
        EntryPayload::Blank => (Kind::Blank, Bytes::new()),
        EntryPayload::Normal(batch) => {
            let kind = match (batch.raises_to(), batch.beginning()) {
                (Some(_), _) => Kind::Raise,
                (None, Some(_)) => Kind::Begin,
                (None, None) => Kind::Commands,
            };
            (kind, batch.bytes().clone())
        }
        EntryPayload::Membership(membership) => {
            let mut out = BytesMut::new();
            put_membership(&mut out, membership);
            (Kind::Membership, out.freeze())
        }
    }
}

/// The entry of these parts. A batch's framing is checked here: bytes of a peer or a disk.
pub(crate) fn entry_of(id: LogId, kind: Kind, payload: Bytes) -> Result<Entry, BadBytes> {
    let bad = |_| BadBytes::Unknown("batch");
    let payload = match kind {
        Kind::Blank => EntryPayload::Blank,
        Kind::Commands => EntryPayload::Normal(Batch::decode(payload).map_err(bad)?),
        Kind::Raise => EntryPayload::Normal(Batch::decode_raise(payload).map_err(bad)?),
        Kind::Begin => EntryPayload::Normal(Batch::decode_begin(payload).map_err(bad)?),
        Kind::Membership => EntryPayload::Membership(membership_of(&mut payload.clone())?),
    };
    Ok(Entry { log_id: id, payload })
}

/// The head of a log record: kind and term. The index travels beside it.
pub(crate) fn head(kind: Kind, term: u64) -> Bytes {
    let mut out = BytesMut::with_capacity(9);
    out.put_u8(kind as u8);
    out.put_u64_le(term);
    out.freeze()
}

pub(crate) fn head_of(mut head: Bytes) -> Result<(Kind, u64), BadBytes> {
    Ok((Kind::from_number(u8_of(&mut head)?)?, u64_of(&mut head)?))
}

#[cfg(test)]
mod tests {
    use hansa_types::time::LogTime;

    use super::*;

    fn members() -> Membership {
        let voters = vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3, 4])];
        Membership::new_with_defaults(voters, [5])
    }

    #[test]
    fn entries_of_every_kind_come_back() {
        let batch = Batch::encode(LogTime(5), [Bytes::from_static(b"x")].iter());
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(batch),
            EntryPayload::Normal(Batch::raise(LogTime(5), 2)),
            EntryPayload::Normal(Batch::begin(LogTime(5), &Bytes::from_static(b"rules"))),
            EntryPayload::Membership(members()),
        ];
        for expected in payloads {
            let entry = Entry { log_id: log_id(3, 9), payload: expected.clone() };
            let (kind, bytes) = payload(&entry);
            let (kind, term) = head_of(head(kind, 3)).unwrap();
            assert_eq!(entry_of(log_id(term, 9), kind, bytes).unwrap().payload, expected);
        }
    }

    #[test]
    fn stored_memberships_and_votes_come_back() {
        let mut out = BytesMut::new();
        let stored = StoredMembership::new(Some(log_id(1, 2)), members());
        let vote = Vote::new_committed(4, 2);
        put_stored_membership(&mut out, &stored);
        put_vote(&mut out, &vote);
        put_stored_membership(&mut out, &StoredMembership::default());
        let mut bytes = out.freeze();
        assert_eq!(stored_membership_of(&mut bytes).unwrap(), stored);
        assert_eq!(vote_of(&mut bytes).unwrap(), vote);
        assert_eq!(stored_membership_of(&mut bytes).unwrap(), StoredMembership::default());
        assert_eq!(vote_of(&mut bytes), Err(BadBytes::Short));
    }
}
