//! What a region took while nobody heard it, and what two people make of it once it is back.

use hansa_api::pb::order::{FulfillmentState, OrderState, ReadMode};
use serde_json::Value;

use super::rig::{LOST, Placed, Rig, SURVIVOR, eventually, surely_new, text};

/// Orders that only the lost region knows.
pub struct Unheard {
    charged: Vec<Placed>,
    declined: String,
}

/// The region is cut off, goes on, and is lost: two orders are charged and one is declined there.
pub async fn taken_alone(rig: &mut Rig) -> Unheard {
    rig.cut(LOST, true).await;
    let charged = rig.place(LOST, 2).await;
    let mut request = rig.request();
    request.payment_token = "tok_decline".to_owned();
    let (order, _) = rig.ask(LOST, &request, surely_new()).await.expect("it is taken in");
    let declined = order.name;
    eventually("the provider has declined it", || async {
        let now = rig.get(LOST, &declined).await;
        now.is_ok_and(|now| now.state() == OrderState::Rejected)
    })
    .await;
    rig.cut(LOST, false).await;
    Unheard { charged, declined }
}

/// The lost region ships an order while it is well, and its copy says so.
pub async fn sent(rig: &Rig, order: &str) {
    let shipped = rig.ctl(LOST, &["stock", "ship", order]).await;
    assert!(shipped.status.success(), "{}", text(&shipped));
    eventually("the survivor knows", async || {
        let copy = rig.read(SURVIVOR, order, ReadMode::LocalCopy).await;
        copy.is_ok_and(|copy| copy.fulfillment_state() == FulfillmentState::Shipped)
    })
    .await;
}

/// The survivor takes back what it never shipped: no order of its own is short of it.
pub async fn came_back(rig: &Rig, order: &str) {
    let mut last = String::new();
    eventually("it is taken back", async || {
        let back = rig.ctl(SURVIVOR, &["order", "return", order, "--line", "1:1"]).await;
        last = text(&back);
        back.status.success()
    })
    .await;
    eventually("it is in quarantine", async || {
        let stock = rig.ctl(SURVIVOR, &["stock", "get", "THING", "-o", "json"]).await;
        let stock: Value = serde_json::from_slice(&stock.stdout).unwrap_or_default();
        stock["stocks"][0]["quarantineQuantity"] == "1"
    })
    .await;
    let read = rig.get(SURVIVOR, order).await.expect("it is the survivor's");
    assert_eq!(read.state(), OrderState::Completed, "and not parked: {last}");
}

async fn tail(rig: &Rig, words: &[&str]) -> std::process::Output {
    rig.ctl(LOST, &[&["region", "tail"], words].concat()).await
}

/// Listed to its end, planned, refused for one person alone, approved by another and carried out.
pub async fn decided_by_two(rig: &Rig, unheard: &Unheard) {
    let mut listed = Value::Null;
    eventually("the tail is listed to its end", async || {
        let output = tail(rig, &[LOST, "-o", "json"]).await;
        listed = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let whole = listed["groupsNotFinal"].as_array().is_none_or(Vec::is_empty);
        let names = unheard.charged.iter().map(|order| &order.name).chain([&unheard.declined]);
        let orders = listed["orders"].as_array().map_or(&[][..], Vec::as_slice);
        whole && names.into_iter().all(|name| orders.iter().any(|of| of["order"] == **name))
    })
    .await;
    let all = listed["orders"].as_array().map_or(0, Vec::len);
    let why = ["--reason", "dry", "--ticket", "INC-1"];
    // The owner itself refuses, whichever verb asks it.
    for home in [&["region", "failback", LOST][..], &["region", "switchover", LOST, "--to", LOST]] {
        let early = rig.ctl(LOST, &[home, &why[..]].concat()).await;
        assert_eq!(early.status.code(), Some(4), "{}", text(&early));
        assert!(text(&early).contains("region tail plan"), "{}", text(&early));
    }
    assert_eq!(tail(rig, &[LOST]).await.status.code(), Some(1), "something is undecided");
    let plan = ["plan", LOST, "--reason", "INC-1: cut off", "--out"];
    let other = tail(rig, &[&plan[..], &["other.json"]].concat()).await;
    assert!(other.status.success(), "{}", text(&other));
    let adopted = unheard.charged[0].name.as_str();
    let planned = tail(rig, &[&plan[..], &["tail.json", "--adopt", adopted]].concat()).await;
    assert!(planned.status.success(), "{}", text(&planned));
    for word in ["adopt", "compensate", "discard", &unheard.declined] {
        assert!(text(&planned).contains(word), "{word}: {}", text(&planned));
    }
    let early = tail(rig, &["apply", "tail.json"]).await;
    assert_eq!(early.status.code(), Some(4), "not approved: {}", text(&early));
    assert!(text(&early).contains(&format!("0 of {all} done")), "{}", text(&early));
    let own = ["--as", "operator", "region", "tail", "approve", "tail.json", "--ticket", "OPS-1"];
    assert_eq!(rig.ctl(LOST, &own).await.status.code(), Some(6), "the planner has no such role");
    for (file, ticket) in [("other.json", "OPS-2"), ("tail.json", "OPS-1")] {
        let approved = tail(rig, &["approve", file, "--ticket", ticket]).await;
        assert!(approved.status.success(), "{}", text(&approved));
        for word in ["compensate", &unheard.declined, "INC-1: cut off"] {
            assert!(text(&approved).contains(word), "it is shown first: {}", text(&approved));
        }
    }
    let other_way = rig.ctl(LOST, &["reconcile", "apply", "tail.json"]).await;
    assert_eq!(other_way.status.code(), Some(4), "{}", text(&other_way));
    assert!(text(&other_way).contains("region tail apply tail.json"), "{}", text(&other_way));
    let many = tail(rig, &["apply", "tail.json", "--max-decisions", "2"]).await;
    assert_eq!(many.status.code(), Some(4), "{}", text(&many));
    for _ in 0..2 {
        let applied = tail(rig, &["apply", "tail.json"]).await;
        assert_eq!(applied.status.code(), Some(0), "{}", text(&applied));
        for words in [format!("{} of {all} done", all - 1), "1 decided: done once".to_owned()] {
            assert!(text(&applied).contains(&words), "{words}: {}", text(&applied));
        }
    }
    assert_eq!(tail(rig, &[LOST]).await.status.code(), Some(0), "all of it is decided on");
    let told = text(&rig.ctl(LOST, &["reconcile", "report", "tail.json"]).await);
    for word in ["OPS-1", "INC-1: cut off", "client/approver", "client/operator", "adopt"] {
        assert!(told.contains(word), "{word}: {told}");
    }
}

/// All that there is, as it is proposed, by two people.
pub async fn decided(rig: &Rig) {
    let mut plans = 0;
    eventually("all of the tail is decided on", async || {
        if tail(rig, &[LOST]).await.status.success() {
            return true;
        }
        plans += 1;
        let file = format!("drill-{plans}.json");
        let plan = ["plan", LOST, "--reason", "a drill", "--out", &file];
        for words in [&plan[..], &["approve", &file, "--ticket", "DRILL"], &["apply", &file]] {
            let done = tail(rig, words).await;
            eprintln!("{words:?}: {:?}", done.status.code());
        }
        false
    })
    .await;
}

/// What was adopted is everybody's order again, and only now its entry is done; a plan of what was
/// seen before is refused; the
/// books of both regions hold.
pub async fn gone_on_with(rig: &Rig, unheard: &Unheard) {
    let adopted = &unheard.charged[0];
    for region in [LOST, SURVIVOR] {
        let read = rig.get(region, &adopted.name).await.expect("it went on");
        assert_eq!(read.state(), OrderState::Confirmed, "at {region}");
    }
    let replayed = rig.replay(LOST, adopted).await.expect("a repeat is answered");
    assert_eq!(replayed, (adopted.name.clone(), true));
    let applied = tail(rig, &["apply", "tail.json"]).await;
    assert!(!text(&applied).contains("decided: done once"), "{}", text(&applied));
    let stale = tail(rig, &["apply", "other.json"]).await;
    assert_eq!(stale.status.code(), Some(4), "{}", text(&stale));
    assert!(text(&stale).contains("the order has changed"), "{}", text(&stale));
    assert!(text(&stale).contains("decided before"), "{}", text(&stale));
    for region in [LOST, SURVIVOR] {
        let mut last = String::new();
        eventually("its invariants hold", async || {
            let checked = rig.ctl(region, &["invariants", "check"]).await;
            last = text(&checked);
            checked.status.success()
        })
        .await;
    }
}
