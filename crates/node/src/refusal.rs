//! The few refusals that a process makes itself, whatever it serves.

use std::time::Duration;

use hansa_api::status::key::NOT_SENT;
use hansa_api::status::{Failure, Reason};
use hansa_types::identity::SpiffeId;
use tonic::Status;

pub fn overloaded(retry_after: Duration) -> Status {
    Failure::of(Reason::Overloaded).retry_after(retry_after).into()
}

pub fn too_large() -> Status {
    Reason::MessageTooLarge.into()
}

pub fn deadline_exceeded() -> Status {
    Reason::DeadlineExceeded.into()
}

pub fn bad_timeout() -> Status {
    Reason::DeadlineMalformed.into()
}

pub fn internal() -> Status {
    Reason::Internal.into()
}

/// The peer could not be reached, so the call was not made and may be made elsewhere.
pub fn unreachable(peer: &SpiffeId, retry_after: Duration) -> Status {
    let failure = Failure::new(Reason::Unavailable, format!("{peer} cannot be reached"));
    failure.with(NOT_SENT, "true").retry_after(retry_after).into()
}

/// Nobody is known by that name yet.
pub fn no_peer(who: String) -> Status {
    let failure = Failure::new(Reason::Unavailable, format!("no address is known for {who}"));
    failure.with(NOT_SENT, "true").retry_after(Duration::from_millis(200)).into()
}

/// The connection broke under the call, which may or may not have taken effect.
pub fn connection_lost(peer: &SpiffeId) -> Status {
    Failure::new(Reason::Unavailable, format!("the connection to {peer} broke")).into()
}
