//! The worked examples, each in the league that it is written for.

use super::*;

macro_rules! example {
    ($name:literal) => {
        include_str!(concat!("../../../../../../deploy/policy/examples/", $name, ".toml"))
    };
}

/// File, text, and the regions of its league.
const EXAMPLES: [(&str, &str, &[&str]); 5] = [
    (
        "eu-adequacy",
        example!("eu-adequacy"),
        &["eu-west", "eu-central", "uk-south", "jp-east", "us-east"],
    ),
    (
        "in-payment-localisation",
        example!("in-payment-localisation"),
        &["ap-south", "in-hyderabad", "us-east"],
    ),
    ("cn", example!("cn"), &["cn-north", "cn-east", "ap-south"]),
    (
        "ru-primary-copy",
        example!("ru-primary-copy"),
        &["ru-central", "ru-west", "kz-central", "eu-west"],
    ),
    ("us", example!("us"), &["us-east", "us-west", "eu-west", "cn-north"]),
];

fn parsed(name: &str) -> Policy {
    let (_, text, _) = EXAMPLES.iter().find(|(known, ..)| *known == name).unwrap();
    Policy::parse(text).unwrap_or_else(|refused| panic!("{name}: {refused}"))
}

fn may(policy: &Policy, code: &str, class: DataClass, place: &str) -> bool {
    policy.may_store(policy.of_country(country(code)).unwrap(), class, &region(place))
}

fn shipped_to(policy: &Policy, code: &str, place: &str) -> ClassSet {
    let law = policy.of_country(country(code)).unwrap();
    policy.allowed_classes(&law.name, &region(place))
}

const OPERATIONAL: ClassSet = ClassSet::NONE.with(DataClass::Operational);

#[test]
fn every_example_is_sound_in_its_league_and_serves_every_country() {
    for (name, _, league) in EXAMPLES {
        let policy = parsed(name);
        let named: BTreeSet<_> = policy.regions().into_iter().map(RegionName::as_str).collect();
        assert_eq!(named, league.iter().copied().collect(), "{name}");
        let knows = |known: &RegionName| league.contains(&known.as_str());
        assert_eq!(policy.strangers(None, knows), [], "{name}");
        assert!(Country::all().all(|code| policy.of_country(code).is_some()), "{name}");
        for law in policy.jurisdictions() {
            assert!(law.law.contains(|c: char| c.is_ascii_digit()) || law.law.len() > 20, "{name}");
        }
    }
}

#[test]
fn an_adequate_country_may_store_and_keeps_no_copy_for_that_alone() {
    let policy = parsed("eu-adequacy");
    assert!(may(&policy, "DE", DataClass::Personal, "jp-east"));
    assert!(may(&policy, "DE", DataClass::Personal, "uk-south"));
    assert!(!may(&policy, "DE", DataClass::Personal, "us-east"));
    assert!(!may(&policy, "GB", DataClass::Personal, "jp-east"), "adequacy has a direction");
    assert_eq!(shipped_to(&policy, "DE", "jp-east"), OPERATIONAL);
    assert_eq!(shipped_to(&policy, "DE", "eu-central"), ClassSet::ALL);
}

#[test]
fn what_an_indian_paid_is_in_no_copy_abroad() {
    use hansa_api::classes::Lawful as _;
    use hansa_api::pb::Money;
    use hansa_api::pb::order::{Order, OrderLine};
    let policy = parsed("in-payment-localisation");
    let price = || Some(Money { currency_code: "INR".into(), units: 7, nanos: 0 });
    let line = OrderLine { sku: "A".into(), unit_price: price(), ..OrderLine::default() };
    let order = Order { name: "x".into(), total: price(), lines: vec![line], ..Order::default() };
    let seen = |code: &str, place: &str| {
        let mut order = order.clone();
        order.retain(policy.allowed(policy.of_country(country(code)).unwrap(), &region(place)));
        (order.lines[0].sku.len(), order.total.is_some(), order.lines[0].unit_price.is_some())
    };
    assert_eq!(seen("IN", "us-east"), (1, false, false));
    assert_eq!(seen("IN", "in-hyderabad"), (1, true, true));
    assert_eq!(seen("US", "ap-south"), (1, true, true), "another law raises nothing");
    let why = explain(&policy, country("IN"), DataClass::Financial).unwrap();
    assert!(why.raised.contains(&"hansa.order.v1.Order.total".to_owned()));
    assert!(why.reasons.iter().any(|r| r.contains("counts as FINANCIAL")), "{:?}", why.reasons);
}

#[test]
fn free_text_of_the_union_leaves_home_only_as_personal_data_may() {
    use hansa_api::classes::Lawful as _;
    use hansa_api::pb::order::{Order, OrderLine};
    let policy = parsed("eu-adequacy");
    let text = || "Erika Mustermann".to_owned();
    let line = OrderLine { sku: "A".into(), description: text(), ..OrderLine::default() };
    let (client_reference, cancel_reason) = (text(), text());
    let lines = vec![line];
    let order = Order { client_reference, cancel_reason, lines, ..Order::default() };
    let seen = |code: &str, place: &str| {
        let mut order = order.clone();
        order.retain(policy.allowed(policy.of_country(country(code)).unwrap(), &region(place)));
        let Order { client_reference, cancel_reason, mut lines, .. } = order;
        let OrderLine { sku, description, .. } = lines.remove(0);
        assert_eq!(sku, "A");
        [client_reference, cancel_reason, description].map(|text| !text.is_empty())
    };
    assert_eq!(seen("DE", "us-east"), [false; 3]);
    assert_eq!(seen("DE", "jp-east"), [false; 3], "lawful there, and no copy is needed");
    assert_eq!(seen("DE", "eu-central"), [true; 3]);
    assert_eq!(seen("US", "eu-west"), [true; 3], "another law raises nothing");
}

#[test]
fn chinese_and_russian_data_enter_at_home_only() {
    for (name, code, home, abroad) in [
        ("cn", "CN", "cn-north", "ap-south"),
        ("ru-primary-copy", "RU", "ru-central", "kz-central"),
    ] {
        let policy = parsed(name);
        let law = policy.of_country(country(code)).unwrap();
        assert_eq!(law.homes(), [region(home)]);
        let pass = |place: &str| {
            DataClass::ALL.into_iter().all(|class| policy.may_pass(law, class, &region(place)))
        };
        assert!(pass(home) && !pass(abroad), "{name}");
        assert_eq!(
            shipped_to(&policy, code, abroad),
            OPERATIONAL,
            "{name}: lawful is not asked for"
        );
    }
    let ru = parsed("ru-primary-copy");
    assert!(may(&ru, "RU", DataClass::Personal, "kz-central"));
    assert!(!may(&ru, "RU", DataClass::Financial, "kz-central"));
}

#[test]
fn an_american_is_in_no_country_of_concern() {
    let policy = parsed("us");
    assert!(!may(&policy, "US", DataClass::Personal, "cn-north"));
    assert!(may(&policy, "US", DataClass::Personal, "eu-west"));
    assert_eq!(shipped_to(&policy, "CA", "us-west"), ClassSet::ALL);
}
