//! What an operator does to a region beside its members: drains a node, raises a version, rotates
//! its key, loads a policy.

use std::time::Duration;

use hansa_api::pb::admin::{
    DrainNodeRequest, ListKeysRequest, LoadPolicyRequest, RaiseVersionRequest, RegionKeyState,
    RotateKeyRequest,
};
use hansa_api::status::Reason;

use super::{CALL_MAX, Operator};
use crate::clock;
use crate::plan::Errand;
use crate::trace;
use crate::world;

/// One that the storm does not let through is left where it is, unless it is owed.
const ERRAND_MAX: Duration = Duration::from_secs(12);
/// The version that the simulator's second release of orders knows (docs/upgrade.md).
const VERSION: u32 = 2;

impl Operator<'_> {
    /// Takes the next errand up, if none is under way; whether one is. `late`: only what is owed.
    pub(super) fn has_errand(&mut self, late: bool) -> bool {
        let counts = |errand: &Errand| !late || errand.is_owed();
        self.errand.take_if(|(errand, _)| !counts(errand));
        if self.errand.is_none() {
            let mut waiting = self.board.errands.borrow_mut();
            let mine =
                |(region, errand): &(usize, Errand)| *region == self.number && counts(errand);
            if let Some(at) = waiting.iter().position(mine) {
                let until = clock::truth().unwrap_or_default() + ERRAND_MAX;
                self.errand = Some((waiting.remove(at).1, until));
            }
        }
        self.errand.is_some()
    }

    /// Makes its call; it ends with an answer, or late.
    pub(super) async fn run_errand(&mut self) {
        let Some((errand, until)) = self.errand.take() else { return };
        let done = match errand {
            Errand::Drain { node } => self.drain(node).await,
            Errand::Raise => self.raise().await,
            Errand::Rotate => self.rotate().await,
            Errand::Law { version } => self.load(version).await,
        };
        let tried_on = errand.is_owed() || clock::truth().unwrap_or_default() < until;
        if !done && tried_on {
            self.errand = Some((errand, until));
        }
    }

    async fn drain(&mut self, node: usize) -> bool {
        let (request_id, region) = (self.id(), self.region.name.to_string());
        let node = self.region.seats[node].name().to_owned();
        let request = DrainNodeRequest { request_id, region, node };
        let asked = self.door.call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.membership.drain_node(request).await }
        });
        match asked.await {
            Ok(answer) => {
                let (handed, kept) = (answer.handed_over_groups.len(), answer.kept_groups.len());
                trace::note(format_args!("{} drained: {handed} groups, {kept} kept", request.node));
                trace::count("node drained", 1);
                true
            }
            Err(failure) => {
                trace::note(format_args!("{} not drained: {failure}", request.node));
                false
            }
        }
    }

    async fn raise(&mut self) -> bool {
        let (request_id, region) = (self.id(), self.region.name.to_string());
        let request =
            RaiseVersionRequest { request_id, region, groups: Vec::new(), version: VERSION };
        let asked = self.door.call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.versions.raise_version(request).await }
        });
        match asked.await {
            Ok(answer) => {
                let raised = answer.groups.iter().filter(|one| one.former_version < one.version);
                let raised = raised.count() as u64;
                trace::note(format_args!("{raised} groups raised to version {VERSION}"));
                trace::count("version raised", raised);
                true
            }
            Err(failure) => {
                trace::note(format_args!("not raised: {failure}"));
                false
            }
        }
    }

    async fn rotate(&mut self) -> bool {
        let region = self.region.name.to_string();
        let request = ListKeysRequest { region: region.clone() };
        let asked = self.door.call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.keys.list_keys(request).await }
        });
        let Ok(listed) = asked.await else { return false };
        let active = listed.keys.iter().find(|key| key.state() == RegionKeyState::Active);
        let Some(former_key) = active.map(|key| key.key.clone()) else { return false };
        let request = RotateKeyRequest { request_id: self.id(), region, former_key };
        let asked = self.door.call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.keys.rotate_key(request).await }
        });
        match asked.await {
            Ok(_) => {
                trace::note(format_args!("key {} rotated", request.former_key));
                trace::count("key rotated", 1);
                true
            }
            Err(failure) => {
                trace::note(format_args!("key not rotated: {failure}"));
                false
            }
        }
    }

    async fn load(&mut self, version: u64) -> bool {
        let (request_id, region) = (self.id(), self.region.name.to_string());
        let request = LoadPolicyRequest { request_id, region, text: world::law(version) };
        let asked = self.door.call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.residency.load_policy(request).await }
        });
        let region = &request.region;
        match asked.await {
            Ok(_) => {
                trace::note(format_args!("policy {version} loaded in {region}"));
                trace::count("policy loaded", 1);
                true
            }
            // A later one was loaded meanwhile, by a call that had seemed to fail.
            Err(failure) if failure.reason() == Reason::PolicyNotNewer => true,
            Err(failure) => {
                trace::note(format_args!("policy {version} not loaded in {region}: {failure}"));
                false
            }
        }
    }
}
