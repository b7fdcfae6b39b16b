//! The operator who looks after what is born in the first region: hands it over, has its heir take
//! it over, and brings it home, by the calls and in the order of `hansactl region`. Each command is
//! repeated, as a person would, until it is done.

mod owners;
mod tail;

use std::time::Duration;

use hansa_api::client::League as Door;
use hansa_api::pb::admin::{
    BirthOwner, GetRegionLossRequest, GetRegionLossResponse, SetIsolationRequest,
};
use hansa_api::pb::node::BirthPhase;
use hansa_api::status::Failure;

use super::{Board, HEIR, LOOK_EVERY, door};
use crate::clock;
use crate::dice::Dice;
use crate::director::Stage;
use crate::plan::{Births, Plan};
use crate::trace;
use crate::world::{League, TRUST_DOMAIN};

const CALL_MAX: Duration = Duration::from_secs(4);
const NUMBER: u32 = 85;
const PART: u64 = 400;
/// Between two looks at a command that goes on.
const BETWEEN: Duration = Duration::from_millis(500);
/// What is not done this long after the heal never will be.
const OWED_MAX: Duration = Duration::from_secs(100);

/// Who orders what becomes of births, and who approves of it.
pub struct Overseer<'a> {
    /// At each region's own gateways.
    doors: Vec<Door>,
    approvers: Vec<Door>,
    league: &'a League,
    board: &'a Board,
    dice: Dice,
    ids: u64,
    forced: bool,
}

/// Why a command is not done yet.
type Why = String;

impl<'a> Overseer<'a> {
    pub async fn new(plan: &Plan, league: &'a League, board: &'a Board) -> Self {
        let (mut doors, mut approvers) = (Vec::new(), Vec::new());
        for region in league.regions.iter().filter(|_| plan.shape.heir) {
            doors.push(door(plan, region, "operator", NUMBER).await);
            approvers.push(door(plan, region, "approver", NUMBER).await);
        }
        let dice = Dice::of(plan.seed, PART);
        Self { doors, approvers, league, board, dice, ids: 0, forced: plan.forced() }
    }

    /// Works until everything is healed and nothing is left to do.
    pub async fn run(mut self) {
        if self.doors.is_empty() {
            return self.board.births_settled.set(true);
        }
        loop {
            let step = self.board.births.borrow_mut().pop_front();
            match step {
                Some(step) => self.carry_out(step).await,
                None if self.board.stage.get() == Stage::Calm => break,
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
        if self.forced {
            self.list_tail().await;
        }
        self.board.births_settled.set(true);
    }

    async fn carry_out(&mut self, step: Births) {
        let until = self.patience();
        let mut late = self.late();
        loop {
            let done = match step {
                Births::Lease { ms } => self.lease(ms).await,
                Births::HandOver { patience } => self.hand_over(HEIR, patience).await,
                Births::TakeOver => self.take_over().await,
                Births::GoHome => self.go_home().await,
            };
            let Err(why) = done else { return };
            trace::note(format_args!("{step:?} not yet: {why}"));
            late = late.or(self.late());
            if late.is_some_and(|late| late < now()) || until < now() {
                let what = format!("{step:?} was not done in time: {why}");
                return self.board.wrong.borrow_mut().push(what);
            }
            tokio::time::sleep(BETWEEN).await;
        }
    }

    /// When a command is late, once everything is healed.
    fn late(&self) -> Option<Duration> {
        (self.board.stage.get() == Stage::Calm).then(|| now() + OWED_MAX)
    }

    fn patience(&self) -> Duration {
        now() + 3 * OWED_MAX
    }

    fn name(&self, region: usize) -> String {
        self.league.regions[region].name.to_string()
    }

    fn id(&mut self) -> String {
        self.ids += 1;
        format!("births-{}", self.ids)
    }

    /// What a region knows of who owns what.
    async fn told(&self, region: usize) -> Result<GetRegionLossResponse, Why> {
        let request = GetRegionLossRequest { region: self.name(region) };
        let asked = self.doors[region].call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.region_loss.get_region_loss(request).await }
        });
        asked.await.map_err(said)
    }

    /// What a region knows of the first one's births.
    fn birth(&self, told: &GetRegionLossResponse) -> Result<BirthOwner, Why> {
        let first = self.name(0);
        let of = told.births.iter().find(|of| of.birth_region == first);
        of.cloned().ok_or_else(|| format!("{} knows nothing of {first}", told.region))
    }

    fn number(&self, region: &str) -> Result<usize, Why> {
        let mut regions = self.league.regions.iter();
        let found = regions.position(|one| one.name.as_str() == region);
        found.ok_or_else(|| format!("no region {region}"))
    }

    /// Whether all groups of the new owner own in this epoch, and have adopted what there is.
    async fn adopted(&self, owner: usize, epoch: u64) -> Result<(), Why> {
        let told = self.told(owner).await?;
        if !told.silent_nodes.is_empty() && !self.short(owner) || told.groups.is_empty() {
            return Err(format!("no answer from {:?}", told.silent_nodes));
        }
        let first = self.name(0);
        for group in &told.groups {
            let state = group.births.iter().find(|state| state.birth == first);
            let settled = state.and_then(|state| state.takeover.as_ref());
            let settled = settled.is_none_or(|takeover| takeover.settled);
            let owned = state
                .is_some_and(|s| s.phase() == BirthPhase::Owned && s.epoch >= epoch && settled);
            if !owned {
                return Err(format!("{} goes on: {state:?}", group.name));
            }
        }
        Ok(())
    }

    /// Whether a node of the region refuses its damaged disk, and so never answers.
    fn short(&self, region: usize) -> bool {
        self.league.regions[region].seats.iter().any(|seat| seat.damaged())
    }

    /// Tells every region, the one that it is about first: nobody believes in a lease that is not.
    async fn lease(&mut self, lease_ms: u64) -> Result<(), Why> {
        for region in 0..self.doors.len() {
            let request = SetIsolationRequest {
                request_id: self.id(),
                region: self.name(region),
                of_region: self.name(0),
                lease_ms,
            };
            let asked = self.doors[region].call(CALL_MAX, |mut services, call| {
                let request = call.request(request.clone());
                async move { services.region_loss.set_isolation(request).await }
            });
            asked.await.map_err(said)?;
        }
        trace::count("leases set", 1);
        Ok(())
    }
}

fn now() -> Duration {
    clock::truth().unwrap_or_default()
}

fn said(failure: Failure) -> Why {
    failure.to_string()
}

/// Who a client is, as records and plans name him.
fn spiffe(client: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/client/{client}")
}
