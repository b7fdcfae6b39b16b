//! The vault's file and the power: what is used lies there durably, or the node ends.

use std::path::Path;
use std::sync::Arc;

use hansa_consensus::testing::env;
use hansa_node::env::test::RecordedExit;
use hansa_wal::fs::{Op, Rule, SimFs};

use super::newest;
use crate::vault::{FileVault, Vault as _};

/// Nodes whose vault is one file on a disk that they share.
fn sharing(disk: &SimFs, path: &Path) -> (FileVault, Arc<RecordedExit>) {
    let (env, exit) = env("test");
    (FileVault::open(Arc::new(disk.clone()), path, &env).unwrap(), exit)
}

#[tokio::test]
async fn a_sync_of_the_file_that_fails_is_the_nodes_end_and_no_repeat_says_otherwise() {
    let path = Path::new("/shared/region.key");
    for on in [Path::new("/shared"), path] {
        let disk = SimFs::new(1);
        let (vault, exit) = sharing(&disk, path);
        vault.make().await.unwrap();
        let former = newest(&vault).await;
        let of_file = on == path;
        let rule = Rule::once(Op::Sync);
        // The folder's first sync is of what is read, the second of what is put in its place.
        disk.inject(if of_file { rule.on("region.new-") } else { rule.at(on).after(1) });
        assert!(vault.rotate(former, 1, 1).await.is_err());
        assert_eq!(exit.whys().len(), 1, "{:?}", exit.whys());
        assert!(exit.whys()[0].starts_with("sync /shared"), "{:?}", exit.whys());
        assert!(vault.rotate(former, 1, 1).await.is_err(), "nobody asks the disk again");
        assert!(vault.keys().await.is_err());
    }
}

#[tokio::test]
async fn a_key_that_is_read_is_there_after_a_power_cut_whoever_failed_to_sync_it() {
    let path = Path::new("/shared/region.key");
    for seed in 0..16 {
        let disk = SimFs::new(seed);
        let (one, exit) = sharing(&disk, path);
        one.make().await.unwrap();
        let former = newest(&one).await;
        disk.inject(Rule::once(Op::Sync).at(Path::new("/shared")).after(1));
        assert!(one.rotate(former, 1, 1).await.is_err());
        assert_eq!(exit.whys().len(), 1);
        let (other, exit) = sharing(&disk, path);
        let made = newest(&other).await;
        assert_ne!(made, former, "the name is there, until the power goes");
        let again = other.rotate(former, 1, 1).await.unwrap();
        assert_eq!(again.key, made, "it is made already");
        disk.crash();
        assert_eq!(newest(&sharing(&disk, path).0).await, made);
        assert_eq!(exit.whys(), Vec::<String>::new());
    }
}
