//! Asks every region, our own included, again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use hansa_api::pb::directory::{KnownEpoch, OwnershipRecord, RenewEpochsRequest};
use hansa_node::env::Env;
use hansa_node::layers::Deadline;
use hansa_node::peers::Peers;
use hansa_region_router::book::Book;
use hansa_region_router::core::directory::{Ownership, Snapshot};
use hansa_region_router::ownership;
use hansa_types::region::{RegionName, RegionNumber};

use super::first::ASK_MAX;
use super::{Gate, Lease};
use crate::core::lease::Rule;

/// What needs to be asked in a lease's life, at least: two lost answers cost no lease.
const ROUNDS: u32 = 3;

/// The task of one node.
pub struct Renewer {
    pub env: Env,
    pub peers: Peers,
    pub book: Book,
    pub lease: Lease,
}

/// What one round asks for.
struct Round {
    now: Arc<Snapshot>,
    region: RegionName,
    owned: BTreeMap<RegionNumber, u64>,
    due: Deadline,
}

impl Round {
    fn of(now: Arc<Snapshot>, within: Duration) -> Option<Self> {
        let region = now.own_region()?.name.clone();
        let (owned, due) = (now.owned().collect(), Deadline::after(within));
        Some(Self { now, region, owned, due })
    }

    fn others(&self) -> impl Iterator<Item = (RegionNumber, &RegionName)> {
        let others = self.now.regions.iter().filter(|(number, _)| **number != self.now.here);
        others.map(|(number, of)| (*number, &of.name))
    }

    /// Births that are owned here for all that this node knows, and of which these records say
    /// more.
    fn ended(&self, records: &[OwnershipRecord]) -> BTreeSet<(RegionNumber, u64)> {
        let ended = |record: &OwnershipRecord| {
            let birth = self.now.number_of(&record.birth_region)?;
            let epoch = *self.owned.get(&birth)?;
            (record.epoch > epoch).then_some((birth, epoch))
        };
        records.iter().filter_map(ended).collect()
    }
}

impl Renewer {
    /// Runs until the node stops.
    pub async fn run(self) {
        let stop = self.env.tasks.stop_token();
        let mut changes = self.book.changes();
        if stop.run_until_cancelled(self.ask_first()).await.is_none() {
            return;
        }
        loop {
            changes.borrow_and_update();
            let every = self.book.now().and_then(|now| rule(Gate::of(&now)));
            let every = every.map(|rule| rule.lease / ROUNDS);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.round() => {}
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
                () = rest(every) => {}
            }
        }
    }

    /// Once, wherever the region goes on by itself: what it did not hear while it was away the
    /// others know.
    async fn ask_first(&self) {
        let serves = self.book.now().filter(|now| Gate::of(now) == Gate::Serve);
        if let Some(round) = serves.and_then(|now| Round::of(now, ASK_MAX)) {
            join_all(round.others().map(|(number, name)| self.ask(&round, number, name))).await;
        }
        self.lease.asked();
    }

    async fn round(&self) {
        let Some(now) = self.book.now() else { return };
        let gate = Gate::of(&now);
        self.lease.follow(gate, &now.owned().collect());
        // One that serves while it is cut off asks nobody.
        let Some(rule) = rule(gate) else { return };
        let Some(round) = Round::of(now, rule.lease / ROUNDS) else { return };
        let asked = round.others().map(|(number, name)| self.ask(&round, number, name));
        tokio::join!(join_all(asked), self.ask_ourselves(&round));
    }

    async fn ask(&self, round: &Round, number: RegionNumber, name: &RegionName) {
        let known = |(birth, epoch): (&RegionNumber, &u64)| {
            let birth_region = round.now.region(*birth)?.name.to_string();
            Some(KnownEpoch { birth_region, owner_region: round.region.to_string(), epoch: *epoch })
        };
        let epochs: Vec<_> = round.owned.iter().filter_map(known).collect();
        let request = RenewEpochsRequest { region: round.region.to_string(), epochs };
        // Before it is sent: the grant is as old as the question.
        let asked = self.env.clock.monotonic();
        let answer = ownership::renew(&self.peers, name, request, round.due).await;
        let answer = match answer {
            Ok(answer) if answer.granted.len() == round.owned.len() => answer,
            Ok(_) => return,
            Err(failure) => {
                tracing::debug!(region = %name, %failure, "epochs not renewed");
                return;
            }
        };
        let each = round.owned.iter().zip(&answer.granted);
        let each = each.map(|((birth, epoch), granted)| (*birth, *epoch, *granted));
        self.lease.answered(number, asked, each, None);
        self.lease.told_ended(&round.ended(&answer.records));
        if !answer.records.is_empty() {
            let learned = ownership::learn(&self.peers, &self.book, name, round.due).await;
            if let Err(failure) = learned {
                tracing::debug!(region = %name, %failure, "a newer epoch not taken in yet");
            }
        }
    }

    async fn ask_ourselves(&self, round: &Round) {
        let (here, asked) = (round.now.here, self.env.clock.monotonic());
        match ownership::read(&self.peers, &round.now, round.due).await {
            Ok(standing) => {
                let each = round.owned.iter().map(|(birth, epoch)| {
                    let of = Ownership { owner: here, epoch: *epoch };
                    (*birth, *epoch, standing.renews(*birth, of))
                });
                // The book may be older than what the directory says by now.
                let read = standing.isolation.lease_ms().map(Duration::from_millis);
                let regions = standing.regions;
                let read = read.map(|lease| Rule { regions, lease, here });
                self.lease.answered(here, asked, each, read);
            }
            Err(failure) => tracing::debug!(%failure, "epochs not renewed by our own directory"),
        }
    }
}

fn rule(gate: Gate) -> Option<Rule> {
    match gate {
        Gate::Lease(rule) => Some(rule),
        Gate::Unknown | Gate::Serve => None,
    }
}

async fn rest(every: Option<Duration>) {
    match every {
        Some(every) => tokio::time::sleep(every).await,
        None => std::future::pending().await,
    }
}
