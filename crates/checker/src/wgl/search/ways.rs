//! From a configuration to those in which the entry whose time is up has taken effect.

use std::collections::HashSet;

use super::super::mask::{Mask, SLOTS};
use super::super::{Measures, Model};
use super::{Config, Search};

/// One way on.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Way<State> {
    config: Config<State>,
    /// Nothing pending can be refused: what does not observe commutes.
    free: bool,
    /// What happens between two observations happens in the order of turns: the next one.
    turn: usize,
    /// Something happened that is of use only if an observation follows.
    idle: bool,
}

/// A turn for each slot, so that what decides about a slot comes before it.
struct Turns([usize; SLOTS]);

impl<M: Model> Search<'_, M> {
    /// Adds every configuration to `kept` in which the entry in `slot` has just happened.
    pub(super) fn extend(
        &mut self,
        slot: usize,
        begun: Vec<Config<M::State>>,
        kept: &mut Vec<Config<M::State>>,
    ) -> Result<(), String> {
        let turns = self.turns();
        let first = |config: Config<M::State>| {
            let free = turns.is_some() && self.settled(&config);
            Way { config, free, turn: 0, idle: false }
        };
        let mut work: Vec<Way<M::State>> = begun.into_iter().map(first).collect();
        let mut seen: HashSet<Way<M::State>> = work.iter().cloned().collect();
        let (mut on, mut next) = (Vec::new(), Vec::new());
        while let Some(way) = work.pop() {
            match &turns {
                Some(turns) if way.free => self.settled_ways(slot, &way, turns, &mut on),
                _ => self.every_way(slot, &way, &mut on),
            }
            for (other, turn, idle) in on.drain(..) {
                self.steps += 1;
                let op = &self.entries[self.at[other]].op;
                self.model.step(&way.config.state, op, &mut next);
                for state in next.drain(..) {
                    let config = Config { done: way.config.done.with(other), state };
                    let way = Way { config, free: way.free, turn, idle };
                    if seen.insert(way.clone()) {
                        if other == slot { kept.push(way.config) } else { work.push(way) }
                    }
                }
            }
            if self.steps > self.budget {
                return Err(format!("no verdict after {} steps", self.steps));
            }
        }
        Ok(())
    }

    /// Whether nothing that is pending can be refused, but for what observes.
    pub(super) fn settled(&self, config: &Config<M::State>) -> bool {
        let (least, _) = self.span(self.pending.minus(&config.done).slots());
        self.model.settled(&config.state, &least)
    }

    /// Anything may be next.
    fn every_way(&self, slot: usize, way: &Way<M::State>, on: &mut Vec<(usize, usize, bool)>) {
        let Config { done, state } = &way.config;
        let (least, most) = self.span(self.pending.minus(done).slots());
        if !self.model.may(state, &self.entries[self.at[slot]].op, &least, &most) {
            return;
        }
        let ready = self.ready(done);
        let first = ready.slots().filter(|other| !self.before[*other].meets(&ready));
        on.extend(first.map(|other| (other, 0, false)));
    }

    /// What leads to the entry itself; or, as long as an observation may follow, that one or what
    /// it needs.
    fn settled_ways(
        &self,
        slot: usize,
        way: &Way<M::State>,
        turns: &Turns,
        on: &mut Vec<(usize, usize, bool)>,
    ) {
        let Config { done, state } = &way.config;
        let left = self.pending.minus(done);
        let observes = |slot: usize| self.observes[self.at[slot]];
        let may = |slot: usize, (least, most): &(Measures, Measures)| {
            self.model.may(state, &self.entries[self.at[slot]].op, least, most)
        };
        if observes(slot) && !may(slot, &self.span(left.slots())) {
            return;
        }
        let ready = self.ready(done);
        if !observes(slot) && !way.idle {
            on.extend(self.toward(slot, done, &ready).map(|other| (other, 0, false)));
        }
        let soon = self.span(left.slots().filter(|other| turns.0[*other] >= way.turn));
        if !left.slots().any(|other| observes(other) && may(other, &soon)) {
            return;
        }
        for other in ready.slots().filter(|other| !self.before[*other].meets(&ready)) {
            let turn = turns.0[other];
            match observes(other) {
                true => on.push((other, 0, false)),
                false if other != slot && turn >= way.turn => on.push((other, turn + 1, true)),
                false => {}
            }
        }
    }

    /// The entry in the slot if it is ready, or what must happen before it.
    fn toward(&self, slot: usize, done: &Mask, ready: &Mask) -> Option<usize> {
        let mut at = slot;
        // Each step goes to another slot; a circle has no end.
        for _ in 0..SLOTS {
            if !ready.has(at) {
                let after = self.entries[self.at[at]].after?;
                at = self.slot[after].filter(|slot| !done.has(*slot) && self.pending.has(*slot))?;
                continue;
            }
            match self.before[at].slots().find(|twin| ready.has(*twin)) {
                Some(twin) => at = twin,
                None => return Some(at),
            }
        }
        None
    }

    fn turns(&self) -> Option<Turns> {
        let mut decides = vec![Mask::default(); SLOTS];
        for slot in self.pending.slots() {
            let mut first = self.before[slot];
            let after = self.entries[self.at[slot]].after;
            let excluded = first.slots().flat_map(|twin| &self.excludes[self.at[twin]]).copied();
            let others: Vec<usize> = after.into_iter().chain(excluded).collect();
            others.into_iter().filter_map(|other| self.slot[other]).for_each(|s| first.add(s));
            first.remove(slot);
            decides[slot] = first;
        }
        let (mut turns, mut left) = (Turns([0; SLOTS]), self.pending);
        for turn in 0.. {
            // Large ones first: then bounds on the rest are narrow.
            let free = left.slots().filter(|slot| !decides[*slot].meets(&left));
            let weight =
                |slot: &usize| self.adds[self.at[*slot]].iter().map(|n| n.abs()).sum::<i64>();
            let Some(slot) = free.max_by_key(weight) else { break };
            left.remove(slot);
            turns.0[slot] = turn;
        }
        (left == Mask::default()).then_some(turns)
    }

    /// The least and the most that these add to each measure.
    fn span(&self, slots: impl Iterator<Item = usize>) -> (Measures, Measures) {
        let (mut least, mut most) = (Measures::default(), Measures::default());
        for slot in slots {
            for (n, adds) in self.adds[self.at[slot]].iter().enumerate() {
                most[n] += (*adds).max(0);
                least[n] += (*adds).min(0);
            }
        }
        (least, most)
    }
}
