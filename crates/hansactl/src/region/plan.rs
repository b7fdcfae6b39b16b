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

/// The newest epoch that any region which answers soon has heard of. Who does not answer is told
/// by those who do, or at first contact.
pub async fn newest(session: &Session, name: &str, known: &BirthOwner) -> u64 {
    let regions = session.regions();
    let asked = regions.iter().map(|region| timeout(SOON, told(session, region)));
    let mut newest = known.newest_epoch.max(known.epoch);
    for told in join_all(asked).await.into_iter().flatten().flatten() {
        let of = told.births.iter().find(|of| of.birth_region == name);
        newest = newest.max(of.map_or(0, |of| of.newest_epoch.max(of.epoch)));
    }
    newest
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
