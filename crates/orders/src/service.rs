//! The public verbs, one file each. Wire types stop here.

mod cancel_order;
pub(crate) mod customer;
mod erase_customer;
mod export_customer;
mod find_request;
mod get_order;
mod get_payment;
mod home;
mod list_account_entries;
mod list_keys;
mod list_orders;
pub(crate) mod move_customer;
mod place_moved;
mod place_order;
mod record_shipment;
mod refund_payment;
mod return_items;
mod rotate_key;
mod take_customer;
mod take_orders;
mod watch_order;

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use hansa_api::pb::admin;
use hansa_api::pb::admin::key_service_server::KeyService;
use hansa_api::pb::customer as people;
use hansa_api::pb::customer::customer_service_server::CustomerService;
use hansa_api::pb::inventory as stock;
use hansa_api::pb::inventory::inventory_service_server::InventoryService;
use hansa_api::pb::node as nodes;
use hansa_api::pb::node::node_intake_service_server::NodeIntakeService;
use hansa_api::pb::order as wire;
use hansa_api::pb::order::order_service_server::OrderService;
use hansa_api::pb::payment as pay;
use hansa_api::pb::payment::payment_service_server::PaymentService;
use hansa_api::status::Reason;
use tonic::{Request, Response, Status};

use crate::shell::Shell;

/// The gRPC face of the orders role.
#[derive(Clone)]
pub struct Service {
    pub shell: Arc<Shell>,
}

type Answer<T> = Result<Response<T>, Status>;
type Exported = Pin<Box<dyn Stream<Item = Result<people::ExportCustomerResponse, Status>> + Send>>;
type Taken = Pin<Box<dyn Stream<Item = Result<nodes::TakeOrdersResponse, Status>> + Send>>;
type Placed = Pin<Box<dyn Stream<Item = Result<wire::PlaceOrdersResponse, Status>> + Send>>;
type Events = Pin<Box<dyn Stream<Item = Result<wire::WatchOrderResponse, Status>> + Send>>;

#[tonic::async_trait]
impl OrderService for Service {
    async fn place_order(
        &self,
        request: Request<wire::PlaceOrderRequest>,
    ) -> Answer<wire::PlaceOrderResponse> {
        Ok(Response::new(place_order::run(&self.shell, request).await?))
    }

    type PlaceOrdersStream = Placed;

    /// Gateways take such a stream apart, and send its orders on.
    async fn place_orders(
        &self,
        _: Request<tonic::Streaming<wire::PlaceOrdersRequest>>,
    ) -> Answer<Placed> {
        Err(Reason::Unimplemented.into())
    }

    async fn get_order(
        &self,
        request: Request<wire::GetOrderRequest>,
    ) -> Answer<wire::GetOrderResponse> {
        Ok(Response::new(get_order::run(&self.shell, request).await?))
    }

    async fn list_orders(
        &self,
        request: Request<wire::ListOrdersRequest>,
    ) -> Answer<wire::ListOrdersResponse> {
        Ok(Response::new(list_orders::run(&self.shell, request).await?))
    }

    async fn cancel_order(
        &self,
        request: Request<wire::CancelOrderRequest>,
    ) -> Answer<wire::CancelOrderResponse> {
        Ok(Response::new(cancel_order::run(&self.shell, request).await?))
    }

    async fn return_items(
        &self,
        request: Request<wire::ReturnItemsRequest>,
    ) -> Answer<wire::ReturnItemsResponse> {
        Ok(Response::new(return_items::run(&self.shell, request).await?))
    }

    type WatchOrderStream = Events;

    async fn watch_order(&self, request: Request<wire::WatchOrderRequest>) -> Answer<Events> {
        let events = watch_order::run(self.shell.clone(), request).await?;
        Ok(Response::new(Box::pin(events)))
    }
}

#[tonic::async_trait]
impl NodeIntakeService for Service {
    type TakeOrdersStream = Taken;

    async fn take_orders(
        &self,
        request: Request<tonic::Streaming<nodes::TakeOrdersRequest>>,
    ) -> Answer<Taken> {
        Ok(Response::new(Box::pin(take_orders::run(self.shell.clone(), request)?)))
    }
}

#[tonic::async_trait]
impl CustomerService for Service {
    async fn erase_customer(
        &self,
        request: Request<people::EraseCustomerRequest>,
    ) -> Answer<people::EraseCustomerResponse> {
        Ok(Response::new(erase_customer::run(&self.shell, request).await?))
    }

    type ExportCustomerStream = Exported;

    async fn export_customer(
        &self,
        request: Request<people::ExportCustomerRequest>,
    ) -> Answer<Exported> {
        let items = export_customer::run(self.shell.clone(), request).await?;
        Ok(Response::new(Box::pin(items)))
    }

    async fn move_customer(
        &self,
        request: Request<people::MoveCustomerRequest>,
    ) -> Answer<people::MoveCustomerResponse> {
        Ok(Response::new(move_customer::run(&self.shell, request).await?))
    }
}

#[tonic::async_trait]
impl KeyService for Service {
    async fn list_keys(
        &self,
        request: Request<admin::ListKeysRequest>,
    ) -> Answer<admin::ListKeysResponse> {
        Ok(Response::new(list_keys::run(&self.shell, request).await?))
    }

    async fn rotate_key(
        &self,
        request: Request<admin::RotateKeyRequest>,
    ) -> Answer<admin::RotateKeyResponse> {
        Ok(Response::new(rotate_key::run(&self.shell, request).await?))
    }
}

#[tonic::async_trait]
impl PaymentService for Service {
    async fn get_payment(
        &self,
        request: Request<pay::GetPaymentRequest>,
    ) -> Answer<pay::GetPaymentResponse> {
        Ok(Response::new(get_payment::run(&self.shell, request).await?))
    }

    async fn refund_payment(
        &self,
        request: Request<pay::RefundPaymentRequest>,
    ) -> Answer<pay::RefundPaymentResponse> {
        Ok(Response::new(refund_payment::run(&self.shell, request).await?))
    }

    async fn list_account_entries(
        &self,
        request: Request<pay::ListAccountEntriesRequest>,
    ) -> Answer<pay::ListAccountEntriesResponse> {
        Ok(Response::new(list_account_entries::run(&self.shell, request).await?))
    }
}

/// The one verb of InventoryService that is about an order; the ledger serves the others.
#[tonic::async_trait]
impl InventoryService for Service {
    async fn record_shipment(
        &self,
        request: Request<stock::RecordShipmentRequest>,
    ) -> Answer<stock::RecordShipmentResponse> {
        Ok(Response::new(record_shipment::run(&self.shell, request).await?))
    }

    async fn receive_stock(
        &self,
        _: Request<stock::ReceiveStockRequest>,
    ) -> Answer<stock::ReceiveStockResponse> {
        Err(Reason::Unimplemented.into())
    }

    async fn adjust_stock(
        &self,
        _: Request<stock::AdjustStockRequest>,
    ) -> Answer<stock::AdjustStockResponse> {
        Err(Reason::Unimplemented.into())
    }

    async fn get_stock(
        &self,
        _: Request<stock::GetStockRequest>,
    ) -> Answer<stock::GetStockResponse> {
        Err(Reason::Unimplemented.into())
    }

    async fn list_stock(
        &self,
        _: Request<stock::ListStockRequest>,
    ) -> Answer<stock::ListStockResponse> {
        Err(Reason::Unimplemented.into())
    }
}
