//! The calls of the load: each attempt is recorded, each call tallied.

use std::time::Duration;

use hansa_api::client::{League, Services};
use hansa_api::pb::inventory as stock;
use hansa_api::pb::order as orders;
use hansa_api::pb::payment as payments;
use hansa_api::status::Failure;
use hansa_checker::history::{Place, Units};
use hansa_checker::seen::{OrderSeen, StockKey};
use hansa_checker::{Answer, Call, Outcome, wire};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::{Record, Shape, Tally, client, client_of_one, record};
use crate::processes::Processes;

/// One client of the house, with its three roles.
pub struct Caller {
    number: u32,
    storefront: League,
    warehouse: League,
    record: Record,
    tally: Tally,
    timeout: Duration,
}

impl Caller {
    /// Enters a region first by its gateway `number`.
    pub async fn connect(
        league: &Processes,
        door: &str,
        number: usize,
        shape: &Shape,
        record: &Record,
        tally: &Tally,
    ) -> Self {
        Self {
            number: number as u32,
            storefront: client(league, "storefront", door, number, shape.policy).await,
            warehouse: client(league, "warehouse", door, number, shape.policy).await,
            record: record.clone(),
            tally: tally.clone(),
            timeout: shape.timeout,
        }
    }

    /// Enters by one gateway of the home region, and by no other.
    pub async fn patient(
        league: &Processes,
        number: usize,
        shape: &Shape,
        record: &Record,
        tally: &Tally,
    ) -> Self {
        let of = |name| client_of_one(league, name, shape.region, number, shape.policy);
        Self {
            number: 1_000 + number as u32,
            storefront: of("storefront").await,
            warehouse: of("warehouse").await,
            record: record.clone(),
            tally: tally.clone(),
            timeout: shape.timeout,
        }
    }

    pub async fn place(
        &self,
        place: Place,
        request: orders::PlaceOrderRequest,
    ) -> Result<OrderSeen, Failure> {
        let answer =
            |response: &orders::PlaceOrderResponse| order(&response.order, response.replayed);
        let send = |mut to: Services, request| async move { to.orders.place_order(request).await };
        let got = self.call(&self.storefront, Call::Place(place), request, send, answer).await?;
        Ok(wire::order(&got.order.unwrap_or_default()))
    }

    pub async fn cancel(&self, request: orders::CancelOrderRequest) -> Result<OrderSeen, Failure> {
        let (order_name, id) = (request.order.clone(), request.request_id.clone());
        let call = Call::Cancel { order: order_name, request: id };
        let answer =
            |response: &orders::CancelOrderResponse| order(&response.order, response.replayed);
        let send = |mut to: Services, request| async move { to.orders.cancel_order(request).await };
        let got = self.call(&self.storefront, call, request, send, answer).await?;
        Ok(wire::order(&got.order.unwrap_or_default()))
    }

    pub async fn ship(&self, request: stock::RecordShipmentRequest) -> Result<(), Failure> {
        let call = Call::Ship {
            order: request.order.clone(),
            request: request.request_id.clone(),
            lines: units(&request.lines),
        };
        let answer = |response: &stock::RecordShipmentResponse| {
            let (lines, replayed) = (units(&response.lines), response.replayed);
            Answer::Shipped { lines, replayed }
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
        let answer =
            |response: &stock::ReceiveStockResponse| shelf(&response.stock, response.replayed);
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
        let answer =
            |response: &stock::AdjustStockResponse| shelf(&response.stock, response.replayed);
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
        let answer = |response: &stock::GetStockResponse| Answer::StockRead {
            seen: response.stocks.first().map(wire::stock),
        };
        let send = |mut to: Services, request| async move { to.inventory.get_stock(request).await };
        self.call(&self.warehouse, call, request, send, answer).await.map(drop)
    }

    pub async fn read_order(&self, name: &str) -> Result<OrderSeen, Failure> {
        let call = Call::ReadOrder { order: name.to_owned() };
        let request = orders::GetOrderRequest { order: name.to_owned(), ..Default::default() };
        let answer = |response: &orders::GetOrderResponse| Answer::OrderRead {
            seen: response.order.as_ref().map(|seen| Box::new(wire::order(seen))),
        };
        let send = |mut to: Services, request| async move { to.orders.get_order(request).await };
        let got = self.call(&self.storefront, call, request, send, answer).await?;
        Ok(wire::order(&got.order.unwrap_or_default()))
    }

    pub async fn read_payment(&self, order: &str) -> Result<(), Failure> {
        let call = Call::ReadPayment { order: order.to_owned() };
        let request = payments::GetPaymentRequest { order: order.to_owned() };
        let answer = |response: &payments::GetPaymentResponse| Answer::PaymentRead {
            seen: response.payment.as_ref().map(wire::payment),
        };
        let send =
            |mut to: Services, request| async move { to.payments.get_payment(request).await };
        self.call(&self.storefront, call, request, send, answer).await.map(drop)
    }

    /// Makes a call by the published policy. An attempt that nobody waits for any more stays open
    /// in the record: its ticket is dropped with it.
    async fn call<M, T, F>(
        &self,
        at: &League,
        call: Call,
        message: M,
        send: impl Fn(Services, Request<M>) -> F,
        answer: impl Fn(&T) -> Answer,
    ) -> Result<T, Failure>
    where
        M: Clone,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let (method, began) = (call.method(), Instant::now());
        let attempt = |services: Services, one: hansa_api::client::Call| {
            let sent = send(services, one.request(message.clone()));
            let (call, answer) = (call.clone(), &answer);
            async move {
                let ticket = self.record.invoke(self.number, call.clone());
                let came = sent.await;
                let outcome = match &came {
                    Ok(response) => Outcome::Known(answer(response.get_ref())),
                    Err(status) => record::refused(&call, &Failure::from(status.clone())),
                };
                self.record.finish(ticket, outcome);
                came
            }
        };
        let result = at.call(self.timeout, attempt).await;
        self.tally.add(method, result.as_ref().err(), began.elapsed());
        result
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
    let warehouse = super::WAREHOUSE.to_owned();
    StockKey { region: region.to_owned(), sku: sku.to_owned(), warehouse }
}
