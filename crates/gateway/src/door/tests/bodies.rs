//! What a body may be, and how much of it there may be.

use proptest::prelude::*;

use super::*;

#[tokio::test]
async fn bodies_that_are_not_one_message_are_refused_by_name() {
    let fake = Fake::default();
    let limit = Config::default().message_bytes_max as u32;
    let head = |flag: u8, len: u32| {
        let mut bytes = vec![flag];
        bytes.extend(len.to_be_bytes());
        bytes
    };
    let mut whole = head(0, limit + 1);
    whole.resize(limit as usize + 6, 0);
    let cases = [
        (head(0, limit + 1), Reason::MessageTooLarge),
        (whole, Reason::MessageTooLarge),
        (head(0, u32::MAX), Reason::MessageTooLarge),
        (head(1, 4), Reason::Unimplemented),
        (head(7, 4), Reason::MessageMalformed),
        (head(0, 9), Reason::MessageMalformed),
        (Vec::new(), Reason::MessageMalformed),
        ([place("DE"), place("DE")].concat(), Reason::MessageMalformed),
        ([head(0, 2), vec![0x0a, 0x05]].concat(), Reason::MessageMalformed),
        ([head(0, 3), vec![0x0a, 0x01, 0xff]].concat(), Reason::MessageMalformed),
    ];
    for (n, (body, reason)) in cases.into_iter().enumerate() {
        let request = call(SHOP, PLACE, &[], body.into());
        assert_eq!(refused(gateway(&fake).public(), request).await, reason, "case {n}");
    }
    let kind = Failure::of(Reason::MessageTooLarge).kind();
    assert_eq!(kind, Kind::ResourceExhausted);
    assert_eq!(fake.count(), 0);
}

#[tokio::test]
async fn bad_routing_fields_are_refused_at_the_door() {
    let fake = Fake::default();
    let place = |country: &str, request_id: &str| PlaceOrderRequest {
        residence_country: country.into(),
        request_id: request_id.into(),
        ..Default::default()
    };
    let refused =
        |body: Bytes, method| refused(gateway(&fake).public(), call(SHOP, method, &[], body));
    assert_eq!(refused(frame(&place("UK", "r")), PLACE).await, Reason::CountryUnknown);
    assert_eq!(refused(frame(&place("", "r")), PLACE).await, Reason::FieldEmpty);
    assert_eq!(refused(frame(&place("DE", "")), PLACE).await, Reason::RequestIdMissing);
    assert_eq!(refused(get("mars-1", 9), GET).await, Reason::UnknownRegion);
    assert_eq!(refused(get("eu-west", 2), GET).await, Reason::OrderNameInvalid);
    let odd = GetOrderRequest { order: "orders/1".into(), ..Default::default() };
    assert_eq!(refused(frame(&odd), GET).await, Reason::OrderNameInvalid);
}

#[tokio::test]
async fn a_client_over_its_rate_is_refused_before_its_body_is_read() {
    let fake = Fake::default();
    let config = Config { rate: Rate { per_second: 1, burst: 1 }, ..Config::default() };
    let gateway = gateway_with(&fake, config);
    text(ask(gateway.public(), call(SHOP, PLACE, &[], place("DE"))).await).await;
    let endless = || {
        let frames = futures::stream::pending::<Result<http_body::Frame<Bytes>, Status>>();
        let body = Body::new(http_body_util::StreamBody::new(frames));
        call(SHOP, PLACE, &[], Bytes::new()).map(|_| body)
    };
    // One that comes a second later is let in, waits for its body, and has used up the next place.
    let soon = Duration::from_millis(200);
    let answer = loop {
        let asked = tokio::time::timeout(soon, ask(gateway.public(), endless()));
        if let Ok(answer) = asked.await {
            break answer;
        }
    };
    let failure = failure(&answer).unwrap();
    assert_eq!(failure.reason(), Reason::RateLimited);
    assert!(failure.wait().is_some());
}

#[tokio::test]
async fn an_open_stream_takes_room_until_it_ends() {
    let fake = Fake::default();
    let gateway = gateway_with(&fake, Config { streams_max: 1, ..Config::default() });
    let watch = || {
        let body = frame(&WatchOrderRequest { order: order("eu-west", 1), ..Default::default() });
        call(SHOP, "hansa.order.v1.OrderService/WatchOrder", &[], body)
    };
    let open = ask(gateway.public(), watch()).await;
    assert_eq!(failure(&open), None);
    assert_eq!(refused(gateway.public(), watch()).await, Reason::Overloaded);
    text(ask(gateway.public(), call(SHOP, PLACE, &[], place("DE"))).await).await;
    drop(open);
    assert_eq!(text(ask(gateway.public(), watch()).await).await, "node 1");
}

/// One gateway for all cases: putting one together costs more than asking it.
static ONE: std::sync::LazyLock<(tokio::runtime::Runtime, Gateway<Fake>)> =
    std::sync::LazyLock::new(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let gateway = runtime.block_on(async { gateway(&Fake::default()) });
        (runtime, gateway)
    });

proptest! {
    #[test]
    fn arbitrary_bytes_get_an_answer_and_never_a_panic(
        body: Vec<u8>, at in 0..METHODS.len(), framed: bool,
    ) {
        let (runtime, gateway) = &*ONE;
        runtime.block_on(async {
            let body: Bytes = if framed {
                let mut bytes = vec![0];
                bytes.extend((body.len() as u32).to_be_bytes());
                bytes.extend(body);
                bytes.into()
            } else {
                body.into()
            };
            for role in ["storefront", "warehouse", "finance", "operator"] {
                let client = format!("spiffe://hansa/client/{role}");
                let request = call(&client, METHODS[at].name, &[], body.clone());
                let answer = ask(gateway.public(), request).await;
                prop_assert_eq!(answer.status(), 200);
            }
            Ok(())
        })?;
    }
}
