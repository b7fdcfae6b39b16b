//! Calls to the provider: bounded in number, shielded by breaker and retry budget, each with a time
//! after which it counts as in doubt.

use std::sync::Arc;
use std::time::Duration;

use hansa_api::client::RetryBudget;
use hansa_node::env::Clock;
use hansa_node::resilience::{Breaker, BreakerPolicy, Bulkhead, Change};
use hansa_types::id::OrderId;
use parking_lot::Mutex;

use crate::config::Sandbox;
use crate::core::contents::Token;
use crate::core::effect::Amount;
use crate::provider::{Answer, Charge, Fault, Provider};

/// A fifth of the calls may be repeated, and a burst of this many.
const RETRIES_PER_CALL_MILLI: u64 = 200;
const RETRIES_HELD_MAX: u64 = 100;
/// Calls that find out whether a provider is back, in each time that the breaker opens for.
const PROBES_MAX: u32 = 5;

/// What to ask the provider.
#[derive(Clone)]
pub enum Question {
    Authorize { charge: Charge, token: Token },
    Capture { charge: Charge, reference: String },
    Cancel { key: String, reference: String },
    Lookup { key: String },
    Refund { charge: Charge, reference: String, refund: String },
}

/// One provider as all runners of a node share it.
pub struct Desk {
    provider: Arc<dyn Provider>,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    /// A repeat in each such time needs no budget: with nothing left and no fresh calls that could
    /// earn some, nobody else would find a provider that is back.
    unpaid_every: Duration,
    shield: Mutex<Shield>,
}

struct Shield {
    breaker: Breaker,
    budget: RetryBudget,
    bulkhead: Bulkhead,
    /// When a repeat may next be made without budget.
    unpaid_from: Duration,
}

/// Why a call is not made now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotNow {
    /// All places are taken.
    Full,
    /// Come back after this.
    Wait(Duration),
}

impl Desk {
    pub fn new(provider: Arc<dyn Provider>, cfg: &Sandbox, clock: Arc<dyn Clock>) -> Self {
        let open_for = Duration::from_millis(cfg.breaker_open_ms);
        let policy = BreakerPolicy {
            failures_max: cfg.breaker_failures_max,
            open_for,
            probes_max: PROBES_MAX,
        };
        let shield = Shield {
            breaker: Breaker::new(policy),
            budget: RetryBudget::new(RETRIES_PER_CALL_MILLI, RETRIES_HELD_MAX),
            bulkhead: Bulkhead::new(cfg.in_flight_max),
            unpaid_from: Duration::ZERO,
        };
        let timeout = Duration::from_millis(cfg.timeout_ms);
        Self { provider, clock, timeout, unpaid_every: open_for, shield: Mutex::new(shield) }
    }

    /// The provider itself, for what is asked apart from any order's steps.
    pub fn provider(&self) -> Arc<dyn Provider> {
        self.provider.clone()
    }

    /// Takes a place for a call.
    pub fn admit(self: &Arc<Self>, first: bool) -> Result<Place, NotNow> {
        let now = self.clock.monotonic();
        let mut shield = self.shield.lock();
        if shield.bulkhead.free() == 0 {
            return Err(NotNow::Full);
        }
        let unpaid = !first && shield.budget.is_spent();
        if unpaid && now < shield.unpaid_from {
            return Err(NotNow::Wait(shield.unpaid_from - now));
        }
        // Last of what may refuse: it takes a probe.
        shield.breaker.admit(now, first).map_err(NotNow::Wait)?;
        if first {
            shield.budget.earn();
        } else if unpaid {
            shield.unpaid_from = now + self.unpaid_every;
        } else {
            shield.budget.spend();
        }
        shield.bulkhead.enter();
        Ok(Place { desk: self.clone() })
    }

    async fn put(&self, question: &Question) -> Result<Answer, Fault> {
        let provider = &self.provider;
        match question {
            Question::Authorize { charge, token } => provider.authorize(charge, &token.0).await,
            Question::Capture { charge, reference } => provider.capture(charge, reference).await,
            Question::Cancel { key, reference } => provider.cancel(key, reference).await,
            Question::Lookup { key } => provider.lookup(key).await,
            Question::Refund { charge, reference, refund } => {
                provider.refund(charge, reference, refund).await
            }
        }
    }
}

/// A place in the bulkhead, given back when dropped: also by a call that was never begun, because
/// its runner left office first.
pub struct Place {
    desk: Arc<Desk>,
}

impl Place {
    /// Asks the provider, and gives the place back.
    pub async fn ask(self, question: Question) -> Result<Answer, Fault> {
        let desk = self.desk.clone();
        let asked = tokio::time::timeout(desk.timeout, desk.put(&question)).await;
        let answer = asked.unwrap_or(Err(Fault::Timeout));
        drop(self);
        let now = desk.clock.monotonic();
        match desk.shield.lock().breaker.record(now, answer.is_ok()) {
            Change::None => {}
            Change::Opened => tracing::warn!("breaker of the provider opened"),
            Change::Closed => tracing::info!("breaker of the provider closed"),
        }
        answer
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.desk.shield.lock().bulkhead.leave();
    }
}

pub fn charge(order: OrderId, money: Amount) -> Charge {
    let key = crate::core::order::provider_key(order);
    Charge { key, amount_minor: money.minor, currency: money.currency }
}

#[cfg(test)]
mod tests {
    use hansa_node::env::test::ManualClock;
    use hansa_types::region::{RegionNumber, Slot};
    use hansa_types::time::{LogTime, WallTime};

    use super::*;
    use crate::provider::SandboxProvider;

    fn desk(folder: &std::path::Path, cfg: &Sandbox, clock: Arc<ManualClock>) -> Arc<Desk> {
        let sandbox = SandboxProvider::open(&folder.join("journal"), 1, clock.clone()).unwrap();
        Arc::new(Desk::new(Arc::new(sandbox), cfg, clock))
    }

    fn authorize(token: &str) -> Question {
        let order = OrderId::new(LogTime(1), RegionNumber::try_from(1).unwrap(), Slot::of(b"c"), 7);
        let money = Amount { minor: 100, currency: "EUR".parse().unwrap() };
        Question::Authorize { charge: charge(order, money), token: Token(token.into()) }
    }

    /// SIM-4: fresh charges waited for 15 s while each second's only probe was a hopeless repeat.
    #[tokio::test]
    async fn a_charge_that_never_succeeds_keeps_no_other_from_the_provider() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::starting_at(WallTime(0)));
        let cfg = Sandbox::default();
        let desk = desk(folder.path(), &cfg, clock.clone());
        for n in 0..cfg.breaker_failures_max {
            let Ok(place) = desk.admit(n == 0) else { panic!("closed") };
            assert!(place.ask(authorize("tok_unreachable")).await.is_err());
        }
        let wait = Duration::from_millis(cfg.breaker_open_ms);
        assert_eq!(desk.admit(true).err(), Some(NotNow::Wait(wait)));
        for _ in 0..20 {
            clock.advance(wait);
            let Ok(place) = desk.admit(false) else { panic!("a repeat may probe") };
            assert!(place.ask(authorize("tok_unreachable")).await.is_err());
        }
        let Ok(place) = desk.admit(true) else { panic!("a fresh charge may probe too") };
        assert!(place.ask(authorize("tok_ok")).await.is_ok());
        assert!(desk.admit(false).is_ok() && desk.admit(false).is_ok(), "closed");
    }

    /// Each round's only repeat was taken by one that was then refused for want of budget.
    #[tokio::test]
    async fn repeats_alone_find_a_provider_that_is_back_though_the_budget_is_spent() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::starting_at(WallTime(0)));
        let cfg = Sandbox::default();
        let desk = desk(folder.path(), &cfg, clock.clone());
        let wait = Duration::from_millis(cfg.breaker_open_ms);
        for _ in 0..RETRIES_HELD_MAX {
            drop(desk.admit(false).ok().unwrap());
        }
        for _ in 0..cfg.breaker_failures_max {
            let Ok(place) = desk.admit(false) else { panic!("one in each round is free") };
            assert!(place.ask(authorize("tok_unreachable")).await.is_err());
            assert_eq!(desk.admit(false).err(), Some(NotNow::Wait(wait)), "spent");
            clock.advance(wait);
        }
        let Ok(place) = desk.admit(false) else { panic!("it probes") };
        assert!(place.ask(authorize("tok_unreachable")).await.is_err());
        for _ in 1..PROBES_MAX {
            assert_eq!(desk.admit(false).err(), Some(NotNow::Wait(wait)));
        }
        for _ in 1..PROBES_MAX {
            assert!(desk.admit(true).is_ok(), "those refused have taken no probe");
        }
        clock.advance(wait);
        let Ok(place) = desk.admit(false) else { panic!("it probes again") };
        assert!(place.ask(authorize("tok_ok")).await.is_ok());
        assert!(desk.shield.lock().breaker.is_closed());
        clock.advance(wait);
        assert!(desk.admit(false).is_ok(), "the others follow, one after the other");
    }

    #[tokio::test]
    async fn a_call_that_was_never_begun_gives_its_place_back() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::starting_at(WallTime(0)));
        let cfg = Sandbox { in_flight_max: 1, ..Sandbox::default() };
        let desk = desk(folder.path(), &cfg, clock);
        let lookup = || Question::Lookup { key: "pay-1".into() };
        for _ in 0..3 {
            let Ok(place) = desk.admit(true) else { panic!("the place is free") };
            assert_eq!(desk.admit(true).err(), Some(NotNow::Full));
            drop(place.ask(lookup()));
        }
        let Ok(place) = desk.admit(true) else { panic!("the place is free") };
        assert_eq!(place.ask(lookup()).await, Ok(Answer::NotFound));
    }
}
