//! What the books say of an entry's hold or payment before anything is done about it: that it is
//! the order's that the entry names, and that there still is something to give back.
//!
//! A plan is a file that people write. Its entry rests on one order and names a hold of the books;
//! nothing but the books says that the two belong together.

use bytes::Bytes;
use hansa_api::convert::id::{order_to_bytes, transfer_to_bytes};
use hansa_api::pb::ledger as wire;
use hansa_api::status::Failure;
use hansa_types::id::{GroupId, GroupKind, OrderId, TransferId};
use tokio::time::Instant;

use crate::core::repair::{Action, End, Money};
use crate::shell::{Shell, ledger};

/// Entries of one payment that are looked through for our own.
const ENTRIES_MAX: u32 = 1_000;

/// What an entry is about, in the books.
pub(super) struct Bound<'a> {
    pub shell: &'a Shell,
    /// What the entry rests on.
    pub order: Option<OrderId>,
    pub due: Instant,
}

impl Bound<'_> {
    /// Why the entry is not carried out, if it is not; `refund`: the id of the entry's own refund.
    ///
    /// # Errors
    /// The books do not answer.
    pub async fn stale(&self, action: &Action, refund: &Bytes) -> Result<Option<End>, Failure> {
        let stale = |why: &str| Some(End::Stale(why.to_owned()));
        Ok(match action {
            Action::ReleaseStock { group, hold, .. } => {
                let group = GroupId::new(GroupKind::Inventory, *group);
                match self.order_of_hold(group, *hold).await? {
                    Some(of) if !self.is(&of) => stale("the hold is another order's"),
                    // One that is not live any more is nobody's: the books say what became of it.
                    _ => None,
                }
            }
            Action::VoidMoney { books, hold } => {
                let group = GroupId::new(GroupKind::Payments, books.group);
                match self.payment(*books).await? {
                    None => stale("the books know no such payment"),
                    Some(of) if !self.is(&of.order) => stale("the payment is another order's"),
                    Some(_) => match self.order_of_hold(group, *hold).await? {
                        Some(of) if !self.is(&of) => stale("the hold is another order's"),
                        _ => None,
                    },
                }
            }
            Action::RefundCapture { books, amount_minor, currency } => {
                match self.payment(*books).await? {
                    None => stale("the books know no such payment"),
                    Some(of) if !self.is(&of.order) => stale("the payment is another order's"),
                    Some(of) if of.currency != currency.as_str() => {
                        stale("the payment is in another currency")
                    }
                    Some(of) if of.captured_minor - of.refunded_minor >= *amount_minor => None,
                    // Ours may be what has given it back.
                    Some(_) if self.booked(*books, refund).await? => None,
                    Some(_) => stale("the capture has been given back by now"),
                }
            }
            Action::CancelCharge { .. }
            | Action::Resume
            | Action::Rebook { .. }
            | Action::Reship { .. }
            | Action::DecideTail { .. } => None,
        })
    }

    fn is(&self, of: &Bytes) -> bool {
        self.order.map(order_to_bytes).is_some_and(|order| order == of)
    }

    /// The order of a hold that is live.
    async fn order_of_hold(
        &self,
        group: GroupId,
        hold: TransferId,
    ) -> Result<Option<Bytes>, Failure> {
        let ids = vec![transfer_to_bytes(hold)];
        let question = wire::ListHoldsRequest { group: group.number(), ids, ..Default::default() };
        let list = |mut client: ledger::Client, ask| async move { client.list_holds(ask).await };
        let found: wire::ListHoldsResponse =
            ledger::ask(self.shell, group, question, self.due, list).await?;
        Ok(found.holds.into_iter().next().map(|hold| hold.order))
    }

    async fn payment(&self, books: Money) -> Result<Option<wire::PaymentAccounts>, Failure> {
        let group = GroupId::new(GroupKind::Payments, books.group);
        let payments = vec![transfer_to_bytes(books.payment)];
        let question = wire::GetPaymentAccountsRequest { group: group.number(), payments };
        let get =
            |mut client: ledger::Client, ask| async move { client.get_payment_accounts(ask).await };
        let found: wire::GetPaymentAccountsResponse =
            ledger::ask(self.shell, group, question, self.due, get).await?;
        Ok(found.accounts.into_iter().next())
    }

    /// Whether a transfer of this id is among the payment's entries.
    async fn booked(&self, books: Money, id: &Bytes) -> Result<bool, Failure> {
        let group = GroupId::new(GroupKind::Payments, books.group);
        let payment = transfer_to_bytes(books.payment);
        let question = wire::ListEntriesRequest {
            group: group.number(),
            account: Some(wire::list_entries_request::Account::Payment(payment)),
            page_size: ENTRIES_MAX,
            ..Default::default()
        };
        let list = |mut client: ledger::Client, ask| async move { client.list_entries(ask).await };
        let found: wire::ListEntriesResponse =
            ledger::ask(self.shell, group, question, self.due, list).await?;
        Ok(found.entries.iter().any(|entry| entry.id == id))
    }
}
