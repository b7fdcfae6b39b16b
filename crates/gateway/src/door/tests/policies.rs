//! Two regions that go by different versions of the residency policy.

use super::*;

/// Version 2: EU residents' data enters at home only.
fn strict() -> Command {
    let rule = r#"store = ["EU", "GB", "CH"], transit = "#;
    let shipped = include_str!("../../../../../deploy/policy/residency.toml");
    let text = shipped.replace("\nversion = 1", "\nversion = 2");
    let text = text.replace(&format!("{rule}true"), &format!("{rule}false"));
    Command::LoadPolicy { text }
}

/// eu-west, whose residents may enter nowhere else since version 2.
fn strict_eu(fake: &Fake) -> Gateway<Fake> {
    let book = Book::of(directory(1, &[strict()]));
    let config = Config { reflection: false, ..Config::default() };
    Gateway::start_with(&env(), "hansa", book, fake.clone(), config).unwrap()
}

/// A call that us-east passes on by this version of its policy.
fn passed_on_by(version: &'static str, body: Bytes) -> Request<Body> {
    let mut headers = passed_on();
    headers.push(("hansa-policy", version));
    call(GATE, PLACE, &headers, body)
}

#[tokio::test]
async fn what_entered_where_the_homes_law_forbids_it_is_sent_to_the_home_itself() {
    let fake = Fake::default();
    for version in ["1", "2", "9", "none"] {
        let answer = ask(strict_eu(&fake).forwarded(), passed_on_by(version, place("DE"))).await;
        let failure = failure(&answer).unwrap();
        assert_eq!(failure.reason(), Reason::WrongRegion);
        assert_eq!(failure.metadata("region"), Some("eu-west"));
        assert_eq!(failure.metadata("endpoint"), Some("eu-west:443"));
        assert!(!format!("{failure:?}").contains("17850"), "nothing is echoed");
    }
    assert_eq!(fake.count(), 0, "it went no further");
    // A law of the same home that does not forbid it is served, also by an entry that is behind.
    let british = passed_on_by("1", place("GB"));
    assert_eq!(text(ask(strict_eu(&fake).forwarded(), british).await).await, "node 1");
}

#[tokio::test]
async fn a_home_that_is_behind_its_entry_asks_for_the_call_again() {
    let fake = Fake::default();
    // By eu-west's policy Americans live in us-east, which has passed one on to here.
    let answer = ask(strict_eu(&fake).forwarded(), passed_on_by("3", place("US"))).await;
    let moving = failure(&answer).unwrap();
    assert_eq!((moving.reason(), moving.kind()), (Reason::HomeMoving, Kind::Aborted));
    assert!(moving.wait().is_some());
    // An entry that is behind is told where to go.
    for version in ["1", "none"] {
        let request = passed_on_by(version, place("US"));
        assert_eq!(refused(strict_eu(&fake).forwarded(), request).await, Reason::WrongRegion);
    }
    assert_eq!(fake.count(), 0);
}

#[tokio::test]
async fn a_client_cannot_say_by_which_policy_its_call_goes() {
    let fake = Fake::default();
    let request = call(SHOP, PLACE, &[("hansa-policy", "99")], place("US"));
    text(ask(gateway(&fake).public(), request).await).await;
    assert_eq!(fake.last().headers["hansa-policy"], "1", "the router writes its own");
}
