//! The one place where a gRPC status is made, and read.
//!
//! A failure is a stable [`Reason`] with facts; its [`Kind`] follows from the reason alone, and the
//! `google.rpc` details are always those that AIP-193 asks for. Nothing of the caller's input is
//! put into a message or a detail: it could be personal, or a card number.

mod decode;
mod encode;
mod reason;

pub use reason::{Kind, Reason};

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use hansa_types::id::NodeId;
use hansa_types::region::RegionName;
use prost::Message as _;
use tonic::{Code, Status};

/// `ErrorInfo.domain` of every failure of ours.
pub const DOMAIN: &str = "hansa";

/// Keys of `ErrorInfo.metadata` that callers act on.
pub mod key {
    /// Node id of the leader, with `NOT_LEADER`.
    pub const LEADER: &str = "leader";
    /// Name of the right region, with `WRONG_REGION`.
    pub const REGION: &str = "region";
    /// Public endpoint (`host:port`) of the right region, with `WRONG_REGION`.
    pub const ENDPOINT: &str = "endpoint";
    /// Present when nothing was sent, or nothing of it was read: it may go elsewhere.
    pub const NOT_SENT: &str = "not_sent";
}

/// One field that is wrong, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path from the request: `lines[3].quantity`.
    pub field: Cow<'static, str>,
    pub reason: Reason,
    /// What is allowed; never what was sent.
    pub description: Cow<'static, str>,
}

/// Why a call failed, on both ends of the wire.
///
/// Boxed: a failure is rare, and `Result`s that carry one stay small.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure(Box<Facts>);

#[derive(Clone, PartialEq, Eq)]
struct Facts {
    reason: Reason,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
    violations: Vec<Violation>,
    /// What was limited, and the limit.
    quota: Option<(String, String)>,
    /// What state stood in the way, and its description.
    precondition: Option<(String, String)>,
    metadata: BTreeMap<String, String>,
}

impl Failure {
    /// A failure with its reason's own sentence as the message.
    pub fn of(reason: Reason) -> Self {
        Self::new(reason, reason.meaning())
    }

    /// A failure that says more; `message` is for the caller's developers and echoes no input.
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Facts {
            reason,
            message: message.into(),
            retry_after: None,
            violations: Vec::new(),
            quota: None,
            precondition: None,
            metadata: BTreeMap::new(),
        }))
    }

    /// A request with bad fields; the first one gives the reason.
    pub fn fields(violations: Vec<Violation>) -> Self {
        let reason = violations.first().map_or(Reason::FieldInvalid, |v| v.reason);
        let mut failure = Self::of(reason);
        failure.0.violations = violations;
        failure
    }

    /// A request with one bad field.
    pub fn field(
        reason: Reason,
        field: impl Into<Cow<'static, str>>,
        description: impl Into<Cow<'static, str>>,
    ) -> Self {
        let (field, description) = (field.into(), description.into());
        Self::fields(vec![Violation { field, reason, description }])
    }

    /// Another node leads the group, `leader` if it is known.
    pub fn not_leader(leader: Option<NodeId>) -> Self {
        let failure = Self::of(Reason::NotLeader);
        match leader {
            Some(node) => failure.with(key::LEADER, node.to_string()),
            None => failure.retry_after(Duration::from_millis(100)),
        }
    }

    /// The caller should have asked another region; says which, and echoes nothing.
    pub fn wrong_region(home: &RegionName, endpoint: &str) -> Self {
        Self::of(Reason::WrongRegion).with(key::REGION, home.as_str()).with(key::ENDPOINT, endpoint)
    }

    /// `subject` has used up what `limit` says; come back after `wait`.
    pub fn rate_limited(subject: &str, limit: &str, wait: Duration) -> Self {
        let mut failure = Self::of(Reason::RateLimited).retry_after(wait);
        failure.0.quota = Some((subject.to_owned(), limit.to_owned()));
        failure
    }

    /// Adds a fact to `ErrorInfo.metadata`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.0.metadata.insert(key.to_owned(), value.into());
        self
    }

    /// Invites a retry after `wait` (`RetryInfo`).
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Names what stands in the way (`PreconditionFailure`).
    #[must_use]
    pub fn precondition(mut self, subject: &str, description: &str) -> Self {
        self.0.precondition = Some((subject.to_owned(), description.to_owned()));
        self
    }

    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    pub fn kind(&self) -> Kind {
        self.0.reason.kind()
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn violations(&self) -> &[Violation] {
        &self.0.violations
    }

    /// How long to wait before a retry, if one is invited.
    pub fn wait(&self) -> Option<Duration> {
        self.0.retry_after
    }

    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.0.metadata.get(key).map(String::as_str)
    }

    /// The leader that a `NOT_LEADER` names.
    pub fn leader(&self) -> Option<NodeId> {
        self.metadata(key::LEADER)?.parse().ok().map(NodeId)
    }
}

/// A status as an answer of a stream carries it, a `google.rpc.Status`: what its details are, of a
/// newer version's as well.
pub fn encoded(status: &Status) -> Bytes {
    if !status.details().is_empty() {
        return Bytes::copy_from_slice(status.details());
    }
    let (code, message) = (status.code().into(), status.message().to_owned());
    crate::pb::rpc::Status { code, message, details: Vec::new() }.encode_to_vec().into()
}

/// The status that was [`encoded`] so.
pub fn status(encoded: Bytes) -> Status {
    match crate::pb::rpc::Status::decode(encoded.clone()) {
        Ok(said) if said.code != 0 => Status::with_details(said.code.into(), said.message, encoded),
        // A refusal that says OK is none, either.
        Ok(_) | Err(_) => Failure::new(Reason::Internal, "a status that cannot be read").into(),
    }
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self::of(reason)
    }
}

impl From<Reason> for Status {
    fn from(reason: Reason) -> Self {
        Failure::of(reason).into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.reason, self.0.message)?;
        for violation in &self.0.violations {
            write!(f, "; {}: {}", violation.field, violation.description)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} {:?}", self.0.metadata)
    }
}

impl Error for Failure {}

impl Kind {
    pub fn code(self) -> Code {
        match self {
            Self::Cancelled => Code::Cancelled,
            Self::InvalidArgument => Code::InvalidArgument,
            Self::DeadlineExceeded => Code::DeadlineExceeded,
            Self::NotFound => Code::NotFound,
            Self::PermissionDenied => Code::PermissionDenied,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::ResourceExhausted => Code::ResourceExhausted,
            Self::FailedPrecondition => Code::FailedPrecondition,
            Self::Aborted => Code::Aborted,
            Self::Unimplemented => Code::Unimplemented,
            Self::Internal => Code::Internal,
            Self::Unavailable => Code::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests;
