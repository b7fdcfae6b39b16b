//! Waits until the new owner has adopted what there is to adopt.

use std::time::Duration;

use hansa_api::pb::admin::GetRegionLossResponse;
use hansa_api::pb::node::BirthPhase;
use tokio::time::{Instant, sleep};

use super::plan;
use crate::connect::Session;
use crate::error::Problem;

/// Between two looks.
pub const BETWEEN: Duration = Duration::from_secs(1);

/// Says what changed, once.
#[derive(Default)]
pub struct Said(String);

impl Said {
    pub fn say(&mut self, line: String) {
        if line != self.0 {
            eprintln!("{line}");
            self.0 = line;
        }
    }
}

/// The new owner's word once all its groups own `birth` in `epoch` and nothing is left to adopt.
///
/// # Errors
/// It is not done in time; a repeat of the command goes on.
pub async fn adopted(
    session: &Session,
    owner: &str,
    birth: &str,
    epoch: u64,
    until: Instant,
) -> Result<GetRegionLossResponse, Problem> {
    let mut said = Said::default();
    loop {
        let left = match plan::told(session, owner).await {
            Ok(told) => match open(&told, birth, epoch) {
                None => return Ok(told),
                Some(line) => {
                    still(&told, owner, birth, epoch)?;
                    line
                }
            },
            Err(problem) => problem.text(),
        };
        said.say(left);
        if Instant::now() >= until {
            let what = format!("{owner} has not adopted all of it yet");
            let next = "it goes on by itself: `region status` shows how far it is";
            return Err(Problem::unreachable(what, next));
        }
        sleep(BETWEEN).await;
    }
}

/// Refused once another region owns in a newer epoch: what is waited for will not come.
fn still(
    told: &GetRegionLossResponse,
    owner: &str,
    birth: &str,
    epoch: u64,
) -> Result<(), Problem> {
    let of = plan::birth(told, birth)?;
    if of.owner_region == owner || of.epoch <= epoch {
        return Ok(());
    }
    let what = format!("{owner} owns no longer: {} does, in epoch {}", of.owner_region, of.epoch);
    Err(Problem::refused(what, "look at `region status`, then decide anew"))
}

/// What is still open, in words.
fn open(told: &GetRegionLossResponse, birth: &str, epoch: u64) -> Option<String> {
    if !told.silent_nodes.is_empty() {
        return Some(format!("no answer from {}", told.silent_nodes.join(", ")));
    }
    let (mut done, mut total, mut waiting) = (0, 0, 0);
    for group in &told.groups {
        let state = group.births.iter().find(|state| state.birth == birth);
        let takeover = state.and_then(|state| state.takeover.as_ref());
        done += takeover.map_or(0, |takeover| takeover.done + takeover.failed);
        total += takeover.map_or(0, |takeover| takeover.total);
        let settled = takeover.is_none_or(|takeover| takeover.settled);
        let owned = state.is_some_and(|state| {
            state.phase() == BirthPhase::Owned && state.epoch >= epoch && settled
        });
        waiting += usize::from(!owned);
    }
    if told.groups.is_empty() {
        return Some("no orders group answers yet".to_owned());
    }
    (waiting > 0).then(|| format!("adopted {done} of {total}; {waiting} groups go on"))
}

#[cfg(test)]
mod tests {
    use hansa_api::pb::admin::BirthOwner;
    use hansa_api::pb::node::{BirthState, GroupTakeover, TakeoverState};

    use super::*;

    #[test]
    fn nobody_waits_for_an_owner_that_is_none_any_more() {
        let told = |owner: &str| {
            let (birth_region, owner_region) = ("eu-west".to_owned(), owner.to_owned());
            let of = BirthOwner { birth_region, owner_region, epoch: 4, ..BirthOwner::default() };
            GetRegionLossResponse { births: vec![of], ..Default::default() }
        };
        let still = |owner: &str, epoch| still(&told(owner), "eu-west", "eu-west", epoch).is_ok();
        assert!(still("eu-west", 3));
        assert!(still("eu-central", 5), "it has not heard of the record yet");
        assert!(!still("eu-central", 3));
    }

    #[test]
    fn it_is_done_when_every_group_owns_and_has_settled() {
        let group = |phase: BirthPhase, epoch, settled| {
            let takeover = TakeoverState { settled, total: 3, done: 2, ..Default::default() };
            let birth = "eu-west".to_owned();
            let (phase, takeover) = (phase.into(), Some(takeover));
            let state = BirthState { birth, phase, epoch, takeover, ..BirthState::default() };
            GroupTakeover { births: vec![state], ..GroupTakeover::default() }
        };
        let told = |groups| GetRegionLossResponse { groups, ..Default::default() };
        let is_open = |groups| open(&told(groups), "eu-west", 2);
        assert!(is_open(Vec::new()).is_some());
        let owned = || group(BirthPhase::Owned, 2, true);
        assert_eq!(is_open(vec![owned(), owned()]), None);
        let adopting = is_open(vec![owned(), group(BirthPhase::Adopting, 2, false)]);
        assert_eq!(adopting.as_deref(), Some("adopted 4 of 6; 1 groups go on"));
        assert!(is_open(vec![group(BirthPhase::Owned, 1, true)]).is_some(), "of an older epoch");
        let mut silent = told(vec![owned()]);
        silent.silent_nodes.push("eu-central-1".into());
        assert!(open(&silent, "eu-west", 2).is_some());
    }
}
