//! The lives of orders, as a history tells them: who asked for what, and what was seen when.

use std::collections::BTreeMap;

use crate::history::{Call, History, Op, Place, Units};
use crate::requests::{Request, requests};
use crate::seen::{OrderSeen, OrderState, StockKey};

/// One order, or one PlaceOrder of which nobody knows whether it became one.
#[derive(Debug, Default)]
pub struct Life<'a> {
    pub name: Option<&'a str>,
    /// `None`: seen, but no PlaceOrder of this history is its own.
    pub place: Option<&'a Place>,
    /// Nothing of it was before.
    pub from: u64,
    /// The op to name in a trace.
    pub op: Option<&'a Op>,
    /// What linearizable answers showed, in the order in which they came.
    pub views: Vec<View<'a>>,
    pub cancels: Vec<Request<'a>>,
    pub ships: Vec<Request<'a>>,
    pub returns: Vec<Request<'a>>,
    pub refunds: Vec<Request<'a>>,
}

/// An answer that showed the order.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub op: &'a Op,
    pub at: u64,
    pub seen: &'a OrderSeen,
}

/// Every life of a history: first those with a name, in order of name.
pub fn lives(history: &History) -> Vec<Life<'_>> {
    let requests = requests(history);
    let mut places: BTreeMap<&str, &Request<'_>> = BTreeMap::new();
    for request in &requests {
        if let (Call::Place(place), Some(_)) = (request.call, request.from()) {
            places.insert(&place.reference, request);
        }
    }
    let mut named: BTreeMap<&str, Life<'_>> = BTreeMap::new();
    for op in &history.ops {
        let Some((seen, at)) = op.order_seen() else { continue };
        if matches!(op.call, Call::ReadCopy { .. }) {
            continue;
        }
        let life = named.entry(&seen.name).or_default();
        life.views.push(View { op, at, seen });
        let place = places.get(seen.reference.as_str());
        if let (None, Some(request)) = (life.place, place) {
            life.born(request);
        }
    }
    for request in requests.iter().filter(|request| request.from().is_some()) {
        if let Some(order) = request.call.order() {
            named.entry(order).or_default().asked(request.clone());
        }
    }
    let mut lives: Vec<Life<'_>> = Vec::new();
    for (name, mut life) in named {
        life.name = Some(name);
        life.views.sort_by_key(|view| view.at);
        if let Some(place) = life.place {
            places.remove(place.reference.as_str());
        }
        lives.push(life);
    }
    for request in places.values() {
        let mut life = Life::default();
        life.born(request);
        lives.push(life);
    }
    lives
}

impl<'a> Life<'a> {
    fn born(&mut self, request: &Request<'a>) {
        if let Call::Place(place) = request.call {
            self.place = Some(place);
            self.from = request.from().unwrap_or_else(|| request.begun());
            self.op = Some(request.first());
        }
    }

    fn asked(&mut self, request: Request<'a>) {
        match request.call {
            Call::Cancel { .. } => self.cancels.push(request),
            Call::Ship { .. } => self.ships.push(request),
            Call::Return { .. } => self.returns.push(request),
            Call::Refund { .. } => self.refunds.push(request),
            _ => {}
        }
    }

    /// The first instant by which an answer showed this.
    pub fn seen_by(&self, shows: impl Fn(&OrderSeen) -> bool) -> Option<u64> {
        self.views.iter().find(|view| shows(view.seen)).map(|view| view.at)
    }

    /// By then its stock was committed: it was seen confirmed, or granted what only a confirmed
    /// order is.
    pub fn confirmed_by(&self) -> Option<u64> {
        let seen = self.seen_by(|seen| {
            matches!(seen.state, OrderState::Confirmed | OrderState::Completed)
                || seen.lines.iter().any(|line| line.shipped > 0)
        });
        let granted = self.ships.iter().chain(&self.returns).chain(&self.refunds);
        seen.into_iter().chain(granted.filter_map(Request::by)).min()
    }

    /// By then everything that it held was given back.
    pub fn ended_by(&self) -> Option<u64> {
        self.seen_by(|seen| matches!(seen.state, OrderState::Rejected | OrderState::Cancelled))
    }

    /// Units of its stock lines at one key, and how many lines those are.
    pub fn units_at(&self, key: &StockKey) -> (i64, usize) {
        let lines = self.place.map_or(&[][..], |place| &place.lines);
        let here = lines.iter().filter(|line| line.stock.as_ref() == Some(key));
        here.fold((0, 0), |(sum, n), line| (sum + i64::from(line.quantity), n + 1))
    }

    /// Units of a shipment or return at one key, with their lines.
    pub fn moved_at(&self, key: &StockKey, moved: &[Units]) -> Vec<Units> {
        let lines = self.place.map_or(&[][..], |place| &place.lines);
        let here = |units: &&Units| {
            let place = (units.line as usize).checked_sub(1);
            let line = place.and_then(|place| lines.get(place));
            line.is_some_and(|line| line.stock.as_ref() == Some(key))
        };
        moved.iter().filter(here).copied().collect()
    }
}
