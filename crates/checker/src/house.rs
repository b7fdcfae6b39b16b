//! A house in miniature, honest or with one fault, and clients that record what they see of it.
//!
//! Everything happens one tick after the other, drawn from a seed: a client begins a call, the call
//! takes effect, a saga goes a step on, the client hears of it or does not.

mod orders;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::final_state::{FinalState, Listed};
use crate::history::{Answer, Call, History, Outcome, Place, PlaceLine, Units};
use crate::recorder::{Recorder, Ticket};
use crate::seen::{Money, PaymentSeen, StockKey, StockSeen};
use crate::stock::Stock;
use orders::Order;

/// What the house does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A receipt is answered and forgotten.
    LostUpdate,
    /// Stock is read as it was a while ago.
    StaleStock,
    /// An order is read as it was a while ago.
    StaleOrder,
    /// A repeated request takes effect again.
    NoDedup,
    /// A release gives back twice.
    DoubleRelease,
    /// A refused order keeps what it held.
    LeakedHold,
    /// A cancelled order comes back.
    Resurrected,
    /// A refund is booked twice.
    DoubleRefund,
    /// More is held than is free.
    Oversell,
    /// An acknowledged order is lost.
    LostOrder,
}

pub struct House {
    pub recorder: Recorder,
    fault: Option<Fault>,
    seed: u64,
    now: u64,
    stock: BTreeMap<StockKey, Stock>,
    past: Vec<BTreeMap<StockKey, Stock>>,
    orders: Vec<Order>,
    /// Request ids and the order that each became.
    seen: BTreeMap<(String, String), Option<usize>>,
    calls: Vec<Running>,
    clients: u32,
    requests: u32,
}

/// A call under way.
struct Running {
    ticket: Option<Ticket>,
    client: u32,
    call: Call,
    answer: Option<Result<Answer, &'static str>>,
    /// Nobody waits for it any more.
    abandoned: bool,
    /// Of a decided PlaceOrder: which order to wait for.
    order: Option<(usize, bool)>,
}

impl House {
    pub fn new(seed: u64, clients: u32, fault: Option<Fault>) -> Self {
        Self {
            recorder: Recorder::default(),
            fault,
            seed: seed | 1,
            now: 0,
            stock: BTreeMap::new(),
            past: Vec::new(),
            orders: Vec::new(),
            seen: BTreeMap::new(),
            calls: Vec::new(),
            clients,
            requests: 0,
        }
    }

    /// Lives for so many ticks, then comes to rest.
    pub fn live(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.tick(true);
        }
        for _ in 0..ticks {
            self.tick(false);
        }
        (0..self.orders.len()).for_each(|n| while self.saga(n) {});
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % below
    }

    fn tick(&mut self, begin: bool) {
        self.now += 10;
        self.past.push(self.stock.clone());
        match self.draw(4) {
            0 if begin => self.begin(),
            1 if !self.orders.is_empty() => {
                let n = self.draw(self.orders.len() as u64) as usize;
                self.saga(n);
            }
            _ if !self.calls.is_empty() => {
                let n = self.draw(self.calls.len() as u64) as usize;
                self.go_on(n);
            }
            _ => {}
        }
    }

    fn begin(&mut self) {
        let busy = |client: u32| self.calls.iter().any(|c| c.client == client && !c.abandoned);
        let Some(client) = (0..self.clients).find(|client| !busy(*client)) else { return };
        let call = self.call();
        let ticket = Some(self.recorder.invoke(client, call.clone(), self.now));
        let running = Running { ticket, client, call, answer: None, abandoned: false, order: None };
        self.calls.push(running);
    }

    fn key(&mut self) -> StockKey {
        let sku = format!("sku-{}", self.draw(2));
        StockKey { region: "eu-west".to_owned(), sku, warehouse: "main".to_owned() }
    }

    fn call(&mut self) -> Call {
        // One in six is sent again, word for word.
        if self.draw(6) == 0 && !self.recorder.history().ops.is_empty() {
            let n = self.draw(self.recorder.history().ops.len() as u64) as usize;
            return self.recorder.history().ops[n].call.clone();
        }
        self.requests += 1;
        let request = format!("r-{}", self.requests);
        let stock = self.key();
        let order = match self.orders.len() as u64 {
            0 => None,
            n => Some(self.draw(n) as usize),
        };
        let name = order.map(|n| self.orders[n].name.clone());
        let n = 1 + self.draw(3) as i64;
        match (self.draw(11), name) {
            (0 | 1, _) => Call::Receive { stock, request, quantity: 2 * n },
            (2, _) => Call::Adjust { stock, request, delta: -n, expected_on_hand: None },
            (3 | 4, _) => Call::ReadStock { stock },
            (5, Some(order)) => Call::ReadOrder { order },
            (6, Some(order)) => Call::ReadPayment { order },
            (7, Some(order)) => Call::Cancel { order, request },
            (8, Some(order)) => {
                let of = self.orders.iter().find(|known| known.name == order);
                let lines = of.map_or(1, |known| known.place.lines.len() as u32);
                let units = |line: u32| Units { line, quantity: 1 };
                let lines = (1..=lines).map(units).collect();
                match n {
                    1 => Call::Return { order, request, lines },
                    _ => Call::Ship { order, request, lines },
                }
            }
            (9, Some(order)) => Call::Refund { order, request, amount_minor: 100 * n },
            _ => Call::Place(self.place(request, stock, n)),
        }
    }

    fn place(&mut self, request: String, stock: StockKey, n: i64) -> Place {
        let other = self.key();
        let line = |stock: &StockKey, quantity: u32| PlaceLine {
            stock: Some(stock.clone()),
            quantity,
            price_minor: 100,
        };
        let mut lines = vec![line(&stock, n as u32)];
        if n == 2 {
            lines.push(line(&other, 1));
        }
        let total_minor = lines.iter().map(|line| i64::from(line.quantity) * 100).sum();
        Place { reference: request.clone(), request, lines, total_minor }
    }

    /// Takes effect, then is heard of; or is given up before or after.
    fn go_on(&mut self, n: usize) {
        if self.calls[n].answer.is_none() {
            if self.draw(12) == 0 && !self.calls[n].abandoned {
                self.abandon(n);
                return;
            }
            let call = self.calls[n].call.clone();
            let answer = self.effect(n, &call);
            self.calls[n].answer = Some(answer);
            return;
        }
        if let Some((order, replayed)) = self.calls[n].order {
            if !self.orders[order].decided() && self.draw(3) > 0 {
                return;
            }
            let seen = Box::new(self.orders[order].seen());
            self.calls[n].answer = Some(Ok(Answer::Order { seen, replayed }));
        }
        let running = self.calls.swap_remove(n);
        let outcome = match (running.answer, self.draw(10)) {
            (_, 0) | (None, _) => Outcome::Unknown { why: "lost".to_owned() },
            (Some(Ok(answer)), _) => Outcome::Known(answer),
            (Some(Err(reason)), _) => Outcome::Refused { reason: reason.to_owned() },
        };
        if let Some(ticket) = running.ticket {
            self.recorder.finish(ticket, outcome, self.now);
        }
    }

    fn abandon(&mut self, n: usize) {
        let running = &mut self.calls[n];
        running.abandoned = true;
        if let Some(ticket) = running.ticket.take() {
            let why = "timed out".to_owned();
            self.recorder.finish(ticket, Outcome::Unknown { why }, self.now);
        }
    }

    fn shown(&mut self, key: &StockKey) -> Option<StockSeen> {
        let mut stock = self.stock.get(key).copied();
        if self.fault == Some(Fault::StaleStock) && self.draw(3) == 0 {
            let ago = self.past.len().saturating_sub(60);
            stock = self.past[ago].get(key).copied();
        }
        stock.map(|stock| StockSeen {
            available: stock.free + stock.reserved,
            reserved: stock.reserved,
            committed: stock.committed,
            quarantine: stock.quarantine,
            on_hand: stock.free + stock.reserved + stock.committed + stock.quarantine,
            sellable: stock.free,
            ..StockSeen::default()
        })
    }

    fn effect(&mut self, n: usize, call: &Call) -> Result<Answer, &'static str> {
        if let Some(request) = call.request() {
            let key = (call.method().to_owned(), request.to_owned());
            let before = self.seen.get(&key).copied();
            let known = before.filter(|_| self.fault != Some(Fault::NoDedup));
            let target = match known {
                Some(target) => target,
                None => self.first(call)?,
            };
            self.seen.insert(key, target);
            return self.answer(n, call, target, known.is_some());
        }
        match call {
            Call::ReadStock { stock } => Ok(Answer::StockRead { seen: self.shown(stock) }),
            Call::ReadOrder { order } => {
                let found = self.find(order).filter(|n| !self.orders[*n].lost);
                let stale = self.fault == Some(Fault::StaleOrder) && self.draw(2) == 0;
                let seen = found.map(|n| match stale {
                    true => self.orders[n].seen_first(),
                    false => self.orders[n].seen(),
                });
                Ok(Answer::OrderRead { seen: seen.map(Box::new) })
            }
            Call::ReadPayment { order } => {
                Ok(Answer::PaymentRead { seen: self.find(order).map(|n| self.orders[n].payment()) })
            }
            _ => Err("UNIMPLEMENTED"),
        }
    }

    fn find(&self, order: &str) -> Option<usize> {
        self.orders.iter().position(|known| known.name == order)
    }

    /// The effect of a request that was not seen before; which order it made.
    fn first(&mut self, call: &Call) -> Result<Option<usize>, &'static str> {
        match call {
            Call::Receive { stock, quantity, .. } => {
                let lost = self.fault == Some(Fault::LostUpdate) && self.draw(3) == 0;
                let stock = self.stock.entry(stock.clone()).or_default();
                stock.known = true;
                stock.free += if lost { 0 } else { *quantity };
                Ok(None)
            }
            Call::Adjust { stock, delta, .. } => {
                let stock = self.stock.get_mut(stock).ok_or("UNKNOWN_SKU")?;
                if stock.free + delta < 0 {
                    return Err("STOCK_TOO_LOW");
                }
                stock.free += delta;
                Ok(None)
            }
            Call::Place(place) => {
                let name = format!("regions/eu-west/orders/{}", self.orders.len());
                self.orders.push(Order::new(name, place.clone()));
                Ok(Some(self.orders.len() - 1))
            }
            _ => {
                let order = call.order().and_then(|order| self.find(order));
                let order = order.ok_or("ORDER_NOT_FOUND")?;
                let twice = self.fault == Some(Fault::DoubleRefund);
                self.orders[order].ask(call, twice)?;
                Ok(Some(order))
            }
        }
    }

    fn answer(
        &mut self,
        n: usize,
        call: &Call,
        target: Option<usize>,
        replayed: bool,
    ) -> Result<Answer, &'static str> {
        match (call, target) {
            (Call::Receive { stock, .. } | Call::Adjust { stock, .. }, _) => {
                let seen = self.shown(stock).unwrap_or_default();
                Ok(Answer::Stock { seen, replayed })
            }
            (Call::Ship { lines, .. }, _) => Ok(Answer::Shipped { lines: lines.clone(), replayed }),
            (Call::Refund { .. }, Some(order)) => {
                Ok(Answer::Payment { seen: self.orders[order].payment(), replayed })
            }
            (_, Some(order)) => {
                if matches!(call, Call::Place(_)) {
                    self.calls[n].order = Some((order, replayed));
                }
                Ok(Answer::Order { seen: Box::new(self.orders[order].seen()), replayed })
            }
            (_, None) => Err("ORDER_NOT_FOUND"),
        }
    }

    /// One step of one saga; whether there was one.
    fn saga(&mut self, n: usize) -> bool {
        let declined = self.orders[n].name.ends_with('3');
        let fault = self.fault;
        self.orders[n].step(&mut self.stock, declined, fault)
    }

    pub fn history(&self) -> &History {
        self.recorder.history()
    }

    pub fn final_state(&self) -> FinalState {
        let mut state = FinalState::default();
        for order in &self.orders {
            let found = (!order.lost).then(|| order.seen());
            state.orders.insert(order.name.clone(), found);
            state.payments.insert(order.name.clone(), Some(order.payment()));
            let (region, reference) = ("eu-west".to_owned(), order.place.reference.clone());
            state.listed.push(Listed { region, order: order.name.clone(), reference });
        }
        for (key, stock) in &self.stock {
            let seen = StockSeen {
                available: stock.free + stock.reserved,
                reserved: stock.reserved,
                committed: stock.committed,
                quarantine: stock.quarantine,
                on_hand: stock.free + stock.reserved + stock.committed + stock.quarantine,
                sellable: stock.free,
                ..StockSeen::default()
            };
            state.stock.push((key.clone(), seen));
        }
        state
    }
}

pub fn payment(order: &str, money: Money, state: crate::seen::PaymentState) -> PaymentSeen {
    PaymentSeen { order: order.to_owned(), state, money, reference: String::new() }
}
