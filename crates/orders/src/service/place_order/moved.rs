//! Somebody whose home has moved: which region may take his order, and who is asked first whether
//! it was placed before.

use std::time::Duration;

use hansa_api::classes::DataClass;
use hansa_api::first_sent;
use hansa_api::pb::order as wire;
use hansa_api::pb::replication::home_service_client::HomeServiceClient;
use hansa_api::pb::replication::{FindRequestRequest, FindRequestResponse};
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_region_router::core::directory::{Region, Snapshot};
use hansa_region_router::core::home::{Lived, home, lived};
use hansa_region_router::core::route::Refusal;
use hansa_types::country::Country;
use hansa_types::id::OrderId;
use hansa_types::region::{RegionNumber, Slot};
use hansa_types::time::LogTime;
use tokio::time::{Instant, timeout_at};

use super::Asked;
use crate::core::command::Refused;
use crate::core::keys::Scope;
use crate::shell::closed::Closed;
use crate::shell::{Sent, Shell, refusal};

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
    /// `REQUEST_IN_DOUBT` where one was lost that may have heard it; `REQUEST_ID_REUSED`;
    /// `CUSTOMER_ERASED` or `CUSTOMER_MOVED` by the former home.
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
        let mut doubts = false;
        for lived in lived(residence, self.slot, now, LogTime(wall)) {
            // Whatever the policies say: a lost region may never have heard of the newer one.
            let doubt = self.doubted(&lived, sent)?;
            let asked = match lived.served {
                true => lived.owner.owner,
                // Who owns them now may not know what he ordered.
                false => lived.birth,
            };
            let closed = self.closed(&lived, asked, due).await?;
            let expired = closed.saturating_add(key_ttl_ms) < wall;
            let newer = sent.is_some_and(|sent| sent > closed.saturating_add(SKEW_MS));
            let may_know = !expired && !newer;
            if may_know && asked != now.here {
                let region = now.region(asked).ok_or_else(moving)?;
                let lost = doubt && !lived.served;
                match self.ask(region, &lived, sent, due).await {
                    Ok(None) if lived.alone && !lived.served => continue,
                    Ok(None) => {}
                    Ok(order) => return Ok(order),
                    // It is the one that was lost.
                    Err(failure) if lost && failure.reason() == Reason::HomeMoving => {}
                    Err(failure) => return Err(failure),
                }
            }
            // Of what a lawful owner in between granted nobody may be asked.
            doubts |= doubt || (may_know && !lived.served && !lived.alone);
        }
        match doubts {
            true => Err(refusal(Refused::InDoubt)),
            false => Ok(None),
        }
    }

    /// Since when a former home takes none of his orders any more. Until it has said so the older
    /// policy may be in force there, however long ago it ended here. Who lost these births to
    /// another takes none since that was recorded.
    ///
    /// # Errors
    /// `HOME_MOVING` while it does not say.
    async fn closed(
        &self,
        lived: &Lived,
        asked: RegionNumber,
        due: Instant,
    ) -> Result<u64, Failure> {
        let until = lived.until.ms();
        if asked == self.now.here {
            return Ok(until);
        }
        if asked != lived.owner.owner {
            let record = self.now.records.get(&lived.birth);
            return Ok(record.map_or(until, |record| record.time_ms.max(until)));
        }
        let (version, epoch) = (self.now.policy.version(), lived.owner.epoch);
        let of = Closed { version, birth: lived.birth, asked, epoch, slot: self.slot };
        if let Some(ms) = self.shell.closed.since(of) {
            return Ok(ms);
        }
        // Nobody is named, so no law keeps it from being asked.
        let question = FindRequestRequest {
            region: self.shell.region.to_string(),
            policy_version: version,
            slot: u32::from(self.slot.get()),
            ..Default::default()
        };
        let region = self.now.region(asked).ok_or_else(moving)?;
        let ms = self.question(region, question, None, due).await?.closed_ms;
        self.shell.closed.say(of, ms);
        Ok(ms)
    }

    /// Whether a lost owner of what he ordered there may have heard this request, and nobody else.
    ///
    /// # Errors
    /// `HOME_MOVING` while this group has not followed the directory, or takes those births over.
    fn doubted(&self, lived: &Lived, sent: Option<u64>) -> Result<bool, Failure> {
        let (birth, epoch) = (lived.birth, lived.owner.epoch);
        let recorded = self.now.records.contains_key(&birth);
        self.hosted.group.peek(|machine| {
            let state = &machine.state;
            let followed = state.births.get(birth).is_some_and(|row| row.epoch >= epoch);
            match state.doubts_of(birth, sent, true) {
                _ if recorded && !followed => Err(moving()),
                None => Ok(false),
                Some(Refused::InDoubt) => Ok(true),
                Some(_) => Err(moving()),
            }
        })
    }

    async fn ask(
        &self,
        region: &Region,
        lived: &Lived,
        sent: Option<u64>,
        due: Instant,
    ) -> Result<Option<wire::Order>, Failure> {
        let policy = &self.now.policy;
        let law = policy.of_country(self.place.residence_country).ok_or_else(moving)?;
        // What asks is the whole request: where the law of today keeps it out, nobody can be asked.
        if !DataClass::ALL.into_iter().all(|class| policy.may_pass(law, class, &region.name)) {
            return Err(moving());
        }
        let birth = self.now.region(lived.birth).filter(|_| lived.served);
        let question = FindRequestRequest {
            region: self.shell.region.to_string(),
            caller: self.caller.to_owned(),
            request: bytes::Bytes::copy_from_slice(self.body),
            birth: birth.map_or_else(String::new, |birth| birth.name.to_string()),
            policy_version: policy.version(),
            slot: 0,
        };
        Ok(self.question(region, question, sent, due).await?.order)
    }

    async fn question(
        &self,
        region: &Region,
        question: FindRequestRequest,
        sent: Option<u64>,
        due: Instant,
    ) -> Result<FindRequestResponse, Failure> {
        let due = Deadline(due).min(Deadline::after(ASK_MAX));
        let mut question = outgoing(question, due)?;
        if let Some(sent) = sent {
            first_sent::put(question.metadata_mut(), sent);
        }
        let mut client = HomeServiceClient::new(self.shell.peers.gateway(&region.name));
        let answer = timeout_at(due.0, client.find_request(question)).await;
        let failure = match answer {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => Failure::from(&status),
            Err(_) => Failure::of(Reason::DeadlineExceeded),
        };
        match failure.reason() {
            Reason::RequestIdReused
            | Reason::RequestInDoubt
            | Reason::CustomerErased
            | Reason::CustomerMoved => Err(failure),
            reason => {
                tracing::info!(region = %region.name, %reason, "a former home does not say");
                Err(moving())
            }
        }
    }
}
