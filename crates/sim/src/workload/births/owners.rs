//! Changes of owner: planned, forced, and home again.

use std::time::Duration;

use futures::future::join_all;
use hansa_api::pb::admin::{
    BirthOwner, CancelSwitchoverRequest, FailoverRequest, FailoverStep, GetRegionLossResponse,
    SwitchoverRequest, SwitchoverStep,
};
use hansa_api::pb::directory::OwnershipRecord;
use hansa_api::pb::node::BirthPhase;
use tokio::time::timeout;

use super::{BETWEEN, CALL_MAX, HEIR, Overseer, Why, now, said, spiffe};
use crate::clock;
use crate::trace;

/// A region that is lost must not keep the others waiting.
const SOON: Duration = Duration::from_secs(3);
/// Looks at one command before it is given anew, from what the regions say then.
const LOOKS: usize = 40;

impl Overseer<'_> {
    /// The newest epoch that any region which answers soon has heard of.
    async fn newest(&self, known: &BirthOwner) -> u64 {
        let asked = (0..self.doors.len()).map(|region| timeout(SOON, self.told(region)));
        let mut newest = known.newest_epoch.max(known.epoch);
        for told in join_all(asked).await.into_iter().flatten().flatten() {
            let of = self.birth(&told);
            newest = newest.max(of.map_or(0, |of| of.newest_epoch.max(of.epoch)));
        }
        newest
    }

    fn signed(&self, record: OwnershipRecord) -> OwnershipRecord {
        OwnershipRecord {
            birth_region: self.name(0),
            reason: "sim".to_owned(),
            ticket: "SIM-1".to_owned(),
            time_ms: clock::EPOCH_MS + now().as_millis() as u64,
            signed_by: spiffe("operator"),
            ..record
        }
    }

    /// `hansactl region switchover`; given up once `patience` is over, if there is such a thing.
    pub(super) async fn hand_over(
        &mut self,
        to: usize,
        patience: Option<Duration>,
    ) -> Result<(), Why> {
        let known = self.birth(&self.told(to).await?)?;
        let owner = self.number(&known.owner_region)?;
        let of = self.birth(&self.told(owner).await?)?;
        if of.owner_region == self.name(to) {
            self.adopted(to, of.epoch).await?;
            trace::count(if to == 0 { "births brought home" } else { "births handed over" }, 1);
            return Ok(());
        }
        let newest = self.newest(&of).await;
        let record = self.signed(OwnershipRecord {
            owner_region: self.name(to),
            epoch: newest + 1,
            ends_epoch: of.epoch,
            kind: if to == 0 { "failback" } else { "switchover" }.to_owned(),
            ..OwnershipRecord::default()
        });
        let given_up = patience.map(|patience| now() + patience);
        for _ in 0..LOOKS {
            if self.switched(owner, &record).await? {
                // Whether all is adopted is for the next look.
                return Err(format!("recorded: {} owns in epoch {}", self.name(to), newest + 1));
            }
            if given_up.is_some_and(|at| at < now()) {
                return self.cancel(owner).await;
            }
            tokio::time::sleep(BETWEEN).await;
        }
        Err("it drains, or ships".to_owned())
    }

    async fn switched(&mut self, owner: usize, record: &OwnershipRecord) -> Result<bool, Why> {
        let request = SwitchoverRequest {
            request_id: self.id(),
            region: self.name(owner),
            record: Some(record.clone()),
            accept_refused_laws: false,
            accept_unopened: false,
        };
        let asked = self.doors[owner].call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.region_loss.switchover(request).await }
        });
        let answer = asked.await.map_err(said)?;
        trace::note(format_args!("switchover: {:?}: {}", answer.step(), answer.detail));
        Ok(answer.step() == SwitchoverStep::Recorded)
    }

    async fn cancel(&mut self, owner: usize) -> Result<(), Why> {
        let request = CancelSwitchoverRequest {
            request_id: self.id(),
            region: self.name(owner),
            birth_region: self.name(0),
        };
        let asked = self.doors[owner].call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.region_loss.cancel_switchover(request).await }
        });
        let answer = asked.await.map_err(said)?;
        trace::note(format_args!("switchover given up: {answer:?}"));
        trace::count("hand-over given up", u64::from(answer.cancelled));
        Ok(())
    }

    /// `hansactl region failover --confirm-stopped`, or without if there are leases.
    pub(super) async fn take_over(&mut self) -> Result<(), Why> {
        let told = self.told(HEIR).await?;
        let of = self.birth(&told)?;
        if of.owner_region == self.name(HEIR) {
            self.board.taken_over.set(true);
            self.adopted(HEIR, of.epoch).await?;
            trace::count("births taken over", 1);
            let joint = |region: usize| self.league.regions[region].seats[0].config.groups.joint;
            let unlike = u64::from(joint(0) != joint(HEIR));
            trace::count("births taken over between unlike layouts", unlike);
            trace::count("events heard of and lost", lost(&told));
            return Ok(());
        }
        let newest = self.newest(&of).await;
        let promised = of.fence_epoch > newest && of.fence_to == self.name(HEIR);
        let epoch = if promised { of.fence_epoch } else { newest.max(of.fence_epoch) + 1 };
        let record = self.signed(OwnershipRecord {
            owner_region: self.name(HEIR),
            epoch,
            ends_epoch: newest,
            kind: "failover".to_owned(),
            confirmed_stopped: of.lease_ms == 0,
            ..OwnershipRecord::default()
        });
        for _ in 0..LOOKS {
            if self.failed_over(&record).await? {
                self.board.taken_over.set(true);
                return Err(format!("recorded in epoch {epoch}"));
            }
            tokio::time::sleep(BETWEEN).await;
        }
        Err("it is fenced, or waits".to_owned())
    }

    async fn failed_over(&mut self, record: &OwnershipRecord) -> Result<bool, Why> {
        let request = FailoverRequest {
            request_id: self.id(),
            region: self.name(HEIR),
            record: Some(record.clone()),
            accept_refused_laws: false,
        };
        let asked = self.doors[HEIR].call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.region_loss.failover(request).await }
        });
        let answer = asked.await.map_err(said)?;
        trace::note(format_args!("failover: {:?}: {}", answer.step(), answer.detail));
        Ok(answer.step() == FailoverStep::Recorded)
    }

    /// `hansactl region failback`.
    pub(super) async fn go_home(&mut self) -> Result<(), Why> {
        if let Some(told) = self.away().await? {
            self.settled(&told)?;
            if self.decide_tail().await? > 0 {
                return Err("decided on the tail".to_owned());
            }
        }
        self.hand_over(0, None).await
    }

    /// What the first region says while another one owns its births; it has heard of that.
    pub(super) async fn away(&self) -> Result<Option<GetRegionLossResponse>, Why> {
        let told = self.told(0).await?;
        let (here, there) = (self.birth(&told)?, self.birth(&self.told(HEIR).await?)?);
        if here.epoch < there.epoch {
            return Err(format!("{} has not heard of epoch {}", self.name(0), there.epoch));
        }
        Ok((here.owner_region != self.name(0)).then_some(told))
    }

    /// Whether the region has heard that it owns no longer, and the tail to its end.
    pub(super) fn settled(&self, told: &GetRegionLossResponse) -> Result<(), Why> {
        if !told.silent_nodes.is_empty() && !self.short(0) || told.groups.is_empty() {
            return Err(format!("no answer from {:?}", told.silent_nodes));
        }
        let first = self.name(0);
        for group in &told.groups {
            let state = group.births.iter().find(|state| state.birth == first);
            let Some(state) = state else { continue };
            let heard = state.phase() == BirthPhase::Elsewhere;
            if !heard || state.tail == 0 && !state.tail_final {
                let (phase, tail) = (state.phase(), state.tail);
                return Err(format!("{}: {phase:?}, tail {tail} so far", group.name));
            }
        }
        Ok(())
    }
}

/// Events that somebody heard of and the new owner never received.
fn lost(told: &GetRegionLossResponse) -> u64 {
    let births = told.groups.iter().flat_map(|group| &group.births);
    let taken = births.filter_map(|state| state.takeover.as_ref());
    taken.flat_map(|taken| &taken.lost).map(|of| of.upto.saturating_sub(of.after)).sum()
}
