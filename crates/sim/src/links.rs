//! The network's links: which of them are cut or held, by how many faults at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What one fault does to the network while it lasts.
#[derive(Clone, Debug, Default)]
pub struct Broken {
    /// Nothing gets from the first to the second.
    pub cut: BTreeSet<(IpAddr, IpAddr)>,
    /// Everything between the two waits.
    pub held: BTreeSet<(IpAddr, IpAddr)>,
}

/// Every fault in force, and what turmoil was told.
#[derive(Default)]
pub struct Links {
    all: Vec<IpAddr>,
    broken: BTreeMap<u64, Broken>,
    told: Told,
}

#[derive(Clone, PartialEq, Eq, Default)]
struct Told {
    cut: BTreeSet<(IpAddr, IpAddr)>,
    held: BTreeSet<(IpAddr, IpAddr)>,
}

impl Links {
    #[must_use]
    pub fn new(all: Vec<IpAddr>) -> Self {
        Self { all, ..Self::default() }
    }

    /// Both ways between each of `some` and everybody else, and each other if `within`.
    #[must_use]
    pub fn around(&self, some: &[IpAddr]) -> BTreeSet<(IpAddr, IpAddr)> {
        let outside = self.all.iter().filter(|other| !some.contains(other));
        outside
            .flat_map(|other| some.iter().flat_map(move |one| [(*one, *other), (*other, *one)]))
            .collect()
    }

    pub fn add(&mut self, sim: &mut turmoil::Sim<'_>, fault: u64, broken: Broken) {
        self.broken.insert(fault, broken);
        self.tell(sim);
    }

    pub fn remove(&mut self, sim: &mut turmoil::Sim<'_>, fault: u64) {
        if self.broken.remove(&fault).is_some() {
            self.tell(sim);
        }
    }

    pub fn heal(&mut self, sim: &mut turmoil::Sim<'_>) {
        self.broken.clear();
        self.tell(sim);
    }

    /// Brings turmoil's links to what the faults in force add up to: a cut outweighs a hold.
    fn tell(&mut self, sim: &mut turmoil::Sim<'_>) {
        let mut now = Told::default();
        for broken in self.broken.values() {
            now.cut.extend(&broken.cut);
            now.held.extend(broken.held.iter().map(|(a, b)| (*a.min(b), *a.max(b))));
        }
        let cut = now.cut.clone();
        now.held.retain(|(a, b)| !cut.contains(&(*a, *b)) && !cut.contains(&(*b, *a)));
        for (a, b) in self.told.held.difference(&now.held) {
            sim.release(*a, *b);
        }
        for (from, to) in self.told.cut.difference(&now.cut) {
            sim.repair_oneway(*from, *to);
        }
        for (from, to) in now.cut.difference(&self.told.cut) {
            sim.partition_oneway(*from, *to);
        }
        for (a, b) in now.held.difference(&self.told.held) {
            sim.hold(*a, *b);
        }
        self.told = now;
    }
}
