//! From a history to the entries of one key.

use crate::history::{Answer, Call, History, Outcome, Units};
use crate::life::Life;
use crate::requests::{Request, requests};
use crate::seen::{Fulfillment, OrderSeen, OrderState, RejectReason, StockKey};
use crate::trace::Labelled;
use crate::wgl::{Entry, Need, class};

use super::Step;

type Entries = Vec<Labelled<Step>>;

/// # Errors
/// Why the history does not say enough about this key.
pub fn of(history: &History, lives: &[Life<'_>], key: &StockKey) -> Result<Entries, String> {
    let mut entries = Entries::new();
    for request in requests(history) {
        if request.call.stock() == Some(key) {
            changed(&mut entries, &request);
        }
    }
    let reads = history.ops.iter().filter(|op| op.call == Call::ReadStock { stock: key.clone() });
    for op in reads {
        if let Some((Answer::StockRead { seen }, at)) = op.answer() {
            let step = seen.map_or(Step::ReadNothing, Step::Read);
            entries.push(Labelled::of(op, "read", Entry::done(step, op.invoked, at)));
        }
    }
    for life in lives.iter().filter(|life| life.units_at(key).0 > 0) {
        lived(&mut entries, life, key)?;
    }
    Ok(entries)
}

/// A receipt or an adjustment, and the reads in its answers.
fn changed(entries: &mut Entries, request: &Request<'_>) {
    let (step, less) = match *request.call {
        Call::Receive { quantity, .. } => (Step::Receive(quantity), 0),
        Call::Adjust { delta, expected_on_hand: expected, .. } => {
            (Step::Adjust { delta, expected }, -delta)
        }
        _ => return,
    };
    for op in &request.attempts {
        let (Outcome::Refused { reason }, Some(at)) = (&op.outcome, op.returned) else { continue };
        let why = match (reason.as_str(), step) {
            ("STOCK_TOO_LOW", Step::Adjust { .. }) => Step::TooFew { asked: less, free: None },
            ("COUNT_DIFFERS", Step::Adjust { expected: Some(expected), .. }) => {
                Step::CountDiffered { expected }
            }
            _ => continue,
        };
        // A refusal is remembered with the id: it may be the first attempt's.
        entries.push(Labelled::of(op, reason, Entry::done(why, request.begun(), at)));
    }
    let Some(from) = request.from() else { return };
    let effect = entries.len();
    entries.push(Labelled::of(
        request.first(),
        "takes effect",
        match request.by() {
            Some(by) => Entry::done(step, from, by),
            None => Entry::open(step, from).twin(class(&step), u64::MAX),
        },
    ));
    for op in &request.attempts {
        if let Some((seen, at)) = op.stock_seen() {
            let read = Entry::done(Step::Read(*seen), op.invoked, at).after(effect);
            entries.push(Labelled::of(op, "shows", read));
        }
    }
}

/// What an order did to the key.
fn lived(entries: &mut Entries, life: &Life<'_>, key: &StockKey) -> Result<(), String> {
    let (units, lines) = life.units_at(key);
    let rejected = life.views.iter().find_map(|view| Some((view.at, view.seen.rejected.as_ref()?)));
    if let Some((at, why)) = rejected.filter(|(_, why)| why.sku == key.sku) {
        match why.reason {
            RejectReason::OutOfStock => {
                // With two lines, the second was counted beside the first.
                let free = (lines == 1).then_some(why.available);
                let step = Step::TooFew { asked: units, free };
                push(entries, life, "is refused", Entry::done(step, life.from, at));
                return Ok(());
            }
            RejectReason::UnknownSku => return Ok(()),
            _ => {}
        }
    }
    let held = life.seen_by(|seen| {
        seen.fulfillment == Fulfillment::Allocated && seen.state != OrderState::Parked
    });
    let hold = Entry::open(Step::Hold(units), life.from);
    match (life.confirmed_by(), life.ended_by()) {
        (Some(by), ended) => {
            let alone = life.cancels.is_empty() && life.ships.is_empty() && life.returns.is_empty();
            let both = held.map_or(by, |held| held.min(by));
            let twin = |entry: Entry<Step>, phase| match alone && (phase == 1 || both == by) {
                true => entry.twin(class(&(units, "confirmed", phase)), by),
                false => entry,
            };
            let hold = twin(due(hold, both, Need::Always), 0);
            let hold = push(entries, life, "holds", hold);
            let commit = due(Entry::open(Step::Commit(units), life.from), by, Need::Always);
            let commit = push(entries, life, "commits", twin(commit.after(hold), 1));
            let back = given_back(entries, life, units, commit, ended);
            moved(entries, life, key, commit, back)
        }
        (None, Some(by)) => {
            undone(entries, life, units, held, by);
            Ok(())
        }
        (None, None) => {
            unsettled(entries, life, units, held);
            Ok(())
        }
    }
}

/// A confirmed order that is cancelled.
fn given_back(
    entries: &mut Entries,
    life: &Life<'_>,
    n: i64,
    commit: usize,
    ended: Option<u64>,
) -> Option<usize> {
    let asked = life.cancels.iter().filter_map(Request::from).min()?;
    let uncommit = Entry::open(Step::Uncommit(n), asked).after(commit);
    let uncommit = match ended {
        Some(by) => due(uncommit, by, Need::Always),
        None => uncommit,
    };
    Some(push(entries, life, "uncommits", uncommit))
}

/// An order that was undone before anyone saw it confirmed.
fn undone(entries: &mut Entries, life: &Life<'_>, units: i64, held: Option<u64>, by: u64) {
    // What may have been held runs out by itself: after an answer that says so, or an odd one.
    let odd = |seen: &OrderSeen| {
        let reason = seen.rejected.as_ref().map(|why| why.reason);
        matches!(reason, Some(RejectReason::HoldExpired | RejectReason::StockRefused))
    };
    let strict = life.seen_by(odd).is_none();
    // Where another part was refused, nothing was ever committed.
    let refused = |seen: &OrderSeen| {
        let reason = seen.rejected.as_ref().map(|why| why.reason);
        matches!(reason, Some(RejectReason::OutOfStock | RejectReason::UnknownSku))
    };
    let refused = life.seen_by(refused).is_some();
    // Of those that may have been held, the one that must be over first is held first and given
    // back first: at its deadline another takes its place between two instants, if need be.
    let twin = |entry: Entry<Step>, phase| match strict && (phase > 0 || held.is_none()) {
        true => entry.twin(class(&(units, "undone", refused, phase)), by),
        false => entry,
    };
    let hold = match held {
        Some(held) => Entry::done(Step::Hold(units), life.from, held.min(by)),
        None => due(Entry::open(Step::Hold(units), life.from), by, Need::Never),
    };
    let hold = push(entries, life, "holds", twin(hold, 0));
    let release = Entry::open(Step::Release(units), life.from).after(hold);
    let release = match strict {
        true => due(release, by, Need::IfDone(hold)),
        false => release,
    };
    if refused {
        push(entries, life, "releases", twin(release, 1));
        return;
    }
    // Committed and brought back is to the reader as released: reserved once, free again. Only
    // between the two it shows, so it is one way of two.
    let commit = Entry::open(Step::Commit(units), life.from).after(hold);
    let commit = push(entries, life, "commits", twin(due(commit, by, Need::Never), 2));
    let uncommit = Entry::open(Step::Uncommit(units), life.from).after(commit);
    let uncommit = due(uncommit, by, Need::IfDone(commit));
    push(entries, life, "uncommits", twin(uncommit, 3));
    let release = release.not_with(commit).needed(match strict {
        true => Need::IfDoneWithout(hold, commit),
        false => Need::Never,
    });
    push(entries, life, "releases", twin(release, 4));
}

/// An order of which nobody saw the end: every step may happen, at any time or never.
fn unsettled(entries: &mut Entries, life: &Life<'_>, units: i64, held: Option<u64>) {
    let twin = |entry: Entry<Step>, phase| match phase > 0 || held.is_none() {
        true => entry.twin(class(&(units, "unsettled", phase)), u64::MAX),
        false => entry,
    };
    let hold = match held {
        Some(held) => Entry::done(Step::Hold(units), life.from, held),
        None => Entry::open(Step::Hold(units), life.from),
    };
    let hold = push(entries, life, "may hold", twin(hold, 0));
    let commit = Entry::open(Step::Commit(units), life.from).after(hold);
    let commit = push(entries, life, "may commit", twin(commit, 1));
    let uncommit = Entry::open(Step::Uncommit(units), life.from).after(commit);
    push(entries, life, "may uncommit", twin(uncommit, 2));
    let release = Entry::open(Step::Release(units), life.from).after(hold).not_with(commit);
    push(entries, life, "may release", twin(release, 3));
}

/// Shipments and returns; an order that has any is not cancelled any more (`NOT_CANCELLABLE`), and
/// a cancelled one has none.
fn moved(
    entries: &mut Entries,
    life: &Life<'_>,
    key: &StockKey,
    commit: usize,
    back: Option<usize>,
) -> Result<(), String> {
    let all: Vec<Units> = (1..)
        .zip(life.place.map_or(&[][..], |place| &place.lines))
        .map(|(line, ordered)| Units { line, quantity: ordered.quantity })
        .collect();
    for (requests, shipped) in [(&life.ships, true), (&life.returns, false)] {
        for request in requests {
            let lines = match request.call {
                Call::Ship { lines, .. } if lines.is_empty() && life.ships.len() > 1 => {
                    return Err("an order ships \"the rest\" in more than one shipment".to_owned());
                }
                Call::Ship { lines, .. } if lines.is_empty() => &all,
                Call::Ship { lines, .. } | Call::Return { lines, .. } => lines,
                _ => continue,
            };
            let here = life.moved_at(key, lines);
            let units: i64 = here.iter().map(|units| i64::from(units.quantity)).sum();
            let Some(from) = request.from().filter(|_| units > 0) else { continue };
            let step = if shipped { Step::Ship(units) } else { Step::Return(units) };
            let entry = Entry { not_with: back, ..Entry::open(step, from).after(commit) };
            let entry = match shown_by(life, requests, &here, from, shipped) {
                Some(by) => due(entry, by, Need::Always),
                None => entry,
            };
            let what = if shipped { "ships" } else { "takes back" };
            entries.push(Labelled::of(request.first(), what, entry));
        }
    }
    Ok(())
}

/// When an answer after `from` first showed as much moved of these lines as all requests until then
/// asked for.
fn shown_by(
    life: &Life<'_>,
    requests: &[Request<'_>],
    lines: &[Units],
    from: u64,
    shipped: bool,
) -> Option<u64> {
    let asked = |line: u32, before: u64| -> u32 {
        let begun = requests.iter().filter(|request| request.from().is_some_and(|at| at < before));
        let units = begun.flat_map(|request| match request.call {
            Call::Ship { lines, .. } | Call::Return { lines, .. } => lines.as_slice(),
            _ => &[],
        });
        units.filter(|units| units.line == line).map(|units| units.quantity).sum()
    };
    let whole = |line: u32| {
        let place = (line as usize).checked_sub(1)?;
        life.place?.lines.get(place).map(|ordered| ordered.quantity)
    };
    let mut later = life.views.iter().filter(|view| view.at > from);
    let shown = later.find(|view| {
        lines.iter().all(|units| {
            let seen = view.seen.lines.iter().find(|seen| seen.line == units.line);
            let moved = seen.map_or(0, |seen| if shipped { seen.shipped } else { seen.returned });
            // "The rest" names no lines and is the only shipment: then everything has moved.
            match asked(units.line, view.at) {
                0 => Some(moved) == whole(units.line),
                asked => moved == asked,
            }
        })
    });
    shown.map(|view| view.at)
}

fn due(entry: Entry<Step>, by: u64, need: Need) -> Entry<Step> {
    Entry { by: Some(by), need, ..entry }
}

fn push(entries: &mut Entries, life: &Life<'_>, what: &str, entry: Entry<Step>) -> usize {
    entries.push(match life.op {
        Some(op) => Labelled::of(op, what, entry),
        None => Labelled::bare(what, entry),
    });
    entries.len() - 1
}
