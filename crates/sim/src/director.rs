//! Carries a plan out: strikes when it says so, restarts what fell, and heals in the end.

mod books;
mod ended;
mod lost;
mod promises;
mod region;
mod strike;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hansa_wal::fs::Op;

use crate::host::{End, Seat};
use crate::links::Links;
use crate::plan::{Act, Births, Change, Errand, Mood, Plan, Wish};
use crate::trace;
use crate::world::{League, SEATS};
use ended::{Cause, Known};
use lost::Lost;
use watch::Watch;

/// A process that ended itself is started again after this long.
const SUPERVISOR: Duration = Duration::from_millis(700);

/// How far a run is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Stage {
    /// Until all nodes are ready once.
    #[default]
    Boot,
    Storm,
    /// Healed: progress is owed.
    Calm,
}

/// The hand that breaks and heals.
pub struct Director {
    league: Arc<League>,
    acts: std::vec::IntoIter<Act>,
    next: Option<Act>,
    storm: Duration,
    /// What a sync of a healthy disk takes.
    sync: Duration,
    began: Duration,
    pub stage: Stage,
    links: Links,
    /// What is to be done at a time, in order.
    due: BTreeMap<(Duration, u64), Due>,
    numbers: u64,
    seats: Vec<State>,
    watch: Watch,
    lost: Lost,
    /// Nodes that refuse their disks, for the operator.
    pub damaged: Vec<String>,
    /// Changes of members, for the operator of the first region.
    pub changes: Vec<Change>,
    /// What the operators are to do besides, with their regions.
    pub errands: Vec<(usize, Errand)>,
    /// What is to be done with the first region's births.
    pub births: Vec<Births>,
    pub wishes: Vec<Wish>,
    /// The first region is lost: how it comes back.
    away: Option<region::Away>,
    pub wrong: Vec<String>,
}

/// A seat as the director knows it.
struct State {
    seat: Arc<Seat>,
    addr: IpAddr,
    region: usize,
    up: bool,
    /// Faults of its disk in force: its processes may end over them, or not start.
    ill: u32,
    /// The process that runs has met one.
    hurt: bool,
    /// Its power goes soon, in the middle of a change to its disk.
    armed: bool,
    /// Its disk was damaged on purpose, and it does not serve from it.
    refused: bool,
    /// It has a new place, of which it learns once it reaches a peer.
    rebuilding: bool,
    /// The process stands still, by this fault.
    paused: Option<u64>,
    /// Nobody has asked its node to join yet.
    idle: bool,
    /// The region's fourth.
    spare: bool,
    /// Its region is lost: nobody starts it.
    away: bool,
}

/// What happens later.
enum Due {
    /// The power of these seats goes for real: unsynced bytes are lost, for `down`.
    Fall {
        seats: Vec<usize>,
        down: Duration,
        power: bool,
    },
    Start {
        seat: usize,
    },
    Mend {
        fault: u64,
    },
    /// A lost region comes back.
    Return,
    /// A disk works again.
    Heal {
        seat: usize,
    },
    Unfill {
        seat: usize,
    },
    Quicken {
        seat: usize,
    },
    ClockRight {
        seat: usize,
    },
    Resume {
        seat: usize,
        fault: u64,
    },
    ProviderWell {
        region: usize,
    },
    FlapCut {
        seat: usize,
        fault: u64,
        left: u32,
        every: Duration,
    },
}

impl Director {
    pub fn new(
        plan: &Plan,
        league: Arc<League>,
        sim: &mut turmoil::Sim<'_>,
        clients: IpAddr,
    ) -> Self {
        let mut seats = Vec::new();
        for (region, one) in league.regions.iter().enumerate() {
            for (number, seat) in one.seats.iter().enumerate() {
                let addr = sim.lookup(seat.name());
                seat.disk.set_latency(Op::Sync, plan.shape.sync);
                let spare = number >= SEATS;
                if spare {
                    sim.crash(addr);
                }
                seats.push(State::new(seat.clone(), addr, region, spare));
            }
        }
        let mut all: Vec<IpAddr> = seats.iter().map(|state| state.addr).collect();
        all.push(clients);
        let mut acts = plan.acts.clone().into_iter();
        Self {
            next: acts.next(),
            acts,
            storm: plan.storm,
            sync: plan.shape.sync,
            began: Duration::ZERO,
            stage: Stage::Boot,
            links: Links::new(all),
            due: BTreeMap::new(),
            numbers: 0,
            watch: Watch::new(seats.len()),
            lost: Lost::default(),
            seats,
            league,
            damaged: Vec::new(),
            changes: Vec::new(),
            errands: Vec::new(),
            births: Vec::new(),
            wishes: Vec::new(),
            away: None,
            wrong: Vec::new(),
        }
    }

    /// Between two steps.
    pub fn turn(&mut self, sim: &mut turmoil::Sim<'_>) {
        let now = sim.elapsed();
        for state in self.seats.iter_mut().filter(|state| state.rebuilding) {
            state.rebuilding = state.seat.ready().is_err();
        }
        self.ends(sim, now);
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= now) {
            let due = entry.remove();
            self.carry_out(sim, now, due);
        }
        match self.stage {
            Stage::Boot if self.all_ready() => {
                trace::note_at(now, format_args!("all ready, the storm begins"));
                (self.stage, self.began) = (Stage::Storm, now);
            }
            Stage::Storm => self.storm(sim, now),
            Stage::Boot | Stage::Calm => {}
        }
        self.watch.look(now, self.stage, &self.seats);
        self.wrong.append(&mut self.watch.books.wrong);
        self.wrong.extend(self.lost.back(&self.seats));
    }

    /// What the first node waits for that is not ready.
    pub fn waits(&self) -> Option<String> {
        let serves = |state: &&State| !state.refused && !state.idle && !state.away;
        let serving = self.seats.iter().filter(serves);
        let mut waits = serving.filter_map(|state| {
            let why = state.seat.ready().err()?;
            Some(format!("{}: {why}", state.seat.name()))
        });
        waits.next()
    }

    /// A node whose disk was damaged has a new place: it starts again, empty.
    pub fn reseeded(&mut self, sim: &turmoil::Sim<'_>, name: &str) {
        let named = |state: &State| state.seat.name() == name;
        let Some(number) = self.seats.iter().position(named) else { return };
        trace::count("node reseeded", 1);
        (self.seats[number].refused, self.seats[number].rebuilding) = (false, true);
        self.lost.remove(number);
        self.seats[number].seat.mended();
        self.later(sim.elapsed() + SUPERVISOR, Due::Start { seat: number });
    }

    /// When groups of orders got new leaders since this was last asked.
    pub fn elections(&mut self) -> Vec<u64> {
        self.watch.take_elections()
    }

    /// The operator wants the spare of the first region to join: its node starts.
    pub fn wanted(&mut self, sim: &turmoil::Sim<'_>) {
        if let Some(number) = self.seats.iter().position(|state| state.idle) {
            self.seats[number].idle = false;
            self.later(sim.elapsed(), Due::Start { seat: number });
        }
    }

    fn all_ready(&self) -> bool {
        let mut begun = self.seats.iter().filter(|state| !state.idle);
        begun.all(|state| state.seat.ready().is_ok())
    }

    fn storm(&mut self, sim: &mut turmoil::Sim<'_>, now: Duration) {
        let into = now.saturating_sub(self.began);
        while let Some(act) = self.next.take_if(|act| act.at <= into) {
            self.next = self.acts.next();
            self.strike(sim, now, act.fault);
        }
        if into >= self.storm {
            self.heal(sim, now);
        }
    }

    /// Everything is as it should be again, and stays so.
    fn heal(&mut self, sim: &mut turmoil::Sim<'_>, now: Duration) {
        trace::note_at(now, format_args!("heals"));
        self.stage = Stage::Calm;
        self.links.heal(sim);
        self.due.retain(|_, due| matches!(due, Due::Start { .. } | Due::Return));
        let waiting: BTreeSet<usize> = self.due.values().filter_map(Due::starts).collect();
        self.league.regions.iter().for_each(|region| region.provider.turn(Mood::Well));
        for number in 0..self.seats.len() {
            let state = &mut self.seats[number];
            state.seat.clock.heal(now);
            state.seat.disk.heal();
            state.seat.disk.set_capacity(u64::MAX);
            (state.ill, state.armed) = (0, false);
            state.seat.disk.set_latency(Op::Sync, self.sync);
            // A cut of power that has not struck yet never does.
            state.seat.disk.cut_power_after(u64::MAX);
            state.paused = None;
            state.seat.gate.open();
            let left = state.refused || state.idle || state.away;
            if !state.up && !left && !waiting.contains(&number) {
                self.later(now + SUPERVISOR, Due::Start { seat: number });
            }
        }
    }

    /// Clears away the processes that have ended by themselves.
    fn ends(&mut self, sim: &mut turmoil::Sim<'_>, now: Duration) {
        for number in 0..self.seats.len() {
            let Some(end) = self.seats[number].seat.take_end() else { continue };
            let state = &self.seats[number];
            let name = state.seat.name().to_owned();
            if state.armed {
                // What the dying machine says of itself says nothing; its start is due already.
                self.fall(sim, number, true);
                continue;
            }
            let cause = Cause::of(&end, &state.known());
            match (&cause, &end) {
                (Cause::Asked, _) | (_, End::Stopped) => {}
                (Cause::Unmeant, End::NotStarted(why)) => {
                    self.wrong.push(format!("{name} did not start: {why}"));
                }
                (Cause::Unmeant, End::Exited(why)) => {
                    self.wrong.push(format!("{name} ended itself: {why}"));
                }
                (_, End::NotStarted(why) | End::Exited(why)) => {
                    trace::note_at(now, format_args!("{name} {}: {why}", cause.says()));
                    cause.counts().into_iter().for_each(|what| trace::count(what, 1));
                }
            }
            if cause == Cause::Damage {
                self.seats[number].refused = true;
                self.damaged.push(name);
            }
            self.fall(sim, number, false);
            if !self.seats[number].refused {
                self.later(now + SUPERVISOR, Due::Start { seat: number });
            }
        }
    }

    fn later(&mut self, at: Duration, due: Due) {
        self.numbers += 1;
        self.due.insert((at, self.numbers), due);
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Ends a seat's process; with `power`, what its disk had not synced is lost too.
    fn fall(&mut self, sim: &mut turmoil::Sim<'_>, number: usize, power: bool) {
        let state = &mut self.seats[number];
        state.seat.silence();
        state.seat.disk.set_latency(Op::Sync, self.sync);
        // The disk first: what a dropped task would still write must not reach it.
        match power || state.armed {
            true => state.seat.disk.crash(),
            false => state.seat.disk.kill(),
        }
        sim.crash(state.addr);
        (state.up, state.hurt, state.armed, state.paused) = (false, false, false, None);
        // The next process begins by running.
        state.seat.gate.open();
    }

    fn start(&mut self, sim: &mut turmoil::Sim<'_>, now: Duration, number: usize) {
        let state = &mut self.seats[number];
        if state.up || state.refused || state.away {
            return;
        }
        trace::note_at(now, format_args!("{} starts", state.seat.name()));
        let seat = &state.seat;
        // A damaged disk says what it likes.
        if !seat.damaged()
            && let Some(what) = promises::broken(&seat.disk, &seat.config.data_dir.join("wal"))
        {
            self.wrong.push(format!("{} starts on a broken promise: {what}", seat.name()));
        }
        (state.up, state.hurt) = (true, state.ill > 0);
        sim.bounce(state.addr);
    }

    fn carry_out(&mut self, sim: &mut turmoil::Sim<'_>, now: Duration, due: Due) {
        match due {
            Due::Fall { seats, down, power } => {
                for seat in seats {
                    if self.seats[seat].up {
                        trace::note_at(now, format_args!("{} falls", self.seats[seat].seat.name()));
                        self.fall(sim, seat, power);
                    }
                    self.later(now + down, Due::Start { seat });
                }
            }
            Due::Start { seat } => self.start(sim, now, seat),
            Due::Return => self.back(now),
            Due::Mend { fault } => self.links.remove(sim, fault),
            Due::Heal { seat } => {
                self.seats[seat].seat.disk.heal();
                self.cured(seat);
            }
            Due::Unfill { seat } => {
                self.seats[seat].seat.disk.set_capacity(u64::MAX);
                self.cured(seat);
            }
            Due::Quicken { seat } => self.seats[seat].seat.disk.set_latency(Op::Sync, self.sync),
            Due::Resume { seat, fault } => self.resume(now, seat, fault),
            Due::ProviderWell { region } => self.league.regions[region].provider.turn(Mood::Well),
            Due::ClockRight { seat } => self.seats[seat].seat.clock.heal(now),
            Due::FlapCut { seat, fault, left, every } => {
                self.flap(sim, now, seat, fault, left, every);
            }
        }
    }
}

impl State {
    fn known(&self) -> Known {
        Known {
            disk: self.hurt || self.ill > 0,
            damaged: self.seat.damaged(),
            spare: self.spare,
            rebuilding: self.rebuilding,
        }
    }

    fn new(seat: Arc<Seat>, addr: IpAddr, region: usize, spare: bool) -> Self {
        let (ill, hurt, armed, refused, paused) = (0, false, false, false, None);
        let (up, idle, rebuilding, away) = (!spare, spare, false, false);
        Self {
            seat,
            addr,
            region,
            up,
            ill,
            hurt,
            armed,
            refused,
            rebuilding,
            paused,
            idle,
            spare,
            away,
        }
    }
}

impl Director {
    fn resume(&mut self, now: Duration, seat: usize, fault: u64) {
        let state = &mut self.seats[seat];
        if state.paused.take_if(|paused| *paused == fault).is_some() {
            trace::note_at(now, format_args!("{} goes on", state.seat.name()));
            state.seat.gate.open();
        }
    }

    fn cured(&mut self, seat: usize) {
        let state = &mut self.seats[seat];
        state.ill = state.ill.saturating_sub(1);
    }
}

impl Due {
    fn starts(&self) -> Option<usize> {
        match self {
            Self::Start { seat } => Some(*seat),
            _ => None,
        }
    }
}
