//! What left comes back, and nothing else does.

use bytes::Bytes;
use hansa_pages::shelf::{Chunk, Proof};

use super::archive::recall;
use super::*;
use crate::core::command::Refused;
use crate::core::near::{Near, NearBooks};
use crate::core::repair::Why;
use crate::core::restored::Found;
use crate::core::shelf::recall::{RECALLED_MAX, Recalled, Step};
use crate::core::shelf::{SPENT, Shelved};

const LATER: LogTime = LogTime(START.0 + AFTER);

const CHANGED: Outcome = Outcome::Refused(Refused::ShelfChanged);
const MALFORMED: Outcome = Outcome::Refused(Refused::Malformed);

/// Order 1 was shipped, and has left.
fn one_left() -> Group {
    let mut group = Group::new();
    group.complete(1);
    assert!(group.leaves(1));
    group
}

impl Group {
    fn recalled(&self, n: u64) -> Recalled {
        self.archive.recalled(self.state(), order_id(n)).unwrap()
    }

    fn bring(&mut self, n: u64) {
        let recalled = self.recalled(n);
        assert_eq!(self.apply(LATER, &recall(recalled)), Outcome::Noted);
        assert!(self.is_here(n));
    }
}

#[test]
fn what_comes_back_is_as_it_left() {
    let mut group = Group::new();
    group.complete(1);
    let before = (group.state().orders.digest(), group.state().contents.digest());
    let subjects = group.state().subjects.table.digest();
    assert!(group.leaves(1));
    assert_ne!(group.state().subjects.table.digest(), subjects);
    group.bring(1);
    let state = group.state();
    assert_eq!((state.orders.digest(), state.contents.digest()), before);
    assert_eq!(state.subjects.table.digest(), subjects, "nothing of his is away");
    assert_eq!((state.shelf.sold.len(), state.shelf.paid.len()), (0, 0));
    assert_eq!(state.meta.left_versions, 0);
    // Nobody wanted anything of it: it leaves again.
    group.advance(LATER);
    assert!(!group.is_here(1));
    assert_eq!(group.archive.shelved(order_id(1)).unwrap().number, 1);
}

#[test]
fn each_verb_looks_for_what_left_and_does_what_it_would_have_done() {
    let (order, note) = (order_id(1), Note::default());
    let key = key(9);
    let back = |quantity| Command::Return { order, key, lines: vec![(0, quantity)], note };
    let refund = |amount_minor| Command::Refund { order, key, amount_minor, note: Note::default() };
    let again = Command::Ship { order, key, lines: vec![(0, 1)], note: Note::default() };
    let (refused, done) = (Outcome::Refused, |first| {
        Outcome::Done(crate::core::command::Target { order, first, count: 1 })
    });
    let verbs = [
        (cancel(1), refused(Refused::NotCancellable)),
        (again, refused(Refused::ExceedsOrdered)),
        (back.clone()(1), done(0)),
        (back(3), refused(Refused::ExceedsShipped)),
        (refund(100), done(0)),
        (refund(901), refused(Refused::ExceedsCaptured)),
        (Command::Resume { order }, refused(Refused::NotParked)),
    ];
    for (verb, came) in verbs {
        let mut group = one_left();
        assert_eq!(group.apply(LATER, &verb), refused(Refused::Shelved), "{verb:?}");
        group.bring(1);
        assert_eq!(group.apply(LATER, &verb), came, "{verb:?}");
        // What was granted is something under way; the rest goes as it came.
        group.advance(LATER);
        assert_eq!(group.is_here(1), matches!(came, Outcome::Done(_)), "{verb:?}");
        group.run(LATER, |_| None);
        group.advance(LATER.plus_ms(AFTER));
        assert!(!group.is_here(1), "{verb:?}");
        // A repeat needs no order.
        let again = group.apply(LATER.plus_ms(AFTER), &verb);
        match came {
            Outcome::Done(target) => assert_eq!(again, Outcome::Replayed(target)),
            _ => assert_eq!(again, refused(Refused::Shelved)),
        }
    }
}

#[test]
fn an_id_that_is_newer_than_all_that_left_never_left() {
    let mut group = Group::new();
    group.complete(5);
    assert!(group.leaves(5));
    let came = |group: &mut Group, n| group.apply(LATER, &cancel(n));
    // Of an older one only an archive can say that it never was.
    assert_eq!(came(&mut group, 4), Outcome::Refused(Refused::Shelved));
    assert_eq!(came(&mut group, 6), Outcome::Refused(Refused::OrderNotFound));
    let placed = |group: &mut Group, n| group.apply(LATER, &accept(n, contents()));
    assert_eq!(placed(&mut group, 4), Outcome::Refused(Refused::OrderIdTaken));
    assert!(matches!(placed(&mut group, 6), Outcome::Done(_)));
}

#[test]
fn another_body_is_told_so_as_long_as_the_key_is_known() {
    let mut group = one_left();
    let Command::Ship { order, mut key, lines, note } = ship(1) else { panic!() };
    key.body += 1;
    let other = Command::Ship { order, key, lines, note };
    assert_eq!(group.apply(LATER, &other), Outcome::Refused(Refused::RequestIdReused));
    assert!(matches!(group.apply(LATER, &ship(1)), Outcome::Replayed(_)));
    // A key of another order's: what that one can be compared with only its record says.
    let other = Command::Cancel { order: order_id(0), key, reason: String::new() };
    assert_eq!(group.apply(LATER, &other), Outcome::Refused(Refused::Shelved));
}

#[test]
fn only_the_record_that_left_comes_back() {
    let mut group = one_left();
    group.cards(2..=2);
    let good = group.recalled(1);
    let digest = group.state().digest();
    let mut try_one = |one: Recalled| {
        let came = group.apply(LATER, &recall(one));
        assert_eq!(group.state().digest(), digest, "{came:?}");
        came
    };
    for at in 0..good.record.len() {
        let mut bytes = good.record.to_vec();
        bytes[at] ^= 1;
        let came = try_one(Recalled { record: bytes.into(), ..good.clone() });
        assert!(came == CHANGED || came == MALFORMED, "byte {at}: {came:?}");
    }
    let short = good.record.slice(..good.record.len() - 1);
    assert_eq!(try_one(Recalled { record: short, ..good.clone() }), MALFORMED);
    assert_eq!(try_one(Recalled { record: Bytes::new(), ..good.clone() }), MALFORMED);
    assert_eq!(try_one(Recalled { order: order_id(3), ..good.clone() }), CHANGED);
    assert_eq!(try_one(Recalled { proof: Proof::open(1), ..good.clone() }), CHANGED);
    // One that is here and says that it left.
    let mut shelved = Shelved::decode(&good.record).unwrap();
    shelved.number = 0;
    let here = Recalled { order: order_id(2), record: shelved.encode().into(), ..good.clone() };
    assert_eq!(try_one(here), CHANGED);
    let many = Step::Recall(vec![good.clone(); RECALLED_MAX + 1]);
    assert_eq!(group.apply(LATER, &Command::Shelf(many)), MALFORMED);
    assert_eq!(group.apply(LATER, &recall(good)), Outcome::Noted);
}

#[test]
fn no_record_comes_back_twice() {
    let mut group = one_left();
    let first = group.recalled(1);
    group.bring(1);
    assert_eq!(group.apply(LATER, &recall(first.clone())), CHANGED, "it is here");
    // In its second life it is under another number, changed or not.
    group.advance(LATER);
    assert!(!group.is_here(1));
    assert_eq!(group.apply(LATER, &recall(first)), CHANGED, "its number is spent");
    group.bring(1);
}

#[test]
fn orders_come_back_from_a_chunk_that_closed() {
    let mut group = Group::new();
    group.cards(1..=300);
    group.advance(LATER);
    let (one, two) = (group.recalled(7), group.recalled(8));
    assert!(one.proof.path.is_some() && one.proof.number == 6);
    assert_eq!(group.apply(LATER, &recall(one.clone())), Outcome::Noted);
    assert_eq!(group.archive.sent.get(&SPENT), Some(&1));
    assert_eq!(group.apply(LATER, &recall(two)), CHANGED, "the chunk is another since");
    group.bring(8);
    // Several at once: each proof is made for what those before it leave.
    let (_, chunk) = group.archive.chunk(0).unwrap();
    let mut tree = Chunk::decode(&0_u64.to_be_bytes(), chunk).unwrap().tree();
    [6, 7].into_iter().for_each(|number| tree.spend(number));
    let several: Vec<Recalled> = (20..=23)
        .map(|n| {
            let proof = tree.proof(n - 1).unwrap();
            tree.spend(n - 1);
            Recalled { proof, ..group.recalled(n) }
        })
        .collect();
    let step = Command::Shelf(Step::Recall(several));
    assert_eq!(group.apply(LATER, &step), Outcome::Noted);
    assert!((20..=23).all(|n| group.is_here(n)));
    // They leave again, and come back from the chunk that is open now.
    group.advance(LATER);
    let again = group.recalled(7);
    assert_eq!(again.proof.path, None);
    group.bring(7);
    assert_eq!(group.apply(LATER, &recall(one)), CHANGED);
}

#[test]
fn a_proof_from_an_open_chunk_is_void_once_that_closed() {
    let mut group = Group::new();
    group.cards(1..=300);
    let state = &mut group.machine.state;
    for n in 0..200 {
        spend(state, n);
    }
    group.advance(LATER);
    // 200 others and 256 of these: the second chunk is open.
    let open = group.recalled(256);
    assert_eq!(open.proof.path, None);
    group.advance(LATER);
    group.cards(301..=320);
    assert_eq!(group.apply(LATER, &recall(open)), Outcome::Noted);
    let open = group.recalled(255);
    let state = &mut group.machine.state;
    while state.shelf.records.row(open.proof.number).is_some() {
        spend(state, 1);
    }
    let came = group.machine.state.apply(LATER, recall(open));
    assert_eq!(came, CHANGED);
}

#[test]
fn a_repair_waits_for_what_left_unless_somebody_has_looked() {
    let mut group = one_left();
    let plan = PlanId([7; 32]);
    let (by, reason) = ("one".to_owned(), "a test".to_owned());
    let propose = RepairStep::Propose { plan, by, reason, entries: 3 };
    let approve = RepairStep::Approve { plan, by: "two".into(), ticket: "T".into() };
    group.apply(LATER, &Command::Repair(propose));
    group.apply(LATER, &Command::Repair(approve));
    let begin = |number, order, hash, looked| {
        let action = Action::ReleaseStock { group: 0, hold: no_id(), committed: false };
        let (by, why, rests_on) = ("one".into(), "a test".into(), Some((order, hash)));
        let begin = Begin { entry: (plan, number), by, why, rests_on, looked, action };
        Command::Repair(RepairStep::Begin(Box::new(begin)))
    };
    let answer = |group: &mut Group, command| match group.apply(LATER, &command) {
        Outcome::Repair(answer) => *answer,
        other => panic!("{other:?}"),
    };
    let away = Answer::Refused(Why::Shelved);
    let left = group.archive.shelved(order_id(1)).unwrap().order;
    let hash = hansa_types::hash::StateHash::of_record("orders", &order_id(1), &left).0;
    assert_eq!(answer(&mut group, begin(1, order_id(1), Some(hash), false)), away);
    assert_eq!(answer(&mut group, begin(1, order_id(1), None, false)), away);
    group.bring(1);
    let begun = answer(&mut group, begin(1, order_id(1), Some(hash), false));
    assert!(matches!(begun, Answer::Repair(row) if row.ended.is_none()), "as it left");
    // Nobody's order: an archive was asked for it.
    let nobody = order_id(0);
    assert_eq!(answer(&mut group, begin(2, nobody, None, false)), away);
    let begun = answer(&mut group, begin(2, nobody, None, true));
    assert!(matches!(begun, Answer::Repair(_)));
}

#[test]
fn the_charge_of_an_order_that_left_is_no_stray() {
    let mut group = one_left();
    let restore = Restore {
        backup: "b".into(),
        epoch: 2,
        cut_ms: START.ms(),
        restored_ms: START.ms(),
        skew_ms: 0,
        cancel_strays: true,
    };
    group.apply(LATER, &Command::Restore(RestoreStep::Begin(Box::new(restore))));
    let found = |n| {
        let reference = Reference("ref".into());
        Found { key: format!("pay-{n}"), order: order_id(n), reference }
    };
    // Order 0 never was; order 2 is newer than all that left.
    let found = vec![found(0), found(1), found(2)];
    let listed = |looked: Vec<OrderId>| {
        Command::Restore(RestoreStep::Listed { found: found.clone(), last: false, looked })
    };
    let strays = |group: &Group| {
        let strays = &group.state().restored.as_ref().unwrap().strays;
        strays.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(group.apply(LATER, &listed(Vec::new())), Outcome::Noted);
    assert_eq!(strays(&group), ["pay-2"]);
    assert_eq!(group.apply(LATER, &listed(vec![order_id(0)])), Outcome::Noted);
    assert_eq!(strays(&group), ["pay-0", "pay-2"]);
}

/// Money books in the same log, of which payments leave, too.
struct Away(bool);

impl NearBooks for Away {
    fn book(&mut self, _: LogTime, _: OrderId, _: &Booking) -> StepResult {
        panic!("nothing is booked");
    }

    fn has_payment(&self, _: TransferId) -> bool {
        !self.0
    }
}

#[test]
fn an_order_comes_back_after_its_payment() {
    let mut group = one_left();
    let command = recall(group.recalled(1)).encode();
    for (away, came) in [(true, CHANGED), (false, Outcome::Noted)] {
        let (mut books, mut out) = (Away(away), Records::new());
        let near = Near::new(&mut books);
        assert_eq!(group.machine.apply_with(LATER, &command, near, &mut out), came);
        holds(group.state());
    }
    // Nothing is asked any more of what was never captured.
    let mut group = Group::new();
    group.cards(1..=1);
    group.advance(LATER);
    let command = recall(group.recalled(1)).encode();
    let (mut books, mut out) = (Away(true), Records::new());
    let came = group.machine.apply_with(LATER, &command, Near::new(&mut books), &mut out);
    assert_eq!(came, Outcome::Noted);
}
