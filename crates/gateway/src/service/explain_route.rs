//! Where a call would go, and why.

use hansa_api::classes::DataClass;
use hansa_api::pb::region::{ExplainRouteRequest, ExplainRouteResponse};
use hansa_api::routing::{Extra, Routing};
use hansa_api::status::Failure;
use hansa_region_router::core::directory::Snapshot;
use hansa_region_router::core::policy;
use hansa_region_router::core::route::{Place, Rule, Subject, place, transit_forbidden};
use hansa_types::id::{GroupKind, RequestId};
use prost::Message as _;

/// Whoever asks with a country alone asks for no slot in particular; homes do not depend on it
/// unless single slots have moved, and the explanation says so.
const NOBODY: &str = "nobody";

/// Explains the route of an order, or of a resident of a country.
///
/// # Errors
/// As the route itself would be refused.
pub fn explain(
    request: &ExplainRouteRequest,
    directory: &Snapshot,
) -> Result<ExplainRouteResponse, Failure> {
    // The same reading as the entry gateway's, so that both refuse the same things.
    let mut routing = Routing::decode(&request.encode_to_vec(), Extra::Nothing)?;
    let mut steps = vec![format!("directory version {}", directory.version)];
    let rule = if routing.order.is_some() { Rule::Order } else { Rule::Residence };
    if rule == Rule::Residence && routing.customer_id.is_none() && routing.request_id.is_none() {
        routing.request_id = NOBODY.parse::<RequestId>().ok();
        steps.push("neither customer nor request id: any slot will do".into());
    }
    let place = place(rule, &routing, directory)?;
    reasons(&routing, &place, directory, &mut steps);
    let forbidden = place.region != directory.here && transit_forbidden(&place, directory);
    Ok(response(&place, directory, forbidden, steps))
}

fn reasons(routing: &Routing, place: &Place, directory: &Snapshot, steps: &mut Vec<String>) {
    if let (Subject::Resident(_), Some(country)) = (&place.subject, routing.residence_country) {
        let explained = policy::explain(&directory.policy, country, DataClass::Personal);
        steps.extend(explained.into_iter().flat_map(|why| why.reasons));
    }
    if let Some(order) = &routing.order {
        steps.push(format!(
            "the order was born in {}, slot {}",
            order.region,
            order.id.slot().get()
        ));
    }
    let owner = directory.region(place.region).map_or("", |region| region.name.as_str());
    let slot = place.slot.map_or(String::new(), |slot| format!(" slot {}", slot.get()));
    steps.push(format!("{owner} serves{slot} in epoch {}", epoch(place, directory)));
    steps.push(if place.region == directory.here {
        "that is here: the call stays".into()
    } else if transit_forbidden(place, directory) {
        "transit through this region is forbidden: the call is refused with the endpoint".into()
    } else {
        "the call is passed on once, as opaque bytes".into()
    });
}

fn response(
    place: &Place,
    directory: &Snapshot,
    transit_forbidden: bool,
    explanation: Vec<String>,
) -> ExplainRouteResponse {
    let region = directory.region(place.region);
    let here = place.region == directory.here;
    let group = place.slot.filter(|_| here).map(|slot| directory.group(GroupKind::Orders, slot));
    let jurisdiction = match &place.subject {
        Subject::Resident(home) => home.jurisdiction.to_string(),
        Subject::Somebody | Subject::Nobody => String::new(),
    };
    ExplainRouteResponse {
        home_region: region.map(|region| region.name.to_string()).unwrap_or_default(),
        jurisdiction,
        policy_version: directory.policy.version(),
        epoch: epoch(place, directory),
        slot: place.slot.map_or(0, |slot| slot.get().into()),
        group: group.map_or(0, |group| group.number()),
        forwarded: !here && !transit_forbidden,
        transit_forbidden,
        endpoints: region.map(|region| region.public.clone()).unwrap_or_default(),
        explanation,
    }
}

fn epoch(place: &Place, directory: &Snapshot) -> u64 {
    match &place.subject {
        Subject::Resident(home) => home.epoch,
        Subject::Somebody | Subject::Nobody => {
            directory.owners.get(&place.region).map_or(0, |owner| owner.epoch)
        }
    }
}
