//! What customers leave behind who move: deleted when it is due, and what was brought for nobody
//! with it.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::{Keeper, STEPS_MAX, SUBMIT_MAX};
use crate::core::subjects::SubjectId;
use crate::service::customer::{admitted, residences};
use crate::service::move_customer::{delete, send_home, settle, tell_former};

/// Customers looked at in one round.
const DUE_MAX: usize = 1_024;

impl Keeper {
    /// Deletes what customers left who moved, as far as it is due and nobody ships to them.
    pub(super) async fn delete_left(&self) {
        let now = self.shell.env.clock.wall().ms();
        let due: Vec<_> = self.hosted.group.peek(|machine| {
            let state = &machine.state;
            let waits = |subject: &SubjectId| state.left_open(*subject).next().is_some();
            let lives = |subject| Some((subject, state.moves.get(subject)?.lives));
            let due = state.moves.due(now).filter(|subject| !waits(subject));
            due.filter_map(lives).take(DUE_MAX).collect()
        });
        let (mut away, mut deleted) = (BTreeSet::new(), 0);
        for (subject, lives) in due {
            if deleted == STEPS_MAX || away.contains(&lives) {
                continue;
            }
            let end = Instant::now() + SUBMIT_MAX;
            match delete(&self.shell, &self.hosted, subject, ("", "due"), end).await {
                Ok(()) => deleted += 1,
                // What he left stays, whatever else there is to do for other keys.
                Err(why) => {
                    let group = self.hosted.group.id();
                    tracing::info!(%group, region = lives.get(), %why, "not deleted yet");
                    away.insert(lives);
                }
            }
        }
    }

    /// Asks what became of those whose luggage came here, and who never arrived.
    pub(super) async fn settle_carries(&self) {
        let stranded: Vec<_> = self.hosted.group.peek(|machine| {
            let mut stranded: Vec<_> = machine.state.stranded().take(DUE_MAX).collect();
            stranded.sort_unstable();
            stranded
        });
        let (mut away, mut settled) = (BTreeSet::new(), 0);
        for (subject, from) in stranded {
            if settled == STEPS_MAX || away.contains(&from) {
                continue;
            }
            let end = Instant::now() + SUBMIT_MAX;
            match settle(&self.shell, &self.hosted, (subject, from), end).await {
                Ok(()) => settled += 1,
                Err(why) => {
                    let group = self.hosted.group.id();
                    tracing::info!(%group, region = from.get(), %why, "what came waits");
                    away.insert(from);
                }
            }
        }
    }

    /// Tells lost regions that are back who lives here since.
    pub(super) async fn tell_former(&self) {
        let mut untold: Vec<SubjectId> =
            self.hosted.group.peek(|machine| machine.state.untold().take(STEPS_MAX).collect());
        untold.sort_unstable();
        for subject in untold {
            let end = Instant::now() + SUBMIT_MAX;
            if let Err(why) = tell_former(&self.shell, &self.hosted, subject, end).await {
                let group = self.hosted.group.id();
                tracing::info!(%group, %why, "a former region does not know yet who lives here");
                return;
            }
        }
    }

    /// Moves home whom the policy in force does not let live here; `looked`: by which version all
    /// of them were looked at.
    pub(super) async fn send_home(&self, looked: &mut u64) {
        let Ok(now) = self.shell.map.now() else { return };
        let (version, here) = (now.policy.version(), self.shell.number);
        if *looked == version {
            return;
        }
        let mut living: Vec<SubjectId> = self.hosted.group.peek(|machine| {
            let rows = machine.state.moves.rows.iter();
            rows.filter(|(_, row)| row.lives == here).map(|(subject, _)| *subject).collect()
        });
        living.sort_unstable();
        let mut all = true;
        for subject in living {
            let mut lived = residences(&self.hosted, subject, None).into_iter();
            if lived.all(|residence| admitted(&now, residence, &self.shell.region).is_ok()) {
                continue;
            }
            let end = Instant::now() + SUBMIT_MAX;
            if let Err(why) = send_home(&self.shell, &self.hosted, subject, end).await {
                let group = self.hosted.group.id();
                tracing::warn!(%group, version, %why, "a customer may not live here, and does");
                all = false;
            }
        }
        if all {
            *looked = version;
        }
    }
}
