//! Drives a plan into a running league, many steps at once, each after those it waits for.
//!
//! The loop owns all bookkeeping; a step's future only makes calls. So there is no lock, and what
//! a step sees of earlier ones is what they left behind when they were done.

mod attempt;
mod back;
mod doubt;
mod found;
mod order;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::{self, FuturesUnordered};
use hansa_api::pb;
use tokio::sync::Semaphore;

use self::attempt::At;
use self::doubt::{nowhere, surely};
use self::found::Found;
use self::wire::Maker;
use super::core::action::Action;
use super::core::matching::{Matched, Purchases};
use super::core::plan::{Outcome, Plan, Step};
use super::doors::{Door, Doors};
use super::memory::Memory;
use super::progress::Progress;
use super::report::{Surprise, Tally};
use super::schedule::Schedule;

/// How to drive.
#[derive(Clone, Debug)]
pub struct Options {
    /// Steps under way at once.
    pub concurrency: usize,
    /// Tells deliberate replays of one file apart; empty for the first.
    pub run: String,
    /// Of the synthetic part.
    pub seed: u64,
    pub quiet: bool,
    /// What the client knows of earlier runs under this name. Without one it says of no request
    /// when it was first sent: it may have been before this process began.
    pub memory: Option<Memory>,
    /// Each step begins with a permit of it, until it is closed; without one, when there is room.
    pub turns: Option<Arc<Semaphore>>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Driven {
    pub regions: BTreeMap<hansa_types::region::RegionName, Tally>,
    pub surprises: Vec<Surprise>,
    /// Time of the steps, without the stock load.
    pub elapsed: Duration,
}

/// Loads the starting stock, then runs every step.
pub async fn run(plan: &Plan, doors: &Doors, options: &Options) -> Driven {
    let maker = Maker { run: options.run.clone(), seed: options.seed };
    let mut driven = Driven::default();
    load(plan, doors, &maker, options, &mut driven).await;
    let begun = Instant::now();
    Driver::new(plan, doors, &maker, options.memory.as_ref()).run(options, &mut driven).await;
    driven.elapsed = begun.elapsed();
    driven
}

async fn load(plan: &Plan, doors: &Doors, maker: &Maker, options: &Options, driven: &mut Driven) {
    let mut progress = Progress::new("stock", plan.loads.len() as u64, options.quiet);
    let calls = plan.loads.iter().enumerate().map(|(step, load)| async move {
        let at = At { doors, home: &load.region, step, memory: options.memory.as_ref() };
        let request = maker.receive(load);
        let send = |mut door: Door, request| async move {
            door.warehouse.inventory.receive_stock(request).await
        };
        (load, surely(at, &request, send, nowhere).await)
    });
    let mut calls = stream::iter(calls).buffer_unordered(options.concurrency);
    while let Some((load, answer)) = calls.next().await {
        progress.step();
        let tally = driven.regions.entry(load.region.clone()).or_default();
        tally.skus_loaded += 1;
        tally.skus_short += u64::from(load.is_short());
        match answer {
            Ok(response) => tally.replayed += u64::from(response.replayed),
            Err(failure) => {
                *tally.refused.entry(failure.reason().to_string()).or_default() += 1;
                driven.surprises.push(Surprise {
                    invoice: format!("stock of {}", load.sku),
                    expected: format!("{} units received", load.quantity),
                    found: failure.to_string(),
                });
            }
        }
    }
    progress.finish();
}

/// What a step's future brings home.
enum Brought {
    Order(order::Done),
    Return(back::Done),
    Adjust { found: Found, replayed: bool },
}

struct Driver<'a> {
    plan: &'a Plan,
    doors: &'a Doors,
    maker: &'a Maker,
    memory: Option<&'a Memory>,
    schedule: Schedule,
    /// Order names by step.
    names: BTreeMap<usize, String>,
    purchases: Purchases<usize>,
}

impl<'a> Driver<'a> {
    fn new(plan: &'a Plan, doors: &'a Doors, maker: &'a Maker, memory: Option<&'a Memory>) -> Self {
        let schedule = Schedule::new(plan.steps.iter().map(|step| step.after.as_slice()));
        let (names, purchases) = (BTreeMap::new(), Purchases::default());
        Self { plan, doors, maker, memory, schedule, names, purchases }
    }

    async fn run(mut self, options: &Options, driven: &mut Driven) {
        let mut progress = Progress::new("orders", self.plan.steps.len() as u64, options.quiet);
        let mut under_way = FuturesUnordered::new();
        while !self.schedule.is_finished() {
            while under_way.len() < options.concurrency.max(1) {
                let Some(index) = self.schedule.start() else { break };
                let matched = self.matched(index);
                let at = At {
                    doors: self.doors,
                    home: &self.plan.steps[index].region,
                    step: index,
                    memory: self.memory,
                };
                let (maker, step) = (self.maker, &self.plan.steps[index]);
                under_way.push(async move {
                    if let Some(turns) = options.turns.as_deref() {
                        turn(turns).await;
                    }
                    self::step(at, maker, step, matched).await
                });
            }
            let Some((index, brought)) = under_way.next().await else { break };
            self.book(index, brought, driven);
            self.schedule.done(index);
            progress.step();
        }
        progress.finish();
    }

    /// A return takes its purchases when it starts: all earlier steps of its buyer are done then.
    fn matched(&mut self, index: usize) -> Option<(Matched<usize>, Vec<back::Part>)> {
        let Action::Return(back) = &self.plan.steps[index].action else { return None };
        let matched = self.purchases.take(back);
        let parts = matched.parts.iter().filter_map(|(earlier, lines)| {
            let Action::Order(order) = &self.plan.steps[*earlier].action else { return None };
            Some(back::part(self.names.get(earlier)?, order, lines))
        });
        let parts = parts.collect();
        Some((matched, parts))
    }

    fn book(&mut self, index: usize, brought: Brought, driven: &mut Driven) {
        let step = &self.plan.steps[index];
        let tally = driven.regions.entry(step.region.clone()).or_default();
        let found = match brought {
            Brought::Order(done) => self.book_order(index, done, tally),
            Brought::Return(done) => {
                tally.replayed += u64::from(done.replayed);
                for amount in &done.refunded {
                    add(&mut tally.refunded_minor, Some(amount));
                }
                done.found
            }
            Brought::Adjust { found, replayed } => {
                tally.replayed += u64::from(replayed);
                found
            }
        };
        match &found {
            Found::Returned { matched, unmatched } => {
                tally.returned_rows += matched;
                tally.unmatched_rows += unmatched;
            }
            Found::Adjusted => tally.adjusted += 1,
            Found::Refused(reason) => *tally.refused.entry(reason.clone()).or_default() += 1,
            Found::Stuck(state) => {
                *tally.refused.entry(state.as_str_name().to_owned()).or_default() += 1;
            }
            Found::Shipped | Found::Cancelled | Found::Rejected(_) => {}
        }
        if let Err((expected, found)) = found::check(&step.expect, &found) {
            let invoice = invoice(&step.action).to_owned();
            driven.surprises.push(Surprise { invoice, expected, found });
        }
    }

    fn book_order(&mut self, index: usize, done: order::Done, tally: &mut Tally) -> Found {
        tally.placed += 1;
        tally.replayed += u64::from(done.replayed);
        tally.waited(done.latency);
        add(&mut tally.revenue_minor, done.captured.as_ref());
        add(&mut tally.refunded_minor, done.refunded.as_ref());
        match &done.found {
            Found::Shipped => {
                tally.confirmed += 1;
                tally.shipped += 1;
                if let Action::Order(order) = &self.plan.steps[index].action {
                    self.purchases.shipped(index, order);
                }
                self.names.insert(index, done.name);
            }
            Found::Cancelled => {
                tally.confirmed += 1;
                tally.cancelled += 1;
            }
            Found::Rejected(rejection) => {
                let reason = found::reject_reason(rejection).to_owned();
                *tally.rejected.entry(reason).or_default() += 1;
            }
            Found::Stuck(_) | Found::Refused(_) | Found::Returned { .. } | Found::Adjusted => {}
        }
        done.found
    }
}

fn invoice(action: &Action) -> &str {
    match action {
        Action::Order(order) => &order.invoice,
        Action::Return(back) => &back.invoice,
        Action::Adjust(adjust) => &adjust.invoice,
    }
}

fn add(sums: &mut BTreeMap<String, i128>, amount: Option<&pb::Money>) {
    let Some(amount) = amount else { return };
    if let Some(minor) = wire::minor(amount) {
        *sums.entry(amount.currency_code.clone()).or_default() += i128::from(minor);
    }
}

async fn turn(turns: &Semaphore) {
    if let Ok(permit) = turns.acquire().await {
        permit.forget();
    }
}

async fn step(
    at: At<'_>,
    maker: &Maker,
    step: &Step,
    matched: Option<(Matched<usize>, Vec<back::Part>)>,
) -> (usize, Brought) {
    let Step { action, region, expect, .. } = step;
    let brought = match (action, expect) {
        (Action::Order(order), Outcome::Order(expect)) => {
            Brought::Order(order::run(at, maker, order, expect).await)
        }
        (Action::Return(back), _) => {
            let (matched, parts) = matched.unwrap_or_else(|| {
                let none = Matched { parts: BTreeMap::new(), rows_matched: 0, rows_unmatched: 0 };
                (none, Vec::new())
            });
            Brought::Return(back::run(at, maker, &back.invoice, &matched, &parts).await)
        }
        (Action::Adjust(adjust), _) => {
            let request = maker.adjust(region.as_str(), adjust);
            let send = |mut door: Door, request| async move {
                door.warehouse.inventory.adjust_stock(request).await
            };
            match surely(at, &request, send, nowhere).await {
                Ok(response) => {
                    Brought::Adjust { found: Found::Adjusted, replayed: response.replayed }
                }
                Err(failure) => {
                    let found = Found::Refused(failure.reason().to_string());
                    Brought::Adjust { found, replayed: false }
                }
            }
        }
        (Action::Order(_), _) => unreachable!("the plan gives an order an order's outcome"),
    };
    (at.step, brought)
}
