use super::*;
use crate::pb;

fn reason<T>(result: Result<T, Failure>) -> Reason {
    match result {
        Ok(_) => panic!("accepted"),
        Err(failure) => failure.reason(),
    }
}

fn receive(quantity: i64) -> Result<ReceiveStock, Failure> {
    let request = pb::inventory::ReceiveStockRequest {
        request_id: "load-85123A".into(),
        sku: "85123a".into(),
        quantity,
        ..Default::default()
    };
    request.try_into()
}

#[test]
fn a_receipt_moves_a_positive_bounded_quantity() {
    assert_eq!(receive(5).unwrap().sku.as_str(), "85123A");
    assert_eq!(receive(5).unwrap().warehouse, None);
    for quantity in [0, -1, STOCK_QUANTITY_MAX + 1, i64::MIN] {
        assert_eq!(reason(receive(quantity)), Reason::QuantityInvalid);
    }
}

#[test]
fn an_adjustment_has_a_reason_and_is_not_nothing() {
    let adjust = |delta, why: &str| {
        AdjustStock::try_from(pb::inventory::AdjustStockRequest {
            request_id: "a".into(),
            sku: "X".into(),
            delta,
            reason: why.into(),
            ..Default::default()
        })
    };
    assert_eq!(adjust(-3, "damaged").unwrap().delta, -3);
    assert_eq!(reason(adjust(0, "damaged")), Reason::QuantityInvalid);
    assert_eq!(reason(adjust(i64::MIN, "damaged")), Reason::QuantityInvalid);
    assert_eq!(reason(adjust(1, " ")), Reason::FieldEmpty);
}

#[test]
fn a_shipment_names_lines_once_or_none_at_all() {
    let ship = |lines| {
        RecordShipment::try_from(pb::inventory::RecordShipmentRequest {
            order: "regions/eu-west/orders/0193482e-b400-8001-8000-000000000001".into(),
            request_id: "s1".into(),
            lines,
            ..Default::default()
        })
    };
    let line = |line, quantity| pb::inventory::ShipmentLine { line, sku: "X".into(), quantity };
    assert!(ship(vec![]).unwrap().lines.is_empty());
    assert_eq!(ship(vec![line(1, 1), line(2, 1)]).unwrap().lines.len(), 2);
    assert_eq!(reason(ship(vec![line(1, 1), line(1, 1)])), Reason::LineInvalid);
    assert_eq!(reason(ship(vec![line(1, 0)])), Reason::QuantityInvalid);
}
