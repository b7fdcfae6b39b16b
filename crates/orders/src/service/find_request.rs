//! FindRequest: what this region did for somebody who lives elsewhere by now.

use hansa_api::convert::order::PlaceOrder;
use hansa_api::first_sent;
use hansa_api::pb::order as orders;
use hansa_api::pb::replication as wire;
use hansa_api::pb::replication::home_service_client::HomeServiceClient;
use hansa_api::status::{Failure, Reason};
use hansa_region_router::core::directory::Snapshot;
use hansa_region_router::core::home::home as home_of;
use hansa_region_router::core::route::Refusal;
use hansa_types::id::GroupKind;
use hansa_types::region::{RegionName, RegionNumber, Slot};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::home::{self, Asker, Told};
use super::place_order::{left_behind, moving};
use crate::core::command::{Command, Outcome, Refused};
use crate::core::keys::Scope;
use crate::core::moves::MoveRow;
use crate::core::state::State;
use crate::core::takeover::Birth;
use crate::shell::keys::{ScopeOf, Whose, fingerprint};
use crate::shell::{Hosted, Sent, Shell, deadline, not_read, personal, refusal};
use crate::wire as show;

pub async fn run(
    shell: &Shell,
    request: Request<wire::FindRequestRequest>,
) -> Result<Response<wire::FindRequestResponse>, Status> {
    let Asker { region: asker, relayed } = Asker::of(shell, &request, &request.get_ref().region)?;
    let (due, Sent(sent)) = (deadline(&request), Sent::of(&request));
    let question = request.into_inner();
    let told = match question.request.is_empty() {
        true => None,
        false => Some(Told::of(&question.request)?),
    };
    let slot = told
        .as_ref()
        .map(|told| told.slot)
        .or_else(|| u16::try_from(question.slot).ok().and_then(Slot::new));
    let slot = slot.ok_or(Reason::MessageMalformed)?;
    let now = shell.map.now()?;
    let hosted = shell.hosted(now.group(GroupKind::Orders, slot))?;
    if let Some(leader) = home::led_by(hosted, relayed)? {
        let mut request = home::passed_on(question, due)?;
        if let Some(sent) = sent {
            first_sent::put(request.metadata_mut(), sent);
        }
        let mut client = HomeServiceClient::new(shell.peers.to(leader));
        return home::in_time(due, client.find_request(request)).await;
    }
    let Some(Told { place, body, .. }) = told else {
        // By another policy he may live here: nobody is named, so the very one is asked about.
        let same = now.policy.version() == question.policy_version;
        let closed_ms = close(&now, hosted, due).await?;
        let answer = wire::FindRequestResponse { order: None, closed_ms };
        return same.then_some(Response::new(answer)).ok_or_else(|| moving().into());
    };
    moved_to(&now, &asker, &place, slot)?;
    if now.policy.version() < question.policy_version {
        // By a policy in between he may live here again.
        return Err(moving().into());
    }
    let caller = question.caller.as_str();
    let asked = Asked { shell, hosted, place: &place, slot, caller };
    let closed_ms = close(&now, hosted, due).await?;
    let order = asked.find(&body, due).await?;
    if order.is_none() && asked.lives_elsewhere()? {
        // Where he lives, or lived lately, may know it, and is not asked from here.
        return Err(moving().into());
    }
    if order.is_none() {
        let birth = match question.birth.as_str() {
            "" => None,
            name => Some(now.number(&name.parse().map_err(|_| moving())?).ok_or_else(moving)?),
        };
        asked.surely_new(birth, sent)?;
    }
    Ok(Response::new(wire::FindRequestResponse { order, closed_ms }))
}

/// From here on no order is taken here by an older policy: one that is under way is refused in
/// apply, or is in the state that is read after this. Since when that is so.
///
/// # Errors
/// `HOME_MOVING` by who lags behind.
async fn close(now: &Snapshot, hosted: &Hosted, due: Instant) -> Result<u64, Failure> {
    let version = now.policy.version();
    let closed = hosted.submit(&Command::UnderPolicy { version, command: None }, due).await?;
    match closed == Outcome::Noted {
        true => Ok(hosted.group.peek(|machine| machine.state.meta.policy_since.ms())),
        false => Err(moving()),
    }
}

/// Only who is the home by this region's own policy is told.
fn moved_to(
    now: &Snapshot,
    asker: &RegionName,
    place: &PlaceOrder,
    slot: Slot,
) -> Result<(), Failure> {
    let home = home_of(place.residence_country, slot, &now.policy, now).map_err(Refusal::NoHome)?;
    match now.number(asker) == Some(home.region) && home.region != now.here {
        true => Ok(()),
        false => Err(moving()),
    }
}

/// A question to the leader of the group that would know.
pub(super) struct Asked<'a> {
    pub shell: &'a Shell,
    pub hosted: &'a Hosted,
    pub place: &'a PlaceOrder,
    pub slot: Slot,
    pub caller: &'a str,
}

impl Asked<'_> {
    /// The order that was placed here by this request.
    ///
    /// # Errors
    /// `REQUEST_ID_REUSED`, `CUSTOMER_ERASED`.
    pub async fn find(&self, body: &[u8], due: Instant) -> Result<Option<orders::Order>, Failure> {
        let Self { shell, hosted, .. } = *self;
        let scope = self.scope()?;
        let look = hosted.group.read(due, |machine| machine.state.keys.table.get(&scope).cloned());
        let Some(row) = look.await.map_err(not_read)? else { return Ok(None) };
        let id = row.target.order;
        if fingerprint(shell, hosted, (id, scope), due, ("PlaceOrder", body)).await? != row.body {
            // Under his key it was made, and that is gone: nobody can tell it from another.
            let erased = hosted.group.read(due, |machine| machine.state.erased_how(id)).await;
            match erased.map_err(not_read)? {
                Some(Refused::Left(order)) => return Err(left_behind(shell, order)),
                Some(why) => return Err(refusal(why)),
                None => {}
            }
            let why = "used before for another request";
            return Err(Failure::field(Reason::RequestIdReused, "request_id", why));
        }
        let owned = |row: &Birth| row.held_by(shell.number);
        let owned = |state: &State| state.births.get(id.region()).is_none_or(owned);
        // Of what nobody has decided on since its births came back, nothing is told.
        let show = |order: &_, contents: &_| show::order(shell, id, order, contents);
        Ok(Some(match hosted.group.peek(|machine| owned(&machine.state)) {
            true => {
                hosted.keeps(id)?;
                hosted.read(id, due, show).await?
            }
            false => hosted.read_left(id, due, show).await?,
        }))
    }

    /// Whether a request that is not known here was never carried out, by this region or by one
    /// whose births it went on with.
    ///
    /// # Errors
    /// `REQUEST_IN_DOUBT`; `HOME_MOVING` by who does not own these births, or takes them over.
    pub fn surely_new(
        &self,
        birth: Option<RegionNumber>,
        sent: Option<u64>,
    ) -> Result<(), Failure> {
        let here = self.shell.number;
        let doubt = self.hosted.group.peek(|machine| {
            let state = &machine.state;
            let lost = birth.and_then(|birth| match state.births.get(birth) {
                None if birth == here => None,
                Some(row) if row.held_by(here) => state.doubts_of(birth, sent, true),
                None | Some(_) => Some(Refused::NotOwner),
            });
            lost.or_else(|| state.forgot(sent))
        });
        doubt.map_or(Ok(()), |why| Err(refusal(why)))
    }

    fn lives_elsewhere(&self) -> Result<bool, Failure> {
        let Some(customer) = &self.place.customer_id else { return Ok(false) };
        let subject = personal::customer(self.shell, customer)?;
        let (here, wall) = (self.shell.number, self.shell.env.clock.wall().ms());
        Ok(self.hosted.group.peek(|machine| {
            let state = &machine.state;
            let lately = |row: &MoveRow| row.former != here && wall < state.settled_ms(row);
            state.moves.get(subject).is_some_and(|row| row.lives != here || lately(row))
        }))
    }

    /// As the order was accepted here.
    fn scope(&self) -> Result<Scope, Failure> {
        let Self { shell, place, slot, caller, .. } = *self;
        let customer = place.customer_id.as_ref();
        let subject = personal::subject(shell, customer, (caller, &place.request_id))?;
        let whose = Whose::Subject(subject);
        let (method, home, request) = ("PlaceOrder", shell.number, &place.request_id);
        Ok(ScopeOf { caller, method, home, slot, whose, request }.scope())
    }
}
