//! Looks at the groups as they run: who leads, and what came to pass that nobody logs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hansa_consensus::{GroupStatus, Role};
use hansa_types::id::{GroupId, GroupKind};

use super::books::Books;
use super::{Stage, State};
use crate::trace;
use crate::world::League;

const EVERY: Duration = Duration::from_millis(100);

/// What was seen at the last look.
pub(super) struct Watch {
    next: Duration,
    seats: Vec<Vec<GroupStatus>>,
    /// Leaders that were cut off, with their terms then: lost in a minority once another leads.
    cut_off: Vec<CutOff>,
    purged: BTreeMap<(usize, GroupId), u64>,
    stopped: BTreeSet<(usize, GroupId)>,
    terms: BTreeMap<(usize, GroupId), u64>,
    elections: Vec<u64>,
    pub books: Books,
}

struct CutOff {
    seat: usize,
    group: GroupId,
    term: u64,
    until: Duration,
    /// What it counts as once another leads.
    what: &'static str,
}

impl Watch {
    pub fn new(seats: usize) -> Self {
        Self {
            next: Duration::ZERO,
            seats: vec![Vec::new(); seats],
            cut_off: Vec::new(),
            purged: BTreeMap::new(),
            stopped: BTreeSet::new(),
            terms: BTreeMap::new(),
            elections: Vec::new(),
            books: Books::new(seats),
        }
    }

    pub fn look(&mut self, now: Duration, stage: Stage, seats: &[State]) {
        if now < self.next {
            return;
        }
        self.next = now + EVERY;
        for (number, state) in seats.iter().enumerate() {
            self.seats[number] = state.seat.groups();
            for group in &self.seats[number] {
                let purged = group.purged.unwrap_or_default();
                let before = self.purged.insert((number, group.group), purged);
                if before.is_some_and(|before| purged > before) {
                    trace::count("log purged", 1);
                }
                let keeps = group.group.kind() == GroupKind::Orders;
                let joint = state.seat.config.groups.joint && keeps && group.stopped.is_some();
                if joint && self.stopped.insert((number, group.group)) {
                    trace::count("books stopped with their orders group", 1);
                }
            }
        }
        if stage != Stage::Boot {
            self.lost_leaders(now, seats);
            self.new_leaders(now, seats);
        }
        self.books.look(now, seats);
    }

    pub fn take_elections(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.elections)
    }

    fn new_leaders(&mut self, now: Duration, seats: &[State]) {
        for (number, state) in seats.iter().enumerate() {
            let led = self.seats[number].iter().filter(|one| one.role == Role::Leader);
            for group in led.filter(|one| one.group.kind() == GroupKind::Orders) {
                let term = self.terms.entry((state.region, group.group)).or_default();
                if group.term > *term {
                    *term = group.term;
                    self.elections.push(now.as_nanos() as u64);
                    self.books.elected(number);
                }
            }
        }
    }

    /// Notes the groups that a seat leads while it is cut off.
    pub fn isolated(&mut self, seat: usize, until: Duration) {
        self.gone(seat, until, "leader lost while in minority");
    }

    /// Notes the groups that a seat leads while it stands still.
    pub fn paused(&mut self, seat: usize, until: Duration) {
        self.gone(seat, until, "leader lost while it stood still");
    }

    fn gone(&mut self, seat: usize, until: Duration, what: &'static str) {
        let led = self.seats[seat].iter().filter(|group| group.role == Role::Leader);
        self.cut_off.extend(led.map(|led| {
            let (group, term) = (led.group, led.term);
            CutOff { seat, group, term, until, what }
        }));
    }

    /// The seat that leads a region's n-th group, by the highest term.
    pub fn leader(&self, league: &League, region: usize, group: usize) -> Option<usize> {
        let first: usize = league.regions[..region].iter().map(|one| one.seats.len()).sum();
        let seats = first..first + league.regions[region].seats.len();
        let groups: Vec<GroupId> = self.seats.get(first)?.iter().map(|one| one.group).collect();
        // What a joint region has fewer are logs of books: their share is the others', and not the
        // directory's, which is the first.
        let group = groups.get(group.min(groups.len().saturating_sub(1)))?;
        let leads = seats.filter_map(|seat| {
            let found = self.seats[seat].iter().find(|one| one.group == *group)?;
            (found.role == Role::Leader).then_some((found.term, seat))
        });
        leads.max().map(|(_, seat)| seat)
    }

    /// Of how many voters the smallest group of a region is, as any of its nodes says.
    pub fn voters_min(&self, region: usize, seats: &[State]) -> usize {
        let here = seats.iter().zip(&self.seats).filter(|(state, _)| state.region == region);
        here.flat_map(|(_, groups)| groups).map(|one| one.voters.len()).min().unwrap_or_default()
    }

    fn lost_leaders(&mut self, now: Duration, seats: &[State]) {
        self.cut_off.retain(|cut| {
            let region = seats[cut.seat].region;
            let others = (0..seats.len()).filter(|n| *n != cut.seat && seats[*n].region == region);
            let elected = others.flat_map(|n| &self.seats[n]).any(|group| {
                group.group == cut.group && group.role == Role::Leader && group.term > cut.term
            });
            if elected {
                trace::count(cut.what, 1);
            }
            !elected && now < cut.until
        });
    }
}
