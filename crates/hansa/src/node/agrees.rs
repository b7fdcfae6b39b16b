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
    for slot in 0..orders.slots() {
        let place = orders.at(slot).map(|(id, _)| Place::Order(*id));
        pages.add(slot, place).await;
    }
    for slot in 0..reservations.slots() {
        let place = reservations.at(slot).map(|(id, _)| Place::Reservation(*id));
        pages.add(slot, place).await;
    }
    for slot in 0..money.payments.slots() {
        let place = money.payments.at(slot).map(|(key, _)| Place::Payment(*key));
        pages.add(slot, place).await;
    }
    for slot in 0..money.holds.slots() {
        let place = money.holds.at(slot).map(|(id, _)| Place::Funds(*id));
        pages.add(slot, place).await;
    }
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
    async fn add(&mut self, slot: usize, place: Option<Place>) {
        self.page.extend(place);
        if self.page.len() == PAGE_MAX {
            self.turn();
        }
        if slot % BREATH == BREATH - 1 {
            tokio::task::yield_now().await;
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
