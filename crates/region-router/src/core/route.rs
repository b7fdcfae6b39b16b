//! Where a call goes: decided from its routing fields, the directory and nothing else.

mod method;
#[cfg(test)]
mod tests;

use hansa_api::classes::DataClass;
use hansa_api::routing::Routing;
use hansa_types::id::{GroupId, OrderName};
use hansa_types::region::{RegionName, RegionNumber, Slot};
use thiserror::Error;

pub use self::method::{METHODS, Method, Rule, method};
use super::directory::Snapshot;
use super::home::{Home, NoHome, home};
use super::policy::Jurisdiction;

/// Who brought the call here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    Client,
    /// Another region's gateway; such a call is never passed on again.
    Forwarded,
}

/// Where a call goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// The gateway answers by itself.
    Gateway,
    /// The leader of a group of this region.
    Group(GroupId),
    /// A gateway of another region.
    Region(RegionNumber),
}

/// Why a call goes nowhere. Checked in this order.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refusal {
    #[error("{0} is required")]
    Missing(&'static str),
    #[error("no region is called {0}")]
    UnknownRegion(RegionName),
    #[error("the order's name and its id name different regions")]
    OrderMismatch,
    #[error("the region is not the home of what is asked for")]
    RegionMismatch,
    #[error(transparent)]
    NoHome(#[from] NoHome),
    /// The call belongs elsewhere and must not be passed on from here.
    #[error("the call belongs to {region}: {why}")]
    WrongRegion { region: RegionName, endpoints: Vec<String>, why: Why },
}

/// Why a call is not passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Why {
    #[error("it was forwarded once already")]
    Forwarded,
    #[error("the customer's jurisdiction forbids transit through the region that was asked")]
    Transit,
}

/// Where a call belongs: region and place in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    pub region: RegionNumber,
    pub slot: Option<Slot>,
    pub subject: Subject,
}

/// Whose data a call may carry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// A resident of a known country.
    Resident(Home),
    /// Some customer of the region; under whose law, only the region knows.
    Somebody,
    /// Stock and the state of groups are nobody's personal matter.
    Nobody,
}

/// Decides where a call goes.
///
/// # Errors
/// See [`Refusal`]; the first that applies.
pub fn route(
    method: &Method,
    fields: &Routing,
    entry: Entry,
    directory: &Snapshot,
) -> Result<Decision, Refusal> {
    if method.rule == Rule::Gateway {
        return Ok(Decision::Gateway);
    }
    let place = place(method.rule, fields, directory)?;
    if place.region != directory.here {
        return pass_on(&place, entry, directory);
    }
    Ok(match method.kind {
        None => Decision::Gateway,
        Some(kind) => Decision::Group(match place.slot {
            Some(slot) => directory.group(kind, slot),
            // Answered from views or summed over groups: any group's leader will do.
            None => GroupId::new(kind, 0),
        }),
    })
}

/// Whether a call that another region passed on to here should never have gone through it.
///
/// The entry may go by an older policy than this one, and law is the home's: what entered where the
/// home's policy forbids it is refused, so that the client asks here by itself. Nothing can undo
/// that it passed; it is not carried out.
///
/// # Errors
/// `WrongRegion` that names this region.
pub fn check_entry(
    method: &Method,
    fields: &Routing,
    entered: &RegionName,
    directory: &Snapshot,
) -> Result<(), Refusal> {
    let place = match method.rule {
        Rule::Gateway => return Ok(()),
        rule => place(rule, fields, directory)?,
    };
    let Some(here) = directory.own_region().filter(|_| place.region == directory.here) else {
        return Ok(());
    };
    if !closed(&place, entered, directory) {
        return Ok(());
    }
    let (region, endpoints) = (here.name.clone(), here.public.clone());
    Err(Refusal::WrongRegion { region, endpoints, why: Why::Transit })
}

/// Where a call belongs, whoever brought it.
///
/// # Errors
/// See [`Refusal`]; never `WrongRegion`.
pub fn place(rule: Rule, fields: &Routing, directory: &Snapshot) -> Result<Place, Refusal> {
    match rule {
        Rule::Residence => by_residence(fields, directory),
        Rule::Order if fields.local_copy => {
            let place = by_order(order(fields)?, directory)?;
            Ok(Place { region: directory.here, ..place })
        }
        Rule::Order => agree(fields, by_order(order(fields)?, directory)?, directory),
        Rule::Subject if fields.order.is_some() => {
            let place = by_order(order(fields)?, directory)?;
            let named = fields.region.is_some();
            let region = if named { by_region(fields, directory)? } else { place.region };
            Ok(Place { region, ..place })
        }
        Rule::Customers | Rule::Subject if fields.residence_country.is_some() => {
            let place = by_residence(fields, directory)?;
            agree(fields, place, directory)
        }
        Rule::Customers | Rule::Subject => {
            let slot = fields.customer_id.as_ref().map(|id| Slot::of(id.as_str().as_bytes()));
            Ok(Place { region: by_region(fields, directory)?, slot, subject: Subject::Somebody })
        }
        Rule::OrderOrRegion if fields.order.is_some() => {
            let place = by_order(order(fields)?, directory)?;
            agree(fields, place, directory)
        }
        Rule::Sku => {
            let sku = fields.sku.as_ref().ok_or(Refusal::Missing("sku"))?;
            let slot = Some(Slot::of(sku.as_str().as_bytes()));
            Ok(Place { region: by_region(fields, directory)?, slot, subject: Subject::Nobody })
        }
        Rule::OrderOrRegion | Rule::Region | Rule::Gateway => {
            let region = by_region(fields, directory)?;
            Ok(Place { region, slot: None, subject: Subject::Nobody })
        }
    }
}

fn order(fields: &Routing) -> Result<&OrderName, Refusal> {
    fields.order.as_ref().ok_or(Refusal::Missing("order"))
}

fn by_residence(fields: &Routing, directory: &Snapshot) -> Result<Place, Refusal> {
    let slot = match (&fields.customer_id, &fields.request_id) {
        (Some(customer), _) => Slot::of(customer.as_str().as_bytes()),
        (None, Some(guest)) => Slot::of(guest.as_str().as_bytes()),
        (None, None) => return Err(Refusal::Missing("request_id")),
    };
    let country = fields.residence_country.ok_or(Refusal::Missing("residence_country"))?;
    let home = home(country, slot, &directory.policy, directory)?;
    Ok(Place { region: home.region, slot: Some(slot), subject: Subject::Resident(home) })
}

fn by_order(name: &OrderName, directory: &Snapshot) -> Result<Place, Refusal> {
    let unknown = || Refusal::UnknownRegion(name.region.clone());
    let number = directory.number(&name.region).ok_or_else(unknown)?;
    if number != name.id.region() {
        return Err(Refusal::OrderMismatch);
    }
    let slot = name.id.slot();
    let ownership = directory.owner(number, slot).ok_or_else(unknown)?;
    Ok(Place { region: ownership.owner, slot: Some(slot), subject: Subject::Somebody })
}

fn by_region(fields: &Routing, directory: &Snapshot) -> Result<RegionNumber, Refusal> {
    match &fields.region {
        None => Ok(directory.here),
        Some(name) => directory.number(name).ok_or_else(|| Refusal::UnknownRegion(name.clone())),
    }
}

/// A region that is named must be the one that the other fields lead to.
fn agree(fields: &Routing, place: Place, directory: &Snapshot) -> Result<Place, Refusal> {
    if fields.region.is_some() && by_region(fields, directory)? != place.region {
        return Err(Refusal::RegionMismatch);
    }
    Ok(place)
}

fn pass_on(place: &Place, entry: Entry, directory: &Snapshot) -> Result<Decision, Refusal> {
    let why = match entry {
        Entry::Forwarded => Why::Forwarded,
        Entry::Client if transit_forbidden(place, directory) => Why::Transit,
        Entry::Client => return Ok(Decision::Region(place.region)),
    };
    // Every owner is a region that the directory lists.
    let region = directory.region(place.region).or(directory.own_region());
    let (region, endpoints) = match region {
        Some(region) => (region.name.clone(), region.public.clone()),
        None => return Ok(Decision::Gateway),
    };
    Err(Refusal::WrongRegion { region, endpoints, why })
}

/// Whether the law of whoever the call is about forbids that it passes through this region.
///
/// A call that names only an order does not say whose law it falls under, so every jurisdiction
/// whose residents may live in that region, or be taken over by it, is asked: one that forbids
/// transit is enough.
pub fn transit_forbidden(place: &Place, directory: &Snapshot) -> bool {
    directory.own_region().is_none_or(|here| closed(place, &here.name, directory))
}

/// The same for any region that a call may have entered.
fn closed(place: &Place, entry: &RegionName, directory: &Snapshot) -> bool {
    let policy = &directory.policy;
    let Some(there) = directory.region(place.region) else { return true };
    let forbids = |law: &Jurisdiction| {
        DataClass::ALL.into_iter().any(|class| !policy.may_pass(law, class, entry))
    };
    match &place.subject {
        Subject::Resident(home) => policy.jurisdiction(&home.jurisdiction).is_none_or(forbids),
        Subject::Somebody => {
            let live = |law: &&Jurisdiction| policy.may_live_in(law, &there.name);
            policy.jurisdictions().filter(live).any(forbids)
        }
        Subject::Nobody => false,
    }
}
