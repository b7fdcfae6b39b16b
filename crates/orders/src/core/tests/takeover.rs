//! Births that change their owner: drained, taken over from copies, and lost to another.

mod away;
mod beside;
mod doubts;
mod drained;
mod erased;
mod forks;
mod goods;
mod handed;
mod keys;
mod left_behind;
mod leftover;
mod owed;
mod owners;
mod requests;
mod returned;
mod story;
mod tail;
mod thawed;
mod unallocated;

use bytes::Bytes;

use crate::core::command::{Command, Outcome, Refused};
use crate::core::effect::{Booking, Effect, Reference, Repayment, Report, StepResult, Todo};
use crate::core::order::{Done, Goal, Heard, Order, ParkedWhy, RefundCause, Stock};
use crate::core::remote::{Batch, Origin, RemoteEvent, Shown};
use crate::core::status::{FulfillmentStatus, PaymentStatus};
use crate::core::takeover::{
    Adopted, Birth, Candidate, Decision, End, Facts, Loss, Moved, NotAdopted, Phase, Repaid,
    Standing, Step, Stepped, TailAction, TakeOver,
};

use self::thawed::{copy_of, thawed};
use super::*;

fn region(n: u16) -> RegionNumber {
    RegionNumber::try_from(n).unwrap()
}

/// The group with the same index in region `n`.
fn group_of(n: u16) -> State {
    let mut state = State::new(Settings { region: region(n), ..settings() });
    state.advance(START);
    state
}

fn origin(of: u16) -> Origin {
    Origin { region: region(of), group: 0, epoch: 1 }
}

/// Region 1's births are somebody else's by now, given up or lost.
fn elsewhere(owner: u16, epoch: u64, loss: Option<Loss>) -> Step {
    Step::Elsewhere { birth: region(1), owner: region(owner), epoch, loss, handed: false }
}

/// What ships of an order, and what the new owner's shell reads in it.
fn facts_of(order: &Order, contents: &Contents) -> Facts {
    let stepped = |done: &Done| match done {
        Done::Done => Stepped::Done,
        Done::Outstanding => Stepped::UnderWay,
        Done::Refused(_) => Stepped::Refused,
    };
    let moved = |list: &[crate::core::order::Movement]| {
        let one = |m: &crate::core::order::Movement| Moved {
            id: m.id,
            lines: m.lines.clone(),
            note: m.note.clone(),
            state: stepped(&m.state),
            booked: m.booked,
            elsewhere: m.elsewhere.clone(),
        };
        list.iter().map(one).collect::<Vec<_>>()
    };
    let standing = match (order.order_status(contents), &order.goal) {
        (
            OrderStatus::Rejected,
            Goal::Undo { why: super::super::order::Why::Rejected(r, w), .. },
        ) => Standing::Rejected(*r, w.clone()),
        (OrderStatus::Cancelled, _) => Standing::Cancelled,
        (OrderStatus::Parked, _) => {
            let parked = order.parked.as_ref().unwrap();
            Standing::Parked(parked.why, parked.detail.clone())
        }
        _ => Standing::Open,
    };
    Facts {
        created: order.created,
        standing,
        cancel_asked: order.cancel_asked(),
        cancel_reason: order.cancel_reason.clone(),
        settled: order.settled,
        in_doubt: order.payment_status() == PaymentStatus::InDoubt,
        declined: None,
        authorized_minor: order.money.authorized_minor,
        captured_minor: order.money.captured_minor,
        refunded_minor: order.money.refunded_minor,
        reference: order.money.reference.clone(),
        refunds: order
            .refunds
            .iter()
            .map(|r| Repaid {
                id: r.id,
                amount_minor: r.amount_minor,
                with: r.with,
                cause: r.cause,
                state: stepped(&r.state),
            })
            .collect(),
        shipments: moved(&order.shipments),
        returns: moved(&order.returns),
        sealed: contents.sealed_with,
        requests: order.requests.clone(),
        placed_as: None,
    }
}

fn shown(epoch: u64) -> Shown {
    let residence = Some("GB".parse().unwrap());
    Shown { residence, classes: 7, terms: 1, epoch, ..Shown::default() }
}

fn view(order: &Order) -> Bytes {
    Bytes::from(format!("{} {}", order.version, order.money.captured_minor))
}

/// Everything that a group's stream still owes after `after`, as one batch.
fn batch(from: &State, of: Origin, after: u64) -> Batch {
    let own = |(_, id): &(u64, OrderId)| {
        from.ships(id.region()).is_some() && from.is_own(*id, from.orders.get(id).unwrap())
    };
    let event = |(sequence, id): (u64, OrderId)| {
        let order = from.orders.get(&id).unwrap();
        let epoch = from.ships(id.region()).unwrap();
        RemoteEvent {
            sequence,
            order: id,
            version: order.version,
            view: view(order),
            shown: shown(epoch),
            forks: order.forks.clone(),
            fault: None,
        }
    };
    let events = from.changed_after(after).filter(own).map(event).collect();
    Batch { origin: of, after, upto: from.meta.seq, current_as_of_ms: Some(1), events }
}

fn ship(from: &State, to: &mut State, of: Origin) {
    let after = to.remote.cursors.get(&of).map_or(0, |cursor| cursor.applied);
    let command = Command::ApplyRemote(Box::new(batch(from, of, after)));
    assert!(matches!(apply(to, command), Outcome::Received(_)));
}

/// Through the codec, as every command travels.
fn apply(state: &mut State, command: Command) -> Outcome {
    let at = state.meta.now;
    state.apply(at, Command::decode(&command.encode()).unwrap())
}

fn step(state: &mut State, step: Step) -> Outcome {
    if let Step::TakeOver(take) = &step {
        give_back(state, take.birth);
    }
    apply(state, Command::Takeover(step))
}

/// What the keeper does before births are taken over.
fn give_back(state: &mut State, birth: RegionNumber) {
    let row = state.births.get(birth).filter(|row| matches!(row.phase, Phase::Elsewhere { .. }));
    let Some(epoch) = row.map(|row| row.epoch) else { return };
    let orders: Vec<OrderId> = state.leftovers(birth, 256).0.iter().map(|of| of.order).collect();
    let back = Step::GivenBack { birth, epoch, orders, last: false };
    assert_eq!(apply(state, Command::Takeover(back)), Outcome::Noted);
}

fn take_over(birth: u16, from: u16, epoch: u64) -> Step {
    Step::TakeOver(Box::new(TakeOver {
        birth: region(birth),
        epoch,
        from: region(from),
        record: 7,
        record_ms: START.ms(),
        skew_ms: 1_000,
        complete: false,
        unheard: false,
        heard: vec![(origin(from), 40)],
    }))
}

fn candidate(from: &State, to: &State, id: OrderId) -> Candidate {
    let (order, contents) = (from.orders.get(&id).unwrap(), from.contents.get(&id).unwrap());
    let copy = to.remote.copies.get(&id).unwrap();
    assert_eq!(copy.view, view(order), "the test reads what was shipped");
    let mut contents = contents.clone();
    let (home, hash) = (to.meta.settings.region, contents.sealed_with.subject.hash);
    let subject = SubjectId { home, hash };
    contents.sealed_with = KeyOf { subject, generation: 1 };
    let mint = to.subjects.table.get(&subject).is_none().then(|| wrapped(FIRST, 1));
    let ciphertext = Bytes::from_static(b"sealed again");
    contents.personal = Some(crate::core::contents::Sealed { nonce: [0; 12], ciphertext });
    let mut facts = facts_of(order, from.contents.get(&id).unwrap());
    let former = facts.sealed;
    facts.requests.iter_mut().for_each(|heard| heard.under = heard.under.or(Some(former)));
    let version = copy.version;
    Candidate::Take(Box::new(Adopted { order: id, looked: false, version, contents, mint, facts }))
}

fn adopt(from: &State, to: &mut State, birth: u16, epoch: u64) -> u32 {
    let waiting = to.waiting(region(birth), 256);
    let orders = waiting.iter().map(|id| candidate(from, to, *id)).collect();
    match step(to, Step::Adopt { birth: region(birth), epoch, orders }) {
        Outcome::Adopted(adopted) => adopted,
        other => panic!("{other:?}"),
    }
}

/// B takes A's births over, and settles.
fn survive(from: &State, to: &mut State, epoch: u64) {
    assert_eq!(step(to, take_over(1, 1, epoch)), Outcome::Noted);
    adopt(from, to, 1, epoch);
    assert_eq!(step(to, Step::Settled { birth: region(1), epoch }), Outcome::Noted);
}

/// Answers what is due, with what `how` says, until nothing is.
fn run(state: &mut State, how: impl Fn(&Todo) -> StepResult) {
    for _ in 0..100 {
        let due = state.due(0, 100);
        if due.is_empty() {
            return;
        }
        for call in due {
            let result = how(&call.todo);
            let report = Report { order: call.order, no: call.no, result };
            apply(state, Command::Report(vec![report]));
        }
    }
    panic!("never ends: {:?}", state.due(0, 3));
}

fn fine(todo: &Todo) -> StepResult {
    match todo {
        Todo::Authorize { .. } => StepResult::Authorized(Reference("ref".into())),
        Todo::Settle(settle) => StepResult::Settled(crate::core::effect::SettleResult {
            committed: settle.parts.iter().fold(0, |bits, part| bits | 1 << part),
            captured: settle.capture.is_some(),
            booked: settle.capture.is_some(),
            refusal: None,
        }),
        _ => StepResult::Done,
    }
}

fn of(state: &State, id: OrderId) -> &Order {
    state.orders.get(&id).unwrap()
}

fn effects(state: &State, id: OrderId) -> Vec<Effect> {
    of(state, id).work.iter().map(|work| work.effect).collect()
}

/// Group A with one order that went as far as `how` lets it, shipped to B.
fn pair(how: impl Fn(&Todo) -> StepResult, steps: bool) -> (State, State, OrderId) {
    let (mut a, id) = placed(contents());
    if steps {
        run(&mut a, how);
    }
    let mut b = group_of(2);
    ship(&a, &mut b, origin(1));
    (a, b, id)
}

#[test]
fn a_pending_order_is_carried_to_its_end_by_who_took_it_over() {
    let (a, mut b, id) = pair(fine, false);
    survive(&a, &mut b, 2);
    let payment = of(&b, id).money.payment.unwrap().timeless();
    assert_eq!(payment, crate::core::saga::payment_of(id, &contents(), Some(2)));
    assert_eq!((of(&b, id).version, of(&b, id).epoch), (of(&a, id).version + 1, 2));
    run(&mut b, fine);
    assert_eq!(status(&b, id), OrderStatus::Confirmed);
    assert_eq!(of(&b, id).money.captured_minor, contents().total_minor);
    holds(&b);
}

#[test]
fn a_confirmed_order_stays_so_and_gets_its_stock_here() {
    let (a, mut b, id) = pair(fine, true);
    assert_eq!(status(&a, id), OrderStatus::Confirmed);
    survive(&a, &mut b, 2);
    holds(&b);
    let face = of(&b, id).face(&contents());
    let stands = (OrderStatus::Confirmed, FulfillmentStatus::Unallocated);
    assert_eq!((face.order, face.fulfillment), stands);
    assert!(effects(&b, id).contains(&Effect::Open));
    // Before it is allocated nothing can be shipped: who asks again is served.
    let parcel = |n| Command::Ship { order: id, key: key(n), lines: vec![], note: Note::default() };
    let dated = |command| Command::Dated { first_sent_ms: u64::MAX, command: Box::new(command) };
    assert_eq!(apply(&mut b, dated(parcel(70))), Outcome::Refused(Refused::NotAllocated));
    run(&mut b, fine);
    assert!(of(&b, id).parts.iter().all(|part| part.stock == Stock::Committed));
    assert_eq!(of(&b, id).money.captured_minor, contents().total_minor);
    assert!(matches!(apply(&mut b, dated(parcel(71))), Outcome::Done(_)));
    run(&mut b, fine);
    assert_eq!(status(&b, id), OrderStatus::Completed);
    holds(&b);
}

#[test]
fn a_refund_under_way_goes_out_again_under_its_own_id_after_the_books_are_open() {
    let (mut a, id) = placed(contents());
    run(&mut a, fine);
    let refund =
        Command::Refund { order: id, key: key(5), amount_minor: 100, note: Note::default() };
    assert!(matches!(apply(&mut a, refund.clone()), Outcome::Done(_)));
    let refund_id = of(&a, id).refunds[0].id;
    let mut b = group_of(2);
    ship(&a, &mut b, origin(1));
    survive(&a, &mut b, 2);
    let refunds = |call: &crate::core::effect::Call| matches!(call.todo, Todo::Refund(_));
    assert!(!b.due(0, 100).iter().any(refunds), "books first");
    run(&mut b, |todo| {
        if let Todo::Refund(Repayment { id, .. }) = todo {
            assert_eq!(*id, refund_id);
        }
        if let Todo::Book(Booking::Open(open)) = todo {
            assert_eq!((open.captured_minor, open.refunded_minor, open.ended), (1_000 - 100, 0, 1));
        }
        fine(todo)
    });
    assert_eq!(of(&b, id).money.refunded_minor, 100);
    // A repeat of the request is answered as there, and another body is refused.
    assert!(matches!(apply(&mut b, refund), Outcome::Replayed(_)));
    holds(&b);
}

#[test]
fn shipped_lines_stay_shipped_and_only_the_rest_is_reserved() {
    let (mut a, id) = placed(contents());
    run(&mut a, fine);
    let parcel =
        Command::Ship { order: id, key: key(5), lines: vec![(0, 1)], note: Note::default() };
    apply(&mut a, parcel);
    run(&mut a, fine);
    let mut b = group_of(2);
    ship(&a, &mut b, origin(1));
    survive(&a, &mut b, 2);
    let mut reserved = 0;
    for call in b.due(0, 100) {
        if let Todo::Book(Booking::Stock(call)) = call.todo
            && let crate::core::effect::StockVerb::Reserve { lines, .. } = call.verb
        {
            reserved += lines.iter().map(|line| line.quantity).sum::<u32>();
        }
    }
    assert_eq!(reserved, 2, "three units, one of them gone");
    run(&mut b, fine);
    assert_eq!(of(&b, id).face(&contents()).fulfillment, FulfillmentStatus::PartiallyShipped);
    holds(&b);
}

#[test]
fn an_unknown_request_is_in_doubt_unless_it_was_surely_sent_since() {
    let (a, mut b, id) = pair(fine, true);
    survive(&a, &mut b, 2);
    run(&mut b, fine);
    let dated = |sent, command| Command::Dated { first_sent_ms: sent, command: Box::new(command) };
    let cancel = |n| Command::Cancel { order: id, key: key(n), reason: String::new() };
    let in_doubt = Outcome::Refused(Refused::InDoubt);
    assert_eq!(apply(&mut b, cancel(80)), in_doubt);
    assert_eq!(apply(&mut b, dated(START.ms() + 1_000, cancel(81))), in_doubt);
    let place = |n: u64, sent: u64| {
        let Command::Accept(mut accept) = accept(n, contents()) else { panic!() };
        accept.epoch = 2;
        accept.contents.sealed_with.subject.home = region(2);
        dated(sent, Command::Accept(accept))
    };
    assert_eq!(apply(&mut b, place(7, START.ms())), in_doubt);
    // Under the births that it took over, in their new epoch.
    assert!(matches!(apply(&mut b, place(8, START.ms() + 5_000)), Outcome::Done(_)));
    // B's own customers are not doubted.
    let own = |n: u64| {
        let Command::Accept(mut accept) = accept(n, contents()) else { panic!() };
        accept.order = OrderId::new(START, region(2), order_id(n).slot(), n);
        accept.contents.sealed_with.subject.home = region(2);
        Command::Accept(accept)
    };
    assert!(matches!(apply(&mut b, own(9)), Outcome::Done(_)));
    b.advance(START.plus_ms(settings().key_ttl_ms + 1));
    assert!(matches!(apply(&mut b, cancel(82)), Outcome::Done(_)), "nobody repeats that late");
    holds(&b);
}

#[test]
fn commands_come_in_any_order_repeated_and_through_a_crash_between_any_two() {
    let (a, b, id) = pair(fine, true);
    let (birth, epoch) = (region(1), 2);
    let mut plain = group_of(2);
    ship(&a, &mut plain, origin(1));
    step(&mut plain, take_over(1, 1, epoch));
    let adopt = Step::Adopt { birth, epoch, orders: vec![candidate(&a, &plain, id)] };
    let steps = [take_over(1, 1, epoch), adopt, Step::Settled { birth, epoch }];
    for seed in 0..60 {
        let mut rng = world::Rng(seed);
        let mut state = thawed(&b);
        let mut next = 0;
        while next < steps.len() {
            let n = rng.below(steps.len() as u64) as usize;
            let before = state.digest();
            let done = step(&mut state, steps[n].clone());
            match n.cmp(&next) {
                std::cmp::Ordering::Equal => next += 1,
                std::cmp::Ordering::Less => {
                    assert_eq!(state.digest(), before, "seed {seed}: {n} again changes nothing");
                }
                std::cmp::Ordering::Greater => {
                    assert!(matches!(done, Outcome::Refused(_)), "seed {seed}: {n} too early");
                    assert_eq!(state.digest(), before, "seed {seed}");
                }
            }
            if rng.one_in(2) {
                state = thawed(&state);
            }
            holds(&state);
        }
        assert_eq!(state.orders.len(), 1);
        run(&mut state, fine);
        assert_eq!(status(&state, id), OrderStatus::Confirmed, "seed {seed}");
        holds(&state);
    }
}

#[test]
fn what_is_not_enough_to_go_on_with_is_listed_and_its_calls_are_refused() {
    let (_, mut b, id) = pair(fine, true);
    step(&mut b, take_over(1, 1, 2));
    let why = NotAdopted::NotInFailoverSet;
    let version = b.remote.copies.get(&id).unwrap().version;
    let fail = Candidate::Fail { order: id, version, why };
    let adopt = Step::Adopt { birth: region(1), epoch: 2, orders: vec![fail] };
    assert_eq!(step(&mut b, adopt), Outcome::Adopted(0));
    assert_eq!(step(&mut b, Step::Settled { birth: region(1), epoch: 2 }), Outcome::Noted);
    assert_eq!(b.births.failed.get(&id), Some(&why));
    let cancel = Command::Cancel { order: id, key: key(9), reason: String::new() };
    assert_eq!(apply(&mut b, cancel), Outcome::Refused(Refused::NotAdopted));
    holds(&b);
}
