use std::sync::Arc;
use std::time::Duration;

use hansa_api::pb::directory as pb;
use hansa_api::pb::directory::registry_service_server::{RegistryService, RegistryServiceServer};
use hansa_node::layers::Deadline;
use hansa_region_router::book::Book;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::*;
use crate::testing::{Does, Fake, directory};

fn reseed(node: u64, request: &str) -> Command {
    Command::ReplaceNode { node: NodeId(node), request: request.into() }
}

/// What a gateway answers that sees the directory after these commands.
async fn ask(commands: &[Command], node: &str, request: &str) -> Result<(u64, u64), Failure> {
    let upstreams = Fake::default();
    let now = Arc::new(directory(1, commands));
    let answer = desk(&upstreams, &Book::of(directory(1, commands)), now).ask(node, request).await;
    assert_eq!(upstreams.count(), 0, "nothing is changed, and nobody need be asked");
    answer
}

fn desk<'a>(upstreams: &'a Fake, book: &'a Book, now: Arc<Snapshot>) -> Desk<'a, Fake> {
    Desk { upstreams, book, now, due: Deadline::after(Duration::from_secs(2)) }
}

impl Desk<'_, Fake> {
    async fn ask(&self, node: &str, request: &str) -> Result<(u64, u64), Failure> {
        let (request_id, node) = (request.to_owned(), node.to_owned());
        let request = ReseedNodeRequest { request_id, node, force: true, ..Default::default() };
        let answer = self.reseed_node(&request).await?;
        Ok((answer.former_node, answer.node))
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_sound_id_is_refused() {
    let refused = async |id: &str| ask(&[], "eu-west-2", id).await.unwrap_err().reason();
    assert_eq!(refused("").await, Reason::RequestIdMissing);
    assert_eq!(refused("no spaces").await, Reason::FieldInvalid);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_goes_on_with_the_id_that_it_gave() {
    for node in ["eu-west-2", "2", "100001"] {
        assert_eq!(ask(&[reseed(2, "r-1")], node, "r-1").await, Ok((0, 100_001)), "{node}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_of_another_node_is_not_answered_for_that_one() {
    let refused = ask(&[reseed(2, "r-1")], "eu-west-3", "r-1").await.unwrap_err();
    assert_eq!(refused.reason(), Reason::RequestIdReused);
}

#[tokio::test(start_paused = true)]
async fn a_superseded_request_gives_no_retired_id() {
    let twice = [reseed(2, "r-1"), reseed(100_001, "r-2")];
    let refused = ask(&twice, "eu-west-2", "r-1").await.unwrap_err();
    assert_eq!(refused.reason(), Reason::MembershipRefused);
    assert!(refused.to_string().contains("node 100001"), "{refused}");
    assert_eq!(ask(&twice, "eu-west-2", "r-2").await, Ok((0, 100_002)));
}

/// A keeper of the directory in which the change was made before.
struct Keeper;

#[tonic::async_trait]
impl RegistryService for Keeper {
    async fn read_ownership(
        &self,
        _: Request<pb::ReadOwnershipRequest>,
    ) -> Result<Response<pb::ReadOwnershipResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn resolve_node(
        &self,
        _: Request<pb::ResolveNodeRequest>,
    ) -> Result<Response<pb::ResolveNodeResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn change_directory(
        &self,
        _: Request<pb::ChangeDirectoryRequest>,
    ) -> Result<Response<pb::ChangeDirectoryResponse>, Status> {
        let version = directory(1, &[reseed(2, "r-1")]).version;
        Ok(Response::new(pb::ChangeDirectoryResponse { version, ..Default::default() }))
    }
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_had_not_seen_it_retires_nobody_in_its_answer() {
    let routes = || Does::Serves(Routes::new(RegistryServiceServer::new(Keeper)));
    let nodes = ["node 1", "node 2", "node 3"];
    let upstreams = nodes.iter().fold(Fake::default(), |fake, node| fake.with(node, routes()));
    // The desk has the old page; the book has got the new one meanwhile.
    let book = Book::of(directory(1, &[reseed(2, "r-1")]));
    let answer = desk(&upstreams, &book, Arc::new(directory(1, &[]))).ask("eu-west-2", "r-1").await;
    assert_eq!(answer, Ok((0, 100_001)));
}
