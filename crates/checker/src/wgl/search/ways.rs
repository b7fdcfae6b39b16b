//! From a configuration to those in which the entry whose time is up has taken effect.

use std::collections::HashSet;

use super::super::mask::{Mask, SLOTS};
use super::super::{Measures, Model, Need};
use super::kinds::Kind;
use super::{Config, Search};

/// One way on.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Way<State> {
    config: Config<State>,
    risk: Risk,
    /// What happens between two observations happens in the order of turns: the next one.
    turn: usize,
    /// Something happened that is of use only if an observation follows.
    idle: bool,
}

/// Which measures could fall so far that something is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Risk {
    /// None: what does not observe commutes.
    None,
    /// This floor.
    One(usize),
    /// More than one, or the model does not say.
    Any,
}

/// A turn for each slot, so that what decides about a slot comes before it. There are three rounds
/// of turns ([`super::kinds`]): what raises, what has no order, what lowers.
struct Turns([usize; SLOTS]);

impl Turns {
    const UNORDERED: usize = SLOTS;
    const LAST: usize = 2 * SLOTS;

    /// The turn after this entry's, if it may still be had.
    fn next(&self, slot: usize, when: When, turn: usize) -> Option<usize> {
        let (first, last) = (self.0[slot], Self::LAST + self.0[slot]);
        let mine = match when {
            When::First => first,
            When::Unordered if turn <= Self::UNORDERED => return Some(Self::UNORDERED),
            When::Unordered => return None,
            When::Last => last,
            When::Either if first >= turn => first,
            When::Either => last,
        };
        (mine >= turn).then_some(mine + 1)
    }
}

/// The round of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    First,
    Unordered,
    Last,
    Either,
}

impl<M: Model> Search<'_, M> {
    /// Adds every configuration to `kept` in which the entry in `slot` has just happened.
    pub(super) fn extend(
        &mut self,
        slot: usize,
        begun: Vec<Config<M::State>>,
        kept: &mut Vec<Config<M::State>>,
    ) -> Result<(), String> {
        let turns = self.turns();
        let (mut work, mut seen) = (Vec::new(), HashSet::new());
        let (mut on, mut next) = (Vec::new(), Vec::new());
        for config in begun {
            let risk = if turns.is_some() { self.risk(&config) } else { Risk::Any };
            let way = Way { config, risk, turn: 0, idle: false };
            if seen.insert(way.clone()) {
                work.push(way);
            }
            let enough = kept.len().saturating_add(self.beam);
            while let Some(way) = work.pop() {
                match &turns {
                    Some(turns) if way.risk != Risk::Any => {
                        self.few_ways(slot, &way, turns, &mut on);
                    }
                    _ => self.every_way(slot, &way, &mut on),
                }
                // The last is gone on with first.
                on.sort_by_key(|(other, ..)| self.entries[self.at[*other]].need == Need::Always);
                for (other, turn, idle) in on.drain(..) {
                    self.steps += 1;
                    let op = &self.entries[self.at[other]].op;
                    self.model.step(&way.config.state, op, &mut next);
                    for state in next.drain(..) {
                        let config = Config { done: way.config.done.with(other), state };
                        let way = Way { config, turn, idle, ..way };
                        if seen.insert(way.clone()) {
                            if other == slot { kept.push(way.config) } else { work.push(way) }
                        }
                    }
                }
                if self.steps > self.budget {
                    return Err(format!("no verdict after {} steps", self.steps));
                }
                if kept.len() >= enough {
                    work.clear();
                }
            }
        }
        Ok(())
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
    fn few_ways(
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
            let helps = self.helps(slot, way, &ready);
            on.extend(self.toward(slot, done, &ready).map(|other| (other, 0, false)));
            on.extend(helps.slots().map(|other| (other, 0, false)));
        }
        let next = |other: usize| turns.next(other, self.when(other, way.risk), way.turn);
        let soon = self.span(left.slots().filter(|other| next(*other).is_some()));
        if !left.slots().any(|other| observes(other) && may(other, &soon)) {
            return;
        }
        for other in ready.slots().filter(|other| !self.before[*other].meets(&ready)) {
            match observes(other) {
                true => on.push((other, 0, false)),
                false if other != slot => on.extend(next(other).map(|turn| (other, turn, true))),
                false => {}
            }
        }
    }

    /// What may have to happen before the entry in the slot, so that it is not refused: what
    /// raises the measure at risk, and what leads to it. What only lowers it can wait.
    fn helps(&self, slot: usize, way: &Way<M::State>, ready: &Mask) -> Mask {
        let (mut helps, done) = (Mask::default(), &way.config.done);
        let Risk::One(m) = way.risk else { return helps };
        let left = self.pending.minus(done);
        let raises = |other: &usize| self.adds[self.at[*other]][m] > 0;
        let lowered = |other| self.undone(other, done).any(|entry| self.adds[entry][m] < 0);
        let unordered = |other| self.when(other, way.risk) == When::Unordered && lowered(other);
        if self.granted(slot, &way.config) && !left.slots().filter(raises).any(unordered) {
            return helps;
        }
        for other in left.slots().filter(raises) {
            if self.kind(self.at[other], m) == Kind::Traceless && lowered(other) {
                continue;
            }
            self.toward(other, done, ready).into_iter().for_each(|next| helps.add(next));
        }
        helps
    }

    /// Whether the entry and all that must happen before it can happen at once.
    fn granted(&self, slot: usize, config: &Config<M::State>) -> bool {
        let Some(room) = self.model.room(&config.state) else { return false };
        let mut path: Vec<usize> = self.undone(slot, &config.done).collect();
        path.insert(0, self.at[slot]);
        let mut sum = Measures::default();
        path.iter().rev().all(|entry| {
            sum.iter_mut().zip(&self.adds[*entry]).for_each(|(sum, adds)| *sum += adds);
            !self.observes[*entry] && sum.iter().zip(&room).all(|(sum, room)| *sum >= -*room)
        })
    }

    /// What must happen before the entry in the slot and has not, the last first.
    fn undone(&self, slot: usize, done: &Mask) -> impl Iterator<Item = usize> {
        let above =
            |entry: usize| self.entries[entry].after.filter(|after| !self.is_done(*after, done));
        std::iter::successors(above(self.at[slot]), move |entry| above(*entry))
    }

    /// The round in which the entry may happen between two observations.
    fn when(&self, slot: usize, risk: Risk) -> When {
        let entry = self.at[slot];
        let (m, unordered) = match (risk, self.floors.first()) {
            (Risk::One(m), _) => (m, When::Unordered),
            (Risk::None, Some(m)) => (*m, When::Either),
            (Risk::Any, _) | (_, None) => return When::Either,
        };
        let ordered = match self.kind(entry, m) {
            Kind::Clean | Kind::Traceless => true,
            Kind::Passing => risk == Risk::None,
            Kind::Mixed => false,
        };
        match self.adds[entry][m] {
            _ if !ordered => unordered,
            1.. => When::First,
            0 => When::Either,
            _ => When::Last,
        }
    }

    fn kind(&self, entry: usize, m: usize) -> Kind {
        let of = self.floors.iter().position(|floor| *floor == m);
        of.map_or(Kind::Mixed, |of| self.kinds[of][entry])
    }

    /// Which floors what is pending could come to.
    pub(super) fn risk(&self, config: &Config<M::State>) -> Risk {
        let Some(room) = self.model.room(&config.state) else { return Risk::Any };
        let least = self.least_left(&config.done);
        let mut at_risk = self.floors.iter().filter(|m| room[**m] + least[**m] < 0);
        match (at_risk.next(), at_risk.next()) {
            (None, _) => Risk::None,
            (Some(m), None) => Risk::One(*m),
            _ => Risk::Any,
        }
    }

    /// By how much the measures may fall at most: nothing happens before what it must follow, nor
    /// beside what it excludes.
    fn least_left(&self, done: &Mask) -> Measures {
        let (mut whole, mut below) = (Measures::default(), vec![Measures::default(); SLOTS]);
        // What others of the same parent add that this one excludes.
        let mut rivals = vec![Measures::default(); SLOTS];
        let mut left: Vec<usize> = self.pending.minus(done).slots().collect();
        // What follows is later in the list.
        left.sort_unstable_by_key(|slot| std::cmp::Reverse(self.at[*slot]));
        for slot in left {
            let entry = self.at[slot];
            if self.excludes[entry].iter().any(|other| self.is_done(*other, done)) {
                continue;
            }
            let after = self.entries[entry].after.filter(|after| !self.is_done(*after, done));
            let more: Measures = std::array::from_fn(|m| {
                let mine = (self.adds[entry][m] + below[slot][m]).min(0);
                (mine - rivals[slot][m]).min(0)
            });
            let sum = match after.map(|after| self.slot[after]) {
                None => &mut whole,
                Some(Some(after)) if self.pending.has(after) => &mut below[after],
                // Never.
                Some(_) => continue,
            };
            sum.iter_mut().zip(&more).for_each(|(sum, more)| *sum += more);
            let sibling = |other: &usize| self.entries[*other].after == self.entries[entry].after;
            let rival = self.entries[entry].not_with.filter(sibling);
            if let Some(rival) = rival.and_then(|rival| self.slot[rival]) {
                rivals[rival].iter_mut().zip(&more).for_each(|(sum, more)| *sum += more);
            }
        }
        whole
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
