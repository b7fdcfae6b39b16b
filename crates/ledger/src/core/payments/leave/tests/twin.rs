//! The same story with books that let go and books that keep all: equal outcomes, equal sums.

use super::super::super::{Open, PaymentBooks, Void, currency_of};
use super::*;
use crate::core::outcome::Outcome;

const STEPS: u64 = 4_000;

/// What a story has to have, counted.
#[derive(Default, Debug)]
struct Seen {
    left: u64,
    recalled: u64,
    out_of_closed: usize,
    looked: u64,
    refunded: u64,
}

struct Story {
    draws: u64,
    at: LogTime,
    plain: Payments,
    books: Payments,
    archive: Archive,
    keys: Vec<PaymentKey>,
    holds: Vec<(PaymentKey, TransferId)>,
    seen: Seen,
}

impl Story {
    fn new(seed: u64) -> Self {
        let archive = Archive::default();
        let (keys, holds, seen) = (vec![key(0, 0)], Vec::new(), Seen::default());
        let draws = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let (plain, books) = (books(0), books(EVICT_MS));
        Self { draws, at: LogTime(START), plain, books, archive, keys, holds, seen }
    }

    fn draw(&mut self, below: u64) -> u64 {
        let next = self.draws.wrapping_mul(6_364_136_223_846_793_005);
        self.draws = next.wrapping_add(1_442_695_040_888_963_407);
        (self.draws >> 33) % below
    }

    /// One of the newest payments mostly; now and then any, or one that never was.
    fn key(&mut self) -> PaymentKey {
        let (len, step) = (self.keys.len() as u64, self.at.ms() - START);
        match self.draw(8) {
            0 | 1 => {
                self.keys.push(key(step, len));
                key(step, len)
            }
            2 => {
                let n = self.draw(len);
                self.keys[n as usize]
            }
            3 => {
                let born = self.draw(step + 1);
                key(born, 1 << 40 | self.draw(1 << 20))
            }
            _ => {
                let back = self.draw(len.min(5)) + 1;
                self.keys[(len - back) as usize]
            }
        }
    }

    fn command(&mut self, n: u64) -> Command {
        let (payment, id, amount) = (self.key(), id(self.at, n), self.draw(60));
        let holds: Vec<_> = self.holds.iter().filter(|(of, _)| *of == payment).collect();
        let hold = holds.last().map_or(id.child(9), |(_, hold)| *hold);
        match self.draw(10) {
            0..4 => {
                self.holds.push((payment, id));
                authorize(self.at, payment, n, amount)
            }
            4 | 5 => {
                let (part, remainder) = (Some(amount / 2), Some(id.child(5)));
                self.holds.push((payment, id.child(5)));
                Command::Capture(Capture { id, hold, payment, amount: part, remainder })
            }
            6 => Command::Capture(Capture { id, hold, payment, amount: None, remainder: None }),
            7 => Command::Void(Void { id, hold, payment }),
            // As a take-over does: first of all.
            8 if self.plain.payment(&payment).is_none() => {
                let (order, currency) = (order(payment.0 as u64), Currency::GBP);
                let (authorized, captured, refunded, ended) = (90, 20 + amount, amount / 2, 1);
                Command::Open(Open {
                    id,
                    payment,
                    order,
                    currency,
                    authorized,
                    captured,
                    refunded,
                    ended,
                })
            }
            _ => Command::Refund(Refund { id, payment, amount: amount / 4 }),
        }
    }

    /// As the service will: what may have left is looked for, and put in front.
    fn serve(&mut self, command: &Command) -> Outcome {
        let outcome = self.books.apply(self.at, command);
        if outcome.code != C::Shelved {
            return outcome;
        }
        let payment = command.payment().unwrap();
        let front = match self.archive.recalled(payment) {
            Some(recalled) => {
                self.seen.recalled += 1;
                recall(&recalled)
            }
            None => {
                self.seen.looked += 1;
                Command::Looked(Looked { payment, at: self.at })
            }
        };
        assert_eq!(run(&mut self.books, &front), C::Applied);
        let outcome = self.books.apply(self.at, command);
        self.books.forget_looked();
        self.archive.take_in(&mut self.books);
        outcome
    }

    fn step(&mut self, n: u64) {
        self.at = self.at.plus_ms(self.draw(30));
        self.plain.advance(self.at);
        self.books.advance(self.at);
        self.books.leave(self.at, |_| false);
        self.archive.take_in(&mut self.books);
        let command = self.command(n);
        let expected = self.plain.apply(self.at, &command);
        assert_eq!(self.serve(&command), expected, "{n}: {command:?}");
        self.seen.refunded +=
            u64::from(expected.is_success() && matches!(command, Command::Refund(_)));
    }

    /// The books of a payment, here or on the shelf.
    fn found(&self, key: &PaymentKey) -> Option<PaymentBooks> {
        self.books.payment(key).or_else(|| {
            let ShelvedPayment { payment, account, .. } = self.archive.shelved(*key)?;
            Some(PaymentBooks {
                order: payment.order,
                currency: currency_of(payment.unit)?,
                authorized: payment.authorized,
                held: account.credits_pending,
                captured: account.credits_posted,
                refunded: account.debits_posted,
            })
        })
    }

    fn agree(&mut self) {
        assert_eq!(invariants::of_payments(&self.books), []);
        let unit = unit_of(Currency::GBP);
        for house in [House::Clearing, House::Refunds, House::Opening] {
            let [plain, books] = [&self.plain, &self.books]
                .map(|of| of.kernel().books().account(&house.account(unit)));
            assert_eq!(books, plain, "{house:?}");
        }
        let mut on_shelf = (0, 0);
        for (key, _) in self.plain.payments() {
            assert_eq!(self.found(key), self.plain.payment(key));
            if self.books.payment(key).is_none() {
                let account = self.archive.shelved(*key).unwrap().account;
                on_shelf.0 += account.credits_posted;
                on_shelf.1 += account.debits_posted;
            }
        }
        assert_eq!(closed(&self.books, unit), on_shelf);
        let here = self.books.payments().count() as u64;
        assert_eq!(here + self.books.shelf().len(), self.plain.payments().count() as u64);
        self.books = thawed(&self.books);
    }
}

#[test]
fn it_is_the_same_to_callers_whether_payments_leave() {
    for seed in 1..=6 {
        let mut story = Story::new(seed);
        for n in 0..STEPS {
            story.step(n);
            if n % 400 == 399 {
                story.agree();
            }
        }
        story.seen.left = story.books.shelf().next();
        story.seen.out_of_closed = story.archive.spent.len();
        let Seen { left, recalled, out_of_closed, looked, refunded } = story.seen;
        let enough = left > 2 * CHUNK && recalled > 100 && out_of_closed > 50;
        assert!(enough && looked > 50 && refunded > 50, "{:?}", story.seen);
    }
}
