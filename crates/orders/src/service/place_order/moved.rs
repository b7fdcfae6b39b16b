//! Somebody whose home has moved: which region may take his order, and who is asked first whether
//! it was placed before.

use std::time::Duration;

use hansa_api::classes::DataClass;
use hansa_api::pb::order as wire;
use hansa_api::pb::replication::FindRequestRequest;
use hansa_api::pb::replication::home_service_client::HomeServiceClient;
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_region_router::core::directory::{Region, Snapshot};
use hansa_region_router::core::home::{former_homes, home};
use hansa_region_router::core::route::Refusal;
use hansa_types::country::Country;
use hansa_types::id::OrderId;
use hansa_types::region::{RegionNumber, Slot};
use hansa_types::time::LogTime;
use tokio::time::{Instant, timeout_at};

use super::Asked;
use crate::core::keys::Scope;
use crate::shell::{Sent, Shell};

/// A request that was first sent this long after a move was not sent before it, whatever the clock
/// of its client and ours say.
pub(super) const SKEW_MS: u64 = 10_000;
/// The other region answers soon, or not at all.
const ASK_MAX: Duration = Duration::from_secs(3);
/// When to come back while a home moves.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// A home that is being moved: nothing was done.
pub fn moving() -> Failure {
    Failure::of(Reason::HomeMoving).retry_after(RETRY)
}

/// The request was carried out, and nobody can compare a repeat of it any more.
pub fn left_behind(shell: &Shell, order: OrderId) -> Failure {
    Failure::of(Reason::CustomerMoved).with("order", shell.map.name_of(order))
}

/// By this node's directory: of which births an order of this home is, and in which epoch. None if
/// this region is not the home. The gateway's may be older or newer.
///
/// # Errors
/// `WRONG_REGION` with the home, or why there is none.
pub fn at_home(
    now: &Snapshot,
    residence: Country,
    slot: Slot,
) -> Result<(RegionNumber, u64), Failure> {
    let home = home(residence, slot, &now.policy, now).map_err(Refusal::NoHome)?;
    if home.region == now.here {
        return Ok((home.birth, home.epoch));
    }
    let region = now.region(home.region).ok_or_else(moving)?;
    let endpoint = region.public.first().map_or("", String::as_str);
    Err(Failure::wrong_region(&region.name, endpoint))
}

impl Asked<'_> {
    /// The order, if the customer placed it while he lived elsewhere. Only an unknown request that
    /// may be older than a move is asked about.
    ///
    /// # Errors
    /// `HOME_MOVING` while a former home cannot be asked, or says that it is the home still;
    /// `REQUEST_ID_REUSED`; `CUSTOMER_ERASED` or `CUSTOMER_MOVED` by the former home.
    pub(super) async fn known_elsewhere(
        &self,
        scope: Scope,
        Sent(sent): Sent,
        due: Instant,
    ) -> Result<Option<wire::Order>, Failure> {
        let now = &self.now;
        if now.former.is_empty() {
            return Ok(None);
        }
        let key_ttl_ms = self.hosted.group.peek(|machine| {
            let known = machine.state.keys.table.contains(&scope);
            (!known).then_some(machine.state.meta.settings.key_ttl_ms)
        });
        let Some(key_ttl_ms) = key_ttl_ms else { return Ok(None) };
        let (residence, wall) = (self.place.residence_country, self.shell.env.clock.wall().ms());
        for (region, until) in former_homes(residence, self.slot, now, LogTime(wall)) {
            let expired = until.plus_ms(key_ttl_ms).ms() < wall;
            let newer = sent.is_some_and(|sent| sent > until.plus_ms(SKEW_MS).ms());
            if expired || newer {
                continue;
            }
            let region = now.region(region).ok_or_else(moving)?;
            if let Some(order) = self.ask(region, due).await? {
                return Ok(Some(order));
            }
        }
        Ok(None)
    }

    async fn ask(&self, region: &Region, due: Instant) -> Result<Option<wire::Order>, Failure> {
        let policy = &self.now.policy;
        let law = policy.of_country(self.place.residence_country).ok_or_else(moving)?;
        // What asks is the whole request: where the law of today keeps it out, nobody can be asked.
        if !DataClass::ALL.into_iter().all(|class| policy.may_pass(law, class, &region.name)) {
            return Err(moving());
        }
        let question = FindRequestRequest {
            region: self.shell.region.to_string(),
            caller: self.caller.to_owned(),
            request: bytes::Bytes::copy_from_slice(self.body),
        };
        let due = Deadline(due).min(Deadline::after(ASK_MAX));
        let mut client = HomeServiceClient::new(self.shell.peers.gateway(&region.name));
        let answer = timeout_at(due.0, client.find_request(outgoing(question, due)?)).await;
        let failure = match answer {
            Ok(Ok(answer)) => return Ok(answer.into_inner().order),
            Ok(Err(status)) => Failure::from(&status),
            Err(_) => Failure::of(Reason::DeadlineExceeded),
        };
        match failure.reason() {
            Reason::RequestIdReused | Reason::CustomerErased | Reason::CustomerMoved => {
                Err(failure)
            }
            reason => {
                tracing::info!(region = %region.name, %reason, "a former home does not say");
                Err(moving())
            }
        }
    }
}
