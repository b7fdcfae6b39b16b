//! A group that came back: doubt, the phase before it serves, and what copies elsewhere show.

use bytes::Bytes;
use hansa_consensus::{Frozen as _, Machine as _};

use crate::core::command::{Command, Outcome, Refused};
use crate::core::effect::{Reference, Todo};
use crate::core::remote::{Batch, Difference, DifferenceKind, Origin, RemoteEvent, Shown};
use crate::core::restored::{Found, Restore, Step, StrayState};
use crate::core::subjects::first_generation;
use crate::machine::OrdersMachine;

use super::*;

const RESTORED_MS: u64 = 5_000_000;
const SKEW_MS: u64 = 10_000;

fn begin(epoch: u64, cancel_strays: bool) -> Command {
    Command::Restore(Step::Begin(Box::new(Restore {
        backup: "b-1".into(),
        epoch,
        cut_ms: 4_000_000,
        restored_ms: RESTORED_MS,
        skew_ms: SKEW_MS,
        cancel_strays,
    })))
}

fn step(state: &mut State, step: Step) -> Outcome {
    state.apply(START, Command::Restore(step))
}

/// A state with one order under way, restored under epoch 2.
fn restored(cancel_strays: bool) -> (State, OrderId) {
    let (mut state, id) = placed(contents());
    assert_eq!(state.apply(START, begin(1, false)), Outcome::Refused(Refused::EpochNotNewer));
    assert_eq!(state.apply(START, begin(2, cancel_strays)), Outcome::Noted);
    assert_eq!(state.meta.settings.epoch, 2);
    (state, id)
}

#[test]
fn every_replica_tells_an_order_in_the_epoch_since_which_its_group_came_back() {
    let (mut state, id) = restored(false);
    let told = |state: &State, id| state.as_told(id, state.orders.get(&id).unwrap()).epoch;
    assert_eq!((state.orders.get(&id).unwrap().epoch, told(&state, id)), (1, 2));
    // A failover that is given up makes no version another's.
    let mut plain = State::new(settings());
    plain.advance(START);
    plain.apply(START, accept(1, contents()));
    for (state, before) in [(&mut state, 2), (&mut plain, 1)] {
        let take = crate::core::takeover::TakeOver {
            birth: state.meta.settings.region,
            epoch: 3,
            from: state.meta.settings.region,
            record: 7,
            record_ms: 0,
            skew_ms: SKEW_MS,
            complete: false,
            unheard: false,
            heard: Vec::new(),
        };
        let goes_on = crate::core::takeover::Step::TakeOver(Box::new(take));
        assert_eq!(state.apply(START, Command::Takeover(goes_on)), Outcome::Noted);
        assert_eq!(told(state, id), before);
    }
}

#[test]
fn an_epoch_that_any_births_had_is_not_begun_again() {
    let region = |n: u16| RegionNumber::try_from(n).unwrap();
    let mut state = State::new(settings());
    state.advance(START);
    // Of others' births too: their orders' owners are named by the epoch as well.
    for (birth, epoch) in [(region(1), 4), (region(2), 7)] {
        let step = crate::core::takeover::Step::Elsewhere {
            birth,
            owner: region(3),
            epoch,
            loss: None,
            handed: false,
        };
        assert_eq!(state.apply(START, Command::Takeover(step)), Outcome::Noted);
    }
    let digest = state.digest();
    for epoch in [2, 4, 5, 7] {
        assert_eq!(
            state.apply(START, begin(epoch, false)),
            Outcome::Refused(Refused::EpochNotNewer)
        );
    }
    assert!(state.digest() == digest && !state.doubting());
    assert_eq!(state.apply(START, begin(8, false)), Outcome::Noted);
}

fn of_epoch_2(n: u64) -> Command {
    let Command::Accept(mut accept) = accept(n, contents()) else { panic!() };
    accept.epoch = 2;
    accept.contents.sealed_with.generation = first_generation(2);
    Command::Accept(accept)
}

fn dated(command: Command, first_sent_ms: u64) -> Command {
    Command::Dated { first_sent_ms, command: Box::new(command) }
}

/// Answers every step of the backup, so that nothing of it is open.
fn answer_all(state: &mut State) {
    let upto = state.steps_upto();
    for call in state.due(0, 100).into_iter().filter(|call| call.no <= upto) {
        let result = match call.todo {
            Todo::Authorize { .. } => StepResult::Authorized(Reference("ref".into())),
            _ => StepResult::Done,
        };
        answer(state, START, &call, result);
    }
}

#[test]
fn nothing_new_is_taken_before_the_provider_has_answered_for_what_was_under_way() {
    let (mut state, id) = restored(false);
    let fresh = dated(of_epoch_2(2), RESTORED_MS + SKEW_MS + 1);
    let refused = Outcome::Refused(Refused::Restoring);
    assert_eq!(state.apply(START, fresh.clone()), refused);
    let known = state.apply(START, of_epoch_2(1));
    assert!(matches!(known, Outcome::Replayed(target) if target.order == id), "a known id replays");
    let (upto, open) = (state.steps_upto(), state.open_steps());
    assert!(open > 0 && state.due(0, 100).iter().all(|call| call.no <= upto));
    let not_yet = Outcome::Refused(Refused::NotRestoring);
    assert_eq!(
        step(&mut state, Step::Listed { found: Vec::new(), last: true, looked: Vec::new() }),
        Outcome::Noted
    );
    assert_eq!(step(&mut state, Step::End), not_yet, "steps are open");
    answer_all(&mut state);
    assert_eq!(state.open_steps(), 0);
    assert!(state.due(0, 100).iter().all(|call| call.no > upto), "what follows has to wait");
    assert_eq!(step(&mut state, Step::End), Outcome::Noted);
    assert_eq!(state.steps_upto(), u64::MAX);
    assert!(matches!(state.apply(START, fresh), Outcome::Done(_)));
    holds(&state);
}

#[test]
fn an_unknown_request_that_may_be_old_is_in_doubt_for_a_day() {
    let (mut state, id) = restored(true);
    step(&mut state, Step::Listed { found: Vec::new(), last: true, looked: Vec::new() });
    answer_all(&mut state);
    assert_eq!(step(&mut state, Step::End), Outcome::Noted);
    let doubt = Outcome::Refused(Refused::InDoubt);
    assert_eq!(state.apply(START, of_epoch_2(2)), doubt, "nobody says when it was sent");
    assert_eq!(state.apply(START, dated(of_epoch_2(2), RESTORED_MS + SKEW_MS)), doubt);
    let cancel = Command::Cancel { order: id, key: key(9), reason: String::new() };
    assert_eq!(state.apply(START, dated(cancel, RESTORED_MS - 1)), doubt, "every keyed verb");
    let lost = Command::Cancel { order: order_id(77), key: key(8), reason: String::new() };
    assert_eq!(state.apply(START, lost), doubt, "of an order that was lost, too");
    assert!(matches!(
        state.apply(START, dated(of_epoch_2(2), RESTORED_MS + SKEW_MS + 1)),
        Outcome::Done(_)
    ));
    let later = START.plus_ms(settings().key_ttl_ms + 1);
    state.advance(later);
    assert!(!state.doubting());
    assert!(matches!(state.apply(later, of_epoch_2(3)), Outcome::Done(_)));
}

#[test]
fn payments_of_unknown_orders_are_listed_and_must_be_settled() {
    for cancel in [true, false] {
        let (mut state, id) = restored(cancel);
        answer_all(&mut state);
        let found = |n: u64| Found {
            key: format!("pay-{n}"),
            order: order_id(n),
            reference: Reference("r".into()),
        };
        let all = vec![found(1), found(5), found(6)];
        assert_eq!(found(1).order, id);
        step(&mut state, Step::Listed { found: all, last: true, looked: Vec::new() });
        let states = |state: &State| -> Vec<StrayState> {
            state.restored.as_ref().unwrap().strays.values().map(|stray| stray.state).collect()
        };
        let listed = if cancel { StrayState::Cancelling } else { StrayState::Open };
        assert_eq!(states(&state), [listed; 2], "not the one that the books know");
        assert_eq!(step(&mut state, Step::End), Outcome::Refused(Refused::NotRestoring));
        if !cancel {
            step(&mut state, Step::Decide { key: Some("pay-5".into()), cancel: false });
            step(&mut state, Step::Decide { key: None, cancel: true });
            assert_eq!(states(&state), [StrayState::Kept, StrayState::Cancelling]);
        } else {
            step(&mut state, Step::Cancelled { key: "pay-5".into() });
        }
        step(&mut state, Step::Cancelled { key: "pay-6".into() });
        assert_eq!(step(&mut state, Step::End), Outcome::Noted);
        holds(&state);
    }
}

#[test]
fn what_a_restore_left_to_settle_is_in_checkpoints_and_digests() {
    let (state, _) = restored(false);
    let (plain, _) = placed(contents());
    assert_ne!(plain.digest(), state.digest());
    for state in [plain, state] {
        let machine = OrdersMachine::of(state);
        let mut bytes = Vec::new();
        machine.freeze().write(&mut bytes).unwrap();
        assert_eq!(machine.freeze().digest_full(), machine.digest());
        let again = OrdersMachine::thaw(&mut &bytes[..]).unwrap();
        assert_eq!((again.digest(), again.digest_full()), (machine.digest(), machine.digest()));
        assert_eq!(again.state.restored, machine.state.restored);
    }
}

#[test]
fn a_peers_copies_show_what_a_restored_home_lost() {
    let mut peer = State::new(settings());
    let region = RegionNumber::try_from(2).unwrap();
    let ship = |peer: &mut State, epoch, events: Vec<(u64, u64, u64, &'static str)>| {
        let upto = events.last().unwrap().0;
        let event = |(sequence, order, version, view): (u64, u64, u64, &'static str)| RemoteEvent {
            sequence,
            order: order_id(order),
            version,
            view: Bytes::from_static(view.as_bytes()),
            shown: Shown::default(),
            forks: Vec::new(),
            fault: None,
        };
        let origin = Origin { region, group: 0, epoch };
        let events = events.into_iter().map(event).collect();
        let current_as_of_ms = Some(1);
        let batch = Batch { origin, after: 0, upto, current_as_of_ms, events };
        peer.apply(START, Command::ApplyRemote(Box::new(batch)))
    };
    // Orders 1 to 4 as the peer has them; the restored home knows 1 as it is, 2 at an earlier
    // version, 3 with another content, and 4 not at all.
    let before = vec![(1, 1, 2, "a2"), (2, 2, 3, "b3"), (3, 3, 1, "c1"), (4, 4, 1, "d1")];
    ship(&mut peer, 1, before);
    assert!(peer.remote.differences(None, None, 10).is_empty());
    ship(&mut peer, 2, vec![(1, 1, 2, "a2"), (2, 2, 1, "b1"), (3, 3, 1, "other")]);
    let found = peer.remote.differences(Some(region), None, 10);
    let kinds: Vec<_> = (1..=4)
        .map(|n| found.iter().find(|(order, _)| *order == order_id(n)).map(|(_, d)| d.kind))
        .collect();
    use DifferenceKind::{Ahead, Conflict, OnlyHere};
    assert_eq!(kinds, [None, Some(Ahead), Some(Conflict), Some(OnlyHere)]);
    let view = |n| peer.remote.copies.get(&order_id(n)).unwrap().view.clone();
    assert_eq!([view(2), view(4)], ["b3", "d1"], "nothing of it is lost");
    let cursor =
        |epoch| peer.remote.cursors.get(&Origin { region, group: 0, epoch }).unwrap().applied;
    assert_eq!((cursor(1), cursor(2)), (4, 3), "each epoch has its own cursor");
    let page = |after| peer.remote.differences(None, after, 2);
    let orders = |page: Vec<(OrderId, Difference)>| -> Vec<OrderId> {
        page.into_iter().map(|(order, _)| order).collect()
    };
    let mut all = [order_id(2), order_id(3), order_id(4)];
    all.sort();
    assert_eq!(orders(page(None)), all[..2]);
    assert_eq!(orders(page(Some(all[1]))), all[2..]);
    assert!(page(Some(all[2])).is_empty());
}
