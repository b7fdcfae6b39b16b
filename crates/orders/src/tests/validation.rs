//! Bad input: a typed status each, and nothing changed.

use hansa_api::pb::order as wire;
use hansa_api::pb::order::order_service_server::OrderService;
use hansa_api::status::{Failure, Reason};

use super::rig::{Rig, call, gbp, line, order};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_orders_are_refused_and_change_nothing() {
    let rig = Rig::start(1).await;
    let node = rig.leader().await;
    let spoil = |how: &dyn Fn(&mut wire::PlaceOrderRequest)| {
        let mut request = order("r-1");
        how(&mut request);
        request
    };
    let cases: Vec<(wire::PlaceOrderRequest, Reason)> = vec![
        (spoil(&|r| r.lines[0].quantity = 0), Reason::QuantityInvalid),
        (spoil(&|r| r.lines[0].quantity = -1), Reason::QuantityInvalid),
        (spoil(&|r| r.lines[0].quantity = i32::MAX), Reason::QuantityInvalid),
        (spoil(&|r| r.lines = vec![line("A", 1, 1); 1_001]), Reason::LineCountInvalid),
        (spoil(&|r| r.lines.clear()), Reason::LineCountInvalid),
        (
            spoil(&|r| r.lines[0].unit_price.as_mut().unwrap().currency_code = "EUR".into()),
            Reason::CurrencyMixed,
        ),
        (spoil(&|r| r.lines[0].unit_price.as_mut().unwrap().nanos = 1), Reason::MoneyInvalid),
        (spoil(&|r| r.lines[0].unit_price = gbp(-1)), Reason::MoneyInvalid),
        (spoil(&|r| r.lines[0].sku = String::new()), Reason::FieldEmpty),
        (spoil(&|r| r.lines[0].description = "x".repeat(300)), Reason::FieldTooLong),
        (spoil(&|r| r.residence_country = "XX".into()), Reason::CountryUnknown),
        (spoil(&|r| r.request_id = String::new()), Reason::RequestIdMissing),
        (spoil(&|r| r.client_reference = "4111 1111 1111 1111".into()), Reason::PanRefused),
        (
            spoil(&|r| r.personal.as_mut().unwrap().name = "5555555555554444".into()),
            Reason::PanRefused,
        ),
        (spoil(&|r| r.payment_token = "4111111111111111".into()), Reason::PanRefused),
    ];
    for (request, want) in cases {
        let status = node.service.place_order(call(request)).await.unwrap_err();
        let failure = Failure::from(&status);
        assert_eq!(failure.reason(), want, "{failure}");
        assert!(!format!("{failure:?}").contains("4111"), "echoed");
    }
    let unknown = wire::GetOrderRequest {
        order: "regions/mars/orders/018bcfe5-6800-8001-9cec-000000000006".into(),
        read: 0,
    };
    let status = node.service.get_order(call(unknown)).await.unwrap_err();
    assert_eq!(Failure::from(&status).reason(), Reason::UnknownRegion);
    let shell = node.orders.shell();
    let counts = shell.groups[&0].group.peek(|machine| {
        (machine.state.orders.len(), machine.state.keys.table.len(), machine.state.meta.seq)
    });
    assert_eq!(counts, (0, 0, 0));
    // The same request id is still free.
    assert!(!rig.place(&order("r-1")).await.unwrap().replayed);
}
