use super::super::action::{Line, ReturnRow};
use super::super::code;
use super::*;

fn region() -> RegionName {
    "eu-west".parse().expect("a region name")
}

fn homes() -> BTreeMap<&'static str, RegionName> {
    BTreeMap::from([("GB", region())])
}

/// Every SKU that more than one order wants is short; no other made-up refusal.
fn all_short() -> Shares {
    Shares { scarce: 1_000, declined: 0, cancelled: 0, ..Shares::default() }
}

fn order(invoice: &str, customer: &str, lines: &[(&str, u32)]) -> Action {
    let lines = lines.iter().map(|(text, quantity)| Line {
        code: code::read(text),
        description: String::new(),
        quantity: *quantity,
        unit_price_minor: 100,
    });
    Action::Order(Order {
        invoice: invoice.into(),
        buyer: Buyer { customer: Some(customer.into()), country: "GB" },
        currency: "GBP",
        date: "2010-12-01 08:26".into(),
        lines: lines.collect(),
    })
}

fn outcomes(plan: &Plan) -> Vec<&Outcome> {
    plan.steps.iter().map(|step| &step.expect).collect()
}

#[test]
fn a_short_sku_refuses_exactly_what_is_not_there() {
    let actions = vec![
        order("1", "a", &[("22633", 4)]),
        order("2", "b", &[("22633", 5), ("22634", 1)]),
        order("3", "c", &[("22633", 1)]),
    ];
    let plan = plan(actions, &homes(), &all_short()).expect("homes are known");
    let load = plan.loads.iter().find(|load| load.sku == "22633").expect("loaded");
    assert!(load.is_short() && load.quantity >= 5 && load.quantity < 10, "{load:?}");
    let left = i64::try_from(load.quantity).expect("small") - 4;
    let short = Expect::OutOfStock(BTreeMap::from([("22633".to_owned(), left)]));
    assert_eq!(
        outcomes(&plan),
        [
            &Outcome::Order(Expect::Shipped),
            &Outcome::Order(short),
            &Outcome::Order(Expect::Shipped)
        ],
        "the refused order takes nothing, so the small one after it is served"
    );
}

#[test]
fn steps_wait_at_short_shelves_and_for_their_buyer_only() {
    let actions = vec![
        order("1", "a", &[("22633", 4)]),
        order("2", "b", &[("99999", 1)]),
        order("3", "c", &[("22633", 4), ("22633", 1)]),
        order("4", "b", &[("88888", 1)]),
    ];
    let plan = plan(actions, &homes(), &all_short()).expect("homes are known");
    let after: Vec<_> = plan.steps.iter().map(|step| step.after.clone()).collect();
    assert_eq!(after, [vec![], vec![], vec![0], vec![1]]);
}

#[test]
fn plentiful_stock_meets_demand_exactly() {
    let shares = Shares { scarce: 0, declined: 0, cancelled: 0, ..Shares::default() };
    let write_off = Action::Adjust(Adjust {
        invoice: "3".into(),
        position: 1,
        country: "GB",
        sku: "22633".into(),
        delta: -3,
        reason: "damaged".into(),
    });
    let actions =
        vec![order("1", "a", &[("22633", 4)]), order("2", "b", &[("22633", 5)]), write_off];
    let plan = plan(actions, &homes(), &shares).expect("homes are known");
    assert_eq!(plan.loads.len(), 1);
    assert_eq!((plan.loads[0].quantity, plan.loads[0].demand), (12, 12));
    assert_eq!(plan.steps[2].expect, Outcome::Adjust { taken: true });
}

#[test]
fn what_is_only_ever_found_is_known_beforehand() {
    let found = Action::Adjust(Adjust {
        invoice: "3".into(),
        position: 1,
        country: "GB",
        sku: "22633".into(),
        delta: 3,
        reason: "Found".into(),
    });
    let plan = plan(vec![found], &homes(), &all_short()).expect("homes are known");
    assert_eq!((plan.loads[0].quantity, plan.loads[0].demand), (1, 0));
}

#[test]
fn a_return_matches_what_was_shipped_and_not_what_was_refused() {
    let back = |invoice: &str, customer: &str| {
        Action::Return(Return {
            invoice: invoice.into(),
            buyer: Buyer { customer: Some(customer.into()), country: "GB" },
            rows: vec![ReturnRow { code: code::read("22633"), quantity: 1 }],
        })
    };
    let actions = vec![
        order("1", "a", &[("22633", 4)]),
        order("2", "b", &[("22633", 5)]),
        back("C3", "a"),
        back("C4", "b"),
    ];
    let plan = plan(actions, &homes(), &all_short()).expect("homes are known");
    assert_eq!(plan.steps[2].expect, Outcome::Return { matched: 1, unmatched: 0 });
    assert_eq!(plan.steps[3].expect, Outcome::Return { matched: 0, unmatched: 1 });
}

#[test]
fn a_country_without_a_home_is_named() {
    let refused = plan(vec![order("1", "a", &[("22633", 4)])], &BTreeMap::new(), &all_short());
    assert_eq!(refused.expect_err("no home"), ["GB"]);
}
