//! A directory kept by others: watched over the internal port, from one keeper after another.

use std::time::Duration;

use hansa_api::pb::directory as pb;
use hansa_api::pb::directory::directory_service_client::DirectoryServiceClient;
use hansa_api::status::Failure;
use hansa_node::env::Env;
use hansa_node::peers::Peers;
use hansa_node::tasks::OnError;
use hansa_types::id::{GroupId, GroupKind, NodeId};
use tonic::Status;

use crate::book::Book;
use crate::wire;

/// Between two keepers that do not answer.
const PAUSE: Duration = Duration::from_millis(200);

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

/// As [`start`], into the book of a node that will keep the directory and does not yet: it follows
/// the others, not itself.
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

async fn follow(peers: &Peers, configured: &[NodeId], not: Option<NodeId>, book: &Book) {
    for turn in 0_usize.. {
        let mut keepers = keepers(book, configured);
        keepers.retain(|keeper| Some(*keeper) != not);
        if let Some(keeper) = keepers.get(turn % keepers.len().max(1))
            && let Err(status) = watch(peers, *keeper, book).await
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

async fn watch(peers: &Peers, keeper: NodeId, book: &Book) -> Result<(), Status> {
    let after_version = book.now().map_or(0, |snapshot| snapshot.version);
    let mut client = DirectoryServiceClient::new(peers.to(keeper));
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
