//! What was done here alone of an order that others went on with, when its births are this group's
//! again. Money that was given back counts, whoever goes on with the order how: the record that
//! knows of it is forgotten. What two copies cannot tell waits for a person.

use hansa_types::id::{OrderId, TransferId};
use hansa_types::time::LogTime;

use super::adopt::{Facts, Repaid, Standing, Stepped};
use super::{End, TailAction, refund_id};
use crate::core::order::{Done, Movement, Order, ParkedWhy, Provider, RefundCause, refund_key};
use crate::core::state::State;

/// Kept of what had stopped an order before.
const BEFORE_MAX: usize = 1_000;

impl Repaid {
    fn key(&self) -> TransferId {
        refund_key(self.id, self.cause, self.with)
    }
}

impl Facts {
    /// Somebody looks before anything becomes of it here, and at what stopped it before as well.
    pub fn leave_behind(&mut self, mut why: String) {
        if let Standing::Parked(before, detail) = &self.standing {
            let detail: String = detail.chars().take(BEFORE_MAX).collect();
            why = format!("{why}; it was parked before: {before:?} {detail}");
        }
        self.standing = Standing::Parked(ParkedWhy::LeftBehind, why);
    }

    fn knows(&self, key: TransferId) -> bool {
        self.refunds.iter().any(|of| of.key() == key)
    }

    /// Whether the owner since does not know of goods that moved in a former record.
    fn lacks(&self, order: &Order) -> bool {
        let unknown = |moved: &[Movement], known: &[super::Moved]| {
            let known = |id| known.iter().any(|of| of.id == id && of.state != Stepped::Refused);
            moved.iter().any(|of| of.state.counts() && !known(of.id))
        };
        unknown(&order.shipments, &self.shipments) || unknown(&order.returns, &self.returns)
    }

    /// No more than was captured: what is beyond that was given back by both.
    fn count(&mut self, alone: Vec<Repaid>) {
        let known = self.refunds.iter().filter(|of| of.state != Stepped::Refused);
        let mut left = self.captured_minor - known.map(|of| of.amount_minor).sum::<i64>();
        for one in alone {
            let amount_minor = one.amount_minor.min(left);
            if amount_minor <= 0 {
                continue;
            }
            left -= amount_minor;
            if one.state == Stepped::Done {
                self.refunded_minor += amount_minor;
            }
            self.refunds.push(Repaid { amount_minor, ..one });
        }
    }
}

impl State {
    /// Before the former record of an order is forgotten: what it gave back is in what is gone on
    /// with, and what nobody can tell waits.
    pub(super) fn count_beside(&self, (at, epoch): (LogTime, u64), id: OrderId, facts: &mut Facts) {
        let Some(order) = self.orders.get(&id) else { return };
        let alone = self.repaid_beside((at, epoch), id, order, facts);
        let why = self.moved_beside(id, order, facts, &alone);
        let open = matches!(facts.standing, Standing::Open | Standing::Parked(..));
        facts.count(alone);
        if let Some(why) = why.filter(|_| open) {
            facts.leave_behind(why);
        }
    }

    /// What was given back here that the copy knows nothing of, what is done first. What may have
    /// been goes out again under the key that it had: it is paid once.
    fn repaid_beside(
        &self,
        (at, epoch): (LogTime, u64),
        id: OrderId,
        order: &Order,
        facts: &Facts,
    ) -> Vec<Repaid> {
        let unknown = order.refunds.iter().filter(|of| of.state.counts() && !facts.knows(of.key()));
        let repaid = unknown.map(|of| Repaid {
            id: of.id,
            amount_minor: of.amount_minor,
            with: of.with,
            cause: of.cause,
            state: if of.state == Done::Done { Stepped::Done } else { Stepped::UnderWay },
        });
        let mut alone: Vec<Repaid> = repaid.collect();
        let row = self.births.tail.get(&id).filter(|row| row.end.is_none());
        let gives_back = row.is_some_and(|row| row.decision.action == TailAction::Compensate);
        let (key, left) = (refund_id(id), order.refundable_minor());
        let asked = facts.knows(key) || order.refunds.iter().any(|of| of.key() == key);
        if gives_back && order.provider == Provider::Captured && left > 0 && !asked {
            let parts: [&[u8]; 3] = [b"beside", &id.to_bytes(), &epoch.to_le_bytes()];
            alone.push(Repaid {
                id: TransferId::derive(at, &parts),
                amount_minor: left,
                with: Some(key),
                cause: RefundCause::Asked,
                state: Stepped::UnderWay,
            });
        }
        alone.sort_by_key(|of| of.state != Stepped::Done);
        alone
    }

    /// Why a person looks at it, if one has to: nobody has decided on what moved, or what two
    /// people decided on was not known to who had it since.
    fn moved_beside(
        &self,
        id: OrderId,
        order: &Order,
        facts: &Facts,
        alone: &[Repaid],
    ) -> Option<String> {
        let sum = |state| {
            let of_state = alone.iter().filter(move |of| of.state == state);
            of_state.map(|of| of.amount_minor).sum::<i64>()
        };
        let (given, under_way) = (sum(Stepped::Done), sum(Stepped::UnderWay));
        let counted = counted(given, under_way);
        let row = self.births.tail.get(&id);
        let decided = row.map(|row| (row.decision.action, &row.end));
        let undecided = self.undecided(id) || matches!(decided, Some((TailAction::Adopt, _)));
        let since = self.tail_of(id, order).filter(|_| undecided);
        let goods = |since: &u64| order.goods_since(*since) && facts.lacks(order);
        let money = |since: &u64| order.repaid_since(*since) && !alone.is_empty();
        if let Some(since) = since.filter(|since| goods(since) || money(since)) {
            return Some(format!(
                "goods or money moved here after version {since}, which its owners since did not \
                 know of: look at this region's books and at the provider, then resume or cancel \
                 it{counted}"
            ));
        }
        let ticket = &row?.decision.ticket;
        let why = match decided? {
            (TailAction::Compensate, Some(End::Done)) if given > 0 => format!(
                "its charge was given back here, as two people decided ({ticket}), and its owners \
                 since did not know: cancel it, or resume it if it is paid for"
            ),
            (TailAction::Compensate, None) if !order.provider.clear() => format!(
                "its charge is given back here, as two people decided ({ticket}), and its owners \
                 since did not know: look at the provider, then cancel it, or resume it if it is \
                 paid for"
            ),
            (TailAction::Compensate, Some(End::Refused(end))) => format!(
                "its charge was to be given back here, as two people decided ({ticket}), and what \
                 became of that is not certain ({end}): look at the provider, then resume it, or \
                 cancel it, which asks again under the same key"
            ),
            // It was called nothing to undo, and may have come half way.
            (TailAction::Discard, _) if under_way > 0 => format!(
                "money was on its way back to the buyer here, of which no answer was heard \
                 ({ticket}): look at the provider, then resume or cancel it"
            ),
            _ => return None,
        };
        Some(format!("{why}{counted}"))
    }
}

/// In minor units.
fn counted(given: i64, under_way: i64) -> String {
    let mut said = String::new();
    if given > 0 {
        said = format!("; {given} that was given back here counts, and is not given back again");
    }
    if under_way > 0 {
        said = format!("{said}; {under_way} on its way goes out again under the key that it had");
    }
    said
}
