//! A whole region is lost, until another one owns what was born in it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::{Director, Due};
use crate::links::Broken;
use crate::plan::Lost;
use crate::trace;

/// How long after the take-over it is back, and the cut that keeps it away, if one does.
pub(super) struct Away {
    after: Duration,
    cut: Option<u64>,
}

impl Director {
    pub(super) fn lose(&mut self, sim: &mut turmoil::Sim<'_>, how: Lost, after: Duration) -> bool {
        let cut = match how {
            Lost::Power => {
                for number in 0..self.seats.len() {
                    if self.seats[number].region != 0 {
                        continue;
                    }
                    self.seats[number].away = true;
                    if self.seats[number].up {
                        self.fall(sim, number, true);
                    }
                }
                None
            }
            Lost::CutOff => {
                let fault = self.number();
                let cut = self.cut_from_regions(0);
                self.links.add(sim, fault, Broken { cut, ..Broken::default() });
                Some(fault)
            }
        };
        self.away = Some(Away { after, cut });
        true
    }

    /// Between a region's nodes and those of others: clients reach all.
    pub(super) fn cut_from_regions(&self, region: usize) -> BTreeSet<(IpAddr, IpAddr)> {
        let mut cut = self.links.around(&self.region(region));
        let nodes: BTreeSet<IpAddr> = self.seats.iter().map(|state| state.addr).collect();
        cut.retain(|(a, b)| nodes.contains(a) && nodes.contains(b));
        cut
    }

    /// Its births are taken over: it comes back in its time.
    pub fn taken_over(&mut self, sim: &turmoil::Sim<'_>) {
        let Some(away) = self.away.take() else { return };
        let at = sim.elapsed() + away.after;
        match away.cut {
            Some(fault) => self.later(at, Due::Mend { fault }),
            None => self.later(at, Due::Return),
        }
    }

    pub(super) fn back(&mut self, now: Duration) {
        trace::note_at(now, format_args!("the lost region is back"));
        for number in 0..self.seats.len() {
            if !std::mem::take(&mut self.seats[number].away) {
                continue;
            }
            if !self.seats[number].refused && !self.seats[number].idle {
                self.later(now, Due::Start { seat: number });
            }
        }
    }
}
