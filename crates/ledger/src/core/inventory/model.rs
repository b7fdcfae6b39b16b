//! The stock books again, naively: a list of reservations and plain counts.

use std::collections::BTreeMap;

use hansa_types::id::TransferId;

use super::*;
use crate::core::outcome::OutcomeCode as C;

#[derive(Clone, Default, Debug, PartialEq)]
pub struct Shelf {
    pub received: i64,
    pub adjusted: i64,
    pub shipped: i64,
    /// Into quarantine, and how much of it another region had shipped.
    pub returned: i64,
    pub elsewhere: i64,
    /// From customers back to available.
    pub rebooked: i64,
    pub floor: i64,
}

impl Shelf {
    fn with_customers(&self) -> i64 {
        self.shipped + self.elsewhere - self.returned - self.rebooked
    }
}

#[derive(Clone, Debug)]
pub struct Booking {
    pub created: u64,
    pub expires: Option<u64>,
    /// (line, sku, quantity, shipped)
    pub lines: Vec<(u32, String, i64, i64)>,
    pub ended: Option<C>,
}

#[derive(Default)]
pub struct Model {
    pub window_ms: u64,
    pub cap_ms: u64,
    pub now: u64,
    pub shelves: BTreeMap<String, Shelf>,
    pub bookings: BTreeMap<TransferId, Booking>,
    pub done: BTreeMap<TransferId, (u128, C)>,
}

impl Model {
    pub fn advance(&mut self, at: u64) {
        self.now = at;
        for booking in self.bookings.values_mut() {
            if booking.ended.is_none() && booking.expires.is_some_and(|expires| expires <= at) {
                booking.ended = Some(C::Expired);
            }
        }
    }

    fn live(&self, sku: &str, held: bool) -> i64 {
        let live = self.bookings.values().filter(|booking| booking.ended.is_none());
        live.filter(|booking| booking.expires.is_some() == held)
            .flat_map(|booking| &booking.lines)
            .filter(|line| line.1 == sku)
            .map(|line| line.2 - line.3)
            .sum()
    }

    pub fn reserved(&self, sku: &str) -> i64 {
        self.live(sku, true)
    }

    pub fn committed(&self, sku: &str) -> i64 {
        self.live(sku, false)
    }

    pub fn available(&self, sku: &str) -> i64 {
        let shelf = self.shelves.get(sku).cloned().unwrap_or_default();
        shelf.received + shelf.adjusted + shelf.rebooked - shelf.shipped - self.committed(sku)
    }

    pub fn sellable(&self, sku: &str) -> i64 {
        let floor = self.shelves.get(sku).map_or(0, |shelf| shelf.floor);
        self.available(sku) - self.reserved(sku) + floor
    }

    /// `id` is the command's transfer id: given, or what the request's key stands for.
    pub fn apply(&mut self, id: TransferId, command: &Command<'_>, body: u128) -> C {
        if let Some(code) = malformed(command) {
            return code;
        }
        if id.at().ms() + self.window_ms < self.now {
            return C::IdTooOld;
        }
        if let Some((known, code)) = self.done.get(&id) {
            return match (*known == body, *code) {
                (false, _) => C::ExistsWithDifferent,
                (true, C::Applied) => C::Exists,
                (true, code) => code,
            };
        }
        let code = self.effect(id, command).err().unwrap_or(C::Applied);
        self.done.insert(id, (body, code));
        code
    }

    fn booking(&mut self, hold: &TransferId) -> Result<&mut Booking, C> {
        let known = hold.at().ms() + self.window_ms >= self.now;
        let done = self.done.contains_key(hold);
        match self.bookings.get_mut(hold) {
            Some(booking) if booking.ended.is_none() => Ok(booking),
            _ if !known => Err(C::HoldNotFound),
            Some(booking) => Err(booking.ended.unwrap()),
            None if done => Err(C::NotAHold),
            None => Err(C::HoldNotFound),
        }
    }

    fn effect(&mut self, id: TransferId, command: &Command<'_>) -> Result<(), C> {
        match command {
            Command::Reserve(reserve) => self.reserve(id, reserve)?,
            Command::Extend { hold, ttl_ms, .. } => {
                let (now, cap_ms) = (self.now, self.cap_ms);
                let booking = self.booking(hold)?;
                let expires = booking.expires.ok_or(C::AlreadyPosted)?;
                let cap = booking.created + cap_ms;
                if expires >= cap {
                    return Err(C::ExtendCapReached);
                }
                booking.expires = Some((now + u64::from(*ttl_ms)).min(cap).max(expires));
            }
            Command::Commit { hold, .. } => {
                let booking = self.booking(hold)?;
                booking.expires.take().ok_or(C::AlreadyPosted)?;
            }
            Command::Uncommit { hold, .. } => {
                let booking = self.booking(hold)?;
                if booking.expires.is_some() {
                    return Err(C::ExceedsCommitted);
                }
                booking.ended = Some(C::AlreadyVoided);
            }
            Command::Release { hold, .. } => {
                let booking = self.booking(hold)?;
                booking.expires.ok_or(C::AlreadyPosted)?;
                booking.ended = Some(C::AlreadyVoided);
            }
            Command::Ship(ship) => self.ship(ship)?,
            Command::Return(returned) => self.take_back(returned, &[])?,
            Command::ReturnElsewhere(back) => self.take_back(&back.returned, &back.elsewhere)?,
            Command::Receive(receive) => {
                let shelf = self.shelves.entry(receive.sku.to_owned()).or_default();
                shelf.received += receive.quantity as i64;
            }
            Command::Adjust(adjust) => self.adjust(adjust)?,
            Command::Rebook(rebook) => self.rebook(rebook)?,
            Command::SetFloor(set) => {
                let floor = i64::from(set.backorder_limit) - i64::from(set.safety_stock);
                let free = self.available(set.sku) - self.reserved(set.sku);
                let shelf = self.shelves.get_mut(set.sku).ok_or(C::UnknownSku)?;
                if free + floor < 0 {
                    return Err(C::BelowHeld);
                }
                shelf.floor = floor;
            }
        }
        Ok(())
    }

    fn reserve(&mut self, id: TransferId, reserve: &Reserve<'_>) -> Result<(), C> {
        let lines = &reserve.lines;
        if lines.iter().any(|line| !self.shelves.contains_key(line.sku)) {
            self.bookings.insert(id, ended(C::HoldNotFound));
            return Err(C::UnknownSku);
        }
        let mut asked: BTreeMap<&str, i64> = BTreeMap::new();
        for line in lines {
            *asked.entry(line.sku).or_default() += i64::from(line.quantity);
        }
        if asked.iter().any(|(sku, quantity)| *quantity > self.sellable(sku)) {
            self.bookings.insert(id, ended(C::HoldNotFound));
            return Err(C::ExceedsAvailable);
        }
        let line =
            |line: &StockLine<'_>| (line.line, line.sku.to_owned(), i64::from(line.quantity), 0);
        let ttl_ms = u64::from(reserve.ttl_ms).min(self.cap_ms);
        let booking = Booking {
            created: self.now,
            expires: Some(self.now + ttl_ms),
            lines: lines.iter().map(line).collect(),
            ended: None,
        };
        self.bookings.insert(id, booking);
        Ok(())
    }

    fn ship(&mut self, ship: &Ship<'_>) -> Result<(), C> {
        let booking = self.booking(&ship.hold)?;
        if booking.expires.is_some() {
            return Err(C::ExceedsCommitted);
        }
        let mut after = booking.clone();
        let mut moved = Vec::new();
        for line in &mut after.lines {
            let asked = ship.lines.iter().find(|asked| asked.line == line.0);
            let quantity = match asked {
                _ if ship.lines.is_empty() => line.2 - line.3,
                Some(asked) if asked.sku == line.1 => i64::from(asked.quantity),
                Some(_) => return Err(C::ExceedsCommitted),
                None => 0,
            };
            if quantity > line.2 - line.3 {
                return Err(C::ExceedsCommitted);
            }
            line.3 += quantity;
            moved.push((line.1.clone(), quantity));
        }
        let known = |asked: &StockLine<'_>| after.lines.iter().any(|line| line.0 == asked.line);
        if !ship.lines.iter().all(known) {
            return Err(C::ExceedsCommitted);
        }
        if after.lines.iter().all(|line| line.2 == line.3) {
            after.ended = Some(C::AlreadyPosted);
        }
        *booking = after;
        for (sku, quantity) in moved {
            self.shelves.get_mut(&sku).unwrap().shipped += quantity;
        }
        Ok(())
    }

    fn take_back(&mut self, returned: &Return<'_>, elsewhere: &[u32]) -> Result<(), C> {
        let mut after = self.shelves.clone();
        for (n, line) in returned.lines.iter().enumerate() {
            let own = line.quantity - elsewhere.get(n).unwrap_or(&0);
            if own == 0 {
                continue;
            }
            let shelf = after.get_mut(line.sku).ok_or(C::UnknownSku)?;
            shelf.returned += i64::from(own);
            if shelf.with_customers() < 0 {
                return Err(C::ExceedsShipped);
            }
        }
        for (line, units) in returned.lines.iter().zip(elsewhere).filter(|(_, units)| **units > 0) {
            let shelf = after.entry(line.sku.to_owned()).or_default();
            shelf.returned += i64::from(*units);
            shelf.elsewhere += i64::from(*units);
        }
        self.shelves = after;
        Ok(())
    }

    fn rebook(&mut self, rebook: &Rebook<'_>) -> Result<(), C> {
        let free = self.sellable(rebook.sku);
        let shelf = self.shelves.get_mut(rebook.sku).ok_or(C::UnknownSku)?;
        if shelf.with_customers() != rebook.expected_shipped {
            return Err(C::CountDiffers);
        }
        if rebook.delta > shelf.with_customers() || free + rebook.delta < 0 && rebook.delta < 0 {
            return Err(C::ExceedsAvailable);
        }
        shelf.rebooked += rebook.delta;
        Ok(())
    }

    fn adjust(&mut self, adjust: &Adjust<'_>) -> Result<(), C> {
        let sku = adjust.sku;
        let shelf = self.shelves.get(sku).ok_or(C::UnknownSku)?;
        let came_in = shelf.received + shelf.adjusted + shelf.elsewhere;
        let on_hand = came_in - shelf.with_customers();
        if adjust.expected_on_hand.is_some_and(|expected| expected != on_hand) {
            return Err(C::CountDiffers);
        }
        if self.sellable(sku) + adjust.delta < 0 && adjust.delta < 0 {
            if self.sellable(sku) + self.reserved(sku) + adjust.delta < 0 {
                return Err(C::ExceedsAvailable);
            }
            if !adjust.force {
                return Err(C::BelowHeld);
            }
            let newest = |model: &Self| {
                let holds = model.bookings.iter().filter(|(_, booking)| {
                    booking.ended.is_none()
                        && booking.expires.is_some()
                        && booking.lines.iter().any(|line| line.1 == sku)
                });
                holds.map(|(id, booking)| (booking.created, *id)).max()
            };
            while self.sellable(sku) + adjust.delta < 0 {
                let (_, id) = newest(self).unwrap();
                self.bookings.get_mut(&id).unwrap().ended = Some(C::AlreadyVoided);
            }
        }
        self.shelves.get_mut(sku).unwrap().adjusted += adjust.delta;
        Ok(())
    }
}

fn ended(code: C) -> Booking {
    Booking { created: 0, expires: None, lines: Vec::new(), ended: Some(code) }
}

fn malformed(command: &Command<'_>) -> Option<C> {
    let lines = match command {
        Command::Reserve(Reserve { lines, .. })
        | Command::Return(Return { lines, .. })
        | Command::ReturnElsewhere(ReturnElsewhere { returned: Return { lines, .. }, .. }) => {
            if lines.is_empty() {
                return Some(C::AmountInvalid);
            }
            lines
        }
        Command::Ship(Ship { lines, .. }) => lines,
        Command::Receive(Receive { quantity: 0, .. })
        | Command::Adjust(Adjust { delta: 0, .. })
        | Command::Rebook(Rebook { delta: 0, .. }) => {
            return Some(C::AmountInvalid);
        }
        _ => return None,
    };
    let zero = lines.iter().any(|line| line.quantity == 0);
    zero.then_some(C::AmountInvalid)
}
