//! Each class of fault, done.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use hansa_wal::fs::{Op, Rule, SimFs};

use super::{Director, Due};
use crate::links::Broken;
use crate::plan::{Change, DiskOp, Fault, Kept, Who};
use crate::trace;
use crate::world::SEATS;

/// A power cut that was armed strikes at the latest after this long: an idle disk changes nothing.
const ARMED_MAX: Duration = Duration::from_millis(400);
/// Syncs of a disk whose power is about to go: more than one record waits for each, so that what a
/// crash tears is not always whole or gone.
const LAST_SYNCS: Duration = Duration::from_millis(30);
/// A machine that is replaced by force is back after this long, and finds its place taken.
const LOST_FOR: Duration = Duration::from_secs(9);

impl Director {
    pub(super) fn strike(&mut self, sim: &mut turmoil::Sim<'_>, now: Duration, fault: Fault) {
        trace::note_at(now, format_args!("{fault:?}"));
        let class = fault.class();
        let struck = match fault {
            Fault::Kill { who, down } => self.bring_down(now, &[who], 0, down, false),
            Fault::PowerCut { who, ops, down } => self.bring_down(now, &[who], ops, down, true),
            Fault::Blackout { region, ops, down } => {
                let all: Vec<Who> = (0..3).map(|node| Who::Node { region, node }).collect();
                self.bring_down(now, &all, ops, down, true)
            }
            Fault::Restart { who } => self.with_up(who, |state| state.seat.stop.notify_one()),
            Fault::DiskError { who, op, after, times, span } => {
                self.disk_error(now, who, op, Rule { after, times, ..Rule::once(Op::Write) }, span)
            }
            Fault::Full { who, room, span } => self.full(now, who, room, span),
            Fault::SlowSync { who, each, span } => self.slow(now, who, each, span),
            Fault::Flip { who, kept, at, down } => self.flip(sim, now, who, kept, at, down),
            Fault::Jump { who, by_ms, span } => self.clock(now, who, span, |clock| {
                clock.jump(now, by_ms);
            }),
            Fault::Drift { who, monotonic, wall, span } => self.clock(now, who, span, |clock| {
                clock.drift(now, monotonic, wall);
            }),
            Fault::Pause { who, span } => self.pause(now, who, span),
            Fault::Provider { region, mood, span } => {
                self.league.regions[region].provider.turn(mood);
                self.later(now + span, Due::ProviderWell { region });
                true
            }
            Fault::Members { change } => {
                self.changes.push(change);
                match change {
                    Change::ReplaceLost { node } => {
                        self.bring_down(now, &[Who::Node { region: 0, node }], 0, LOST_FOR, true)
                    }
                    _ => true,
                }
            }
            Fault::Errand { region, errand } => {
                self.errands.push((region, errand));
                true
            }
            Fault::Births { step } => {
                self.births.push(step);
                true
            }
            Fault::Customer { wish } => {
                self.wishes.push(wish);
                true
            }
            Fault::Lose { how, after } => self.lose(sim, how, after),
            network => self.strike_net(sim, now, network),
        };
        if struck {
            trace::count(class, 1);
        }
    }

    fn strike_net(&mut self, sim: &mut turmoil::Sim<'_>, now: Duration, fault: Fault) -> bool {
        match fault {
            Fault::Isolate { who, span } => {
                let Some(seat) = self.find(who) else { return false };
                self.watch.isolated(seat, now + span);
                let around = self.links.around(&[self.seats[seat].addr]);
                self.cut(sim, now + span, around)
            }
            Fault::Secede { who, span } => {
                let Some(seat) = self.find(who) else { return false };
                self.watch.isolated(seat, now + span);
                let peers = self.region(self.seats[seat].region);
                let mut cut = self.links.around(&[self.seats[seat].addr]);
                cut.retain(|(a, b)| peers.contains(a) && peers.contains(b));
                self.cut(sim, now + span, cut)
            }
            Fault::OneWay { who, deaf, span } => {
                let Some(seat) = self.find(who) else { return false };
                let addr = self.seats[seat].addr;
                let mut cut = self.links.around(&[addr]);
                cut.retain(|(from, to)| if deaf { *to == addr } else { *from == addr });
                self.cut(sim, now + span, cut)
            }
            Fault::Bridge { who, span } => {
                let Some(seat) = self.find(who) else { return false };
                let (bridge, region) = (self.seats[seat].addr, self.seats[seat].region);
                let ends = self.region(region).into_iter().filter(|addr| *addr != bridge);
                let ends: Vec<IpAddr> = ends.collect();
                let pairs = ends.iter().flat_map(|a| ends.iter().map(move |b| (*a, *b)));
                let cut = pairs.filter(|(a, b)| a != b).collect();
                self.cut(sim, now + span, cut)
            }
            Fault::Flap { who, every, times } => {
                let Some(seat) = self.find(who) else { return false };
                let fault = self.number();
                self.flap(sim, now, seat, fault, times * 2, every);
                true
            }
            Fault::Hold { who, span } => {
                let Some(seat) = self.find(who) else { return false };
                let held = self.links.around(&[self.seats[seat].addr]);
                self.break_links(sim, now + span, Broken { held, ..Broken::default() })
            }
            Fault::Split { region, span } => {
                let cut = self.cut_from_regions(region);
                !cut.is_empty() && self.cut(sim, now + span, cut)
            }
            Fault::ClientsCut { who, span } => {
                let Some(seat) = self.find(who) else { return false };
                let nodes: BTreeSet<IpAddr> = self.seats.iter().map(|state| state.addr).collect();
                let mut cut = self.links.around(&[self.seats[seat].addr]);
                cut.retain(|(a, b)| !(nodes.contains(a) && nodes.contains(b)));
                self.cut(sim, now + span, cut)
            }
            _ => false,
        }
    }

    pub(super) fn flap(
        &mut self,
        sim: &mut turmoil::Sim<'_>,
        now: Duration,
        seat: usize,
        fault: u64,
        left: u32,
        every: Duration,
    ) {
        let Some(left) = left.checked_sub(1) else { return };
        match left % 2 {
            1 => {
                let cut = self.links.around(&[self.seats[seat].addr]);
                self.links.add(sim, fault, Broken { cut, ..Broken::default() });
            }
            _ => self.links.remove(sim, fault),
        }
        self.later(now + every, Due::FlapCut { seat, fault, left, every });
    }

    fn cut(
        &mut self,
        sim: &mut turmoil::Sim<'_>,
        until: Duration,
        cut: BTreeSet<(IpAddr, IpAddr)>,
    ) -> bool {
        self.break_links(sim, until, Broken { cut, ..Broken::default() })
    }

    fn break_links(&mut self, sim: &mut turmoil::Sim<'_>, until: Duration, broken: Broken) -> bool {
        let fault = self.number();
        self.links.add(sim, fault, broken);
        self.later(until, Due::Mend { fault });
        true
    }

    fn bring_down(
        &mut self,
        now: Duration,
        whom: &[Who],
        ops: u64,
        down: Duration,
        power: bool,
    ) -> bool {
        let found = whom.iter().filter_map(|who| self.find(*who));
        let seats: Vec<usize> = found.filter(|seat| self.seats[*seat].up).collect();
        if seats.is_empty() {
            return false;
        }
        if power && ops > 0 {
            // The last changes before the end, one by one: where a crash is worst.
            for seat in &seats {
                let disk = &self.seats[*seat].seat.disk;
                disk.set_latency(Op::Sync, LAST_SYNCS);
                disk.cut_power_after(ops);
                self.seats[*seat].armed = true;
            }
            self.later(now + ARMED_MAX, Due::Fall { seats, down, power });
            return true;
        }
        self.later(now, Due::Fall { seats, down, power });
        true
    }

    fn disk_error(
        &mut self,
        now: Duration,
        who: Who,
        op: DiskOp,
        rule: Rule,
        span: Duration,
    ) -> bool {
        let Some(seat) = self.find(who).filter(|seat| self.seats[*seat].up) else { return false };
        let op = match op {
            DiskOp::Write => Op::Write,
            DiskOp::Sync => Op::Sync,
            DiskOp::Read => Op::Read,
        };
        self.hurt(seat);
        self.seats[seat].seat.disk.inject(Rule { op, ..rule });
        self.later(now + span, Due::Heal { seat });
        true
    }

    fn hurt(&mut self, seat: usize) {
        let state = &mut self.seats[seat];
        (state.hurt, state.ill) = (true, state.ill + 1);
    }

    fn full(&mut self, now: Duration, who: Who, room: u64, span: Duration) -> bool {
        let Some(seat) = self.find(who) else { return false };
        self.hurt(seat);
        let state = &self.seats[seat];
        state.seat.disk.set_capacity(state.seat.disk.used() + room);
        self.later(now + span, Due::Unfill { seat });
        true
    }

    fn slow(&mut self, now: Duration, who: Who, each: Duration, span: Duration) -> bool {
        let Some(seat) = self.find(who) else { return false };
        self.seats[seat].seat.disk.set_latency(Op::Sync, each);
        self.later(now + span, Due::Quicken { seat });
        true
    }

    fn pause(&mut self, now: Duration, who: Who, span: Duration) -> bool {
        let Some(seat) = self.find(who).filter(|seat| self.seats[*seat].up) else { return false };
        if self.seats[seat].paused.is_some() {
            return false;
        }
        self.watch.paused(seat, now + span);
        let fault = self.number();
        self.seats[seat].paused = Some(fault);
        self.seats[seat].seat.gate.shut();
        self.later(now + span, Due::Resume { seat, fault });
        true
    }

    fn clock(
        &mut self,
        now: Duration,
        who: Who,
        span: Duration,
        turn: impl FnOnce(&crate::clock::HostClock),
    ) -> bool {
        let Some(seat) = self.find(who) else { return false };
        turn(&self.seats[seat].seat.clock);
        self.later(now + span, Due::ClockRight { seat });
        true
    }

    /// Takes the machine down, turns one bit on its disk, and lets it start.
    fn flip(
        &mut self,
        sim: &mut turmoil::Sim<'_>,
        now: Duration,
        who: Who,
        kept: Kept,
        at: u64,
        down: Duration,
    ) -> bool {
        let Some(seat) = self.find(who).filter(|seat| self.seats[*seat].up) else { return false };
        if self.watch.voters_min(self.seats[seat].region, &self.seats) < SEATS {
            trace::note_at(now, format_args!("no disk to spare: a group has too few voters"));
            return false;
        }
        self.fall(sim, seat, false);
        self.later(now + down, Due::Start { seat });
        let disk = &self.seats[seat].seat.disk;
        if kept == Kept::Volume {
            let lost = disk.files().iter().all(|file| disk.lose(file).is_ok());
            trace::note_at(now, format_args!("{} lost its volume", self.seats[seat].seat.name()));
            self.seats[seat].seat.damage();
            self.lost.add(seat);
            return lost;
        }
        let Some((file, offset)) = place(disk, kept, at) else { return false };
        let flipped = disk.flip(&file, offset, 1 << (at % 8)).is_ok();
        trace::note_at(now, format_args!("bit flipped in {} at {offset}", file.display()));
        if flipped {
            self.seats[seat].seat.damage();
        }
        flipped
    }

    fn with_up(&mut self, who: Who, act: impl FnOnce(&mut super::State)) -> bool {
        let Some(seat) = self.find(who).filter(|seat| self.seats[*seat].up) else { return false };
        act(&mut self.seats[seat]);
        true
    }

    pub(super) fn region(&self, region: usize) -> Vec<IpAddr> {
        let here = self.seats.iter().filter(|state| state.region == region);
        here.map(|state| state.addr).collect()
    }

    /// The seat that is meant; `None` while nobody leads.
    pub(super) fn find(&self, who: Who) -> Option<usize> {
        let here = |region| {
            let of = move |n: &usize| self.seats[*n].region == region && !self.seats[*n].spare;
            (0..self.seats.len()).filter(of)
        };
        match who {
            Who::Node { region, node } => here(region).nth(node),
            Who::Leader { region, group } => self.watch.leader(&self.league, region, group),
            Who::Follower { region, group, nth } => {
                let leader = self.watch.leader(&self.league, region, group)?;
                here(region).filter(|seat| *seat != leader).nth(nth)
            }
        }
    }
}

/// A file of that kind and a byte in its used part.
fn place(disk: &SimFs, kept: Kept, at: u64) -> Option<(PathBuf, u64)> {
    let is = |path: &PathBuf| {
        let text = path.to_string_lossy();
        match kept {
            Kept::Log => text.contains("/wal/") && !text.ends_with("lock"),
            Kept::Checkpoint => text.ends_with(".ckpt"),
            Kept::Archive => text.ends_with(".redb"),
            Kept::Volume => false,
        }
    };
    let files: Vec<PathBuf> = disk.files().into_iter().filter(is).collect();
    let file = files.get((at >> 32) as usize % files.len().max(1))?.clone();
    let bytes = disk.bytes(&file).ok()?;
    let used = bytes.iter().rposition(|byte| *byte != 0)? as u64 + 1;
    let within = match kept {
        // Rot in the log's last batch cannot be told from a torn write: the limit that is stated.
        Kept::Log => (used * 3 / 4).max(1),
        Kept::Checkpoint | Kept::Archive | Kept::Volume => used,
    };
    Some((file, (at >> 8) % within))
}
