//! A leader that was cut off makes no region key: its successor would make another.

use std::time::Duration;

use hansa_api::pb::admin as keys;
use hansa_api::pb::admin::key_service_server::KeyService as _;
use hansa_api::principal::Role;
use hansa_types::region::RegionNumber;

use super::*;
use crate::core::subjects::{KeyOf, SubjectId};
use crate::tests::rig::call_as;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_rotates_nothing_though_it_has_to() {
    // A vault that is made already, so that each node has a copy.
    let seed = Rig::start(1).await;
    let vault = seed.dir.path().join(seed.name()).join("vault.key");
    let mut rig = Rig::start_unbooted(3).await;
    let ids = rig.cluster.ids();
    fs::create_dir_all(rig.dir.path().join(rig.name())).unwrap();
    for id in &ids {
        let copy = file(&rig, *id);
        fs::copy(&vault, &copy).unwrap();
        rig.boot_with(*id, copy).await.unwrap();
    }
    rig.place(&order("r-1")).await.unwrap();
    let leader = rig.leading().await;
    let shell = rig.nodes[&leader].orders.shell();
    rig.cluster.board.isolate(leader);
    // Something was erased under the newest key, so its keeper is to make another.
    let newest = shell.vault.keys().await.unwrap().last().unwrap().key;
    let home = RegionNumber::try_from(1).unwrap();
    let of = KeyOf { subject: SubjectId { home, hash: 1 }, generation: 1 };
    shell.vault.note_erased(&[(of, newest)]).await.unwrap();
    shell.keys_changed.notify_waiters();
    let former_key = newest.to_string();
    let asked = keys::RotateKeyRequest { former_key, ..Default::default() };
    let asked = call_as(asked, &Role::ALL, Duration::from_millis(500));
    rig.nodes[&leader].service.rotate_key(asked).await.unwrap_err();
    let leads =
        |id: &NodeId| rig.nodes[id].orders.shell().groups[&0].group.leadership().borrow().mine;
    eventually("somebody else leads", || ids.iter().any(|id| *id != leader && leads(id))).await;
    assert_eq!(shell.vault.keys().await.unwrap().len(), 1);
}
