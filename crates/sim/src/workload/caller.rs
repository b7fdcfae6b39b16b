//! The calls of a client: each attempt is an operation of the history.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use hansa_api::client::{League as Door, Policy, Services};
use hansa_api::first_sent;
use hansa_api::pb::inventory as stock;
use hansa_api::pb::order as orders;
use hansa_api::pb::payment as payments;
use hansa_api::status::Failure;
use hansa_checker::history::{Place, Units};
use hansa_checker::seen::{OrderSeen, StockKey};
use hansa_checker::{Answer, Call, Outcome, wire};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use super::{Board, door_at, record};
use crate::clock;
use crate::plan::Plan;
use crate::world::Region;

/// Longest that a call may take, its retries included.
const CALL_MAX: Duration = Duration::from_secs(4);
/// The ledger's name for stock that names no warehouse.
pub const WAREHOUSE: &str = "main";

/// One client of the house, with its three roles.
pub struct Caller {
    number: u32,
    storefront: Door,
    warehouse: Door,
    finance: Door,
    board: Rc<Board>,
    /// The request that is being made, and when it was first sent: a repeat says the same.
    first: RefCell<(String, u64)>,
}

impl Caller {
    pub async fn new(plan: &Plan, doors: Vec<String>, number: u32, board: &Rc<Board>) -> Self {
        let door = |name| door_at(plan, doors.clone(), name, number, Policy::default());
        Self {
            number,
            storefront: door("storefront").await,
            warehouse: door("warehouse").await,
            finance: door("finance").await,
            board: board.clone(),
            first: RefCell::default(),
        }
    }

    /// A client of one gateway that has called nobody before, and tries once.
    pub async fn fresh(
        plan: &Plan,
        region: &Region,
        number: u32,
        gateway: usize,
        board: &Rc<Board>,
    ) -> Self {
        let gateway = region.doors[gateway % region.doors.len()].clone();
        let policy = Policy { attempts_max: 1, ..Policy::default() };
        let one = door_at(plan, vec![gateway], "storefront", number, policy).await;
        let [storefront, warehouse, finance] = [one.clone(), one.clone(), one];
        let (board, first) = (board.clone(), RefCell::default());
        Self { number, storefront, warehouse, finance, board, first }
    }

    pub fn number(&self) -> u32 {
        self.number
    }

    pub async fn place(
        &self,
        place: Place,
        request: orders::PlaceOrderRequest,
    ) -> Result<OrderSeen, Failure> {
        let answer = |got: &orders::PlaceOrderResponse| order(&got.order, got.replayed);
        let send = |mut to: Services, request| async move { to.orders.place_order(request).await };
        let got = self.call(&self.storefront, Call::Place(place), request, send, answer).await?;
        Ok(wire::order(&got.order.unwrap_or_default()))
    }

    pub async fn cancel(&self, request: orders::CancelOrderRequest) -> Result<(), Failure> {
        let (name, id) = (request.order.clone(), request.request_id.clone());
        let call = Call::Cancel { order: name, request: id };
        let answer = |got: &orders::CancelOrderResponse| order(&got.order, got.replayed);
        let send = |mut to: Services, request| async move { to.orders.cancel_order(request).await };
        self.call(&self.storefront, call, request, send, answer).await.map(drop)
    }

    pub async fn give_back(&self, request: orders::ReturnItemsRequest) -> Result<(), Failure> {
        let lines = request.lines.iter();
        let lines = lines.map(|one| Units { line: one.line, quantity: one.quantity as u32 });
        let call = Call::Return {
            order: request.order.clone(),
            request: request.request_id.clone(),
            lines: lines.collect(),
        };
        let answer = |got: &orders::ReturnItemsResponse| order(&got.order, got.replayed);
        let send = |mut to: Services, request| async move { to.orders.return_items(request).await };
        self.call(&self.storefront, call, request, send, answer).await.map(drop)
    }

    pub async fn refund(
        &self,
        request: payments::RefundPaymentRequest,
        amount_minor: i64,
    ) -> Result<(), Failure> {
        let (order, id) = (request.order.clone(), request.request_id.clone());
        let call = Call::Refund { order, request: id, amount_minor };
        let answer = |got: &payments::RefundPaymentResponse| Answer::Payment {
            seen: wire::payment(&got.payment.clone().unwrap_or_default()),
            replayed: got.replayed,
        };
        let send =
            |mut to: Services, request| async move { to.payments.refund_payment(request).await };
        self.call(&self.finance, call, request, send, answer).await.map(drop)
    }

    pub async fn ship(&self, request: stock::RecordShipmentRequest) -> Result<(), Failure> {
        let call = Call::Ship {
            order: request.order.clone(),
            request: request.request_id.clone(),
            lines: units(&request.lines),
        };
        let answer = |got: &stock::RecordShipmentResponse| Answer::Shipped {
            lines: units(&got.lines),
            replayed: got.replayed,
        };
        let send =
            |mut to: Services, request| async move { to.inventory.record_shipment(request).await };
        self.call(&self.warehouse, call, request, send, answer).await.map(drop)
    }

    pub async fn receive(&self, request: stock::ReceiveStockRequest) -> Result<(), Failure> {
        let call = Call::Receive {
            stock: key(&request.region, &request.sku),
            request: request.request_id.clone(),
            quantity: request.quantity,
        };
        let answer = |got: &stock::ReceiveStockResponse| shelf(&got.stock, got.replayed);
        let send =
            |mut to: Services, request| async move { to.inventory.receive_stock(request).await };
        self.call(&self.warehouse, call, request, send, answer).await.map(drop)
    }

    pub async fn adjust(&self, request: stock::AdjustStockRequest) -> Result<(), Failure> {
        let call = Call::Adjust {
            stock: key(&request.region, &request.sku),
            request: request.request_id.clone(),
            delta: request.delta,
            expected_on_hand: request.expected_on_hand,
        };
        let answer = |got: &stock::AdjustStockResponse| shelf(&got.stock, got.replayed);
        let send =
            |mut to: Services, request| async move { to.inventory.adjust_stock(request).await };
        self.call(&self.warehouse, call, request, send, answer).await.map(drop)
    }

    pub async fn read_stock(&self, stock: StockKey) -> Result<(), Failure> {
        let request = stock::GetStockRequest {
            region: stock.region.clone(),
            sku: stock.sku.clone(),
            warehouse: stock.warehouse.clone(),
        };
        let call = Call::ReadStock { stock };
        let answer = |got: &stock::GetStockResponse| Answer::StockRead {
            seen: got.stocks.first().map(wire::stock),
        };
        let send = |mut to: Services, request| async move { to.inventory.get_stock(request).await };
        self.call(&self.warehouse, call, request, send, answer).await.map(drop)
    }

    pub async fn read_order(&self, name: &str) -> Result<OrderSeen, Failure> {
        let call = Call::ReadOrder { order: name.to_owned() };
        let request = orders::GetOrderRequest { order: name.to_owned(), ..Default::default() };
        let answer = |got: &orders::GetOrderResponse| Answer::OrderRead {
            seen: got.order.as_ref().map(|seen| Box::new(wire::order(seen))),
        };
        let send = |mut to: Services, request| async move { to.orders.get_order(request).await };
        let got = self.call(&self.storefront, call, request, send, answer).await?;
        Ok(wire::order(&got.order.unwrap_or_default()))
    }

    pub async fn read_payment(&self, order: &str) -> Result<(), Failure> {
        let call = Call::ReadPayment { order: order.to_owned() };
        let request = payments::GetPaymentRequest { order: order.to_owned() };
        let answer = |got: &payments::GetPaymentResponse| Answer::PaymentRead {
            seen: got.payment.as_ref().map(wire::payment),
        };
        let send =
            |mut to: Services, request| async move { to.payments.get_payment(request).await };
        self.call(&self.storefront, call, request, send, answer).await.map(drop)
    }

    /// Makes a call by the published policy. An attempt that nobody waits for any more stays open
    /// in the history: its ticket is dropped with it.
    async fn call<M, T, F>(
        &self,
        at: &Door,
        call: Call,
        message: M,
        send: impl Fn(Services, Request<M>) -> F,
        answer: impl Fn(&T) -> Answer,
    ) -> Result<T, Failure>
    where
        M: Clone,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let record = &self.board.record;
        let first = self.first_sent(&call);
        let attempt = |services: Services, one: hansa_api::client::Call| {
            let mut request = one.request(message.clone());
            if let Some(at) = first {
                request.metadata_mut().insert(first_sent::HEADER, MetadataValue::from(at));
            }
            let sent = send(services, request);
            let (call, answer) = (call.clone(), &answer);
            async move {
                let ticket = record.invoke(self.number, call.clone());
                let came = sent.await;
                let outcome = match &came {
                    Ok(response) => Outcome::Known(answer(response.get_ref())),
                    Err(status) => record::refused(&call, &Failure::from(status.clone())),
                };
                record.finish(ticket, outcome);
                came
            }
        };
        at.call(CALL_MAX, attempt).await
    }

    /// Who placed an order, once an answer has shown it.
    pub fn placed(&self, order: &str, customer: String) {
        let at = self.board.record.now();
        self.board.placed.borrow_mut().insert(order.to_owned(), (customer, at));
    }

    /// When the request of a call was first sent; a call that changes nothing has none.
    fn first_sent(&self, call: &Call) -> Option<u64> {
        let id = call.request()?;
        let mut first = self.first.borrow_mut();
        if first.0 != id {
            let at = clock::truth()?.as_millis() as u64;
            *first = (id.to_owned(), clock::EPOCH_MS + at);
        }
        Some(first.1)
    }
}

fn order(seen: &Option<orders::Order>, replayed: bool) -> Answer {
    let seen = Box::new(wire::order(&seen.clone().unwrap_or_default()));
    Answer::Order { seen, replayed }
}

fn shelf(seen: &Option<stock::Stock>, replayed: bool) -> Answer {
    Answer::Stock { seen: seen.as_ref().map(wire::stock).unwrap_or_default(), replayed }
}

fn units(lines: &[stock::ShipmentLine]) -> Vec<Units> {
    lines.iter().map(|line| Units { line: line.line, quantity: line.quantity as u32 }).collect()
}

fn key(region: &str, sku: &str) -> StockKey {
    let warehouse = WAREHOUSE.to_owned();
    StockKey { region: region.to_owned(), sku: sku.to_owned(), warehouse }
}
