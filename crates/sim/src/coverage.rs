//! What really happened: a batch in which a wanted fault never came to pass proves nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Names and how often.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counts(BTreeMap<String, u64>);

impl Counts {
    pub fn add(&mut self, what: &str, times: u64) {
        match self.0.get_mut(what) {
            Some(count) => *count += times,
            None => drop(self.0.insert(what.to_owned(), times)),
        }
    }

    #[must_use]
    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }

    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(what, times)| self.add(what, *times));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(what, times)| (what.as_str(), *times))
    }

    /// Faults that were injected, of every class.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.iter().filter(|(what, _)| what.starts_with("fault ")).map(|(_, times)| times).sum()
    }
}

/// Log lines of the product that are facts worth counting.
const LINES: &[(&str, &str)] = &[
    ("torn tail cut", "torn tail met"),
    ("snapshot arrived", "snapshot installed"),
    ("snapshot not installed", "snapshot refused"),
    ("checkpoint unusable", "checkpoint damage found"),
    ("group not started", "group refused to start"),
    ("group stopped on this node", "group stopped"),
    ("our wall clock differs", "clock kept a node from leading"),
    ("breaker of the provider opened", "breaker opened"),
    ("leadership", "leadership changed"),
    ("replica differs from its leader", "divergence alarm"),
    ("peer refused", "peer refused"),
    ("account view is built anew", "view rebuilt"),
];

/// What a log line counts as.
#[must_use]
pub fn of_line(message: &str) -> Option<&'static str> {
    LINES.iter().find(|(text, _)| message.starts_with(text)).map(|(_, what)| *what)
}

/// What must have happened in a batch of this many seeds or more.
pub const WANTED: &[(u64, &str)] = &[
    (20, "joint region"),
    (20, "order booked in its first entry"),
    (20, "order refused in its first entry"),
    (50, "booking left to a lane in a joint region"),
    (50, "order with a part near and one that is not"),
    (50, "leader changed between an order's first entry and its second"),
    (100, "leader changed between an order's second entry and its third"),
    (20, "fault kill"),
    (20, "fault power cut"),
    (20, "fault isolate"),
    (50, "fault blackout"),
    (50, "fault one-way cut"),
    (50, "fault bridge"),
    (50, "fault cut off with its clients"),
    (50, "fault flapping"),
    (50, "fault hold"),
    (50, "fault slow sync"),
    (50, "fault write error"),
    (50, "fault sync error"),
    (100, "fault read error"),
    (50, "fault full disk"),
    (50, "fault clock jump"),
    (50, "fault clock drift"),
    (50, "fault graceful restart"),
    (100, "fault flipped bit"),
    (200, "fault wiped volume"),
    (50, "torn tail met"),
    (50, "snapshot installed"),
    (20, "checkpoint loaded"),
    (20, "log purged"),
    (20, "log read before a start"),
    (20, "disk of a node swept"),
    (50, "disk error ended a node"),
    (20, "leader lost while in minority"),
    (20, "unknown outcome"),
    (50, "saga resumed by a new leader"),
    (20, "order confirmed"),
    (20, "order rejected"),
    (20, "order cancelled"),
    (50, "order shipped"),
    (50, "payment refunded"),
    (100, "damage refused"),
    (100, "node reseeded"),
    (50, "leadership handed over"),
    (50, "fault pause"),
    (100, "fault long pause"),
    (50, "leader lost while it stood still"),
    (50, "fault provider away"),
    (50, "fault provider slow"),
    (50, "fault provider mute"),
    (50, "provider not reached"),
    (50, "provider acted and its answer was lost"),
    (50, "fault membership change"),
    (50, "member added"),
    (50, "member removed"),
    (100, "member replaced"),
    (200, "member promoted"),
    (50, "member change settled"),
    (100, "fault lost machine"),
    (200, "member replaced by force"),
    (50, "fault drain"),
    (50, "node drained"),
    (50, "fault version raise"),
    (50, "version raised"),
    (50, "fault key rotation"),
    (50, "key rotated"),
    (200, "fault policy load"),
    (200, "policy loaded"),
    (20, "order watched"),
    (20, "watch resumed"),
    (20, "stock adjusted"),
    (50, "items returned"),
    (50, "fault hand-over of births"),
    (50, "births handed over"),
    (200, "hand-over given up"),
    (50, "births brought home"),
    (50, "fault region lost"),
    (50, "births taken over"),
    (200, "births taken over between unlike layouts"),
    (200, "fault region cut off until taken over"),
    (200, "leases set"),
    (100, "tail order decided"),
    (50, "fault customer to be erased"),
    (50, "customer erased"),
    (50, "fault customer to be moved"),
    (100, "customer moved"),
    (50, "order of an erased customer read"),
    (100, "order of a customer who moved read"),
];

/// Wanted things that never happened in `seeds` seeds.
#[must_use]
pub fn missing(counts: &Counts, seeds: u64) -> Vec<&'static str> {
    let due = WANTED.iter().filter(|(from, what)| seeds >= *from && counts.of(what) == 0);
    due.map(|(_, what)| *what).collect()
}
