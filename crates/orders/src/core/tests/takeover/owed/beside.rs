//! What comes beside a wish that is owed: moves that are called off, orders of others, deletions.

use super::*;
use crate::start::alive_again;

fn next() -> KeyOf {
    KeyOf { generation: HIS, ..key_at(1) }
}

/// A owes him a forgetting, and what comes from B lies under his next key. He had left A for B
/// before, or never was there.
fn comes(left: bool) -> State {
    let (mut a, _) = placed(contents());
    if left {
        leave(&mut a, (key_at(1), 2), 1);
    }
    told(&mut a, WISH);
    assert_eq!(bring(&mut a, HIS, true), Outcome::Noted);
    a
}

fn call_off(a: &mut State) {
    let (subject, by) = (key_at(1).subject, Some(region(2)));
    moved(a, moves::Step::Abandon { subject, by, asked_ms: 5, destroy_after_ms: 9 });
    assert_eq!(a.moves.kept_of(subject).count(), 0);
    holds(a);
}

/// When nothing that is brought holds up a deletion any more.
fn delete_late(a: &mut State) -> Outcome {
    let (subject, by, reason) = (key_at(1).subject, String::new(), String::new());
    let step = moves::Step::Delete { subject, asked_ms: 5, destroy_after_ms: 9, by, reason };
    let outcome = a.apply(START.plus_ms(700_000), Command::Moves(step));
    holds(a);
    outcome
}

/// An order that went on here after a take-over ends, asked for by a request from after that.
fn end_late(state: &mut State, order: OrderId, n: u128) {
    run(state, fine);
    let cancel = Box::new(Command::Cancel { order, key: key(n), reason: String::new() });
    let cancel = Command::Dated { first_sent_ms: u64::MAX, command: cancel };
    assert!(matches!(apply(state, cancel), Outcome::Done(_)));
    run(state, fine);
}

#[test]
fn what_came_of_a_move_that_was_called_off_goes_with_the_wish() {
    for left in [false, true] {
        let mut a = comes(left);
        call_off(&mut a);
        assert!(alive(&a, key_at(1)), "an order is under way under it");
        // Who comes again brings all of it again.
        assert!(matches!(a.sealing_key(next().subject), Next::Mint(3, _)));
        end(&mut a);
        let mut at_once = thawed(&a);
        carry_out(&mut a);
        let mut both = vec![a];
        if left {
            assert_eq!(delete_late(&mut both[0]), Outcome::Noted);
            assert_eq!(delete_late(&mut at_once), Outcome::Noted);
            assert!(at_once.owed.is_empty());
            both.push(at_once);
        }
        for a in both {
            assert!(!alive(&a, key_at(1)) && !alive(&a, next()), "{left}");
            assert_eq!(words(&a), [(HIS, 77, Cause::Erased)]);
        }
    }
}

#[test]
fn what_came_of_it_goes_by_itself_where_the_wish_was_carried_out_before() {
    for (left, deleted) in [(false, false), (true, false), (true, true)] {
        let mut a = comes(left);
        end(&mut a);
        carry_out(&mut a);
        assert!(alive(&a, next()), "he may arrive");
        if deleted {
            assert_eq!(delete_late(&mut a), Outcome::Noted);
            assert!(alive(&a, next()));
        }
        call_off(&mut a);
        assert!(!alive(&a, next()), "{left} {deleted}");
        assert_eq!(words(&a), [(1, 77, Cause::Erased), (HIS, 0, Cause::Left)]);
        if left {
            assert_eq!(delete_late(&mut a), Outcome::Noted);
            assert_eq!(a.moves.due(u64::MAX).count(), 0);
        }
    }
}

#[test]
fn what_he_left_goes_with_every_key_that_opens_it() {
    let mut a = comes(true);
    end(&mut a);
    carry_out(&mut a);
    // As an order that A placed for B, whose births it had for a while.
    a.moves.carries.remove(&next().subject);
    let left = a.left_blocks(next().subject);
    assert_eq!(left.iter().map(|(of, ..)| *of).collect::<Vec<_>>(), [next()], "shown to be there");
    assert_eq!(delete_late(&mut a), Outcome::Noted);
    assert!(!alive(&a, next()) && a.moves.is_gone(next()));
    assert_eq!(words(&a), [(1, 77, Cause::Erased), (HIS, 4, Cause::Left)]);
}

#[test]
fn an_order_under_a_later_key_keeps_what_he_left() {
    let mut a = comes(true);
    end(&mut a);
    carry_out(&mut a);
    a.moves.carries.remove(&next().subject);
    // A has the births of B, where he lives.
    assert_eq!(step(&mut a, take_over(2, 2, 2)), Outcome::Noted);
    assert_eq!(step(&mut a, Step::Settled { birth: region(2), epoch: 2 }), Outcome::Noted);
    let contents = Contents { sealed_with: next(), ..contents() };
    let accept = Accept { order: born_there(), key: key(9), epoch: 2, contents, mint: None };
    let command = Box::new(Command::Accept(Box::new(accept)));
    let command = Box::new(Command::Dated { first_sent_ms: u64::MAX, command });
    assert!(matches!(apply(&mut a, Command::Resident { epoch: 1, command }), Outcome::Done(_)));
    assert_eq!(delete_late(&mut a), Outcome::Refused(Refused::OrderOpen(born_there())));
}

#[test]
fn what_he_ordered_under_the_next_key_stays_when_what_came_under_it_is_dropped() {
    let (mut a, _) = placed(contents());
    told(&mut a, WISH);
    assert!(matches!(order_anew(&mut a, ASKED.plus_ms(1), HIS, true), Outcome::Done(_)));
    assert_eq!(bring(&mut a, HIS, false), Outcome::Noted);
    call_off(&mut a);
    assert_eq!(a.owed.get(&next().subject).unwrap().upto, 1);
    end(&mut a);
    carry_out(&mut a);
    assert!(!alive(&a, key_at(1)) && alive(&a, next()));
}

#[test]
fn what_he_left_stays_until_it_is_deleted_when_what_came_later_is_dropped() {
    let mut a = group_of(1);
    assert_eq!(bring(&mut a, 1, true), Outcome::Noted);
    arrive(&mut a);
    leave(&mut a, (key_at(1), 2), 2);
    // A came back from a backup since: what comes lies under a key of its own.
    a.subjects.put(next(), wrapped(FIRST, 2));
    let later = OrderId::new(START, region(2), order_id(1).slot(), 6);
    assert_eq!(bring_of(&mut a, later, HIS, false), Outcome::Noted);
    let (subject, by) = (key_at(1).subject, Some(region(2)));
    moved(&mut a, moves::Step::Abandon { subject, by, asked_ms: 5, destroy_after_ms: 9 });
    assert_eq!(a.moves.kept_of(subject).collect::<Vec<_>>(), [born_there()]);
    assert!(alive(&a, key_at(1)) && words(&a).is_empty());
    holds(&a);
}

/// What A owns goes to B, which has ordered from him under A's key since he asked.
fn elsewhere() -> (State, State) {
    let (mut a, _) = placed(contents());
    assert!(matches!(order_anew(&mut a, ASKED.plus_ms(1), 1, false), Outcome::Done(_)));
    end_of(&mut a, order_id(9));
    let mut b = group_of(2);
    let share = KeyEntry { of: key_at(1), wrapped: wrapped(FIRST, 3) };
    assert_eq!(apply(&mut b, Command::Keys(KeyStep::Take(vec![share]))), Outcome::Noted);
    ship(&a, &mut b, origin(1));
    let (birth, owner) = (region(1), region(2));
    step(&mut a, Step::Elsewhere { birth, owner, epoch: 2, loss: None, handed: false });
    (a, b)
}

#[test]
fn orders_of_others_keep_no_wish_from_who_is_on_his_way() {
    for told_first in [true, false] {
        let (mut a, mut b) = elsewhere();
        if told_first {
            told(&mut a, WISH);
            assert_eq!(bring(&mut a, HIS, true), Outcome::Noted);
        } else {
            assert_eq!(bring(&mut a, 1, false), Outcome::Noted);
            told(&mut a, WISH);
            assert!(!a.holds(next().subject, born_there()), "it is to be brought again");
        }
        assert!(a.owed.contains(&next().subject), "{told_first}");
        survive(&a, &mut b, 2);
        ship(&b, &mut a, origin(2));
        carry_out(&mut a);
        assert!(!alive(&a, key_at(1)), "{told_first}");
        call_off(&mut a);
        assert!(!alive(&a, next()));
    }
}

#[test]
fn a_word_that_may_be_none_goes_before_the_deletion_of_what_he_left_and_waits_for_who_comes() {
    for comes in [false, true] {
        let (mut a, _) = placed(contents());
        told(&mut a, UNSAID);
        leave(&mut a, (key_at(1), 2), 1);
        end(&mut a);
        if comes {
            assert_eq!(bring(&mut a, 1, false), Outcome::Noted);
            assert_eq!(delete_late(&mut a), Outcome::Refused(Refused::Moved));
            let (subject, by) = (key_at(1).subject, Some(region(2)));
            moved(&mut a, moves::Step::Abandon { subject, by, asked_ms: 5, destroy_after_ms: 9 });
        }
        assert_eq!(delete_late(&mut a), Outcome::Noted);
        assert_eq!(words(&a), [(1, 77, Cause::Unsaid)], "{comes}");
        assert!(a.owed.is_empty());
    }
}

#[test]
fn a_wish_that_is_told_after_what_he_left_was_deleted_is_one() {
    let (mut a, _) = placed(contents());
    end(&mut a);
    leave(&mut a, (key_at(1), 3), 1);
    delete(&mut a, key_at(1));
    told(&mut a, UNSAID);
    assert_eq!(words(&a), [(1, 4, Cause::Left)], "which may be that deletion");
    let seq = a.meta.seq;
    told(&mut a, WISH);
    told(&mut a, WISH);
    assert_eq!(words(&a), [(1, 4, Cause::Left), (1, 77, Cause::Erased)]);
    assert_eq!(a.subjects.erased_after(seq).count(), 1, "peers hear of it, once");
    holds(&a);
    // A repeat of an older one was about what was there then, whoever says it.
    let (mut again, _) = placed(contents());
    end(&mut again);
    told(&mut again, WISH);
    arrive_from(&mut again, 3, 1);
    assert!(matches!(order_anew(&mut again, START, HIS, true), Outcome::Done(_)));
    end_of(&mut again, order_id(9));
    leave(&mut again, (next(), 3), 2);
    delete(&mut again, next());
    told(&mut again, Asked { request: Scope(78), ..WISH });
    assert_eq!(words(&again), [(1, 77, Cause::Erased), (HIS, 4, Cause::Left)]);
    // Who lives here by then asks here.
    let (mut lives, _) = placed(contents());
    end(&mut lives);
    leave(&mut lives, (key_at(1), 3), 1);
    delete(&mut lives, key_at(1));
    arrive_from(&mut lives, 3, 2);
    told(&mut lives, WISH);
    assert_eq!(words(&lives), [(1, 4, Cause::Left)]);
    // And it takes the key of another home, which the deletion left alone.
    let mut b = left_for_another();
    assert!(alive(&b, key_at(1)));
    let keys = vec![key_at(2)];
    let told = KeyStep::Told { keys, asked: WISH, asked_ms: 6, destroy_after_ms: 9 };
    assert_eq!(apply(&mut b, Command::Keys(told)), Outcome::Noted);
    assert!(!alive(&b, key_at(1)));
    holds(&b);
}

#[test]
fn an_order_from_before_the_wish_that_comes_home_goes_with_it() {
    let (mut a, _) = placed(contents());
    told(&mut a, WISH);
    let adopting = |a: &State, ms| a.adopting_key(next().subject, ms);
    assert!(matches!(adopting(&a, ASKED.ms()), Next::Use(1, _)));
    assert!(matches!(adopting(&a, ASKED.ms() + 1), Next::Mint(HIS, _)));
    arrive(&mut a);
    assert!(matches!(adopting(&a, ASKED.ms()), Next::Mint(HIS, _)), "of what he brought");
}

#[test]
fn it_is_adopted_under_the_key_that_is_to_go() {
    let (mut a, id) = placed(contents());
    let mut b = group_of(2);
    ship(&a, &mut b, origin(1));
    told(&mut a, WISH);
    let (birth, owner) = (region(1), region(2));
    step(&mut a, Step::Elsewhere { birth, owner, epoch: 2, loss: None, handed: false });
    survive(&a, &mut b, 2);
    ship(&b, &mut a, origin(2));
    // It is home before the wish is carried out.
    assert_eq!(step(&mut a, take_over(1, 2, 3)), Outcome::Noted);
    assert_eq!(adopt(&b, &mut a, 1, 3), 1);
    assert_eq!(a.contents.get(&id).unwrap().sealed_with, key_at(1));
    assert_eq!(a.owed_for(9), [id]);
    end_late(&mut a, id, 8);
    carry_out(&mut a);
    assert!(a.is_erased(id) && words(&a) == [(1, 77, Cause::Erased)]);
}

#[test]
fn a_wish_that_is_owed_is_carried_out_also_when_an_order_from_after_it_is_home_again() {
    let (mut a, id) = placed(contents());
    assert!(matches!(order_anew(&mut a, ASKED.plus_ms(1), 1, false), Outcome::Done(_)));
    handed::drained(&mut a, 2, 1);
    step(&mut a, handed::goes(2, 2, true));
    told(&mut a, WISH);
    assert!(a.owed.contains(&next().subject), "that order is another's by now");
    // Its owner is lost before a word of it came back.
    assert_eq!(step(&mut a, take_over(1, 2, 3)), Outcome::Noted);
    let orders = [id, order_id(9)].map(|order| Candidate::Again { order }).to_vec();
    let adopt = Step::Adopt { birth: region(1), epoch: 3, orders };
    assert_eq!(step(&mut a, adopt), Outcome::Adopted(2));
    handed::settle(&mut a, 3);
    assert_eq!(bring(&mut a, HIS, true), Outcome::Noted);
    end_late(&mut a, id, 8);
    end_late(&mut a, order_id(9), 7);
    carry_out(&mut a);
    assert!(!alive(&a, key_at(1)) && alive(&a, next()));
}

#[test]
fn a_newer_wish_is_about_what_he_ordered_since_the_older_one_also_while_he_comes() {
    let (mut a, _) = placed(contents());
    told(&mut a, WISH);
    assert!(matches!(order_anew(&mut a, ASKED.plus_ms(1), HIS, true), Outcome::Done(_)));
    assert_eq!(bring(&mut a, HIS, false), Outcome::Noted);
    told_at(&mut a, Asked { request: Scope(78), ..WISH }, ASKED.ms() + 2);
    assert_eq!(a.owed.get(&next().subject).unwrap().upto, HIS);
    assert!(!a.holds(next().subject, born_there()));
    assert_eq!(bring(&mut a, 3, true), Outcome::Noted);
    arrive(&mut a);
    end(&mut a);
    end_of(&mut a, order_id(9));
    carry_out(&mut a);
    assert!(!alive(&a, next()) && a.holds(next().subject, born_there()));
}

#[test]
fn a_group_that_comes_back_erases_every_key_that_the_word_on_the_vaults_list_took() {
    let (before, _) = placed(contents());
    let mut a = comes(false);
    let between = thawed(&a);
    call_off(&mut a);
    end(&mut a);
    carry_out(&mut a);
    // What the vault was told, twice for whom two words were about.
    let row = a.subjects.table.get(&next().subject).unwrap();
    let noted = row.erased.iter().flat_map(|erased| erased.keys_of(next().subject));
    let mut vault: Vec<_> = noted.map(|of| (of, FIRST)).collect();
    assert_eq!(vault, [(next(), FIRST)]);
    vault.push((key_at(1), FIRST));
    for (mut back, both) in [(before, false), (between, true)] {
        let keys = alive_again(&back, &vault, 9);
        assert_eq!(keys, [key_at(1), next()][..1 + usize::from(both)], "once each");
        assert_eq!(alive_again(&back, &vault, 1), [key_at(1)]);
        let again = KeyStep::Again { keys, asked_ms: 1, destroy_after_ms: 2 };
        assert_eq!(apply(&mut back, Command::Keys(again)), Outcome::Noted);
        assert!(alive_again(&back, &vault, 9).is_empty() && !alive(&back, key_at(1)));
        holds(&back);
    }
}

#[test]
fn nobody_leaves_with_the_key_that_is_to_go_once_he_has_ordered_under_the_next() {
    let (mut a, _) = placed(contents());
    a.contents.update(&order_id(1), |contents| contents.personal = Some(block()));
    told(&mut a, WISH);
    begin(&mut a, 2);
    let early = leaving(&a, (key_at(1), 2), 1);
    assert!(matches!(order_anew(&mut a, ASKED.plus_ms(1), HIS, true), Outcome::Done(_)));
    assert_eq!(apply(&mut a, Command::Moves(early)), Outcome::Refused(Refused::KeyChanged));
    // Who looks again brings that, and what goes with the wish stays here until it does.
    let again = leaving(&a, (next(), 2), 1);
    moved(&mut a, again);
    end(&mut a);
    end_of(&mut a, order_id(9));
    carry_out(&mut a);
    let left = a.left_blocks(next().subject);
    assert_eq!(left.iter().map(|(of, ..)| *of).collect::<Vec<_>>(), [next()]);
    assert_eq!(delete_late(&mut a), Outcome::Noted);
    assert_eq!(words(&a), [(1, 77, Cause::Erased), (HIS, 4, Cause::Left)]);
}

#[test]
fn a_key_of_his_that_opens_something_gives_way_to_no_other() {
    let mut a = comes(false);
    for generation in 3..18 {
        call_off(&mut a);
        assert_eq!(bring(&mut a, generation, true), Outcome::Noted);
    }
    call_off(&mut a);
    let full = Outcome::Refused(Refused::KeyChanged);
    assert_eq!(a.meta.erased_under, None);
    assert_eq!(order_anew(&mut a, ASKED.plus_ms(1), 18, true), full);
    assert_eq!(a.meta.erased_under, Some(FIRST), "it is in the log");
    assert_eq!(bring(&mut a, 18, true), full);
    assert!(alive(&a, key_at(1)), "an order is under way under it");
    end(&mut a);
    carry_out(&mut a);
    assert!(matches!(order_anew(&mut a, ASKED.plus_ms(1), 18, true), Outcome::Done(_)));
}
