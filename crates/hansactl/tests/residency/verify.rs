//! `residency verify` against a running league: clean, and red over what is planted.

use hansa_api::pb::order::{Order, PaymentFacts};
use hansa_api::pb::replication::OrderView;
use prost::Message as _;

use super::rig::{Rig, order};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_swears_to_what_it_keeps_and_a_leak_turns_it_red() {
    let rig = Rig::start("residency-verify").await;
    let mut shop = rig.shop("eu-west").await;
    let placed = shop.orders.place_order(order("DE", "v-1")).await.unwrap().into_inner();
    let own = placed.order.unwrap();
    let folder = rig.data.join("eu-west/eu-west-1");

    let verify = &["residency", "verify", "--out", "report.json"];
    let (code, out, err) = rig.ctl("eu-west", verify).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(err.contains("signed by spiffe://hansa/region/eu-west/node/eu-west-1"), "{err}");

    let check = &["residency", "verify", "--check", "report.json"];
    let (code, out, err) = rig.ctl("eu-west", check).await;
    assert_eq!(code, 0, "{out}{err}");
    let text = std::fs::read_to_string(rig.data.join("report.json")).unwrap();
    let at = text.find("\"report\":\"").unwrap() + 40;
    let other = if &text[at..=at] == "A" { "B" } else { "A" };
    rig.write("report.json", &format!("{}{other}{}", &text[..at], &text[at + 1..]));
    let (code, out, err) = rig.ctl("eu-west", check).await;
    assert_eq!(code, 3, "what nobody signed is never clean: {out}{err}");

    let unknown = folder.join("customers.csv");
    std::fs::write(&unknown, "Ada,Lovelace\n").unwrap();
    let (code, out, err) = rig.ctl("eu-west", &["residency", "verify"]).await;
    assert!(code == 1 && out.contains("customers.csv"), "{code} {out}{err}");
    std::fs::remove_file(unknown).unwrap();

    // An Indian's payment, as a copy that some view kept: India's stays in India.
    let payment = PaymentFacts { provider_reference: "ch_7".into(), ..Default::default() };
    let name = own.name.replace("eu-west", "ap-south");
    let residence_country = "IN".into();
    let copy = Order { name, residence_country, payment: Some(payment), ..Default::default() };
    let leak = OrderView { order: Some(copy), event_sequence: 1, ..Default::default() };
    std::fs::create_dir_all(folder.join("views/leak")).unwrap();
    std::fs::write(folder.join("views/leak/db"), leak.encode_to_vec()).unwrap();
    let (code, out, err) = rig.ctl("eu-west", &["residency", "verify"]).await;
    assert!(code == 1 && out.contains("foreign"), "{code} {out}{err}");
    assert!(out.contains("FINANCIAL") && out.contains("IN"), "{out}");
    rig.stop().await;
}
