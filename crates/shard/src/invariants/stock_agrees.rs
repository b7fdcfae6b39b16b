//! 6, in one log: what an order believes of its stock is what the near stock books have.
//!
//! | the order's part | the reservation under its hold |
//! |---|---|
//! | reserving | none, or held |
//! | held | held, each line whole; run out, voided; committed while the last leg is outstanding |
//! | refused | none; held after an odd answer |
//! | committed | committed, each line open as far as the order shipped; gone once all was shipped |
//! | releasing | any: a step back whose forerunner's answer was never known |
//! | uncommitting | committed, or none |
//! | gone, unallocated | none; held where it is left to run out |
//!
//! Where a step of it is outstanding a lane may have done it already: only then may a shipment be
//! in one of the two alone. What an order has shipped or taken back for good, the books have done
//! under that id (how much of what came back is not compared). Each reservation is of an order that
//! has a part with its hold.

use hansa_ledger::core::inventory::{Remembered, Reservation};
use hansa_ledger::core::outcome::OutcomeCode;
use hansa_orders::core::contents::Contents;
use hansa_orders::core::effect::{Effect, RefusalCode};
use hansa_orders::core::order::{Done, Movement, Order, Part, Stock};
use hansa_types::id::{OrderId, TransferId};

use super::{Kept, Left, Look, Wrong};

pub const NAME: &str = "orders-agree-with-near-stock";

pub fn of_order(look: &Look<'_>, id: OrderId, (order, contents): Kept<'_>) -> Result<(), String> {
    for part in order.parts.iter().filter(|part| part.group == look.index()) {
        let reservation = look.stock.reservation(&part.hold);
        if let Some(other) = reservation.filter(|held| held.order != id) {
            return Err(format!("its hold {} is that of order {}", part.hold, other.order));
        }
        if !part_agrees(look, (order, contents), part, reservation) {
            let books = reservation.map(|held| held.state);
            let (stock, hold) = (&part.stock, part.hold);
            return Err(format!("{stock:?} by its own word; hold {hold} in the books: {books:?}"));
        }
    }
    moved_agrees(look, order)
}

fn part_agrees(
    look: &Look<'_>,
    (order, contents): Kept<'_>,
    part: &Part,
    reservation: Option<&Reservation>,
) -> bool {
    let committed = reservation.map(|held| held.expires().is_none());
    let whole =
        || order.came() || reservation.is_some_and(|held| open_agrees(order, contents, part, held));
    match (&part.stock, committed) {
        (Stock::Reserving, is) => is != Some(true),
        (Stock::Held { .. }, Some(false)) => whole(),
        // By a lane, which has not said so yet.
        (Stock::Held { .. }, Some(true)) => order.outstanding(Effect::Settle),
        (Stock::Held { .. }, None) => {
            let gone = [OutcomeCode::Expired, OutcomeCode::AlreadyVoided];
            ended(look, part.hold, &gone)
        }
        (Stock::Refused(why), is) => match is {
            None => true,
            Some(committed) => !committed && why.code == RefusalCode::Other,
        },
        (Stock::Committed, Some(true)) => whole(),
        (Stock::Committed, Some(false)) => false,
        (Stock::Committed, None) if order.came() => {
            // Nothing was reserved of what had left elsewhere.
            !order.shipments.is_empty() || left(order, contents, part) == 0
        }
        (Stock::Committed, None) => {
            let shipped = left(order, contents, part) == 0;
            shipped && ended(look, part.hold, &[OutcomeCode::AlreadyPosted])
        }
        (Stock::Releasing, _) => true,
        (Stock::Uncommitting, is) => is != Some(false),
        // Its last leg was refused after it was confirmed elsewhere.
        (Stock::Gone | Stock::Unallocated, Some(false)) => order.settled || order.came(),
        (Stock::Gone | Stock::Unallocated, is) => is.is_none(),
    }
}

/// Whether a reservation ended in one of these ways, or so long ago that nobody knows.
fn ended(look: &Look<'_>, hold: TransferId, how: &[OutcomeCode]) -> bool {
    match look.stock.remembered(hold) {
        Remembered::Forgotten => true,
        Remembered::Never => false,
        Remembered::Came { ended, .. } => ended.is_some_and(|code| how.contains(&code)),
    }
}

/// Units of a part that have not left the house, and are not about to.
fn left(order: &Order, contents: &Contents, part: &Part) -> u32 {
    let moved = |place| Order::moved(&order.shipments, place);
    let lines = contents.of_group(part.group);
    lines.map(|(place, line)| line.quantity.saturating_sub(moved(place))).sum()
}

/// Line by line: all but what was shipped, or is about to be and may be in the books already; and
/// no other line.
fn open_agrees(order: &Order, contents: &Contents, part: &Part, held: &Reservation) -> bool {
    let known =
        |line: u32| contents.of_group(part.group).any(|(place, _)| u32::from(place) + 1 == line);
    held.lines.iter().all(|of| known(of.line))
        && contents.of_group(part.group).all(|(place, line)| {
            let number = u32::from(place) + 1;
            let open: u32 =
                held.lines.iter().filter(|of| of.line == number).map(|of| of.open()).sum();
            let shipped = |counts: fn(&Done) -> bool| -> u32 {
                let of = order.shipments.iter().filter(|of| counts(&of.state));
                of.map(|of| of.units(place)).sum()
            };
            let most = line.quantity.saturating_sub(shipped(|state| *state == Done::Done));
            let least = line.quantity.saturating_sub(shipped(Done::counts));
            (least..=most).contains(&open)
        })
}

/// What left and came back by this group's word was booked under the id that it has there.
fn moved_agrees(look: &Look<'_>, order: &Order) -> Result<(), String> {
    if order.came() {
        return Ok(());
    }
    let all = order.shipments.iter().chain(&order.returns);
    for movement in all.filter(|of| of.group == look.index()) {
        let applied = match look.stock.remembered(movement.id) {
            Remembered::Forgotten => continue,
            Remembered::Never => false,
            Remembered::Came { code, .. } => code == OutcomeCode::Applied,
        };
        let fine = match movement.state {
            Done::Outstanding => true,
            Done::Done => applied,
            Done::Refused(_) => !applied,
        };
        if !fine {
            let Movement { id, state, .. } = movement;
            return Err(format!("movement {id} is {state:?}; done in the books: {applied}"));
        }
    }
    Ok(())
}

/// # Errors
/// A reservation that is nobody's.
pub fn of_reservation(look: &Look<'_>, hold: TransferId) -> Result<(), Wrong> {
    let Some(reservation) = look.stock.reservation(&hold) else { return Ok(()) };
    let what = format!("reservation {hold}");
    let Some((order, _)) = look.named(reservation.order, &what, Left::HasNone)? else {
        return Ok(());
    };
    let index = look.index();
    let its = order.parts.iter().any(|part| part.group == index && part.hold == hold);
    let runs_out = order.came() && reservation.expires().is_some();
    match its || runs_out {
        true => Ok(()),
        false => Err((reservation.order, format!("{what} is of no part of it"))),
    }
}
