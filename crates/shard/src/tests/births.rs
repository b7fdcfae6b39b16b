//! Births that go and come back while orders are under way: orders and near books agree at every
//! entry ([`Together`] looks), whatever is left to lanes, runs out meanwhile, or is asked for anew.

use hansa_orders::core::command::Command;
use hansa_orders::core::takeover::{Candidate, Phase, Step, TakeOver};
use hansa_types::id::{GroupKind, TransferId};
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;

use super::joint;
use super::shelved::Leaving;
use super::story::Story;
use super::two_ways::{Together, Way, ask, carry, receive};

/// How often what happened that this is about.
#[derive(Default, Debug)]
struct Seen {
    /// Steps that waited because births were drained, at each look.
    left: usize,
    /// Orders that went on here after they had gone, and how many of those were confirmed later.
    again: usize,
    confirmed: usize,
}

struct Births<W> {
    way: W,
    draws: Story,
    at: LogTime,
    drains: u64,
    placed: u64,
    asked: u128,
}

fn region(number: u16) -> RegionNumber {
    number.try_into().unwrap()
}

impl<W: Way> Births<W> {
    fn step(&mut self, step: Step) {
        self.way.command(self.at, &Command::Takeover(step).encode());
    }

    fn phase(&self) -> (u64, Phase) {
        let row = self.way.state().births.get(region(1));
        row.map_or((1, Phase::Owned), |row| (row.epoch, row.phase))
    }

    /// What callers ask for, in the epoch in which the births are owned.
    fn call(&mut self, epoch: u64) {
        let mut command = ask(&mut self.draws, &mut self.placed, &mut self.asked);
        if let Command::Accept(accept) = &mut command {
            accept.epoch = epoch;
        }
        self.way.command(self.at, &command.encode());
    }

    /// What the directory says next, and what the group makes of it.
    fn follow(&mut self) {
        let (birth, (epoch, phase)) = (region(1), self.phase());
        let luck = self.draws.draw(6);
        match phase {
            Phase::Owned if luck == 0 => {
                self.drains += 1;
                self.step(Step::Drain { birth, to: region(2), epoch, drain: self.drains });
            }
            Phase::Draining { drain, .. } | Phase::Drained { drain, .. } if luck == 0 => {
                self.step(Step::Undrain { birth, epoch, seen: drain });
            }
            Phase::Draining { .. } => self.step(Step::Drained { birth, epoch }),
            Phase::Drained { .. } if luck < 4 => {
                let (owner, epoch, loss, handed) = (region(2), epoch + 1, None, true);
                self.step(Step::Elsewhere { birth, owner, epoch, loss, handed });
            }
            Phase::Elsewhere { .. } if luck < 2 => {
                self.step(Step::TakeOver(Box::new(TakeOver {
                    birth,
                    epoch: epoch + 1,
                    from: region(2),
                    record: 7,
                    record_ms: self.at.ms(),
                    skew_ms: 0,
                    complete: true,
                    unheard: false,
                    heard: Vec::new(),
                })));
            }
            Phase::Adopting => {
                let ready = self.way.state().ready(birth, 2).into_iter();
                let orders: Vec<_> = ready.map(|order| Candidate::Again { order }).collect();
                match orders.is_empty() {
                    true => self.step(Step::Settled { birth, epoch }),
                    false => self.step(Step::Adopt { birth, epoch, orders }),
                }
            }
            _ => {}
        }
    }

    /// Steps that do not begin while the births are drained, near as their books may be.
    fn left(&self) -> usize {
        let state = self.way.state();
        let draining = matches!(self.phase().1, Phase::Draining { .. });
        let steps = state.orders.iter().filter(|_| draining).map(|(_, order)| order.work.len());
        steps.sum::<usize>().saturating_sub(state.due(0, 1_000).len())
    }
}

fn story<W: Way>(way: W, seed: u64, seen: &mut Seen) -> W {
    let draws = Story::new(seed);
    let (at, drains, placed, asked) = (draws.at, 0, 0, 0);
    let mut births = Births { way, draws, at, drains, placed, asked };
    for n in 0..300_u32 {
        births.at = births.draws.pass();
        births.way.advance(births.at);
        let sku = ["A", "B", "C"][births.draws.draw(3) as usize];
        let id = TransferId::derive(births.at, &[&n.to_le_bytes()]);
        let batch = receive(id, sku, births.draws.draw(8));
        births.way.books(births.at, GroupKind::Inventory, &batch);
        if let (epoch, Phase::Owned | Phase::Adopting) = births.phase() {
            births.call(epoch);
        }
        births.follow();
        let speaks = births.draws.draw(3) == 0;
        if births.draws.draw(4) > 0 {
            carry(&mut births.way, births.at, speaks);
        }
        seen.left += births.left();
    }
    for (_, order) in births.way.state().orders.iter().filter(|(_, order)| order.came()) {
        seen.again += 1;
        seen.confirmed += usize::from(order.settled);
    }
    births.way
}

#[test]
fn orders_and_near_books_agree_while_births_go_and_come_back() {
    let mut seen = Seen::default();
    for seed in 1..=8 {
        story(Together { shard: joint(), entries: 0 }, seed, &mut seen);
    }
    assert!(seen.left > 20 && seen.again > 50 && seen.confirmed > 25, "{seen:?}");
}

/// What has left in between comes back when it is asked for, and goes on as the others do.
#[test]
fn orders_that_left_go_on_once_their_births_have_come_back() {
    let (mut seen, mut left, mut recalled, mut again) = (Seen::default(), 0, 0, 0);
    for seed in 1..=8 {
        let way = story(Leaving::new(1_000), seed, &mut seen);
        left += way.state().shelf.records.len();
        recalled += way.recalled;
        again += way.again;
    }
    assert!(left > 20 && recalled > 100 && again > 20, "{left} left, {recalled} recalled, {again}");
}
