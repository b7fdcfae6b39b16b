//! The gRPC services of the ledger, on the node's internal port; one verb, one file.

mod adjust_stock;
mod get_payment_accounts;
mod get_stock;
pub(crate) mod groups;
mod list_entries;
mod list_holds;
mod list_stock;
mod receive_stock;
mod request;
mod submit;
pub(crate) mod wire;

use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use futures::Stream;
use hansa_api::pb::inventory as stock;
use hansa_api::pb::inventory::inventory_service_server::{
    InventoryService, InventoryServiceServer,
};
use hansa_api::pb::ledger as pb;
use hansa_api::pb::ledger::ledger_command_service_server::{
    LedgerCommandService, LedgerCommandServiceServer,
};
use hansa_api::status::Reason;
use hansa_consensus::Group;
use hansa_types::limits::{MESSAGE_BYTES_MAX, PEER_MESSAGE_BYTES_MAX};
use tonic::service::RoutesBuilder;
use tonic::{Request, Response, Status, Streaming};

use crate::core::inventory::Inventory;
use crate::core::payments::Payments;
use crate::entries::Entries;

/// Where a group of this node is found: empty until it has started, `None` where damage keeps it
/// from serving on this node.
pub type Place<T> = OnceLock<Option<T>>;

/// What every verb works with.
pub struct Shell {
    /// In order of their index.
    pub inventory: Vec<Place<Group<Inventory>>>,
    /// Each with its view of account histories.
    pub payments: Vec<Place<(Group<Payments>, Entries)>>,
    /// Batches that one stream may have under way.
    pub in_flight: usize,
}

type Answer<T> = Result<Response<T>, Status>;
type Answers = Pin<Box<dyn Stream<Item = Result<pb::SubmitResponse, Status>> + Send>>;

/// A handle that tonic can clone per connection.
#[derive(Clone)]
struct Service(Arc<Shell>);

pub fn add_to(shell: &Arc<Shell>, routes: &mut RoutesBuilder) {
    let service = Service(Arc::clone(shell));
    let commands = LedgerCommandServiceServer::new(service.clone())
        .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX);
    routes.add_service(commands);
    if !shell.inventory.is_empty() {
        let stock =
            InventoryServiceServer::new(service).max_decoding_message_size(MESSAGE_BYTES_MAX);
        routes.add_service(stock);
    }
}

#[tonic::async_trait]
impl LedgerCommandService for Service {
    type SubmitStream = Answers;

    async fn submit(&self, request: Request<Streaming<pb::SubmitRequest>>) -> Answer<Answers> {
        let answers = submit::run(Arc::clone(&self.0), request.into_inner());
        Ok(Response::new(Box::pin(answers)))
    }

    async fn list_holds(
        &self,
        request: Request<pb::ListHoldsRequest>,
    ) -> Answer<pb::ListHoldsResponse> {
        Ok(Response::new(list_holds::run(&self.0, request).await?))
    }

    async fn get_payment_accounts(
        &self,
        request: Request<pb::GetPaymentAccountsRequest>,
    ) -> Answer<pb::GetPaymentAccountsResponse> {
        Ok(Response::new(get_payment_accounts::run(&self.0, request).await?))
    }

    async fn list_entries(
        &self,
        request: Request<pb::ListEntriesRequest>,
    ) -> Answer<pb::ListEntriesResponse> {
        Ok(Response::new(list_entries::run(&self.0, request).await?))
    }
}

#[tonic::async_trait]
impl InventoryService for Service {
    async fn receive_stock(
        &self,
        request: Request<stock::ReceiveStockRequest>,
    ) -> Answer<stock::ReceiveStockResponse> {
        Ok(Response::new(receive_stock::run(&self.0, request).await?))
    }

    async fn adjust_stock(
        &self,
        request: Request<stock::AdjustStockRequest>,
    ) -> Answer<stock::AdjustStockResponse> {
        Ok(Response::new(adjust_stock::run(&self.0, request).await?))
    }

    /// The order knows what it committed: its service drives the ship command through `Submit`.
    async fn record_shipment(
        &self,
        _: Request<stock::RecordShipmentRequest>,
    ) -> Answer<stock::RecordShipmentResponse> {
        Err(Reason::Unimplemented.into())
    }

    async fn get_stock(
        &self,
        request: Request<stock::GetStockRequest>,
    ) -> Answer<stock::GetStockResponse> {
        Ok(Response::new(get_stock::run(&self.0, request).await?))
    }

    async fn list_stock(
        &self,
        request: Request<stock::ListStockRequest>,
    ) -> Answer<stock::ListStockResponse> {
        Ok(Response::new(list_stock::run(&self.0, request).await?))
    }
}
