//! What the verbs about a customer share: where he is looked for, and where else he may be.

use std::collections::BTreeSet;
use std::sync::Arc;

use hansa_api::convert::customer::Person;
use hansa_api::status::{Failure, Reason};
use hansa_types::country::Country;
use hansa_types::region::{RegionName, Slot};
use tokio::time::Instant;

use crate::core::subjects::SubjectId;
use crate::shell::{Hosted, Shell, not_read, personal};

/// The group that keeps a person's orders in this region.
pub struct Found<'a> {
    pub hosted: &'a Arc<Hosted>,
    pub slot: Slot,
    /// `None` for a guest whose order another region has: only that one can make his pseudonym.
    pub subject: Option<SubjectId>,
}

/// # Errors
/// As the verbs: not the leader, no such order.
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
            hosted.group.read(due, |_| ()).await.map_err(not_read)?;
            Ok(Found { hosted, slot, subject: Some(personal::customer(shell, id)?) })
        }
        Person::Guest(name) => {
            let (id, hosted) = shell.find(name)?;
            let slot = id.slot();
            if id.region() != shell.number {
                hosted.group.read(due, |_| ()).await.map_err(not_read)?;
                // One that was taken over has a subject of this region's.
                if !shell.keeps(id) {
                    return Ok(Found { hosted, slot, subject: None });
                }
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
        lived.chain(named).collect()
    })
}

/// The regions in which the data of residents of these countries may lie by the policy in force,
/// this one first.
///
/// # Errors
/// `UNAVAILABLE` until the directory is known.
pub fn lawful(shell: &Shell, residences: BTreeSet<Country>) -> Result<Vec<String>, Failure> {
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
    let others = shell.map.others().into_iter().filter(lives);
    Ok(std::iter::once(shell.region.clone()).chain(others).map(|name| name.to_string()).collect())
}
