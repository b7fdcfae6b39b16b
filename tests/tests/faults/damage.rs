//! A file that is not what was written: found when the node opens it, named, and not served from.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hansa_api::pb::admin::{GroupReplica, ReplicaRole};
use hansa_tests::load::{Load, Shape};
use hansa_tests::processes::{HOME, Processes, Shape as House};
use hansa_tests::suite;
use tokio::time::Instant;

use crate::BACK_WITHIN;

/// Files of a node whose name holds `part`, in order.
fn files(league: &Processes, node: &str, folder: &str, part: &str) -> Vec<PathBuf> {
    let folder = league.config(node).data_dir.join(folder);
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut found: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    found.retain(|path| path.to_string_lossy().contains(part));
    found.sort();
    found
}

/// Flips one bit in the middle of what was written to a file; where.
fn flip(file: &Path) -> usize {
    let mut bytes = std::fs::read(file).expect("a file");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("a byte that is not zero");
    // Segments begin with a header of one block.
    let at = end / 2;
    assert!(at > 4_096, "{}: too little in it", file.display());
    bytes[at] ^= 0x10;
    suite::fault("flipped bit");
    std::fs::write(file, bytes).expect("a file that can be written");
    at
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_flipped_bit_in_its_log_does_not_start_and_names_the_file() {
    let mut league = Processes::start_region("flip-log").await;
    let load = Load::start(&league, Shape::default()).await;
    load.progress(40, BACK_WITHIN).await;
    // Not the first: its gateway is the one that is asked afterwards.
    let victim = league.names().remove(2);
    league.kill(&victim);
    let segment = files(&league, &victim, "wal", ".seg").remove(0);
    flip(&segment);
    league.run(&victim);
    let status = league.exited(&victim, BACK_WITHIN).await;
    assert!(!status.success(), "it served from a damaged log");
    let log = league.log(&victim);
    let named = format!("{}: damaged at byte ", segment.display());
    assert!(log.contains(&named), "`{named}` is not in its log:\n{log}");
    // The others go on, and rebuild it.
    load.progress(10, BACK_WITHIN).await;
    league.operate(&["node", "reseed", &victim, "--no-wait", "--request-id", "r-1"]).await;
    league.run(&victim);
    league.operate(&["node", "reseed", &victim, "--wait", "3m", "--request-id", "r-1"]).await;
    league.ready().await;
    crate::finish(&league, load).await;
}

/// The replica does not serve, and is listed with file and offset; the node's other groups and the
/// region go on; rebuilt under a new id, the node serves all of them again.
#[tokio::test(flavor = "multi_thread")]
async fn damage_of_a_group_stops_that_group_only_until_the_node_is_reseeded() {
    let house = House::region("flip-checkpoint").with(|config| config.log.checkpoint_entries = 100);
    let mut league = house.start().await;
    let load = Load::start(&league, Shape::default()).await;
    // Not the first: its gateway is the one that is asked afterwards.
    let victim = league.names().remove(2);
    let deadline = Instant::now() + BACK_WITHIN;
    while files(&league, &victim, "groups/orders-0", "ckpt").len() < 2 {
        assert!(Instant::now() < deadline, "no checkpoints are written");
        load.progress(10, BACK_WITHIN).await;
    }
    let former = replicas(&league, &victim).await[0].node;
    league.kill(&victim);
    // Beside a good one a damaged checkpoint costs nothing: none is left good.
    let checkpoints = files(&league, &victim, "groups/orders-0", "ckpt");
    checkpoints.iter().for_each(|file| flip_each(file, usize::MAX));
    let archive = files(&league, &victim, "groups/payments-0", "archive").remove(0);
    flip_each(&archive, 4_104);
    league.run(&victim);
    load.progress(10, BACK_WITHIN).await;

    let newest = checkpoints.last().expect("a checkpoint");
    for file in [newest, &archive] {
        let named = format!("{}: damaged at byte ", file.display());
        eventually(&format!("`{named}` in the list of groups"), async || {
            let replicas = replicas(&league, &victim).await;
            replicas.iter().any(|r| r.stopped.contains(&named))
        })
        .await;
    }
    eventually("its other groups follow", async || {
        let replicas = replicas(&league, &victim).await;
        let serving = replicas.iter().filter(|r| r.stopped.is_empty() && r.leader_node != 0);
        let stopped = replicas.iter().filter(|r| r.role() == ReplicaRole::Stopped);
        stopped.count() == 2 && serving.count() + 2 == replicas.len() && replicas.len() >= 4
    })
    .await;
    let listed = league.operate(&["group", "list"]).await;
    assert!(listed.contains("stopped") && listed.contains("damaged at byte"), "{listed}");
    load.progress(10, BACK_WITHIN).await;

    league.operate(&["node", "reseed", &victim, "--no-wait", "--request-id", "r-1"]).await;
    // It hears that its id is retired, and ends; whatever keeps it running starts it again.
    let ended = league.exited(&victim, BACK_WITHIN).await;
    assert!(!ended.success(), "it went on under an id that is retired");
    league.run(&victim);
    league.operate(&["node", "reseed", &victim, "--wait", "3m", "--request-id", "r-1"]).await;
    league.ready().await;
    let replicas = replicas(&league, &victim).await;
    assert!(replicas.iter().all(|r| r.stopped.is_empty() && r.node != former), "{replicas:?}");
    load.progress(10, BACK_WITHIN).await;
    crate::finish(&league, load).await;
}

/// Flips one bit in the middle of each `stride` bytes of a file.
fn flip_each(file: &Path, stride: usize) {
    let mut bytes = std::fs::read(file).expect("a file");
    for part in bytes.chunks_mut(stride) {
        let middle = part.len() / 2;
        part[middle] ^= 0x10;
        suite::fault("flipped bit");
    }
    std::fs::write(file, bytes).expect("a file that can be written");
}

/// A node's replicas, as they are listed.
async fn replicas(league: &Processes, node: &str) -> Vec<GroupReplica> {
    let groups = league.groups(HOME).await;
    let all = groups.into_iter().flat_map(|group| group.replicas);
    all.filter(|replica| replica.node_name == node).collect()
}

async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + BACK_WITHIN;
    while !done().await {
        assert!(Instant::now() < deadline, "not within {BACK_WITHIN:?}: {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
