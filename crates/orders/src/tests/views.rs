//! What a peer may know changes with the policy: wider views come, narrower ones go, to the byte.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use hansa_api::pb::replication::OrderView;
use hansa_consensus::testing::{PATIENCE, eventually, soon};
use hansa_node::peers::Address;
use hansa_types::id::{NodeId, OrderId};
use hansa_types::region::Slot;
use hansa_types::time::LogTime;
use prost::Message;
use tokio::time::Instant;

use super::regions::{copies, serve};
use super::rig::{Node, POLICY, Rig, ca, order};
use crate::core::command::Command;
use crate::core::contents::Sealed;
use crate::core::remote::{Batch, Copy, Origin, RemoteEvent, RemoteStep};
use crate::core::subjects::{KeyOf, KeyState, SubjectId};
use crate::replicate::Stream;
use crate::replicate::purge::forget;

/// The shipped policy with GB's PERSONAL and FINANCIAL kept in Virginia as well, as of `version`.
pub fn policy(version: u64, wide: bool) -> String {
    let text = POLICY.replace("\nversion = 1\n", &format!("\nversion = {version}\n"));
    assert!(version == 1 || text != POLICY);
    if !wide {
        return text;
    }
    let (before, gb) = text.split_once("[jurisdiction.GB]").unwrap();
    let (gb, after) = gb.split_once("[jurisdiction.CH]").unwrap();
    let kept = "store = [\"GB\", \"EU\"], transit = true, failover = [\"eu-central\"]";
    let wider = "store = [\"GB\", \"EU\", \"US\"], transit = true, failover = [\"us-east\"]";
    let wide = gb.replace(kept, wider);
    assert_ne!(wide, gb, "the shipped policy has changed");
    format!("{before}[jurisdiction.GB]{wide}[jurisdiction.CH]{after}")
}

pub struct Pair {
    pub home: Rig,
    pub abroad: Rig,
    pub address: Address,
}

impl Pair {
    pub async fn start() -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let ca = ca(&dir);
        let home = Rig::region(1, 1, 1, dir.clone(), ca.clone()).await;
        let abroad = Rig::region(2, 1, 1, dir.clone(), ca).await;
        let address = serve(&abroad, NodeId(1)).await;
        abroad.leader().await;
        home.leader().await.peers.set_gateways("us-east".parse().unwrap(), vec![address.clone()]);
        Self { home, abroad, address }
    }

    pub fn away(&self) -> &Node {
        self.abroad.nodes.values().next().unwrap()
    }

    pub fn here(&self) -> &Node {
        self.home.nodes.values().next().unwrap()
    }

    /// What home knows of its stream to the other.
    pub fn stream(&self) -> Stream {
        let streams = self.here().orders.streams();
        let found = streams.into_iter().find(|(peer, ..)| peer.as_str() == "us-east");
        found.map(|(.., stream)| stream).unwrap_or_default()
    }

    pub fn views(&self) -> Vec<bytes::Bytes> {
        let shell = self.away().orders.shell();
        shell.groups[&0]
            .group
            .peek(|m| m.state.remote.copies.iter().map(|(_, copy)| copy.view.clone()).collect())
    }

    /// Orders whose events wait abroad.
    pub fn parked(&self) -> usize {
        let shell = self.away().orders.shell();
        shell.groups[&0].group.peek(|m| m.state.remote.parked.len())
    }

    pub fn legislate(&self, policy: &str) {
        self.home.legislate(policy);
        self.abroad.legislate(policy);
    }

    /// Compared after now, and nothing differs.
    pub async fn agree(&self) {
        let since = self.here().orders.shell().env.clock.wall().ms();
        eventually("home and copy agree", || {
            let stream = self.stream();
            stream.compared_ms > since + 1 && stream.differences == 0 && !stream.truncated
        })
        .await;
    }
}

fn holds(bytes: &[u8], secret: &str) -> bool {
    bytes.windows(secret.len()).any(|w| w == secret.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wider_law_ships_again_and_a_narrower_one_purges_to_the_byte() {
    let pair = Pair::start().await;
    for n in 0..5 {
        pair.home.place(&order(&format!("r-{n}"))).await.unwrap();
    }
    pair.home.at_rest().await;
    eventually("copies", || copies(pair.away()) == 5).await;
    // Twice: the first comparison may have begun before the last of it had come.
    pair.agree().await;
    pair.agree().await;
    let narrow = pair.views();
    assert!(narrow.iter().all(|view| !holds(view, "tok_approve")));

    pair.legislate(&policy(2, true));
    let full = |view: &bytes::Bytes| {
        let view = OrderView::decode(view.clone()).unwrap();
        view.sealed.is_some() && view.succession.is_some() && view.order.unwrap().payment.is_some()
    };
    eventually("what is allowed now arrives", || pair.views().iter().all(full)).await;
    pair.agree().await;
    // The key came along: the other region can open the block, and nothing of it is in the clear.
    let shell = pair.away().orders.shell();
    let view = OrderView::decode(pair.views()[0].clone()).unwrap();
    assert!(!holds(&view.encode_to_vec(), "Secretname"));
    let block = view.sealed.unwrap();
    let of = KeyOf {
        subject: SubjectId {
            home: u16::try_from(block.home).unwrap().try_into().unwrap(),
            hash: u128::from_be_bytes(block.subject.as_ref().try_into().unwrap()),
        },
        generation: block.generation,
    };
    let key = || shell.groups[&0].group.peek(|m| m.state.subjects.key(of));
    let KeyState::Living(wrapped) = key() else { panic!("{:?}", key()) };
    let name: hansa_types::id::OrderName = view.order.unwrap().name.parse().unwrap();
    let nonce = block.nonce.as_ref().try_into().unwrap();
    let sealed = Sealed { nonce, ciphertext: block.ciphertext };
    let opened = shell.keyring.unwrap(of, &wrapped).await.unwrap();
    let opened = opened.open(of, name.id, &sealed).unwrap();
    assert!(holds(&opened, "Secretname"));

    pair.legislate(&policy(3, false));
    eventually("the purge is acknowledged", || {
        let stream = pair.stream();
        stream.view_version == 3 && !stream.purge_pending
    })
    .await;
    assert_eq!(pair.views().len(), 5);
    for view in pair.views() {
        for secret in ["tok_approve", "sbx-", "Secretname"] {
            assert!(!holds(&view, secret), "{secret}");
        }
        assert!(OrderView::decode(view).unwrap().sealed.is_none());
    }
    assert_eq!(pair.views(), narrow, "the same bytes as if it had never known more");
    assert_eq!(key(), KeyState::Unknown, "the key was given back");
    pair.agree().await;
    let sound = shell.groups[&0].group.peek(|m| m.state.digest() == m.state.digest_full());
    assert!(sound);

    // And wide again, orders that are new meanwhile included.
    pair.home.place(&order("r-9")).await.unwrap();
    pair.legislate(&policy(4, true));
    eventually("wide again", || {
        let views = pair.views();
        views.len() == 6 && views.iter().all(full)
    })
    .await;
    eventually("with its key", || matches!(key(), KeyState::Living(_))).await;
    pair.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_purges_by_its_own_law_before_home_says_so() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    pair.home.place(&order("r-1")).await.unwrap();
    pair.home.at_rest().await;
    let secret = || pair.views().iter().any(|view| holds(view, "tok_approve"));
    eventually("a full copy", secret).await;
    // Home is behind with the policy; the other region obeys it all the same.
    pair.abroad.legislate(&policy(3, false));
    eventually("purged", || pair.views().len() == 1 && !secret()).await;
    // What home would still ship waits at home: here it may neither be kept nor be forgotten.
    pair.home.place(&order("r-2")).await.unwrap();
    eventually("home hears why", || pair.stream().last_error.contains("policy 3")).await;
    assert!(!secret() && pair.parked() == 0 && pair.views().len() == 1);
    // Home learns of it: nobody has to do anything.
    pair.home.legislate(&policy(3, false));
    eventually("both are here", || pair.views().len() == 2).await;
    assert!(!secret() && pair.parked() == 0);
    pair.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_long_to_forget_holds_no_purge_up() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    pair.home.place(&order("r-1")).await.unwrap();
    pair.home.at_rest().await;
    let secret = || pair.views().iter().any(|view| holds(view, "tok_approve"));
    eventually("a full copy", secret).await;
    let shell = pair.away().orders.shell();
    let group = &shell.groups[&0].group;
    let (go, wait) = std::sync::mpsc::channel::<()>();
    // The loop of the slow disk work is busy: no checkpoint is written meanwhile.
    let busy = shell.host.slowly(move || wait.recv());
    let purges = async {
        pair.abroad.legislate(&policy(3, false));
        eventually("purged", || !secret()).await;
        pair.abroad.legislate(&policy(4, true));
        eventually("it is back", secret).await;
        pair.abroad.legislate(&policy(5, false));
        eventually("purged beside what is being forgotten", || !secret()).await;
        drop(go);
    };
    assert!(tokio::join!(busy, purges).0.unwrap().is_err(), "until it is let go");
    assert!(group.peek(|machine| machine.state.meta.purges) >= 2);
    forgotten(pair.away(), 5).await;
}

/// Waits until a node's disk has forgotten all behind its law.
async fn forgotten(node: &Node, law: u64) {
    let end = Instant::now() + PATIENCE;
    let group = &node.orders.shell().groups[&0].group;
    while group.forgotten().await != group.peek(|machine| forget::mark(&machine.state, law)) {
        assert!(Instant::now() < end, "not forgotten in time");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_went_while_it_was_lawful_is_forgotten_behind_the_next_law() {
    let pair = Pair::start().await;
    pair.home.place(&order("r-1")).await.unwrap();
    pair.home.at_rest().await;
    eventually("a copy", || copies(pair.away()) == 1).await;
    let shell = pair.away().orders.shell();
    let group = shell.groups[&0].clone();
    let shown =
        group.group.peek(|m| m.state.remote.copies.iter().map(|(_, copy)| copy.shown).next());
    let (shown, secret) = (shown.unwrap(), "what a copy of a third region shows");
    // It came, and went by no purge.
    let order = OrderId::new(LogTime(1), 3_u16.try_into().unwrap(), Slot::of(b"x"), 1);
    let view = secret.as_bytes().into();
    let event =
        RemoteEvent { sequence: 1, order, version: 1, view, shown, forks: Vec::new(), fault: None };
    let origin = Origin { region: order.region(), group: 0, epoch: 1 };
    let events = vec![event];
    let batch = Batch { origin, after: 0, upto: 1, current_as_of_ms: None, events };
    group.submit(&Command::ApplyRemote(Box::new(batch)), soon()).await.unwrap();
    assert_eq!(copies(pair.away()), 2);
    let gone = Command::Remote(RemoteStep::Plant(order, None));
    group.submit(&gone, soon()).await.unwrap();
    let dir = pair.abroad.cluster.dir(NodeId(1));
    assert!(left(&dir, secret), "the log has it");
    pair.legislate(&policy(2, false));
    forgotten(pair.away(), 2).await;
    assert_eq!(group.group.peek(|machine| machine.state.meta.purges), 0, "nothing was taken");
    assert!(!left(&dir, secret));
}

/// What opens the block of a copy.
fn key_of_copy(node: &Node, order: OrderId) -> KeyOf {
    let view = node.orders.shell().groups[&0].group.peek(|machine| {
        let copy = machine.state.remote.copies.get(&order);
        copy.and_then(|copy| crate::replicate::purge::key_of(&copy.view))
    });
    view.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_goes_back_once_nothing_needs_it_whoever_took_what_it_opened() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    let mut ids = Vec::new();
    for customer in ["c-1", "c-2", "c-3"] {
        let mut order = order(&format!("r-{customer}"));
        order.customer_id = customer.into();
        let placed = pair.home.place(&order).await.unwrap().order.unwrap();
        ids.push(placed.name.parse::<hansa_types::id::OrderName>().unwrap().id);
    }
    pair.home.at_rest().await;
    let full = || pair.views().iter().filter(|view| holds(view, "tok_approve")).count();
    eventually("full copies", || full() == 3).await;
    let shell = pair.away().orders.shell();
    let group = shell.groups[&0].clone();
    let of: Vec<KeyOf> = ids.iter().map(|id| key_of_copy(pair.away(), *id)).collect();
    let key = |n: usize| group.group.peek(|machine| machine.state.subjects.key(of[n]));
    let living = |n| matches!(key(n), KeyState::Living(_));
    eventually("with their keys", || (0..3).all(living)).await;
    let plant = async |order, copy: Option<Copy>| {
        let step = Command::Remote(RemoteStep::Plant(order, copy.map(Box::new)));
        group.submit(&step, soon()).await.unwrap();
    };
    // One went while it was lawful, and another law lets all others stay.
    plant(ids[0], None).await;
    pair.legislate(&policy(3, true));
    eventually("given back", || key(0) == KeyState::Unknown).await;
    assert!(living(1) && living(2), "what they open is here");
    // Home showed one of them by the next law before anybody had looked what that takes.
    let copy = group.group.peek(|machine| machine.state.remote.copies.get(&ids[1]).cloned());
    let mut copy = copy.unwrap();
    let mut view = OrderView::decode(copy.view.clone()).unwrap();
    (view.sealed, view.succession) = (None, None);
    (copy.view, copy.shown.classes, copy.shown.terms) = (view.encode_to_vec().into(), 1, 4);
    plant(ids[1], Some(copy)).await;
    let purges = group.group.peek(|machine| machine.state.meta.purges);
    pair.abroad.legislate(&policy(4, false));
    eventually("given back as well", || key(1) == KeyState::Unknown).await;
    eventually("with what the law took", || full() == 0 && key(2) == KeyState::Unknown).await;
    group.group.peek(|machine| {
        assert!(machine.state.meta.purges >= purges + 2, "both are to be forgotten");
        assert!(machine.state.meta.erased_under.is_some(), "the region key gives way");
    });
    forgotten(pair.away(), 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_heard_in_a_former_office_keeps_nobody_from_forgetting_and_takes_nothing() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let ca = ca(&dir);
    let home = Rig::region(1, 1, 1, dir.clone(), ca.clone()).await;
    let abroad = Rig::region(2, 3, 1, dir.clone(), ca).await;
    let mut gateways = Vec::new();
    for id in abroad.cluster.ids() {
        let address = serve(&abroad, id).await;
        abroad.nodes.values().for_each(|node| node.peers.set_node(id, address.clone()));
        gateways.push(address);
    }
    home.leader().await.peers.set_gateways("us-east".parse().unwrap(), gateways);
    home.place(&order("r-1")).await.unwrap();
    home.at_rest().await;
    eventually("a copy on every node", || abroad.nodes.values().all(|n| copies(n) == 1)).await;
    let group = |node: &Node| node.orders.shell().groups[&0].group.clone();
    let hand_over = async |from: NodeId, to: NodeId| {
        group(&abroad.nodes[&from]).transfer_leadership(to).await;
        eventually("another leader", || abroad.leader_now().is_some_and(|now| now != from)).await;
        abroad.leading().await
    };
    let former = abroad.leading().await;
    let other = abroad.nodes.keys().find(|id| **id != former).copied().unwrap();
    let next = hand_over(former, other).await;
    // The former leader was told of the narrow law only.
    home.legislate(&policy(2, true));
    abroad.legislate(&policy(2, true));
    let full = |node: &Node| {
        let view = |copy: &Copy| holds(&copy.view, "tok_approve");
        group(node).peek(|m| m.state.remote.copies.iter().any(|(_, copy)| view(copy)))
    };
    eventually("all of it on every node", || abroad.nodes.values().all(full)).await;
    for node in abroad.nodes.values() {
        forgotten(node, 2).await;
    }
    let last = hand_over(next, former).await;
    home.place(&order("r-2")).await.unwrap();
    eventually("the stream is back", || abroad.nodes.values().all(|n| copies(n) == 2)).await;
    let purges = |node: &Node| group(node).peek(|m| m.state.meta.purges);
    assert!(abroad.nodes.values().all(|node| purges(node) == 0), "{former} {next} {last}");
}

/// Whether any file below a folder has it.
fn left(path: &Path, secret: &str) -> bool {
    match fs::read_dir(path) {
        Ok(below) => below.flatten().any(|entry| left(&entry.path(), secret)),
        Err(_) => holds(&fs::read(path).unwrap_or_default(), secret),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_home_has_first_parks_nothing_where_it_is_not_known_yet() {
    let pair = Pair::start().await;
    pair.home.place(&order("r-1")).await.unwrap();
    pair.home.at_rest().await;
    eventually("a copy", || copies(pair.away()) == 1).await;
    pair.home.legislate(&policy(2, true));
    pair.home.place(&order("r-2")).await.unwrap();
    eventually("home hears why", || pair.stream().last_error.contains("policy 1")).await;
    assert!(pair.parked() == 0 && pair.views().iter().all(|view| !holds(view, "tok_approve")));
    pair.abroad.legislate(&policy(2, true));
    eventually("all of both", || {
        let views = pair.views();
        views.len() == 2 && views.iter().all(|view| holds(view, "tok_approve"))
    })
    .await;
    assert_eq!(pair.parked(), 0);
    pair.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_takes_one_thing_and_gives_another_parks_nothing() {
    let pair = Pair::start().await;
    for n in 0..5 {
        pair.home.place(&order(&format!("r-{n}"))).await.unwrap();
    }
    pair.home.at_rest().await;
    eventually("copies", || copies(pair.away()) == 5).await;
    let raising = |version, field: &str| {
        let line = format!("raise = {{ FINANCIAL = [\"hansa.order.v1.Order.{field}\"] }}\n");
        let text = policy(version, false);
        let (before, gb) = text.split_once("[jurisdiction.GB]\n").unwrap();
        format!("{before}[jurisdiction.GB]\n{line}{gb}")
    };
    let orders = || {
        let order = |view| OrderView::decode(view).unwrap().order.unwrap();
        pair.views().into_iter().map(order).collect::<Vec<_>>()
    };
    // What one takes the next gives, and the other way about.
    for version in 2..6 {
        let total = version % 2 == 1;
        let field = if total { "client_reference" } else { "total" };
        pair.legislate(&raising(version, field));
        eventually("what the law says", || {
            orders().len() == 5
                && orders().iter().all(|order| {
                    order.total.is_some() == total && order.client_reference.is_empty() == total
                })
        })
        .await;
        assert_eq!(pair.parked(), 0, "version {version}");
        pair.agree().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_law_that_comes_back_brings_back_what_it_took_however_soon() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    for n in 0..5 {
        pair.home.place(&order(&format!("r-{n}"))).await.unwrap();
    }
    pair.home.at_rest().await;
    let full = || pair.views().iter().filter(|view| holds(view, "tok_approve")).count();
    eventually("full copies", || full() == 5).await;
    // Here alone, and home never hears of it.
    pair.abroad.legislate(&policy(3, false));
    eventually("purged", || full() == 0).await;
    pair.abroad.legislate(&policy(4, true));
    eventually("all is back", || full() == 5).await;
    // Everywhere, and back before the other region was done.
    pair.legislate(&policy(5, false));
    pair.legislate(&policy(6, true));
    pair.agree().await;
    assert_eq!((full(), pair.parked()), (5, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_the_failover_set_says_what_a_survivor_has_to_know() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    let placed = pair.home.place(&order("r-1")).await.unwrap().order.unwrap();
    pair.home.at_rest().await;
    let shell = pair.here().orders.shell();
    let id = placed.name.parse::<hansa_types::id::OrderName>().unwrap().id;
    let view = || {
        let view = OrderView::decode(pair.views().first()?.clone()).ok()?;
        Some((view.succession?, view.sealed?))
    };
    eventually("a full copy", || view().is_some()).await;
    pair.agree().await;
    let (succession, sealed) = view().unwrap();
    let subject = succession.subject.unwrap();
    assert_eq!((&subject.hash, subject.generation), (&sealed.subject, sealed.generation));
    assert!(!subject.guest && succession.request_id == "r-1" && succession.caller == "storefront");
    let row = shell.groups[&0].group.peek(|m| {
        let mut rows = m.state.keys.table.iter().filter(|(_, row)| row.target.order == id);
        rows.next().map(|(scope, row)| (*scope, row.body)).unwrap()
    });
    let request = &succession.requests[0];
    assert_eq!(request.scope.as_ref(), row.0.0.to_be_bytes());
    assert_eq!(request.body.as_ref(), row.1.to_be_bytes());
    assert_eq!((request.generation, request.home), (subject.generation, 0));
}
