//! The keeper: makes a group's rows what the directory says, as its leader.

use std::sync::Arc;
use std::time::Duration;

use hansa_api::status::Failure;
use hansa_region_router::book::Book;
use hansa_region_router::core::directory::{Drain, Kind, Ownership, OwnershipRecord, Snapshot};
use hansa_types::region::RegionNumber;
use tokio::time::Instant;

use super::{give_back, read};
use crate::core::command::{Command, Outcome, Refused};
use crate::core::takeover::{Birth, Loss, ORDERS_MAX, Phase, Step, TakeOver};
use crate::shell::{Hosted, Shell};

const SUBMIT_MAX: Duration = Duration::from_secs(10);
/// Looks again even if nothing was heard: a round may have failed.
const AGAIN: Duration = Duration::from_millis(500);
/// While something is under way.
const SOON: Duration = Duration::from_millis(50);
/// The epoch of a region that was never restored nor another's.
const FIRST: u64 = 1;
/// How far clocks of clients and regions may be apart.
const SKEW_MS: u64 = 10_000;

pub struct Keeper {
    pub shell: Arc<Shell>,
    pub hosted: Arc<Hosted>,
    pub book: Book,
}

impl Keeper {
    pub async fn run(self) {
        let stop = self.shell.env.tasks.stop_token();
        if stop.run_until_cancelled(self.hosted.trusting()).await.is_none() {
            return;
        }
        let mut changes = self.book.changes();
        let mut leadership = self.hosted.group.leadership();
        loop {
            changes.borrow_and_update();
            let mine = leadership.borrow_and_update().mine;
            let wait = match mine {
                true => tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    wait = self.round() => wait,
                },
                false => AGAIN,
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
                changed = leadership.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// One look at everything; how long until the next.
    async fn round(&self) -> Duration {
        let Some(now) = self.book.now() else { return AGAIN };
        let group = self.hosted.group.id();
        let mut wait = AGAIN;
        if let Err(failure) = self.close(&now).await {
            let reason = failure.reason();
            tracing::debug!(%group, %reason, "a former home does not close yet");
        }
        for (birth, ownership) in &now.owners {
            match self.follow(&now, *birth, *ownership).await {
                Ok(false) => {}
                Ok(true) => wait = SOON,
                Err(failure) => {
                    let reason = failure.reason();
                    tracing::debug!(%group, %birth, %reason, "births not followed yet");
                }
            }
        }
        wait
    }

    /// Takes nothing by an older policy from now on: who lived here by that is at home elsewhere,
    /// and asks since when.
    async fn close(&self, now: &Snapshot) -> Result<(), Failure> {
        let version = now.policy.version();
        let known = self.hosted.group.peek(|machine| machine.state.meta.policy);
        if now.former.is_empty() || known >= version {
            return Ok(());
        }
        let due = Instant::now() + SUBMIT_MAX;
        let close = Command::UnderPolicy { version, command: None };
        self.hosted.submit(&close, due).await.map(|_| ())
    }

    fn row(&self, birth: RegionNumber) -> Option<Birth> {
        self.hosted.group.peek(|machine| machine.state.births.get(birth).cloned())
    }

    /// Commits what the directory's word on one region's births calls for; whether more is to be
    /// done at once.
    async fn follow(
        &self,
        now: &Snapshot,
        birth: RegionNumber,
        word: Ownership,
    ) -> Result<bool, Failure> {
        let (row, newest) = (self.row(birth), now.records.get(&birth));
        let known = self.known(birth, row.as_ref());
        let word = next(word, newest.filter(|_| word.owner != now.here), known);
        let record = newest.filter(|record| record.epoch == word.epoch);
        let newer = self.newer(birth, row.as_ref(), word.epoch);
        if word.owner != now.here {
            // Every epoch in order: also one that came without a record, or after one that was
            // not seen here before it was over.
            let concerns = word.epoch > FIRST || row.is_some() || birth == now.here;
            if concerns && newer {
                let Ownership { owner, epoch } = word;
                let loss = self.loss(birth, row.as_ref(), (owner, epoch), newest);
                let handed = self.handed(birth, row.as_ref(), record);
                self.commit(Step::Elsewhere { birth, owner, epoch, loss, handed }).await?;
                let group = self.hosted.group.id();
                tracing::warn!(%group, %birth, %owner, epoch, "births are another region's");
                return Ok(true);
            }
            return give_back::round(&self.shell, &self.hosted, birth).await;
        }
        let held = row.as_ref().is_some_and(|row| row.held_by(now.here));
        // Where somebody is known to have owned in between they are taken over from that one.
        let missed = newest.is_some_and(|of| of.owner == now.here && passes_over(of, known));
        if record.is_none() && newer && held && !missed {
            self.commit(Step::TakeOver(Box::new(goes_on(birth, word)))).await?;
            let (group, epoch) = (self.hosted.group.id(), word.epoch);
            tracing::warn!(%group, %birth, epoch, "births owned in a newer epoch");
            return Ok(true);
        }
        // After a restore an owner begins beyond the record that says why it owns.
        let why = newest.filter(|record| newer && record.owner == word.owner);
        if let Some(record) = why {
            // What former orders hold here is theirs still, and would be nobody's.
            if give_back::round(&self.shell, &self.hosted, birth).await? {
                return Ok(true);
            }
            let take = self.take_over(record, word.epoch, row.as_ref());
            self.commit(Step::TakeOver(Box::new(take))).await?;
            let (group, epoch) = (self.hosted.group.id(), word.epoch);
            // Not if a copy came meanwhile: what its former order holds is given back first.
            if self.row(birth).is_some_and(|row| row.epoch == epoch) {
                tracing::warn!(%group, %birth, epoch, "births taken over");
            }
            return Ok(true);
        }
        if let Err(failure) = give_back::round(&self.shell, &self.hosted, birth).await {
            let reason = failure.reason();
            tracing::debug!(%birth, %reason, "what was decided late is not given back yet");
        }
        self.drain(now, birth, word.epoch).await?;
        match self.row(birth).map(|row| row.phase) {
            Some(Phase::Adopting) => self.adopt(birth).await,
            phase => Ok(matches!(phase, Some(Phase::Draining { .. }))),
        }
    }

    /// The newest epoch that this group followed into.
    fn known(&self, birth: RegionNumber, row: Option<&Birth>) -> u64 {
        match row {
            Some(row) => row.epoch,
            None if birth == self.shell.number => self.hosted.stream_epoch(),
            None => FIRST,
        }
    }

    /// What the owner before may have granted alone, by the newest record.
    fn loss(
        &self,
        birth: RegionNumber,
        row: Option<&Birth>,
        (owner, epoch): (RegionNumber, u64),
        newest: Option<&OwnershipRecord>,
    ) -> Option<Loss> {
        let (before, known) = (row.map_or(birth, |row| row.owner), self.known(birth, row));
        let told = |record: &&OwnershipRecord| {
            // A failover to who owns is one that was given up; and what was granted here is known.
            let kept = owner == before || before == self.shell.number;
            let planned = record.kind != Kind::Failover || kept;
            record.epoch == epoch && planned && record.ends == known
        };
        // One that this group has not seen says that the owner has changed, whoever owns now.
        let unseen = newest.filter(|record| record.epoch > known);
        match newest.filter(told) {
            Some(_) => None,
            None => Some(Loss {
                record_ms: unseen.map_or(0, |record| record.time_ms),
                skew_ms: SKEW_MS,
            }),
        }
    }

    /// Whether its next owner had all that this group knew of them when it took them over.
    fn handed(
        &self,
        birth: RegionNumber,
        row: Option<&Birth>,
        record: Option<&OwnershipRecord>,
    ) -> bool {
        let drained = row.is_some_and(|row| matches!(row.phase, Phase::Drained { .. }));
        let known = self.known(birth, row);
        drained && record.is_some_and(|of| of.kind != Kind::Failover && of.ends == known)
    }

    /// Whether the directory's epoch is one that this group has not followed into.
    fn newer(&self, birth: RegionNumber, row: Option<&Birth>, epoch: u64) -> bool {
        match row {
            Some(row) => row.epoch < epoch,
            None if birth == self.shell.number => self.hosted.stream_epoch() < epoch,
            None => true,
        }
    }

    fn take_over(&self, record: &OwnershipRecord, epoch: u64, row: Option<&Birth>) -> TakeOver {
        let from = row.map_or(record.birth, |row| row.owner);
        let heard = self.shell.freshness.marks(from);
        let settings = self.hosted.group.peek(|machine| machine.state.meta.settings.clone());
        let ours = |group: u16| group % settings.groups.max(1) == settings.index;
        TakeOver {
            birth: record.birth,
            epoch,
            from,
            record: record.hash().0,
            record_ms: record.time_ms,
            skew_ms: SKEW_MS,
            // Who came back from a backup has less than it had when it was handed over.
            complete: record.kind != Kind::Failover && epoch == record.epoch,
            unheard: record.ends != self.known(record.birth, row),
            heard: heard.into_iter().filter(|(origin, _)| ours(origin.group)).collect(),
        }
    }

    async fn drain(&self, now: &Snapshot, birth: RegionNumber, epoch: u64) -> Result<(), Failure> {
        let phase = self.row(birth).map(|row| row.phase);
        let asked = now.draining.get(&birth).filter(|drain| drain.epoch == epoch);
        let begin = |drain: &Drain| {
            let (to, drain) = (drain.to, drain.since);
            Step::Drain { birth, to, epoch, drain }
        };
        let step = match (asked, phase) {
            (Some(drain), None | Some(Phase::Owned)) => begin(drain),
            // The one before was given up, and no leader here has heard that.
            (
                Some(drain),
                Some(Phase::Draining { drain: known, .. } | Phase::Drained { drain: known, .. }),
            ) if known < drain.since => begin(drain),
            (Some(_), Some(Phase::Draining { .. })) => Step::Drained { birth, epoch },
            (None, Some(Phase::Draining { .. } | Phase::Drained { .. })) => {
                Step::Undrain { birth, epoch, seen: now.version }
            }
            _ => return Ok(()),
        };
        self.commit(step).await
    }

    /// Adopts one batch of copies; whether others wait.
    async fn adopt(&self, birth: RegionNumber) -> Result<bool, Failure> {
        let look = |machine: &crate::machine::OrdersMachine| {
            let state = &machine.state;
            let epoch = state.births.get(birth).map_or(0, |row| row.epoch);
            let ready = state.ready(birth, ORDERS_MAX);
            let settled = ready.is_empty() && state.waiting(birth, 1).is_empty();
            (ready, settled, epoch)
        };
        let (ready, settled, epoch) = self.hosted.group.peek(look);
        if settled {
            self.commit(Step::Settled { birth, epoch }).await?;
            let group = self.hosted.group.id();
            tracing::warn!(%group, %birth, epoch, "births settled");
            return Ok(false);
        }
        if ready.is_empty() {
            // The books have not yet taken back what former records of the others hold.
            return Ok(false);
        }
        let orders = read::candidates(&self.shell, &self.hosted, &ready).await?;
        self.commit(Step::Adopt { birth, epoch, orders }).await?;
        Ok(true)
    }

    async fn commit(&self, step: Step) -> Result<(), Failure> {
        commit(&self.hosted, step).await
    }
}

/// What a group that knows up to an epoch follows first of the directory's word: where an owner
/// went on beyond its newest record by its own word, that record, for it says who owned before.
fn next(word: Ownership, newest: Option<&OwnershipRecord>, known: u64) -> Ownership {
    let first = newest.filter(|of| of.owner == word.owner);
    let first = first.filter(|of| known < of.epoch && of.epoch < word.epoch);
    first.map_or(word, |of| Ownership { epoch: of.epoch, ..word })
}

/// Whether somebody owned between the epoch that is known and this record.
fn passes_over(record: &OwnershipRecord, known: u64) -> bool {
    record.epoch > known && record.ends != known
}

/// This region came back from a backup: what it owned it goes on with in a newer epoch.
fn goes_on(birth: RegionNumber, word: Ownership) -> TakeOver {
    TakeOver {
        birth,
        epoch: word.epoch,
        from: word.owner,
        record: 0,
        record_ms: 0,
        skew_ms: SKEW_MS,
        complete: false,
        unheard: false,
        heard: Vec::new(),
    }
}

/// Commits a step; one that cannot be taken yet is no failure.
pub async fn commit(hosted: &Hosted, step: Step) -> Result<(), Failure> {
    let due = Instant::now() + SUBMIT_MAX;
    match hosted.submit(&Command::Takeover(step), due).await? {
        Outcome::Refused(Refused::NotSettled) => Ok(()),
        Outcome::Refused(why) => Err(crate::shell::refusal(why)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use hansa_region_router::core::directory::Proof;

    use super::*;

    #[test]
    fn what_an_owner_goes_on_with_by_its_own_word_is_followed_after_its_newest_record() {
        let region = |n: u16| RegionNumber::try_from(n).unwrap();
        let record = |owner, epoch| OwnershipRecord {
            birth: region(1),
            owner: region(owner),
            epoch,
            ends: epoch - 1,
            kind: Kind::Failover,
            confirmed_stopped: true,
            reason: "lost".into(),
            ticket: "T-1".into(),
            time_ms: 7,
            by: "spiffe://hansa/client/ada".into(),
            proof: Proof::default(),
        };
        let claim = Ownership { owner: region(2), epoch: 6 };
        let follows = |newest: OwnershipRecord, known| next(claim, Some(&newest), known).epoch;
        assert_eq!(follows(record(2, 5), 3), 5, "another owned in between");
        assert_eq!(follows(record(2, 5), 5), 6);
        assert_eq!(follows(record(2, 5), 7), 6, "it knows more");
        assert_eq!(follows(record(2, 6), 3), 6, "the record itself");
        assert_eq!(follows(record(3, 5), 3), 6, "another's");
        assert_eq!(next(claim, None, 3), claim);
        assert!(passes_over(&record(2, 5), 3) && !passes_over(&record(2, 5), 4));
        assert!(!passes_over(&record(2, 5), 5));
    }
}
