//! The law of a running league is changed under it, and every call goes by it.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

#[path = "residency/rig.rs"]
mod rig;
#[path = "residency/verify.rs"]
mod verify;

use hansa_api::client::{About, League};
use hansa_api::pb::order::{GetOrderRequest, PlaceOrderRequest, PlaceOrderResponse};
use hansa_api::status::{Failure, Reason, key};
use rig::{PATIENCE, Rig, SECRET, eventually, logged, order};

const SHIPPED: &str = include_str!("../../../deploy/policy/residency.toml");

/// The shipped policy of a version: India's residents enter at home only, and Brazil's live in
/// `brazil` under a lax law.
fn policy(version: u64, brazil: &str) -> String {
    let from = r#"PERSONAL = { store = ["IN"], transit = true }"#;
    let to = r#"PERSONAL = { store = ["IN"], transit = false }"#;
    assert!(SHIPPED.contains(from));
    let text =
        SHIPPED.replace("\nversion = 1", &format!("\nversion = {version}")).replace(from, to);
    let rule = r#"{ store = ["*"], transit = true }"#;
    format!(
        "{text}\n[jurisdiction.BR]\nlaw = \"LGPD\"\ncountries = [\"BR\"]\nhome = [\"{brazil}\"]\n\
         PERSONAL = {rule}\nFINANCIAL = {rule}\nOPERATIONAL = {rule}\n"
    )
}

async fn place(
    rig: &Rig,
    region: &str,
    request: PlaceOrderRequest,
) -> Result<PlaceOrderResponse, Failure> {
    let mut shop = rig.shop(region).await;
    let answer = shop.orders.place_order(request).await;
    answer.map(tonic::Response::into_inner).map_err(|status| Failure::from(&status))
}

async fn place_about(league: &League, request: PlaceOrderRequest) -> Result<String, Failure> {
    let country = request.residence_country.clone();
    let call = league.call_about(About::Resident(&country), PATIENCE, |mut services, call| {
        let request = call.request(request.clone());
        async move { services.orders.place_order(request).await }
    });
    Ok(call.await?.order.unwrap().name)
}

fn name(placed: &Result<PlaceOrderResponse, Failure>) -> (String, bool) {
    let placed = placed.as_ref().unwrap();
    (placed.order.as_ref().unwrap().name.clone(), placed.replayed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_running_league_follows_its_law() {
    let rig = Rig::start("residency", PATIENCE).await;
    // Under the shipped policy: Brazil is of the rest, at home in us-east.
    let before = name(&place(&rig, "eu-west", order("BR", "r-1")).await);
    assert!(before.0.starts_with("regions/us-east/") && !before.1, "{before:?}");
    what_the_tool_says(&rig).await;
    a_new_law_is_loaded_everywhere(&rig).await;
    strict_transit(&rig).await;
    a_moved_home_knows_what_the_old_one_did(&rig, &before.0).await;
    a_former_home_says_that_he_was_erased(&rig).await;
    regions_that_differ(&rig).await;
    the_disk(&rig).await;
    let logged = String::from_utf8_lossy(&logged().lock().unwrap()).into_owned();
    assert!(logged.contains("directory changed") || logged.len() > 1_000, "logs were kept");
    assert!(!logged.contains(SECRET) && !logged.contains("Secretov"), "somebody's name was logged");
    rig.stop().await;
}

async fn what_the_tool_says(rig: &Rig) {
    let (code, out, err) = rig.ctl("", &["residency", "show"]).await;
    assert!(
        code == 0 && out.contains("PERSONAL") && err.contains("version 1 on all 1"),
        "{out}{err}"
    );
    let words = ["-o", "json", "residency", "explain", "--country", "DE", "--class", "personal"];
    let (code, out, _) = rig.ctl("", &words).await;
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &told["jurisdiction"], &told["policyVersion"]),
        (0, &"EU".into(), &"1".into())
    );
    rig.write("bad.toml", &policy(2, "atlantis"));
    let (code, out, err) = rig.ctl("", &["residency", "check", "bad.toml"]).await;
    assert!(code == 1 && out.contains("jurisdiction.BR.home"), "{code} {out}{err}");
    rig.write("next.toml", &policy(2, "ap-south"));
    let (code, out, err) = rig.ctl("", &["residency", "check", "next.toml"]).await;
    assert!(code == 0 && out.contains("home us-east -> ap-south"), "{code} {out}{err}");
    assert!(out.contains("transit yes -> no"), "{out}");
    let (code, ..) = rig.ctl("", &["residency", "check", "no-such-file"]).await;
    assert_eq!(code, 2);
}

async fn a_new_law_is_loaded_everywhere(rig: &Rig) {
    let (code, _, err) = rig.ctl("", &["residency", "load", "bad.toml"]).await;
    assert!(code == 4 && err.contains("POLICY_REFUSED") && err.contains("BR.home"), "{code} {err}");
    for _repeated in 0..2 {
        let (code, out, err) = rig.ctl("", &["residency", "load", "--all", "next.toml"]).await;
        assert_eq!(code, 0, "{out}{err}");
        assert_eq!(out.lines().filter(|line| line.contains(" 2 ")).count(), 3, "{out}");
    }
    rig.write("other.toml", &format!("{}# another\n", policy(2, "ap-south")));
    let (code, _, err) = rig.ctl("", &["residency", "load", "other.toml"]).await;
    assert!(code == 4 && err.contains("POLICY_NOT_NEWER"), "{code} {err}");
}

async fn strict_transit(rig: &Rig) {
    let refused = place(rig, "eu-west", order("IN", "r-2")).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::WrongRegion);
    assert_eq!(refused.metadata(key::REGION), Some("ap-south"));
    assert_eq!(refused.metadata(key::ENDPOINT), Some(&*rig.endpoint("ap-south")));
    assert!(!format!("{refused:?}").contains("Secretov"), "nothing is echoed: {refused:?}");
    // The library follows once and remembers; a strict one never sends it abroad.
    for strict in [false, true] {
        let league = rig.league("eu-west", strict).await;
        for n in 0..2 {
            let placed = place_about(&league, order("IN", &format!("r-3-{strict}-{n}"))).await;
            assert!(placed.unwrap().starts_with("regions/ap-south/"));
        }
    }
}

async fn a_moved_home_knows_what_the_old_one_did(rig: &Rig, before: &str) {
    let again = name(&place(rig, "us-east", order("BR", "r-1")).await);
    assert_eq!(again, (before.to_owned(), true), "carried out once, in the former home");
    let other = PlaceOrderRequest { client_reference: "x".into(), ..order("BR", "r-1") };
    let other = place(rig, "eu-west", other).await.unwrap_err();
    assert_eq!(other.reason(), Reason::RequestIdReused);
    let new = name(&place(rig, "eu-west", order("BR", "r-4")).await);
    assert!(new.0.starts_with("regions/ap-south/") && !new.1, "{new:?}");
    // What was born in the old home stays there, and is found by its name from everywhere.
    let mut shop = rig.shop("ap-south").await;
    let request = GetOrderRequest { order: before.to_owned(), ..Default::default() };
    let found = shop.orders.get_order(request).await.unwrap().into_inner().order.unwrap();
    assert_eq!((found.name.as_str(), found.home_region.as_str()), (before, "us-east"));
}

/// His former home has erased him: a repeat there is neither his order nor another body.
async fn a_former_home_says_that_he_was_erased(rig: &Rig) {
    let customer = order("BR", "r-1").customer_id;
    let (code, out, err) = rig.ctl("", &["customer", "erase", "--country", "BR", &customer]).await;
    assert!(code == 0 && out.contains("us-east"), "{code} {out}{err}");
    let again = place(rig, "ap-south", order("BR", "r-1")).await.unwrap_err();
    assert_eq!(again.reason(), Reason::CustomerErased);
    // What is forgotten is still part of the history, and the history still adds up.
    eventually("an audit of it", || async {
        let (code, out, err) = rig.ctl("us-east", &["audit", "verify"]).await;
        assert_ne!(code, 1, "the chain differs: {out}{err}");
        code == 0
    })
    .await;
}

async fn regions_that_differ(rig: &Rig) {
    rig.write("back.toml", &policy(3, "us-east"));
    let (code, _, err) = rig.ctl("eu-west", &["residency", "load", "back.toml"]).await;
    assert_eq!(code, 0, "{err}");
    // eu-west passes on by version 3; us-east goes by 2, and knows that it is the one behind.
    let refused = place(rig, "eu-west", order("BR", "r-5")).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::HomeMoving);
    assert!(refused.wait().is_some(), "it is to come again");
    // ap-south goes by 2 and is the home by it: its own customers are served as before.
    let still = name(&place(rig, "ap-south", order("BR", "r-6")).await);
    assert!(still.0.starts_with("regions/ap-south/"), "{still:?}");
    let (code, _, err) = rig.ctl("us-east", &["residency", "load", "back.toml"]).await;
    assert_eq!(code, 0, "{err}");
    // Now us-east is the home, and ap-south says that it is it still: nobody takes the order twice.
    let refused = place(rig, "us-east", order("BR", "r-6")).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::HomeMoving);
    let (code, out, err) = rig.ctl("", &["residency", "load", "--all", "back.toml"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let again = name(&place(rig, "eu-west", order("BR", "r-6")).await);
    assert_eq!(again, (still.0, true));
}

async fn the_disk(rig: &Rig) {
    let file = rig.data.join("us-east/us-east-1/residency.toml");
    std::fs::write(&file, policy(9, "us-east")).unwrap();
    let shows = |version: &'static str| async move {
        let (_, _, err) = rig.ctl("us-east", &["residency", "show"]).await;
        err.contains(version)
    };
    eventually("the file on the disk", || shows("version 9 on all 1")).await;
    // An older file is left alone, and so is one that does not parse.
    std::fs::write(&file, SHIPPED).unwrap();
    let (code, _, err) = rig.ctl("us-east", &["residency", "load", "back.toml"]).await;
    assert!(code == 4 && err.contains("POLICY_NOT_NEWER"), "{code} {err}");
    assert!(shows("version 9 on all 1").await);
}
