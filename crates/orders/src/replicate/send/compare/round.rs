//! One comparison, from the root down to the orders that differ. Pure: no clock of its own.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use hansa_api::pb::replication as wire;
use hansa_types::id::OrderId;
use tokio::time::Instant;

use super::{FOUND_MAX, Found};
use crate::core::remote::tree::{EVERYTHING, KEPT_SHIFT, Span, Sum, Tree, span_of};

/// Buckets of one range.
const BUCKETS_MAX: u64 = 256;
/// What one probe says in all, and about how many ranges.
const PARTS_MAX: usize = 2_048;
const RANGES_MAX: usize = 64;
/// Orders of both sides that are said one by one instead of in narrower buckets.
const BY_ORDER_MAX: u64 = 128;
/// Leaves of one range.
const LEAVES_MAX: usize = 1_024;
/// Ranges that wait: more differ than can be listed.
const WAIT_MAX: usize = 16_384;
/// Width of everything, in bits of a creation time.
const WIDEST: u32 = 48;

/// A span that differs.
#[derive(Clone, Debug)]
struct Part {
    span: Span,
    /// Its width as a bucket.
    shift: u32,
    /// Orders at the peer.
    theirs: u64,
}

pub struct Round {
    number: u64,
    started: Instant,
    rooted: bool,
    wait: VecDeque<Part>,
    /// What the last probe asked about.
    asked: Vec<Part>,
    /// Home's versions as they were said.
    said: BTreeMap<u128, u64>,
    found: BTreeMap<OrderId, Found>,
    more: bool,
    bytes: u64,
}

impl Round {
    pub fn new(number: u64) -> Self {
        Self {
            number,
            started: Instant::now(),
            rooted: false,
            wait: VecDeque::new(),
            asked: Vec::new(),
            said: BTreeMap::new(),
            found: BTreeMap::new(),
            more: false,
            bytes: 0,
        }
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn over(&self) -> bool {
        self.rooted && self.wait.is_empty() && self.asked.is_empty()
    }

    pub fn spent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Bytes both ways, and ms.
    pub fn cost(&self) -> (u64, u64) {
        (self.bytes, self.started.elapsed().as_millis() as u64)
    }

    pub fn found(self) -> (BTreeMap<OrderId, Found>, bool) {
        (self.found, self.more)
    }

    /// The next question. `version`: of an order at home.
    pub fn probe(&mut self, tree: &Tree, version: impl Fn(OrderId) -> u64) -> wire::Probe {
        let mut probe = wire::Probe { round: self.number, ..Default::default() };
        if !self.rooted {
            probe.root = Some(to_wire(tree.root()));
            return probe;
        }
        let mut parts = 0;
        self.said.clear();
        while parts < PARTS_MAX
            && probe.ranges.len() < RANGES_MAX
            && let Some(part) = self.wait.pop_front()
        {
            let range = self.range(&part, tree, &version);
            parts += range.buckets.len() + range.leaves.len() + 1;
            probe.ranges.push(range);
        }
        probe
    }

    fn range(
        &mut self,
        part: &Part,
        tree: &Tree,
        version: impl Fn(OrderId) -> u64,
    ) -> wire::ProbeRange {
        let (wider, _) = tree.sums(&part.span, part.shift.max(KEPT_SHIFT), 1);
        let ours = match part.shift < KEPT_SHIFT {
            true => tree.leaves(&part.span).take(LEAVES_MAX).count() as u64,
            false => wider.first().map_or(0, |(_, sum)| sum.orders),
        };
        if ours.saturating_add(part.theirs) <= BY_ORDER_MAX || part.shift == 0 {
            return self.by_order(part, tree, version);
        }
        let shift = tree.shift_for(&part.span, BUCKETS_MAX).min(part.shift.saturating_sub(1));
        let (sums, more) = tree.sums(&part.span, shift, BUCKETS_MAX as usize * 2);
        self.more |= more;
        self.asked.push(Part { shift, ..part.clone() });
        let bucket = |(bucket, sum)| wire::ProbeBucket { bucket, sum: Some(to_wire(sum)) };
        wire::ProbeRange {
            first: id_bytes(*part.span.start()),
            last: id_bytes(*part.span.end()),
            shift,
            buckets: sums.into_iter().map(bucket).collect(),
            ..Default::default()
        }
    }

    fn by_order(
        &mut self,
        part: &Part,
        tree: &Tree,
        version: impl Fn(OrderId) -> u64,
    ) -> wire::ProbeRange {
        let mut leaves = Vec::new();
        let mut last = *part.span.end();
        for (id, leaf) in tree.leaves(&part.span) {
            if leaves.len() == LEAVES_MAX {
                // The rest of a crowded millisecond is another range.
                last = id - 1;
                self.wait.push_front(Part { span: id..=*part.span.end(), ..part.clone() });
                break;
            }
            let version = OrderId::try_from(id).map_or(0, &version);
            self.said.insert(id, version);
            let (high, low) = halves(leaf.0);
            leaves.push(wire::ProbeLeaf { order_id: id_bytes(id), version, high, low });
        }
        self.asked.push(Part { span: *part.span.start()..=last, ..part.clone() });
        wire::ProbeRange {
            first: id_bytes(*part.span.start()),
            last: id_bytes(last),
            by_order: true,
            leaves,
            ..Default::default()
        }
    }

    pub fn take(&mut self, answer: &wire::ProbeAnswer, bytes: usize, tree: &Tree, wall: u64) {
        self.bytes += bytes as u64;
        self.more |= answer.more;
        if !self.rooted {
            self.rooted = true;
            if !answer.equal {
                let (span, shift) = (EVERYTHING, WIDEST);
                // Not known, and more than goes order by order unless home has few.
                let theirs = if tree.root().orders <= BY_ORDER_MAX { 0 } else { u64::MAX / 2 };
                self.wait.push_back(Part { span, shift, theirs });
            }
            return;
        }
        let asked = std::mem::take(&mut self.asked);
        for different in &answer.buckets {
            let of = asked.get(different.range as usize);
            // Wider than any bucket: nothing that was asked, or nothing that can be told apart.
            let Some(of) = of.filter(|of| of.shift < WIDEST) else { continue };
            if self.wait.len() == WAIT_MAX {
                self.more = true;
                break;
            }
            let span = span_of(different.bucket, of.shift);
            self.wait.push_back(Part { span, shift: of.shift, theirs: different.orders });
        }
        for order in &answer.orders {
            self.note(order, wall);
        }
    }

    fn note(&mut self, order: &wire::DifferentOrder, wall: u64) {
        let id = <[u8; 16]>::try_from(order.order_id.as_ref()).map(u128::from_be_bytes);
        let Some((id, known)) = id.ok().and_then(|id| Some((id, OrderId::try_from(id).ok()?)))
        else {
            return;
        };
        if self.found.len() == FOUND_MAX {
            self.more = true;
            self.wait.clear();
            return;
        }
        let found = Found {
            kind: order.kind(),
            home_version: self.said.get(&id).copied().unwrap_or(0),
            copy_version: order.version,
            parked: order.parked,
            found_ms: wall,
        };
        self.found.insert(known, found);
    }
}

fn to_wire(sum: Sum) -> wire::DigestSum {
    let (high, low) = halves(sum.sum);
    wire::DigestSum { high, low, orders: sum.orders }
}

fn halves(n: u128) -> (u64, u64) {
    ((n >> 64) as u64, n as u64)
}

fn id_bytes(id: u128) -> Bytes {
    Bytes::copy_from_slice(&id.to_be_bytes())
}

#[cfg(test)]
pub mod tests;
