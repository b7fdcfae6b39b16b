use proptest::prelude::*;

use super::*;
use crate::house::{Fault, House};
use crate::life::lives;
use crate::wgl::{self, Entry, Found};

const BUDGET: u64 = 1_000_000;
/// So much that nothing is ever refused.
const PLENTY: i64 = 1_000;

/// One key that begins with so many pieces.
struct From(i64);

impl Model for From {
    type State = Stock;
    type Op = Step;

    fn initial(&self) -> Stock {
        Stock { free: self.0, ..Stock::default() }
    }

    fn step(&self, state: &Stock, step: &Step, next: &mut Vec<Stock>) {
        OneKey.step(state, step, next);
    }

    fn adds(&self, step: &Step) -> Measures {
        OneKey.adds(step)
    }

    fn may(&self, state: &Stock, step: &Step, least: &Measures, most: &Measures) -> bool {
        OneKey.may(state, step, least, most)
    }

    fn observes(&self, step: &Step) -> bool {
        OneKey.observes(step)
    }

    fn room(&self, state: &Stock) -> Option<Measures> {
        OneKey.room(state)
    }
}

/// The same with nothing clever: every entry by itself, in every order.
struct Plain(i64);

impl Model for Plain {
    type State = Stock;
    type Op = Step;

    fn initial(&self) -> Stock {
        From(self.0).initial()
    }

    fn step(&self, state: &Stock, step: &Step, next: &mut Vec<Stock>) {
        OneKey.step(state, step, next);
    }
}

/// Whether it is explained; `None`: no verdict.
fn verdict<M: Model<Op = Step>>(model: &M, entries: &[Entry<Step>]) -> Option<bool> {
    match wgl::check(model, entries, BUDGET) {
        Found::Explained { .. } => Some(true),
        Found::Refuted(_) => Some(false),
        Found::GaveUp { .. } => None,
    }
}

/// What a short life of the house did to each of its keys.
fn keys(seed: u64, fault: Option<Fault>, ticks: usize) -> Vec<Vec<Entry<Step>>> {
    let mut house = House::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), 3, fault);
    house.live(ticks);
    let history = house.history();
    let lives = lives(history);
    let of = |key: &StockKey| entries::of(history, &lives, key).expect("says enough");
    let keys = history.stock_keys();
    let entries = keys.iter().map(|key| of(key).into_iter().map(|one| one.entry).collect());
    entries.collect()
}

/// As many more in the beginning; nothing is refused then.
fn rich(entries: &[Entry<Step>]) -> Vec<Entry<Step>> {
    let moved = |entry: &Entry<Step>| {
        let op = match entry.op {
            Step::Read(seen) => Step::Read(StockSeen { sellable: seen.sellable + PLENTY, ..seen }),
            Step::TooFew { asked, .. } => Step::TooFew { asked: asked + PLENTY, free: None },
            op => op,
        };
        Entry { op, ..entry.clone() }
    };
    entries.iter().map(moved).collect()
}

fn agree(entries: &[Entry<Step>], from: i64) -> Result<(), TestCaseError> {
    let plain: Vec<_> = entries.iter().map(|entry| Entry { twin: None, ..entry.clone() }).collect();
    // What costs the plain search too much cannot be compared.
    if let Some(found) = verdict(&Plain(from), &plain) {
        prop_assert_eq!(verdict(&From(from), entries), Some(found), "{:#?}", entries);
    }
    Ok(())
}

fn faults() -> impl Strategy<Value = Option<Fault>> {
    let wrong = [Fault::LostUpdate, Fault::StaleStock, Fault::DoubleRelease, Fault::LeakedHold];
    proptest::option::of(proptest::sample::select(wrong.to_vec()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_the_search_leaves_out_changes_no_verdict(
        seed in any::<u64>(),
        fault in faults(),
        ticks in 60_usize..160,
    ) {
        for entries in keys(seed, fault, ticks) {
            agree(&entries, 0)?;
            agree(&rich(&entries), PLENTY)?;
        }
    }
}

/// A group that has no quorum for a while: many orders of which nobody hears again, some that ended
/// before, one that is confirmed in the end, and a read; `pieces` are free, fewer than asked for.
fn outage(pieces: i64, lost: i64) -> Vec<Entry<Step>> {
    let mut entries = vec![Entry::done(Step::Receive(pieces), 0, 1)];
    for n in 0..24_u64 {
        let units = 1 + n as i64 % 4;
        let twin = |entry: Entry<Step>, phase| {
            entry.twin(wgl::class(&(units, "unsettled", phase)), u64::MAX)
        };
        let (from, hold) = (10 + n, entries.len());
        entries.push(twin(Entry::open(Step::Hold(units), from), 0));
        entries.push(twin(Entry::open(Step::Commit(units), from).after(hold), 1));
        entries.push(twin(Entry::open(Step::Uncommit(units), from).after(hold + 1), 2));
        let release = Entry::open(Step::Release(units), from).after(hold).not_with(hold + 1);
        entries.push(twin(release, 3));
    }
    // An unknown receipt, and a confirmed order.
    entries.push(Entry::open(Step::Receive(5), 20));
    let hold = entries.len();
    entries.push(Entry::done(Step::Hold(3), 50, 60));
    entries.push(Entry::done(Step::Commit(3), 50, 60).after(hold));
    let (reserved, committed) = (7, 3 + 6);
    let sellable = pieces - reserved - committed - lost;
    let seen = StockSeen { sellable, reserved, committed, ..StockSeen::default() };
    entries.push(Entry::done(Step::Read(seen), 70, 71));
    entries
}

#[test]
fn many_unknown_outcomes_at_a_key_that_could_run_out_cost_little() {
    for pieces in [20, 1_000] {
        let Found::Explained { steps } = wgl::check(&OneKey, &outage(pieces, 0), BUDGET) else {
            panic!("{pieces} pieces: not explained")
        };
        assert!(steps < 10_000, "{pieces} pieces: {steps} steps");
    }
}

#[test]
fn a_piece_lost_among_many_unknown_outcomes_is_found() {
    for pieces in [20, 1_000] {
        let found = wgl::check(&OneKey, &outage(pieces, 1), BUDGET);
        assert!(matches!(found, Found::Refuted(_)), "{pieces} pieces: {found:?}");
    }
}
