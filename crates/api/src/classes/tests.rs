use prost::Message;
use prost_reflect::DescriptorPool;

use super::*;
use crate::pb;

// The build script's own checking function.
#[path = "../../build/classes.rs"]
#[allow(dead_code)]
mod build;

const OPERATIONAL: ClassSet = ClassSet::NONE.with(DataClass::Operational);

fn order() -> pb::order::Order {
    pb::order::Order {
        name: "regions/eu-west/orders/1".into(),
        customer_id: "17850".into(),
        lines: vec![pb::order::OrderLine { sku: "85123A".into(), ..Default::default() }],
        personal: Some(pb::order::PersonalDetails {
            name: "Ada Secretname".into(),
            address_lines: vec!["1 Secret Street".into()],
            ..Default::default()
        }),
        payment: Some(pb::order::PaymentFacts {
            provider_reference: "ch_secretref".into(),
            ..Default::default()
        }),
        parked_reason: "REFUND_REFUSED".into(),
        parked_detail: "do_not_honor".into(),
        ..Default::default()
    }
}

fn view(order: pb::order::Order) -> pb::replication::OrderView {
    pb::replication::OrderView { order: Some(order), event_sequence: 3, ..Default::default() }
}

fn holds(view: &pb::replication::OrderView, text: &str) -> bool {
    view.encode_to_vec().windows(text.len()).any(|w| w == text.as_bytes())
}

#[test]
fn what_is_not_allowed_is_cleared_at_any_depth() {
    let mut kept = view(order());
    kept.retain(ClassSet::ALL);
    assert_eq!(kept, view(order()));

    let mut lawful = view(order());
    lawful.retain(OPERATIONAL);
    for secret in ["Secret", "secretref", "17850", "do_not_honor"] {
        assert!(holds(&view(order()), secret) && !holds(&lawful, secret), "{secret}");
    }
    assert!(holds(&lawful, "85123A") && holds(&lawful, "REFUND_REFUSED"));

    let mut financial = view(order());
    financial.retain(OPERATIONAL.with(DataClass::Financial));
    assert!(holds(&financial, "secretref") && !holds(&financial, "Secret"));
}

#[test]
fn nothing_is_allowed_by_default() {
    let mut nothing = view(order());
    nothing.retain(ClassSet::default());
    assert_eq!(nothing, pb::replication::OrderView::default());
}

#[test]
fn oneofs_are_retained_too() {
    use pb::order::watch_order_response::Item;
    let event = pb::order::OrderEvent { order: Some(order()), ..Default::default() };
    let mut item =
        pb::order::WatchOrderResponse { cursor: "1".into(), item: Some(Item::Event(event)) };
    item.retain(OPERATIONAL);
    let Some(Item::Event(event)) = &item.item else { panic!("the event is operational") };
    assert_eq!(event.order.as_ref().unwrap().personal, None);
    item.retain(ClassSet::NONE);
    assert_eq!(item, pb::order::WatchOrderResponse::default());
}

#[test]
fn secrets_are_not_printed() {
    let shown = format!("{:?} {:?}", order(), Private::new("secretref"));
    assert!(shown.contains("85123A") && shown.contains("[redacted]"));
    for secret in ["Secret", "secretref", "17850"] {
        assert!(!shown.contains(secret), "{secret}");
    }
}

#[test]
fn classes_are_found_by_name() {
    let class = |field| class_of("hansa.order.v1.PlaceOrderRequest", field);
    assert_eq!(class("payment_token"), Some(DataClass::Financial));
    assert_eq!(class("personal"), Some(DataClass::Personal));
    assert_eq!(class("lines"), Some(DataClass::Operational));
    assert_eq!(class("no_such_field"), None);
    assert!(table().len() > 300);
}

#[test]
fn a_bad_string_is_found_wherever_it_is() {
    let find = |needle: &'static str| order().find(&move |_, text| text.contains(needle));
    assert_eq!(find("Street"), Err("personal.address_lines[0]".into()));
    assert_eq!(find("85123A"), Err("lines[0].sku".into()));
    assert_eq!(find("regions/"), Err("name".into()));
    assert_eq!(find("nowhere"), Ok(()));
}

/// The check that build.rs makes must fail for a field that someone forgot to class.
#[test]
fn an_unclassed_field_fails_the_build() {
    let pool = DescriptorPool::decode(crate::FILE_DESCRIPTOR_SET).unwrap();
    let all = build::read(&pool).unwrap();
    assert!(all.iter().all(|m| m.package.starts_with("hansa.")) && all.len() > 60);

    let mut set = prost_types::FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET).unwrap();
    set.file.retain(|f| !f.name().starts_with("hansa/") || f.package() == "hansa.options.v1");
    let field = |name: &str, number| prost_types::FieldDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        r#type: Some(prost_types::field_descriptor_proto::Type::String.into()),
        label: Some(prost_types::field_descriptor_proto::Label::Optional.into()),
        ..Default::default()
    };
    set.file.push(prost_types::FileDescriptorProto {
        name: Some("hansa/planted/v1/planted.proto".into()),
        package: Some("hansa.planted.v1".into()),
        syntax: Some("proto3".into()),
        message_type: vec![prost_types::DescriptorProto {
            name: Some("Planted".into()),
            field: vec![field("email", 1)],
            ..Default::default()
        }],
        ..Default::default()
    });
    let pool = DescriptorPool::from_file_descriptor_set(set).unwrap();
    let fault = build::read(&pool).unwrap_err();
    assert_eq!(fault, "hansa.planted.v1.Planted.email: no hansa.options.v1.data_class");
}
