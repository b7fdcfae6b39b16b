//! Facts of a region's groups: orders are frozen first, then the books, so that whatever the books
//! hold was intended by then. All are put aside at once, each over a connection of its own, so that
//! no group waits for another one's reader.

use futures::future::{join_all, try_join_all};
use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::read_facts_response::Part;
use hansa_reconcile::judge::group_name;
use hansa_reconcile::merge::{Facts, Spool};
use hansa_types::id::{GroupId, GroupKind};
use tonic::Streaming;

use super::progress::Progress;
use crate::connect::{Role, Session};

/// Orders that one question names: a group looks them up under its lock.
pub const ONLY_MAX: usize = 2_000;
/// A group that is silent for this long is not read.
const SILENT_MAX: std::time::Duration = std::time::Duration::from_secs(60);

/// What is read of each group.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Only these orders, at most [`ONLY_MAX`]; all when there are none.
    pub only: Vec<bytes::Bytes>,
    pub totals_only: bool,
    /// How long all of it may take.
    pub within: std::time::Duration,
}

/// The groups of a region, by kind.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    pub orders: Vec<u32>,
    pub books: Vec<u32>,
}

/// One group's stream whose head has come: it is frozen.
struct Opened {
    group: u32,
    spool: Spool,
    stream: Streaming<pb::ReadFactsResponse>,
}

/// # Errors
/// The region does not answer.
pub async fn groups(session: &Session) -> Result<Groups, crate::error::Problem> {
    let request = pb::ListGroupsRequest { region: session.region() };
    let listed = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.admin.list_groups(request).await
        })
        .await?;
    let mut groups = Groups::default();
    for group in listed.groups.iter().map(|group| group.group) {
        match GroupId::from_number(group).map(GroupId::kind) {
            Some(GroupKind::Orders) => groups.orders.push(group),
            Some(GroupKind::Inventory | GroupKind::Payments) => groups.books.push(group),
            Some(GroupKind::Directory) | None => {}
        }
    }
    Ok(groups)
}

/// Reads groups, orders before books.
///
/// # Errors
/// What could not be read: then nothing is known of any.
pub async fn facts(
    session: &Session,
    groups: &Groups,
    asked: &Asked,
    progress: &Progress,
) -> Result<Vec<Facts>, Vec<String>> {
    let read = tokio::time::timeout(asked.within, read(session, groups, asked, progress));
    read.await.unwrap_or_else(|_| {
        Err(vec![format!("the groups told for longer than {:?} (--read-max)", asked.within)])
    })
}

async fn read(
    session: &Session,
    groups: &Groups,
    asked: &Asked,
    progress: &Progress,
) -> Result<Vec<Facts>, Vec<String>> {
    let mut opened = open(session, &groups.orders, asked).await?;
    opened.extend(open(session, &groups.books, asked).await?);
    let drained = join_all(opened.into_iter().map(|opened| drain(opened, progress))).await;
    let (mut facts, mut failed) = (Vec::new(), Vec::new());
    for drained in drained {
        match drained {
            Ok(read) => facts.push(read),
            Err(why) => failed.push(why),
        }
    }
    if failed.is_empty() { Ok(facts) } else { Err(failed) }
}

async fn open(
    session: &Session,
    groups: &[u32],
    asked: &Asked,
) -> Result<Vec<Opened>, Vec<String>> {
    let opening = groups.iter().map(|group| open_one(session, *group, asked));
    try_join_all(opening).await.map_err(|why| vec![why])
}

async fn open_one(session: &Session, group: u32, asked: &Asked) -> Result<Opened, String> {
    let named = |why: String| format!("{}: {why}", group_name(group));
    let services = session.services(Role::Operator).await;
    let mut client = services.map_err(|problem| named(problem.text()))?.reconcile;
    let request = pb::ReadFactsRequest {
        region: session.region(),
        group,
        orders: asked.only.clone(),
        totals_only: asked.totals_only,
    };
    let mut tries = 0;
    let mut stream = loop {
        match client.read_facts(request.clone()).await {
            Ok(stream) => break stream.into_inner(),
            // An election's worth.
            Err(status) if status.code() == tonic::Code::Unavailable && tries < 20 => {
                tries += 1;
                tokio::time::sleep(std::time::Duration::from_millis(250)).await;
            }
            Err(status) => return Err(named(status.message().to_owned())),
        }
    };
    match next(&mut stream).await.map_err(named)? {
        Some(Part::Head(head)) => {
            let spool = Spool::begin(head).map_err(|error| named(error.to_string()))?;
            Ok(Opened { group, spool, stream })
        }
        _ => Err(named("facts without a head".to_owned())),
    }
}

async fn drain(mut opened: Opened, progress: &Progress) -> Result<Facts, String> {
    let group = opened.group;
    let named = |why: String| format!("{}: {why}", group_name(group));
    loop {
        match next(&mut opened.stream).await.map_err(named)? {
            Some(Part::Page(page)) => {
                opened.spool.page(&page).map_err(|error| named(error.to_string()))?;
                progress.bytes(opened.spool.bytes);
            }
            Some(Part::End(end)) => {
                return opened.spool.end(end).map_err(|error| named(error.to_string()));
            }
            Some(Part::Head(_)) => return Err(named("facts with two heads".to_owned())),
            None => return Err(named("the stream ended early".to_owned())),
        }
    }
}

async fn next(stream: &mut Streaming<pb::ReadFactsResponse>) -> Result<Option<Part>, String> {
    let answer = tokio::time::timeout(SILENT_MAX, stream.message()).await;
    let answer = answer.map_err(|_| "silent for too long".to_owned())?;
    Ok(answer.map_err(|status| status.message().to_owned())?.and_then(|answer| answer.part))
}
