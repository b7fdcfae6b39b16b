//! Who serves what was born in a region: a record, not a state of health.
//!
//! # Source
//! docs/adr/0016-region-loss.md

use std::fmt;

use hansa_types::hash::StateHash;
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use super::command::Refusal;

/// Bytes of a reason at most.
pub const REASON_BYTES_MAX: usize = 512;
/// Bytes of a ticket, or of a name.
pub const TICKET_BYTES_MAX: usize = 128;
/// Bytes of a signature and of the certificates under it.
pub const PROOF_BYTES_MAX: usize = 16 << 10;

/// A lease that nobody set lasts this long.
pub const LEASE_MS: u64 = 10_000;
/// The longest lease that can be set.
pub const LEASE_MS_MAX: u64 = 600_000;
/// The longest a command that was let in may take until it is committed: a submit is bounded by it.
pub const SUBMIT_MS_MAX: u64 = 10_000;

/// How a region came to own what another one owned before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// Planned, after a drain: nothing is lost.
    Switchover,
    /// Forced: the former owner is lost, or cut off.
    Failover,
    /// Planned, back to the region in which it was born.
    Failback,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Switchover, Self::Failover, Self::Failback];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Switchover => "switchover",
            Self::Failover => "failover",
            Self::Failback => "failback",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A change of owner, signed by whoever ordered it.
///
/// # Invariant
/// `ends < epoch`. A directory takes a record only if its epoch is newer than what it knows.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct OwnershipRecord {
    pub birth: RegionNumber,
    pub owner: RegionNumber,
    pub epoch: u64,
    /// The newest epoch that was known when it was made, of the owner that loses.
    pub ends: u64,
    pub kind: Kind,
    /// A person says that the machines of the former owner are off.
    pub confirmed_stopped: bool,
    pub reason: String,
    pub ticket: String,
    /// Wall clock of who signed.
    pub time_ms: u64,
    /// SPIFFE id of who signed.
    pub by: String,
    pub proof: Proof,
}

/// A signature, and the certificates that say whose it is; checked by the shell, against the
/// authorities of the trust domain at the record's own time.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Proof {
    /// DER, the signer's first.
    pub chain: Vec<Vec<u8>>,
    /// The TLS number of the signature's scheme.
    pub scheme: u16,
    pub signature: Vec<u8>,
}

impl OwnershipRecord {
    /// A name for the record: two that differ have two.
    pub fn hash(&self) -> StateHash {
        StateHash::of_record("directory.record", &self.birth, self)
    }

    /// What makes a record none, whatever is known.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let proof = &self.proof;
        let certificates: usize = proof.chain.iter().map(Vec::len).sum();
        if certificates.saturating_add(proof.signature.len()) > PROOF_BYTES_MAX {
            return Err(Refusal::TooMany("the record's proof"));
        }
        let long = self.ticket.len() > TICKET_BYTES_MAX || self.by.len() > 2 * TICKET_BYTES_MAX;
        if self.reason.len() > REASON_BYTES_MAX || long {
            return Err(Refusal::TooMany("the record's text"));
        }
        let line = |text: &str| !text.is_empty() && !text.contains(char::is_control);
        if ![&self.reason, &self.ticket, &self.by].into_iter().all(|text| line(text)) {
            return Err(Refusal::BadRecord("reason, ticket and signer are one line each"));
        }
        if self.ends >= self.epoch {
            return Err(Refusal::BadRecord("a record ends an older epoch than its own"));
        }
        if self.kind == Kind::Failback && self.owner != self.birth {
            return Err(Refusal::BadRecord("a failback is to the region of birth"));
        }
        Ok(())
    }
}

/// What was born in a place is being handed over: no new order, no new step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Drain {
    pub to: RegionNumber,
    /// The epoch that it ends.
    pub epoch: u64,
    /// The directory's version that began it: another drain is another one.
    pub since: u64,
}

/// A promise: no older epoch than this one is renewed from now on, and this one is for `to`.
///
/// Two majorities of regions meet, so that of two operators who fail a region over at once, one
/// gets the epoch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Fence {
    /// The epoch of the record to come.
    pub epoch: u64,
    pub to: RegionNumber,
    /// How long the record must wait here.
    pub wait_ms: u64,
    pub since: LogTime,
}

/// What a region's orders leaders do while they are cut off from a majority of regions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Isolation {
    /// They go on.
    #[default]
    Serve,
    /// They take writes only while a majority of regions, their own included, has renewed the
    /// epoch lately.
    Lease { ms: u64 },
}

impl Isolation {
    pub fn lease_ms(self) -> Option<u64> {
        match self {
            Self::Serve => None,
            Self::Lease { ms } => Some(ms),
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serve => f.write_str("serve"),
            Self::Lease { .. } => f.write_str("lease"),
        }
    }
}
