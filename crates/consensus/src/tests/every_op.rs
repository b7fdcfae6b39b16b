//! Every operation on the disk of a scripted node, one after the other: the power goes just before
//! it, what was not synced is lost or torn, or it fails. What was acknowledged is there afterwards,
//! or the node refuses; what it answers is never wrong.

use hansa_types::id::NodeId;
use hansa_wal::fs::{Fs as _, Op, Rule};

use super::lasting::{SECRET, audited, holds};
use crate::outcome::Role;
use crate::testing::counter::{CLOSED, Counters};
use crate::testing::{Cluster, Settings, group_id, soon};
use crate::timing::Timing;

const NODE: NodeId = NodeId(1);
const ADDS: i64 = 24;

/// What the script was told.
#[derive(Debug, Default)]
struct Acked {
    adds: i64,
    closed: Vec<String>,
}

async fn cluster(seed: u64) -> Cluster<Counters> {
    let timing = Timing { checkpoint_entries: 1_000_000, ..Timing::quick() };
    let settings = Settings { nodes: 1, timing, disks: Some(seed), ..Settings::paused() };
    let cluster = Cluster::with(settings, Counters::default).await;
    // Accepted once, so that the script does not begin before its leader does.
    cluster.submit("none").await;
    cluster
}

/// Entries, votes, checkpoints, purges, archive; until the disk gives up.
async fn script(cluster: &Cluster<Counters>) -> Acked {
    let mut acked = Acked::default();
    let group = cluster.group(NODE);
    for n in 1..=ADDS {
        if group.submit("add a 1".into(), soon()).await.is_err() {
            return acked;
        }
        acked.adds += 1;
        if n % 6 == 0 {
            let name = format!("gone{n}");
            let filled = group.submit(format!("add {name} 1").into(), soon()).await.is_ok();
            let closed = group.submit(format!("close {name}").into(), soon()).await.is_ok();
            if !filled || !closed {
                return acked;
            }
            acked.closed.push(name);
            if group.submit(format!("secret {SECRET} {n}").into(), soon()).await.is_err() {
                return acked;
            }
            let written =
                tokio::time::timeout(std::time::Duration::from_secs(2), group.checkpoint());
            if written.await.is_err() {
                return acked;
            }
        }
    }
    acked
}

/// What was acknowledged must be there; `Err` says why the node refuses.
async fn check(cluster: &mut Cluster<Counters>, acked: &Acked, what: &str) -> Result<(), String> {
    let booted = cluster.try_boot(NODE).await.map_err(|e| e.to_string())?;
    if let Some(status) = booted.host.statuses().first()
        && status.role == Role::Stopped
    {
        return Err(status.stopped.clone().unwrap_or_default());
    }
    cluster.plug_in(NODE, booted);
    cluster.leader().await;
    let group = cluster.group(NODE);
    let found = group.read(soon(), |m| m.value("a")).await.unwrap();
    assert!(found == acked.adds || found == acked.adds + 1, "{what}: {found} of {acked:?}");
    for name in &acked.closed {
        let value = group.archive_get(CLOSED, name.as_bytes()).unwrap();
        assert_eq!(value.as_deref(), Some(&1i64.to_le_bytes()[..]), "{what}: {name}");
    }
    let full = group.archive_scan(CLOSED, b"", 1_000).unwrap();
    assert!(full.len() >= acked.closed.len(), "{what}");
    group.checkpoint().await;
    audited(cluster, NODE).await;
    let folder = cluster.dir(NODE).join("groups").join(group_id().to_string());
    let archive = cluster.disk(NODE).read(&folder.join("archive.redb"), u64::MAX).unwrap();
    assert!(!holds(&archive), "{what}: what does not last is in the archive");
    Ok(())
}

/// Bounds how many places a quick run tries; `EVERY_OP=1` tries them all.
fn stride(ops: u64) -> usize {
    match std::env::var("EVERY_OP") {
        Ok(_) => 1,
        Err(_) => (ops / 12).max(1) as usize,
    }
}

#[tokio::test(start_paused = true)]
async fn the_power_may_go_at_any_operation() {
    let mut tried = 0;
    let ops = {
        let cluster = cluster(1).await;
        cluster.disk(NODE).cut_power_after(1_000_000);
        script(&cluster).await;
        1_000_000 - cluster.disk(NODE).cut_power_left().unwrap()
    };
    assert!(ops > 0, "the script changed nothing");
    for at in (0..ops).step_by(stride(ops)) {
        let mut cluster = cluster(at).await;
        cluster.disk(NODE).cut_power_after(at);
        let acked = script(&cluster).await;
        cluster.kill(NODE).await;
        cluster.disk(NODE).crash();
        let what = format!("power cut before operation {at}");
        check(&mut cluster, &acked, &what).await.unwrap_or_else(|why| panic!("{what}: {why}"));
        tried += 1;
    }
    println!("power cuts: {tried} places of {ops} operations");
}

#[tokio::test(start_paused = true)]
async fn any_write_or_sync_may_fail() {
    let (mut tried, mut refused) = (0, 0);
    for op in [Op::Write, Op::Sync] {
        let most = 160;
        for at in (0..most).step_by(stride(most)) {
            let mut cluster = cluster(at).await;
            let disk = cluster.disk(NODE).clone();
            disk.inject(Rule::once(op).after(at));
            let acked = script(&cluster).await;
            let ended = !cluster.node(NODE).exit.whys().is_empty();
            cluster.kill(NODE).await;
            disk.crash();
            let what = format!("{op:?} {at} failed, process ended: {ended}");
            // After a failed sync a node may refuse; it never answers wrong.
            refused += u64::from(check(&mut cluster, &acked, &what).await.is_err());
            tried += 1;
        }
    }
    println!("failures: {tried} places, {refused} refused to start");
}
