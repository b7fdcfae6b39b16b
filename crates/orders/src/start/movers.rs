//! Looks after who moves, on the leader of his group: what customers left is deleted when it is
//! due, what was brought for nobody goes, lost regions that are back hear who lives here since, and
//! who may no longer live here is sent home.
//!
//! Each of these goes its own rounds, and neither waits for another nor do the group's keys for any
//! of them. A round is with each other region by itself, and lasts as long as the slowest of them.
//! With one region everybody has his turn, after the one who was tried last; who fails, fails
//! alone. Only a region that is not reached is left for the next round. Everything is decided anew
//! from the state each time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use hansa_api::status::Failure;
use hansa_region_router::core::directory::Snapshot;
use hansa_types::limits::CALL_DEADLINE_MS_MAX;
use hansa_types::region::RegionNumber;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use crate::core::moves::BLOCKS_MAX;
use crate::core::subjects::SubjectId;
use crate::service::customer::{admitted, not_reached, residences};
use crate::service::move_customer::{
    delete, home_by_law, send_home, settle, tell_former, tell_where_he_lives,
};
use crate::shell::{Hosted, Shell};

/// How long one customer may take: a question and an answer, or all that he has, page by page.
const ASK_MAX: Duration = Duration::from_secs(5);
const SEND_MAX: Duration = Duration::from_millis(CALL_DEADLINE_MS_MAX);
/// Customers tried, and looked at, with one region in one round.
const TRIES_MAX: usize = 64;
const LOOKS_MAX: usize = 1_024;
/// Others wait for the slowest region of a round: nobody new is begun with after that.
const ROUND_MAX: Duration = Duration::from_secs(60);
/// After so long all are looked at again by the same law: who came while it was made known may have
/// been let in by the last one.
const LOOK_AGAIN: Duration = Duration::from_secs(3_600);

pub struct Movers {
    pub shell: Arc<Shell>,
    pub hosted: Arc<Hosted>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Errand {
    /// Deletes what they left who moved.
    Delete,
    /// Asks what became of those whose luggage came here, and who never arrived.
    Settle,
    /// Tells where they lived that they live here.
    Tell,
    /// Moves home whom the policy in force does not let live here.
    SendHome,
}

/// How far the rounds of an errand have come, on one leader.
#[derive(Default)]
struct Rounds {
    /// Who was tried last with a region.
    tried: BTreeMap<RegionNumber, SubjectId>,
    /// Of whom the region where he lives was told so, by the epoch of his move, while an order of
    /// his is under way here.
    told: BTreeMap<SubjectId, u64>,
    lawless: Lawless,
}

/// What became of a round with one region.
#[derive(Default)]
struct Went {
    last: Option<SubjectId>,
    told: Vec<(SubjectId, u64)>,
}

/// Who may not live here, by the version of the policy by which all were looked at.
#[derive(Default)]
struct Lawless {
    looked: Option<(u64, Instant)>,
    left: BTreeSet<SubjectId>,
}

impl Movers {
    pub async fn run(self) {
        let stop = self.shell.env.tasks.stop_token();
        let all = async {
            self.hosted.trusting().await;
            tokio::join!(
                self.rounds(Errand::Delete),
                self.rounds(Errand::Settle),
                self.rounds(Errand::Tell),
                self.rounds(Errand::SendHome),
            );
        };
        // What there is to do stays in the state.
        stop.run_until_cancelled(all).await;
    }

    async fn rounds(&self, errand: Errand) {
        let every = Duration::from_millis(self.shell.cfg.keys.check_ms);
        let mut rounds = Rounds::default();
        loop {
            match self.hosted.trusts() && self.hosted.group.leadership().borrow().mine {
                true => self.round(errand, &mut rounds).await,
                false => rounds = Rounds::default(),
            }
            sleep(every).await;
        }
    }

    async fn round(&self, errand: Errand, rounds: &mut Rounds) {
        let waiting = match errand {
            Errand::SendHome => self.lawless(&mut rounds.lawless).await,
            _ => self.waiting(errand),
        };
        let mut by_region: BTreeMap<RegionNumber, Vec<SubjectId>> = BTreeMap::new();
        let waits: BTreeSet<SubjectId> = waiting.iter().map(|(subject, _)| *subject).collect();
        rounds.told.retain(|subject, _| waits.contains(subject));
        for (subject, region) in waiting {
            by_region.entry(region).or_default().push(subject);
        }
        rounds.tried.retain(|region, _| by_region.contains_key(region));
        let told = &rounds.told;
        let each = by_region.into_iter().map(|(region, mut waiting)| {
            after(&mut waiting, rounds.tried.get(&region).copied());
            async move { (region, self.with(errand, region, waiting, told).await) }
        });
        for (region, went) in join_all(each).await {
            rounds.tried.extend(went.last.map(|subject| (region, subject)));
            rounds.told.extend(went.told);
        }
    }

    /// Whom an errand is about, and which region is asked or told of him.
    fn waiting(&self, errand: Errand) -> Vec<(SubjectId, RegionNumber)> {
        let now = self.shell.env.clock.wall().ms();
        self.hosted.group.peek(|machine| {
            let state = &machine.state;
            let row = |subject| Some((subject, state.moves.get(subject)?));
            match errand {
                Errand::Delete => {
                    let due = state.moves.due(now).filter_map(row);
                    due.map(|(subject, row)| (subject, row.lives)).collect()
                }
                Errand::Settle => state.stranded().collect(),
                Errand::Tell => {
                    let untold = state.untold().filter_map(row);
                    untold.map(|(subject, row)| (subject, row.former)).collect()
                }
                Errand::SendHome => Vec::new(),
            }
        })
    }

    /// One round with one region.
    async fn with(
        &self,
        errand: Errand,
        region: RegionNumber,
        waiting: Vec<SubjectId>,
        told: &BTreeMap<SubjectId, u64>,
    ) -> Went {
        let (mut went, mut tries, end) = (Went::default(), 0, Instant::now() + ROUND_MAX);
        for subject in waiting.into_iter().take(LOOKS_MAX) {
            if tries == TRIES_MAX || Instant::now() > end {
                break;
            }
            went.last = Some(subject);
            let ships = (errand == Errand::Delete).then(|| self.ships_to(subject)).flatten();
            if ships.is_some() && told.get(&subject).copied() == ships {
                continue;
            }
            tries += 1;
            let tried = match ships {
                Some(_) => self.tell(subject).await,
                None => self.try_one(errand, subject, region).await,
            };
            let Err(failure) = tried else {
                went.told.extend(ships.map(|epoch| (subject, epoch)));
                continue;
            };
            let group = self.hosted.group.id();
            tracing::info!(%group, ?errand, region = region.get(), %failure, "who moves waits");
            if not_reached(&failure) {
                break;
            }
        }
        went
    }

    /// What he left is not deleted while an order of his is under way here: by which move he left.
    fn ships_to(&self, subject: SubjectId) -> Option<u64> {
        self.hosted.group.peek(|machine| {
            let state = &machine.state;
            state.left_open(subject).next().and(state.moves.get(subject)).map(|row| row.epoch)
        })
    }

    async fn tell(&self, subject: SubjectId) -> Result<(), Failure> {
        tell_where_he_lives(&self.shell, &self.hosted, subject, Instant::now() + ASK_MAX).await
    }

    async fn try_one(
        &self,
        errand: Errand,
        subject: SubjectId,
        region: RegionNumber,
    ) -> Result<(), Failure> {
        let (shell, hosted) = (&*self.shell, &self.hosted);
        let due = |max| Instant::now() + max;
        match errand {
            Errand::Delete => {
                let due = due(ASK_MAX * (1 + self.pages(subject)));
                delete(shell, hosted, subject, ("", "due"), due).await
            }
            Errand::Settle => settle(shell, hosted, (subject, region), due(ASK_MAX)).await,
            Errand::Tell => tell_former(shell, hosted, subject, due(ASK_MAX)).await,
            Errand::SendHome => {
                let due = due(SEND_MAX + ASK_MAX * self.pages(subject));
                send_home(shell, hosted, (subject, region), due).await
            }
        }
    }

    /// How many questions it takes to go through all that he has here.
    fn pages(&self, subject: SubjectId) -> u32 {
        let orders = self.hosted.group.peek(|m| m.state.orders_known(subject).count());
        u32::try_from(orders / BLOCKS_MAX).unwrap_or(u32::MAX)
    }

    /// Who is to be sent home, and where that is.
    async fn lawless(&self, known: &mut Lawless) -> Vec<(SubjectId, RegionNumber)> {
        let Ok(now) = self.shell.map.now() else { return Vec::new() };
        let version = now.policy.version();
        let looked = known.looked.filter(|(by, at)| *by == version && at.elapsed() < LOOK_AGAIN);
        if looked.is_none() {
            known.left = self.look_at_all(&now).await;
            known.looked = Some((version, Instant::now()));
            for subject in &known.left {
                if let Err(why) = home_by_law(&self.shell, &self.hosted, *subject) {
                    let group = self.hosted.group.id();
                    tracing::warn!(%group, version, %why, "a customer may not live here, and does");
                }
            }
        }
        let lives = |subject: &SubjectId| self.lives_here(*subject);
        known.left.retain(lives);
        let home = |subject: &SubjectId| {
            let home = home_by_law(&self.shell, &self.hosted, *subject).ok()?;
            Some((*subject, home))
        };
        known.left.iter().filter_map(home).collect()
    }

    fn lives_here(&self, subject: SubjectId) -> bool {
        let lives = |machine: &crate::machine::OrdersMachine| {
            Some(machine.state.moves.get(subject)?.lives == self.shell.number)
        };
        self.hosted.group.peek(lives).unwrap_or_default()
    }

    async fn look_at_all(&self, now: &Snapshot) -> BTreeSet<SubjectId> {
        let here = self.shell.number;
        let living: Vec<SubjectId> = self.hosted.group.peek(|machine| {
            let rows = machine.state.moves.rows.iter();
            rows.filter(|(_, row)| row.lives == here).map(|(subject, _)| *subject).collect()
        });
        let mut lawless = BTreeSet::new();
        for (n, subject) in living.into_iter().enumerate() {
            if n % LOOKS_MAX == LOOKS_MAX - 1 {
                yield_now().await;
            }
            let lived = residences(&self.hosted, subject, None);
            let may = |residence| admitted(now, residence, &self.shell.region).is_ok();
            if !lived.into_iter().all(may) {
                lawless.insert(subject);
            }
        }
        lawless
    }
}

/// In order, from the one after `last` on.
fn after(waiting: &mut [SubjectId], last: Option<SubjectId>) {
    waiting.sort_unstable();
    let next = waiting.partition_point(|subject| last.is_some_and(|last| *subject <= last));
    waiting.rotate_left(next);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(n: u128) -> SubjectId {
        SubjectId { home: RegionNumber::try_from(1).unwrap(), hash: n }
    }

    #[test]
    fn everybody_has_his_turn_after_the_one_who_was_tried_last() {
        let ordered = |last: Option<u128>| {
            let mut waiting = [3, 1, 2].map(subject);
            after(&mut waiting, last.map(subject));
            waiting.map(|subject| subject.hash)
        };
        assert_eq!(ordered(None), [1, 2, 3]);
        assert_eq!(ordered(Some(1)), [2, 3, 1]);
        assert_eq!(ordered(Some(3)), [1, 2, 3]);
        assert_eq!(ordered(Some(9)), [1, 2, 3], "who is gone by now");
        assert_eq!(ordered(Some(0)), [1, 2, 3]);
    }
}
