//! How much one client may ask: a rate, open streams and orders on them per SPIFFE id, and streams
//! and their orders in all.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, Reference as _};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter, clock};
use hansa_api::status::{Failure, Reason};
use hansa_node::env;
use hansa_types::identity::SpiffeId;
use parking_lot::RwLock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{Config, Rate};
use crate::metrics;

/// When too many streams are open, one closing is a matter of seconds.
const STREAM_RETRY: Duration = Duration::from_secs(1);

/// When too many orders are under way on streams: a few typical ones, as for calls.
const ORDER_RETRY: Duration = Duration::from_millis(200);

/// The injected clock as governor reads it.
#[derive(Clone)]
struct Clock(Arc<dyn env::Clock>);

impl clock::Clock for Clock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.monotonic().into()
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, Clock, NoOpMiddleware<Nanos>>;

/// What one client has left.
struct Client {
    rate: Limiter,
    streams: Arc<Semaphore>,
    order_streams: Arc<Semaphore>,
    orders: Arc<Semaphore>,
}

/// What lets calls in.
///
/// # Invariant
/// Only clients that the authorization policy knows get here, so there are no more entries than
/// grants.
pub struct Admit {
    clock: Clock,
    rate: Rate,
    clients: BTreeMap<String, Rate>,
    seen: RwLock<BTreeMap<SpiffeId, Arc<Client>>>,
    /// For the services that are open to everybody: one rate for all together, so that names cost
    /// nothing.
    open: Limiter,
    streams: Arc<Semaphore>,
    streams_per_client_max: usize,
    order_streams_per_client_max: usize,
    /// Orders on streams.
    orders: Arc<Semaphore>,
    orders_per_stream_max: usize,
    orders_per_client_max: usize,
}

/// An order of a stream that is under way; its end makes room, among all and for its client.
pub struct Order(#[expect(dead_code, reason = "held for its drop")] [OwnedSemaphorePermit; 2]);

/// A stream that is open; closing it makes room, among all and for its client.
pub struct Stream(#[expect(dead_code, reason = "held for its drop")] [OwnedSemaphorePermit; 2]);

impl Drop for Stream {
    fn drop(&mut self) {
        metrics::streams(-1.0);
    }
}

impl Admit {
    pub fn new(config: &Config, clock: Arc<dyn env::Clock>) -> Self {
        let clock = Clock(clock);
        Self {
            open: RateLimiter::direct_with_clock(quota(config.rate), clock.clone()),
            clock,
            rate: config.rate,
            clients: config.clients.clone(),
            seen: RwLock::default(),
            streams: Arc::new(Semaphore::new(config.streams_max)),
            streams_per_client_max: config.streams_per_client_max,
            order_streams_per_client_max: config.order_streams_per_client_max,
            orders: Arc::new(Semaphore::new(config.stream_orders_max)),
            orders_per_stream_max: config.orders_per_stream_max,
            orders_per_client_max: config.orders_per_client_max,
        }
    }

    /// Counts one call of a client.
    ///
    /// # Errors
    /// `RATE_LIMITED` with the limit and when to come back.
    pub fn call(&self, id: &SpiffeId, client: &str) -> Result<(), Failure> {
        self.count(&self.of(id, client).rate, id.as_str(), self.rate_of(client))
    }

    /// Counts one call of an open service.
    ///
    /// # Errors
    /// `RATE_LIMITED`, as for a client.
    pub fn open(&self) -> Result<(), Failure> {
        self.count(&self.open, "open services", self.rate)
    }

    /// Opens a stream of a client.
    ///
    /// # Errors
    /// `RATE_LIMITED` when the client has as many open as it may, so that it cannot take all of
    /// them; `OVERLOADED` when all are open that may be.
    pub fn stream(&self, id: &SpiffeId, client: &str) -> Result<Stream, Failure> {
        let limit = || format!("{} streams open at a time", self.streams_per_client_max);
        self.open_stream(&self.of(id, client).streams, id, limit)
    }

    /// Opens a stream of a client's orders, which keeps more than one that only tells: he has few,
    /// and others beside them.
    ///
    /// # Errors
    /// As [`Admit::stream`].
    pub fn order_stream(&self, id: &SpiffeId, client: &str) -> Result<Stream, Failure> {
        let max = self.order_streams_per_client_max;
        let limit = || format!("{max} streams of orders open at a time");
        self.open_stream(&self.of(id, client).order_streams, id, limit)
    }

    fn open_stream(
        &self,
        own: &Arc<Semaphore>,
        id: &SpiffeId,
        limit: impl Fn() -> String,
    ) -> Result<Stream, Failure> {
        let limited = |_| Failure::rate_limited(id.as_str(), &limit(), STREAM_RETRY);
        let own = own.clone().try_acquire_owned().map_err(limited)?;
        let full = |_| Failure::of(Reason::Overloaded).retry_after(STREAM_RETRY);
        let any = self.streams.clone().try_acquire_owned().map_err(full)?;
        metrics::streams(1.0);
        Ok(Stream([any, own]))
    }

    /// How many orders one stream may have under way.
    pub fn orders_per_stream(&self) -> usize {
        self.orders_per_stream_max
    }

    /// Takes one order of a client's stream, which counts as a call.
    ///
    /// # Errors
    /// `RATE_LIMITED` as for a call, and when the client has as many under way as it may;
    /// `OVERLOADED` when all are under way that may be.
    pub fn order(&self, id: &SpiffeId, client: &str) -> Result<Order, Failure> {
        let of = self.of(id, client);
        self.count(&of.rate, id.as_str(), self.rate_of(client))?;
        let own = of.orders.clone().try_acquire_owned().map_err(|_| {
            let limit = format!("{} orders of streams under way", self.orders_per_client_max);
            Failure::rate_limited(id.as_str(), &limit, ORDER_RETRY)
        })?;
        let full = |_| Failure::of(Reason::Overloaded).retry_after(ORDER_RETRY);
        let any = self.orders.clone().try_acquire_owned().map_err(full)?;
        Ok(Order([any, own]))
    }

    fn rate_of(&self, client: &str) -> Rate {
        self.clients.get(client).copied().unwrap_or(self.rate)
    }

    fn count(&self, limiter: &Limiter, subject: &str, rate: Rate) -> Result<(), Failure> {
        limiter.check().map_err(|not_until| {
            let wait = not_until.earliest_possible().duration_since(self.clock.now());
            let Rate { per_second, burst } = rate;
            let limit = format!("{per_second} calls per second, {burst} at once");
            Failure::rate_limited(subject, &limit, wait.into())
        })
    }

    fn of(&self, id: &SpiffeId, client: &str) -> Arc<Client> {
        if let Some(known) = self.seen.read().get(id) {
            return known.clone();
        }
        let quota = quota(self.rate_of(client));
        let fresh = || Client {
            rate: RateLimiter::direct_with_clock(quota, self.clock.clone()),
            streams: Arc::new(Semaphore::new(self.streams_per_client_max)),
            order_streams: Arc::new(Semaphore::new(self.order_streams_per_client_max)),
            orders: Arc::new(Semaphore::new(self.orders_per_client_max)),
        };
        self.seen.write().entry(id.clone()).or_insert_with(|| Arc::new(fresh())).clone()
    }
}

fn quota(rate: Rate) -> Quota {
    // The config is checked to be above zero.
    let at_least_one = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
    Quota::per_second(at_least_one(rate.per_second)).allow_burst(at_least_one(rate.burst))
}

#[cfg(test)]
mod tests {
    use hansa_node::env::test::ManualClock;
    use hansa_types::time::WallTime;

    use super::*;

    fn admit() -> (Admit, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::starting_at(WallTime(0)));
        let config = Config {
            rate: Rate { per_second: 10, burst: 2 },
            clients: [("bulk".to_owned(), Rate { per_second: 100, burst: 50 })].into(),
            streams_max: 2,
            streams_per_client_max: 1,
            order_streams_per_client_max: 1,
            stream_orders_max: 3,
            orders_per_client_max: 2,
            ..Config::default()
        };
        (Admit::new(&config, clock.clone()), clock)
    }

    fn id(name: &str) -> SpiffeId {
        SpiffeId::client("hansa", name).unwrap()
    }

    #[test]
    fn a_client_over_its_rate_is_told_its_limit_and_when_to_come_back() {
        let (admit, clock) = admit();
        let call = || admit.call(&id("shop"), "shop");
        assert!(call().is_ok() && call().is_ok());
        let failure = call().unwrap_err();
        assert_eq!(failure.reason(), Reason::RateLimited);
        assert_eq!(failure.wait(), Some(Duration::from_millis(100)));
        let status = tonic::Status::from(failure);
        let details = tonic_types::StatusExt::get_error_details(&status);
        let quota = details.quota_failure().unwrap();
        assert_eq!(quota.violations[0].subject, "spiffe://hansa/client/shop");
        clock.advance(Duration::from_millis(100));
        assert!(call().is_ok());
        assert!(call().is_err());
    }

    #[test]
    fn clients_do_not_spend_each_others_rate() {
        let (admit, _) = admit();
        while admit.call(&id("loud"), "loud").is_ok() {}
        assert!(admit.call(&id("quiet"), "quiet").is_ok());
        while admit.open().is_ok() {}
        assert!(admit.call(&id("calm"), "calm").is_ok(), "health checks cost clients nothing");
        assert_eq!((0..60).take_while(|_| admit.call(&id("bulk"), "bulk").is_ok()).count(), 50);
    }

    #[test]
    fn a_closed_stream_makes_room() {
        let (admit, _) = admit();
        let stream = |name: &str| admit.stream(&id(name), name);
        let refused = |name: &str| stream(name).err().map(|failure| failure.reason());
        let (shop, _desk) = (stream("shop").unwrap(), stream("desk").unwrap());
        assert_eq!(refused("calm"), Some(Reason::Overloaded));
        drop(shop);
        assert_eq!(refused("desk"), Some(Reason::RateLimited), "one client cannot take them all");
        assert!(stream("calm").is_ok() && stream("shop").is_ok());
    }

    #[test]
    fn streams_of_orders_have_a_bound_of_their_own() {
        let (admit, _) = admit();
        let orders = || admit.order_stream(&id("shop"), "shop");
        let first = orders().unwrap();
        let refused = orders().err().unwrap();
        assert_eq!((refused.reason(), refused.wait()), (Reason::RateLimited, Some(STREAM_RETRY)));
        let _watch = admit.stream(&id("shop"), "shop").unwrap();
        drop(first);
        assert!(orders().is_ok(), "a watch takes none of its places");
    }

    #[test]
    fn a_decided_order_makes_room_and_one_client_cannot_have_all_of_it() {
        let (admit, clock) = admit();
        let order = |name: &str| {
            clock.advance(Duration::from_secs(1));
            admit.order(&id(name), name)
        };
        let refused =
            |name: &str| order(name).err().map(|failure| (failure.reason(), failure.wait()));
        let (first, _second) = (order("shop").unwrap(), order("shop").unwrap());
        assert_eq!(refused("shop"), Some((Reason::RateLimited, Some(ORDER_RETRY))));
        let _third = order("desk").unwrap();
        assert_eq!(refused("desk"), Some((Reason::Overloaded, Some(ORDER_RETRY))));
        drop(first);
        assert!(order("desk").is_ok() && order("shop").is_ok());
    }
}
