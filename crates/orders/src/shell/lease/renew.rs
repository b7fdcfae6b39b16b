//! Asks every region, our own included, again and again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use hansa_api::pb::directory::{KnownEpoch, OwnershipRecord, RenewEpochsRequest};
use hansa_node::env::Env;
use hansa_node::layers::Deadline;
use hansa_node::peers::Peers;
use hansa_region_router::book::Book;
use hansa_region_router::core::directory::{Ownership, Snapshot};
use hansa_region_router::core::standing::{Heed, Standing};
use hansa_region_router::ownership;
use hansa_region_router::wire::loss::record_of;
use hansa_types::region::{RegionName, RegionNumber};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Gate, Lease};
use crate::core::lease::Rule;

/// What needs to be asked in a lease's life, at least: two lost answers cost no lease.
const ROUNDS: u32 = 3;
/// Until a region that did not answer is asked again, when a node starts.
const AGAIN: Duration = Duration::from_millis(100);

/// The task of one node.
pub struct Renewer {
    pub env: Env,
    pub peers: Peers,
    pub book: Book,
    pub lease: Lease,
    /// How long the others are asked when the node starts.
    pub first: Duration,
}

/// What one round asks for.
struct Round {
    now: Arc<Snapshot>,
    region: RegionName,
    owned: BTreeMap<RegionNumber, u64>,
    due: Deadline,
}

impl Round {
    fn of(now: Arc<Snapshot>, due: Deadline) -> Option<Self> {
        let region = now.own_region()?.name.clone();
        let owned = now.owned().collect();
        Some(Self { now, region, owned, due })
    }
}

/// Births that are owned here for all that this node knows, and of which these records say more:
/// the epochs that taking them in leads to.
pub(crate) fn told(now: &Snapshot, records: &[OwnershipRecord]) -> BTreeMap<RegionNumber, u64> {
    let standing = Standing::of(now);
    let mut told = BTreeMap::new();
    for record in records.iter().filter_map(|record| record_of(record, now).ok()) {
        let ours = standing.owners.get(&record.birth).is_some_and(|of| of.owner == now.here);
        if let (true, Heed::Take(of)) = (ours, standing.heeds(&record)) {
            told.insert(record.birth, of.epoch);
        }
    }
    told
}

fn others(now: &Snapshot) -> impl Iterator<Item = (RegionNumber, &RegionName)> {
    let others = now.regions.iter().filter(|(number, _)| **number != now.here);
    others.map(|(number, of)| (*number, &of.name))
}

impl Renewer {
    /// Runs until the node stops.
    pub async fn run(self) {
        let stop = self.env.tasks.stop_token();
        let first = self.ask_first(Deadline::after(self.first));
        tokio::join!(stop.run_until_cancelled(first), self.rounds(&stop));
    }

    async fn rounds(&self, stop: &CancellationToken) {
        let mut changes = self.book.changes();
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

    /// Until all have answered who can be reached: what this region did not hear while it was away
    /// the others know.
    async fn ask_first(&self, due: Deadline) {
        while let Some(now) = self.book.now() {
            let asked = others(&now).map(|(number, name)| self.ask_until(number, name, due));
            join_all(asked).await;
            let same = |newer: Arc<Snapshot>| newer.owned().eq(now.owned());
            // What is owned by now may not be what was asked for.
            if Instant::now() >= due.0 || self.book.now().is_none_or(same) {
                break;
            }
        }
        self.lease.asked();
    }

    /// Asks one region until it answers.
    async fn ask_until(&self, number: RegionNumber, name: &RegionName, due: Deadline) {
        while self.peers.knows_gateway(name) && Instant::now() < due.0 {
            let Some(round) = self.book.now().and_then(|now| Round::of(now, due)) else { return };
            if self.ask(&round, number, name).await {
                return;
            }
            sleep(AGAIN).await;
        }
    }

    async fn round(&self) {
        let Some(now) = self.book.now() else { return };
        let gate = Gate::of(&now);
        self.lease.follow(gate, &now.owned().collect());
        // One that serves while it is cut off asks nobody.
        let Some(rule) = rule(gate) else { return };
        let due = Deadline::after(rule.lease / ROUNDS);
        let Some(round) = Round::of(now, due) else { return };
        let asked = others(&round.now).map(|(number, name)| self.ask(&round, number, name));
        tokio::join!(join_all(asked), self.ask_ourselves(&round));
    }

    /// Whether it answered.
    async fn ask(&self, round: &Round, number: RegionNumber, name: &RegionName) -> bool {
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
            Ok(_) => return false,
            Err(failure) => {
                tracing::debug!(region = %name, %failure, "epochs not renewed");
                return false;
            }
        };
        let each = round.owned.iter().zip(&answer.granted);
        let each = each.map(|((birth, epoch), granted)| (*birth, *epoch, *granted));
        self.lease.answered(number, asked, each, None);
        self.lease.told(&told(&round.now, &answer.records));
        if !answer.records.is_empty() {
            let learned = ownership::learn(&self.peers, &self.book, name, round.due).await;
            if let Err(failure) = learned {
                tracing::debug!(region = %name, %failure, "a newer epoch not taken in yet");
            }
        }
        true
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
        Some(every) => sleep(every).await,
        None => std::future::pending().await,
    }
}
