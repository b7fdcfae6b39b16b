//! What a group's orders say that the books must hold, told in order of order id. Under the lock
//! only the pointers of pages are taken, or the few records that were asked for.

use std::collections::{BTreeMap, BTreeSet};

use hansa_api::convert::id::{order_to_bytes, transfer_to_bytes};
use hansa_api::facts::{BREATH, Gone, Telling};
use hansa_api::pb::admin as pb;
use hansa_pages::FrozenTable;
use hansa_types::hash::StateHash;
use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;

use crate::core::contents::Contents;
use crate::core::order::{Done, Funds, Goal, Movement, Order, Part, Stock};
use crate::core::state::State;

/// Orders as they were at one moment.
pub enum Frozen {
    All {
        here: RegionNumber,
        orders: FrozenTable<OrderId, Order>,
        contents: FrozenTable<OrderId, Contents>,
    },
    Some(Vec<pb::OrderFacts>),
}

impl Frozen {
    pub fn of(state: &State, only: &BTreeSet<OrderId>) -> Self {
        if only.is_empty() {
            let (orders, contents) = (state.orders.freeze(), state.contents.freeze());
            let here = state.meta.settings.region;
            return Self::All { here, orders, contents };
        }
        let known = |id: &OrderId| Some(facts(*id, state.orders.get(id)?, state.contents.get(id)?));
        Self::Some(only.iter().filter_map(known).collect())
    }
}

pub async fn tell(frozen: Frozen, head: pb::FactsHead, mut telling: Telling) -> Result<(), Gone> {
    telling.head(head).await?;
    let (here, orders, contents) = match frozen {
        Frozen::All { here, orders, contents } => (here, orders, contents),
        Frozen::Some(some) => {
            for facts in some {
                telling.order(facts).await?;
            }
            return telling.end(Vec::new()).await;
        }
    };
    let (places, beside) = (places(&orders).await, places(&contents).await);
    let mut beside = beside.into_iter().peekable();
    let mut units: BTreeMap<String, pb::SkuFacts> = BTreeMap::new();
    for (id, slot) in places {
        while beside.next_if(|(other, _)| *other < id).is_some() {}
        let Some((_, other)) = beside.next_if(|(other, _)| *other == id) else { continue };
        let found = (orders.at(slot as usize), contents.at(other as usize));
        let (Some((_, order)), Some((_, contents))) = found else { continue };
        count(here, order, contents, &mut units);
        telling.order(facts(id, order, contents)).await?;
    }
    let skus = units.into_iter().map(|(sku, facts)| pb::SkuFacts { sku, ..facts });
    telling.end(skus.collect()).await
}

/// Each record's place, in order of id.
async fn places<V: hansa_pages::Record>(table: &FrozenTable<OrderId, V>) -> Vec<(OrderId, u32)> {
    let mut places = Vec::new();
    for slot in 0..table.slots() {
        places.extend(table.at(slot).map(|(id, _)| (*id, slot as u32)));
        if slot % BREATH == BREATH - 1 {
            tokio::task::yield_now().await;
        }
    }
    // Ids begin with their time, so they nearly are in order.
    places.sort();
    places
}

/// Adds what this region's books shipped and took back for an order to the units of its SKUs.
fn count(
    here: RegionNumber,
    order: &Order,
    contents: &Contents,
    units: &mut BTreeMap<String, pb::SkuFacts>,
) {
    let kinds: [(bool, &[Movement]); 2] = [(false, &order.shipments), (true, &order.returns)];
    let booked = kinds.into_iter().flat_map(|(back, list)| list.iter().map(move |of| (back, of)));
    for (back, movement) in booked.filter(|(_, of)| of.booked == Some(here)) {
        if matches!(movement.state, Done::Refused(_)) {
            continue;
        }
        for (place, quantity) in &movement.lines {
            let line = contents.lines.get(usize::from(*place));
            let Some(sku) = line.and_then(|line| line.sku.as_ref()) else { continue };
            if !units.contains_key(sku.as_str()) {
                units.insert(sku.to_string(), pb::SkuFacts::default());
            }
            let Some(of) = units.get_mut(sku.as_str()) else { continue };
            let own = movement.own_units(*place).min(*quantity);
            match (&movement.state, back) {
                (Done::Outstanding, _) => of.moving = true,
                (_, false) => of.shipped += i64::from(*quantity),
                (_, true) => {
                    of.returned += i64::from(own);
                    of.elsewhere += i64::from(quantity - own);
                }
            }
        }
    }
}

fn facts(id: OrderId, order: &Order, contents: &Contents) -> pb::OrderFacts {
    let phase = match &order.goal {
        Goal::Confirm if order.settled => pb::OrderPhase::Confirmed,
        Goal::Confirm => pb::OrderPhase::Open,
        Goal::Undo { .. } if order.undone() => pb::OrderPhase::Undone,
        Goal::Undo { .. } => pb::OrderPhase::Undoing,
    };
    let funds = match order.funds {
        Funds::NotNeeded | Funds::Refused(_) | Funds::Void => pb::FundsPhase::None,
        Funds::Holding | Funds::Voiding | Funds::Opening => pb::FundsPhase::Moving,
        Funds::Held => pb::FundsPhase::Held,
        Funds::Captured => pb::FundsPhase::Captured,
    };
    pb::OrderFacts {
        order: order_to_bytes(id),
        version: order.version,
        hash: StateHash::of_record("orders", &id, order).to_string(),
        phase: phase.into(),
        idle: order.work.is_empty(),
        parked: order.parked.is_some(),
        updated_ms: order.updated.ms(),
        parts: order.parts.iter().map(|part| part_facts(part, order, contents)).collect(),
        payment_group: u32::from(contents.payment_group),
        payment: order.money.payment.map(transfer_to_bytes).unwrap_or_default(),
        funds: funds.into(),
        currency: contents.currency.to_string(),
        authorized_minor: order.money.authorized_minor,
        captured_minor: order.money.captured_minor,
        refunded_minor: order.money.refunded_minor,
        provider_clear: order.provider.clear(),
        total_minor: contents.total_minor,
    }
}

fn part_facts(part: &Part, order: &Order, contents: &Contents) -> pb::PartFacts {
    let phase = match part.stock {
        Stock::Refused(_) | Stock::Gone | Stock::Unallocated => pb::PartPhase::None,
        Stock::Reserving | Stock::Releasing | Stock::Uncommitting => pb::PartPhase::Moving,
        Stock::Held { .. } => pb::PartPhase::Held,
        Stock::Committed => pb::PartPhase::Committed,
    };
    let lines = match phase {
        pb::PartPhase::Held | pb::PartPhase::Committed => open_lines(part, order, contents),
        _ => Vec::new(),
    };
    let (group, hold) = (u32::from(part.group), transfer_to_bytes(part.hold));
    pb::PartFacts { group, hold, phase: phase.into(), lines }
}

/// What a part still holds: its lines less what was shipped.
fn open_lines(part: &Part, order: &Order, contents: &Contents) -> Vec<pb::FactLine> {
    let shipped = |place: u16| -> u32 {
        let done = order.shipments.iter().filter(|movement| movement.state == Done::Done);
        let lines = done.flat_map(|movement| &movement.lines);
        lines.filter(|(line, _)| *line == place).map(|(_, units)| units).sum()
    };
    let open = contents.of_group(part.group).map(|(place, line)| pb::FactLine {
        line: u32::from(place) + 1,
        sku: line.sku.as_ref().map_or_else(String::new, ToString::to_string),
        quantity: line.quantity.saturating_sub(shipped(place)),
    });
    open.filter(|line| line.quantity > 0).collect()
}
