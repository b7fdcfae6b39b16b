//! What is going to be recorded: made of what the regions say now, and signed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::join_all;
use hansa_api::pb::admin::{BirthOwner, GetRegionLossRequest, GetRegionLossResponse};
use hansa_api::pb::directory::OwnershipRecord;
use tokio::time::timeout;

use crate::connect::{Role, Session};
use crate::error::Problem;

/// A region that is lost must not keep the others waiting.
const SOON: Duration = Duration::from_secs(3);

/// Why, and under which ticket.
#[derive(Clone, Debug, clap::Args)]
pub struct Why {
    /// Why, in one line; it is signed and kept.
    #[arg(long)]
    pub reason: String,
    /// The ticket under which it is done.
    #[arg(long)]
    pub ticket: String,
}

/// What a region knows of who owns what.
pub async fn told(session: &Session, region: &str) -> Result<GetRegionLossResponse, Problem> {
    let request = GetRegionLossRequest { region: region.to_owned() };
    let session = session.in_region(region);
    let call = session.call(Role::Operator, request, |mut services, request| async move {
        services.region_loss.get_region_loss(request).await
    });
    call.await
}

/// What is known of one region's births.
pub fn birth<'a>(told: &'a GetRegionLossResponse, name: &str) -> Result<&'a BirthOwner, Problem> {
    told.births.iter().find(|of| of.birth_region == name).ok_or_else(|| {
        let known: Vec<_> = told.births.iter().map(|of| of.birth_region.as_str()).collect();
        let what = format!("{} knows no region {name}", told.region);
        Problem::usage(what, format!("one of: {}", known.join(", ")))
    })
}

/// The same, and what it says of one region's births. A region that came back a moment ago may take
/// itself for their owner still: it is believed if no other one that answers soon knows better.
pub async fn believed(
    session: &Session,
    region: &str,
    name: &str,
) -> Result<(GetRegionLossResponse, BirthOwner), Problem> {
    let told = told(session, region).await?;
    let of = birth(&told, name)?.clone();
    if of.owner_region == region
        && let Some(newer) = overtaken(&of, &everywhere(session, name).await)
    {
        let (owner, epoch) = (&newer.owner_region, newer.epoch);
        let what = format!("{region} has not heard yet that {owner} owns in epoch {epoch}");
        let next = "wait a moment, then repeat: regions that meet tell each other every second";
        return Err(Problem::refused(what, next));
    }
    Ok((told, of))
}

/// Another owner in a newer epoch.
fn overtaken<'a>(of: &BirthOwner, others: &'a [BirthOwner]) -> Option<&'a BirthOwner> {
    let newer =
        |other: &&BirthOwner| other.epoch > of.epoch && other.owner_region != of.owner_region;
    others.iter().filter(newer).max_by_key(|other| other.epoch)
}

/// What each region that answers soon knows of one region's births.
async fn everywhere(session: &Session, name: &str) -> Vec<BirthOwner> {
    let regions = session.regions();
    let asked = regions.iter().map(|region| timeout(SOON, told(session, region)));
    let told = join_all(asked).await.into_iter().flatten().flatten();
    let of =
        |told: GetRegionLossResponse| told.births.into_iter().find(|of| of.birth_region == name);
    told.filter_map(of).collect()
}

/// The newest epoch that any region which answers soon has heard of. Who does not answer is told
/// by those who do, or at first contact.
pub async fn newest(session: &Session, name: &str, known: &BirthOwner) -> u64 {
    let heard = |of: &BirthOwner| of.newest_epoch.max(of.epoch);
    everywhere(session, name).await.iter().map(heard).fold(heard(known), u64::max)
}

/// A record of a newer epoch than `ends`, signed by the operator's own key.
pub fn signed(
    session: &Session,
    record: OwnershipRecord,
    why: &Why,
) -> Result<OwnershipRecord, Problem> {
    let line = |text: &str| !text.trim().is_empty() && !text.contains(char::is_control);
    if !line(&why.reason) || !line(&why.ticket) {
        return Err(Problem::usage("reason and ticket are one line each", "say why, and where"));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let record = OwnershipRecord {
        reason: why.reason.clone(),
        ticket: why.ticket.clone(),
        time_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        ..record
    };
    session.sign(Role::Operator, record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_back_a_moment_ago_is_not_believed_to_own() {
        let of = |owner: &str, epoch| BirthOwner {
            owner_region: owner.into(),
            epoch,
            ..BirthOwner::default()
        };
        let (back, taken) = (of("eu-west", 3), of("eu-central", 4));
        assert_eq!(overtaken(&back, &[back.clone(), taken.clone()]), Some(&taken));
        let home = of("eu-west", 5);
        assert_eq!(overtaken(&home, &[taken, home.clone()]), None, "others have not heard yet");
        assert_eq!(overtaken(&back, &[of("eu-west", 4)]), None, "it goes on in a newer one");
        assert_eq!(overtaken(&back, &[]), None, "nobody answers");
    }
}
