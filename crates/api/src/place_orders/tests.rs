use proptest::prelude::*;

use super::*;
use crate::pb::order as wire_form;
use crate::pb::order::order_answer::Result as Said;

fn order(tag: u64, request_id: &str) -> wire_form::OrderToPlace {
    let request_id = request_id.to_owned();
    let order = wire_form::PlaceOrderRequest { request_id, ..Default::default() };
    wire_form::OrderToPlace { tag, order: Some(order), timeout_ms: 7, first_sent_ms: 1 << 40 }
}

#[test]
fn orders_are_taken_as_the_generated_code_wrote_them() {
    let orders = vec![order(1, "a"), order(u64::MAX, ""), order(0, "b")];
    let message = wire_form::PlaceOrdersRequest { orders: orders.clone() };
    let mut taken = Orders::of(message.encode_to_vec().into());
    for order in orders {
        let asked = taken.take().unwrap().unwrap();
        assert_eq!((asked.tag, asked.timeout_ms, asked.first_sent_ms), (order.tag, 7, 1 << 40));
        assert_eq!(asked.order, order.order.unwrap().encode_to_vec());
    }
    assert!(taken.take().unwrap().is_none());
    assert!(Orders::default().take().unwrap().is_none());
}

#[test]
fn what_is_behind_a_malformed_order_is_not_taken() {
    let good = wire_form::PlaceOrdersRequest { orders: vec![order(1, "a")] }.encode_to_vec();
    for bad in [&b"\x32\x05\x08"[..], b"\x32\x02\x12\x05", b"\x30\x01", b"\x32\x02\x0a\0", b"\0"] {
        let mut orders = Orders::of([&good, bad, &good].concat().into());
        assert_eq!(orders.take().unwrap().unwrap().tag, 1);
        for _ in 0..2 {
            let failure = orders.take().err().expect("a refusal");
            assert_eq!(failure.reason(), Reason::MessageMalformed, "{bad:?}");
        }
    }
}

#[test]
fn answers_are_read_by_the_generated_code() {
    let placed = wire_form::PlaceOrderResponse { replayed: true, ..Default::default() };
    let bytes = Bytes::from(placed.encode_to_vec());
    let failure = Failure::field(Reason::UnknownSku, "lines[0].sku", "a known one");
    let unary = Status::from(failure);
    let answers = vec![Answer::new(1, Ok(bytes)), Answer::new(2, Err(unary.clone()))];
    let said = Answers { answers, taken: Some(0) };
    let message = Bytes::from(said.encode_to_vec());
    let from_leader = TakeOrdersResponse::from(said).encode_to_vec();
    assert_eq!(message, from_leader, "a leader says the same");
    let wire_form::PlaceOrdersResponse { answers: read, taken } =
        wire_form::PlaceOrdersResponse::decode(message).unwrap();
    assert_eq!(taken, Some(0));
    assert_eq!(read[0].tag, 1);
    assert_eq!(read[0].result, Some(Said::Placed(placed)));
    let Some(Said::Refused(refused)) = &read[1].result else { panic!("{read:?}") };
    assert_eq!((refused.code, refused.message.as_str()), (unary.code() as i32, unary.message()));
    assert_eq!(refused.encode_to_vec(), unary.details(), "the details of a call's status");
}

#[test]
fn a_reason_that_this_version_does_not_know_is_passed_on() {
    let newer = wire_form_status(b"newer".to_vec());
    let bytes = Bytes::from(newer.encode_to_vec());
    let passed = Answer::new(1, Err(crate::status::status(bytes.clone())));
    assert_eq!(passed.refused, Some(bytes));
    let bare = Answer::new(1, Err(Status::aborted("by somebody else"))).refused.unwrap();
    let bare = crate::status::status(bare);
    assert_eq!((bare.code(), bare.message()), (tonic::Code::Aborted, "by somebody else"));
}

fn wire_form_status(value: Vec<u8>) -> crate::pb::rpc::Status {
    let type_url = "type.googleapis.com/hansa.newer.Detail".to_owned();
    let detail = prost_types::Any { type_url, value };
    crate::pb::rpc::Status { code: 9, message: "newer".to_owned(), details: vec![detail] }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let mut orders = Orders::of(bytes.into());
        while let Ok(Some(_)) = orders.take() {}
    }
}
