//! A refused route as the failure that the caller sees. Nothing of what was sent is repeated.

use std::time::Duration;

use hansa_api::status::{Failure, Reason};

use crate::core::home::NoHome;
use crate::core::route::Refusal;

/// A home that is out of reach is a matter of minutes, not of milliseconds.
pub const HOME_RETRY: Duration = Duration::from_secs(2);

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Missing("request_id") => {
                Self::field(Reason::RequestIdMissing, "request_id", "is required")
            }
            Refusal::Missing(field) => Self::field(Reason::FieldEmpty, field, "is required"),
            Refusal::UnknownRegion(_) => Self::of(Reason::UnknownRegion),
            Refusal::OrderMismatch => {
                let why = "the region in the name is not the one in the id";
                Self::field(Reason::OrderNameInvalid, "order", why)
            }
            Refusal::RegionMismatch => {
                let why = "is not the home of what is asked for; leave it empty";
                Self::field(Reason::FieldInvalid, "region", why)
            }
            Refusal::NoHome(why) => no_home(&why),
            Refusal::WrongRegion { region, endpoints, why } => {
                let endpoint = endpoints.first().map_or("", String::as_str);
                Self::wrong_region(&region, endpoint)
                    .precondition(region.as_str(), &why.to_string())
            }
        }
    }
}

fn no_home(why: &NoHome) -> Failure {
    match why {
        NoHome::Unplaced { .. } | NoHome::Unserved { .. } | NoHome::UnlawfulOwner { .. } => {
            Failure::new(Reason::NoLawfulRegion, why.to_string())
        }
        NoHome::NoRegion { .. } => {
            Failure::new(Reason::HomeUnreachable, why.to_string()).retry_after(HOME_RETRY)
        }
    }
}

#[cfg(test)]
mod tests {
    use hansa_api::status::Kind;

    use super::*;
    use crate::core::route::Why;

    fn check(refusal: Refusal, reason: Reason, kind: Kind) -> Failure {
        let failure = Failure::from(refusal);
        assert_eq!((failure.reason(), failure.kind()), (reason, kind));
        failure
    }

    #[test]
    fn each_refusal_has_its_reason() {
        use Kind::{FailedPrecondition, InvalidArgument, NotFound, Unavailable};
        check(Refusal::Missing("request_id"), Reason::RequestIdMissing, InvalidArgument);
        check(Refusal::Missing("order"), Reason::FieldEmpty, InvalidArgument);
        check(Refusal::OrderMismatch, Reason::OrderNameInvalid, InvalidArgument);
        check(Refusal::RegionMismatch, Reason::FieldInvalid, InvalidArgument);
        let region: hansa_types::region::RegionName = "eu-west".parse().unwrap();
        check(Refusal::UnknownRegion(region.clone()), Reason::UnknownRegion, NotFound);
        let jurisdiction = || "CN".parse().unwrap();
        let unserved = NoHome::Unserved { jurisdiction: jurisdiction(), reason: "x".into() };
        check(unserved.into(), Reason::NoLawfulRegion, FailedPrecondition);
        let homeless = NoHome::NoRegion { jurisdiction: jurisdiction() };
        let failure = check(homeless.into(), Reason::HomeUnreachable, Unavailable);
        assert!(failure.wait().is_some());
        let endpoints = vec!["eu-west:443".to_owned()];
        let wrong = Refusal::WrongRegion { region, endpoints, why: Why::Transit };
        let failure = check(wrong, Reason::WrongRegion, FailedPrecondition);
        assert_eq!(failure.metadata("endpoint"), Some("eu-west:443"));
        assert_eq!(failure.metadata("region"), Some("eu-west"));
    }
}
