//! The loops that look at what was applied: waking, auditing, shipping.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hansa_node::tasks::OnError;
use hansa_region_router::book::Book;
use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use tokio_util::sync::CancellationToken;

use crate::core::invariants;
use crate::core::state::State;
use crate::machine::OrdersMachine;
use crate::metrics::{self, Level};
use crate::replicate::{Lags, Sender};
use crate::shell::{Hosted, Shell};

/// How often the state is audited and its levels taken.
const AUDIT_EVERY: Duration = Duration::from_secs(10);
/// Orders audited at most while apply waits; larger states are audited by RPC only.
const AUDIT_ORDERS_MAX: usize = 5_000;
const VIOLATIONS_MAX: usize = 10;

/// Wakes those who wait for an order that changed, or that another region goes on with.
pub async fn wake(hosted: Arc<Hosted>, stop: CancellationToken) {
    let mut applied = hosted.group.applied();
    let look = |machine: &OrdersMachine| (machine.state.meta.seq, epochs(&machine.state));
    let (mut seen, mut owned) = hosted.group.peek(look);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            changed = applied.changed() => if changed.is_err() { return },
        }
        let (changed, now) = hosted.group.peek(|machine| {
            let state = &machine.state;
            let after = std::mem::replace(&mut seen, state.meta.seq);
            // Asked while nothing can be applied: who joins later looks at a later state.
            let changed = match hosted.waiters.is_empty() {
                true => Vec::new(),
                // A snapshot may have taken the group back to a state with fewer events.
                false => decisions(state, after.min(state.meta.seq)),
            };
            (changed, epochs(state))
        });
        if now != owned {
            owned = now;
            hosted.waiters.wake_all();
        }
        hosted.waiters.wake(changed.into_iter());
    }
}

/// Whoever begins or ceases to own births does so in another epoch.
fn epochs(state: &State) -> Vec<(RegionNumber, u64)> {
    state.births.iter().map(|(birth, row)| (birth, row.epoch)).collect()
}

/// The orders that changed, and whether each is decided.
fn decisions(state: &State, after: u64) -> Vec<(OrderId, bool)> {
    let decided = |(_, id)| {
        let order = state.orders.get(&id)?;
        // The newest face is what the order shows.
        Some((id, order.history.last().is_some_and(|change| change.face.order.decided())))
    };
    state.changed_after(after).filter_map(decided).collect()
}

/// Takes levels and looks for broken invariants, on whatever replica this is.
pub async fn audit(hosted: Arc<Hosted>, stop: CancellationToken) {
    let group = hosted.group.id();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(AUDIT_EVERY) => {}
        }
        let (outstanding, parked, broken) = hosted.group.peek(|machine| {
            let state = &machine.state;
            let broken = match state.orders.len() <= AUDIT_ORDERS_MAX {
                true => invariants::check(state, VIOLATIONS_MAX),
                false => Vec::new(),
            };
            (state.work_len(), state.parked().count(), broken)
        });
        for violation in &broken {
            let (number, name) = (violation.number, violation.name);
            let (order, detail) = (&violation.order, &violation.detail);
            tracing::error!(%group, number, name, ?order, detail, "invariant broken");
        }
        let (waiting, violations) = (hosted.waiters.len(), broken.len());
        metrics::level(group, &Level { waiting, outstanding, parked, violations });
    }
}

/// Starts a sender for each group and each other region, also for one that joins later.
pub async fn ship(shell: Arc<Shell>, lags: Lags, book: Book, stop: CancellationToken) {
    let mut changes = book.changes();
    let mut started = BTreeSet::new();
    loop {
        changes.borrow_and_update();
        for peer in shell.map.others() {
            if !started.insert(peer.clone()) {
                continue;
            }
            for hosted in shell.groups.values() {
                let name = format!("{}-to-{peer}", hosted.group.id());
                let (shell, hosted) = (shell.clone(), hosted.clone());
                let sender = Sender::new(shell, hosted, peer.clone(), lags.clone());
                let tasks = sender.shell.env.tasks.clone();
                let stop = stop.clone();
                tasks.spawn(name, OnError::StopNode, async move {
                    // Pseudonyms are made with the vault's key.
                    if stop.run_until_cancelled(sender.hosted.trusting()).await.is_some() {
                        sender.run().await;
                    }
                });
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}
