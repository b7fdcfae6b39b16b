//! 5, of orders that left hot state: what the near books of their payments captured and gave back
//! is in all what they had when they left.
//!
//! An order that comes back is compared by itself again. While people have booked something about
//! one that left, nothing is claimed.

use std::collections::BTreeMap;

use hansa_ledger::core::payments::{House, currency_of};
use hansa_types::money::Currency;

use super::Look;

/// # Errors
/// What each side has, where it differs.
pub fn check(look: &Look<'_>) -> Result<(), String> {
    let (books, facts) = (in_books(look), in_facts(look));
    let away = || look.all_people_booked().iter().any(|id| !look.state.orders.contains(id));
    match books == facts || away() {
        true => Ok(()),
        false => Err(format!("captured and refunded {facts:?} when they left; {books:?} in books")),
    }
}

/// Captured and given back, by currency; none of what is zero.
type Sums = BTreeMap<Currency, (i128, i128)>;

fn in_books(look: &Look<'_>) -> Sums {
    let mut sums = Sums::new();
    for (key, _) in look.money.payments() {
        let Some(books) = look.money.payment(key) else { continue };
        if look.is_ours(books.order) && look.state.may_have_left(books.order) {
            let (captured, refunded) = sums.entry(books.currency).or_default();
            *captured += i128::from(books.captured);
            *refunded += i128::from(books.refunded);
        }
    }
    // What left these books in turn: of no order that is here.
    for (id, account) in look.money.kernel().books().accounts() {
        let Some((House::Closed, unit)) = House::of_account(*id) else { continue };
        let Some(currency) = currency_of(unit) else { continue };
        let (captured, refunded) = sums.entry(currency).or_default();
        *captured += i128::from(account.credits_posted);
        *refunded += i128::from(account.debits_posted);
    }
    sums.retain(|_, sum| *sum != (0, 0));
    sums
}

fn in_facts(look: &Look<'_>) -> Sums {
    let near = look.state.shelf.paid.iter().filter(|((group, _), _)| *group == look.index());
    near.map(|((_, currency), paid)| {
        (*currency, (i128::from(paid.captured), i128::from(paid.refunded)))
    })
    .collect()
}
