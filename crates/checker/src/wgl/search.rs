//! The walk through time.

mod kinds;
mod ways;

use std::collections::{HashMap, HashSet};

use super::mask::{Mask, SLOTS};
use super::{Entry, Found, Measures, Model, NO_FLOOR, Need, Refuted};
use kinds::{Kind, falls, kinds};
use ways::Risk;

/// States named in a refutation.
const STATES_NAMED: usize = 8;

pub(super) struct Search<'a, M: Model> {
    model: &'a M,
    entries: &'a [Entry<M::Op>],
    budget: u64,
    /// Configurations kept of one state, those that have used up least, and ways on from each. What
    /// is dropped may have led on: only an explanation is a verdict then.
    beam: usize,
    steps: u64,
    /// The slot of each entry that is begun and may still matter.
    slot: Vec<Option<usize>>,
    /// The entry in each slot.
    at: Vec<usize>,
    used: Mask,
    /// Slots of entries whose time is not up.
    pending: Mask,
    /// What became of entries that gave up their slot.
    gone: Vec<Option<bool>>,
    /// How many entries that are not over yet look at this one.
    watchers: Vec<usize>,
    /// Both ways.
    excludes: Vec<Vec<usize>>,
    /// For each slot, the twins to be tried before it.
    before: Vec<Mask>,
    configs: Vec<Config<M::State>>,
    /// What each entry adds to the measures.
    adds: Vec<Measures>,
    /// Which entries observe.
    observes: Vec<bool>,
    /// The measures that must not fall too far.
    floors: Vec<usize>,
    /// For each of these, the kind of each entry.
    kinds: Vec<Vec<Kind>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Config<State> {
    done: Mask,
    state: State,
}

/// In the order of time; of one instant, beginnings come first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Begin(usize),
    End(usize),
}

impl<'a, M: Model> Search<'a, M> {
    pub fn new(model: &'a M, entries: &'a [Entry<M::Op>], budget: u64, beam: usize) -> Self {
        let mut excludes = vec![Vec::new(); entries.len()];
        for (n, other) in entries.iter().enumerate().filter_map(|(n, e)| Some((n, e.not_with?))) {
            excludes[n].push(other);
            excludes[other].push(n);
        }
        let mut watchers = vec![0; entries.len()];
        for (entry, excluded) in entries.iter().zip(&excludes) {
            entry.rests_on().chain(excluded.iter().copied()).for_each(|n| watchers[n] += 1);
        }
        let adds: Vec<Measures> = entries.iter().map(|entry| model.adds(&entry.op)).collect();
        let observes: Vec<bool> = entries.iter().map(|entry| model.observes(&entry.op)).collect();
        let room = model.room(&model.initial()).unwrap_or([NO_FLOOR; 5]);
        let falls = |m: &usize| room[*m] != NO_FLOOR && falls(entries, &adds, *m);
        let floors: Vec<usize> = (0..room.len()).filter(falls).collect();
        let kinds = floors.iter().map(|m| kinds(entries, &adds, &observes, *m)).collect();
        Self {
            model,
            entries,
            budget,
            beam,
            steps: 0,
            slot: vec![None; entries.len()],
            at: vec![0; SLOTS],
            used: Mask::default(),
            pending: Mask::default(),
            gone: vec![None; entries.len()],
            watchers,
            excludes,
            before: vec![Mask::default(); SLOTS],
            adds,
            observes,
            floors,
            kinds,
            configs: vec![Config { done: Mask::default(), state: model.initial() }],
        }
    }

    pub fn run(mut self) -> Found {
        let mut moments: Vec<(u64, Moment)> = Vec::new();
        for (n, entry) in self.entries.iter().enumerate() {
            moments.push((entry.invoked, Moment::Begin(n)));
            moments.extend(entry.by.map(|by| (by.max(entry.invoked), Moment::End(n))));
        }
        moments.sort_unstable();
        for (at, moment) in moments {
            let gave_up = match moment {
                Moment::Begin(entry) => self.begin(entry),
                Moment::End(entry) => match self.end(entry) {
                    Ok(ended) => ended,
                    Err(states) => return Found::Refuted(Refuted { entry, at, states }),
                },
            };
            if let Err(why) = gave_up {
                return Found::GaveUp { why };
            }
        }
        Found::Explained { steps: self.steps }
    }

    fn begin(&mut self, entry: usize) -> Result<(), String> {
        let slot = self.used.first_free();
        let slot = slot.ok_or_else(|| format!("more than {SLOTS} entries pending at once"))?;
        self.used.add(slot);
        self.slot[entry] = Some(slot);
        self.at[slot] = entry;
        self.before[slot] = Mask::default();
        let Some(mine) = self.entries[entry].twin else {
            self.pending.add(slot);
            return Ok(());
        };
        for other in self.pending.slots() {
            let Some(twin) = self.entries[self.at[other]].twin else { continue };
            if twin.class != mine.class {
                continue;
            }
            match (twin.rank, self.at[other]) < (mine.rank, entry) {
                true => self.before[slot].add(other),
                false => self.before[other].add(slot),
            }
        }
        self.pending.add(slot);
        Ok(())
    }

    /// `Err`: no configuration is left; the states of those before.
    fn end(&mut self, entry: usize) -> Result<Result<(), String>, Vec<String>> {
        let Some(slot) = self.slot[entry] else { return Ok(Ok(())) };
        let before = std::mem::take(&mut self.configs);
        let (mut kept, mut begun) = (Vec::new(), Vec::new());
        for config in before.iter().cloned() {
            if self.is_done(entry, &config.done) {
                kept.push(config);
                continue;
            }
            // What need not happen may have: now or never.
            if !self.due(entry, &config) {
                kept.push(config.clone());
            }
            begun.push(config);
        }
        if let Err(why) = self.extend(slot, begun, &mut kept) {
            return Ok(Err(why));
        }
        self.pending.remove(slot);
        self.configs = self.least(kept);
        if self.configs.is_empty() {
            return Err(self.name(&before));
        }
        self.over(entry, slot);
        Ok(Ok(()))
    }

    /// Without those that have the state of another and have used up more: what they did beyond it
    /// comes to nothing, and the other can still do it.
    fn least(&self, mut configs: Vec<Config<M::State>>) -> Vec<Config<M::State>> {
        let mut anytime = self.pending;
        self.pending.slots().filter(|slot| self.observes[self.at[*slot]]).for_each(|slot| {
            anytime.remove(slot);
        });
        configs.sort_by_key(|config| config.done.count());
        let mut kept: HashMap<M::State, Vec<Mask>> = HashMap::new();
        configs.retain(|config| {
            let same = kept.entry(config.state.clone()).or_default();
            let state = &config.state;
            let covers = |less: &Mask| {
                let beyond = config.done.minus(less);
                less.within(&config.done)
                    && beyond.within(&anytime)
                    && self.comes_to_nothing(&beyond)
                    && self.risk(&Config { done: *less, state: state.clone() }) == Risk::None
            };
            let needless = same.iter().any(covers);
            if !needless {
                same.push(config.done);
            }
            !needless
        });
        if self.beam < usize::MAX {
            self.choose(&mut configs);
        }
        configs
    }

    /// Of each state those first that did what must happen, and little else.
    fn choose(&self, configs: &mut Vec<Config<M::State>>) {
        configs.sort_by_key(|config| {
            let may = |slot: &usize| self.entries[self.at[*slot]].need != Need::Always;
            let beyond = config.done.slots().filter(may).count();
            (beyond, std::cmp::Reverse(config.done.count()))
        });
        let mut kept: HashMap<M::State, usize> = HashMap::new();
        configs.retain(|config| {
            let same = kept.entry(config.state.clone()).or_default();
            *same += 1;
            *same <= self.beam
        });
    }

    /// Of one state this is no matter of course: what gave up its slot may differ.
    fn comes_to_nothing(&self, some: &Mask) -> bool {
        let mut sum = Measures::default();
        for slot in some.slots() {
            sum.iter_mut().zip(&self.adds[self.at[slot]]).for_each(|(sum, adds)| *sum += adds);
        }
        sum == Measures::default()
    }

    /// Whether the entry whose time is up must have taken effect.
    fn due(&self, entry: usize, config: &Config<M::State>) -> bool {
        match self.entries[entry].need {
            Need::Always => true,
            Need::Never => false,
            Need::IfDone(other) => self.is_done(other, &config.done),
            Need::IfDoneWithout(other, but) => {
                self.is_done(other, &config.done) && !self.is_done(but, &config.done)
            }
        }
    }

    fn is_done(&self, entry: usize, done: &Mask) -> bool {
        match self.slot[entry] {
            Some(slot) => done.has(slot),
            None => self.gone[entry] == Some(true),
        }
    }

    /// Entries that could take effect now, as far as others allow it.
    fn ready(&self, done: &Mask) -> Mask {
        let mut ready = self.pending.minus(done);
        for slot in ready.slots() {
            let entry = self.at[slot];
            let after = self.entries[entry].after;
            let allowed = after.is_none_or(|other| self.is_done(other, done))
                && !self.excludes[entry].iter().any(|other| self.is_done(*other, done));
            if !allowed {
                ready.remove(slot);
            }
        }
        ready
    }

    /// Frees the slots of entries that nothing looks at any more.
    fn over(&mut self, entry: usize, slot: usize) {
        for twins in &mut self.before {
            twins.remove(slot);
        }
        let excluded = self.excludes[entry].iter().copied();
        let watched: Vec<usize> = self.entries[entry].rests_on().chain(excluded).collect();
        for other in watched {
            self.watchers[other] -= 1;
            self.free(other);
        }
        self.free(entry);
    }

    fn free(&mut self, entry: usize) {
        let Some(slot) = self.slot[entry] else { return };
        let watched = self.watchers[entry] > 0 || self.pending.has(slot);
        let mut done = self.configs.iter().map(|config| config.done.has(slot));
        let first = done.next().unwrap_or(false);
        if watched && !(first && done.all(|done| done)) || self.pending.has(slot) {
            return;
        }
        self.slot[entry] = None;
        self.gone[entry] = Some(first);
        self.used.remove(slot);
        let mut seen = HashSet::new();
        for config in &mut self.configs {
            config.done.remove(slot);
        }
        self.configs.retain(|config| seen.insert(config.clone()));
    }

    fn name(&self, configs: &[Config<M::State>]) -> Vec<String> {
        let mut named: Vec<String> = Vec::new();
        for config in configs {
            let state = format!("{:?}", config.state);
            if named.len() < STATES_NAMED && !named.contains(&state) {
                named.push(state);
            }
        }
        named
    }
}

impl<Op> Entry<Op> {
    /// The entries whose having happened decides about this one.
    fn rests_on(&self) -> impl Iterator<Item = usize> + use<Op> {
        let (need, but) = match self.need {
            Need::IfDone(other) => (Some(other), None),
            Need::IfDoneWithout(other, but) => (Some(other), Some(but)),
            Need::Always | Need::Never => (None, None),
        };
        self.after.into_iter().chain(need).chain(but)
    }
}
