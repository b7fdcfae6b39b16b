//! The directory for processes of this region that do not keep it themselves.

use std::pin::Pin;

use futures::{Stream, StreamExt as _, stream};
use hansa_api::pb::directory as pb;
use hansa_api::pb::directory::directory_service_server::{
    DirectoryService, DirectoryServiceServer,
};
use hansa_api::status::{Failure, Reason};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::book::Book;
use crate::wire;

/// The service for the internal port; answers from this node's newest snapshot.
///
/// Not linearizable on purpose: gateways route by a copy anyway, and what an old copy misroutes the
/// right node refuses by epoch.
pub fn service(book: Book) -> DirectoryServiceServer<Serve> {
    DirectoryServiceServer::new(Serve { book })
}

/// See [`service`].
pub struct Serve {
    book: Book,
}

type Watched = Pin<Box<dyn Stream<Item = Result<pb::WatchDirectoryResponse, Status>> + Send>>;

#[tonic::async_trait]
impl DirectoryService for Serve {
    type WatchDirectoryStream = Watched;

    async fn get_directory(
        &self,
        _request: Request<pb::GetDirectoryRequest>,
    ) -> Result<Response<pb::GetDirectoryResponse>, Status> {
        let starting = || Failure::new(Reason::Unavailable, "the directory is not bootstrapped");
        let snapshot = self.book.now().ok_or_else(starting)?;
        Ok(Response::new(pb::GetDirectoryResponse { directory: Some(wire::to_pb(&snapshot)) }))
    }

    async fn watch_directory(
        &self,
        request: Request<pb::WatchDirectoryRequest>,
    ) -> Result<Response<Watched>, Status> {
        let (book, seen) = (self.book.clone(), request.get_ref().after_version);
        let changes = book.changes();
        type From = (Book, watch::Receiver<u64>, u64);
        let next = |(book, mut changes, seen): From| async move {
            let snapshot = loop {
                match book.now().filter(|snapshot| snapshot.version > seen) {
                    Some(snapshot) => break snapshot,
                    None => changes.changed().await.ok()?,
                }
            };
            let directory = Some(wire::to_pb(&snapshot));
            let seen = snapshot.version;
            Some((Ok(pb::WatchDirectoryResponse { directory }), (book, changes, seen)))
        };
        Ok(Response::new(stream::unfold((book, changes, seen), next).boxed()))
    }
}
