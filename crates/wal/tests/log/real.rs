//! The same log on a real disk, with its loops on real threads.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use hansa_node::env::Env;
use hansa_wal::fs::RealFs;
use hansa_wal::{Config, OpenError, Recovery, Wal};

use crate::rig::{all, append, entries, group, small, vote};

fn open(dir: &Path, config: Config) -> Result<(Wal, Recovery), OpenError> {
    Wal::open(Arc::new(RealFs), dir, config, &Env::real("test"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_on_a_real_disk_reopens_with_all_it_acknowledged() {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = temp.path().join("a/log");
    let config = Config { segment_bytes: 256 << 10, disk_bytes_max: 2 << 20, ..small() };
    let (wal, recovery) = open(&dir, config.clone()).expect("open");
    assert!(recovery.fresh);
    let second = open(&dir, config.clone()).err().expect("locked");
    assert!(matches!(second, OpenError::Locked { .. }), "{second}");
    for round in 0..40 {
        for n in 0..4 {
            let g = group(n);
            let from = round * 20 + 1;
            append(&wal, g, entries(g, from..=from + 19)).await.expect("durable");
        }
    }
    vote(&wal, group(1), "v").await.expect("durable");
    wal.purge(group(2), 700, Bytes::from("p"));
    wal.truncate_after(group(3), Some(10));
    wal.close().await.expect("closed");

    let (wal, recovery) = open(&dir, config).expect("open again");
    assert_eq!(recovery.cut, None);
    assert_eq!(all(&wal, group(0)), entries(group(0), 1..=800));
    assert_eq!(wal.state(group(1)).expect("state").vote, Some(Bytes::from("v")));
    assert_eq!(all(&wal, group(2)), entries(group(2), 701..=800));
    assert_eq!(all(&wal, group(3)), entries(group(3), 1..=10));
    append(&wal, group(3), entries(group(3), 11..=20)).await.expect("goes on");
    wal.close().await.expect("closed");
}
