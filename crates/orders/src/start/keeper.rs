//! Looks after the keys of one group: on its leader what is living is put under the newest region
//! key, and what is no longer needed is destroyed; on every node what was erased leaves memory.
//!
//! Everything is decided anew from state and vault each time, so a leader that falls in between
//! leaves nothing half done that the next one would not finish.

use std::sync::Arc;
use std::time::Duration;

use hansa_types::id::{GroupId, GroupKind};
use tokio::time::Instant;

use crate::core::command::{Command, Outcome};
use crate::core::subjects::{KEYS_MAX, KeyEntry, KeyOf, KeyState, KeyStep, RegionKey};
use crate::metrics;
use crate::shell::{Hosted, Shell};
use crate::vault::{KeyInfo, KeyLife, VaultError};

/// How long one command may take.
const SUBMIT_MAX: Duration = Duration::from_secs(5);
/// Commands in one round: others of the group's work come between.
const STEPS_MAX: usize = 64;

pub struct Keeper {
    pub shell: Arc<Shell>,
    pub hosted: Arc<Hosted>,
    /// The region's first orders group: its leader destroys, for one file is to be changed once.
    pub first: bool,
}

/// Why a round ended early; the next one begins again.
#[derive(Debug, thiserror::Error)]
enum Stuck {
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("not committed: {0}")]
    NotCommitted(String),
}

impl Keeper {
    pub async fn run(self) {
        let stop = self.shell.env.tasks.stop_token();
        let group = self.hosted.group.id();
        if stop.run_until_cancelled(self.hosted.trusting()).await.is_none() {
            return;
        }
        let every = Duration::from_millis(self.shell.cfg.keys.check_ms);
        let (mut told, mut noted) = (0, 0);
        loop {
            told = self.forget_erased(told);
            match self.round(&mut noted).await {
                Ok(()) => {}
                // Another node is at it, or the vault is away: what there is to do stays so.
                Err(Stuck::Vault(VaultError::Busy)) => {}
                Err(why) => tracing::warn!(%group, %why, "keys not looked after"),
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.shell.keys_changed.notified() => {}
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    /// Wipes keys from memory that the log has dropped since event `told`.
    fn forget_erased(&self, told: u64) -> u64 {
        let (seq, erased) = self.hosted.group.peek(|machine| {
            let state = &machine.state;
            let after = told.min(state.meta.seq);
            let erased: Vec<_> = state.subjects.erased_after(after).map(|(_, id)| id).collect();
            (state.meta.seq, erased)
        });
        erased.into_iter().for_each(|subject| self.shell.keyring.forget(subject));
        seq
    }

    async fn round(&self, noted: &mut u64) -> Result<(), Stuck> {
        let keys = self.shell.vault.keys().await?;
        let Some(newest) = keys.last().copied() else { return Ok(()) };
        if !self.serves(newest.key) || !self.hosted.group.leadership().borrow().mine {
            return Ok(());
        }
        self.note_erased(noted).await?;
        self.erase_again(&newest).await?;
        let newest = self.rotate_for_erased(newest).await?;
        let wraps = self.hosted.group.peek(|machine| machine.state.meta.wraps);
        if wraps != Some(newest.key) {
            self.commit(KeyStep::Use { key: newest.key }).await?;
        }
        let rewrapped = self.rewrap(newest.key).await?;
        if rewrapped {
            self.shell.vault.release(self.hosted.group.id(), newest.key).await?;
        }
        // A group that came back from a backup needs again what it had let go of.
        match self.first && rewrapped {
            true => self.destroy().await,
            false => Ok(()),
        }
    }

    /// A vault that lacks the key in use is a copy from before a rotation: such a node neither
    /// serves nor takes the group back.
    fn serves(&self, newest: RegionKey) -> bool {
        let wraps = self.hosted.group.peek(|machine| machine.state.meta.wraps);
        let behind = wraps.is_some_and(|wraps| wraps > newest);
        if self.hosted.trusts() == behind {
            let (group, path) = (self.hosted.group.id(), self.shell.vault.place());
            match behind {
                true => tracing::error!(
                    %group, path, "the vault lacks the region key in use; copy a newer one"
                ),
                false => tracing::info!(%group, "the vault has the region key in use"),
            }
            self.hosted.trusted.send_replace(!behind);
        }
        !behind
    }

    /// Tells the vault what was erased after event `noted`, for the day that a backup comes back.
    async fn note_erased(&self, noted: &mut u64) -> Result<(), Stuck> {
        let (seq, erased) = self.hosted.group.peek(|machine| {
            let state = &machine.state;
            let after = (*noted).min(state.meta.seq);
            let rows = state.subjects.erased_after(after);
            let rows = rows.filter_map(|(_, id)| Some((id, state.subjects.table.get(&id)?)));
            let mut found = Vec::new();
            for (subject, row) in rows {
                found.extend(row.erased.iter().map(|erased| {
                    (KeyOf { subject, generation: erased.generation }, erased.under)
                }));
            }
            (state.meta.seq, found)
        });
        if !erased.is_empty() {
            match self.shell.vault.note_erased(&erased).await {
                // More than a vault remembers: the rotation that ends it must go on all the same.
                Err(VaultError::Full) => {
                    let group = self.hosted.group.id();
                    tracing::error!(%group, "the vault remembers no more erasures");
                }
                noted => noted?,
            }
        }
        *noted = seq;
        Ok(())
    }

    /// Erases anew what a backup brought back to life.
    async fn erase_again(&self, newest: &KeyInfo) -> Result<(), Stuck> {
        let erased = self.shell.vault.erased().await?;
        let keys: Vec<KeyOf> = self.hosted.group.peek(|machine| {
            let living =
                |of: &KeyOf| matches!(machine.state.subjects.key(*of), KeyState::Living(_));
            erased.into_iter().filter(living).take(KEYS_MAX).collect()
        });
        if keys.is_empty() {
            return Ok(());
        }
        let asked_ms = self.shell.env.clock.wall().ms();
        let destroy_after_ms = destroy_after_ms(newest, &self.shell.cfg.keys, asked_ms);
        let (group, count) = (self.hosted.group.id(), keys.len());
        tracing::warn!(%group, count, "erased after the backup, and erased again");
        self.commit(KeyStep::Again { keys, asked_ms, destroy_after_ms }).await
    }

    /// A key under which something was erased gives way to a new one: the old one opens it still.
    async fn rotate_for_erased(&self, newest: KeyInfo) -> Result<KeyInfo, Stuck> {
        let erased = self.hosted.group.peek(|machine| machine.state.meta.erased_under);
        let cfg = &self.shell.cfg.keys;
        let now = self.shell.env.clock.wall().ms();
        let due = now >= newest.made_ms.saturating_add(cfg.erase_gap_ms);
        if !due || erased.is_none_or(|under| under < newest.key) {
            return Ok(newest);
        }
        let made = self.shell.vault.rotate(newest.key, now, cfg.window_ms).await?;
        tracing::info!(former = %newest.key, key = %made.key, "region key rotated for an erasure");
        self.shell.keys_changed.notify_waiters();
        Ok(made)
    }

    /// Puts what is living under `newest`; whether all of it is.
    async fn rewrap(&self, newest: RegionKey) -> Result<bool, Stuck> {
        for _ in 0..STEPS_MAX {
            let group = &self.hosted.group;
            let older = group.peek(|machine| machine.state.subjects.under_older(newest, KEYS_MAX));
            if older.is_empty() {
                let wraps = group.peek(|machine| machine.state.meta.wraps);
                return Ok(wraps == Some(newest));
            }
            let (mut entries, mut lost) = (Vec::with_capacity(older.len()), false);
            for (of, wrapped) in older {
                match self.shell.keyring.rewrap(of, &wrapped, newest).await {
                    Ok(wrapped) => entries.push(KeyEntry { of, wrapped }),
                    Err(VaultError::Destroyed(key)) => {
                        let asked_ms = self.shell.env.clock.wall().ms();
                        self.commit(KeyStep::Lost { key, asked_ms }).await?;
                        lost = true;
                        break;
                    }
                    // One that is damaged must not keep all others under the old key.
                    Err(error @ VaultError::Open) => {
                        let group = self.hosted.group.id();
                        tracing::error!(%group, key = ?of, %error, "a data key does not open");
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if entries.is_empty() && !lost {
                return Ok(false);
            }
            if !entries.is_empty() {
                metrics::rewrapped(entries.len());
                self.commit(KeyStep::Rewrap(entries)).await?;
            }
        }
        Ok(false)
    }

    async fn destroy(&self) -> Result<(), Stuck> {
        let Ok(now) = self.shell.map.now() else { return Ok(()) };
        let orders = now.groups.keys().filter(|group| group.kind() == GroupKind::Orders);
        let groups: Vec<GroupId> = orders.copied().collect();
        let wall = self.shell.env.clock.wall().ms();
        for key in self.shell.vault.destroy_due(&groups, wall).await? {
            tracing::info!(%key, "region key destroyed");
        }
        Ok(())
    }

    async fn commit(&self, step: KeyStep) -> Result<(), Stuck> {
        let due = Instant::now() + SUBMIT_MAX;
        match self.hosted.submit(&Command::Keys(step), due).await {
            Ok(Outcome::Noted) => Ok(()),
            Ok(other) => Err(Stuck::NotCommitted(format!("{other:?}"))),
            Err(failure) => Err(Stuck::NotCommitted(failure.to_string())),
        }
    }
}

/// When the region key that wraps what is erased now will be destroyed, at the latest if all that
/// is living is re-wrapped by then; ms.
pub fn destroy_after_ms(newest: &KeyInfo, cfg: &crate::config::Keys, now_ms: u64) -> u64 {
    let rotated = match newest.state {
        KeyLife::Active => now_ms.max(newest.made_ms.saturating_add(cfg.erase_gap_ms)),
        KeyLife::Retired { .. } | KeyLife::Destroyed { .. } => now_ms,
    };
    // The keeper looks, rotates, and looks again.
    rotated.saturating_add(cfg.window_ms).saturating_add(4 * cfg.check_ms)
}
