//! One call, repeated while a repeat can help. Every call of the replay carries a request id or
//! only reads, so a repeat never does twice what was asked once.

use std::time::Duration;

use hansa_api::status::{Failure, Kind};
use hansa_types::region::RegionName;
use tonic::{Request, Response, Status};

use crate::replay::doors::{Door, Doors};

/// A call's own time; PlaceOrder answers before it ends, whatever the order's state.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
const ATTEMPTS_MAX: usize = 12;
const WAIT_FIRST: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Where a call goes.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    pub doors: &'a Doors,
    pub home: &'a RegionName,
    pub step: usize,
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
    let mut attempt = 0;
    loop {
        let Some(door) = at.doors.pick(at.home, at.step, attempt) else {
            return Err(Failure::of(hansa_api::status::Reason::UnknownRegion));
        };
        let mut request = Request::new(message.clone());
        request.set_timeout(CALL_TIMEOUT);
        let failure = match call(door, request).await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) => Failure::from(&status),
        };
        attempt += 1;
        if attempt == ATTEMPTS_MAX || !may_help(&failure) {
            return Err(failure);
        }
        tracing::debug!(%failure, attempt, "again");
        tokio::time::sleep(wait(&failure, attempt, at.step)).await;
    }
}

/// Whether the same call may be answered later.
fn may_help(failure: &Failure) -> bool {
    match failure.kind() {
        Kind::Unavailable
        | Kind::Aborted
        | Kind::ResourceExhausted
        | Kind::DeadlineExceeded
        | Kind::Cancelled => true,
        Kind::InvalidArgument
        | Kind::NotFound
        | Kind::PermissionDenied
        | Kind::Unauthenticated
        | Kind::FailedPrecondition
        | Kind::Unimplemented
        | Kind::Internal => false,
    }
}

/// The server's own word, else doubling; spread by the step so that a herd does not return as one.
fn wait(failure: &Failure, attempt: usize, step: usize) -> Duration {
    let doubling = WAIT_FIRST.saturating_mul(1 << attempt.min(10)).min(WAIT_MAX);
    let base = failure.wait().unwrap_or(doubling).min(WAIT_MAX);
    let spread = (step % 16) as u32;
    base + base * spread / 32
}
