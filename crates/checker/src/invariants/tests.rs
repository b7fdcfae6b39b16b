use super::*;
use crate::final_state::{
    CopySeen, GroupSeen, Held, Journal, Listed, Remembered, ReplicaSeen, Report,
};
use crate::history::{Answer, Call, Outcome, Place, PlaceLine};
use crate::life::lives;
use crate::loss::Tail;
use crate::recorder::Recorder;
use crate::seen::{PaymentSeen, RejectReason, Rejected, StockSeen};
use crate::testing::order;

fn key() -> StockKey {
    let [region, sku, warehouse] = ["eu-west", "", "main"].map(str::to_owned);
    StockKey { region, sku, warehouse }
}

/// Ten pieces came in, one order of one piece was acknowledged.
fn history() -> History {
    let mut recorder = Recorder::default();
    let receive = Call::Receive { stock: key(), request: "in".to_owned(), quantity: 10 };
    let seen = StockSeen { available: 10, on_hand: 10, sellable: 10, ..StockSeen::default() };
    let ticket = recorder.invoke(1, receive, 0);
    recorder.finish(ticket, Outcome::Known(Answer::Stock { seen, replayed: false }), 0);
    let line = PlaceLine { stock: Some(key()), quantity: 1, price_minor: 5 };
    let (request, reference) = ("r".to_owned(), "r".to_owned());
    let place = Place { request, reference, lines: vec![line], total_minor: 5 };
    let ticket = recorder.invoke(1, Call::Place(place), 0);
    let seen = Box::new(order("regions/eu-west/orders/o", 4));
    recorder.finish(ticket, Outcome::Known(Answer::Order { seen, replayed: false }), 0);
    recorder.into_history()
}

fn state() -> FinalState {
    let seen = order("regions/eu-west/orders/o", 4);
    let name = seen.name.clone();
    let stock =
        StockSeen { available: 9, committed: 1, on_hand: 10, sellable: 9, ..StockSeen::default() };
    let replica = |node| ReplicaSeen {
        node,
        applied: 7,
        state_hash: "aa".to_owned(),
        chain_head: "bb".to_owned(),
        earlier: BTreeMap::new(),
        trouble: String::new(),
    };
    let [region, group] = ["eu-west", "orders-0"].map(str::to_owned);
    let money = seen.money.unwrap_or_default();
    let paid = PaymentSeen {
        order: name.clone(),
        state: seen.payment_state,
        money,
        reference: String::new(),
    };
    FinalState {
        listed: vec![Listed {
            region: region.clone(),
            order: name.clone(),
            reference: "r".to_owned(),
        }],
        payments: BTreeMap::from([(name.clone(), Some(paid))]),
        orders: BTreeMap::from([(name, Some(seen))]),
        stock: vec![(key(), stock)],
        groups: vec![GroupSeen { region, group, replicas: vec![replica(1), replica(2)] }],
        ..FinalState::default()
    }
}

fn only(state: &mut FinalState) -> &mut OrderSeen {
    state.orders.values_mut().flatten().next().unwrap_or_else(|| panic!("one order"))
}

/// What a change to a sound state is complained of as; nothing: it passes.
#[track_caller]
fn check_state(change: impl Fn(&mut FinalState), complaints: &[&str]) {
    let (history, mut state) = (history(), state());
    change(&mut state);
    let lives = lives(&history);
    let verdict = check(Settled { history: &history, lives: &lives, state: &state });
    let found: Vec<String> = match verdict {
        Verdict::Fail(reasons) => reasons.into_iter().map(|reason| reason.check).collect(),
        Verdict::Unknown(_) => vec!["unknown".to_owned()],
        Verdict::Pass => Vec::new(),
    };
    assert_eq!(found, complaints);
}

#[test]
fn a_sound_state_passes_and_what_was_not_read_is_unknown() {
    check_state(|_| {}, &[]);
    check_state(|state| state.unread.push("us-east: UNAVAILABLE".to_owned()), &["unknown"]);
}

#[test]
fn reports_are_believed() {
    let report = |held| Report {
        region: "eu-west".to_owned(),
        number: 1,
        name: "double entry".to_owned(),
        held,
        detail: String::new(),
    };
    check_state(|state| state.reports.push(report(Held::Held)), &[]);
    check_state(|state| state.reports.push(report(Held::Violated)), &["reported"]);
    check_state(|state| state.reports.push(report(Held::Unknown)), &["unknown"]);
}

#[test]
fn stock_that_vanished_or_is_held_by_nobody_is_found() {
    let vanished = |state: &mut FinalState| state.stock[0].1.on_hand = 9;
    check_state(vanished, &["2 stock conserved"]);
    let sold = |state: &mut FinalState| {
        only(state).lines[0].quantity = 11;
    };
    check_state(sold, &["3 no oversell", "3 no oversell", "7 acknowledged found"]);
    check_state(|state| state.stock[0].1.committed = 0, &["3 no oversell"]);
    check_state(|state| state.stock[0].1.reserved = 2, &["6 no leaked hold"]);
}

#[test]
fn money_that_does_not_belong_is_found() {
    let key = "pay-o".to_owned();
    let voided = |state: &mut FinalState| {
        state.journal.voided.insert(key.clone());
    };
    check_state(voided, &["5 captured belongs"]);
    let cancelled = |state: &mut FinalState| only(state).state = OrderState::Cancelled;
    check_state(cancelled, &["3 no oversell", "5 captured belongs"]);
    let differs = |state: &mut FinalState| only(state).money = None;
    check_state(differs, &[]);
    let journal = "charge pay-o 1 sbx-ok-7-EUR-00\nvoid pay-x\nchar?\n";
    let parsed = Journal::parse(journal);
    assert_eq!(parsed.charged.get("pay-o"), Some(&7));
    check_state(|state| state.journal = parsed.clone(), &["5 captured belongs"]);
}

#[test]
fn an_order_that_is_gone_older_other_unlisted_or_twice_there_is_found() {
    let found = "7 acknowledged found";
    check_state(|s| s.orders.values_mut().for_each(|o| *o = None), &["3 no oversell", found]);
    check_state(|state| only(state).version = 3, &[found]);
    check_state(|state| only(state).total_minor = 5, &[]);
    let other = |order: &str, reference: &str| Listed {
        region: "eu-west".to_owned(),
        order: order.to_owned(),
        reference: reference.to_owned(),
    };
    check_state(|state| state.listed.push(other("o2", "r")), &["8 one effect"]);
    check_state(|state| state.listed.push(other("o2", "x")), &["8 one effect"]);
    check_state(|state| only(state).state = OrderState::Pending, &["sagas over"]);
}

#[test]
fn a_copy_that_is_missing_behind_or_other_is_found() {
    let copy = |change: fn(&mut OrderSeen)| {
        move |state: &mut FinalState| {
            let mut seen = only(state).clone();
            change(&mut seen);
            let (region, order) = ("us-east".to_owned(), only(state).name.clone());
            state.copies.push(CopySeen { region, order, seen: Some(seen) });
        }
    };
    check_state(copy(|_| {}), &[]);
    check_state(copy(|seen| seen.money = None), &[]);
    check_state(copy(|seen| seen.version = 3), &["copies converge"]);
    check_state(copy(|seen| seen.state = OrderState::Parked), &["copies converge"]);
    let missing = |state: &mut FinalState| {
        copy(|_| {})(state);
        state.copies[0].seen = None;
    };
    check_state(missing, &["copies converge"]);
}

#[test]
fn a_hold_that_ran_out_too_soon_and_a_cancel_that_was_forgotten_are_found() {
    let (history, mut state) = (history(), state());
    let mut with_cancel = history.clone();
    let mut cancel = history.ops[1].clone();
    let (order, request) = (only(&mut state).name.clone(), "c".to_owned());
    (cancel.call, cancel.id) = (Call::Cancel { order, request }, 2);
    (cancel.invoked, cancel.returned) = (100, Some(101));
    with_cancel.ops.push(cancel);
    let settled = Settled { history: &with_cancel, lives: &lives(&with_cancel), state: &state };
    assert_eq!(cancels_kept::check(settled).len(), 1);

    let mut expired = history;
    if let Outcome::Known(Answer::Order { seen, .. }) = &mut expired.ops[1].outcome {
        let (reason, sku) = (RejectReason::HoldExpired, String::new());
        seen.rejected = Some(Rejected { reason, line: 0, sku, available: 0 });
    }
    let lives = lives(&expired);
    assert!(
        no_early_expiry::check(Settled { history: &expired, lives: &lives, state: &state })
            .is_empty()
    );
    state.hold_ms = 10;
    assert_eq!(
        no_early_expiry::check(Settled { history: &expired, lives: &lives, state: &state }).len(),
        1
    );
}

#[test]
fn replicas_that_differ_at_one_index_now_or_before_are_found() {
    let hash = |state: &mut FinalState| state.groups[0].replicas[1].state_hash = "cc".to_owned();
    check_state(hash, &["9 equal hashes"]);
    let ahead = |state: &mut FinalState| {
        state.groups[0].replicas[1].applied = 8;
        state.groups[0].replicas[1].state_hash = "cc".to_owned();
    };
    check_state(ahead, &[]);
    let head = |state: &mut FinalState| {
        ahead(state);
        let chain_head = "dd".to_owned();
        let before = Remembered { state_hash: String::new(), chain_head };
        state.groups[0].replicas[1].earlier.insert(7, before);
    };
    check_state(head, &["11 chain heads"]);
    let alarmed = |state: &mut FinalState| state.groups[0].replicas[0].trouble = "x".to_owned();
    check_state(alarmed, &["9 equal hashes"]);
}

#[test]
fn what_the_judge_sees_last_is_as_old_as_the_judge_says() {
    let (mut history, mut state) = (history(), state());
    history.ops.retain(|op| matches!(op.call, Call::Place(_)));
    state.hold_ms = 10;
    let (reason, sku) = (RejectReason::HoldExpired, String::new());
    only(&mut state).rejected = Some(Rejected { reason, line: 0, sku, available: 0 });
    let early = |state: &FinalState| match crate::judge(&history, &[], Some(state), 1_000).verdict {
        Verdict::Fail(all) => all.iter().any(|reason| reason.check == "no early expiry"),
        Verdict::Pass | Verdict::Unknown(_) => false,
    };
    assert!(!early(&state), "it may have looked at any time after the last client");
    state.read_at = 1_000_000;
    assert!(early(&state));
    state.read_at = 20_000_000;
    assert!(!early(&state));
}

#[test]
fn an_order_of_a_lost_region_may_be_gone_if_it_is_listed_and_goes_on_if_two_people_say_so() {
    let name = "regions/eu-west/orders/o";
    let gone = |tail: Option<Tail>| {
        move |state: &mut FinalState| {
            state.orders.values_mut().for_each(|order| *order = None);
            state.loss.tail.extend(tail.map(|tail| (name.to_owned(), tail)));
        }
    };
    let found = "7 acknowledged found";
    let tail = |adopted, goes_on| Some(Tail { version: 4, adopted, goes_on });
    check_state(gone(tail(0, false)), &[]);
    check_state(gone(tail(0, true)), &[found]);
    check_state(gone(tail(3, false)), &[found]);
    check_state(gone(None), &["3 no oversell", found]);
}

#[test]
fn shelves_of_regions_that_serve_each_others_births_are_counted_together() {
    let heir = |change: fn(&mut StockSeen)| {
        move |state: &mut FinalState| {
            let mut other = (key(), StockSeen::default());
            other.0.region = "eu-central".to_owned();
            (other.1.committed, other.1.on_hand) = (1, 1);
            change(&mut other.1);
            (state.stock[0].1.committed, state.stock[0].1.on_hand) = (0, 9);
            state.stock.push(other);
        }
    };
    let both = |state: &mut FinalState| {
        state.loss.heirs = ["eu-west", "eu-central"].map(str::to_owned).into();
    };
    check_state(
        |state| {
            heir(|_| {})(state);
            both(state);
        },
        &[],
    );
    check_state(
        |state| {
            heir(|stock| stock.reserved = 1)(state);
            both(state);
        },
        &["6 no leaked hold"],
    );
}

#[test]
fn stock_of_a_tail_that_nobody_saw_is_held_until_it_is_decided_on_and_no_more_than_was_asked_for() {
    let mut recorder = Recorder::default();
    for op in history().ops {
        let ticket = recorder.invoke(op.client, op.call, 0);
        recorder.finish(ticket, op.outcome, 0);
    }
    let line = PlaceLine { stock: Some(key()), quantity: 2, price_minor: 5 };
    let (request, reference) = ("q".to_owned(), "q".to_owned());
    let place = Place { request, reference, lines: vec![line], total_minor: 10 };
    let ticket = recorder.invoke(1, Call::Place(place), 0);
    recorder.finish(ticket, Outcome::Unknown { why: "lost".to_owned() }, 0);
    let history = recorder.into_history();
    let found = |committed: i64, reserved: i64, tail: bool| {
        let mut state = state();
        (state.stock[0].1.committed, state.stock[0].1.reserved) = (committed, reserved);
        if tail {
            let of = Tail { version: 4, adopted: 0, goes_on: false };
            state.loss.tail.insert("regions/eu-west/orders/q".to_owned(), of);
        }
        let lives = lives(&history);
        match check(Settled { history: &history, lives: &lives, state: &state }) {
            Verdict::Fail(reasons) => reasons.into_iter().map(|reason| reason.check).collect(),
            Verdict::Pass | Verdict::Unknown(_) => Vec::new(),
        }
    };
    let none = Vec::<String>::new();
    assert_eq!(found(3, 0, true), none);
    assert_eq!(found(1, 2, true), none);
    assert_eq!(found(1, 0, true), none, "it may hold nothing");
    assert_eq!(found(3, 0, false), ["3 no oversell"]);
    assert_eq!(found(4, 0, true), ["3 no oversell"]);
    assert_eq!(found(1, 3, true), ["6 no leaked hold"]);
    assert_eq!(found(0, 0, true), ["3 no oversell"]);
}
