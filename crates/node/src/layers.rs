//! The tower layers that every served call passes, and what a call we make carries on.
//!
//! ```text
//! ServiceBuilder::new()
//!     .layer(trace)      // Names the request before anything can fail.
//!     .layer(rescue)     // Turns every error below into one Status.
//!     .layer(shed)       // Refuses at once instead of queueing.
//!     .layer(deadline)   // Spends the caller's remaining time, never more.
//!     .service(inner)
//! ```

pub mod deadline;
pub mod rescue;
pub mod shed;
pub mod trace;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use tonic::body::Body;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceBuilder};

pub use self::deadline::Deadline;

/// A served stack, boxed once per process: what a listener and the local short-circuit both call.
pub type Stack = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// Which calls, by path, a stack's bounds do not apply to: those that everything else lives on.
#[derive(Debug, Clone, Copy)]
pub struct Exempt {
    /// Never refused for want of room, and takes none.
    pub from_shedding: fn(&str) -> bool,
    /// May take longer than `timeout_max` to begin its answer: it has a bound of its own.
    pub from_timeout: fn(&str) -> bool,
}

impl Exempt {
    pub const NOTHING: Self = Self { from_shedding: |_| false, from_timeout: |_| false };
}

/// What the stack of one listener allows.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The listener's name, in spans and metrics.
    pub listener: &'static str,
    /// Calls whose answer has not begun; the next one is refused.
    pub in_flight_max: usize,
    /// The longest that a call may take to begin its answer, whatever its client asks.
    pub timeout_max: Duration,
    pub exempt: Exempt,
}

/// Puts the standard layers around `inner`.
pub fn stack<S>(settings: &Settings, inner: S) -> Stack
where
    S: Service<Request<Body>, Response = Response<Body>, Error: Into<BoxError> + 'static>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let stack = ServiceBuilder::new()
        // Names the request before anything can fail.
        .layer(trace::TraceLayer::new(settings.listener))
        // Turns every error below into one Status.
        .layer(rescue::RescueLayer)
        // Refuses at once instead of queueing.
        .layer(shed::ShedLayer::new(settings))
        // Spends the caller's remaining time, never more.
        .layer(deadline::DeadlineLayer::new(settings))
        .service(inner);
    BoxCloneSyncService::new(stack)
}
