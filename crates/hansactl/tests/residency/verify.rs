//! `residency verify` against a running league: clean, and red over what is planted.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use hansa_api::pb::order::{Order, PaymentFacts};
use hansa_api::pb::replication::OrderView;
use prost::Message as _;

use super::SHIPPED;
use super::rig::{Rig, eventually, order};

/// How long a replaced region key opens what it wraps: long enough to be seen.
const WINDOW: Duration = Duration::from_secs(5);

/// What is known of Brazil's residents goes to ap-south as well, or no more.
fn law(version: u64, failover: &str) -> String {
    let text = SHIPPED.replace("\nversion = 1", &format!("\nversion = {version}"));
    let rule = r#"{ store = ["*"], transit = true }"#;
    let kept = format!(r#"{{ store = ["*"], transit = true, failover = [{failover}] }}"#);
    format!(
        "{text}\n[jurisdiction.BR]\nlaw = \"LGPD\"\ncountries = [\"BR\"]\nhome = [\"us-east\"]\n\
         PERSONAL = {kept}\nFINANCIAL = {kept}\nOPERATIONAL = {rule}\n"
    )
}

/// Whether a file below the folder has these bytes; a node may take one away meanwhile.
fn anywhere(folder: &Path, file: &str, bytes: &[u8]) -> bool {
    std::fs::read_dir(folder).into_iter().flatten().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return anywhere(&path, file, bytes);
        }
        let wanted = path.to_string_lossy().ends_with(file);
        let holds = |all: Vec<u8>| all.windows(bytes.len()).any(|found| found == bytes);
        wanted && std::fs::read(&path).is_ok_and(holds)
    })
}

/// What a tightened law takes back from a peer: foreign until it is purged, then gone.
async fn what_the_law_takes_back_goes(rig: &Rig) {
    rig.write("wide.toml", &law(2, r#""ap-south""#));
    rig.write("narrow.toml", &law(3, ""));
    let (code, out, err) = rig.ctl("", &["residency", "load", "--all", "wide.toml"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let request = order("BR", "v-2");
    let token = request.payment_token.clone();
    rig.shop("us-east").await.orders.place_order(request).await.unwrap();
    let peer = rig.data.join("ap-south/ap-south-1");
    let shipped = || async { anywhere(&peer, ".seg", token.as_bytes()) };
    eventually("the peer has it", shipped).await;
    let (code, out, err) = rig.ctl("ap-south", &["residency", "verify"]).await;
    assert_eq!(code, 0, "lawful so far: {out}{err}");

    let (code, out, err) = rig.ctl("", &["residency", "load", "--all", "narrow.toml"]).await;
    assert_eq!(code, 0, "{out}{err}");
    // What is sealed goes with the region key that wraps its key, not here.
    let sweep = || async { rig.ctl("ap-south", &["residency", "verify"]).await };
    eventually("what is in plain is purged, and no start would load it", || async {
        let (code, out, err) = sweep().await;
        // What is sealed goes with the region key that wraps its key.
        assert!(code == 1 && out.contains("hansactl key rotate"), "{code} {out}{err}");
        !out.lines().any(|line| line.contains("foreign") && !line.contains("sealed"))
    })
    .await;
    eventually("no segment of the log and no checkpoint has it", || async {
        !anywhere(&peer, ".seg", token.as_bytes()) && !anywhere(&peer, ".ckpt", token.as_bytes())
    })
    .await;
    assert!(!anywhere(&peer, "archive.redb", token.as_bytes()), "it never lasted");

    let (code, out, err) = rig.ctl("ap-south", &["key", "rotate"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let left = Mutex::new(String::new());
    let clean = || async {
        let (code, out, err) = sweep().await;
        *left.lock().unwrap() = format!("{out}{err}");
        code == 0
    };
    eventually("clean", clean).await;
    // Until the key's window is over the sealed rest is named, and afterwards nobody reads it.
    eventually("gone", || async { clean().await && !left.lock().unwrap().contains("sealed") })
        .await;
    assert!(left.lock().unwrap().contains("0 foreign"), "{left:?}");

    rig.write("again.toml", &law(4, r#""ap-south""#));
    let (code, out, err) = rig.ctl("", &["residency", "load", "--all", "again.toml"]).await;
    assert_eq!(code, 0, "{out}{err}");
    eventually("the peer has it again", shipped).await;
    let (code, out, err) = sweep().await;
    assert_eq!(code, 0, "lawful again: {out}{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_swears_to_what_it_keeps_and_a_leak_turns_it_red() {
    let rig = Rig::start("residency-verify", WINDOW).await;
    let mut shop = rig.shop("eu-west").await;
    let placed = shop.orders.place_order(order("DE", "v-1")).await.unwrap().into_inner();
    let own = placed.order.unwrap();
    let folder = rig.data.join("eu-west/eu-west-1");

    what_the_law_takes_back_goes(&rig).await;
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
