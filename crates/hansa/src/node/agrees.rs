//! Looks through an orders group that keeps its books for what the two disagree about: frozen, and
//! page by page, so that what is applied meanwhile waits for one page only.

use hansa_api::facts::BREATH;
use hansa_consensus::{Group, Holds as _};
use hansa_ledger::core::inventory::Inventory;
use hansa_ledger::core::payments::Payments;
use hansa_shard::invariants::{Broken, Place};
use hansa_shard::machine::Shard;
use tokio::time::Instant;

/// Records that are looked at at one moment.
const PAGE_MAX: usize = 1_000;

/// What was seen until `due`.
pub struct Seen {
    /// At most `max` of each rule.
    pub broken: Vec<Broken>,
    /// All that was there when it began was looked at.
    pub whole: bool,
}

/// What they disagree about of all that is there now, at most `max` of each rule. A record that
/// comes later, or is gone by then, is not looked at.
pub async fn look(group: &Group<Shard>, max: usize, due: Instant) -> Seen {
    let frozen = group.peek(|shard| {
        let stock: &Inventory = shard.part()?;
        let money: &Payments = shard.part()?;
        let orders = shard.orders().state.orders.freeze();
        Some((orders, stock.freeze_stock().reservations, money.freeze_money()))
    });
    let Some((orders, reservations, money)) = frozen else {
        return Seen { broken: Vec::new(), whole: false };
    };
    let mut pages = Pages { group, max, due, page: Vec::new(), found: Vec::new(), whole: true };
    let order = |slot| orders.at(slot).map(|(id, _)| Place::Order(*id));
    pages.all(orders.slots(), order).await;
    let reservation = |slot| reservations.at(slot).map(|(id, _)| Place::Reservation(*id));
    pages.all(reservations.slots(), reservation).await;
    let payment = |slot| money.payments.at(slot).map(|(key, _)| Place::Payment(*key));
    pages.all(money.payments.slots(), payment).await;
    let funds = |slot| money.holds.at(slot).map(|(id, _)| Place::Funds(*id));
    pages.all(money.holds.slots(), funds).await;
    pages.turn();
    Seen { broken: pages.found, whole: pages.whole }
}

struct Pages<'a> {
    group: &'a Group<Shard>,
    max: usize,
    due: Instant,
    page: Vec<Place>,
    found: Vec<Broken>,
    whole: bool,
}

impl Pages<'_> {
    async fn all(&mut self, slots: usize, at: impl Fn(usize) -> Option<Place>) {
        for slot in 0..slots {
            self.page.extend(at(slot));
            if self.page.len() == PAGE_MAX {
                self.turn();
            }
            if slot % BREATH == BREATH - 1 {
                tokio::task::yield_now().await;
            }
        }
    }

    fn turn(&mut self) {
        let page = std::mem::take(&mut self.page);
        if Instant::now() >= self.due {
            self.whole = false;
            return;
        }
        for broken in self.group.peek(|shard| shard.agrees_at(&page)) {
            let same = self.found.iter().filter(|found| found.name == broken.name);
            if same.count() < self.max {
                self.found.push(broken);
            }
        }
    }
}
