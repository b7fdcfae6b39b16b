//! Records on their way: each region's directory asks every other one, again and again.

use std::time::Duration;

use futures::future::join_all;
use hansa_api::pb::directory as pb;
use hansa_api::pb::directory::ownership_service_client::OwnershipServiceClient;
use hansa_api::status::{Failure, Reason};
use hansa_node::env::Env;
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_node::tasks::OnError;
use hansa_types::region::RegionName;

use super::ask::within;
use super::keepers;
use crate::book::Book;
use crate::change::change;
use crate::core::directory::{Command, REGIONS_MAX, Snapshot};
use crate::core::standing::{Heed, Standing};
use crate::directory::Directory;
use crate::forward::Upstreams;
use crate::metrics;
use crate::wire::loss::{known_of, known_pb, record_of, record_pb};

/// Between two rounds: a region that comes back hears within it, whoever else it talks to.
const EVERY: Duration = Duration::from_secs(1);
/// For one region's answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How long a record that was taken in may take to reach this node's own copy.
const SEEN_MAX: Duration = Duration::from_secs(1);

/// Has the directory's leader keep the region told of what others know.
pub fn start<U: Upstreams>(env: &Env, directory: Directory, upstreams: U) {
    let stop = env.tasks.stop_token();
    env.tasks.spawn("ownership-exchange", OnError::StopNode, async move {
        stop.run_until_cancelled(run(&directory, &upstreams)).await;
    });
}

async fn run<U: Upstreams>(directory: &Directory, upstreams: &U) {
    let book = directory.book();
    loop {
        if let Some(now) = book.now().filter(|_| directory.leads()) {
            round(upstreams, &book, &now).await;
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn round<U: Upstreams>(upstreams: &U, book: &Book, now: &Snapshot) {
    let others = now.regions.iter().filter(|(number, _)| **number != now.here);
    let others: Vec<_> = others.map(|(_, region)| region.name.clone()).collect();
    let due = Deadline::after(ANSWER_MAX);
    let asked = join_all(others.iter().map(|other| learn(upstreams, book, other, due))).await;
    for (region, answer) in others.iter().zip(asked) {
        if let Err(failure) = answer {
            tracing::debug!(%region, %failure, "ownership not exchanged");
        }
    }
}

/// Tells a region what is known here and takes in what it knows; called by whoever is told that an
/// epoch has ended.
///
/// # Errors
/// The region or our own directory did not answer.
pub async fn learn<U: Upstreams>(
    upstreams: &U,
    book: &Book,
    region: &RegionName,
    due: Deadline,
) -> Result<(), Failure> {
    let now = book.now().ok_or(Reason::Unavailable)?;
    let own = now.own_region().ok_or(Reason::Unavailable)?;
    let request = pb::ExchangeOwnershipRequest {
        region: own.name.to_string(),
        known: known_pb(&now.owners, &now),
        records: now.records.values().map(|record| record_pb(record, &now)).collect(),
    };
    let mut client = OwnershipServiceClient::new(upstreams.gateway(region));
    let request = outgoing(request, due)?;
    let told = within(due, client.exchange_ownership(request)).await?;
    take_in(upstreams, book, region, &told, due).await
}

/// Commits what `region` knows and this one does not. The directory's leader checks signatures.
pub(super) async fn take_in<U: Upstreams>(
    upstreams: &U,
    book: &Book,
    region: &RegionName,
    told: &pb::ExchangeOwnershipResponse,
    due: Deadline,
) -> Result<(), Failure> {
    let now = book.now().ok_or(Reason::Unavailable)?;
    let standing = Standing::of(&now);
    let mut commands = Vec::new();
    for sent in told.records.iter().take(REGIONS_MAX) {
        // Of a region that is not known here yet: it comes again.
        let Ok(record) = record_of(sent, &now) else { continue };
        let Heed::Take(of) = standing.heeds(&record) else { continue };
        if of.epoch != record.epoch {
            let (birth, told) = (&sent.birth_region, record.epoch);
            let epoch = of.epoch;
            tracing::error!(%region, birth, told, epoch, "two regions owned at once; one gives in");
            metrics::settled();
        }
        commands.push(Command::TakeRecord(Box::new(record)));
    }
    let goes_on = standing.goes_on(&known_of(&told.known, &now));
    let heard = |(birth, ownership)| Command::HeardEpoch { birth, ownership };
    commands.extend(goes_on.into_iter().map(heard));
    for command in commands {
        match change(upstreams, keepers(&now), &command, due).await {
            Ok(changed) => {
                tracing::warn!(%region, ?changed, "a newer epoch was heard of and taken in");
                book.reached(changed.version, SEEN_MAX).await;
            }
            // Somebody else was quicker, or it is nobody's record.
            Err(failure) if failure.reason() == Reason::EpochEnded => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}
