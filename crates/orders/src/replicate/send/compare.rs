//! What the peer should have, and the running comparison with what it has.
//!
//! A probe travels in the stream after all that was sent, so both sides speak of one place in it.
//! Where the roots differ it goes down: buckets of creation time, narrower ones, orders. Each step
//! is right at its own place, so live events may pass between two of them.

mod round;

use std::collections::BTreeMap;
use std::time::Duration;

use hansa_api::pb::replication as wire;
use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use prost::Message;
use tokio::time::Instant;

use self::round::Round;
use super::Sender;
use super::batch::step;
use super::session::Session;
use crate::core::remote::Terms;
use crate::core::remote::tree::{Leaf, Tree};
use crate::replicate::Stream;

/// Orders whose leaves are made in one step of building the tree.
const WALK_MAX: usize = 512;
/// Differences that are listed; more are said to be more.
pub(super) const FOUND_MAX: usize = 10_000;
/// After an answer that says nothing.
const AGAIN: Duration = Duration::from_secs(1);

/// An order that the peer has otherwise than home.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    pub kind: wire::DifferenceKind,
    /// 0 when home does not know it.
    pub home_version: u64,
    pub copy_version: u64,
    pub parked: bool,
    /// Wall clock ms.
    pub found_ms: u64,
}

/// Of one peer; memory of the leader, made anew by each.
#[derive(Default)]
pub(super) struct Compare {
    terms: Terms,
    /// Whose orders are ours to tell, and in which epochs.
    births: Vec<(RegionNumber, Option<u64>)>,
    /// What the peer has once it has all up to `at`.
    tree: Tree,
    at: u64,
    /// Whether the tree is what the peer has there, order by order: it is once home and peer were
    /// level, and stays so while every batch follows on the last.
    exact: bool,
    rounds: u64,
    round: Option<Round>,
    next: Option<Instant>,
    /// As of the last round that came to its end.
    found: BTreeMap<OrderId, Found>,
    more: bool,
    compared_ms: u64,
    cost: (u64, u64),
}

impl Compare {
    /// A new stream, or a new law.
    pub fn begin(&mut self, terms: &Terms, births: Vec<(RegionNumber, Option<u64>)>) {
        let (rounds, next) = (self.rounds, self.next);
        if self.births != births {
            // Births came or went, be it between two streams: other orders are ours to tell.
            *self = Self { rounds, ..Self::default() };
        } else if self.terms.of != terms.of {
            // Every view is another.
            *self = Self { rounds, next, ..Self::default() };
        }
        (self.terms, self.births) = (terms.clone(), births);
        // The peer may have gone back, or another node of it answers.
        self.exact = false;
        self.round = None;
    }

    /// A batch that was built from a state whose last event was `last`.
    pub fn shipped(
        &mut self,
        (after, upto, last): (u64, u64, u64),
        leaves: &[(OrderId, Option<Leaf>)],
    ) {
        let follows = self.exact && self.at == after;
        // All that changed since the tree was last brought on is in it.
        let level = after <= self.at && upto == last;
        self.exact = follows || level;
        if self.exact {
            self.put(leaves);
            self.at = upto;
        }
    }

    fn put(&mut self, leaves: &[(OrderId, Option<Leaf>)]) {
        for (order, leaf) in leaves {
            match leaf {
                Some(leaf) => self.tree.put(*order, *leaf),
                None => self.tree.take(*order),
            }
        }
    }

    /// Whether both sides can speak of the same place.
    fn level(&self, session: &Session) -> bool {
        self.exact && self.at == session.sent && session.compares()
    }

    pub fn due(&self) -> Instant {
        self.next.unwrap_or_else(Instant::now)
    }

    pub fn differences(&self) -> u64 {
        self.found.len() as u64
    }

    pub fn show(&self, stream: &mut Stream) {
        stream.compared_ms = self.compared_ms;
        stream.differences = self.differences();
        stream.truncated = self.more;
        (stream.compared_bytes, stream.compared_took_ms) = self.cost;
        if stream.found.len() != self.found.len() || self.compared_ms != stream.found_as_of_ms {
            stream.found.clone_from(&self.found);
            stream.found_as_of_ms = self.compared_ms;
        }
    }

    /// Orders that the peer has and that are not ours to tell, as of the last round.
    fn extra(&self) -> impl Iterator<Item = OrderId> {
        let extra = self.found.iter().filter(|(_, of)| of.kind == wire::DifferenceKind::Extra);
        extra.map(|(id, _)| *id)
    }

    /// What the peer said to the last probe.
    pub fn take(&mut self, answer: &wire::ProbeAnswer, bytes: usize, wall: u64, next: Instant) {
        let Some(mut round) = self.round.take() else { return };
        if round.number() != answer.round {
            self.round = Some(round);
            return;
        }
        if answer.not_comparable {
            self.next = Some(Instant::now() + AGAIN);
            return;
        }
        round.take(answer, bytes, &self.tree, wall);
        if !round.over() {
            self.round = Some(round);
            return;
        }
        self.cost = round.cost();
        (self.found, self.more) = round.found();
        (self.compared_ms, self.next) = (wall.max(1), Some(next));
    }
}

impl Sender {
    /// Whether the tree must be brought to where the peer is.
    pub(super) fn walks(&self, session: &Session) -> bool {
        let compare = self.compare.lock();
        let seq = self.hosted.group.peek(|machine| machine.state.meta.seq);
        session.compares() && !compare.exact && (compare.at < seq || session.sent == seq)
    }

    pub(super) fn probe_due(&self, session: &Session) -> bool {
        let compare = self.compare.lock();
        compare.level(session) && compare.due() <= Instant::now()
    }

    pub(super) fn level_with(&self, session: &Session) -> bool {
        self.compare.lock().level(session)
    }

    /// Builds a part of the tree from the state: all of it at taking office, what a broken stream
    /// missed after that.
    pub(super) fn walk(&self, session: &Session) {
        let mut compare = self.compare.lock();
        let from = compare.at;
        let (step, seq) = self.hosted.group.peek(|machine| {
            let state = &machine.state;
            (step(&self.shell, state, &session.law, from, WALK_MAX), state.meta.seq)
        });
        compare.put(&step.leaves);
        compare.at = step.upto;
        // Nothing is under way that is not in the tree, and the peer is sent all of it.
        compare.exact = step.upto == seq && session.sent == seq;
    }

    /// Has the peer drop what it was told of orders with which nobody goes on.
    pub(super) fn withdraw(&self, session: &mut Session) {
        let mut compare = self.compare.lock();
        if compare.round.is_some() {
            return;
        }
        let extra: Vec<OrderId> = compare.extra().collect();
        let abandoned: Vec<OrderId> = self.hosted.group.peek(|machine| {
            let abandoned = |id: &OrderId| machine.state.abandoned(*id).is_some();
            extra.into_iter().filter(abandoned).collect()
        });
        if !abandoned.is_empty() {
            session.withdraw(&abandoned);
            compare.next = Some(Instant::now() + AGAIN);
        }
    }

    /// The next probe, if one is due and both sides can speak of the same place.
    pub(super) fn probe(&self, session: &Session) -> Option<wire::ReplicateRequest> {
        let mut compare = self.compare.lock();
        if !compare.level(session) || compare.next.is_some_and(|at| Instant::now() < at) {
            return None;
        }
        if compare.round.is_none() {
            compare.rounds += 1;
            // A stream that was opened anew must not take an old answer for its own.
            let number = compare.rounds << 16 | self.shell.env.entropy.number() & 0xffff;
            compare.round = Some(Round::new(number));
        }
        let Compare { round, tree, .. } = &mut *compare;
        let round = round.as_mut()?;
        let probe = round.probe(tree, |order| {
            let version = |state: &crate::core::state::State| {
                state.orders.get(&order).map_or(0, |order| order.version)
            };
            self.hosted.group.peek(|machine| version(&machine.state))
        });
        let seq = self.hosted.group.peek(|machine| machine.state.meta.seq);
        let mut message = self.frame(session.law.terms.version, Vec::new(), seq, None);
        message.upto_sequence = session.sent;
        round.spent(probe.encoded_len());
        message.probe = Some(probe);
        Some(message)
    }
}

#[cfg(test)]
mod tests;
