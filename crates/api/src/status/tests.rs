use tonic_types::StatusExt;

use super::*;
use crate::pb::order::RejectReason;

#[test]
fn every_reason_survives_the_wire() {
    for &reason in Reason::ALL {
        let sent = Failure::of(reason)
            .with(key::REGION, "eu-west")
            .retry_after(Duration::from_millis(250))
            .precondition("order", "it has shipped");
        let status = Status::from(sent.clone());
        assert_eq!(status.code(), reason.kind().code(), "{reason}");
        assert_eq!(status.get_error_details().error_info().unwrap().reason, reason.as_str());
        assert_eq!(Failure::from(&status), sent);
    }
}

#[test]
fn names_are_upper_snake_unique_and_parse_as_themselves() {
    for (n, reason) in Reason::ALL.iter().enumerate() {
        let name = reason.as_str();
        assert!(name.bytes().all(|c| c.is_ascii_uppercase() || c == b'_'), "{name}");
        assert_eq!(name.parse(), Ok(*reason));
        assert!(Reason::ALL[..n].iter().all(|other| other.as_str() != name), "{name} twice");
    }
    assert_eq!("NO_SUCH_REASON".parse::<Reason>(), Err(reason::UnknownReason));
}

#[test]
fn every_kind_has_its_own_code_and_name() {
    for reason in Reason::ALL {
        let name = format!("{:?}", reason.kind().code());
        assert_eq!(name.to_uppercase(), reason.kind().to_string().replace('_', ""));
    }
}

#[test]
fn bad_fields_are_named_with_their_reasons() {
    let violation = |field: &'static str, reason| Violation {
        field: field.into(),
        reason,
        description: "1 to 9".into(),
    };
    let sent = Failure::fields(vec![
        violation("lines[2].quantity", Reason::QuantityInvalid),
        violation("request_id", Reason::RequestIdMissing),
    ]);
    let status = Status::from(sent.clone());
    let bad = status.get_details_bad_request().unwrap();
    assert_eq!(bad.field_violations[0].field, "lines[2].quantity");
    assert_eq!(bad.field_violations[1].reason, "REQUEST_ID_MISSING");
    assert_eq!(Failure::from(status), sent);
}

#[test]
fn a_limited_caller_learns_its_quota_and_when_to_return() {
    let wait = Duration::from_secs(2);
    let sent = Failure::rate_limited("spiffe://hansa/client/storefront", "100 calls/s", wait);
    let status = Status::from(sent.clone());
    assert_eq!(status.get_details_quota_failure().unwrap().violations.len(), 1);
    assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(wait));
    assert_eq!(Failure::from(status), sent);
}

#[test]
fn a_failure_is_always_the_same_bytes() {
    let keys = ["zone", "leader", "region", "endpoint", "group", "not_sent", "epoch", "term"];
    let with = |failure: Failure, key: &&'static str| failure.with(key, "x");
    let status = |keys: &mut dyn Iterator<Item = &&'static str>| {
        Status::from(keys.fold(Failure::of(Reason::NotLeader), with))
    };
    let first = status(&mut keys.iter());
    assert_eq!(first.details(), status(&mut keys.iter().rev()).details());
    assert_eq!(Failure::from(&first).metadata("zone"), Some("x"));
}

#[test]
fn the_leader_is_read_from_response_headers() {
    let headers = Status::from(Failure::not_leader(Some(NodeId(7)))).into_http::<()>();
    let failure = Failure::from_headers(headers.headers()).unwrap();
    assert_eq!((failure.reason(), failure.leader()), (Reason::NotLeader, Some(NodeId(7))));
    assert_eq!(Failure::from_headers(&http::HeaderMap::new()), None);
}

#[test]
fn foreign_statuses_keep_their_sense() {
    for (code, message, expect) in [
        (Code::Cancelled, "Timeout expired", Reason::DeadlineExceeded),
        (Code::Cancelled, "", Reason::Cancelled),
        (Code::OutOfRange, "decoded message length too large", Reason::MessageTooLarge),
        (Code::Unknown, "transport error", Reason::Unavailable),
        (Code::Unknown, "", Reason::Internal),
        (Code::Unavailable, "tcp connect error", Reason::Unavailable),
    ] {
        assert_eq!(Failure::from(Status::new(code, message)).reason(), expect, "{code:?}");
    }
}

#[test]
fn the_catalogue_lists_every_reason_once() {
    let text = Reason::catalogue();
    assert_eq!(text.lines().count(), Reason::ALL.len() + 2);
    assert!(text.contains("| `PAN_REFUSED` | `INVALID_ARGUMENT` |"));
}

/// Why an order is rejected: an answer, not a failure of a call.
fn rejections() -> String {
    let mut table = "\n# Why an order is rejected\n\n\
        An order that cannot be confirmed is an answer, not a failure: \
        `Order.rejection.reason`.\n\n\
        | reason | meaning |\n|---|---|\n"
        .to_owned();
    for reason in (1..).map_while(|n| RejectReason::try_from(n).ok()) {
        let meaning = match reason {
            RejectReason::Unspecified => unreachable!("numbers begin at one"),
            RejectReason::UnknownSku => "the region has never had stock of the SKU",
            RejectReason::OutOfStock => "too little is sellable; nothing was reserved",
            RejectReason::PaymentDeclined => "the provider declined the charge or the capture",
            RejectReason::PaymentInDoubt => {
                "the payment stayed in doubt longer than stock may be held; what it may have \
                 charged is given back"
            }
            RejectReason::HoldExpired => {
                "the stock hold ran out before the order could be confirmed"
            }
            RejectReason::PaymentUnavailable => {
                "the provider could not be reached in time and holds no charge"
            }
            RejectReason::StockRefused => {
                "the stock books refused the reservation for none of these reasons; nothing ran out"
            }
            RejectReason::PaymentRefused => {
                "our payment books refused to hold the amount; the provider was not asked"
            }
        };
        let name = reason.as_str_name().trim_start_matches("REJECT_REASON_");
        table.push_str(&format!("| `{name}` | {meaning} |\n"));
    }
    table
}

#[test]
fn the_documented_catalogue_is_the_one_in_the_code() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reasons.md");
    let head = "# Reasons: why a call can fail\n\n\
        A refusal carries one of these names in `ErrorInfo.reason`; names are stable and never \
        change their code.\n\n";
    let expect = format!("{head}{}{}", Reason::catalogue(), rejections());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(file, &expect).unwrap();
    }
    let found = std::fs::read_to_string(file).unwrap_or_default();
    let again = "write it anew: UPDATE=1 cargo test -p hansa-api documented_catalogue";
    assert!(found == expect, "docs/reasons.md is out of date; {again}");
}

#[test]
fn a_refusal_in_a_stream_is_none_that_says_ok() {
    let refused = Status::from(Failure::of(Reason::Overloaded));
    assert_eq!(status(encoded(&refused)).code(), Code::ResourceExhausted);
    for bad in [encoded(&Status::ok("")), Bytes::new(), Bytes::from_static(b"\xff")] {
        assert_eq!(Failure::from(status(bad)).reason(), Reason::Internal);
    }
}
