//! A customer moves by the operator's tool, and what he asks for has one effect wherever he lives.

use hansa_api::pb::order::{LineKind, PersonalState, PlaceOrderRequest, ReadMode};
use hansa_api::status::Reason;

use super::rig::{LOST, Rig, SURVIVOR, eventually, surely_new, text};

const WHO: &str = "mover";

/// Without goods: nobody has to ship it.
fn request(rig: &Rig) -> PlaceOrderRequest {
    let mut request = PlaceOrderRequest { customer_id: WHO.to_owned(), ..rig.request() };
    for line in &mut request.lines {
        line.kind = LineKind::Fee.into();
        line.sku.clear();
    }
    request
}

/// Once it is decided where.
async fn placed(rig: &Rig, region: &str, request: &PlaceOrderRequest) -> (String, bool) {
    let mut found = None;
    for _ in 0..300 {
        match rig.ask(region, request, surely_new()).await {
            Ok((order, replayed)) => {
                found = Some((order.name, replayed));
                break;
            }
            Err(failure) => eprintln!("not placed yet: {failure}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    found.expect("it is placed")
}

async fn moves(rig: &Rig, words: &[&str]) -> std::process::Output {
    let why = ["--reason", "he asked", "--ticket", "T-1"];
    let words = [&["customer", "move", "--country", "DE", WHO], words, &why].concat();
    rig.ctl(LOST, &words).await
}

/// What he asked for before, and what after he had moved.
pub struct Mover {
    before: PlaceOrderRequest,
    after: PlaceOrderRequest,
    orders: [String; 2],
}

pub async fn out(rig: &Rig) -> Mover {
    let (before, after) = (request(rig), request(rig));
    let (first, _) = placed(rig, LOST, &before).await;
    let refused = moves(rig, &["--to", "us-east"]).await;
    let said = text(&refused);
    assert!(!refused.status.success() && said.contains("jurisdiction.EU."), "{said}");
    let done = moves(rig, &["--to", SURVIVOR]).await;
    let said = text(&done);
    let shown = ["took along", "window", "arrived"];
    assert!(done.status.success() && shown.iter().all(|part| said.contains(part)), "{said}");
    let (second, replayed) = placed(rig, "us-east", &after).await;
    assert!(second.starts_with(&format!("regions/{SURVIVOR}/orders/")) && !replayed, "{second}");
    assert_eq!(placed(rig, LOST, &after).await, (second.clone(), true), "one effect");
    assert_eq!(placed(rig, LOST, &before).await, (first.clone(), true), "one effect");
    let late = moves(rig, &["--cancel"]).await;
    assert!(!late.status.success() && text(&late).contains("move him back"), "{}", text(&late));
    let listed = rig.ctl(LOST, &["order", "list", "--country", "DE", "--customer", WHO]).await;
    let said = text(&listed);
    let once = |name: &str| said.matches(name).count() == 1;
    assert!(listed.status.success() && once(&first) && once(&second), "{said}");
    let done = moves(rig, &["--finish-now"]).await;
    assert!(done.status.success() && text(&done).contains("destroyed by"), "{}", text(&done));
    let gone = rig.get(LOST, &first).await.expect("the order stays");
    assert_eq!((gone.personal_state(), &*gone.customer_id), (PersonalState::Moved, ""));
    rig.knows(&[&first, &second]).await;
    let (name, copy) = (first.as_str(), ReadMode::LocalCopy);
    eventually("his order is read where he lives", || async {
        rig.read(SURVIVOR, name, copy).await.is_ok_and(|order| order.customer_id == WHO)
    })
    .await;
    for region in [LOST, SURVIVOR] {
        let verified = rig.ctl(region, &["residency", "verify"]).await;
        assert!(verified.status.success(), "{}", text(&verified));
    }
    Mover { before, after, orders: [first, second] }
}

impl Rig {
    /// An export names these orders.
    async fn knows(&self, orders: &[&str]) {
        let told = self.ctl(LOST, &["customer", "export", "--country", "DE", WHO]).await;
        let said = text(&told);
        assert!(told.status.success() && orders.iter().all(|name| said.contains(name)), "{said}");
    }
}

/// His former home is lost: the region where he lives serves him as its heir.
pub async fn at_the_survivor(rig: &Rig, mover: &Mover) {
    assert_eq!(placed(rig, SURVIVOR, &mover.after).await, (mover.orders[1].clone(), true));
    let late = rig.ask(SURVIVOR, &mover.before, 1).await;
    match late {
        Ok((order, replayed)) => {
            assert_eq!((order.name, replayed), (mover.orders[0].clone(), true))
        }
        Err(failure) => {
            let safe = [Reason::CustomerErased, Reason::RequestInDoubt];
            assert!(safe.contains(&failure.reason()), "{failure}");
        }
    }
    let (new, replayed) = placed(rig, SURVIVOR, &request(rig)).await;
    assert!(!replayed, "{new}");
    // Who never moved is served there for his home, and is not said to have moved.
    let who = rig.request().customer_id;
    let words = ["customer", "move", "--country", "DE", &who, "--to", SURVIVOR];
    let words = [&words[..], &["--reason", "he asked", "--ticket", "T-1"]].concat();
    let refused = rig.ctl(SURVIVOR, &words).await;
    let said = text(&refused);
    assert!(!refused.status.success() && said.contains("nobody moved"), "{said}");
}
