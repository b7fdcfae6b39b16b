//! Whether a tail can still shrink, or an order of it come back from where its births went.

use std::collections::{BTreeMap, BTreeSet};

use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;

use crate::core::remote::Origin;
use crate::core::state::State;
use crate::core::takeover::Phase;
use crate::shell::{Hosted, Shell};

impl Shell {
    /// Whether the new owner said that it has adopted all that it knows, and all of that is here:
    /// what is missing it does not know. It says so in every group whose stream comes here.
    pub fn tail_is_final(&self, hosted: &Hosted, birth: RegionNumber) -> bool {
        let recorded = self.map.now().ok().and_then(|now| now.owners.get(&birth).copied());
        hosted.group.peek(|machine| {
            let state = &machine.state;
            // Until the group has followed the directory it has no tail to tell of.
            if recorded.is_some_and(|of| !state.has_followed(birth, of.epoch)) {
                return false;
            }
            let Some(row) = state.births.get(birth) else { return true };
            if !matches!(row.phase, Phase::Elsewhere { .. }) {
                // Who was lost before it handed them back may know more of them than is here.
                return state.tail_is_known(birth);
            }
            let settings = &state.meta.settings;
            let heard = self.freshness.marks(row.owner).into_iter().map(|(of, _)| of);
            let here = |of: &Origin| {
                of.region == row.owner && of.group % settings.groups.max(1) == settings.index
            };
            let kept = state.remote.cursors.iter().map(|(of, _)| *of);
            // A group's older stream has ended, and what it had is in the newest one.
            let newest: BTreeMap<u16, Origin> = kept
                .chain(heard)
                .filter(here)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .map(|of| (of.group, of))
                .collect();
            let settled = |of: &Origin| {
                let applied = state.remote.cursors.get(of).map_or(0, |at| at.applied);
                self.freshness.has_settled((*of, applied), birth, row.epoch)
            };
            !newest.is_empty() && newest.values().all(settled)
        })
    }

    /// Whether who owns the order's births now had been told of it when it took them over: what it
    /// could not adopt, for something waits there or a key is missing, it may bring back still.
    pub fn owner_was_told(&self, state: &State, id: OrderId) -> bool {
        let settings = &state.meta.settings;
        let (region, group, epoch) = (settings.region, settings.index, settings.epoch);
        let owned = state.births.get(id.region()).map_or(0, |row| row.epoch);
        let own = Origin { region, group, epoch };
        let had = self.freshness.taken_from(own, id.region(), owned);
        let Some(order) = state.orders.get(&id) else { return false };
        // Of a long history the beginning is forgotten.
        order
            .history
            .first()
            .is_some_and(|first| first.seq <= had || (had > 0 && first.version > order.base() + 1))
    }
}
