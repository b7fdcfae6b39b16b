//! What the verbs about a customer share: where he is looked for, and where else he may be.

use std::collections::BTreeSet;
use std::sync::Arc;

use hansa_api::classes::DataClass;
use hansa_api::convert::customer::Person;
use hansa_api::status::{Failure, Reason};
use hansa_region_router::core::directory::Snapshot;
use hansa_region_router::core::heir;
use hansa_region_router::core::policy::class_name;
use hansa_types::country::Country;
use hansa_types::region::{RegionName, RegionNumber, Slot};
use tokio::time::Instant;

use super::place_order::moving;
use crate::core::moves::Carry;
use crate::core::subjects::SubjectId;
use crate::core::takeover::Phase;
use crate::machine::OrdersMachine;
use crate::shell::{Hosted, Shell, not_read, personal};

/// The group that keeps a person's orders in this region.
pub struct Found<'a> {
    pub hosted: &'a Arc<Hosted>,
    pub slot: Slot,
    /// `None` for a guest whose order another region has: only that one can make his pseudonym.
    pub subject: Option<SubjectId>,
}

/// # Errors
/// As the verbs: not the leader, no such order; `HOME_MOVING` while orders are being taken over.
pub async fn find<'a>(
    shell: &'a Shell,
    person: &Person,
    due: Instant,
) -> Result<Found<'a>, Failure> {
    match person {
        Person::Customer(id) => {
            let slot = Slot::of(id.as_str().as_bytes());
            let hosted = shell.hosted(shell.map.orders_group(slot)?)?;
            // The leader's answer alone says that there is nothing.
            let adopting = |machine: &OrdersMachine| {
                let mut births = machine.state.births.iter();
                births.any(|(_, row)| row.phase == Phase::Adopting)
            };
            // Of copies that wait to be adopted nobody can tell yet which are his.
            match hosted.group.read(due, adopting).await.map_err(not_read)? {
                true => Err(moving()),
                false => Ok(Found { hosted, slot, subject: Some(personal::customer(shell, id)?) }),
            }
        }
        Person::Guest(name) => {
            let id = shell.map.check_name(name)?;
            let slot = id.slot();
            let hosted = shell.hosted(shell.map.orders_group(slot)?)?;
            // What is left of it here, where another region has it since.
            let former = |machine: &OrdersMachine| {
                let state = &machine.state;
                let row = state.births.get(id.region());
                let away = row.is_some_and(|row| matches!(row.phase, Phase::Elsewhere { .. }));
                let left = || state.contents.get(&id).map(|c| (c.sealed_with.subject, c.guest));
                away.then(left)
            };
            if let Some(left) = hosted.group.read(due, former).await.map_err(not_read)? {
                let own = left.filter(|(subject, guest)| *guest && subject.home == shell.number);
                return Ok(Found { hosted, slot, subject: own.map(|(subject, _)| subject) });
            }
            shell.home_of(id)?;
            // One that was taken over has a subject of this region's.
            shell.adopt_first(hosted, id, due).await?;
            if id.region() != shell.number && !shell.keeps(id) {
                return Ok(Found { hosted, slot, subject: None });
            }
            let (subject, guest) =
                hosted.read(id, due, |_, c| (c.sealed_with.subject, c.guest)).await?;
            match guest {
                true => Ok(Found { hosted, slot, subject: Some(subject) }),
                false => {
                    let why = "the order of a guest; name a customer by his id";
                    Err(Failure::field(Reason::FieldInvalid, "order", why))
                }
            }
        }
    }
}

/// Where the person lived, as his orders say.
pub fn residences(
    hosted: &Hosted,
    subject: SubjectId,
    named: Option<Country>,
) -> BTreeSet<Country> {
    hosted.group.peek(|machine| {
        let state = &machine.state;
        let orders = state.subjects.orders_of(subject);
        let lived = orders.filter_map(|id| Some(state.contents.get(&id)?.residence));
        let kept = state.moves.kept_of(subject);
        let kept = kept.filter_map(|id| Some(state.moves.kept.get(&id)?.residence));
        lived.chain(kept).chain(named).collect()
    })
}

/// The regions in which the data of residents of these countries may lie by the policy in force,
/// this one first, with those that the subject moved from or to.
///
/// # Errors
/// `UNAVAILABLE` until the directory is known.
pub fn lawful(
    shell: &Shell,
    (hosted, subject): (&Hosted, Option<SubjectId>),
    residences: BTreeSet<Country>,
) -> Result<Vec<String>, Failure> {
    let now = shell.map.now()?;
    // Under a law that was replaced not long ago he may have lived elsewhere, and be known there.
    let former = now.former.iter().map(|former| &former.policy);
    let laws: Vec<_> = std::iter::once(&now.policy).chain(former).collect();
    let lives = |name: &RegionName| {
        let by = |residence| {
            let mut laws = laws.iter();
            laws.any(|all| all.of_country(residence).is_some_and(|law| all.may_live_in(law, name)))
        };
        residences.iter().any(|residence| by(*residence))
    };
    let moved: Vec<RegionNumber> = hosted.group.peek(|machine| {
        let moves = &machine.state.moves;
        let lived = subject.and_then(|subject| moves.get(subject)).map(|row| row.lived.clone());
        let carry = subject.and_then(|subject| moves.carries.get(&subject)).map(Carry::region);
        lived.unwrap_or_default().into_iter().chain(carry).collect()
    });
    let asked = |name: &RegionName| {
        lives(name) || now.number(name).is_some_and(|number| moved.contains(&number))
    };
    let others = shell.map.others().into_iter().filter(asked);
    Ok(std::iter::once(shell.region.clone()).chain(others).map(|name| name.to_string()).collect())
}

/// Whether the other region was not reached, or nobody leads there now: asking about somebody else
/// would not come to more.
pub fn not_reached(failure: &Failure) -> bool {
    use Reason::{DeadlineExceeded, HomeUnreachable, Unavailable};
    matches!(failure.reason(), HomeUnreachable | Unavailable | DeadlineExceeded)
}

/// Whether a region may be asked to take orders of residents of a country, by the policy in force
/// or one that it replaced not long ago.
pub fn may_be_home(now: &Snapshot, residence: Country, region: &RegionName) -> bool {
    let former = now.former.iter().map(|former| &former.policy);
    let mut laws = std::iter::once(&now.policy).chain(former);
    laws.any(|all| all.of_country(residence).is_some_and(|law| all.may_live_in(law, region)))
}

/// Whether a region may hear of a class of what residents of these countries have.
///
/// # Errors
/// `NO_LAWFUL_REGION` with the rule that keeps it out, or where no country is known.
pub fn may_be_told(
    now: &Snapshot,
    lived: &BTreeSet<Country>,
    class: DataClass,
    region: &RegionName,
) -> Result<(), Failure> {
    if lived.is_empty() {
        let why = "where he lived is not known here, and so not by whose law he may be asked about";
        return Err(Failure::new(Reason::NoLawfulRegion, why));
    }
    for residence in lived {
        let law = now.policy.of_country(*residence);
        if law.is_none_or(|law| !now.policy.may_store(law, class, region)) {
            let name = law.map_or_else(|| residence.to_string(), |law| law.name.to_string());
            let rule = format!("jurisdiction.{name}.{}", class_name(class));
            let why = format!("{rule} does not let {region} hear of residents of {residence}");
            return Err(Failure::new(Reason::NoLawfulRegion, why).with("rule", rule));
        }
    }
    Ok(())
}

/// Whether a customer who lives in `residence` may live in a region: where the law puts him, or
/// where it keeps what serving him takes.
///
/// # Errors
/// `NO_LAWFUL_REGION` with the rule that does not admit it.
pub fn admitted(now: &Snapshot, residence: Country, region: &RegionName) -> Result<(), Failure> {
    let Some(law) = now.policy.of_country(residence) else {
        let why = format!("no rule of the residency policy places {residence}");
        return Err(Failure::new(Reason::NoLawfulRegion, why));
    };
    let Some(class) = heir::withheld(&now.policy, law, region) else { return Ok(()) };
    let rule = format!("jurisdiction.{}.{}", law.name, class_name(class));
    let why = format!("{rule} does not have {region} keep what residents of {residence} need");
    Err(Failure::new(Reason::NoLawfulRegion, why).with("rule", rule))
}
