use proptest::prelude::*;
use prost::Message;
use prost_reflect::{
    Cardinality, DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor,
};

use super::*;
use crate::pb;

const ORDER: &str = "regions/eu-west/orders/0193482e-b400-8001-8000-000000000001";

fn place_order() -> pb::order::PlaceOrderRequest {
    pb::order::PlaceOrderRequest {
        residence_country: "GB".into(),
        customer_id: "17850".into(),
        request_id: "536365-place".into(),
        lines: vec![pb::order::PlaceOrderLine { sku: "85123A".into(), ..Default::default() }],
        ..Default::default()
    }
}

fn reason(message: &[u8]) -> Reason {
    Routing::decode(message, Extra::Nothing).unwrap_err().reason()
}

#[test]
fn only_the_routing_fields_are_read() {
    let got = Routing::decode(&place_order().encode_to_vec(), Extra::Nothing).unwrap();
    let expect = Routing {
        residence_country: Some("GB".parse().unwrap()),
        customer_id: Some("17850".parse().unwrap()),
        request_id: Some("536365-place".parse().unwrap()),
        ..Routing::default()
    };
    assert_eq!(got, expect);
}

#[test]
fn tag_six_is_what_the_method_says() {
    let stock = pb::inventory::GetStockRequest { sku: "85123a".into(), ..Default::default() };
    let extra = Extra::of_path("/hansa.inventory.v1.InventoryService/GetStock");
    let got = Routing::decode(&stock.encode_to_vec(), extra).unwrap();
    assert_eq!(got.sku, Some("85123A".parse().unwrap()));

    let read = pb::order::ReadMode::LocalCopy.into();
    let get = pb::order::GetOrderRequest { order: ORDER.into(), read };
    let extra = Extra::of_path("/hansa.order.v1.OrderService/GetOrder");
    let got = Routing::decode(&get.encode_to_vec(), extra).unwrap();
    assert!(got.local_copy);
    assert_eq!(got.order.unwrap().to_string(), ORDER);
}

#[test]
fn bad_routing_fields_have_their_own_reasons() {
    let with = |edit: fn(&mut pb::order::PlaceOrderRequest)| {
        let mut request = place_order();
        edit(&mut request);
        reason(&request.encode_to_vec())
    };
    assert_eq!(with(|r| r.residence_country = "UK".into()), Reason::CountryUnknown);
    assert_eq!(with(|r| r.customer_id = "a b".into()), Reason::FieldInvalid);
    assert_eq!(with(|r| r.customer_id = "x".repeat(129)), Reason::FieldTooLong);
    let get = pb::order::GetOrderRequest { order: "orders/1".into(), read: 0 };
    assert_eq!(reason(&get.encode_to_vec()), Reason::OrderNameInvalid);
    assert_eq!(reason(&[0x0a, 2, 0xff, 0xfe]), Reason::MessageMalformed); // Not UTF-8.
    assert_eq!(reason(&[0x08, 1]), Reason::MessageMalformed); // A country that is a number.
    assert_eq!(reason(&[0x0a, 9, b'G']), Reason::MessageMalformed); // Cut short.
}

/// The contract: where a public request has a routing field, it has this tag and is a string.
#[test]
fn every_public_request_agrees_with_the_contract() {
    let contract = [
        ("residence_country", tag::RESIDENCE_COUNTRY),
        ("customer_id", tag::CUSTOMER_ID),
        ("order", tag::ORDER),
        ("request_id", tag::REQUEST_ID),
        ("region", tag::REGION),
    ];
    let mut seen = 0;
    for method in public_methods() {
        let input = method.input();
        for field in input.fields() {
            let name = field.name();
            if let Some((_, tag)) = contract.iter().find(|(known, _)| *known == name) {
                assert_eq!(field.number(), *tag, "{}", field.full_name());
                assert_eq!(field.kind(), Kind::String, "{}", field.full_name());
                assert_ne!(field.cardinality(), Cardinality::Repeated);
                seen += 1;
            }
            let at_low_tag = contract.iter().any(|(_, tag)| *tag == field.number());
            let is_contract = contract.contains(&(name, field.number()));
            assert_eq!(at_low_tag, is_contract, "{}: tags 1 to 5", field.full_name());
        }
        check_extra(&method);
    }
    assert!(seen > 20, "the services were not found");
}

fn check_extra(method: &MethodDescriptor) {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let six = method.input().get_field(tag::EXTRA).map(|f| (f.name().to_owned(), f.kind()));
    match Extra::of_path(&path) {
        Extra::Nothing => assert_ne!(six.map(|(name, _)| name).as_deref(), Some("sku"), "{path}"),
        Extra::Sku => assert!(six.is_none_or(|s| s == ("sku".into(), Kind::String)), "{path}"),
        Extra::Read => {
            let (name, kind) = six.unwrap();
            assert_eq!(name, "read");
            let kind = kind.as_enum().unwrap().get_value_by_name("READ_MODE_LOCAL_COPY").unwrap();
            assert_eq!(kind.number() as u64, READ_LOCAL_COPY);
        }
    }
}

/// Calls that change something carry a request_id.
#[test]
fn every_mutating_request_has_a_request_id() {
    let reads = ["Get", "Export", "List", "Watch", "Explain", "Check", "Verify", "Read"];
    for method in public_methods() {
        let reads = reads.iter().any(|verb| method.name().starts_with(verb));
        let asks = |input: MessageDescriptor| input.get_field_by_name("request_id").is_some();
        let has = match method.is_client_streaming() {
            false => asks(method.input()),
            // What is done is in the stream, and each of it carries its own.
            true => {
                let of = |field: FieldDescriptor| field.kind().as_message().cloned();
                let orders = method.input().get_field_by_name("orders").and_then(of);
                let order = orders.and_then(|order| order.get_field_by_name("order"));
                order.and_then(of).is_some_and(asks)
            }
        };
        assert!(reads || has, "{}", method.full_name());
    }
}

fn public_methods() -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(crate::FILE_DESCRIPTOR_SET).unwrap();
    let public = ["order", "inventory", "payment", "region", "admin"];
    let services = pool.services().filter(|service| {
        public.iter().any(|area| service.package_name() == format!("hansa.{area}.v1"))
    });
    services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for extra in [Extra::Nothing, Extra::Sku, Extra::Read] {
            let _ = Routing::decode(&bytes, extra);
        }
    }

    /// What Protobuf itself accepts, routing accepts or refuses for a field's sake only.
    #[test]
    fn a_damaged_request_is_malformed_for_both(
        at in 0_usize..60, with in any::<u8>(), cut in 0_usize..60,
    ) {
        let mut bytes = place_order().encode_to_vec();
        if let Some(byte) = bytes.get_mut(at) { *byte = with; }
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
        let ours = Routing::decode(&bytes, Extra::Nothing);
        if ours.is_ok() {
            // Skipped fields may still be bad inside; the top level must not be.
            let theirs = pb::order::PlaceOrderRequest::decode(&bytes[..]);
            if let Ok(request) = theirs {
                let customer = ours.unwrap().customer_id;
                prop_assert_eq!(customer.is_some(), !request.customer_id.is_empty());
            }
        }
    }
}
