//! One call, repeated while a repeat can help. Every call of the replay carries a request id or
//! only reads, so a repeat never does twice what was asked once.

use std::time::Duration;

use hansa_api::client::Policy;
use hansa_api::first_sent;
use hansa_api::status::{Failure, Kind};
use hansa_types::region::RegionName;
use tonic::{Request, Response, Status};

use crate::replay::doors::{Door, Doors};
use crate::replay::memory::Memory;

/// A call's own time; PlaceOrder answers before it ends, whatever the order's state.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
const WAIT: Duration = Duration::from_millis(200);

/// Where a call goes.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    pub doors: &'a Doors,
    pub home: &'a RegionName,
    pub step: usize,
    pub memory: Option<&'a Memory>,
}

/// Sends `message` with `call` until it is answered, refused for good, or tried often enough.
///
/// # Errors
/// The last failure.
pub async fn call<M, A, F>(
    at: At<'_>,
    message: &M,
    call: impl Fn(Door, Request<M>) -> F,
) -> Result<A, Failure>
where
    M: Clone,
    F: Future<Output = Result<Response<A>, Status>>,
{
    dated(at, message, None, call).await
}

/// The same for a request that says when it was first sent, where that is known.
///
/// # Errors
/// As there.
pub async fn dated<M, A, F>(
    at: At<'_>,
    message: &M,
    first_sent_ms: Option<u64>,
    call: impl Fn(Door, Request<M>) -> F,
) -> Result<A, Failure>
where
    M: Clone,
    F: Future<Output = Result<Response<A>, Status>>,
{
    let mut attempt: u32 = 0;
    loop {
        let Some(door) = at.doors.follow(at.home, at.step, attempt as usize) else {
            return Err(Failure::of(hansa_api::status::Reason::UnknownRegion));
        };
        let mut request = Request::new(message.clone());
        request.set_timeout(CALL_TIMEOUT);
        if let Some(first_ms) = first_sent_ms {
            first_sent::put(request.metadata_mut(), first_ms);
        }
        let failure = match call(door, request).await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) => Failure::from(&status),
        };
        attempt += 1;
        let Some(wait) = wait(&failure, attempt, at.step) else { return Err(failure) };
        tracing::debug!(%failure, attempt, "again");
        tokio::time::sleep(wait).await;
    }
}

/// How long until the same call may be answered, `None` when it will not be.
///
/// The published policy, and beyond it what a caller with a request id may also repeat: a call
/// whose own time is up, and one that the server or the network broke off.
fn wait(failure: &Failure, attempt: u32, step: usize) -> Option<Duration> {
    // Spread by the step, so that a herd does not return as one.
    let jitter = 0.5 + (step % 16) as f64 / 32.0;
    let policy = Policy::persistent();
    match failure.kind() {
        Kind::DeadlineExceeded | Kind::Cancelled | Kind::Aborted | Kind::ResourceExhausted => {
            (attempt < policy.attempts_max).then(|| failure.wait().unwrap_or(WAIT))
        }
        Kind::Unavailable => policy.wait(failure, attempt, jitter),
        Kind::InvalidArgument
        | Kind::NotFound
        | Kind::PermissionDenied
        | Kind::Unauthenticated
        | Kind::FailedPrecondition
        | Kind::Unimplemented
        | Kind::Internal => None,
    }
}
