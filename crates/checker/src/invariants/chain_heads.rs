//! Invariant 11: At one index one head of the audit chain. That the chain verifies from genesis is
//! `audit verify`'s business, whose finding a harness adds as a report.

use crate::verdict::Reason;

use super::Settled;
use super::equal_hashes::differing;

pub fn check(settled: Settled<'_>) -> Vec<Reason> {
    let groups = settled.state.groups.iter();
    groups.flat_map(|group| differing("11 chain heads", group, |at| &at.chain_head)).collect()
}
