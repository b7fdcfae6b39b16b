use hansa_types::id::{GroupKind, OrderId};
use hansa_types::time::LogTime;
use proptest::prelude::*;

use super::*;
use crate::core::directory::Command;
use crate::testing::{POLICY, number, region, snapshot};

fn m(name: &str) -> &'static Method {
    METHODS.iter().find(|m| m.name.ends_with(&format!("/{name}"))).unwrap()
}

fn place_order(country: &str, customer: &str) -> Routing {
    Routing {
        residence_country: country.parse().ok(),
        customer_id: customer.parse().ok(),
        request_id: "r-1".parse().ok(),
        ..Routing::default()
    }
}

fn order_in(region: &str, n: u16, slot: u16) -> OrderName {
    let id = OrderId::new(LogTime(1), number(n), Slot::new(slot).unwrap(), 5);
    OrderName { region: region.parse().unwrap(), id }
}

fn order(name: OrderName) -> Routing {
    Routing { order: Some(name), ..Routing::default() }
}

fn orders(index: u16) -> Decision {
    Decision::Group(GroupId::new(GroupKind::Orders, index))
}

#[test]
fn the_method_table_is_sorted_so_that_it_can_be_searched() {
    assert!(METHODS.is_sorted_by(|a, b| a.name < b.name));
    for known in METHODS {
        assert_eq!(method(&format!("/{}", known.name)), Some(known));
    }
    for unknown in
        ["", "/", "hansa.order.v1.OrderService/GetOrder", "/hansa.raft.v1.RaftPeerService/Exchange"]
    {
        assert_eq!(method(unknown), None, "{unknown}");
    }
}

#[test]
fn an_order_is_placed_where_the_customer_lives() {
    let here = snapshot(1, 4, &[]);
    let slot = Slot::of(b"17850").get();
    for (country, home) in [
        ("DE", orders(slot % 4)),
        ("US", Decision::Region(number(2))),
        ("JP", Decision::Region(number(3))),
    ] {
        let decision = route(m("PlaceOrder"), &place_order(country, "17850"), Entry::Client, &here);
        assert_eq!(decision, Ok(home), "{country}");
    }
}

#[test]
fn a_guest_is_placed_by_his_request_id() {
    let here = snapshot(1, 4, &[]);
    let decision = route(m("PlaceOrder"), &place_order("DE", ""), Entry::Client, &here);
    assert_eq!(decision, Ok(orders(Slot::of(b"r-1").get() % 4)));
}

#[test]
fn an_order_is_found_by_its_name_from_anywhere() {
    let name = order_in("eu-west", 1, 6);
    for (here, want) in [(1, orders(2)), (2, Decision::Region(number(1)))] {
        let decision =
            route(m("GetOrder"), &order(name.clone()), Entry::Client, &snapshot(here, 4, &[]));
        assert_eq!(decision, Ok(want));
    }
}

#[test]
fn a_shipment_goes_to_the_orders_group_of_its_order() {
    let here = snapshot(1, 4, &[]);
    let ship = |region: &str| {
        let fields = Routing { region: region.parse().ok(), ..order(order_in("eu-west", 1, 6)) };
        route(m("RecordShipment"), &fields, Entry::Client, &here)
    };
    assert_eq!((ship(""), ship("eu-west")), (Ok(orders(2)), Ok(orders(2))));
    assert_eq!(ship("us-east"), Err(Refusal::RegionMismatch));
}

#[test]
fn a_local_copy_is_read_where_it_was_asked_for() {
    let fields = Routing { local_copy: true, ..order(order_in("us-east", 2, 6)) };
    let decision = route(m("GetOrder"), &fields, Entry::Client, &snapshot(1, 4, &[]));
    assert_eq!(decision, Ok(orders(2)));
}

#[test]
fn a_new_owner_gets_the_calls_of_its_new_slots() {
    let slot = Slot::new(6);
    let moved = Command::Own { birth: number(1), slot, owner: number(3), epoch: 2 };
    let here = snapshot(1, 1, &[moved]);
    let decision =
        |slot| route(m("GetOrder"), &order(order_in("eu-west", 1, slot)), Entry::Client, &here);
    assert_eq!(decision(6), Ok(Decision::Region(number(3))));
    assert_eq!(decision(7), Ok(orders(0)));
}

#[test]
fn an_owner_outside_the_jurisdiction_serves_nobody() {
    let moved = Command::Own { birth: number(1), slot: None, owner: number(2), epoch: 2 };
    let refusal =
        route(m("PlaceOrder"), &place_order("DE", "x"), Entry::Client, &snapshot(1, 1, &[moved]));
    let unlawful = |r: &Refusal| matches!(r, Refusal::NoHome(NoHome::UnlawfulOwner { .. }));
    assert!(refusal.as_ref().is_err_and(unlawful), "{refusal:?}");
}

#[test]
fn who_may_store_it_but_has_no_copies_serves_nobody_whom_he_took_over() {
    let moved = Command::Own { birth: number(1), slot: None, owner: number(4), epoch: 2 };
    let heir = Command::PutRegion { number: number(4), region: region("eu-central") };
    let place = |text: String| {
        let load = Command::LoadPolicy { text };
        let here = snapshot(1, 1, &[heir.clone(), load, moved.clone()]);
        route(m("PlaceOrder"), &place_order("DE", "x"), Entry::Client, &here)
    };
    let newer = POLICY.replace("\nversion = 1", "\nversion = 2");
    assert_eq!(place(newer.clone()), Ok(Decision::Region(number(4))));
    let kept = r#"store = ["EU", "GB", "CH"], transit = true, failover = ["eu-central"]"#;
    assert!(newer.contains(kept));
    let refusal = place(newer.replace(kept, r#"store = ["EU", "GB", "CH"], transit = true"#));
    let unlawful = |r: &Refusal| matches!(r, Refusal::NoHome(NoHome::UnlawfulOwner { .. }));
    assert!(refusal.as_ref().is_err_and(unlawful), "{refusal:?}");
}

#[test]
fn id_and_name_of_an_order_must_agree() {
    let here = snapshot(1, 1, &[]);
    let get = |fields: Routing| route(m("GetOrder"), &fields, Entry::Client, &here).unwrap_err();
    assert_eq!(get(order(order_in("eu-west", 2, 1))), Refusal::OrderMismatch);
    assert_eq!(get(Routing::default()), Refusal::Missing("order"));
    let unknown = Refusal::UnknownRegion("mars-1".parse().unwrap());
    assert_eq!(get(order(order_in("mars-1", 9, 1))), unknown);
}

#[test]
fn a_customer_without_residence_or_a_guest_without_a_request_is_refused() {
    let here = snapshot(1, 1, &[]);
    let place = |fields| route(m("PlaceOrder"), &fields, Entry::Client, &here);
    assert_eq!(place(place_order("", "x")), Err(Refusal::Missing("residence_country")));
    let guest = Routing { request_id: None, ..place_order("DE", "") };
    assert_eq!(place(guest), Err(Refusal::Missing("request_id")));
}

#[test]
fn an_unplaced_or_unserved_country_is_refused() {
    let no_rest = POLICY.replace("rest = true", "").replace("\nversion = 1", "\nversion = 2");
    let here = snapshot(1, 1, &[Command::LoadPolicy { text: no_rest }]);
    let place = |country| route(m("PlaceOrder"), &place_order(country, "x"), Entry::Client, &here);
    assert!(matches!(place("BR"), Err(Refusal::NoHome(NoHome::Unplaced { .. }))));
    assert!(matches!(place("CN"), Err(Refusal::NoHome(NoHome::Unserved { .. }))));
}

#[test]
fn a_jurisdiction_that_forbids_transit_gets_a_redirect() {
    let strict = POLICY.replace("\nversion = 1", "\nversion = 2").replace(
        r#"store = ["EU", "GB", "CH"], transit = true"#,
        r#"store = ["EU", "GB", "CH"], transit = false"#,
    );
    let command = Command::LoadPolicy { text: strict };
    let (eu, us) = (snapshot(1, 1, std::slice::from_ref(&command)), snapshot(2, 1, &[command]));
    let germans = place_order("DE", "x");
    assert_eq!(route(m("PlaceOrder"), &germans, Entry::Client, &eu), Ok(orders(0)));
    let redirect = |r: Result<Decision, Refusal>| match r {
        Err(Refusal::WrongRegion { region, endpoints, why: Why::Transit }) => {
            assert_eq!(
                (region.as_str(), &endpoints[..]),
                ("eu-west", &["eu-west:443".to_owned()][..])
            );
        }
        other => panic!("{other:?}"),
    };
    redirect(route(m("PlaceOrder"), &germans, Entry::Client, &us));
    redirect(route(m("GetOrder"), &order(order_in("eu-west", 1, 1)), Entry::Client, &us));
    let british = route(m("PlaceOrder"), &place_order("GB", "x"), Entry::Client, &us);
    assert_eq!(british, Ok(Decision::Region(number(1))));
    let stock =
        Routing { region: "eu-west".parse().ok(), sku: "A".parse().ok(), ..Routing::default() };
    assert_eq!(route(m("GetStock"), &stock, Entry::Client, &us), Ok(Decision::Region(number(1))));
}

#[test]
fn stock_lies_in_the_region_that_is_named() {
    let here = snapshot(1, 4, &[]);
    let stock = |region: &str, sku: &str| {
        let fields =
            Routing { region: region.parse().ok(), sku: sku.parse().ok(), ..Routing::default() };
        route(m("GetStock"), &fields, Entry::Client, &here)
    };
    let group = GroupId::new(GroupKind::Inventory, Slot::of(b"85123A").get() % 4);
    assert_eq!(stock("", "85123a"), Ok(Decision::Group(group)), "codes compare in upper case");
    assert_eq!(stock("us-east", "85123a"), Ok(Decision::Region(number(2))));
    assert!(matches!(stock("mars-1", "x"), Err(Refusal::UnknownRegion(_))));
    assert!(matches!(stock("", ""), Err(Refusal::Missing("sku"))));
}

#[test]
fn a_region_that_contradicts_the_home_is_refused() {
    let here = snapshot(1, 1, &[]);
    let with = |region: &str| Routing { region: region.parse().ok(), ..place_order("DE", "x") };
    assert_eq!(route(m("ListOrders"), &with("eu-west"), Entry::Client, &here), Ok(orders(0)));
    let refusal = route(m("ListOrders"), &with("us-east"), Entry::Client, &here);
    assert!(matches!(refusal, Err(Refusal::RegionMismatch)), "{refusal:?}");
}

#[test]
fn the_gateway_answers_for_its_region() {
    let here = snapshot(1, 1, &[]);
    let admin = |region: &str| {
        let fields = Routing { region: region.parse().ok(), ..Routing::default() };
        route(m("ListGroups"), &fields, Entry::Client, &here)
    };
    assert_eq!(admin(""), Ok(Decision::Gateway));
    assert_eq!(admin("eu-west"), Ok(Decision::Gateway));
    assert_eq!(admin("ap-south"), Ok(Decision::Region(number(3))));
    let explain = route(m("ExplainRoute"), &place_order("US", "x"), Entry::Client, &here);
    assert_eq!(explain, Ok(Decision::Gateway), "it sends nothing elsewhere");
}

fn any_fields() -> impl Strategy<Value = Routing> {
    let text = |pattern: &'static str| proptest::option::of(pattern);
    let country = proptest::option::of(proptest::sample::select(vec!["DE", "US", "JP", "IN"]));
    let region =
        proptest::option::of(proptest::sample::select(vec!["eu-west", "us-east", "mars-1"]));
    let named =
        (proptest::sample::select(vec!["eu-west", "us-east", "mars-1"]), 1u16..5, 0u16..4096);
    let named = proptest::option::of(named.prop_map(|(r, n, s)| order_in(r, n, s)));
    let ids = (text("[a-z0-9]{1,8}"), text("[a-z0-9]{1,8}"), text("[A-Z]{1,3}"));
    (country, region, named, ids, any::<bool>()).prop_map(
        |(country, region, order, (customer, request, sku), local_copy)| Routing {
            residence_country: country.and_then(|c| c.parse().ok()),
            customer_id: customer.and_then(|c| c.parse().ok()),
            order,
            request_id: request.and_then(|r| r.parse().ok()),
            region: region.and_then(|r| r.parse().ok()),
            sku: sku.and_then(|s| s.parse().ok()),
            local_copy,
        },
    )
}

/// The directory as each of the three regions sees it.
fn seen_from(here: u16) -> &'static Snapshot {
    static SEEN: std::sync::LazyLock<[Snapshot; 3]> =
        std::sync::LazyLock::new(|| [1, 2, 3].map(|here| snapshot(here, 3, &[])));
    &SEEN[usize::from(here) - 1]
}

proptest! {
    #[test]
    fn every_call_has_one_decision_and_always_the_same(
        fields in any_fields(), at in 0..METHODS.len(), here in 1u16..4,
    ) {
        let directory = seen_from(here);
        let decide = |entry| route(&METHODS[at], &fields, entry, directory);
        prop_assert_eq!(decide(Entry::Client), decide(Entry::Client));
        if let Ok(Decision::Region(elsewhere)) = decide(Entry::Client) {
            prop_assert_ne!(elsewhere, directory.here);
        }
    }

    #[test]
    fn a_forwarded_call_is_never_forwarded_again(
        fields in any_fields(), at in 0..METHODS.len(), here in 1u16..4,
    ) {
        let directory = seen_from(here);
        let forwarded = route(&METHODS[at], &fields, Entry::Forwarded, directory);
        prop_assert!(!matches!(forwarded, Ok(Decision::Region(_))));
        let client = route(&METHODS[at], &fields, Entry::Client, directory);
        if !matches!(client, Ok(Decision::Region(_))) {
            prop_assert_eq!(client, forwarded, "who brought it matters only when it is passed on");
        } else {
            let wrong = matches!(forwarded, Err(Refusal::WrongRegion { why: Why::Forwarded, .. }));
            prop_assert!(wrong);
        }
    }

    #[test]
    fn regions_that_agree_on_the_directory_agree_on_the_owner(
        fields in any_fields(), at in 0..METHODS.len(),
    ) {
        let owner = |here| {
            let directory = seen_from(here);
            place(METHODS[at].rule, &fields, directory).map(|place| place.region)
        };
        let local = fields.local_copy && METHODS[at].rule == Rule::Order;
        let by_name = matches!(METHODS[at].rule, Rule::Residence | Rule::Order);
        if by_name && !local {
            prop_assert_eq!(owner(1), owner(2));
        }
    }
}
