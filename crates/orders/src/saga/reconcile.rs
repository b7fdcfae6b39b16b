//! What a restored group's leader does before the group serves: asks the provider what it knows,
//! gives back what no order stands for, and ends the phase once the backup's steps are answered.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use hansa_types::id::OrderId;
use tokio::time::{Instant, timeout};

use crate::core::command::{Command, Outcome};
use crate::core::effect::Reference;
use crate::core::order::PROVIDER_KEY;
use crate::core::restored::{Found, Restored, Step, StrayState};
use crate::core::takeover::Phase;
use crate::machine::OrdersMachine;
use crate::provider::{Answer, Listed, Provider};
use crate::shell::{Hosted, Shell};
use crate::start::alive_again;

/// Payments from this long before the cut on are asked for: one that was under way then may have
/// begun earlier.
const MARGIN_MS: u64 = 3_600_000;
const PAUSE: Duration = Duration::from_millis(500);
const CALL_MAX: Duration = Duration::from_secs(30);
const SUBMIT_MAX: Duration = Duration::from_secs(5);
/// Payments that are given back at once.
const AT_ONCE: usize = 32;
/// Payments in one command.
const FOUND_MAX: usize = 500;

pub struct Reconciler {
    pub shell: Arc<Shell>,
    pub hosted: Arc<Hosted>,
    pub provider: Arc<dyn Provider>,
}

impl Reconciler {
    /// Runs until the group serves; ends at once for one that was never restored.
    pub async fn run(self) {
        let stop = self.shell.env.tasks.stop_token();
        let mut leadership = self.hosted.group.leadership();
        loop {
            let mine = leadership.borrow_and_update().mine;
            let restored = self.hosted.group.peek(|machine| machine.state.restored.clone());
            let Some(restored) = restored.filter(|now| now.restoring) else { return };
            // What the provider knows of another region's births is that one's to settle.
            if mine && self.hosted.lease.open() && self.owns() {
                self.round(&restored).await;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = leadership.changed(), if !mine => if changed.is_err() { return },
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// Whether what was born here is this region's, in the directory and in the group.
    fn owns(&self) -> bool {
        let here = self.shell.number;
        let owner = self.shell.map.now().ok().and_then(|now| now.owners.get(&here).copied());
        let phase = |m: &OrdersMachine| m.state.births.get(here).map(|row| row.phase);
        owner.is_some_and(|of| of.owner == here)
            && matches!(self.hosted.group.peek(phase), None | Some(Phase::Owned))
    }

    async fn round(&self, restored: &Restored) {
        if !restored.listed {
            return self.list(restored).await;
        }
        let mut giving = Vec::new();
        for (key, stray) in &restored.strays {
            if stray.state == StrayState::Cancelling {
                giving.push(self.give_back(key, &stray.reference));
            }
        }
        for_each_at_once(giving).await;
        if self.hosted.group.peek(|machine| machine.state.open_steps()) == 0
            && self.erased_again().await
            && self.submit(Step::End).await
        {
            tracing::warn!(group = %self.hosted.group.id(), "restored: the group serves");
        }
    }

    /// Whether nobody is back whom the vault knows to be erased. The group's keeper erases them
    /// again; served before that, an order of his would be sealed with a key that is to go.
    async fn erased_again(&self) -> bool {
        let erased = match self.shell.vault.erased().await {
            Ok(erased) => erased,
            Err(error) => {
                tracing::warn!(%error, "restored: the vault does not say who was erased");
                return false;
            }
        };
        let living = self.hosted.group.peek(|m| alive_again(&m.state, &erased, 1));
        if !living.is_empty() {
            self.shell.keys_changed.notify_waiters();
        }
        living.is_empty()
    }

    async fn list(&self, restored: &Restored) {
        let since = restored.restore.cut_ms.saturating_sub(MARGIN_MS);
        let answered = timeout(CALL_MAX, self.provider.list(since)).await;
        let listed = match answered {
            Ok(Ok(listed)) => listed,
            Ok(Err(fault)) => {
                tracing::warn!(?fault, "the provider does not list its payments; asking again");
                return;
            }
            Err(_) => return,
        };
        let group = self.hosted.group.id();
        let Some(listed) = listed else {
            tracing::warn!(%group, "the provider cannot list payments: unknown ones are not found");
            let looked = Vec::new();
            self.submit(Step::Listed { found: Vec::new(), last: true, looked }).await;
            return;
        };
        let found: Vec<Found> = listed.into_iter().filter_map(found).collect();
        tracing::info!(%group, payments = found.len(), "the provider listed what it knows");
        let mut chunks = found.chunks(FOUND_MAX).peekable();
        loop {
            let (chunk, last) = (chunks.next().unwrap_or_default(), chunks.peek().is_none());
            let (found, looked) = (chunk.to_vec(), Vec::new());
            if !self.submit(Step::Listed { found, last, looked }).await || last {
                return;
            }
        }
    }

    async fn give_back(&self, key: &str, reference: &Reference) {
        match timeout(CALL_MAX, self.provider.cancel(key, &reference.0)).await {
            Ok(Ok(Answer::Done | Answer::NotFound | Answer::Declined { .. })) => {
                tracing::warn!(
                    key,
                    "payment of an order that the restore does not know: cancelled"
                );
                self.submit(Step::Cancelled { key: key.to_owned() }).await;
            }
            Ok(Ok(Answer::Refused { .. } | Answer::Authorized { .. })) => {
                tracing::error!(key, "the provider will not cancel; an operator must settle it");
                self.submit(Step::Decide { key: Some(key.to_owned()), cancel: false }).await;
            }
            // In doubt: the same key goes out again.
            Ok(Err(_)) | Err(_) => {}
        }
    }

    async fn submit(&self, step: Step) -> bool {
        let due = Instant::now() + SUBMIT_MAX;
        matches!(self.hosted.submit(&Command::Restore(step), due).await, Ok(Outcome::Noted))
    }
}

async fn for_each_at_once<Fut: Future<Output = ()>>(work: Vec<Fut>) {
    stream::iter(work).buffer_unordered(AT_ONCE).collect::<()>().await;
}

/// A payment that stands, with the order that its key names.
fn found(listed: Listed) -> Option<Found> {
    let order: OrderId = listed.key.strip_prefix(PROVIDER_KEY)?.parse().ok()?;
    let reference = Reference(listed.reference);
    (!listed.void).then_some(Found { key: listed.key, order, reference })
}
