//! Records read by key, off the runtime: in memory, on the disk, and of a replica that stopped.

use bytes::Bytes;
use tokio::time::Instant;

use crate::testing::counter::{CLOSED, Counters};
use crate::testing::{Cluster, soon};
use crate::{Archived, ReadError};

async fn close(cluster: &Cluster<Counters>, name: &str, value: i64) {
    cluster.submit(format!("add {name} {value}")).await;
    cluster.submit(format!("close {name}")).await;
}

fn value_of(found: &Option<Bytes>) -> Option<i64> {
    found.as_ref().map(|value| i64::from_le_bytes(value[..].try_into().unwrap()))
}

#[tokio::test(start_paused = true)]
async fn the_newest_is_found_whether_it_is_on_the_disk_yet_or_not() {
    let cluster = Cluster::paused(Counters::default).await;
    close(&cluster, "old", 1).await;
    close(&cluster, "again", 2).await;
    let group = cluster.group(cluster.leader().await);
    group.checkpoint().await;
    close(&cluster, "again", 3).await;
    close(&cluster, "new", 4).await;
    let read = |archive: &Archived| {
        let one = |key: &[u8]| archive.get(CLOSED, key).unwrap();
        let keys: [&[u8]; 5] = [b"new", b"old", b"none", b"again", b"old"];
        let many = archive.get_many(CLOSED, &keys).unwrap();
        assert_eq!(many, keys.map(one));
        let scanned = archive.scan(CLOSED, b"", 10).unwrap();
        assert_eq!(
            scanned,
            [b"again".as_slice(), b"new", b"old"]
                .map(|key| (Bytes::copy_from_slice(key), one(key).unwrap()))
        );
        let all: Vec<Bytes> = scanned.into_iter().map(|(key, _)| key).collect();
        assert_eq!(archive.keys(CLOSED, b"", 10).unwrap(), all);
        assert_eq!(archive.keys(CLOSED, b"new", 10).unwrap(), all[1..]);
        assert_eq!(archive.keys(CLOSED, b"", 2).unwrap(), all[..2]);
        assert_eq!(archive.keys(CLOSED + 1, b"", 2).unwrap(), Vec::<Bytes>::new());
        many
    };
    for durable in [false, true] {
        if durable {
            group.checkpoint().await;
        }
        let many = group.archived(soon(), read).await.unwrap();
        let values: Vec<_> = many.iter().map(value_of).collect();
        assert_eq!(values, [Some(4), Some(1), None, Some(3), Some(1)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_that_stopped_shows_no_records() {
    let mut cluster = Cluster::paused(Counters::default).await;
    close(&cluster, "a", 1).await;
    let leader = cluster.leader().await;
    let group = cluster.group(leader).clone();
    let look = |archive: &Archived| archive.get(CLOSED, b"a").unwrap().is_some();
    assert_eq!(group.archived(soon(), look).await, Ok(true));
    assert_eq!(group.archived(Instant::now(), look).await, Err(ReadError::Deadline));
    cluster.kill(leader).await;
    assert_eq!(group.archived(soon(), look).await, Err(ReadError::Stopped));
}
