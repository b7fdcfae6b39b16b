//! The operator who looks after customers: has one forgotten, or lets one live elsewhere, by
//! the calls and in the order of `hansactl customer`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hansa_api::client::League as Door;
use hansa_api::pb::customer::{
    EraseCustomerRequest, ErasedKey, ErasureReceipt, MoveAction, MoveCustomerRequest,
    MoveCustomerResponse,
};
use hansa_api::status::{Failure, Reason};

use super::worker::customer;
use super::{Board, HEIR, LOOK_EVERY, door};
use crate::clock;
use crate::director::Stage;
use crate::plan::{Plan, Wish};
use crate::trace;
use crate::world::League;

const CALL_MAX: Duration = Duration::from_secs(4);
const NUMBER: u32 = 86;
const BETWEEN: Duration = Duration::from_millis(500);
/// What has not begun by then is left.
const BEGIN_MAX: Duration = Duration::from_secs(12);
/// What has begun is done by then, whatever breaks: the heal is never further away.
const OWED_MAX: Duration = Duration::from_secs(160);
/// An order that is still open that long is parked.
const OPEN_MAX: Duration = Duration::from_secs(60);
/// How long what a customer left stays readable there.
const WINDOW_MS: u64 = 3_000;
/// So often a customer's erasure is asked for anew; then who refuses it never does it.
const ANEW_MAX: u32 = 3;
/// Passes over the regions, as `hansactl` makes them.
const PASSES_MAX: usize = 4;

/// What was done for a customer.
#[derive(Clone, Debug, Default)]
pub struct Person {
    pub erased: Vec<Erased>,
    /// Where he was to live, last.
    pub moved: Option<Moved>,
}

#[derive(Clone, Debug)]
pub struct Moved {
    pub to: String,
    pub began: u64,
    /// He is known to live there.
    pub done: bool,
}

/// One erasure, in nanoseconds of true time.
#[derive(Clone, Copy, Debug)]
pub struct Erased {
    pub began: u64,
    /// When every lawful region had said so.
    pub done: Option<u64>,
}

/// What became of an erasure in one region.
enum Surely {
    Erased(Box<ErasureReceipt>),
    ServedSince,
    Never,
}

pub struct Desk<'a> {
    doors: Vec<Door>,
    league: &'a League,
    board: &'a Board,
    ids: u64,
    /// Erasures asked for anew, by customer.
    anew: BTreeMap<String, u32>,
}

impl<'a> Desk<'a> {
    pub async fn new(plan: &Plan, league: &'a League, board: &'a Board) -> Self {
        let wishes = plan.acts.iter().any(|act| act.fault.is_of_a_customer());
        let mut doors = Vec::new();
        for region in league.regions.iter().filter(|_| wishes) {
            doors.push(door(plan, region, "operator", NUMBER).await);
        }
        Self { doors, league, board, ids: 0, anew: BTreeMap::new() }
    }

    /// Works until everything is healed and no wish is left.
    pub async fn run(mut self) {
        while !self.doors.is_empty() {
            let wish = self.board.wishes.borrow_mut().pop_front();
            match wish {
                Some(Wish::Erase { client, customer: number }) => {
                    let who = customer(client as u32, number);
                    // As the refusal says: by another request.
                    if self.erase(who.clone()).await && self.may_ask_anew(who) {
                        let wish = Wish::Erase { client, customer: number };
                        self.board.wishes.borrow_mut().push_back(wish);
                    }
                }
                Some(Wish::Move { client, customer: number, back }) => {
                    let who = customer(client as u32, number);
                    let there = self.go(&who, HEIR).await;
                    if there && back {
                        self.go(&who, 0).await;
                    }
                }
                None if self.board.stage.get() == Stage::Calm => return,
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    fn may_ask_anew(&mut self, who: String) -> bool {
        let times = self.anew.entry(who.clone()).or_default();
        *times += 1;
        let may = *times <= ANEW_MAX;
        if !may {
            self.wrong(format!("{who} is told each time to be erased by another request"));
        }
        may
    }

    fn id(&mut self) -> String {
        self.ids += 1;
        format!("customer-{}", self.ids)
    }

    fn name(&self, region: usize) -> String {
        self.league.regions[region].name.to_string()
    }

    fn wrong(&self, what: String) {
        self.board.wrong.borrow_mut().push(what);
    }

    /// Asked at the gateways of the region that is meant: nobody else needs to hear who it is.
    async fn ask_erase(&self, request: EraseCustomerRequest) -> Result<ErasureReceipt, Failure> {
        let at = self.league.regions.iter().position(|one| one.name.as_str() == request.region);
        let asked = self.doors[at.unwrap_or(0)].call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.customers.erase_customer(request).await }
        });
        asked.await.map(|answer| answer.receipt.unwrap_or_default())
    }

    /// Whether it is to be asked for anew: he was served since, and has an order from before.
    async fn erase(&mut self, who: String) -> bool {
        let request = EraseCustomerRequest {
            customer_id: who.clone(),
            request_id: self.id(),
            ..EraseCustomerRequest::default()
        };
        let country = self.league.regions[0].country.to_owned();
        let home = EraseCustomerRequest { residence_country: country, ..request.clone() };
        let (begun, began) = (now(), self.board.record.now());
        // From the first call on it may be so.
        let nth = {
            let mut people = self.board.people.borrow_mut();
            let erased = &mut people.entry(who.clone()).or_default().erased;
            erased.push(Erased { began, done: None });
            erased.len() - 1
        };
        let receipt = loop {
            match self.ask_erase(home.clone()).await {
                Ok(receipt) => break receipt,
                Err(failure) => trace::note(format_args!("{who} not erased: {failure}")),
            }
            if now() > begun + BEGIN_MAX {
                return false;
            }
            tokio::time::sleep(BETWEEN).await;
        };
        let (mut keys, mut known) = (Vec::new(), take(&mut Vec::new(), &receipt));
        take(&mut keys, &receipt);
        for pass in 0..PASSES_MAX {
            let named = keys.clone();
            let all = receipt.lawful_regions.iter();
            let asked = all.filter(|region| pass > 0 || **region != receipt.region).cloned();
            for region in asked.collect::<VecDeque<String>>() {
                let copies = named.clone();
                let request = EraseCustomerRequest { region, copies, ..request.clone() };
                match self.surely(request, begun).await {
                    Surely::Erased(told) => known |= take(&mut keys, &told),
                    Surely::ServedSince => return true,
                    Surely::Never => return false,
                }
            }
            if named == keys {
                break;
            }
        }
        if known {
            trace::count("customer erased", 1);
            let mut people = self.board.people.borrow_mut();
            let erased = people.get_mut(&who).and_then(|person| person.erased.get_mut(nth));
            erased.into_iter().for_each(|one| one.done = Some(self.board.record.now()));
        }
        false
    }

    /// What was begun is asked for until it is done.
    async fn surely(&self, request: EraseCustomerRequest, begun: Duration) -> Surely {
        loop {
            match self.ask_erase(request.clone()).await {
                Ok(receipt) => return Surely::Erased(Box::new(receipt)),
                Err(failure) if now() > begun + OWED_MAX => {
                    self.wrong(format!("{request:?} is never done: {failure}"));
                    return Surely::Never;
                }
                Err(failure) if failure.reason() == Reason::FailedPrecondition => {
                    trace::note(format_args!("to be erased anew: {failure}"));
                    trace::count("erasure asked for anew", 1);
                    return Surely::ServedSince;
                }
                // An order that is parked stays open: a person sees to it.
                Err(failure) if failure.reason() == Reason::CustomerHasOpenOrders => {
                    if self.board.stage.get() == Stage::Calm && now() > begun + OPEN_MAX {
                        return Surely::Never;
                    }
                }
                Err(failure) => trace::note(format_args!("not erased yet: {failure}")),
            }
            tokio::time::sleep(BETWEEN).await;
        }
    }

    async fn ask_move(
        &self,
        at: usize,
        request: MoveCustomerRequest,
    ) -> Result<MoveCustomerResponse, Failure> {
        let asked = self.doors[at].call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.customers.move_customer(request).await }
        });
        asked.await
    }

    /// Whether he lives in the region in the end.
    async fn go(&mut self, who: &str, to: usize) -> bool {
        let request = MoveCustomerRequest {
            residence_country: self.league.regions[0].country.to_owned(),
            customer_id: who.to_owned(),
            request_id: self.id(),
            action: MoveAction::Move.into(),
            to: self.name(to),
            window_ms: WINDOW_MS,
            reason: "sim".to_owned(),
            ticket: "SIM-3".to_owned(),
            ..MoveCustomerRequest::default()
        };
        let moved = Moved { to: self.name(to), began: self.board.record.now(), done: false };
        self.board.people.borrow_mut().entry(who.to_owned()).or_default().moved = Some(moved);
        let begun = now();
        loop {
            match self.moved(&request).await {
                // Who never moved lives where the births are: not for good.
                Ok(told) if told.lives_in == request.to && told.epoch > 0 => {
                    trace::note(format_args!("{who} lives in {}: {told:?}", told.lives_in));
                    trace::count(if to == HEIR { "customer moved" } else { "moved back" }, 1);
                    let mut people = self.board.people.borrow_mut();
                    let moved = people.get_mut(who).and_then(|person| person.moved.as_mut());
                    moved.into_iter().for_each(|moved| moved.done = true);
                    return true;
                }
                Ok(told) => trace::note(format_args!("{who} not moved: {told:?}")),
                Err(failure) => trace::note(format_args!("{who} not moved: {failure}")),
            }
            if now() > begun + BEGIN_MAX {
                return false;
            }
            tokio::time::sleep(BETWEEN).await;
        }
    }

    /// Asks the region where the law puts him, then the one where he lives by now.
    async fn moved(&self, request: &MoveCustomerRequest) -> Result<MoveCustomerResponse, Failure> {
        let home = self.ask_move(0, request.clone()).await?;
        if home.lives_in == request.to || home.lives_in == home.region {
            return Ok(home);
        }
        let region = home.lives_in.clone();
        let at = self.league.regions.iter().position(|one| one.name.as_str() == region);
        let residence_country = String::new();
        let request = MoveCustomerRequest { region, residence_country, ..request.clone() };
        self.ask_move(at.unwrap_or(0), request).await
    }
}

/// Adds the keys that a receipt names; whether the region knew him.
fn take(keys: &mut Vec<ErasedKey>, receipt: &ErasureReceipt) -> bool {
    for key in receipt.key.iter().chain(&receipt.former_keys) {
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    }
    receipt.key.is_some() || receipt.copy_count > 0
}

fn now() -> Duration {
    clock::truth().unwrap_or_default()
}
