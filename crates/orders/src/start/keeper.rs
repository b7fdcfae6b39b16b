//! Looks after the keys of one group: on its leader what is living is put under the newest region
//! key, and what is no longer needed is destroyed; on every node what was erased leaves memory.
//!
//! Everything is decided anew from state and vault each time, so a leader that falls in between
//! leaves nothing half done that the next one would not finish.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hansa_types::id::{GroupId, GroupKind};
use tokio::time::Instant;

use crate::core::command::{Command, Outcome};
use crate::core::state::State;
use crate::core::subjects::{
    Cause, KEYS_MAX, KeyEntry, KeyOf, KeyState, KeyStep, Owed, RegionKey, SubjectRow,
};
use crate::machine::OrdersMachine;
use crate::metrics;
use crate::shell::{Hosted, Shell, Trust, not_read};
use crate::vault::{KeyInfo, KeyLife, VaultError};

/// How long one command may take.
const SUBMIT_MAX: Duration = Duration::from_secs(5);
/// After so many rounds it is said that nobody rotates.
const OVERDUE_ROUNDS: u32 = 60;
/// Commands in one round: others of the group's work come between.
const STEPS_MAX: usize = 64;

pub struct Keeper {
    pub shell: Arc<Shell>,
    pub hosted: Arc<Hosted>,
    /// The region's first orders group: its leader makes and destroys region keys. Two leaders
    /// with a copy of the file each would make two under one number.
    pub first: bool,
}

/// Since when the first group's leader has had a rotation to make, and how often it was called.
#[derive(Default)]
struct Overdue {
    rounds: u32,
}

/// Why a round ended early; the next one begins again.
#[derive(Debug, thiserror::Error)]
enum Stuck {
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("not committed: {0}")]
    NotCommitted(String),
    #[error(
        "region key {0} wraps what was erased: the first orders group's leader does not rotate"
    )]
    NotRotated(RegionKey),
}

impl Keeper {
    pub async fn run(self) {
        let stop = self.shell.env.tasks.stop_token();
        let group = self.hosted.group.id();
        if stop.run_until_cancelled(self.hosted.trusting()).await.is_none() {
            return;
        }
        let every = Duration::from_millis(self.shell.cfg.keys.check_ms);
        let (mut told, mut noted, mut overdue) = (0, 0, Overdue::default());
        loop {
            told = self.forget_erased(told);
            match self.round(&mut noted, &mut overdue).await {
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
        let kept = self.shell.keyring.kept();
        let (seq, erased) = self.hosted.group.peek(|machine| {
            let state = &machine.state;
            let after = told.min(state.meta.seq);
            let told = state.subjects.erased_after(after);
            let rows = told.filter_map(|(_, id)| Some((id, state.subjects.table.get(&id)?)));
            let last = rows.filter_map(|(subject, row)| {
                let generation = row.erased.last()?.generation;
                Some(KeyOf { subject, generation })
            });
            // Those of other homes are no events here, and a follower may have opened one.
            let dead = |of: &KeyOf| state.subjects.key(*of) == KeyState::Erased;
            let erased: Vec<_> = last.chain(kept.into_iter().filter(dead)).collect();
            (state.meta.seq, erased)
        });
        erased.into_iter().for_each(|of| self.shell.keyring.forget(of));
        seq
    }

    async fn round(&self, noted: &mut u64, overdue: &mut Overdue) -> Result<(), Stuck> {
        let keys = self.shell.vault.keys().await?;
        let Some(newest) = keys.last().copied() else { return Ok(()) };
        if !self.serves(newest.key).await? || !self.hosted.group.leadership().borrow().mine {
            return Ok(());
        }
        self.note_erased(noted).await?;
        self.erase_again(&newest).await?;
        self.erase_owed(&newest).await?;
        let newest = self.rotate_for_erased(newest, overdue).await?;
        let wraps = self.hosted.group.peek(|machine| machine.state.meta.wraps);
        if wraps != Some(newest.key) {
            self.commit(KeyStep::Use { key: newest.key }).await?;
        }
        let rewrapped = self.rewrap(newest.key).await?;
        let epoch = self.hosted.group.peek(|machine| machine.state.meta.settings.epoch);
        if rewrapped {
            self.shell.vault.release(self.hosted.group.id(), epoch, newest.key).await?;
        }
        // A group that came back from a backup needs again what it had let go of.
        match self.first && rewrapped {
            true => self.destroy().await,
            false => Ok(()),
        }
    }

    /// A vault that never had the key in use is a copy from before a rotation, or has rotated
    /// apart from the others: such a node neither serves nor takes the group back.
    async fn serves(&self, newest: RegionKey) -> Result<bool, Stuck> {
        let wraps = self.hosted.group.peek(|machine| machine.state.meta.wraps);
        let lacks = match wraps {
            Some(wraps) if !self.shell.vault.knows(wraps).await? => Some(self.lacks(wraps, newest)),
            _ => None,
        };
        let trust = lacks.map_or(Trust::Ours, Trust::Lacks);
        if *self.hosted.trusted.borrow() != trust {
            let group = self.hosted.group.id();
            match &trust {
                Trust::Lacks(why) => tracing::error!(%group, why, "not served from here"),
                _ => tracing::info!(%group, "the vault has the region key in use"),
            }
            self.hosted.trusted.send_replace(trust.clone());
        }
        Ok(trust == Trust::Ours)
    }

    fn lacks(&self, wraps: RegionKey, newest: RegionKey) -> String {
        let (path, advice) = (self.shell.vault.place(), self.shell.vault.advice());
        match wraps.number() > newest.number() {
            true => format!(
                "vault {path} lacks region key {wraps}, which is in use (its newest is {newest}); \
                 {advice}"
            ),
            false => format!(
                "vault {path} has rotated apart from the region's: it has {newest}, in use is \
                 {wraps}; {advice}"
            ),
        }
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
                for erased in &row.erased {
                    found.extend(erased.keys_of(subject).map(|of| (of, erased.under)));
                }
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
        // What else was dropped is no event here: keys of other homes, and what was given back.
        // The first group's leader need be no member of this group.
        match self.hosted.group.peek(|machine| machine.state.meta.erased_under) {
            Some(under) => {
                let group = self.hosted.group.id();
                Ok(self.shell.vault.note_dropped(group, under).await?)
            }
            None => Ok(()),
        }
    }

    /// Erases anew what a backup brought back to life.
    async fn erase_again(&self, newest: &KeyInfo) -> Result<(), Stuck> {
        let erased = self.shell.vault.erased().await?;
        for _ in 0..STEPS_MAX {
            let keys = self.hosted.group.peek(|m| alive_again(&m.state, &erased, KEYS_MAX));
            if keys.is_empty() {
                return Ok(());
            }
            let asked_ms = self.shell.env.clock.wall().ms();
            let destroy_after_ms = destroy_after_ms(newest, &self.shell.cfg.keys, asked_ms);
            let (group, count) = (self.hosted.group.id(), keys.len());
            tracing::warn!(%group, count, "erased after the backup, and erased again");
            self.commit(KeyStep::Again { keys, asked_ms, destroy_after_ms }).await?;
        }
        Ok(())
    }

    /// Erases whom another region was asked to forget, once his last order here has ended.
    async fn erase_owed(&self, newest: &KeyInfo) -> Result<(), Stuck> {
        let wall = self.shell.env.clock.wall().ms();
        let after = destroy_after_ms(newest, &self.shell.cfg.keys, wall);
        let owed = self.hosted.group.peek(|machine| machine.state.owed_now(after, STEPS_MAX));
        for step in owed {
            let KeyStep::Told { keys, asked, .. } = &step else { continue };
            let (keys, cause) = (keys.clone(), asked.cause);
            let about: Vec<KeyOf> = self.hosted.group.peek(|machine| {
                let owed = keys.iter().filter_map(|of| machine.state.owed.get(&of.subject));
                owed.map(Owed::key).collect()
            });
            self.commit(step).await?;
            about.into_iter().for_each(|of| self.not_taken(of, cause));
        }
        Ok(())
    }

    /// Says of whom it is that a wish to be forgotten was not carried out, though this key of his
    /// was to go.
    fn not_taken(&self, of: KeyOf, cause: Cause) {
        let lives = self.hosted.group.peek(|machine| {
            let state = &machine.state;
            let living = matches!(state.subjects.key(of), KeyState::Living(_));
            living && !state.owed.contains(&of.subject)
        });
        let subject = format!("{:032x}", of.subject.hash);
        match cause {
            Cause::Unsaid if lives => tracing::warn!(
                subject,
                "was erased elsewhere, or left there, which is not said, and has ordered or come \
                 here since: look whether he is to be erased here, too"
            ),
            // A wish that is owed is carried out.
            Cause::Unsaid | Cause::Erased | Cause::Left => {}
        }
    }

    /// A key under which something was erased gives way to a new one: the old one opens it still.
    async fn rotate_for_erased(
        &self,
        newest: KeyInfo,
        overdue: &mut Overdue,
    ) -> Result<KeyInfo, Stuck> {
        let erased = match self.first {
            true => self.erased_in_region().await?,
            false => self.hosted.group.peek(|machine| machine.state.meta.erased_under),
        };
        let cfg = &self.shell.cfg.keys;
        let now = self.shell.env.clock.wall().ms();
        let due = now >= newest.made_ms.saturating_add(cfg.erase_gap_ms);
        if !due || erased.is_none_or(|under| under < newest.key) {
            *overdue = Overdue::default();
            return Ok(newest);
        }
        if !self.first {
            // Said once: until then there is nothing that this group could not do without.
            overdue.rounds = overdue.rounds.saturating_add(1);
            match overdue.rounds {
                OVERDUE_ROUNDS => tracing::warn!(why = %Stuck::NotRotated(newest.key), "keys"),
                _ => tracing::debug!(key = %newest.key, "waits for the first orders group"),
            }
            return Ok(newest);
        }
        // A leader that was replaced and does not know it would make a second key of that number.
        let leads = self.hosted.group.read(Instant::now() + SUBMIT_MAX, |_| ()).await;
        leads.map_err(|error| Stuck::NotCommitted(not_read(error).to_string()))?;
        match self.shell.vault.rotate(newest.key, now, cfg.window_ms).await {
            Ok(made) => {
                let former = newest.key;
                tracing::info!(%former, key = %made.key, "region key rotated for an erasure");
                self.shell.keys_changed.notify_waiters();
                Ok(made)
            }
            // What is living is re-wrapped and what is due destroyed all the same: that makes room.
            Err(VaultError::Full) => {
                tracing::error!(key = %newest.key, "the vault holds as many keys as it can");
                Ok(newest)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The newest region key that wraps something erased, in any group: as this node's replicas
    /// know it, and as leaders elsewhere have told the file.
    async fn erased_in_region(&self) -> Result<Option<RegionKey>, Stuck> {
        let groups = self.shell.groups.values();
        let here = groups.filter_map(|h| h.group.peek(|machine| machine.state.meta.erased_under));
        let told = self.shell.vault.dropped().await?;
        Ok(here.chain(told).max())
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
                    // Its erasure is in the log, and this replica has not come to it yet.
                    Err(VaultError::Erased) => {}
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
        // Linearizable: the first entry of a group that comes back begins its epoch, and before
        // that what groups had let go of belongs to the life that is over.
        let look = |m: &OrdersMachine| {
            let restoring = m.state.restored.as_ref().is_some_and(|restored| restored.restoring);
            (!restoring).then_some(m.state.meta.settings.epoch)
        };
        let read = self.hosted.group.read(Instant::now() + SUBMIT_MAX, look).await;
        let Ok(Some(epoch)) = read else { return Ok(()) };
        let orders = now.groups.keys().filter(|group| group.kind() == GroupKind::Orders);
        let groups: Vec<GroupId> = orders.copied().collect();
        let wall = self.shell.env.clock.wall().ms();
        for key in self.shell.vault.destroy_due(&groups, epoch, wall).await? {
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

/// Keys that the state has living and the vault remembers as erased, at most `max`. A word takes
/// the keys up to the one that it names, and only that one is on the list. What is minted after a
/// restore counts on behind all of them.
pub(crate) fn alive_again(state: &State, erased: &[(KeyOf, RegionKey)], max: usize) -> Vec<KeyOf> {
    let mut again = BTreeSet::new();
    for (last, _) in erased {
        let row = state.subjects.table.get(&last.subject);
        let living = row.into_iter().flat_map(SubjectRow::living);
        let gone = living.map(|(generation, _)| KeyOf { generation, ..*last });
        again.extend(gone.filter(|of| of.generation <= last.generation));
        if again.len() >= max {
            break;
        }
    }
    again.into_iter().take(max).collect()
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
