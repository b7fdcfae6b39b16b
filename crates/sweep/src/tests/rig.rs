//! A node of us-east with an orders group, and what is planted in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use hansa_api::classes::{ClassSet, DataClass, Lawful as _};
use hansa_api::pb::order as wire;
use hansa_api::pb::replication::{OrderView, SealedBlock};
use hansa_consensus::Timing;
use hansa_consensus::testing::{Cluster, Settings, eventually};
use hansa_orders::core::command::{Accept, Command};
use hansa_orders::core::contents::{Contents, Sealed, Token};
use hansa_orders::core::keys::{Key, Scope};
use hansa_orders::core::lasting;
use hansa_orders::core::remote::{
    Batch, Held, Origin, Reduced, Reduction, RemoteEvent, RemoteStep, Shown,
};
use hansa_orders::core::settings::Settings as Rules;
use hansa_orders::core::subjects::{KeyOf, RegionKey, SubjectId, Wrapped};
use hansa_orders::machine::OrdersMachine;
use hansa_region_router::core::policy::Policy;
use hansa_types::id::{NodeId, OrderId};
use hansa_types::region::{RegionNumber, Slot};
use hansa_types::time::LogTime;
use hansa_wal::fs::{Fs, SimFs};
use prost::Message as _;

use crate::findings::{Found, Verdict};
use crate::{Findings, Law, Root, Sweep};

pub const POLICY: &str = include_str!("../../../../deploy/policy/residency.toml");
pub const DE: &str = "DE";
pub const US: &str = "US";
const BORN: LogTime = LogTime(1_700_000_000_000);

pub fn number(n: u16) -> RegionNumber {
    n.try_into().unwrap()
}

/// Order `n` of a region.
pub fn order(region: u16, n: u64) -> OrderId {
    OrderId::new(BORN, number(region), Slot::of(&n.to_le_bytes()), n)
}

pub fn law(here: &str, at: u16) -> Law {
    Law::new(here.parse().unwrap(), number(at), Arc::new(Policy::parse(POLICY).unwrap()))
}

/// How the orders group of a region decides.
pub fn rules(region: u16) -> Rules {
    Rules {
        region: number(region),
        index: 0,
        groups: 1,
        epoch: 1,
        hold_ttl_ms: 60_000,
        hold_cap_ms: 300_000,
        settle_ms: 30_000,
        funds_ttl_ms: 86_400_000,
        park_after_ms: 3_600_000,
        key_ttl_ms: 86_400_000,
        history_max: 64,
        evict_after_ms: 0,
    }
}

pub struct Rig {
    cluster: Cluster<OrdersMachine>,
}

impl Rig {
    pub async fn start() -> Self {
        Self::start_at(2).await
    }

    /// In the region of this number.
    pub async fn start_at(region: u16) -> Self {
        Self::start_with(region, 1).await
    }

    /// With a checkpoint after so many entries.
    pub async fn start_with(region: u16, checkpoint_entries: u64) -> Self {
        let rules = rules(region);
        let timing = Timing { checkpoint_entries, ..Timing::quick() };
        let settings = Settings { nodes: 1, timing, ..Settings::paused() };
        let cluster = Cluster::with(settings, move || OrdersMachine::new(rules.clone())).await;
        Self { cluster }
    }

    pub async fn submit(&self, command: &Command) {
        self.cluster.submit(command.encode()).await;
    }

    /// The same as the shell does, which blinds what must not last.
    pub async fn submit_blinded(&self, command: &Command) {
        self.cluster.submit(lasting::to_log(command, || [5; 16])).await;
    }

    /// A sweep of the node while it runs, by the law of us-east.
    pub fn live(&self) -> Sweep {
        let fs: Arc<dyn Fs> = Arc::new(self.cluster.disk(NodeId(1)).clone());
        let roots = vec![Root::of(&fs, self.cluster.dir(NodeId(1)), "", true)];
        Sweep::new(roots, Vec::new(), Vec::new(), Findings::new(law("us-east", 2)))
    }

    /// Until the node's disk has nothing but one checkpoint and an empty log.
    pub async fn forget(&self, mark: u64) {
        assert!(self.cluster.group(NodeId(1)).forget(mark).await);
    }

    /// The node's disk as it lies, and its folder.
    pub fn disk(&self) -> (SimFs, PathBuf) {
        let node = NodeId(1);
        (self.cluster.disk(node).fork(1), self.cluster.dir(node))
    }

    /// Until a checkpoint has everything.
    pub async fn checkpointed(&self) {
        let host = self.cluster.node(NodeId(1)).host.clone();
        eventually("a checkpoint of all of it", || {
            let statuses = host.statuses();
            let checkpoint = statuses.iter().map(|status| status.checkpoint.unwrap_or(0)).min();
            checkpoint == statuses.iter().map(|status| status.applied).max()
        })
        .await;
    }

    /// The node's disk, once a checkpoint has everything.
    pub async fn stop(mut self) -> (SimFs, PathBuf) {
        let node = NodeId(1);
        self.cluster.leader().await;
        let group = self.cluster.group(node).clone();
        self.checkpointed().await;
        drop(group);
        let (disk, dir) = (self.cluster.disk(node).clone(), self.cluster.dir(node));
        self.cluster.kill(node).await;
        (disk, dir)
    }
}

/// A sweep of the folder to its end, as us-east's.
pub fn swept(fs: &SimFs, dir: &Path) -> Sweep {
    swept_by(fs, dir, law("us-east", 2))
}

pub fn swept_by(fs: &SimFs, dir: &Path, law: Law) -> Sweep {
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    let roots = vec![Root::of(&fs, dir, "", false)];
    let mut sweep = Sweep::new(roots, Vec::new(), Vec::new(), Findings::new(law));
    while !sweep.step().finished {}
    sweep
}

pub fn foreign(sweep: &Sweep, which: impl Fn(&Found) -> bool) -> u64 {
    let found = sweep.findings.found();
    let found = found.iter().filter(|found| found.verdict == Verdict::Foreign && which(found));
    found.map(|found| found.count).sum()
}

pub fn wrapped() -> Wrapped {
    Wrapped { by: RegionKey::new(1, 7), nonce: [1; 12], ciphertext: vec![1; 80].into() }
}

/// An order placed here by a resident of `country`.
pub fn own(n: u64, country: &str) -> Command {
    let subject = SubjectId { home: number(2), hash: u128::from(n) };
    let sealed_with = KeyOf { subject, generation: 1 };
    let contents = Contents {
        caller: "storefront".into(),
        sealed_with,
        guest: false,
        residence: country.parse().unwrap(),
        request: format!("r-{n}").parse().unwrap(),
        currency: "USD".parse().unwrap(),
        lines: Vec::new(),
        total_minor: 0,
        token: Token("tok_approve".into()),
        personal: Some(Sealed { nonce: [2; 12], ciphertext: vec![3; 60].into() }),
        payment_group: 0,
        reference: String::new(),
        placed_ms: None,
    };
    let key = Key { scope: Scope(u128::from(n)), body: 1 };
    let (order, mint) = (order(2, n), Some(wrapped()));
    Command::Accept(Box::new(Accept { order, key, epoch: 1, contents, mint }))
}

/// Order `n` of eu-west as a copy that shows OPERATIONAL and these classes.
pub fn view(n: u64, country: &str, classes: &[DataClass]) -> Bytes {
    let name = format!("regions/eu-west/orders/{}", order(1, n));
    let payment = wire::PaymentFacts { provider_reference: "ch_7".into(), ..Default::default() };
    let shown = wire::Order {
        name,
        version: 1,
        residence_country: country.into(),
        home_region: "eu-west".into(),
        payment: Some(payment),
        ..Default::default()
    };
    let subject = Bytes::copy_from_slice(&u128::from(n).to_be_bytes());
    let (nonce, ciphertext) = (vec![1; 12].into(), vec![2; 80].into());
    let sealed = SealedBlock { nonce, ciphertext, home: 1, subject, generation: 1 };
    let mut view = OrderView {
        order: Some(shown),
        event_sequence: 1,
        sealed: Some(sealed),
        ..Default::default()
    };
    let all = classes.iter().copied().chain([DataClass::Operational]);
    view.retain(all.collect::<ClassSet>());
    view.encode_to_vec().into()
}

/// Events of eu-west, as its stream brings them under the policy of version `terms`.
pub fn batch(terms: u64, views: &[(u64, Bytes)]) -> Command {
    let event = |(n, view): &(u64, Bytes)| RemoteEvent {
        sequence: *n,
        order: order(1, *n),
        version: 1,
        view: view.clone(),
        shown: Shown {
            residence: Some(DE.parse().unwrap()),
            classes: 7,
            terms,
            ..Shown::default()
        },
        forks: Vec::new(),
        fault: None,
    };
    let origin = Origin { region: number(1), group: 0, epoch: 1 };
    let upto = views.iter().map(|(n, _)| *n).max().unwrap_or(0);
    let events = views.iter().map(event).collect();
    Command::ApplyRemote(Box::new(Batch { origin, after: 0, upto, current_as_of_ms: None, events }))
}

/// Takes order `n` of eu-west from the copies, by the second version of the law.
pub fn purge(n: u64) -> Command {
    let (order, allowed) = (order(1, n), Held::default());
    let of = Reduced { order, version: 1, from: 1, terms: 2, allowed, view: None };
    Command::Remote(RemoteStep::Reduce(vec![Reduction { of, waiting: None, keys: Vec::new() }]))
}

/// How a file is damaged.
#[derive(Clone, Copy, Debug)]
pub enum Flip {
    Last,
    Middle,
    Longer,
}

/// A file of each format, and what may happen to it.
pub fn places(fs: &SimFs, dir: &Path) -> Vec<(String, Flip)> {
    let mut places = Vec::new();
    for name in files(fs, dir) {
        if name.ends_with("LOCK") {
            places.push((name, Flip::Longer));
            continue;
        }
        for flip in [Flip::Last, Flip::Middle, Flip::Longer] {
            places.push((name.clone(), flip));
        }
    }
    places
}

fn files(fs: &SimFs, dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        match fs.list(&path) {
            Ok(below) => todo.extend(below.into_iter().map(|name| path.join(name))),
            Err(_) => found.push(path.strip_prefix(dir).unwrap().display().to_string()),
        }
    }
    found.sort();
    found
}

pub fn bytes_below(fs: &SimFs, dir: &Path) -> u64 {
    let length = |name: String| fs.open(&dir.join(name)).unwrap().len().unwrap();
    files(fs, dir).into_iter().map(length).sum()
}

pub fn plant(fs: &SimFs, file: &Path, flip: Flip) {
    let length = fs.open(file).unwrap().len().unwrap();
    match flip {
        Flip::Last => fs.flip(file, length - 1, 0x20).unwrap(),
        Flip::Middle => fs.flip(file, length / 2, 0x20).unwrap(),
        Flip::Longer => fs.open(file).unwrap().write_at(b"#", length).unwrap(),
    }
}

pub fn write(fs: &SimFs, file: &Path, bytes: &[u8]) {
    fs.create_dir_all(file.parent().unwrap()).unwrap();
    fs.create(file).unwrap().write_at(bytes, 0).unwrap();
}

/// Adds a page with this content to an archive, as the store would seal it.
pub fn append_page(fs: &SimFs, file: &Path, content: &[u8]) {
    let opened = fs.open(file).unwrap();
    let length = opened.len().unwrap();
    let number = (length - 512) / 4104 + 1;
    let mut page = content.to_vec();
    page.resize(4096, 0);
    let sum = crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), &page);
    page.extend_from_slice(&sum.to_le_bytes());
    page.extend_from_slice(&[0; 4]);
    opened.write_at(&page, length).unwrap();
}
