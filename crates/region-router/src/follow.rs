//! A directory kept by others: watched over the internal port, from one keeper after another.

use std::time::Duration;

use hansa_api::pb::directory as pb;
use hansa_api::pb::directory::directory_service_client::DirectoryServiceClient;
use hansa_api::status::Failure;
use hansa_node::env::Env;
use hansa_node::peers::Peers;
use hansa_node::tasks::OnError;
use hansa_types::id::NodeId;
use tonic::Status;

use crate::book::Book;
use crate::wire;

/// Between two keepers that do not answer.
const PAUSE: Duration = Duration::from_millis(200);

/// Follows the directory that `keepers` (the directory nodes of this region) keep.
///
/// The snapshot stays readable while no keeper answers: an old directory routes better than none.
pub fn start(env: &Env, peers: Peers, keepers: Vec<NodeId>) -> Book {
    let book = Book::empty();
    let (writer, stop) = (book.clone(), env.tasks.stop_token());
    env.tasks.spawn("directory-follow", OnError::StopNode, async move {
        for &keeper in keepers.iter().cycle() {
            let Some(ended) = stop.run_until_cancelled(watch(&peers, keeper, &writer)).await else {
                return;
            };
            if let Err(status) = ended {
                let failure = Failure::from(&status);
                tracing::info!(%keeper, %failure, "directory keeper lost");
            }
            if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                return;
            }
        }
    });
    book
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
