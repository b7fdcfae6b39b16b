//! A directory kept by others: watched over the internal port, from one keeper after another.

use std::time::Duration;

use hansa_api::pb::directory as pb;
use hansa_api::pb::directory::directory_service_client::DirectoryServiceClient;
use hansa_api::status::Failure;
use hansa_node::env::Env;
use hansa_node::peers::Peers;
use hansa_node::tasks::OnError;
use hansa_types::id::{GroupId, GroupKind, NodeId};
use tokio::time::timeout;
use tonic::Status;

use crate::book::Book;
use crate::forward::Upstreams;
use crate::wire;

/// Between two keepers.
const PAUSE: Duration = Duration::from_millis(200);
/// One keeper is watched this long: it may be one that hears nothing itself, and say nothing.
const TURN: Duration = Duration::from_secs(5);

/// Follows the directory that others keep, for a node that does not or not yet.
///
/// `keepers` are the directory's nodes as the config has them: once it is known, it says itself
/// who keeps it. The snapshot stays readable while no keeper answers: an old directory routes
/// better than none.
pub fn start(env: &Env, peers: Peers, keepers: Vec<NodeId>) -> Book {
    let book = Book::empty();
    spawn(&book, env, peers, keepers, None);
    book
}

/// As [`start`], beside a replica that writes into the same book: the others are followed, not this
/// node itself.
///
/// The replica says nothing before its node is a member, nor once the others have gone on without
/// it: who was down while it was replaced is told by nobody that it was.
pub fn into(book: &Book, env: &Env, peers: Peers, keepers: Vec<NodeId>) {
    let me = peers.me();
    spawn(book, env, peers, keepers, Some(me));
}

fn spawn(book: &Book, env: &Env, peers: Peers, keepers: Vec<NodeId>, not: Option<NodeId>) {
    let (writer, stop) = (book.clone(), env.tasks.stop_token());
    env.tasks.spawn("directory-follow", OnError::StopNode, async move {
        stop.run_until_cancelled(follow(&peers, &keepers, not, &writer)).await;
    });
}

async fn follow<U: Upstreams>(peers: &U, configured: &[NodeId], not: Option<NodeId>, book: &Book) {
    for turn in 0_usize.. {
        let mut keepers = keepers(book, configured);
        keepers.retain(|keeper| Some(*keeper) != not);
        if let Some(keeper) = keepers.get(turn % keepers.len().max(1))
            && let Ok(Err(status)) = timeout(TURN, watch(peers, *keeper, book)).await
        {
            let failure = Failure::from(&status);
            tracing::debug!(%keeper, %failure, "directory keeper lost");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn keepers(book: &Book, configured: &[NodeId]) -> Vec<NodeId> {
    let group = GroupId::new(GroupKind::Directory, 0);
    let known = book.now().map(|now| now.members(group).to_vec());
    known.filter(|known| !known.is_empty()).unwrap_or_else(|| configured.to_vec())
}

async fn watch<U: Upstreams>(peers: &U, keeper: NodeId, book: &Book) -> Result<(), Status> {
    let after_version = book.now().map_or(0, |snapshot| snapshot.version);
    let mut client = DirectoryServiceClient::new(peers.node(keeper));
    let request = pb::WatchDirectoryRequest { after_version };
    let mut changes = client.watch_directory(request).await?.into_inner();
    while let Some(change) = changes.message().await? {
        let Some(directory) = change.directory else { continue };
        match wire::of_pb(directory) {
            Ok(snapshot) => book.publish(snapshot),
            Err(error) => {
                tracing::error!(%keeper, %error, "directory not taken");
                return Ok(());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hansa_types::region::RegionName;
    use http::{Request, Response};
    use tonic::body::Body;
    use tower::ServiceExt;
    use tower::util::BoxService;

    use super::*;
    use crate::core::directory::{Command, MemberChange, Node, NodeRole};
    use crate::service;
    use crate::testing::snapshot;

    /// Nodes that serve what stands in their books.
    #[derive(Clone)]
    struct Keepers(BTreeMap<NodeId, Book>);

    impl Upstreams for Keepers {
        type Peer = BoxService<Request<Body>, Response<Body>, Status>;

        fn node(&self, node: NodeId) -> Self::Peer {
            let served = service::service(self.0[&node].clone());
            let served = ServiceExt::<Request<Body>>::map_err(served, |never| match never {});
            BoxService::new(served)
        }

        fn gateway(&self, _region: &RegionName) -> Self::Peer {
            self.node(NodeId(0))
        }
    }

    fn directory() -> GroupId {
        GroupId::new(GroupKind::Directory, 0)
    }

    /// Node 4 comes, and takes node 1's place.
    fn replaced() -> [Command; 2] {
        let (name, internal) = ("eu-west-4".to_owned(), "eu-west-4:7443".to_owned());
        let node = Node { id: NodeId(0), name, internal, roles: NodeRole::ALL.to_vec() };
        let (old, new, force) = (NodeId(1), NodeId(100_001), false);
        let change = MemberChange::Replace { old, new, force };
        [Command::RegisterNode { node }, Command::ChangeMembers { group: directory(), change }]
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_replaced_while_it_was_down_hears_so_though_one_of_its_peers_was_too() {
        let old = snapshot(1, 1, &[]);
        let own = Book::of(old.clone());
        let books =
            [(NodeId(2), Book::of(old)), (NodeId(3), Book::of(snapshot(1, 1, &replaced())))];
        let keepers = Keepers(BTreeMap::from(books));
        let configured = [NodeId(1), NodeId(2), NodeId(3)];
        let following = follow(&keepers, &configured, Some(NodeId(1)), &own);
        let heard = own.reached(3, 3 * TURN);
        tokio::select! {
            biased;
            () = following => panic!("it ended"),
            heard = heard => assert!(heard, "it still says {:?}", own.now().map(|now| now.version)),
        }
        let now = own.now().unwrap();
        assert!(now.members(directory()).contains(&NodeId(100_001)), "found where it is now");
    }
}
