//! What must hold between the orders of a group and the books in its own log: at every entry, not
//! only once all has settled. One file each, run in tests, online, and by RPC.
//!
//! Each claim is about one order and what the near books have of it at one moment, so a large state
//! may be looked at in pages. Nothing is claimed of:
//! - orders of births that are another region's, or were when this group last changed them: whoever
//!   owns them goes on with its own books, and what these still hold is given back bit by bit;
//! - what lies in books that are not near;
//! - orders about which people booked something by themselves (a repair), for as long as that is
//!   remembered.
//!
//! An order that came here from another owner, or goes on here after it had gone, may have earlier
//! payments and earlier holds, which run out by themselves: of those only that is claimed.
//!
//! An order that left hot state was compared until then, and books hold nothing for it. What they
//! have captured and given back of all that left is compared as one sum.

mod left_agrees;
mod money_agrees;
mod stock_agrees;

use std::cell::OnceCell;
use std::collections::BTreeSet;

use hansa_ledger::core::inventory::Inventory;
use hansa_ledger::core::payments::{PaymentKey, Payments};
use hansa_orders::core::contents::Contents;
use hansa_orders::core::order::Order;
use hansa_orders::core::repair::{Action, End};
use hansa_orders::core::state::State;
use hansa_types::id::{OrderId, TransferId};

use crate::machine::{Books, Shard};

/// A broken invariant, said so that an operator can look it up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Its number in domain.md §7.
    pub number: u32,
    pub name: &'static str,
    pub order: OrderId,
    pub what: String,
}

/// The names of all, with their numbers.
pub const ALL: [(u32, &str); 2] = [(6, stock_agrees::NAME), (5, money_agrees::NAME)];

/// A record that is looked at, with the order that it is or is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    Order(OrderId),
    Reservation(TransferId),
    Payment(PaymentKey),
    /// A live hold of money.
    Funds(TransferId),
}

/// An order as a group keeps it.
type Kept<'a> = (&'a Order, &'a Contents);

/// Whether an order that left may have such a record in the books.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    MayHave,
    HasNone,
}

/// What is wrong, with whose order.
type Wrong = (OrderId, String);

/// The three parts at one moment.
struct Look<'a> {
    state: &'a State,
    stock: &'a Inventory,
    money: &'a Payments,
    /// Orders about which people had something booked; found out once something is wrong.
    people_booked: OnceCell<BTreeSet<OrderId>>,
}

impl Shard {
    /// What the facts of orders and of the books in their log disagree about, at most `max`;
    /// nothing in a group without books.
    ///
    /// Costs time in proportion to the state: online it is looked at in pages, by
    /// [`Self::agrees_at`].
    pub fn agrees(&self, max: usize) -> Vec<Broken> {
        let Some(look) = self.look() else { return Vec::new() };
        let orders = look.state.orders.iter().map(|(id, _)| Place::Order(*id));
        let reservations = look.stock.reservations().map(|(id, _)| Place::Reservation(*id));
        let payments = look.money.payments().map(|(key, _)| Place::Payment(*key));
        let funds = look.money.kernel().books().holds().map(|(id, _)| Place::Funds(*id));
        let all = orders.chain(reservations).chain(payments).chain(funds);
        all.flat_map(|place| look.at(place)).take(max).collect()
    }

    /// The same of these records, as far as they are there still.
    pub fn agrees_at(&self, places: &[Place]) -> Vec<Broken> {
        let Some(look) = self.look() else { return Vec::new() };
        places.iter().flat_map(|place| look.at(*place)).collect()
    }

    /// Whether near books have of the orders that left what these had when they left.
    ///
    /// Costs time in proportion to the books.
    ///
    /// # Errors
    /// What each side has, where it differs.
    pub fn left_agrees(&self) -> Result<(), String> {
        self.look().map_or(Ok(()), |look| left_agrees::check(&look))
    }

    fn look(&self) -> Option<Look<'_>> {
        let Books { stock, money } = self.books()?;
        let people_booked = OnceCell::new();
        Some(Look { state: &self.orders().state, stock, money, people_booked })
    }
}

impl<'a> Look<'a> {
    fn at(&self, place: Place) -> impl Iterator<Item = Broken> {
        let [stock, money] = match place {
            Place::Order(id) => match self.own(id) {
                Some(kept) => [
                    stock_agrees::of_order(self, id, kept).err().map(|what| (id, what)),
                    money_agrees::of_order(self, id, kept).err().map(|what| (id, what)),
                ],
                None => [None, None],
            },
            Place::Reservation(id) => [stock_agrees::of_reservation(self, id).err(), None],
            Place::Payment(key) => [None, money_agrees::of_payment(self, key).err()],
            Place::Funds(id) => [None, money_agrees::of_hold(self, id).err()],
        };
        let found = ALL.into_iter().zip([stock, money]);
        found.filter_map(|((number, name), wrong)| {
            let (order, what) = wrong.filter(|(order, _)| !self.people_booked(*order))?;
            Some(Broken { number, name, order, what })
        })
    }

    /// The index of the group, and so of the books that are near.
    fn index(&self) -> u16 {
        self.state.meta.settings.index
    }

    /// Whether an order's slot is this group's.
    fn is_ours(&self, id: OrderId) -> bool {
        let settings = &self.state.meta.settings;
        id.slot().get() % settings.groups.max(1) == settings.index
    }

    /// An order that this group keeps and may go on with.
    fn own(&self, id: OrderId) -> Option<Kept<'a>> {
        let order = self.state.orders.get(&id).filter(|order| self.state.is_own(id, order))?;
        Some((order, self.state.contents.get(&id)?))
    }

    /// The order that a record of the books names; `None` where nothing is claimed of it.
    ///
    /// # Errors
    /// This group should know it, and does not.
    fn named(&self, id: OrderId, what: &str, left: Left) -> Result<Option<Kept<'a>>, Wrong> {
        // Its copy is about to be adopted.
        if self.is_ours(id) && !self.state.orders.contains(&id) && !self.state.waits(id) {
            if left == Left::MayHave && self.state.may_have_left(id) {
                return Ok(None);
            }
            return Err((id, format!("{what} of an order that does not exist")));
        }
        Ok(self.own(id))
    }

    /// Whether two people had something booked about it that its own saga knows nothing of.
    fn people_booked(&self, order: OrderId) -> bool {
        self.all_people_booked().contains(&order)
    }

    fn all_people_booked(&self) -> &BTreeSet<OrderId> {
        let booked = |action: &Action| match action {
            Action::ReleaseStock { .. }
            | Action::VoidMoney { .. }
            | Action::RefundCapture { .. } => true,
            Action::CancelCharge { .. }
            | Action::Resume
            | Action::Rebook { .. }
            | Action::Reship { .. }
            | Action::DecideTail { .. } => false,
        };
        self.people_booked.get_or_init(|| {
            let rows = self.state.repairs.rows.iter().map(|(_, row)| row);
            let nothing = |end: &End| matches!(end, End::Stale(_) | End::Refused(_));
            let done = rows.filter(|row| !row.ended.as_ref().is_some_and(|(_, end)| nothing(end)));
            done.filter(|row| booked(&row.action)).filter_map(|row| row.order).collect()
        })
    }
}
