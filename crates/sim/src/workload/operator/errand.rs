//! What an operator does to a region beside its members: drains a node, raises a version.

use std::time::Duration;

use hansa_api::pb::admin::{DrainNodeRequest, RaiseVersionRequest};

use super::{CALL_MAX, Operator};
use crate::clock;
use crate::plan::Errand;
use crate::trace;

/// One that the storm does not let through is left where it is.
const ERRAND_MAX: Duration = Duration::from_secs(12);
/// The version that the simulator's second release of orders knows (docs/upgrade.md).
const VERSION: u32 = 2;

impl Operator<'_> {
    /// Takes the next errand up, if none is under way; whether one is.
    pub(super) fn has_errand(&mut self) -> bool {
        if self.errand.is_none() {
            let mut waiting = self.board.errands.borrow_mut();
            if let Some(at) = waiting.iter().position(|(region, _)| *region == self.number) {
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
        };
        if !done && clock::truth().unwrap_or_default() < until {
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
}
