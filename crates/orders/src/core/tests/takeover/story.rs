//! Random stories: A works and ships now and then, is lost at some moment, and B goes on.

use std::collections::BTreeMap;

use hansa_types::id::Sku;
use hansa_types::time::LogTime;

use super::super::world::{Charge, Rng, World};
use super::*;

struct Story {
    a: State,
    b: State,
    world: World,
    rng: Rng,
    now: LogTime,
    orders: u64,
    keys: u128,
    /// Each order as it was when it was last shipped.
    shipped: BTreeMap<OrderId, (Order, Contents)>,
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut a = State::new(settings());
        a.advance(START);
        let (world, rng) = (World::default(), Rng(seed));
        let (now, orders, keys) = (START, 0, 1 << 64);
        Self { a, b: group_of(2), world, rng, now, orders, keys, shipped: BTreeMap::new() }
    }

    fn apply(&mut self, command: Command) {
        self.a.advance(self.now);
        apply(&mut self.a, command);
    }

    fn step(&mut self) {
        match self.rng.below(10) {
            0 => {
                self.orders += 1;
                let contents = match self.rng.below(3) {
                    0 => with_lines(vec![line("A", 1, 0, Some(0))]),
                    _ => contents(),
                };
                self.apply(accept(self.orders, contents));
            }
            1 => self.now = self.now.plus_ms(self.rng.below(20_000)),
            2 => self.call(),
            3 => self.ship(),
            _ => self.work(),
        }
    }

    fn work(&mut self) {
        let due = self.a.due(0, 16);
        if due.is_empty() {
            return;
        }
        let call = due[self.rng.below(due.len() as u64) as usize].clone();
        let settle_ms = settings().settle_ms;
        let result = self.world.perform(self.now, call.order, &call.todo, settle_ms, &mut self.rng);
        // Done, and nobody heard of it.
        if self.rng.one_in(4) {
            return;
        }
        let report = Report { order: call.order, no: call.no, result };
        self.apply(Command::Report(vec![report]));
    }

    fn call(&mut self) {
        if self.orders == 0 {
            return;
        }
        let order = order_id(1 + self.rng.below(self.orders));
        self.keys += 1;
        let key = key(self.keys);
        let command = match self.rng.below(4) {
            0 => Command::Cancel { order, key, reason: String::new() },
            1 => Command::Ship { order, key, lines: vec![(0, 1)], note: Note::default() },
            2 => Command::Return { order, key, lines: vec![(0, 1)], note: Note::default() },
            _ => Command::Refund { order, key, amount_minor: 50, note: Note::default() },
        };
        self.apply(command);
    }

    fn ship(&mut self) {
        let after = self.b.remote.cursors.get(&origin(1)).map_or(0, |cursor| cursor.applied);
        for (_, id) in self.a.changed_after(after) {
            let of = (of(&self.a, id).clone(), self.a.contents.get(&id).unwrap().clone());
            self.shipped.insert(id, of);
        }
        ship(&self.a, &mut self.b, origin(1));
    }

    /// A is gone. B takes over, and crashes as it likes.
    fn lose(&mut self) {
        // Two regions have one ledger here: ids of steps are told apart by their time.
        self.now = self.now.plus_ms(1);
        self.b.advance(self.now);
        self.world.lost = true;
        step(&mut self.b, take_over(1, 1, 2));
        loop {
            let waiting = self.b.waiting(region(1), 1 + self.rng.below(3) as usize);
            if waiting.is_empty() {
                break;
            }
            let orders = waiting.iter().map(|id| self.candidate(*id)).collect();
            let adopt = Step::Adopt { birth: region(1), epoch: 2, orders };
            for _ in 0..=self.rng.below(2) {
                step(&mut self.b, adopt.clone());
            }
            if self.rng.one_in(3) {
                self.b = thawed(&self.b);
            }
            // Steps run while others wait.
            self.run_b(self.rng.0 % 5);
            holds(&self.b);
        }
        step(&mut self.b, Step::Settled { birth: region(1), epoch: 2 });
    }

    fn candidate(&self, id: OrderId) -> Candidate {
        let (order, contents) = &self.shipped[&id];
        let mut contents = contents.clone();
        let home = region(2);
        let subject = SubjectId { home, hash: contents.sealed_with.subject.hash };
        contents.sealed_with = KeyOf { subject, generation: 1 };
        let mint = self.b.subjects.table.get(&subject).is_none().then(|| wrapped(FIRST, 1));
        let facts = facts_of(order, &contents);
        let version = self.b.remote.copies.get(&id).unwrap().version;
        assert_eq!(version, order.version);
        Candidate::Take(Box::new(Adopted {
            order: id,
            looked: false,
            version,
            contents,
            mint,
            facts,
        }))
    }

    fn run_b(&mut self, max: u64) {
        for _ in 0..max {
            let Some(call) = self.b.due(0, 1).pop() else { return };
            let settle_ms = settings().settle_ms;
            let result =
                self.world.perform(self.now, call.order, &call.todo, settle_ms, &mut self.rng);
            let report = Report { order: call.order, no: call.no, result };
            apply(&mut self.b, Command::Report(vec![report]));
        }
    }

    /// Customers go on at B, with what A shipped and with what B ships.
    fn go_on(&mut self) {
        for _ in 0..60 {
            let order = order_id(1 + self.rng.below(self.orders.max(1)));
            self.keys += 1;
            let (key, note) = (key(self.keys), Note::default());
            let command = match self.rng.below(4) {
                0 => Command::Ship { order, key, lines: vec![(0, 1)], note },
                1 | 2 => Command::Return { order, key, lines: vec![(0, 1)], note },
                _ => Command::Refund { order, key, amount_minor: 50, note },
            };
            apply(&mut self.b, Command::Dated { first_sent_ms: u64::MAX, command: command.into() });
            self.run_b(self.rng.0 % 6);
            if self.rng.one_in(8) {
                self.b = thawed(&self.b);
            }
        }
        holds(&self.b);
    }

    /// What customers have of B's own goods, as its orders say.
    fn with_customers(&self) -> BTreeMap<Sku, i64> {
        let mut units: BTreeMap<Sku, i64> = BTreeMap::new();
        for (id, order) in self.b.orders.iter() {
            let lines = &self.b.contents.get(id).unwrap().lines;
            let moved = |list: &[crate::core::order::Movement], place| {
                let booked = list.iter().filter(|of| of.booked == Some(region(2)));
                let done = booked.filter(|of| of.state == Done::Done);
                done.map(|of| i64::from(of.own_units(place))).sum::<i64>()
            };
            for (place, line) in lines.iter().enumerate() {
                let Some(sku) = &line.sku else { continue };
                let place = place as u16;
                let left = moved(&order.shipments, place) - moved(&order.returns, place);
                *units.entry(sku.clone()).or_default() += left;
            }
        }
        units.retain(|_, left| *left != 0);
        units
    }

    fn heal(&mut self) {
        for _ in 0..5_000 {
            let due = self.b.due(0, 1_000);
            if due.is_empty() && self.b.next_due().is_none() {
                return;
            }
            for call in due {
                let settle_ms = settings().settle_ms;
                let result =
                    self.world.perform(self.now, call.order, &call.todo, settle_ms, &mut self.rng);
                let report = Report { order: call.order, no: call.no, result };
                apply(&mut self.b, Command::Report(vec![report]));
            }
            self.now = self.now.plus_ms(1_000);
            if let Some(due) = self.b.next_due().filter(|_| self.b.due(0, 1).is_empty()) {
                self.now = self.now.max(due);
            }
            self.b.advance(self.now);
        }
        panic!("work left: {:?}", self.b.due(0, 3));
    }

    fn check(&self) {
        let mut books = self.world.customers.clone();
        books.retain(|_, left| *left != 0);
        assert_eq!(self.with_customers(), books, "what customers have of B's goods");
        for (id, order) in self.b.orders.iter() {
            if order.parked.is_some() {
                continue;
            }
            assert!(order.closed(), "{id}: {order:?}");
            let captured = self.world.captured.get(id).copied().unwrap_or(0);
            let refunded: i64 = self.world.refunds.get(id).map_or(0, |paid| paid.values().sum());
            assert_eq!(order.money.captured_minor, captured, "{id}: {order:?}");
            // What A gave back and never told of may come on top, never more than was captured.
            assert!(order.money.refunded_minor <= refunded && refunded <= captured, "{id}");
            if order.goal != Goal::Confirm {
                let charge = self.world.charges.get(id);
                let clear = !matches!(charge, Some(Charge::Authorized { .. }));
                assert!(clear, "a live charge of {id}: {charge:?} {order:?}");
                assert_eq!(captured, refunded, "kept money of {id}");
            }
        }
    }
}

#[test]
fn whatever_a_had_reached_b_brings_it_to_an_end_and_money_agrees() {
    let only = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = only.map_or(0..80, |seed: u64| seed..seed + 1);
    let (mut ends, mut elsewhere) = (BTreeMap::<OrderStatus, u32>::new(), 0);
    for seed in seeds {
        let told = std::panic::catch_unwind(|| {
            let mut story = Story::new(seed);
            for _ in 0..150 {
                story.step();
            }
            holds(&story.a);
            story.lose();
            holds(&story.b);
            story.go_on();
            story.heal();
            holds(&story.b);
            story.check();
            let faces = story.b.orders.iter().map(|(id, _)| status(&story.b, *id));
            (faces.collect::<Vec<_>>(), story.world.elsewhere)
        });
        match told {
            Ok((found, came)) => {
                found.into_iter().for_each(|end| *ends.entry(end).or_default() += 1);
                elsewhere += came;
            }
            Err(why) => {
                eprintln!("repeat with SEED={seed}");
                std::panic::resume_unwind(why);
            }
        }
    }
    if only.is_none() {
        assert!(elsewhere > 20, "{elsewhere} units came back that A had shipped");
        for want in [OrderStatus::Confirmed, OrderStatus::Rejected, OrderStatus::Cancelled] {
            assert!(ends.get(&want).is_some_and(|n| *n > 20), "{ends:?}");
        }
    }
}
