//! What a peer may know changes with the policy: wider views come, narrower ones go, to the byte.

use std::sync::Arc;

use hansa_api::pb::replication::OrderView;
use hansa_consensus::testing::eventually;
use hansa_node::peers::Address;
use hansa_types::id::NodeId;
use prost::Message;

use super::regions::{copies, serve};
use super::rig::{Node, POLICY, Rig, ca, order};
use crate::core::contents::Sealed;
use crate::core::subjects::{KeyOf, KeyState, SubjectId};
use crate::replicate::Stream;

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
    // What home still ships is parked without its content, and holds back nothing else.
    pair.home.place(&order("r-2")).await.unwrap();
    let shell = pair.away().orders.shell();
    let parked = || shell.groups[&0].group.peek(|m| m.state.remote.parked.len());
    eventually("parked", || parked() > 0).await;
    assert!(!secret());
    // Home learns of it: the order is asked for again by an operator, and arrives.
    pair.home.legislate(&policy(3, false));
    eventually("home obeys", || pair.stream().view_version == 3).await;
    let parked_orders = || {
        shell.groups[&0]
            .group
            .peek(|m| m.state.remote.parked.iter().map(|(order, _)| *order).collect::<Vec<_>>())
    };
    for order in parked_orders() {
        pair.away().orders.retry_parked(order).await;
    }
    eventually("both are here", || pair.views().len() == 2 && parked() == 0).await;
    pair.agree().await;
}
