//! `hansactl backup restore`: check here, send, check there, and only then commit everywhere.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::try_join_all;
use hansa_api::pb::node::{BeginRestoreRequest, CheckRestoreRequest, CommitRestoreRequest};
use hansa_backup::MANIFEST;

use super::upload::{self, Node};
use super::{Restore, Unknown, bar, disk, epoch, rate, verify};
use crate::connect::Session;
use crate::error::Problem;

const POLL: Duration = Duration::from_millis(200);

pub async fn run(session: &Session, asked: &Restore) -> Result<(), Problem> {
    let began = Instant::now();
    let (manifest, _) = verify::check(&asked.folder).map_err(|damage| {
        let what = format!("{}: {damage}", asked.folder.display());
        Problem::refused(what, "nothing was changed; restore another backup")
    })?;
    let epoch::Fate { epoch, owner } = epoch::fate(session, &manifest, asked.epoch).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let begin = BeginRestoreRequest {
        manifest: read(&asked.folder.join(MANIFEST))?.into(),
        epoch,
        restored_ms: millis(now),
        skew_ms: millis(asked.skew),
        cancel_strays: asked.unknown_payments == Unknown::Cancel,
        owner_region: owner.clone().unwrap_or_default(),
    };
    let nodes = asked.nodes.iter().map(|at| Node::begin(session, &manifest.region, at, &begin));
    let nodes = try_join_all(nodes).await?;
    alike(&nodes)?;
    eprintln!("{} into {} nodes, epoch {epoch}", manifest.id, nodes.len());
    let total = nodes.iter().map(|node| node.wanted_bytes(&manifest)).sum();
    let bar = bar(Some(total));
    bar.set_message("sending");
    try_join_all(nodes.iter().map(|node| upload::all(node, &asked.folder, &bar))).await?;
    bar.finish_and_clear();
    eprintln!("checking on every node");
    try_join_all(nodes.iter().map(check)).await?;
    // From here on it counts; until here nothing has changed.
    try_join_all(nodes.iter().map(commit)).await?;
    println!("{} is back in epoch {epoch}; {}", manifest.region, rate(total, began.elapsed()));
    if let Some(owner) = owner {
        eprintln!("{owner} owns what was born in {}, and goes on", manifest.region);
        eprintln!("next: hansactl region tail {0}, then region failback {0}", manifest.region);
    }
    eprintln!("next: hansactl --region {} backup status", manifest.region);
    Ok(())
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    std::fs::read(path).map_err(|e| disk(path, e))
}

/// Nodes with different configs would make different groups of one backup.
fn alike(nodes: &[Node]) -> Result<(), Problem> {
    for pair in nodes.windows(2) {
        if pair[0].plan != pair[1].plan {
            let what = format!("{} and {} have different configs", pair[0].at, pair[1].at);
            return Err(Problem::refused(what, "give all nodes the same [[league]]"));
        }
    }
    let mut ids: Vec<u64> = nodes.iter().map(|node| node.id).collect();
    ids.sort_unstable();
    ids.dedup();
    match ids.len() == nodes.len() {
        true => Ok(()),
        false => Err(Problem::usage("one node was named twice", "name each new node once")),
    }
}

async fn check(node: &Node) -> Result<(), Problem> {
    loop {
        let answer = node
            .call(|mut client| async move { client.check_restore(CheckRestoreRequest {}).await });
        let answer = answer.await?;
        match (answer.done, answer.damage) {
            (false, _) => tokio::time::sleep(POLL).await,
            (true, damage) if damage.is_empty() => return Ok(()),
            (true, damage) => {
                let what = format!("{}: {damage}", node.at);
                return Err(Problem::refused(what, "nothing was changed"));
            }
        }
    }
}

async fn commit(node: &Node) -> Result<(), Problem> {
    loop {
        let answer = node
            .call(|mut client| async move { client.commit_restore(CommitRestoreRequest {}).await });
        let answer = answer.await?;
        match (answer.done, answer.failure) {
            (false, _) => tokio::time::sleep(POLL).await,
            (true, failure) if failure.is_empty() => return Ok(()),
            (true, failure) => {
                let what = format!("{}: {failure}", node.at);
                return Err(Problem::failed(what, "empty the node's folder and restore again"));
            }
        }
    }
}
