//! 5, in one log: what an order believes of its money is what the near books of its payment have.
//!
//! | the order's funds | the hold | captured and given back |
//! |---|---|---|
//! | not needed, opening | none | nothing; as the order has it once a lane has opened them |
//! | holding, voiding | live, or none | nothing |
//! | held | live, for the whole; run out | nothing: a provider's answer is booked as it comes |
//! | refused | none; live after an odd answer | nothing |
//! | void | none | nothing |
//! | captured | none | as the order has it; what the books refused of it parks the order |
//!
//! Each payment, and each live hold, is of an order that names it.

use hansa_ledger::core::kernel::Fate;
use hansa_ledger::core::payments::{PaymentBooks, PaymentKey};
use hansa_orders::core::effect::{Effect, RefusalCode};
use hansa_orders::core::order::{Funds, Order};
use hansa_types::id::{OrderId, TransferId};

use super::{Kept, Left, Look, Wrong};

pub const NAME: &str = "orders-agree-with-near-money";

fn key(payment: TransferId) -> PaymentKey {
    PaymentKey(u128::from_be_bytes(payment.to_bytes()))
}

pub fn of_order(look: &Look<'_>, id: OrderId, (order, contents): Kept<'_>) -> Result<(), String> {
    let near = contents.payment_group == look.index();
    let Some(payment) = order.money.payment.filter(|_| near).map(key) else { return Ok(()) };
    let books = look.money.payment(&payment);
    if let Some(books) = books {
        if books.order != id {
            return Err(format!("its payment is that of order {}", books.order));
        }
        if books.currency != contents.currency {
            return Err(format!("its payment is in {}", books.currency));
        }
    }
    hold_agrees(look, (order, contents), payment)?;
    amounts_agree(order, books)
}

fn hold_agrees(
    look: &Look<'_>,
    (order, contents): Kept<'_>,
    payment: PaymentKey,
) -> Result<(), String> {
    let Some(id) = order.money.hold else { return Ok(()) };
    let hold = look.money.kernel().books().hold(&id);
    let total = u64::try_from(contents.total_minor).unwrap_or(0);
    if let Some(hold) = hold
        && (hold.reference.0, hold.amount) != (payment.0, total)
    {
        return Err(format!("its hold {id} is of {} and not of its {total}", hold.amount));
    }
    let fine = match (&order.funds, hold.is_some()) {
        (Funds::Holding | Funds::Voiding, _) | (Funds::Held, true) => true,
        (Funds::Held, false) => ran_out(look, order, id),
        // Given back, and asked for again since.
        (Funds::Void, true) => order.outstanding(Effect::HoldFunds),
        (Funds::Refused(why), true) => why.code == RefusalCode::Other,
        (Funds::NotNeeded | Funds::Captured | Funds::Opening, true) => false,
        (_, false) => true,
    };
    match fine {
        true => Ok(()),
        false => {
            let (funds, live) = (&order.funds, hold.is_some());
            Err(format!("{funds:?} by its own word; hold {id} is live in the books: {live}"))
        }
    }
}

/// Whether a hold is gone by time alone, or so long ago that nobody knows.
fn ran_out(look: &Look<'_>, order: &Order, hold: TransferId) -> bool {
    let window_ms = look.money.settings().id_window_ms;
    match look.money.kernel().seen(&hold).map(|seen| seen.fate) {
        Some(Fate::Expired) => true,
        Some(Fate::Voided(_)) => order.came(),
        Some(Fate::Applied | Fate::Posted(_) | Fate::Burnt(_)) => false,
        None => hold.at().plus_ms(window_ms) < look.money.now(),
    }
}

fn amounts_agree(order: &Order, books: Option<PaymentBooks>) -> Result<(), String> {
    let in_books = books.map_or((0, 0), |books| (books.captured, books.refunded));
    let facts = [order.money.captured_minor, order.money.refunded_minor];
    let [captured, refunded] = facts.map(|minor| u64::try_from(minor).unwrap_or(0));
    let fine = match &order.funds {
        Funds::Captured => {
            // Paid back, and refused by the books: somebody looks at it.
            let unbooked = order.parked.is_some() && in_books.1 <= refunded;
            in_books.0 == captured && (in_books.1 == refunded || unbooked)
        }
        Funds::Opening if order.outstanding(Effect::Open) && in_books != (0, 0) => {
            in_books.0 == captured
        }
        _ => in_books == (0, 0),
    };
    if fine {
        return Ok(());
    }
    let (funds, (in_books, back)) = (&order.funds, in_books);
    Err(format!(
        "{funds:?}, captured {captured} and refunded {refunded} by its own word; {in_books} and \
         {back} in the books"
    ))
}

/// # Errors
/// A payment that is no order's.
pub fn of_payment(look: &Look<'_>, payment: PaymentKey) -> Result<(), Wrong> {
    let Some(id) = look.money.order_of(&payment) else { return Ok(()) };
    let what = format!("payment {:032x}", payment.0);
    let Some((order, contents)) = look.named(id, &what, Left::MayHave)? else { return Ok(()) };
    let its = order.money.payment.map(key) == Some(payment);
    match (its && contents.payment_group == look.index()) || order.came() {
        true => Ok(()),
        false => Err((id, format!("{what} is not the one that it has"))),
    }
}

/// # Errors
/// A live hold that is no order's.
pub fn of_hold(look: &Look<'_>, hold: TransferId) -> Result<(), Wrong> {
    let Some(live) = look.money.kernel().books().hold(&hold) else { return Ok(()) };
    let payment = PaymentKey(live.reference.0);
    let Some(id) = look.money.order_of(&payment) else { return Ok(()) };
    let what = format!("hold {hold} of money");
    let Some((order, _)) = look.named(id, &what, Left::HasNone)? else { return Ok(()) };
    let earlier = order.came() && order.money.payment.map(key) != Some(payment);
    match order.money.hold == Some(hold) || earlier {
        true => Ok(()),
        false => Err((id, format!("{what} is not the one that it has"))),
    }
}
