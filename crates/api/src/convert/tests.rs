use super::*;
use crate::pb::order::{CancelOrderRequest, PersonalDetails, PlaceOrderRequest};

const CARD: &str = "4111 1111 1111 1111";

#[test]
fn a_card_number_is_refused_in_any_string_and_not_echoed() {
    let in_name = PlaceOrderRequest {
        personal: Some(PersonalDetails { name: CARD.into(), ..Default::default() }),
        ..Default::default()
    };
    let in_reason = CancelOrderRequest { reason: format!("refund {CARD}"), ..Default::default() };
    let in_id = CancelOrderRequest { request_id: CARD.replace(' ', ""), ..Default::default() };
    for (result, path) in [
        (refuse_cards(&in_name), "personal.name"),
        (refuse_cards(&in_reason), "reason"),
        (refuse_cards(&in_id), "request_id"),
    ] {
        let failure = result.unwrap_err();
        assert_eq!(failure.reason(), Reason::PanRefused);
        assert_eq!(failure.violations()[0].field, path);
        assert!(!format!("{failure:?}").contains("1111"));
    }
}

#[test]
fn uuids_order_names_and_gtins_are_no_cards() {
    // The digits pass the Luhn check; the form says what they are.
    let uuid = "41111111-1111-1111-8aaa-aaaaaaaaaaaa";
    let request = CancelOrderRequest { request_id: uuid.into(), ..Default::default() };
    assert!(looks_like_card(uuid));
    assert_eq!(refuse_cards(&request), Ok(()));
    let reference = PlaceOrderRequest { client_reference: uuid.into(), ..Default::default() };
    assert_eq!(refuse_cards(&reference), Ok(()));
    let gtin = crate::pb::inventory::GetStockRequest {
        sku: "4222222222222".into(), // An old 13-digit test card.
        ..Default::default()
    };
    assert_eq!(refuse_cards(&gtin), Ok(()));
    let card = crate::pb::inventory::GetStockRequest {
        sku: "4111111111111111".into(),
        ..Default::default()
    };
    assert!(refuse_cards(&card).is_err());
}

#[test]
fn violations_are_collected_up_to_a_bound() {
    let mut checks = Checks::default();
    for n in 0..100 {
        checks.refuse(Reason::QuantityInvalid, format!("lines[{n}].quantity"), "1 to 9");
    }
    let failure = checks.done(Some(())).unwrap_err();
    assert_eq!(failure.violations().len(), VIOLATIONS_MAX);
    assert_eq!(failure.reason(), Reason::QuantityInvalid);
}

#[test]
fn free_text_is_bounded_and_printable() {
    let fault = |text: &str| text_fault(text).map(|(reason, _)| reason);
    assert_eq!(fault("WHITE METAL LANTERN £"), None);
    assert_eq!(fault(""), None);
    assert_eq!(fault(&"x".repeat(TEXT_BYTES_MAX)), None);
    assert_eq!(fault(&"x".repeat(TEXT_BYTES_MAX + 1)), Some(Reason::FieldTooLong));
    assert_eq!(fault("a\0b"), Some(Reason::FieldInvalid));
}
