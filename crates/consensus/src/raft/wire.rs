//! openraft's messages as frame bodies. An append's commands travel beside the body, never copied.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use hansa_types::hash::StateHash;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};

use super::codec::{
    self, BadBytes, Kind, entry_of, log_id_of, put_log_id, put_vote, u8_of, u32_of, u64_of, vote_of,
};
use super::{Types, Vote, log_id, term_of};
use crate::chain::Head;
use crate::version::{GENESIS, Versions};

pub(crate) fn append(request: &AppendEntriesRequest<Types>) -> (Bytes, Vec<Bytes>) {
    let mut body = BytesMut::with_capacity(64 + 17 * request.entries.len());
    put_vote(&mut body, &request.vote);
    put_log_id(&mut body, request.prev_log_id.as_ref());
    put_log_id(&mut body, request.leader_commit.as_ref());
    body.put_u32_le(request.entries.len() as u32);
    let mut payloads = Vec::with_capacity(request.entries.len());
    for entry in &request.entries {
        let (kind, payload) = codec::payload(entry);
        body.put_u8(kind as u8);
        body.put_u64_le(term_of(&entry.log_id));
        body.put_u64_le(entry.log_id.index());
        payloads.push(payload);
    }
    (body.freeze(), payloads)
}

pub(crate) fn append_of(
    mut body: Bytes,
    payloads: Vec<Bytes>,
) -> Result<AppendEntriesRequest<Types>, BadBytes> {
    let vote = vote_of(&mut body)?;
    let prev_log_id = log_id_of(&mut body)?;
    let leader_commit = log_id_of(&mut body)?;
    if u32_of(&mut body)? as usize != payloads.len() {
        return Err(BadBytes::Unknown("entry count"));
    }
    let mut entries = Vec::with_capacity(payloads.len());
    for payload in payloads {
        let kind = Kind::from_number(u8_of(&mut body)?)?;
        let id = log_id(u64_of(&mut body)?, u64_of(&mut body)?);
        entries.push(entry_of(id, kind, payload)?);
    }
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}

/// The answer to an append, and whether the one who answers is short of room on its disk.
pub(crate) fn appended(response: &AppendEntriesResponse<Types>, short: bool) -> Bytes {
    let mut out = BytesMut::new();
    match response {
        AppendEntriesResponse::Success => out.put_u8(0),
        AppendEntriesResponse::PartialSuccess(upto) => {
            out.put_u8(1);
            put_log_id(&mut out, upto.as_ref());
        }
        AppendEntriesResponse::Conflict => out.put_u8(2),
        AppendEntriesResponse::HigherVote(vote) => {
            out.put_u8(3);
            put_vote(&mut out, vote);
        }
    }
    out.put_u8(u8::from(short));
    out.freeze()
}

pub(crate) fn appended_of(
    mut from: Bytes,
) -> Result<(AppendEntriesResponse<Types>, bool), BadBytes> {
    let response = match u8_of(&mut from)? {
        0 => AppendEntriesResponse::Success,
        1 => AppendEntriesResponse::PartialSuccess(log_id_of(&mut from)?),
        2 => AppendEntriesResponse::Conflict,
        3 => AppendEntriesResponse::HigherVote(vote_of(&mut from)?),
        _ => return Err(BadBytes::Unknown("append answer")),
    };
    // A peer of an earlier version says nothing of its disk.
    Ok((response, from.first() == Some(&1)))
}

pub(crate) fn vote(request: &VoteRequest<Types>) -> Bytes {
    let mut out = BytesMut::new();
    put_vote(&mut out, &request.vote);
    put_log_id(&mut out, request.last_log_id.as_ref());
    out.put_u8(u8::from(request.leadership_transfer));
    out.freeze()
}

pub(crate) fn vote_request_of(mut from: Bytes) -> Result<VoteRequest<Types>, BadBytes> {
    let mut request = VoteRequest::new(vote_of(&mut from)?, log_id_of(&mut from)?);
    request.leadership_transfer = u8_of(&mut from)? == 1;
    Ok(request)
}

pub(crate) fn voted(response: &VoteResponse<Types>) -> Bytes {
    let mut out = BytesMut::new();
    put_vote(&mut out, &response.vote);
    out.put_u8(u8::from(response.vote_granted));
    put_log_id(&mut out, response.last_log_id.as_ref());
    out.freeze()
}

pub(crate) fn voted_of(mut from: Bytes) -> Result<VoteResponse<Types>, BadBytes> {
    let (vote, granted) = (vote_of(&mut from)?, u8_of(&mut from)? == 1);
    Ok(VoteResponse::new(vote, log_id_of(&mut from)?, granted))
}

pub(crate) fn transfer(request: &TransferLeaderRequest<Types>) -> Bytes {
    let mut out = BytesMut::new();
    put_vote(&mut out, request.from_leader());
    out.put_u64_le(*request.to_node_id());
    put_log_id(&mut out, request.last_log_id());
    out.freeze()
}

pub(crate) fn transfer_of(mut from: Bytes) -> Result<TransferLeaderRequest<Types>, BadBytes> {
    let (leader, to) = (vote_of(&mut from)?, u64_of(&mut from)?);
    Ok(TransferLeaderRequest::new(leader, to, log_id_of(&mut from)?))
}

pub(crate) fn transferred(response: &TransferLeaderResponse<Types>) -> Bytes {
    let mut out = BytesMut::new();
    match response {
        Ok(()) => out.put_u8(0),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            out.put_u8(1);
            put_vote(&mut out, expected);
            put_vote(&mut out, actual);
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            out.put_u8(2);
            put_log_id(&mut out, expected.as_ref());
            put_log_id(&mut out, actual.as_ref());
        }
    }
    out.freeze()
}

pub(crate) fn transferred_of(mut from: Bytes) -> Result<TransferLeaderResponse<Types>, BadBytes> {
    match u8_of(&mut from)? {
        0 => Ok(Ok(())),
        1 => Ok(Err(TransferLeaderError::VoteChanged {
            expected: vote_of(&mut from)?,
            actual: vote_of(&mut from)?,
        })),
        2 => Ok(Err(TransferLeaderError::LogNotFlushed {
            expected: log_id_of(&mut from)?,
            actual: log_id_of(&mut from)?,
        })),
        _ => Err(BadBytes::Unknown("transfer answer")),
    }
}

pub(crate) fn installed(response: &SnapshotResponse<Types>) -> Bytes {
    let mut out = BytesMut::new();
    put_vote(&mut out, &response.vote);
    out.freeze()
}

pub(crate) fn installed_of(mut from: Bytes) -> Result<SnapshotResponse<Types>, BadBytes> {
    Ok(SnapshotResponse::new(vote_of(&mut from)?))
}

pub(crate) fn snapshot_vote(vote: &Vote) -> Bytes {
    let mut out = BytesMut::new();
    put_vote(&mut out, vote);
    out.freeze()
}

/// A replica's state at an index, to be compared with a peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Digest {
    pub index: u64,
    pub state: StateHash,
    pub chain: Head,
    /// The sender's wall clock.
    pub wall_ms: u64,
    /// The receiver alone differs from the others: it must stop serving if it still does.
    pub alone: bool,
}

/// What a peer makes of it, how far its archive reaches, and what its binary applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DigestAnswer {
    /// `None` when the peer does not remember that index.
    pub equal: Option<bool>,
    pub archived_index: u64,
    pub archived_records: u64,
    pub wall_ms: u64,
    pub versions: Versions,
}

/// What of an offered snapshot a peer holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Held {
    pub archived_index: u64,
    pub archived_records: u64,
    /// Of the state, from its beginning.
    pub state_bytes: u64,
}

pub(crate) fn offer_answer(held: &Held) -> Bytes {
    let mut out = BytesMut::with_capacity(24);
    out.put_u64_le(held.archived_index);
    out.put_u64_le(held.archived_records);
    out.put_u64_le(held.state_bytes);
    out.freeze()
}

pub(crate) fn offer_answer_of(mut from: Bytes) -> Result<Held, BadBytes> {
    let (archived_index, archived_records) = (u64_of(&mut from)?, u64_of(&mut from)?);
    Ok(Held { archived_index, archived_records, state_bytes: u64_of(&mut from)? })
}

pub(crate) fn digest(digest: &Digest) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u64_le(digest.index);
    out.put_u128_le(digest.state.0);
    out.put_slice(&digest.chain);
    out.put_u64_le(digest.wall_ms);
    out.put_u8(u8::from(digest.alone));
    out.freeze()
}

pub(crate) fn digest_of(mut from: Bytes) -> Result<Digest, BadBytes> {
    let index = u64_of(&mut from)?;
    let state = StateHash(from.try_get_u128_le().map_err(|_| BadBytes::Short)?);
    let chain = codec::array_of(&mut from)?;
    let (wall_ms, alone) = (u64_of(&mut from)?, u8_of(&mut from)? == 1);
    Ok(Digest { index, state, chain, wall_ms, alone })
}

pub(crate) fn digest_answer(answer: &DigestAnswer) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(match answer.equal {
        None => 0,
        Some(true) => 1,
        Some(false) => 2,
    });
    out.put_u64_le(answer.archived_index);
    out.put_u64_le(answer.archived_records);
    out.put_u64_le(answer.wall_ms);
    out.put_u32_le(answer.versions.first);
    out.put_u32_le(answer.versions.last);
    out.freeze()
}

pub(crate) fn digest_answer_of(mut from: Bytes) -> Result<DigestAnswer, BadBytes> {
    let equal = match u8_of(&mut from)? {
        0 => None,
        1 => Some(true),
        2 => Some(false),
        _ => return Err(BadBytes::Unknown("comparison")),
    };
    let (archived_index, archived_records) = (u64_of(&mut from)?, u64_of(&mut from)?);
    let wall_ms = u64_of(&mut from)?;
    let versions = match from.is_empty() {
        // It was built before there was a second version.
        true => Versions::upto(GENESIS),
        false => Versions { first: u32_of(&mut from)?, last: u32_of(&mut from)? },
    };
    Ok(DigestAnswer { equal, archived_index, archived_records, wall_ms, versions })
}

#[cfg(test)]
mod tests {
    use hansa_types::time::LogTime;
    use openraft::EntryPayload;

    use super::*;
    use crate::batch::Batch;
    use crate::raft::Entry;

    #[test]
    fn an_append_shares_its_commands_and_comes_back() {
        let batch = Batch::encode(LogTime(1), [Bytes::from_static(b"abc")].iter());
        let entry = |index, payload| Entry { log_id: log_id(2, index), payload };
        let request = AppendEntriesRequest::<Types> {
            vote: Vote::new_committed(2, 1),
            prev_log_id: Some(log_id(1, 4)),
            entries: vec![
                entry(5, EntryPayload::Blank),
                entry(6, EntryPayload::Normal(batch.clone())),
            ],
            leader_commit: Some(log_id(1, 3)),
        };
        let (body, payloads) = append(&request);
        assert_eq!(payloads[1].as_ptr(), batch.bytes().as_ptr());
        let back = append_of(body.clone(), payloads).unwrap();
        assert_eq!(format!("{back:?}"), format!("{request:?}"));
        assert!(append_of(body, Vec::new()).is_err());
    }

    #[test]
    fn answers_of_every_kind_come_back() {
        let vote = Vote::new(4, 2);
        let id = Some(log_id(3, 8));
        for answer in [
            AppendEntriesResponse::Success,
            AppendEntriesResponse::PartialSuccess(id),
            AppendEntriesResponse::Conflict,
            AppendEntriesResponse::HigherVote(vote),
        ] {
            for short in [true, false] {
                assert_eq!(appended_of(appended(&answer, short)).unwrap(), (answer.clone(), short));
            }
        }
        let answer = VoteResponse::new(vote, id, true);
        assert_eq!(voted_of(voted(&answer)).unwrap(), answer);
        for answer in [
            Ok(()),
            Err(TransferLeaderError::VoteChanged { expected: vote, actual: vote }),
            Err(TransferLeaderError::LogNotFlushed { expected: id, actual: None }),
        ] {
            assert_eq!(transferred_of(transferred(&answer)).unwrap(), answer);
        }
    }
}
