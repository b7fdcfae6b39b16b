//! What a group's books say of orders, for reconciliation: frozen at one index, told in order of
//! order id. Nothing is read under the group's lock but the pointers of pages.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hansa_api::convert::id::{order_to_bytes, transfer_to_bytes};
use hansa_api::facts::{Asked, BREATH, Gone, Telling};
use hansa_api::pb::admin as pb;
use hansa_api::status::{Failure, Reason};
use hansa_consensus::{Group, ReadAt};
use hansa_types::id::{GroupId, GroupKind};
use tokio::time::Instant;

use crate::core::inventory::{Inventory, SkuTotals, StockFrozen};
use crate::core::payments::{MoneyFrozen, Payments, currency_of};
use crate::role::Ledger;
use crate::service::groups::{not_read, serving};
use crate::service::wire::minor;

impl Ledger {
    /// Freezes a group that this node leads, and tells its facts as far as the reader takes them.
    ///
    /// # Errors
    /// Not the leader, or not yet; stopped by damage; no such group here.
    pub async fn tell_facts(
        &self,
        group: GroupId,
        asked: Asked,
        due: Instant,
    ) -> Result<BoxFuture<'static, ()>, Failure> {
        let index = usize::from(group.index());
        let absent = || Failure::of(Reason::NotFound);
        match group.kind() {
            GroupKind::Inventory => {
                let groups = &self.shell().inventory;
                let group = serving(groups.get(index).ok_or_else(absent)?)?;
                let look = |machine: &Inventory, at| (machine.freeze_stock(), at);
                let (frozen, at) = group.read_at(due, look).await.map_err(not_read)?;
                let head = head(group, at);
                Ok(Box::pin(stock(frozen, head, asked).map(|_gone| ())))
            }
            GroupKind::Payments => {
                let groups = &self.shell().payments;
                let (group, _) = serving(groups.get(index).ok_or_else(absent)?)?;
                let look = |machine: &Payments, at| (machine.freeze_money(), at);
                let (frozen, at) = group.read_at(due, look).await.map_err(not_read)?;
                let head = head(group, at);
                Ok(Box::pin(money(frozen, head, asked).map(|_gone| ())))
            }
            GroupKind::Directory | GroupKind::Orders => Err(absent()),
        }
    }
}

fn head<M: hansa_consensus::Machine>(group: &Group<M>, at: ReadAt) -> pb::FactsHead {
    pb::FactsHead {
        group: group.id().number(),
        node: group.node().0,
        index: at.index,
        log_time_ms: at.time.ms(),
        state_hash: at.state_hash.to_string(),
    }
}

async fn stock(frozen: StockFrozen, head: pb::FactsHead, asked: Asked) -> Result<(), Gone> {
    let mut telling = Telling::new(&asked);
    telling.head(head).await?;
    let mut places = Vec::new();
    for slot in 0..frozen.reservations.slots() {
        if let Some((_, reservation)) = frozen.reservations.at(slot)
            && asked.wants(reservation.order)
        {
            places.push((reservation.order, slot));
        }
        breathe(slot).await;
    }
    places.sort_unstable();
    // What reservations hold and have committed, by SKU.
    let mut by_holds: BTreeMap<u32, [i64; 2]> = BTreeMap::new();
    for (_, slot) in places {
        let Some((id, reservation)) = frozen.reservations.at(slot) else { continue };
        let expires = reservation.expires();
        let mut lines = Vec::with_capacity(reservation.lines.len());
        for line in &reservation.lines {
            let sum = by_holds.entry(line.sku.0).or_default();
            sum[usize::from(expires.is_none())] += i64::from(line.open());
            let sku = frozen.sku(line.sku.0).to_owned();
            lines.push(pb::FactLine { line: line.line, sku, quantity: line.open() });
        }
        let facts = pb::StockFacts {
            order: order_to_bytes(reservation.order),
            hold: transfer_to_bytes(*id),
            committed: expires.is_none(),
            expires_ms: expires.map_or(0, |at| at.ms()),
            lines,
        };
        telling.stock(facts).await?;
    }
    let skus = match asked.only.is_empty() {
        true => skus(&frozen, &by_holds).await,
        // Sums over some orders say nothing about buckets.
        false => Vec::new(),
    };
    telling.end(skus).await
}

async fn skus(frozen: &StockFrozen, by_holds: &BTreeMap<u32, [i64; 2]>) -> Vec<pb::SkuFacts> {
    let mut skus: BTreeMap<u32, SkuTotals> = BTreeMap::new();
    for slot in 0..frozen.accounts.slots() {
        if let Some((_, account)) = frozen.accounts.at(slot) {
            skus.entry(account.unit.0).or_default().add(account);
        }
        breathe(slot).await;
    }
    let named = skus.into_iter().map(|(number, totals)| {
        let [reserved_by_holds, committed_by_holds] =
            by_holds.get(&number).copied().unwrap_or_default();
        pb::SkuFacts {
            sku: frozen.sku(number).to_owned(),
            shipped: totals.shipped,
            reserved: totals.reserved,
            reserved_by_holds,
            committed: totals.committed,
            committed_by_holds,
            on_hand: totals.on_hand,
            came_in: totals.came_in,
            elsewhere: totals.elsewhere,
            ..pb::SkuFacts::default()
        }
    });
    named.collect()
}

async fn money(frozen: MoneyFrozen, head: pb::FactsHead, asked: Asked) -> Result<(), Gone> {
    let mut telling = Telling::new(&asked);
    telling.head(head).await?;
    let (mut places, mut accounts, mut holds) = (Vec::new(), Vec::new(), BTreeMap::new());
    for slot in 0..frozen.payments.slots() {
        if let Some((_, payment)) = frozen.payments.at(slot)
            && asked.wants(payment.order)
        {
            places.push((payment.order, slot));
        }
        breathe(slot).await;
    }
    for slot in 0..frozen.accounts.slots() {
        accounts.extend(frozen.accounts.at(slot).map(|(id, _)| (*id, slot)));
        breathe(slot).await;
    }
    for slot in 0..frozen.holds.slots() {
        if let Some((id, hold)) = frozen.holds.at(slot) {
            let of: &mut Vec<pb::MoneyHold> = holds.entry(hold.reference.0).or_default();
            let (hold, amount_minor) = (transfer_to_bytes(*id), minor(hold.amount));
            of.push(pb::MoneyHold { hold, amount_minor });
        }
        breathe(slot).await;
    }
    places.sort_unstable();
    accounts.sort_unstable();
    for (_, slot) in places {
        let Some((key, payment)) = frozen.payments.at(slot) else { continue };
        let Ok(found) = accounts.binary_search_by_key(&key.account(), |(id, _)| *id) else {
            continue;
        };
        let Some((_, account)) = frozen.accounts.at(accounts[found].1) else { continue };
        let mut live = holds.remove(&key.0).unwrap_or_default();
        live.sort_unstable_by(|a, b| a.hold.cmp(&b.hold));
        let facts = pb::MoneyFacts {
            order: order_to_bytes(payment.order),
            payment: Bytes::copy_from_slice(&key.to_bytes()),
            currency: currency_of(payment.unit).map(|of| of.to_string()).unwrap_or_default(),
            held_minor: minor(account.credits_pending),
            captured_minor: minor(account.credits_posted),
            refunded_minor: minor(account.debits_posted),
            holds: live,
        };
        telling.money(facts).await?;
    }
    telling.end(Vec::new()).await
}

async fn breathe(slot: usize) {
    if slot % BREATH == BREATH - 1 {
        tokio::task::yield_now().await;
    }
}
