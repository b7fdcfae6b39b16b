//! A group that keeps its books: its parts by their own handles, its folder, its backup.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use hansa_backup::{Manifest, verify};
use hansa_consensus::testing::backup::{Memory, copy};
use hansa_consensus::testing::{Cluster, Settings, eventually, group_id, soon};
use hansa_consensus::{Exports, Group, GroupSpec, RestoredGroup, check_state};
use hansa_ledger::core::inventory::Inventory;
use hansa_ledger::core::payments::Payments;
use hansa_ledger::machine::POSTINGS;
use hansa_orders::machine::OrdersMachine;
use hansa_types::id::{GroupId, GroupKind, NodeId};
use hansa_wal::fs::{Fs, SimFs};

use super::joint;
use super::story::Story;
use crate::machine::{Outcome, Shard};

const NODE: NodeId = NodeId(1);

struct Parts {
    orders: Group<OrdersMachine>,
    stock: Group<Inventory>,
    money: Group<Payments>,
}

/// What a group has, in words that do not depend on who asks.
#[derive(Debug, PartialEq)]
struct Has {
    digest: String,
    orders: usize,
    postings: [Vec<(Bytes, Bytes)>; 2],
}

impl Parts {
    fn of(whole: &Group<Shard>) -> Self {
        let id = |kind| GroupId::new(kind, 0);
        let orders = whole.part(id(GroupKind::Orders)).unwrap();
        let stock = whole.part(id(GroupKind::Inventory)).unwrap();
        Self { orders, stock, money: whole.part(id(GroupKind::Payments)).unwrap() }
    }

    fn has(&self) -> Has {
        let stock = self.stock.archive_scan(POSTINGS, b"", 10_000).unwrap();
        let money = self.money.archive_scan(POSTINGS, b"", 10_000).unwrap();
        Has {
            digest: self.orders.status().state_hash.to_string(),
            orders: self.orders.peek(|machine| machine.state.orders.len()),
            postings: [stock, money],
        }
    }

    async fn live(&self, story: &mut Story, rounds: usize) {
        for _ in 0..rounds {
            let orders = self.orders.peek(|machine| story.orders(machine));
            let (stock, money) = (story.stock(), story.money());
            let (orders, stock, money) = tokio::join!(
                self.orders.submit(orders.into(), soon()),
                self.stock.submit(stock.into(), soon()),
                self.money.submit(money.into(), soon()),
            );
            assert!(orders.is_ok() && stock.is_ok() && money.is_ok());
        }
    }
}

async fn cluster(groups: Vec<GroupId>) -> Cluster<Shard> {
    let cluster = Cluster::with(Settings { nodes: 1, groups, ..Settings::paused() }, joint).await;
    cluster.leader().await;
    cluster
}

async fn backup(cluster: &Cluster<Shard>) -> (Memory, Manifest) {
    let exports = Exports::new(cluster.node(NODE).host.clone());
    let index = exports.read_index(group_id(), soon()).await.unwrap();
    let cut = exports.freeze("b-1", group_id(), index, soon()).await.unwrap();
    let made = copy(&exports, &cut, usize::MAX).await;
    exports.end("b-1");
    made
}

fn fine(_: &Outcome) -> Result<(), String> {
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_group_with_books_comes_back_from_its_disk_and_from_its_backup() {
    let mut cluster = cluster(vec![group_id()]).await;
    let mut story = Story::new(5);
    Parts::of(cluster.group(NODE)).live(&mut story, 40).await;
    let before = Parts::of(cluster.group(NODE)).has();
    assert!(before.orders > 3 && before.postings.iter().all(|of| of.len() > 3), "{before:?}");
    // Once from the log, once from a checkpoint.
    for checkpointed in [false, true] {
        if checkpointed {
            cluster.group(NODE).checkpoint().await;
        }
        cluster.kill(NODE).await;
        cluster.boot(NODE).await;
        cluster.leader().await;
        assert_eq!(Parts::of(cluster.group(NODE)).has(), before);
    }

    let (files, manifest) = backup(&cluster).await;
    verify(&files, &manifest, &mut |_| {}).expect("what we write verifies");
    let (group, scratch) = (manifest.groups[0].clone(), Path::new("/scratch"));
    let fs: Arc<dyn Fs> = Arc::new(SimFs::new(1));
    fs.create_dir_all(scratch).unwrap();
    check_state::<Shard>(&fs, scratch, &files, &group, None).unwrap();
    assert!(check_state::<OrdersMachine>(&fs, scratch, &files, &group, None).is_err());

    let elsewhere = self::cluster(vec![GroupId::new(GroupKind::Orders, 7)]).await;
    let host = &elsewhere.node(NODE).host;
    let (id, members) = (group_id(), vec![NODE]);
    let plan = RestoredGroup { id, members: members.clone(), first: Vec::new() };
    host.restore_group::<Shard>(Arc::new(files), group, plan, fine).await.unwrap();
    let restored = host.start_group(GroupSpec { id, members }, joint).await.unwrap();
    eventually("it leads", || restored.leadership().borrow().mine).await;
    let parts = Parts::of(&restored);
    assert_eq!(parts.has(), before);
    parts.live(&mut story, 5).await;
}
