//! A group that keeps its books: its parts by their own handles, its folder, its backup.

use std::collections::BTreeMap;
use std::io::{self, Cursor as Bytes0, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use hansa_backup::manifest::{FORMAT, Group as Entry, Part, hex};
use hansa_backup::part::{frame, head};
use hansa_backup::{Manifest, PartKind, Shelf, verify};
use hansa_consensus::testing::{Cluster, Settings, eventually, group_id, soon};
use hansa_consensus::{Cursor, Exports, Group, GroupSpec, RestoredGroup, check_state, inspect};
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

/// The files of a backup.
struct Memory(BTreeMap<String, Vec<u8>>);

impl Shelf for Memory {
    fn open(&self, path: &str) -> io::Result<Box<dyn Read + Send>> {
        let file = self.0.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Bytes0::new(file)))
    }
}

async fn backup(cluster: &Cluster<Shard>) -> (Memory, Manifest) {
    let exports = Exports::new(cluster.node(NODE).host.clone());
    let index = exports.read_index(group_id(), soon()).await.unwrap();
    let cut = exports.freeze("b-1", group_id(), index, soon()).await.unwrap();
    let heads = PartKind::ALL.into_iter().map(|kind| (kind, (head(kind).to_vec(), 0)));
    let mut files: BTreeMap<PartKind, (Vec<u8>, u64)> = heads.collect();
    let mut chunks = exports.read("b-1", cut.group, Cursor::default()).unwrap();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.unwrap();
        let file = files.get_mut(&chunk.part).unwrap();
        file.0.extend_from_slice(&frame(chunk.position, &chunk.data));
        file.1 += 1;
    }
    exports.end("b-1");
    let part = |(kind, (bytes, frames)): (&PartKind, &(Vec<u8>, u64))| Part {
        kind: *kind,
        bytes: bytes.len() as u64,
        frames: *frames,
        blake3: hex(&inspect::hash(bytes)),
    };
    let name = cut.group.to_string();
    let group = Entry {
        name: name.clone(),
        group: cut.group.number(),
        node: cut.node.0,
        index: cut.index,
        term: cut.term,
        log_time_ms: cut.time.ms(),
        state_hash: cut.state_hash.to_string(),
        chain_head: hex(&cut.chain_head),
        records: cut.records,
        parts: files.iter().map(part).collect(),
    };
    let mut manifest = Manifest {
        format: FORMAT,
        id: "b-1".into(),
        region: "eu-west".into(),
        number: 1,
        epoch: 1,
        cut_ms: 0,
        keep_until_ms: u64::MAX,
        groups: vec![group],
        hash: String::new(),
    };
    manifest.seal();
    let named = files.into_iter().map(|(kind, (of, _))| (format!("{name}/{}", kind.as_str()), of));
    (Memory(named.collect()), manifest)
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
