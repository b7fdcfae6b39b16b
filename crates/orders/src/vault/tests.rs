//! Attacks on wraps and blocks, and a vault file that two nodes change.

mod syncs;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use hansa_consensus::testing::env;
use hansa_node::env::{ProcessExit, SystemEntropy, ThreadLoops};
use hansa_types::id::{GroupId, GroupKind, OrderId};
use hansa_types::region::{RegionNumber, Slot};
use hansa_types::time::LogTime;
use hansa_wal::fs::{File, Fs, Lock, Names, RealFs, Space};

use super::*;
use crate::core::subjects::{RegionKey, SubjectId};

fn order(n: u64) -> OrderId {
    OrderId::new(LogTime(1), RegionNumber::try_from(1).unwrap(), Slot::of(b"x"), n)
}

fn of(hash: u128, generation: u32) -> KeyOf {
    let home = RegionNumber::try_from(1).unwrap();
    KeyOf { subject: SubjectId { home, hash }, generation }
}

fn unmade(path: &Path) -> FileVault {
    FileVault::open(Arc::new(RealFs), path, &env("test").0).unwrap()
}

fn vault(path: &Path) -> FileVault {
    unmade(path).store.disk.make().unwrap();
    unmade(path)
}

fn draw() -> DataKey {
    DataKey::draw(&SystemEntropy::new())
}

async fn newest(vault: &FileVault) -> RegionKey {
    vault.keys().await.unwrap().last().unwrap().key
}

fn names(folder: &Path) -> Vec<String> {
    RealFs.list(folder).unwrap()
}

fn groups() -> [GroupId; 2] {
    [GroupId::new(GroupKind::Orders, 0), GroupId::new(GroupKind::Orders, 1)]
}

#[tokio::test]
async fn opening_makes_no_key_and_finds_the_one_that_is_put_there_later() {
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    let (late, made) = (unmade(&here), vault(&there));
    assert_eq!(late.id().await.unwrap(), None);
    assert!(matches!(late.fingerprint("x", b"x"), Err(VaultError::NoKey)));
    assert!(matches!(late.wrap(of(1, 1), &draw(), None).await, Err(VaultError::NoKey)));
    assert!(!here.exists());
    fs::copy(&there, &here).unwrap();
    assert_eq!(late.id().await.unwrap(), made.id().await.unwrap());
    assert_eq!(late.make().await.unwrap(), made.make().await.unwrap());
    let wrapped = made.wrap(of(1, 1), &draw(), None).await.unwrap();
    assert!(late.unwrap(of(1, 1), &wrapped).await.is_ok());
}

#[tokio::test]
async fn only_its_owner_reads_the_file_and_nothing_is_left_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault/region.key");
    vault(&path);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(names(path.parent().unwrap()), ["region.key", "region.lock"]);
    assert_eq!(fs::metadata(path.with_extension("lock")).unwrap().len(), 0);
}

#[tokio::test]
async fn a_wrap_that_was_tampered_with_or_is_another_subjects_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault(&folder.path().join("key"));
    let wrapped = vault.wrap(of(1, 1), &draw(), None).await.unwrap();
    assert!(vault.unwrap(of(1, 1), &wrapped).await.is_ok());
    for other in [of(2, 1), of(1, 2)] {
        assert!(matches!(vault.unwrap(other, &wrapped).await, Err(VaultError::Open)));
    }
    for at in [0, 63, wrapped.ciphertext.len() - 1] {
        let mut bytes = wrapped.ciphertext.to_vec();
        bytes[at] ^= 1;
        let broken = Wrapped { ciphertext: Bytes::from(bytes), ..wrapped.clone() };
        assert!(matches!(vault.unwrap(of(1, 1), &broken).await, Err(VaultError::Open)));
    }
    let stranger = Wrapped { by: RegionKey(wrapped.by.0 + 1), ..wrapped.clone() };
    assert!(matches!(vault.unwrap(of(1, 1), &stranger).await, Err(VaultError::UnknownKey(_))));
    assert!(!format!("{wrapped:?}").contains("ciphertext"));
}

#[test]
fn a_block_opens_for_its_own_order_customer_and_key_only() {
    let (key, entropy) = (draw(), SystemEntropy::new());
    let sealed = key.seal(of(1, 1), order(1), b"Ada Lovelace", &entropy).unwrap();
    assert_eq!(&key.open(of(1, 1), order(1), &sealed).unwrap()[..], b"Ada Lovelace");
    assert!(key.open(of(1, 1), order(2), &sealed).is_err());
    assert!(key.open(of(2, 1), order(1), &sealed).is_err());
    assert!(key.open(of(1, 2), order(1), &sealed).is_err());
    assert!(draw().open(of(1, 1), order(1), &sealed).is_err());
    assert!(!sealed.ciphertext.windows(3).any(|w| w == b"Ada"));
    assert_ne!(key.seal(of(1, 1), order(1), b"Ada", &entropy).unwrap().nonce, sealed.nonce);
    assert_eq!(format!("{sealed:?}").matches("redacted").count(), 1);
}

#[test]
fn fingerprints_depend_on_key_purpose_and_bytes() {
    let (a, b) = (draw(), draw());
    let first = a.fingerprint("body", b"x");
    assert_eq!(first, a.fingerprint("body", b"x"));
    for other in [a.fingerprint("body", b"y"), a.fingerprint("other", b"x")] {
        assert_ne!(first, other);
    }
    assert_ne!(first, b.fingerprint("body", b"x"));
}

#[tokio::test]
async fn a_rotation_keeps_the_vaults_id_and_pseudonyms_and_opens_what_is_old() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let (a, b) = (vault(&path), vault(&path));
    let (id, name) = (a.id().await.unwrap(), a.fingerprint("customer", b"c-1").unwrap());
    let former = newest(&a).await;
    let old = a.wrap(of(1, 1), &draw(), None).await.unwrap();
    let made = a.rotate(former, 100, 50).await.unwrap();
    // Another node, another leader, the same wish.
    assert_eq!(b.rotate(former, 200, 50).await.unwrap(), made);
    assert_eq!(newest(&b).await, made.key);
    assert!(made.key > former);
    assert_eq!((b.id().await.unwrap(), b.fingerprint("customer", b"c-1").unwrap()), (id, name));
    assert!(b.unwrap(of(1, 1), &old).await.is_ok());
    let new = b.wrap(of(1, 1), &draw(), None).await.unwrap();
    assert_eq!(new.by, made.key);
    let nobodys = b.rotate(RegionKey(5), 0, 0).await;
    assert!(matches!(nobodys, Err(VaultError::NotNewest(_))));
}

#[tokio::test]
async fn a_node_that_has_read_the_old_file_finds_a_key_that_another_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let (a, b) = (vault(&path), vault(&path));
    let made = a.rotate(newest(&a).await, 1, 1).await.unwrap();
    let wrapped = a.wrap(of(1, 1), &draw(), Some(made.key)).await.unwrap();
    assert!(b.unwrap(of(1, 1), &wrapped).await.is_ok());
    assert!(unmade(&path).wrap(of(1, 1), &draw(), Some(made.key)).await.is_ok());
}

#[tokio::test]
async fn a_key_is_destroyed_once_its_window_is_over_and_every_group_has_let_go_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let vault = vault(&path);
    let former = newest(&vault).await;
    let old = vault.wrap(of(1, 1), &draw(), None).await.unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let secret = text.lines().find(|l| l.starts_with("active")).unwrap();
    let secret = secret.rsplit(' ').next().unwrap().to_owned();
    let made = vault.rotate(former, 100, 50).await.unwrap();
    assert!(vault.destroy_due(&groups(), 1, 1_000).await.unwrap().is_empty());
    vault.release(groups()[0], 1, made.key).await.unwrap();
    assert!(vault.destroy_due(&groups(), 1, 1_000).await.unwrap().is_empty());
    vault.release(groups()[1], 1, made.key).await.unwrap();
    assert!(vault.destroy_due(&groups(), 1, 149).await.unwrap().is_empty());
    assert_eq!(vault.destroy_due(&groups(), 1, 150).await.unwrap(), [former]);
    assert!(vault.destroy_due(&groups(), 1, 150).await.unwrap().is_empty());
    assert!(matches!(vault.unwrap(of(1, 1), &old).await, Err(VaultError::Destroyed(_))));
    assert!(matches!(unmade(&path).unwrap(of(1, 1), &old).await, Err(VaultError::Destroyed(_))));
    let states: Vec<_> = vault.keys().await.unwrap().iter().map(|info| info.state).collect();
    assert_eq!(states, [KeyLife::Destroyed { at_ms: 150 }, KeyLife::Active]);
    for entry in fs::read_dir(folder.path()).unwrap() {
        let bytes = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!bytes.contains(&secret));
    }
}

#[tokio::test]
async fn an_erasure_is_remembered_as_long_as_its_region_key_opens_a_backup() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let vault = vault(&path);
    let former = newest(&vault).await;
    let stranger = RegionKey(5);
    vault.note_erased(&[(of(1, 1), former), (of(2, 1), stranger)]).await.unwrap();
    vault.note_erased(&[(of(1, 1), former)]).await.unwrap();
    assert_eq!(unmade(&path).erased().await.unwrap(), [(of(1, 1), former)]);
    let made = vault.rotate(former, 100, 50).await.unwrap();
    vault.release(groups()[0], 1, made.key).await.unwrap();
    assert_eq!(vault.destroy_due(&groups()[..1], 1, 150).await.unwrap(), [former]);
    assert!(unmade(&path).erased().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_any_groups_leader_has_dropped_the_first_groups_hears_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let (first, other) = (vault(&path), unmade(&path));
    let key = newest(&first).await;
    assert_eq!(first.dropped().await.unwrap(), None);
    other.note_dropped(groups()[1], key).await.unwrap();
    assert_eq!(first.dropped().await.unwrap(), Some(key));
    let made = first.rotate(key, 1, 0).await.unwrap();
    other.note_erased(&[(of(1, 1), made.key)]).await.unwrap();
    assert_eq!(first.dropped().await.unwrap(), Some(made.key));
}

#[tokio::test]
async fn a_file_that_is_no_vault_is_refused_not_replaced_and_an_old_one_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let open = || FileVault::open(Arc::new(RealFs), &path, &env("test").0).map(drop);
    fs::write(&path, "something else").unwrap();
    assert!(matches!(open(), Err(VaultError::BadFile)));
    assert_eq!(fs::read_to_string(&path).unwrap(), "something else");
    fs::write(&path, format!("hansa-vault-1 {}\n", "5a".repeat(32))).unwrap();
    assert!(matches!(open(), Err(VaultError::OldFile("hansa-vault-1"))));
    fs::remove_file(&path).unwrap();
    let whole = {
        vault(&path);
        fs::read(&path).unwrap()
    };
    for cut in [0, 20, whole.len() / 2, whole.len() - 2] {
        fs::write(&path, &whole[..cut]).unwrap();
        assert!(matches!(open(), Err(VaultError::BadFile)), "cut at {cut}");
    }
}

#[tokio::test]
async fn a_kept_key_is_the_one_that_the_log_has_and_goes_when_its_subject_is_erased() {
    let folder = tempfile::tempdir().unwrap();
    let vault: Arc<dyn Vault> = Arc::new(vault(&folder.path().join("key")));
    let ring = Keyring::new(vault, Arc::new(SystemEntropy::new()));
    let (lost, lost_wrap) = ring.mint(of(1, 1), None).await.unwrap();
    let (won, won_wrap) = ring.mint(of(1, 1), None).await.unwrap();
    ring.keep(of(1, 1), lost_wrap, lost.clone());
    let found = ring.unwrap(of(1, 1), &won_wrap).await.unwrap();
    assert_eq!(found.fingerprint("x", b"x"), won.fingerprint("x", b"x"));
    assert_ne!(found.fingerprint("x", b"x"), lost.fingerprint("x", b"x"));
    let again = ring.unwrap(of(1, 1), &won_wrap).await.unwrap();
    assert!(Arc::ptr_eq(&found, &again));
    ring.forget(of(1, 1));
    assert!(ring.kept().is_empty());
}

#[tokio::test]
async fn no_late_read_or_share_brings_an_erased_key_back_into_memory() {
    let folder = tempfile::tempdir().unwrap();
    let vault: Arc<dyn Vault> = Arc::new(vault(&folder.path().join("key")));
    let ring = Keyring::new(vault, Arc::new(SystemEntropy::new()));
    let (key, wrap) = ring.mint(of(1, 1), None).await.unwrap();
    let (next, next_wrap) = ring.mint(of(1, 2), None).await.unwrap();
    assert!(ring.keep(of(1, 2), next_wrap.clone(), next));
    let share = ring.share(of(1, 1), &wrap).await.unwrap();
    ring.forget(of(1, 1));
    // Each has read state before the erasure.
    assert!(matches!(ring.unwrap(of(1, 1), &wrap).await, Err(VaultError::Erased)));
    assert!(matches!(ring.share(of(1, 1), &wrap).await, Err(VaultError::Erased)));
    assert!(matches!(ring.take(&share, None).await, Err(VaultError::Erased)));
    assert!(matches!(ring.rewrap(of(1, 1), &wrap, wrap.by).await, Err(VaultError::Erased)));
    assert!(!ring.keep(of(1, 1), wrap, key));
    // What he ordered with since is another key.
    assert_eq!(ring.kept(), [of(1, 2)]);
    assert!(ring.unwrap(of(1, 2), &next_wrap).await.is_ok());
}

#[tokio::test]
async fn what_a_crash_left_beside_the_file_is_wiped_unless_somebody_is_at_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("region.key");
    let leave = || {
        let left = folder.path().join("region.new-00000000000000ff");
        fs::copy(&path, &left).unwrap();
        left
    };
    let vault = vault(&path);
    let left = leave();
    let held = RealFs.lock(&path.with_extension("lock")).unwrap();
    unmade(&path);
    assert!(left.exists(), "another node may be writing it");
    drop(held);
    unmade(&path);
    assert!(!left.exists());
    let left = leave();
    vault.rotate(newest(&vault).await, 1, 1).await.unwrap();
    assert!(!left.exists(), "a node that stays up wipes it with its next change");
    assert_eq!(names(folder.path()), ["region.key", "region.lock"]);
}

#[tokio::test]
async fn a_file_that_could_not_be_put_in_place_is_not_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("region.key");
    let vault = vault(&path);
    let former = newest(&vault).await;
    // Renaming over a folder fails.
    let away = folder.path().join("away");
    fs::rename(&path, &away).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(vault.rotate(former, 1, 1).await.is_err());
    fs::remove_dir(&path).unwrap();
    fs::rename(&away, &path).unwrap();
    assert_eq!(names(folder.path()), ["region.key", "region.lock"]);
    assert!(vault.rotate(former, 1, 1).await.is_ok());
}

#[tokio::test]
async fn copies_that_rotated_apart_do_not_know_each_others_key() {
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    let a = vault(&here);
    fs::copy(&here, &there).unwrap();
    let b = unmade(&there);
    let former = newest(&a).await;
    let (ours, theirs) =
        (a.rotate(former, 1, 1).await.unwrap().key, b.rotate(former, 1, 1).await.unwrap().key);
    assert_eq!(ours.number(), theirs.number());
    assert_ne!(ours, theirs);
    for (vault, own, other) in [(&a, ours, theirs), (&b, theirs, ours)] {
        assert!(vault.knows(own).await.unwrap() && vault.knows(former).await.unwrap());
        assert!(!vault.knows(other).await.unwrap());
    }
}

#[tokio::test]
async fn what_a_group_let_go_of_in_a_life_that_is_over_destroys_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let vault = vault(&path);
    let former = newest(&vault).await;
    let made = vault.rotate(former, 100, 50).await.unwrap();
    for group in groups() {
        vault.release(group, 1, made.key).await.unwrap();
    }
    // The region comes back from a backup whose data keys `former` wraps.
    vault.release(groups()[0], 2, made.key).await.unwrap();
    assert!(vault.destroy_due(&groups(), 2, 1_000).await.unwrap().is_empty());
    assert!(unmade(&path).destroy_due(&groups(), 2, 1_000).await.unwrap().is_empty());
    // Late words of the old life change nothing.
    vault.release(groups()[0], 1, made.key).await.unwrap();
    vault.release(groups()[1], 2, made.key).await.unwrap();
    assert_eq!(unmade(&path).destroy_due(&groups(), 2, 1_000).await.unwrap(), [former]);
}

/// A disk that reads nothing before it is told to.
struct Stuck(parking_lot::Mutex<()>);

impl Fs for Stuck {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        RealFs.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealFs.list(dir)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        RealFs.exists(path)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        RealFs.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let _told = self.0.lock();
        RealFs.open(path)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealFs.remove(path)
    }
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        RealFs.remove_dir_all(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFs.rename(from, to)
    }
    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn Names>> {
        RealFs.open_dir(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Lock> {
        RealFs.lock(path)
    }
    fn space(&self, dir: &Path) -> io::Result<Space> {
        RealFs.space(dir)
    }
}

#[tokio::test]
async fn a_disk_that_takes_its_time_keeps_no_other_task_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let made = vault(&path);
    let disk = Arc::new(Stuck(parking_lot::Mutex::new(())));
    let vault = FileVault::open(disk.clone(), &path, &env("test").0).unwrap();
    let exit = Arc::new(ProcessExit::new("test"));
    let vault = vault.looped(&ThreadLoops::new("test", exit));
    let held = disk.0.lock();
    let told = async {
        // This runtime has one thread: it gets here only if nobody blocks it.
        drop(held);
        made.rotate(newest(&made).await, 1, 1).await.unwrap()
    };
    let (before, made) = tokio::join!(vault.keys(), told);
    assert!(!before.unwrap().is_empty());
    assert_eq!(newest(&vault).await, made.key);
    assert!(vault.knows(made.key).await.unwrap());
}

#[tokio::test]
async fn a_share_is_wrapped_anew_by_the_receivers_own_vault() {
    let folder = tempfile::tempdir().unwrap();
    let ring = |name: &str| {
        let vault: Arc<dyn Vault> = Arc::new(vault(&folder.path().join(name)));
        Keyring::new(vault, Arc::new(SystemEntropy::new()))
    };
    let (home, peer) = (ring("home"), ring("peer"));
    let (key, wrapped) = home.mint(of(1, 1), None).await.unwrap();
    let share = home.share(of(1, 1), &wrapped).await.unwrap();
    assert!(!format!("{share:?}").contains("key:"));
    let carried = KeyShare::of_bytes(of(1, 1), share.bytes()).unwrap();
    let taken = peer.take(&carried, None).await.unwrap();
    assert!(peer.unwrap(of(1, 1), &wrapped).await.is_err());
    let theirs = peer.unwrap(of(1, 1), &taken.wrapped).await.unwrap();
    assert_eq!(theirs.fingerprint("x", b"x"), key.fingerprint("x", b"x"));
}

/// Not a claim: what keys add to an order, in time of one processor. Run with `--ignored`.
#[tokio::test]
#[ignore = "measures"]
async fn what_keys_add_to_an_order_is_microseconds() {
    const ROUNDS: u32 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let file = Arc::new(vault(&folder.path().join("key")));
    let ring = Keyring::new(file.clone(), Arc::new(SystemEntropy::new()));
    let (entropy, body, block) = (SystemEntropy::new(), [7; 400], [7; 200]);
    let (key, wrapped) = ring.mint(of(1, 1), None).await.unwrap();
    ring.keep(of(1, 1), wrapped.clone(), key);
    let timed = |what: &str, from: std::time::Instant| {
        println!("{what}: {:.2} us", from.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
    };
    let from = std::time::Instant::now();
    for n in 0..ROUNDS {
        let name = file.fingerprint("customer", &n.to_le_bytes()).unwrap();
        std::hint::black_box(name);
    }
    timed("pseudonym", from);
    let from = std::time::Instant::now();
    for n in 0..ROUNDS {
        let key = ring.unwrap(of(1, 1), &wrapped).await.unwrap();
        std::hint::black_box(key.fingerprint("PlaceOrder", &body));
        std::hint::black_box(key.seal(of(1, 1), order(n.into()), &block, &entropy).unwrap());
    }
    timed("known customer: key at hand, fingerprint, seal", from);
    let from = std::time::Instant::now();
    for n in 0..ROUNDS {
        std::hint::black_box(ring.mint(of(n.into(), 1), None).await.unwrap());
    }
    timed("first order: draw and wrap", from);
    let from = std::time::Instant::now();
    for n in 0..ROUNDS {
        // More than memory keeps.
        let of = of(u128::from(n), 1);
        let _ = std::hint::black_box(ring.unwrap(of, &wrapped).await);
    }
    timed("key not at hand: unwrap", from);
}
