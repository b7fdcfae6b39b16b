//! Reads a status back into the failure it was made from, as far as the wire carries it.

use std::error::Error;

use http::HeaderMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::{DOMAIN, Failure, Reason, Violation};

impl Failure {
    /// The failure that a response's headers or trailers carry; `None` when they say OK or nothing.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let status = Status::from_header_map(headers)?;
        (status.code() != Code::Ok).then(|| Self::from(status))
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::from(&status)
    }
}

impl From<&Status> for Failure {
    fn from(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN);
        let known = info.and_then(|info| info.reason.parse().ok());
        let reason = known.unwrap_or_else(|| by_code(status));
        let mut failure = Self::new(reason, status.message().to_owned());
        if let Some(info) = info {
            failure.0.metadata.extend(info.metadata.clone());
        }
        failure.0.violations = violations(&details, reason);
        failure.0.retry_after = details.retry_info().and_then(|retry| retry.retry_delay);
        let quota = details.quota_failure().and_then(|q| q.violations.first());
        failure.0.quota = quota.map(|q| (q.subject.clone(), q.description.clone()));
        let state = details.precondition_failure().and_then(|p| p.violations.first());
        failure.0.precondition = state.map(|p| (p.subject.clone(), p.description.clone()));
        failure
    }
}

fn violations(details: &ErrorDetails, reason: Reason) -> Vec<Violation> {
    let fields = details.bad_request().map_or(&[][..], |bad| &bad.field_violations);
    let violation = |f: &tonic_types::FieldViolation| Violation {
        field: f.field.clone().into(),
        reason: f.reason.parse().unwrap_or(reason),
        description: f.description.clone().into(),
    };
    fields.iter().map(violation).collect()
}

/// The reason of a status that is not ours: tonic's own, a proxy's, or a newer version's.
fn by_code(status: &Status) -> Reason {
    // tonic's client answers CANCELLED when its own timer ends the call.
    if status.code() == Code::Cancelled && status.message().contains("Timeout expired") {
        return Reason::DeadlineExceeded;
    }
    // A status that has a source was made on this side: the connection could not be made or broke,
    // which tonic calls UNAVAILABLE, UNKNOWN, INTERNAL or CANCELLED, as it happens.
    if status.source().is_some() {
        return Reason::Unavailable;
    }
    match status.code() {
        Code::Cancelled => Reason::Cancelled,
        Code::InvalidArgument => Reason::FieldInvalid,
        Code::DeadlineExceeded => Reason::DeadlineExceeded,
        Code::NotFound => Reason::NotFound,
        Code::PermissionDenied => Reason::PermissionDenied,
        Code::ResourceExhausted => Reason::Overloaded,
        Code::FailedPrecondition | Code::AlreadyExists => Reason::FailedPrecondition,
        Code::Aborted => Reason::RequestInProgress,
        // tonic's limit on message size.
        Code::OutOfRange => Reason::MessageTooLarge,
        Code::Unimplemented => Reason::Unimplemented,
        Code::Unavailable => Reason::Unavailable,
        Code::Unauthenticated => Reason::Unauthenticated,
        Code::Unknown if status.message().contains("transport error") => Reason::Unavailable,
        Code::Unknown | Code::Internal | Code::DataLoss | Code::Ok => Reason::Internal,
    }
}
