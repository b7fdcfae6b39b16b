use proptest::prelude::*;
use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};
use todc_utils::specifications::Specification;

use super::*;

/// A counter that never falls below zero, and says how it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    Add(i64),
    Read(i64),
}

struct Counter;

impl Model for Counter {
    type State = i64;
    type Op = Op;

    fn initial(&self) -> i64 {
        0
    }

    fn step(&self, state: &i64, op: &Op, next: &mut Vec<i64>) {
        next.extend(apply(*state, *op));
    }

    fn adds(&self, op: &Op) -> Measures {
        match op {
            Op::Add(n) => [*n, 0, 0, 0, 0],
            Op::Read(_) => Measures::default(),
        }
    }

    fn may(&self, state: &i64, op: &Op, least: &Measures, most: &Measures) -> bool {
        match op {
            Op::Add(_) => true,
            Op::Read(n) => (state + least[0]..=state + most[0]).contains(n),
        }
    }

    fn observes(&self, op: &Op) -> bool {
        matches!(op, Op::Read(_))
    }

    fn room(&self, state: &i64) -> Option<Measures> {
        Some([*state, NO_FLOOR, NO_FLOOR, NO_FLOOR, NO_FLOOR])
    }
}

fn apply(state: i64, op: Op) -> Option<i64> {
    match op {
        Op::Add(n) => (state + n >= 0).then_some(state + n),
        Op::Read(n) => (state == n).then_some(state),
    }
}

struct Spec;

impl Specification for Spec {
    type State = i64;
    type Operation = Op;

    fn init() -> i64 {
        0
    }

    fn apply(op: &Op, state: &i64) -> (bool, i64) {
        let next = apply(*state, *op);
        (next.is_some(), next.unwrap_or(*state))
    }
}

const BUDGET: u64 = 10_000_000;

fn explained(entries: &[Entry<Op>]) -> bool {
    let found = check(&Counter, entries, BUDGET);
    let same = |other: &Found| std::mem::discriminant(other) == std::mem::discriminant(&found);
    assert!(same(&whole(&Counter, entries, BUDGET)));
    match found {
        Found::Explained { .. } => true,
        Found::Refuted(_) => false,
        Found::GaveUp { why } => panic!("{why}"),
    }
}

/// One client after the other draws ops whose windows overlap; instants are unique.
fn histories(clients: usize, ops: usize) -> impl Strategy<Value = Vec<(usize, Op, u64, u64)>> {
    let op = prop_oneof![(-2_i64..3).prop_map(Op::Add), (0_i64..4).prop_map(Op::Read)];
    let one = (0..clients, op, any::<bool>());
    proptest::collection::vec(one, 1..ops).prop_flat_map(move |drawn| {
        // An interleaving of begins and ends: which client moves next.
        let turns = proptest::collection::vec(0..clients, 4 * drawn.len());
        (Just(drawn), turns).prop_map(move |(drawn, turns)| interleave(clients, &drawn, &turns))
    })
}

fn interleave(
    clients: usize,
    drawn: &[(usize, Op, bool)],
    turns: &[usize],
) -> Vec<(usize, Op, u64, u64)> {
    let mut queues: Vec<Vec<Op>> = vec![Vec::new(); clients];
    drawn.iter().rev().for_each(|(client, op, _)| queues[*client].push(*op));
    let mut running: Vec<Option<(Op, u64)>> = vec![None; clients];
    let (mut now, mut history) = (0, Vec::new());
    let rest = (0..clients).cycle().take(2 * clients * drawn.len());
    for client in turns.iter().copied().chain(rest) {
        now += 1;
        running[client] = match running[client].take() {
            Some((op, begun)) => {
                history.push((client, op, begun, now));
                None
            }
            None => queues[client].pop().map(|op| (op, now)),
        };
    }
    history
}

fn todc(history: &[(usize, Op, u64, u64)]) -> bool {
    let mut actions: Vec<(u64, usize, Action<Op>)> = Vec::new();
    for (client, op, begun, ended) in history {
        actions.push((*begun, *client, Action::Call(*op)));
        actions.push((*ended, *client, Action::Response(*op)));
    }
    actions.sort_by_key(|(at, ..)| *at);
    let actions = actions.into_iter().map(|(_, client, action)| (client, action)).collect();
    WGLChecker::<Spec>::is_linearizable(History::from_actions(actions))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_todc_where_every_outcome_is_known(history in histories(3, 9)) {
        let done = |(_, op, begun, ended): &(usize, Op, u64, u64)| Entry::done(*op, *begun, *ended);
        let entries: Vec<_> = history.iter().map(done).collect();
        prop_assert_eq!(explained(&entries), todc(&history));
    }

    #[test]
    fn agrees_with_brute_force_where_some_are_unknown(
        history in histories(3, 6),
        fates in proptest::collection::vec(0_u8..8, 6),
        links in proptest::collection::vec(0_usize..12, 6),
    ) {
        let entries = with_fates(&history, &fates, &links);
        prop_assert_eq!(explained(&entries), brute_force(&entries), "{:#?}", entries);
    }

    #[test]
    fn twins_change_no_verdict(adds in proptest::collection::vec((1_i64..3, 0_u64..9), 1..6),
        reads in proptest::collection::vec((0_i64..6, 0_u64..9, 0_u64..4), 1..4))
    {
        let open = |(n, at): &(i64, u64)| Entry::open(Op::Add(*n), *at);
        let read = |(n, at, long): &(i64, u64, u64)| Entry::done(Op::Read(*n), *at, at + long);
        let plain: Vec<_> = adds.iter().map(open).chain(reads.iter().map(read)).collect();
        let twins = plain.iter().cloned().map(|entry| match entry.op {
            Op::Add(n) => entry.twin(n.unsigned_abs(), u64::MAX),
            Op::Read(_) => entry,
        });
        prop_assert_eq!(explained(&plain), explained(&twins.collect::<Vec<_>>()));
    }
}

/// Makes some ops unknown, some optional, and some dependent on earlier ones.
fn with_fates(history: &[(usize, Op, u64, u64)], fates: &[u8], links: &[usize]) -> Vec<Entry<Op>> {
    let mut entries: Vec<Entry<Op>> = Vec::new();
    for (n, (_, op, begun, ended)) in history.iter().enumerate() {
        let fate = fates.get(n).copied().unwrap_or_default();
        let entry = match fate {
            0..4 => Entry::done(*op, *begun, *ended),
            4 => Entry::done(*op, *begun, *ended).needed(Need::Never),
            _ => Entry::open(*op, *begun),
        };
        let link = links.get(n).copied().unwrap_or(usize::MAX);
        entries.push(match (link < n, fate) {
            (false, _) => entry,
            (true, 0 | 5) => entry.after(link),
            (true, 1 | 6) => entry.not_with(link),
            (true, 4) => entry.needed(Need::IfDone(link)),
            (true, _) => entry,
        });
    }
    entries
}

/// Every subset of entries in every order: what "can be explained" means, with nothing clever.
fn brute_force(entries: &[Entry<Op>]) -> bool {
    fn go(entries: &[Entry<Op>], order: &mut Vec<usize>, state: i64) -> bool {
        if complete(entries, order) {
            return true;
        }
        for n in 0..entries.len() {
            let Some(next) = apply(state, entries[n].op) else { continue };
            if !order.contains(&n) && may_follow(entries, order, n) {
                order.push(n);
                if go(entries, order, next) {
                    return true;
                }
                order.pop();
            }
        }
        false
    }
    go(entries, &mut Vec::new(), 0)
}

fn may_follow(entries: &[Entry<Op>], order: &[usize], n: usize) -> bool {
    let entry = &entries[n];
    let overtaken =
        order.iter().any(|before| entry.by.is_some_and(|by| by < entries[*before].invoked));
    let excluded = order
        .iter()
        .any(|before| entry.not_with == Some(*before) || entries[*before].not_with == Some(n));
    !overtaken && !excluded && entry.after.is_none_or(|after| order.contains(&after))
}

fn complete(entries: &[Entry<Op>], order: &[usize]) -> bool {
    entries.iter().enumerate().all(|(n, entry)| {
        order.contains(&n)
            || match entry.need {
                Need::Always => false,
                Need::Never => true,
                // Not if the other one, and all after it, may have come after the deadline.
                Need::IfDone(other) => {
                    let from = order.iter().position(|n| *n == other).unwrap_or(order.len());
                    let late = |n: &usize| entries[*n].by.is_none_or(|by| Some(by) > entry.by);
                    order[from..].iter().all(late)
                }
                Need::IfDoneWithout(..) => true,
            }
    })
}

/// Two ways come to one state, of which one did not take what need not happen, and is over.
#[test]
fn of_one_state_what_was_done_beyond_comes_to_nothing_only_if_it_adds_up_to_that() {
    let entries = [
        Entry::done(Op::Add(2), 1, 2).needed(Need::Never),
        Entry::done(Op::Add(-1), 3, 5),
        Entry::done(Op::Add(2), 4, 6),
        Entry::open(Op::Read(2), 7),
        Entry::done(Op::Read(1), 9, 10).not_with(3),
    ];
    assert!(explained(&entries));
}

#[test]
fn a_lost_update_is_refuted_at_the_read_that_shows_it() {
    let entries = [
        Entry::done(Op::Add(2), 1, 4),
        Entry::done(Op::Add(3), 2, 5),
        Entry::done(Op::Read(5), 6, 7),
        Entry::done(Op::Read(3), 8, 9),
        Entry::done(Op::Read(5), 10, 11),
    ];
    let Found::Refuted(refuted) = check(&Counter, &entries, BUDGET) else { panic!("explained") };
    assert_eq!((refuted.entry, refuted.at), (3, 9));
    assert_eq!(refuted.states, ["5"]);
}

#[test]
fn an_unknown_outcome_may_come_late_but_not_go_again() {
    let mut entries = vec![
        Entry::open(Op::Add(2), 1),
        Entry::done(Op::Read(0), 5, 6),
        Entry::done(Op::Read(2), 7, 8),
    ];
    assert!(explained(&entries));
    entries.push(Entry::done(Op::Read(0), 9, 10));
    assert!(!explained(&entries));
}

#[test]
fn a_budget_that_runs_out_is_no_verdict() {
    // Which even numbers add up to an odd one?
    let entries: Vec<_> = (0..20).map(|n| Entry::open(Op::Add(100 + 2 * n as i64), n)).collect();
    let read = Entry::done(Op::Read(1_001), 30, 31);
    let all: Vec<_> = entries.into_iter().chain([read]).collect();
    assert!(matches!(check(&Counter, &all, 10_000), Found::GaveUp { .. }));
}

#[test]
fn a_hundred_unknown_twins_cost_little() {
    let twins = (0..100).map(|n| Entry::open(Op::Add(1), n).twin(1, u64::MAX));
    let read = |n: i64| Entry::done(Op::Read(n), 200 + 2 * n as u64, 201 + 2 * n as u64);
    let all: Vec<_> = twins.chain((0..=100).map(read)).collect();
    let Found::Explained { steps } = check(&Counter, &all, BUDGET) else { panic!("refuted") };
    assert!(steps < 20_000, "{steps}");
}
