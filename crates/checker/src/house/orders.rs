//! Orders of the miniature house.

use std::collections::BTreeMap;

use crate::history::{Call, Place, Units};
use crate::seen::{
    Fulfillment, LineSeen, Money, OrderSeen, OrderState, PaymentSeen, PaymentState, RejectReason,
    Rejected, StockKey,
};
use crate::stock::Stock;

use super::Fault;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Placed,
    Held,
    Committed,
    Confirmed,
    Refused,
    Declined,
    Undoing,
    Cancelled,
}

pub struct Order {
    pub name: String,
    pub place: Place,
    pub lost: bool,
    at: At,
    version: u64,
    money: Money,
    cancel: bool,
    why: Option<Rejected>,
    shipped: Vec<u32>,
    returned: Vec<u32>,
    /// Decided, not done yet.
    ships: Vec<Vec<Units>>,
    returns: Vec<Vec<Units>>,
    refunds: Vec<i64>,
    decided: i64,
    first: Option<OrderSeen>,
    twice: bool,
}

impl Order {
    pub fn new(name: String, place: Place) -> Self {
        let none = vec![0; place.lines.len()];
        let mut order = Self {
            name,
            place,
            lost: false,
            at: At::Placed,
            version: 1,
            money: Money::default(),
            cancel: false,
            why: None,
            shipped: none.clone(),
            returned: none,
            ships: Vec::new(),
            returns: Vec::new(),
            refunds: Vec::new(),
            decided: 0,
            first: None,
            twice: false,
        };
        order.first = Some(order.seen());
        order
    }

    fn state(&self) -> OrderState {
        let done = self.shipped.iter().zip(&self.place.lines).all(|(n, line)| *n == line.quantity);
        match self.at {
            At::Placed | At::Held | At::Committed => OrderState::Pending,
            At::Confirmed if done => OrderState::Completed,
            At::Confirmed => OrderState::Confirmed,
            At::Undoing if self.money.captured > 0 => OrderState::Confirmed,
            At::Undoing => OrderState::Pending,
            At::Refused | At::Declined => OrderState::Rejected,
            At::Cancelled => OrderState::Cancelled,
        }
    }

    pub fn decided(&self) -> bool {
        self.state() != OrderState::Pending
    }

    pub fn seen(&self) -> OrderSeen {
        let line = |(n, placed): (usize, &crate::history::PlaceLine)| LineSeen {
            line: n as u32 + 1,
            sku: placed.stock.as_ref().map_or_else(String::new, |stock| stock.sku.clone()),
            quantity: placed.quantity,
            price_minor: placed.price_minor,
            shipped: self.shipped[n],
            returned: self.returned[n],
        };
        let rejected = self.state() == OrderState::Rejected;
        OrderSeen {
            name: self.name.clone(),
            version: self.version,
            state: self.state(),
            payment_state: PaymentState::None,
            fulfillment: match self.at {
                At::Held | At::Committed | At::Confirmed => Fulfillment::Allocated,
                _ => Fulfillment::Unallocated,
            },
            rejected: self.why.clone().filter(|_| rejected),
            reference: self.place.reference.clone(),
            lines: self.place.lines.iter().enumerate().map(line).collect(),
            total_minor: self.place.total_minor,
            money: Some(self.money),
            parked: String::new(),
        }
    }

    pub fn seen_first(&self) -> OrderSeen {
        self.first.clone().unwrap_or_else(|| self.seen())
    }

    pub fn payment(&self) -> PaymentSeen {
        super::payment(&self.name, self.money, PaymentState::None)
    }

    /// Decides a request.
    pub fn ask(&mut self, call: &Call, twice: bool) -> Result<(), &'static str> {
        self.twice = twice;
        let confirmed = self.at == At::Confirmed;
        match call {
            Call::Cancel { .. } if self.cancel => Ok(()),
            Call::Cancel { .. } => {
                let early = matches!(self.at, At::Placed | At::Held | At::Confirmed);
                if !early || !self.ships.is_empty() || self.shipped.iter().any(|n| *n > 0) {
                    return Err("NOT_CANCELLABLE");
                }
                self.cancel = true;
                Ok(())
            }
            Call::Refund { amount_minor, .. } => {
                if !confirmed || self.cancel || self.decided + amount_minor > self.money.captured {
                    return Err("NOT_REFUNDABLE");
                }
                self.decided += amount_minor;
                self.refunds.push(*amount_minor);
                Ok(())
            }
            Call::Ship { lines, .. } => {
                let left = |u: &Units| {
                    let n = u.line as usize - 1;
                    let under_way: u32 =
                        self.ships.iter().flatten().filter(|s| s.line == u.line).count() as u32;
                    self.shipped[n] + under_way + u.quantity <= self.place.lines[n].quantity
                };
                if !confirmed || self.cancel || !lines.iter().all(left) {
                    return Err("NOT_SHIPPABLE");
                }
                self.ships.push(lines.clone());
                Ok(())
            }
            Call::Return { lines, .. } => {
                let left = |u: &Units| {
                    let n = u.line as usize - 1;
                    let under_way: u32 =
                        self.returns.iter().flatten().filter(|s| s.line == u.line).count() as u32;
                    self.returned[n] + under_way + u.quantity <= self.shipped[n]
                };
                if !confirmed || !lines.iter().all(left) {
                    return Err("NOT_RETURNABLE");
                }
                let worth = 100 * lines.len() as i64;
                let amount = worth.min(self.money.captured - self.decided);
                if amount > 0 {
                    self.decided += amount;
                    self.refunds.push(amount);
                }
                self.returns.push(lines.clone());
                Ok(())
            }
            _ => Err("UNIMPLEMENTED"),
        }
    }

    fn units(&self) -> BTreeMap<StockKey, i64> {
        let mut units = BTreeMap::new();
        for line in &self.place.lines {
            if let Some(stock) = &line.stock {
                *units.entry(stock.clone()).or_default() += i64::from(line.quantity);
            }
        }
        units
    }

    fn each(&self, stock: &mut BTreeMap<StockKey, Stock>, change: impl Fn(&mut Stock, i64)) {
        for (key, n) in self.units() {
            change(stock.entry(key).or_default(), n);
        }
    }

    /// One step; whether there was one.
    pub fn step(
        &mut self,
        stock: &mut BTreeMap<StockKey, Stock>,
        declined: bool,
        fault: Option<Fault>,
    ) -> bool {
        let next = match self.at {
            At::Placed if self.cancel => At::Cancelled,
            At::Placed => self.hold(stock, fault),
            At::Held if self.cancel || declined => {
                if fault != Some(Fault::LeakedHold) {
                    let twice = if fault == Some(Fault::DoubleRelease) { 2 } else { 1 };
                    self.each(stock, |stock, n| {
                        stock.reserved -= n;
                        stock.free += twice * n;
                    });
                }
                let reason = RejectReason::PaymentDeclined;
                self.why = Some(Rejected { reason, line: 0, sku: String::new(), available: 0 });
                if self.cancel { At::Cancelled } else { At::Declined }
            }
            At::Held => {
                self.each(stock, |stock, n| {
                    stock.reserved -= n;
                    stock.committed += n;
                });
                let total = self.place.total_minor;
                self.money.authorized = total;
                At::Committed
            }
            At::Committed => {
                self.money.captured = self.place.total_minor;
                At::Confirmed
            }
            At::Confirmed if self.cancel && self.refunds.is_empty() => {
                self.each(stock, |stock, n| {
                    stock.committed -= n;
                    stock.free += n;
                });
                At::Undoing
            }
            At::Undoing => {
                self.money.refunded = self.money.captured;
                At::Cancelled
            }
            At::Cancelled if fault == Some(Fault::Resurrected) && self.money.captured > 0 => {
                At::Confirmed
            }
            At::Confirmed => return self.deliver(stock, fault),
            At::Refused | At::Declined | At::Cancelled => return false,
        };
        self.cancel &= !(self.at == At::Cancelled && next == At::Confirmed);
        self.at = next;
        self.version += 1;
        true
    }

    fn hold(&mut self, stock: &mut BTreeMap<StockKey, Stock>, fault: Option<Fault>) -> At {
        let slack = if fault == Some(Fault::Oversell) { 2 } else { 0 };
        for (n, line) in (1..).zip(&self.place.lines) {
            let Some(key) = &line.stock else { continue };
            let units = self.units()[key];
            let free = stock.entry(key.clone()).or_default().free;
            if free + slack < units {
                let (reason, sku) = (RejectReason::OutOfStock, key.sku.clone());
                self.why = Some(Rejected { reason, line: n, sku, available: free });
                return At::Refused;
            }
        }
        self.each(stock, |stock, n| {
            stock.free -= n;
            stock.reserved += n;
        });
        At::Held
    }

    fn deliver(&mut self, stock: &mut BTreeMap<StockKey, Stock>, fault: Option<Fault>) -> bool {
        self.lost |= fault == Some(Fault::LostOrder);
        if let Some(lines) = self.ships.pop() {
            self.moved(&lines, stock, true);
        } else if let Some(lines) = self.returns.pop() {
            self.moved(&lines, stock, false);
        } else if let Some(amount) = self.refunds.pop() {
            self.money.refunded += if self.twice { 2 * amount } else { amount };
        } else {
            return false;
        }
        self.version += 1;
        true
    }

    fn moved(&mut self, lines: &[Units], stock: &mut BTreeMap<StockKey, Stock>, ship: bool) {
        for units in lines {
            let n = units.line as usize - 1;
            let Some(key) = &self.place.lines[n].stock else { continue };
            let stock = stock.entry(key.clone()).or_default();
            if ship {
                stock.committed -= i64::from(units.quantity);
                self.shipped[n] += units.quantity;
            } else {
                stock.quarantine += i64::from(units.quantity);
                self.returned[n] += units.quantity;
            }
        }
    }
}
