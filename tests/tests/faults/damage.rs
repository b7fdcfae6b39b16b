//! A file that is not what was written: found when the node opens it, named, and not served from.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hansa_api::pb::admin::ReplicaRole;
use hansa_tests::load::{Load, Shape};
use hansa_tests::processes::{HOME, Processes, Shape as House};
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
    std::fs::write(file, bytes).expect("a file that can be written");
    at
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_flipped_bit_in_its_log_does_not_start_and_names_the_file() {
    let mut league = Processes::start_region("flip-log").await;
    let load = Load::start(&league, Shape::default()).await;
    load.progress(40, BACK_WITHIN).await;
    let victim = league.names().remove(0);
    league.kill(&victim);
    let segment = files(&league, &victim, "wal", ".seg").remove(0);
    flip(&segment);
    league.run(&victim);
    let status = league.exited(&victim, BACK_WITHIN).await;
    assert!(!status.success(), "it served from a damaged log");
    let log = league.log(&victim);
    let named = format!("{}: damaged at byte ", segment.display());
    assert!(log.contains(&named), "`{named}` is not in its log:\n{log}");
    // The others go on.
    load.progress(10, BACK_WITHIN).await;
    finish_without(&league, load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_a_checkpoint_stops_its_group_and_no_other() {
    let house = House::region("flip-checkpoint").with(|config| config.log.checkpoint_entries = 100);
    let mut league = house.start().await;
    let load = Load::start(&league, Shape::default()).await;
    let victim = league.names().remove(0);
    let deadline = Instant::now() + BACK_WITHIN;
    let checkpoint = loop {
        load.progress(10, BACK_WITHIN).await;
        if let Some(newest) = files(&league, &victim, "groups/orders-0", "ckpt").pop() {
            break newest;
        }
        assert!(Instant::now() < deadline, "no checkpoint is written");
    };
    league.kill(&victim);
    flip_anywhere(&checkpoint);
    league.run(&victim);
    load.progress(10, BACK_WITHIN).await;
    let deadline = Instant::now() + BACK_WITHIN;
    while stopped(&league, &victim).await != ["orders"] {
        assert!(Instant::now() < deadline, "{:?} stopped", stopped(&league, &victim).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let name = checkpoint.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(league.log(&victim).contains(&name), "{name} is not named in its log");
    finish_without(&league, load).await;
}

fn flip_anywhere(file: &Path) {
    let mut bytes = std::fs::read(file).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(file, bytes).expect("a file that can be written");
}

/// Kinds of the groups that a node does not serve.
async fn stopped(league: &Processes, node: &str) -> Vec<String> {
    let mut kinds = Vec::new();
    for group in league.groups(HOME).await {
        let own = group.replicas.iter().find(|replica| replica.node_name == node);
        if own.is_some_and(|own| own.role() == ReplicaRole::Stopped) {
            let name = group.kind().as_str_name().trim_start_matches("GROUP_KIND_");
            kinds.push(name.to_lowercase());
        }
    }
    kinds
}

/// Two of three replicas are left: nothing may be lost, but hashes of three cannot be compared.
async fn finish_without(league: &Processes, load: Load) {
    let run = load.stop().await;
    let settled = hansa::invariants::settle(&league.doors, 2 * BACK_WITHIN).await;
    assert!(settled.all_held(), "{}", settled.lines().join("\n"));
    let judgement = hansa_checker::judge(&run.history, &[], None, hansa_checker::BUDGET);
    assert!(judgement.verdict.passed(), "{judgement}");
}
