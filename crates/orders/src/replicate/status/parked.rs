//! Events that could not be applied: shown, tried again, decided.

use std::sync::Arc;

use hansa_api::convert::time::from_log;
use hansa_api::pb::admin;
use hansa_api::pb::node as pb;
use hansa_api::status::{Failure, Reason};
use hansa_types::id::{OrderId, OrderName};
use hansa_types::region::RegionNumber;
use tokio::time::Instant;

use super::{LISTED_MAX, NodeReplication};
use crate::core::command::{Command, Outcome, Refused};
use crate::core::remote::{Fault, Origin, ParkedEvent, ParkedWhy, Remote, RemoteStep, Terms};
use crate::replicate::check;
use crate::replicate::law::Law;
use crate::shell::{Hosted, refusal};

impl NodeReplication {
    pub(super) fn list_parked(
        &self,
        asked: &pb::ListNodeParkedRequest,
    ) -> Result<pb::ListNodeParkedResponse, Failure> {
        let max = LISTED_MAX.min(asked.max as usize);
        let origin = self.origin(&asked.origin)?;
        let mut answer = pb::ListNodeParkedResponse::default();
        for hosted in self.led() {
            hosted.group.peek(|machine| {
                let remote = &machine.state.remote;
                let wanted = |parked: &&ParkedEvent| {
                    origin.is_none_or(|origin| parked.origin.region == origin)
                };
                let parked = remote.parked.iter().flat_map(|(_, events)| events).filter(wanted);
                for parked in parked {
                    if answer.events.len() >= max {
                        answer.truncated = true;
                        return;
                    }
                    answer.events.push(self.show(remote, parked));
                }
            });
        }
        answer.events.sort_by(|a, b| (&a.order, a.sequence).cmp(&(&b.order, b.sequence)));
        Ok(answer)
    }

    fn origin(&self, name: &str) -> Result<Option<RegionNumber>, Failure> {
        if name.is_empty() {
            return Ok(None);
        }
        let unknown = || Failure::of(Reason::UnknownRegion);
        let name = name.parse().map_err(|_| unknown())?;
        self.shell.map.region_number(&name).map(Some).ok_or_else(unknown)
    }

    fn show(&self, remote: &Remote, parked: &ParkedEvent) -> admin::ParkedEvent {
        let ParkedEvent { origin, why, at, event, asked: _ } = parked;
        let copy = remote.copies.get(&event.order);
        let Origin { region, group, epoch } = *origin;
        let region = self.shell.map.region_name(region);
        admin::ParkedEvent {
            order: self.shell.map.name_of(event.order),
            reason: reason(*why).into(),
            origin: region.map_or_else(String::new, |region| region.to_string()),
            origin_group: u32::from(group),
            epoch,
            sequence: event.sequence,
            version: event.version,
            copy_version: copy.map_or(0, |copy| copy.version),
            copy_epoch: copy.map_or(0, |copy| copy.origin.epoch),
            parked_time: Some(from_log(*at)),
            has_content: !event.view.is_empty(),
        }
    }

    /// The group here in which events of the order are parked.
    fn parked_in(&self, order: &str) -> Result<(OrderId, Option<Arc<Hosted>>), Failure> {
        let name: OrderName = order.parse().map_err(|_| {
            let why = "expected regions/<region>/orders/<id>";
            Failure::field(Reason::OrderNameInvalid, "order", why)
        })?;
        let id = self.shell.map.check_name(&name)?;
        let holds = |hosted: &Arc<Hosted>| {
            hosted.group.peek(|machine| machine.state.remote.parked.contains(&id))
        };
        Ok((id, self.led().into_iter().find(holds)))
    }

    pub(crate) async fn retry(
        &self,
        asked: &pb::RetryNodeParkedRequest,
        due: Instant,
    ) -> Result<pb::RetryNodeParkedResponse, Failure> {
        let (order, hosted) = self.parked_in(&asked.order)?;
        let Some(hosted) = hosted else {
            let asked_again = asked.ship_again && self.ship_again(order)?;
            return Ok(pb::RetryNodeParkedResponse {
                known: asked_again,
                asked_again,
                ..Default::default()
            });
        };
        let own = Law::of(&*self.shell.map.now()?, &self.shell.region);
        let parked = hosted
            .group
            .peek(|machine| machine.state.remote.parked.get(&order).cloned().unwrap_or_default());
        let Some(place) = parked.first().map(|parked| parked.origin.place()) else {
            return Ok(pb::RetryNodeParkedResponse::default());
        };
        // An origin that said nothing yet in this office is judged by our own law.
        let told = self.shell.heard.terms(hosted.office(), place);
        let told = told.unwrap_or_else(|| Arc::new(own.terms.clone()));
        let events = parked.into_iter().map(|parked| {
            let mut event = parked.event;
            if !event.view.is_empty() {
                look_again(&mut event, &told, &own);
            }
            event
        });
        let events = events.collect();
        let command = Command::Remote(RemoteStep::Retry { order, events });
        match hosted.submit(&command, due).await? {
            Outcome::Retried(retried) => {
                let asked_again = retried.ask_home && self.shell.heard.want(place, order);
                let applied = retried.left == 0 && !retried.ask_home;
                Ok(pb::RetryNodeParkedResponse { known: true, applied, asked_again })
            }
            Outcome::Refused(why) => Err(refusal(why)),
            _ => Err(Failure::of(Reason::Internal)),
        }
    }

    /// Asks who owns the order for it as it stands; `false` where no stream of theirs ends here.
    fn ship_again(&self, order: OrderId) -> Result<bool, Failure> {
        let now = self.shell.map.now()?;
        let owner = now.owner(order.region(), order.slot()).map(|of| of.owner);
        let Some(owner) = owner else { return Ok(false) };
        let led = self.led();
        let copy = led.iter().find_map(|hosted| {
            hosted.group.peek(|m| m.state.remote.copies.get(&order).map(|copy| copy.origin.place()))
        });
        let heard = &self.shell.heard;
        let places = match copy.filter(|place| place.0 == owner) {
            Some(place) => vec![place],
            // Nobody here knows which of their groups has it. Those that have not say nothing.
            None if led.is_empty() => Vec::new(),
            None => heard.places_of(owner),
        };
        let asked = places.into_iter().filter(|place| heard.want(*place, order)).count();
        Ok(asked > 0)
    }

    pub(super) async fn resolve(
        &self,
        asked: pb::ResolveNodeParkedRequest,
        due: Instant,
    ) -> Result<pb::ResolveNodeParkedResponse, Failure> {
        let (order, Some(hosted)) = self.parked_in(&asked.order)? else {
            return Ok(pb::ResolveNodeParkedResponse::default());
        };
        let pb::ResolveNodeParkedRequest { keep_mine, reason, by, .. } = asked;
        let step = RemoteStep::Resolve { order, keep_mine, by, reason };
        match hosted.submit(&Command::Remote(step), due).await? {
            Outcome::Resolved(version) => {
                Ok(pb::ResolveNodeParkedResponse { known: true, version })
            }
            Outcome::Refused(Refused::NotKept) => {
                let waiting = hosted.group.peek(|machine| {
                    let waiting = machine.state.remote.parked.get(&order);
                    waiting.and_then(|waiting| Some(waiting.first()?.origin.place()))
                });
                if let Some(place) = waiting {
                    self.shell.heard.want(place, order);
                }
                Err(refusal(Refused::NotKept))
            }
            Outcome::Refused(why) => Err(refusal(why)),
            _ => Err(Failure::of(Reason::Internal)),
        }
    }
}

/// Under the law of now; the terms that the event was made under stay what they were.
fn look_again(event: &mut crate::core::remote::RemoteEvent, told: &Terms, own: &Law) {
    let (shown, made) = (event.shown, event.shown.terms);
    check::look(event, told, own);
    event.shown = crate::core::remote::Shown { terms: made, ..shown };
}

fn reason(why: ParkedWhy) -> admin::ParkedEventReason {
    use admin::ParkedEventReason as Of;
    match why {
        ParkedWhy::Conflict => Of::Conflict,
        ParkedWhy::OldEpoch => Of::OldEpoch,
        ParkedWhy::VersionBack => Of::VersionBack,
        ParkedWhy::Fault(Fault::Undecodable) => Of::Undecodable,
        ParkedWhy::Fault(Fault::WrongOrder) => Of::WrongOrder,
        ParkedWhy::Fault(Fault::ForbiddenClass) => Of::ForbiddenClass,
        ParkedWhy::Fault(Fault::UnknownField) => Of::UnknownField,
        ParkedWhy::Follows => Of::Follows,
    }
}
