use std::sync::Arc;

use hansa_region_router::core::policy::Policy;
use hansa_types::region::Slot;

use super::*;
use crate::tests::rig::{Rig, ca};
use crate::tests::views::policy;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_gone_on_with_only_where_todays_law_lets_it_be_owned() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let ca = ca(&dir);
    let survivor = Rig::region(2, 1, 1, dir, ca).await;
    let shell = survivor.leader().await.orders.shell();
    let lawful = |text: &str, birth: u16| {
        let mut now = (*shell.map.now().unwrap()).clone();
        now.policy = Arc::new(Policy::parse(text).unwrap());
        let (hosted, fresh) = (&*shell.groups[&0], BTreeMap::new());
        let reader = Reader { shell: &shell, hosted, now: Arc::new(now), fresh };
        let birth = RegionNumber::try_from(birth).unwrap();
        let id = OrderId::new(LogTime(1), birth, Slot::of(b"x"), 1);
        reader.lawful(id, "GB".parse().unwrap())
    };
    assert!(lawful(&policy(2, true), 1));
    assert!(!lawful(&policy(3, false), 1), "the copies are of a law that has changed since");
    // What it may keep still, without going on with it.
    let named = "failover = [\"us-east\"]";
    assert!(policy(2, true).contains(named));
    assert!(!lawful(&policy(2, true).replace(named, "failover = []"), 1));
    // What was born here comes home, whoever may live here by now.
    assert!(lawful(&policy(3, false), 2));
}
