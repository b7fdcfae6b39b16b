//! Writes a failure into a status, the same bytes for the same failure.

use std::collections::BTreeMap;

use prost::Message;
use prost_types::Any;
use tonic::Status;
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, QuotaViolation, StatusExt};

use super::{DOMAIN, Facts, Failure, Violation};

/// `google.rpc.ErrorInfo` with its metadata in order: generated code keeps it in a hash map, whose
/// order differs from run to run.
#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(btree_map = "string, string", tag = "3")]
    metadata: BTreeMap<String, String>,
}

const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";

/// The part of `google.rpc.Status` that carries one more detail.
#[derive(Clone, PartialEq, Message)]
struct OneMore {
    #[prost(message, optional, tag = "3")]
    details: Option<Any>,
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let (code, facts) = (failure.kind().code(), &failure.0);
        let info = ErrorInfo {
            reason: facts.reason.as_str().to_owned(),
            domain: DOMAIN.to_owned(),
            metadata: facts.metadata.clone(),
        };
        let info = Any { type_url: ERROR_INFO.to_owned(), value: info.encode_to_vec() };
        let others = Self::with_error_details(code, failure.message(), others(facts));
        // Encoded messages that follow each other are one: `details` is a repeated field.
        let mut details = others.details().to_vec();
        details.extend(OneMore { details: Some(info) }.encode_to_vec());
        Self::with_details(code, failure.message(), details.into())
    }
}

/// Every detail but the `ErrorInfo`.
fn others(facts: &Facts) -> ErrorDetails {
    let mut details = ErrorDetails::new();
    if !facts.violations.is_empty() {
        let violations: Vec<FieldViolation> = facts.violations.iter().map(field).collect();
        details.set_bad_request(violations);
    }
    if let Some(wait) = facts.retry_after {
        details.set_retry_info(Some(wait));
    }
    if let Some((subject, limit)) = &facts.quota {
        details.set_quota_failure(vec![QuotaViolation::new(subject, limit)]);
    }
    if let Some((subject, why)) = &facts.precondition {
        let reason = facts.reason.as_str();
        details.set_precondition_failure(vec![PreconditionViolation::new(reason, subject, why)]);
    }
    details
}

fn field(violation: &Violation) -> FieldViolation {
    let mut field = FieldViolation::new(violation.field.as_ref(), violation.description.as_ref());
    field.reason = violation.reason.as_str().to_owned();
    field
}
