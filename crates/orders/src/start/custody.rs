//! Whether this node's vault is the region's. The orders groups keep its id in their state: nodes
//! with keys of their own would take over blocks that they cannot open and request ids that they
//! cannot tell from reused ones.

use std::sync::Arc;
use std::time::Duration;

use hansa_node::env::Env;
use hansa_types::id::GroupId;
use thiserror::Error;
use tokio::time::Instant;

use crate::core::command::{Command, Outcome};
use crate::shell::{Hosted, Trust};
use crate::vault::{Vault, VaultError};

/// How long one try to bind may take, and what lies between two.
const BIND_MAX: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(100);
/// Between two looks at a vault that does not answer.
const AGAIN: Duration = Duration::from_millis(500);

/// Why this node may not serve. Each names the vault and what to do.
#[derive(Debug, Error)]
pub enum Error {
    #[error(
        "vault {path}: not the key of this region ({group} has vault {bound:016x}, this is \
         {here:016x}); {advice}; then start again"
    )]
    Other { path: String, group: GroupId, bound: u64, here: u64, advice: &'static str },
    #[error(
        "vault {path}: there is none, and the region has a key already ({group} has vault \
         {bound:016x}); {advice}; then start again"
    )]
    Missing { path: String, group: GroupId, bound: u64, advice: &'static str },
    #[error("vault {path}: {source}")]
    Unusable { path: String, source: VaultError },
}

impl Error {
    /// Whether this node may serve later as it is.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Unusable { source, .. } if source.passes())
    }
}

/// Watches one group until its vault and this node's are known to be one.
pub struct Custody {
    pub hosted: Arc<Hosted>,
    pub first: First,
    pub vault: Arc<dyn Vault>,
    pub env: Env,
}

/// The region's first orders group. Its leader alone makes a key: the leaders of two groups would
/// make two.
pub enum First {
    This,
    Here(Arc<Hosted>),
    Elsewhere,
}

/// Whether the group is bound to this vault; `false` while it is bound to none.
///
/// # Errors
/// It is bound to another, or this one cannot be read.
pub async fn check(hosted: &Hosted, vault: &dyn Vault) -> Result<bool, Error> {
    let group = hosted.group.id();
    let bound = hosted.group.peek(|machine| machine.state.meta.vault);
    let (path, advice) = (vault.place(), vault.advice());
    let here = match vault.id().await {
        Ok(here) => here,
        Err(source) => return Err(Error::Unusable { path, source }),
    };
    match (bound, here) {
        (None, _) => Ok(false),
        (Some(bound), Some(here)) if bound == here => Ok(true),
        (Some(bound), Some(here)) => Err(Error::Other { path, group, bound, here, advice }),
        (Some(bound), None) => Err(Error::Missing { path, group, bound, advice }),
    }
}

impl Custody {
    /// Ends once the group trusts this node's vault; ends the node if it never will.
    pub async fn run(self) {
        let stop = self.env.tasks.stop_token();
        let mut applied = self.hosted.group.applied();
        let mut leadership = self.hosted.group.leadership();
        loop {
            applied.borrow_and_update();
            let leads = leadership.borrow_and_update().mine;
            let checked = match check(&self.hosted, self.vault.as_ref()).await {
                Ok(false) if leads => self.bind().await,
                Ok(true) => {
                    self.hosted.trusted.send_replace(Trust::Ours);
                    return;
                }
                other => other.map(drop),
            };
            let pause = match checked {
                Err(error) if error.passes() => {
                    self.tell(Trust::Lacks(error.to_string()));
                    AGAIN
                }
                Err(error) => {
                    self.env.exit.exit(&error.to_string());
                    return;
                }
                Ok(()) => {
                    self.tell(Trust::Unbound);
                    RETRY
                }
            };
            let again = tokio::time::sleep(pause);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // Each entry would ask a vault that does not answer.
                changed = applied.changed(), if pause == RETRY => {
                    if changed.is_err() { return }
                }
                changed = leadership.changed() => if changed.is_err() { return },
                () = again, if leads || pause == AGAIN => {}
            }
        }
    }

    fn tell(&self, trust: Trust) {
        let changes = |before: &mut Trust| match *before == trust {
            true => false,
            false => {
                *before = trust.clone();
                true
            }
        };
        if self.hosted.trusted.send_if_modified(changes) {
            let group = self.hosted.group.id();
            match trust {
                Trust::Lacks(why) => tracing::warn!(%group, why, "not served from here yet"),
                Trust::Unbound | Trust::Ours => tracing::info!(%group, "the vault answers"),
            }
        }
    }

    /// Commits this node's vault as the group's; what came of it shows in the state.
    async fn bind(&self) -> Result<(), Error> {
        let due = Instant::now() + BIND_MAX;
        let group = &self.hosted.group;
        // Linearizable: a new leader need not have applied yet what its predecessor bound.
        if !matches!(group.read(due, |machine| machine.state.meta.vault).await, Ok(None)) {
            return Ok(());
        }
        let ours = match &self.first {
            First::This => match self.vault.make().await {
                // Another node is making it: what it made is found by the next try.
                Err(VaultError::Busy) => return Ok(()),
                made => made.map(Some),
            },
            First::Here(first) if !first.trusts() => return Ok(()),
            First::Here(_) | First::Elsewhere => self.vault.id().await,
        };
        let unusable = |source| Error::Unusable { path: self.vault.place(), source };
        let Some(vault) = ours.map_err(unusable)? else {
            let path = self.vault.place();
            tracing::warn!(group = %group.id(), path, "waits for the region's vault");
            return Ok(());
        };
        match self.hosted.submit(&Command::BindVault { vault }, due).await {
            Ok(Outcome::Noted) => tracing::info!(group = %group.id(), "vault bound"),
            Ok(other) => tracing::debug!(group = %group.id(), ?other, "vault not bound"),
            Err(failure) => tracing::debug!(group = %group.id(), ?failure, "vault not bound yet"),
        }
        Ok(())
    }
}
