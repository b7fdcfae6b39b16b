//! Orders that this group handed over and had nothing back of: whether something would have come.

use std::collections::BTreeMap;
use std::iter;

use hansa_api::classes::ClassSet;
use hansa_region_router::core::policy::Policy;
use hansa_types::country::Country;
use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use hansa_types::time::LogTime;

use super::Reader;
use crate::core::remote::Views;
use crate::core::state::State;
use crate::core::takeover::NotAdopted;

/// One of them, as it stands here.
pub struct Handed {
    pub version: u64,
    /// Of whoever ordered.
    residence: Country,
    /// When it was last changed here.
    since: LogTime,
    /// Whether the terms of its next owner's streams let that one tell of it.
    heard: bool,
}

impl Handed {
    pub fn of(state: &State, id: OrderId) -> Option<Self> {
        let (order, contents) = (state.orders.get(&id)?, state.contents.get(&id)?);
        let from = state.births.get(id.region())?.taken.as_ref()?.take.from;
        state.was_handed(id).then(|| Self {
            version: order.version,
            residence: contents.residence,
            since: order.updated,
            heard: heard(state, from, contents.residence),
        })
    }
}

/// Whether all that a region told of who lives there is here, as far as its streams came.
fn heard(state: &State, from: RegionNumber, residence: Country) -> bool {
    // In order of their epochs: a group's newest stream is what counts.
    let mut newest: BTreeMap<u16, (u64, &Views)> = BTreeMap::new();
    for (origin, views) in state.remote.views.iter().filter(|(of, _)| of.region == from) {
        let known = newest.entry(origin.group).or_insert((origin.epoch, views));
        if known.0 < origin.epoch {
            *known = (origin.epoch, views);
        }
    }
    newest.values().all(|(_, views)| {
        let told = views.held.of(Some(residence)).classes != 0 && views.whole == views.lowered;
        views.held.version == 0 || told
    })
}

impl Reader<'_> {
    /// Why an order that was handed over does not go on from what it was then, if it does not: the
    /// law of the day, or one since then that kept its next owner from telling of it.
    pub(super) fn kept_back(&self, id: OrderId, of: &Handed) -> Option<NotAdopted> {
        if !self.lawful(id, of.residence) {
            return Some(NotAdopted::NotInFailoverSet);
        }
        let own = self.now.own_region()?;
        let told = |policy: &Policy| {
            let law = policy.of_country(of.residence);
            law.is_some_and(|law| policy.allowed_classes(&law.name, &own.name) != ClassSet::NONE)
        };
        let former = self.now.former.iter().filter(|former| former.until >= of.since);
        let mut laws = iter::once(&self.now.policy).chain(former.map(|former| &former.policy));
        let told = of.heard && laws.all(|policy| told(policy));
        (!told).then_some(NotAdopted::Untold)
    }
}
