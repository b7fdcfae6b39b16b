//! What the loss of a region changes about what a run may be asked.
//!
//! Births that change hands on purpose lose nothing: every check of orders holds as ever, but an
//! order's goods come from the shelves of whichever region owned it, so those are counted together.
//! By force, what the lost region had not shipped may be lost if it is listed when the region is
//! back; and until it has heard, it tells what it knows.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::seen::StockKey;

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Loss {
    /// Regions that own each other's births in turn.
    pub heirs: BTreeSet<String>,
    /// Births were taken over by force.
    pub forced: bool,
    /// The unshipped tail as it was listed in the end, by order.
    pub tail: BTreeMap<String, Tail>,
}

/// An order of which the lost region had more than its heir.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tail {
    pub version: u64,
    /// From which the heir went on; 0: it never saw the order.
    pub adopted: u64,
    /// Two people had it go on as it stood: it must be found.
    pub goes_on: bool,
}

impl Loss {
    /// Whether an order's goods at this key may be another region's.
    #[must_use]
    pub fn shares(&self, key: &StockKey) -> bool {
        self.heirs.contains(&key.region)
    }

    /// Whether later answers about the order need not follow from earlier ones.
    #[must_use]
    pub fn listed(&self, order: &str) -> bool {
        self.tail.contains_key(order)
    }

    /// Whether the order may be gone in the end.
    #[must_use]
    pub fn may_be_gone(&self, order: &str) -> bool {
        self.tail.get(order).is_some_and(|of| of.adopted == 0 && !of.goes_on)
    }
}
