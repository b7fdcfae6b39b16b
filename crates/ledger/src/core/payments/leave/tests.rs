//! Payments that leave and come back, beside books that keep theirs.

mod twin;

use std::collections::{BTreeMap, BTreeSet};

use hansa_pages::shelf::CHUNK;
use hansa_types::id::TransferId;
use hansa_types::money::Currency;
use hansa_types::region::{RegionNumber, Slot};

use super::super::{Authorize, Capture, Command, Refund, Settings};
use super::*;
use crate::core::invariants;
use crate::core::kernel::Unit;
use crate::core::outcome::OutcomeCode as C;
use crate::core::payments::unit_of;

const START: u64 = 1_000_000;
const EVICT_MS: u64 = 300;

fn books(evict_after_ms: u64) -> Payments {
    Payments::new(Settings { id_window_ms: 50_000, evict_after_ms })
}

/// As the machine does for an entry.
fn pass(books: &mut Payments, at: u64) {
    books.advance(LogTime(START + at));
    books.leave(books.now(), |_| false);
}

fn id(at: LogTime, n: u64) -> TransferId {
    TransferId::derive(at, &[&n.to_le_bytes()])
}

/// Payment `n`, born so many milliseconds after the start.
fn key(born: u64, n: u64) -> PaymentKey {
    PaymentKey(u128::from(START + born) << 80 | u128::from(n))
}

fn order(n: u64) -> OrderId {
    OrderId::new(LogTime(1), RegionNumber::try_from(1).unwrap(), Slot::of(b"x"), n)
}

fn authorize(at: LogTime, payment: PaymentKey, n: u64, amount: u64) -> Command {
    let (id, order, currency) = (id(at, n), order(payment.0 as u64), Currency::GBP);
    Command::Authorize(Authorize { id, payment, order, amount, currency, timeout_ms: 1_000 })
}

fn run(books: &mut Payments, command: &Command) -> C {
    books.apply(books.now(), command).code
}

/// A payment of 100, held and captured now.
fn charge(books: &mut Payments, payment: PaymentKey) {
    let at = books.now();
    let n = payment.0 as u64;
    let hold = id(at, 3 * n);
    assert_eq!(run(books, &authorize(at, payment, 3 * n, 100)), C::Applied);
    let id = id(at, 3 * n + 1);
    let capture = Capture { id, hold, payment, amount: None, remainder: None };
    assert_eq!(run(books, &Command::Capture(capture)), C::Applied);
}

fn refund(books: &Payments, payment: PaymentKey, n: u64) -> Command {
    Command::Refund(Refund { id: id(books.now(), n), payment, amount: 30 })
}

/// Books with so many payments that have left.
fn left(payments: u64) -> (Payments, Archive) {
    let mut books = books(EVICT_MS);
    pass(&mut books, 0);
    (0..payments).for_each(|n| charge(&mut books, key(0, n)));
    for _ in 0..=payments / LEAVE_MAX as u64 {
        pass(&mut books, EVICT_MS);
    }
    assert_eq!((books.payments().count(), books.shelf().len()), (0, payments));
    let mut archive = Archive::default();
    archive.take_in(&mut books);
    (books, archive)
}

/// What a group's archive has.
#[derive(Default)]
struct Archive {
    payments: BTreeMap<PaymentKey, Vec<u8>>,
    chunks: BTreeMap<u64, Chunk>,
    spent: BTreeSet<u64>,
}

impl Archive {
    fn take_in(&mut self, books: &mut Payments) {
        for gone in books.take_gone() {
            match gone {
                Gone::Payment { place, record } => {
                    let shelved = ShelvedPayment::decode(&record).unwrap();
                    assert_eq!(place, shelved.place());
                    self.payments.insert(shelved.key, record);
                }
                Gone::Chunk(chunk) => assert!(self.chunks.insert(chunk.number, chunk).is_none()),
                Gone::Spent(number) => assert!(self.spent.insert(number)),
            }
        }
    }

    fn shelved(&self, key: PaymentKey) -> Option<ShelvedPayment> {
        ShelvedPayment::decode(self.payments.get(&key)?)
    }

    /// The newest record of a payment, with its proof as of now.
    fn recalled(&self, key: PaymentKey) -> Option<Recalled> {
        let record = self.payments.get(&key)?.clone();
        let number = self.shelved(key)?.number;
        let proof = match self.chunks.get(&(number / CHUNK)) {
            None => Proof::open(number),
            Some(chunk) => {
                let mut tree = chunk.tree();
                self.spent.range(chunk.numbers()).for_each(|number| tree.spend(*number));
                tree.proof(number)?
            }
        };
        Some(Recalled { record, proof })
    }
}

fn recall(recalled: &Recalled) -> Command {
    Command::Recall(Box::new(recalled.clone()))
}

fn closed(books: &Payments, unit: Unit) -> (u64, u64) {
    let account = books.kernel().books().account(&House::Closed.account(unit));
    account.map_or((0, 0), |account| (account.credits_posted, account.debits_posted))
}

fn thawed(books: &Payments) -> Payments {
    let mut state = Vec::new();
    books.freeze().write(&mut state).unwrap();
    let mut from = state.as_slice();
    let again = Payments::read(&mut from).unwrap();
    assert!(from.is_empty());
    assert_eq!(again.idle, books.idle, "the index is made anew from the tables");
    let digests = [books.digest(), books.recompute_digest(), books.freeze().recompute_digest()];
    assert_eq!(digests, [again.digest(); 3]);
    assert_eq!(again.next_due(), books.next_due());
    again
}

#[test]
fn a_payment_leaves_once_nothing_has_happened_to_it_for_long() {
    let (mut books, payment) = (books(EVICT_MS), key(0, 1));
    pass(&mut books, 0);
    charge(&mut books, payment);
    assert_eq!(books.next_due(), Some(LogTime(START + 10_000)), "with others, a little later");
    pass(&mut books, EVICT_MS - 1);
    assert!(books.payment(&payment).is_some());
    let refund = refund(&books, payment, 9);
    assert_eq!(run(&mut books, &refund), C::Applied);
    pass(&mut books, 2 * EVICT_MS - 2);
    assert!(books.payment(&payment).is_some(), "touched");
    pass(&mut books, 2 * EVICT_MS - 1);
    assert!(books.payment(&payment).is_none() && books.next_due().is_none());
    assert_eq!(closed(&books, unit_of(Currency::GBP)), (100, 30));
    assert_eq!(invariants::of_payments(&books), []);
}

#[test]
fn what_is_held_stays_and_leaves_after_it_has_expired() {
    let (mut books, payment) = (books(EVICT_MS), key(0, 1));
    pass(&mut books, 0);
    let authorize = authorize(books.now(), payment, 1, 100);
    run(&mut books, &authorize);
    for at in [EVICT_MS, 1_000, 1_000 + EVICT_MS - 1] {
        pass(&mut books, at);
        assert!(books.payment(&payment).is_some(), "{at}");
        books = thawed(&books);
    }
    pass(&mut books, 1_000 + EVICT_MS);
    assert!(books.payment(&payment).is_none());
}

#[test]
fn what_began_elsewhere_stays() {
    let (mut books, payment) = (books(EVICT_MS), key(0, 1));
    pass(&mut books, 0);
    let (id, order, currency) = (id(books.now(), 1), order(1), Currency::GBP);
    let (authorized, captured, refunded, ended) = (9, 8, 1, 1);
    let open =
        super::super::Open { id, payment, order, currency, authorized, captured, refunded, ended };
    assert_eq!(run(&mut books, &Command::Open(open)), C::Applied);
    pass(&mut books, 40 * EVICT_MS);
    assert!(books.payment(&payment).is_some() && books.next_due().is_none());
    assert_eq!(invariants::of_payments(&thawed(&books)), []);
}

#[test]
fn none_ever_leaves_unless_it_is_switched_on() {
    let mut books = books(0);
    pass(&mut books, 0);
    charge(&mut books, key(0, 1));
    assert_eq!(books.next_due(), None);
    pass(&mut books, 1 << 40);
    assert_eq!((books.payments().count(), books.shelf().next()), (1, 0));
    let refund = refund(&books, key(0, 7), 1);
    assert_eq!(run(&mut books, &refund), C::PaymentNotFound);
}

#[test]
fn a_payment_stays_as_long_as_its_order_does() {
    let mut books = books(EVICT_MS);
    pass(&mut books, 0);
    (0..600).for_each(|n| charge(&mut books, key(0, n)));
    let here = order(key(0, 3).0 as u64);
    for n in 1..=3 {
        books.advance(LogTime(START + EVICT_MS));
        books.leave(books.now(), |order| order == here);
        assert_eq!(books.payments().count() as u64, 600 - (n * 256 - 1).min(599));
    }
    books.advance(LogTime(START + 2 * EVICT_MS - 1));
    books.leave(books.now(), |_| false);
    assert_eq!(books.payments().count(), 1, "looked at again after as long");
    pass(&mut books, 2 * EVICT_MS);
    assert_eq!(books.payments().count(), 0);
}

#[test]
fn more_than_an_entry_lets_go_leave_in_the_next() {
    let mut books = books(EVICT_MS);
    pass(&mut books, 0);
    (0..257).for_each(|n| charge(&mut books, key(0, n)));
    pass(&mut books, 20_000);
    assert_eq!((books.payments().count(), books.shelf().len()), (1, 256));
    assert!(books.next_due().unwrap() <= books.now(), "due again at once");
    let mut archive = Archive::default();
    archive.take_in(&mut books);
    assert_eq!((archive.payments.len(), archive.chunks.len()), (256, 1));
    books = thawed(&books);
    pass(&mut books, 20_000);
    assert_eq!((books.payments().count(), books.shelf().len()), (0, 257));
    assert_eq!(closed(&books, unit_of(Currency::GBP)), (25_700, 0));
}

#[test]
fn nothing_is_decided_on_what_may_have_left() {
    let (mut books, archive) = left(2);
    let (payment, at) = (key(0, 1), books.now());
    let (hold, amount, remainder) = (id(at, 3), None, None);
    let asked = [
        refund(&books, payment, 7),
        authorize(at, payment, 8, 5),
        Command::Capture(Capture { id: id(at, 9), hold, payment, amount, remainder }),
        Command::Void(super::super::Void { id: id(at, 10), hold, payment }),
        refund(&books, key(0, 5), 11),
    ];
    let before = books.digest();
    for command in &asked {
        assert_eq!(run(&mut books, command), C::Shelved, "{command:?}");
    }
    assert_eq!(books.digest(), before, "no id is burnt");
    let newer = refund(&books, key(1, 5), 12);
    assert_eq!(run(&mut books, &newer), C::PaymentNotFound, "newer than all that left");
    let recalled = archive.recalled(payment).unwrap();
    assert_eq!(run(&mut books, &recall(&recalled)), C::Applied);
    assert_eq!(run(&mut books, &asked[0]), C::Applied);
    assert_eq!(books.payment(&payment).unwrap().refunded, 30);
    assert_eq!(closed(&books, unit_of(Currency::GBP)), (100, 0));
    assert_eq!(invariants::of_payments(&thawed(&books)), []);
}

#[test]
fn a_proof_is_good_once() {
    let (mut books, mut archive) = left(2);
    let payment = key(0, 0);
    let first = archive.recalled(payment).unwrap();
    assert_eq!(run(&mut books, &recall(&first)), C::Applied);
    let before = books.digest();
    assert_eq!(run(&mut books, &recall(&first)), C::Exists);
    assert_eq!(books.digest(), before);
    pass(&mut books, EVICT_MS);
    assert!(books.payment(&payment).is_none(), "nothing happened to it: it leaves again");
    assert_eq!(run(&mut books, &recall(&first)), C::Shelved, "its number is spent");
    archive.take_in(&mut books);
    let second = archive.recalled(payment).unwrap();
    assert_eq!(archive.shelved(payment).unwrap().number, 2);
    assert_eq!(run(&mut books, &recall(&second)), C::Applied);
    assert_eq!(books.payment(&payment).unwrap().captured, 100);
    assert_eq!(invariants::of_payments(&books), []);
}

#[test]
fn a_record_that_never_left_brings_nothing_back() {
    let (mut books, archive) = left(2);
    let good = archive.recalled(key(0, 0)).unwrap();
    let before = books.digest();
    let mut more = archive.shelved(key(0, 0)).unwrap();
    more.account.credits_posted += 1;
    let forged = Recalled { record: more.encode(), ..good.clone() };
    assert_eq!(run(&mut books, &recall(&forged)), C::Shelved);
    let foreign = Recalled { proof: Proof::open(1), ..good.clone() };
    assert_eq!(run(&mut books, &recall(&foreign)), C::Shelved, "the proof of another");
    for record in [Vec::new(), vec![2], [&good.record[..], &[0]].concat()] {
        let proof = good.proof.clone();
        assert_eq!(run(&mut books, &recall(&Recalled { record, proof })), C::Malformed);
    }
    for n in 0..good.record.len() {
        let mut flipped = good.clone();
        flipped.record[n] ^= 1;
        assert_ne!(run(&mut books, &recall(&flipped)), C::Applied, "byte {n}");
    }
    assert_eq!(books.digest(), before);
}

#[test]
fn out_of_a_closed_chunk_by_a_path_that_is_up_to_date() {
    let (mut books, mut archive) = left(CHUNK);
    let [first, second] = [key(0, 0), key(0, 1)].map(|key| archive.recalled(key).unwrap());
    let open = Recalled { proof: Proof::open(0), ..first.clone() };
    assert_eq!(run(&mut books, &recall(&open)), C::Shelved, "its chunk has closed");
    assert_eq!(run(&mut books, &recall(&first)), C::Applied);
    archive.take_in(&mut books);
    assert_eq!(archive.spent, BTreeSet::from([0]));
    assert_eq!(run(&mut books, &recall(&second)), C::Shelved, "its chunk has changed");
    let second = archive.recalled(key(0, 1)).unwrap();
    books = thawed(&books);
    assert_eq!(run(&mut books, &recall(&second)), C::Applied);
    archive.take_in(&mut books);
    assert!(archive.recalled(key(0, 1)).is_none(), "both are spent");
    assert_eq!((books.shelf().len(), books.payments().count()), (CHUNK - 2, 2));
    assert_eq!(invariants::of_payments(&books), []);
}

#[test]
fn what_never_was_is_looked_for_and_believed_for_one_log_command() {
    let (mut books, _archive) = left(2);
    let (payment, at) = (key(0, 7), books.now());
    let refund = refund(&books, payment, 1);
    let look = |payment, at: u64| Command::Looked(Looked { payment, at: LogTime(at) });
    for stale in [at.ms() - EVICT_MS, at.ms() + 1] {
        assert_eq!(run(&mut books, &look(payment, stale)), C::Shelved);
        assert_eq!(run(&mut books, &refund), C::Shelved);
    }
    let before = books.digest();
    assert_eq!(run(&mut books, &look(payment, at.ms() - EVICT_MS + 1)), C::Applied);
    books.forget_looked();
    assert_eq!(run(&mut books, &refund), C::Shelved, "the next log command");
    assert_eq!(run(&mut books, &look(payment, at.ms())), C::Applied);
    assert_eq!(books.digest(), before);
    let other = super::super::Refund { id: id(at, 4), payment: key(0, 8), amount: 1 };
    assert_eq!(run(&mut books, &Command::Refund(other)), C::Shelved, "of another");
    assert_eq!(run(&mut books, &refund), C::PaymentNotFound);
}
