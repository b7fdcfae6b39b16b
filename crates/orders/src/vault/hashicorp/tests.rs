//! The region's keys in a Vault that two nodes share and that fails in every way it has.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use hansa_node::devca::DevCa;
use hansa_node::env::SystemEntropy;
use hansa_types::id::{GroupId, GroupKind};
use hansa_types::region::RegionNumber;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::*;
use crate::config::Auth;
use crate::core::subjects::{KeyOf, RegionKey, SubjectId};
use crate::tests::fake_vault::{FakeVault, Fault};
use crate::vault::{DataKey, KeyLife, Vault as _};

struct House {
    vault: FakeVault,
    _dir: TempDir,
}

async fn house() -> House {
    let dir = tempfile::tempdir().unwrap();
    let ca = Arc::new(DevCa::open(&dir.path().join("ca"), "hansa").unwrap());
    House { vault: FakeVault::start(dir.path(), ca).await, _dir: dir }
}

impl House {
    /// A node's vault, with keys.
    async fn node(&self, number: u64) -> HashicorpVault {
        let vault = self.vault.vault(number, &self.vault.config());
        vault.make().await.unwrap();
        vault
    }
}

fn of(hash: u128) -> KeyOf {
    let home = RegionNumber::try_from(1).unwrap();
    KeyOf { subject: SubjectId { home, hash }, generation: 1 }
}

fn group(index: u16) -> GroupId {
    GroupId::new(GroupKind::Orders, index)
}

fn draw() -> DataKey {
    DataKey::draw(&SystemEntropy::new())
}

async fn newest(vault: &HashicorpVault) -> RegionKey {
    vault.keys().await.unwrap().last().unwrap().key
}

fn why<R>(result: Result<R, VaultError>) -> Error {
    match result.map(drop) {
        Err(VaultError::Hashicorp(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// The secret of a region key, as the newest text has it.
fn secret_of(house: &House, key: RegionKey) -> String {
    let state = house.vault.state.lock();
    let key = key.to_string();
    let line = state.texts().last().unwrap().lines().find(|line| line.contains(&key)).unwrap();
    line.rsplit(' ').next().unwrap().to_owned()
}

/// Asks until it is answered: a breaker that is open closes by itself.
async fn answered(vault: &HashicorpVault) {
    let end = Instant::now() + Duration::from_secs(20);
    while let Err(error) = vault.keys().await {
        assert!(Instant::now() < end, "{error}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn two_nodes_that_rotate_at_once_make_one_key_and_both_have_it() {
    let house = house().await;
    let (a, b) = (house.node(1).await, house.node(2).await);
    assert_eq!(a.id().await.unwrap(), b.id().await.unwrap());
    let former = newest(&a).await;
    let old = a.wrap(of(1), &draw(), None).await.unwrap();
    house.vault.fault("POST data", &[Fault::Overtaken]);
    let (here, there) = tokio::join!(a.rotate(former, 100, 50), b.rotate(former, 200, 50));
    assert_eq!(here.unwrap(), there.unwrap());
    assert_eq!(a.keys().await.unwrap(), b.keys().await.unwrap());
    assert_eq!(a.keys().await.unwrap().len(), 2);
    // What each says of its own group stays, whoever comes first.
    let key = newest(&a).await;
    let said = tokio::join!(a.release(group(0), 1, key), b.release(group(1), 1, key));
    assert!(said.0.is_ok() && said.1.is_ok());
    assert_eq!(a.keys().await.unwrap(), b.keys().await.unwrap());
    assert_eq!(a.destroy_due(&[group(0), group(1)], 1, 1_000).await.unwrap(), [former]);
    // A key that another node made is looked for; one that another destroyed is gone here too.
    let new = a.wrap(of(2), &draw(), Some(key)).await.unwrap();
    assert!(b.unwrap(of(2), &new).await.is_ok());
    b.keys().await.unwrap();
    assert!(matches!(b.unwrap(of(1), &old).await, Err(VaultError::Destroyed(_))));
}

#[tokio::test]
async fn a_destroyed_key_is_in_no_version_whoever_fell_while_destroying_it() {
    let house = house().await;
    let (a, b) = (house.node(1).await, house.node(2).await);
    let former = newest(&a).await;
    let secret = secret_of(&house, former);
    let made = a.rotate(former, 100, 50).await.unwrap();
    a.release(group(0), 1, made.key).await.unwrap();
    let holds = || house.vault.state.lock().texts().iter().filter(|t| t.contains(&secret)).count();
    assert_eq!(holds(), 1);
    // The version without it is written; the ones with it are marked, and not removed.
    house.vault.fault("POST destroy", &[Fault::Marked, Fault::Status(500), Fault::Status(500)]);
    let failed = a.destroy_due(&[group(0)], 1, 1_000).await;
    assert!(matches!(why(failed), Error::Failing { status: 500, .. }));
    assert_eq!(holds(), 1);
    // Another node looks, finds marks only, and removes them all the same.
    let states: Vec<_> = b.keys().await.unwrap().iter().map(|info| info.state).collect();
    assert_eq!(states, [KeyLife::Destroyed { at_ms: 1_000 }, KeyLife::Active]);
    assert_eq!((holds(), house.vault.state.lock().texts().len()), (0, 1));
    // And asks no more for what is clean.
    let looks = house.vault.asked("GET metadata");
    b.keys().await.unwrap();
    assert_eq!(house.vault.asked("GET metadata"), looks);
}

#[tokio::test]
async fn a_change_whose_answer_is_lost_is_made_once() {
    let house = house().await;
    let vault = house.node(1).await;
    let former = newest(&vault).await;
    house.vault.fault("POST data", &[Fault::Lost]);
    let made = vault.rotate(former, 100, 50).await.unwrap();
    assert_eq!(vault.keys().await.unwrap().len(), 2);
    house.vault.fault("POST data", &[Fault::Lost, Fault::Lost, Fault::Lost]);
    vault.note_erased(&[(of(1), made.key)]).await.unwrap_or_default();
    vault.note_erased(&[(of(1), made.key)]).await.unwrap();
    assert_eq!(house.node(2).await.erased().await.unwrap(), [(of(1), made.key)]);
}

#[tokio::test]
async fn while_it_is_sealed_a_node_goes_on_from_memory_and_changes_nothing() {
    let house = house().await;
    let vault = house.node(1).await;
    let former = newest(&vault).await;
    let wrapped = vault.wrap(of(1), &draw(), None).await.unwrap();
    house.vault.state.lock().sealed = true;
    let late = house.vault.vault(2, &house.vault.config());
    assert_eq!(why(late.id().await), Error::Sealed);
    assert!(matches!(late.fingerprint("x", b"x"), Err(VaultError::NoKey)));
    assert_eq!(why(late.make().await), Error::Sealed);
    assert!(vault.unwrap(of(1), &wrapped).await.is_ok());
    assert!(vault.fingerprint("x", b"x").is_ok());
    assert_eq!(why(vault.rotate(former, 1, 1).await), Error::Sealed);
    assert_eq!(why(vault.note_erased(&[(of(1), former)]).await), Error::Sealed);
    assert_eq!(why(vault.keys().await), Error::Sealed);
    // It is not asked for each call.
    let asked = house.vault.asked("GET data");
    for _ in 0..50 {
        assert_eq!(why(vault.keys().await), Error::Sealed);
    }
    assert!(house.vault.asked("GET data") - asked < 10);
    house.vault.state.lock().sealed = false;
    answered(&vault).await;
    answered(&late).await;
    assert_eq!(late.id().await.unwrap(), vault.id().await.unwrap());
    vault.note_erased(&[(of(1), former)]).await.unwrap();
    assert_eq!(late.erased().await.unwrap(), [(of(1), former)]);
}

#[tokio::test]
async fn a_server_that_hangs_or_stumbles_is_asked_again_and_not_waited_for() {
    let house = house().await;
    house.node(1).await;
    let cfg = crate::config::Hashicorp { timeout_ms: 2_000, ..house.vault.config() };
    let vault = house.vault.vault(2, &cfg);
    house.vault.fault("GET data", &[Fault::Hang, Fault::Status(429)]);
    assert!(vault.id().await.unwrap().is_some());
    house.vault.fault("GET data", &[Fault::Status(307)]);
    assert!(matches!(why(vault.keys().await), Error::Redirected { .. }));
}

#[tokio::test]
async fn a_token_that_ended_is_read_anew_and_none_of_what_is_secret_is_told() {
    let house = house().await;
    let vault = house.node(1).await;
    let former = newest(&vault).await;
    let secret = secret_of(&house, former);
    house.vault.state.lock().tokens = ["hvs.second".to_owned()].into();
    let denied = vault.keys().await.unwrap_err();
    let told = format!("{denied} {denied:?}");
    assert!(told.contains("docs/keys.md") && !told.contains("hvs."), "{told}");
    fs::write(house.vault.folder.join("token"), "hvs.second\n").unwrap();
    vault.keys().await.unwrap();
    // The fake echoes what it refuses.
    house.vault.fault("POST data", &[Fault::Status(413)]);
    let refused = vault.rotate(former, 1, 1).await.unwrap_err();
    let told = format!("{refused} {refused:?}");
    assert!(told.contains("413") && !told.contains(&secret), "{told}");
    fs::write(house.vault.folder.join("token"), "\n").unwrap();
    house.vault.state.lock().tokens.clear();
    assert!(matches!(why(vault.keys().await), Error::Credential { .. }));
}

#[tokio::test]
async fn a_service_account_logs_in_and_again_when_its_token_ends() {
    let house = house().await;
    let (role, mount) = ("hansa".to_owned(), "kubernetes".to_owned());
    let auth = Auth::Kubernetes { role, mount, jwt: house.vault.folder.join("jwt") };
    let cfg = crate::config::Hashicorp { auth, ..house.vault.config() };
    let vault = house.vault.vault(1, &cfg);
    vault.make().await.unwrap();
    vault.keys().await.unwrap();
    assert_eq!(house.vault.state.lock().logins, 1);
    house.vault.state.lock().tokens.clear();
    vault.keys().await.unwrap();
    assert_eq!(house.vault.state.lock().logins, 2);
    house.vault.state.lock().tokens.clear();
    house.vault.state.lock().jwt = "jwt-2".to_owned();
    let refused = vault.keys().await.unwrap_err();
    assert!(!format!("{refused} {refused:?}").contains("jwt-1"));
    assert_eq!(why(vault.keys().await), Error::Login { status: 403 });
    fs::write(house.vault.folder.join("jwt"), "jwt-2").unwrap();
    vault.keys().await.unwrap();
}

#[tokio::test]
async fn a_vault_that_went_back_or_lost_the_secret_takes_nothing_from_memory() {
    let house = house().await;
    let vault = house.node(1).await;
    let former = newest(&vault).await;
    let snapshot = house.vault.state.lock().versions.clone();
    let made = vault.rotate(former, 1, 1_000).await.unwrap();
    let wrapped = vault.wrap(of(1), &draw(), None).await.unwrap();
    let now = std::mem::replace(&mut house.vault.state.lock().versions, snapshot);
    assert_eq!(why(vault.keys().await), Error::WentBack { seen: 2, now: 1 });
    assert_eq!(why(vault.rotate(made.key, 2, 2).await), Error::WentBack { seen: 2, now: 1 });
    house.vault.state.lock().versions.clear();
    assert_eq!(why(vault.keys().await), Error::WentBack { seen: 2, now: 0 });
    house.vault.state.lock().versions = [(2, (true, None))].into();
    assert_eq!(why(vault.keys().await), Error::Deleted { version: 2 });
    // Nor is a new one made over it.
    let late = house.vault.vault(2, &house.vault.config());
    assert_eq!(why(late.make().await), Error::Deleted { version: 2 });
    assert!(vault.unwrap(of(1), &wrapped).await.is_ok());
    house.vault.state.lock().versions = now;
    assert_eq!(newest(&vault).await, made.key);
}

#[tokio::test]
async fn another_authority_another_region_and_a_secret_that_is_no_ring_are_refused() {
    let house = house().await;
    let vault = house.node(1).await;
    let other = DevCa::open(&house.vault.folder.join("other"), "hansa").unwrap();
    let cfg = crate::config::Hashicorp { ca: other.ca_file(), ..house.vault.config() };
    let stranger = house.vault.vault(2, &cfg);
    assert!(matches!(why(stranger.id().await), Error::Unreached { .. }));
    let cfg = crate::config::Hashicorp { ca: "/nowhere".into(), ..house.vault.config() };
    assert!(matches!(why(house.vault.vault(3, &cfg).id().await), Error::Authority { .. }));
    let cfg = crate::config::Hashicorp { mount: "kv".to_owned(), ..house.vault.config() };
    assert!(matches!(why(house.vault.vault(4, &cfg).id().await), Error::NoEngine { .. }));
    let another = Ring::draw(&SystemEntropy::new(), 1).write().to_string();
    house.vault.state.lock().versions.insert(2, (false, Some(another)));
    assert!(matches!(vault.keys().await, Err(VaultError::BadFile)));
    house.vault.state.lock().versions.insert(3, (false, Some("junk".to_owned())));
    assert!(matches!(vault.keys().await, Err(VaultError::BadFile)));
    // What was ours is not destroyed for the sake of what is not.
    assert!(house.vault.state.lock().versions[&1].1.is_some());
}
