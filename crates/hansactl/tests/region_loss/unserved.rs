//! Residents whose law does not admit the next owner: nobody goes on without them unless somebody
//! says so, and then they are refused until home is back.

use hansa_api::pb::order::{OrderState, PlaceOrderRequest, ReadMode};
use hansa_api::status::Reason;
use serde_json::Value;

use super::rig::{LOST, Rig, SURVIVOR, eventually, surely_new, text};
use super::{WHY, home};

const SHIPPED: &str = include_str!("../../../../deploy/policy/residency.toml");

/// The shipped policy, but that nothing of the Swiss is kept by another region.
pub fn policy() -> String {
    let of = |classes: &str| format!("{{ store = [{classes}], transit = true");
    let (swiss, heir) = (of("\"CH\", \"EU\""), ", failover = [\"eu-central\"] }");
    let kept = format!("{swiss}{heir}");
    assert_eq!(SHIPPED.matches(&kept).count(), 2, "the policy says it in other words");
    SHIPPED.replace(&kept, &format!("{swiss} }}"))
}

fn swiss(rig: &Rig) -> PlaceOrderRequest {
    PlaceOrderRequest { residence_country: "CH".to_owned(), ..rig.request() }
}

/// A confirmed order of somebody Swiss, at home.
pub async fn placed(rig: &Rig) -> String {
    let (request, mut name) = (swiss(rig), String::new());
    eventually("a Swiss order", async || match rig.ask(LOST, &request, surely_new()).await {
        Ok((order, _)) => {
            name = order.name.clone();
            order.state() == OrderState::Confirmed
        }
        Err(failure) => {
            eprintln!("not placed yet: {failure}");
            false
        }
    })
    .await;
    name
}

/// Refused as it is, by name of the law, as it is listed.
pub async fn refused(rig: &Rig, words: &[&str]) {
    let done = rig.ctl(SURVIVOR, &[words, &WHY].concat()).await;
    assert_eq!(done.status.code(), Some(4), "{words:?}: {}", text(&done));
    for said in ["CH", "--leave-unserved"] {
        assert!(text(&done).contains(said), "{said}: {}", text(&done));
    }
    let told = rig.ctl(SURVIVOR, &["region", "status", "-o", "json"]).await;
    let told: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    let births = told["births"].as_array().expect("births");
    let of = births.iter().find(|of| of["birthRegion"] == LOST).expect("the lost region's");
    let mut heirs = of["heirs"].as_array().expect("heirs").iter();
    let heir = heirs.find(|heir| heir["region"] == SURVIVOR).expect("the survivor");
    assert_eq!(heir["refusedLaws"], serde_json::json!(["CH"]));
}

/// The heir serves Germans, refuses the Swiss wherever they ask, and shows nothing of theirs.
pub async fn while_it_owns(rig: &Rig, order: &str) {
    let german = rig.place(SURVIVOR, 1).await;
    assert!(rig.get(SURVIVOR, &german[0].name).await.is_ok());
    for region in [SURVIVOR, LOST, "us-east"] {
        eventually("the Swiss are refused", async || {
            let answer = rig.ask(region, &swiss(rig), surely_new()).await;
            answer.is_err_and(|failure| failure.reason() == Reason::NoLawfulRegion)
        })
        .await;
    }
    // It is there, and no caller hears that it is not; neither who reads nor who would change it.
    let read = rig.get(SURVIVOR, order).await.expect_err("it is not the heir's to show");
    assert_eq!(read.reason(), Reason::NoLawfulRegion, "{read}");
    let copy = rig.read(SURVIVOR, order, ReadMode::LocalCopy).await;
    let shows = copy.is_ok_and(|copy| !copy.customer_id.is_empty() || copy.payment.is_some());
    assert!(!shows, "more than anybody may know");
}

/// What nobody could go on with is proposed to two people, and they say that home goes on with it.
async fn waits(rig: &Rig, orders: &[&str]) {
    eventually("they are listed", async || {
        let told = rig.ctl(LOST, &["region", "tail", LOST, "-o", "json"]).await;
        let told: Value = serde_json::from_slice(&told.stdout).unwrap_or_default();
        let listed = told["orders"].as_array().map_or(&[][..], Vec::as_slice);
        let adopt = |order: &&&str| {
            listed.iter().any(|of| of["order"] == **order && of["proposed"] == "TAIL_ACTION_ADOPT")
        };
        orders.iter().filter(adopt).count() == orders.len()
    })
    .await;
    super::tail::decided(rig).await;
}

/// Home serves all again; and a hand-over by plan asks the same.
pub async fn afterwards(rig: &Rig, order: &str) {
    waits(rig, &[order]).await;
    home(rig).await;
    let back = rig.get(LOST, order).await.expect("it is home's again");
    assert_eq!(back.state(), OrderState::Confirmed);
    let new = placed(rig).await;
    let plan = ["region", "switchover", LOST, "--to", SURVIVOR];
    refused(rig, &plan).await;
    let words = [&plan[..], &["--leave-unserved"], &WHY].concat();
    let done = rig.ctl(SURVIVOR, &words).await;
    assert!(done.status.success(), "{}", text(&done));
    while_it_owns(rig, &new).await;
    waits(rig, &[order, &new]).await;
    home(rig).await;
    for name in [order, &new] {
        let back = rig.get(LOST, name).await.expect("it is home's again");
        assert_eq!(back.state(), OrderState::Confirmed);
    }
}
