//! The same log on a real disk, with its loops on real threads.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use hansa_node::env::Env;
use hansa_wal::fs::{Fs, RealFs, SimFs};
use hansa_wal::{Config, OpenError, Recovery, Wal};

use crate::rig::{all, append, entries, group, small, vote};

fn open(dir: &Path, config: Config) -> Result<(Wal, Recovery), OpenError> {
    Wal::open(Arc::new(RealFs), dir, config, &Env::real("test"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_on_a_real_disk_reopens_with_all_it_acknowledged() {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = temp.path().join("a/log");
    let config = Config { segment_bytes: 256 << 10, disk_bytes_max: 2 << 20, ..small() };
    let (wal, recovery) = open(&dir, config.clone()).expect("open");
    assert!(recovery.fresh);
    let second = open(&dir, config.clone()).err().expect("locked");
    assert!(matches!(second, OpenError::Locked { .. }), "{second}");
    for round in 0..40 {
        for n in 0..4 {
            let g = group(n);
            let from = round * 20 + 1;
            append(&wal, g, entries(g, from..=from + 19)).await.expect("durable");
        }
    }
    vote(&wal, group(1), "v").await.expect("durable");
    wal.purge(group(2), 700, Bytes::from("p"));
    wal.truncate_after(group(3), Some(10));
    wal.close().await.expect("closed");

    let (wal, recovery) = open(&dir, config).expect("open again");
    assert_eq!(recovery.cut, None);
    assert_eq!(all(&wal, group(0)), entries(group(0), 1..=800));
    assert_eq!(wal.state(group(1)).expect("state").vote, Some(Bytes::from("v")));
    assert_eq!(all(&wal, group(2)), entries(group(2), 701..=800));
    assert_eq!(all(&wal, group(3)), entries(group(3), 1..=10));
    append(&wal, group(3), entries(group(3), 11..=20)).await.expect("goes on");
    wal.close().await.expect("closed");
}

/// What both file systems must agree on, as far as one process without crashes can tell.
fn check_contract(fs: &dyn Fs, dir: &Path) {
    let (a, b) = (dir.join("sub/a"), dir.join("sub/b"));
    assert_eq!(fs.open(&a).err().map(|e| e.kind()), Some(ErrorKind::NotFound));
    assert_eq!(fs.create(&a).err().map(|e| e.kind()), Some(ErrorKind::NotFound), "no folder yet");
    fs.create_dir_all(&dir.join("sub")).expect("dir");
    fs.create_dir_all(&dir.join("sub")).expect("again");
    check_file(fs, &a);
    fs.rename(&a, &b).expect("rename");
    fs.sync_dir(&dir.join("sub")).expect("sync");
    assert_eq!(fs.list(&dir.join("sub")).expect("list"), vec!["b"]);
    assert_eq!(fs.list(dir).expect("list"), vec!["sub"]);
    assert!(fs.exists(&b).expect("exists") && !fs.exists(&a).expect("exists"));
    assert_eq!(fs.remove(&a).err().map(|e| e.kind()), Some(ErrorKind::NotFound));
    check_small_files(fs, &dir.join("sub"));
    fs.rename(&dir.join("sub"), &dir.join("moved")).expect("rename a folder");
    let file = fs.open(&dir.join("moved/b")).expect("open");
    fs.remove(&dir.join("moved/b")).expect("remove");
    assert_eq!(file.len().expect("an open handle reads on"), 7);
    fs.remove_dir_all(&dir.join("moved")).expect("remove all");
    fs.remove_dir_all(&dir.join("moved")).expect("nothing to remove is fine");
    let held = fs.lock(&dir.join("LOCK")).expect("free");
    assert_eq!(fs.lock(&dir.join("LOCK")).err().map(|e| e.kind()), Some(ErrorKind::WouldBlock));
    drop(held);
    drop(fs.lock(&dir.join("LOCK")).expect("free again"));
    let space = fs.space(dir).expect("space");
    assert!(space.free > 0 && space.free <= space.total);
}

fn check_small_files(fs: &dyn Fs, dir: &Path) {
    let (key, other) = (dir.join("key"), dir.join("other"));
    for (path, text) in [(&key, b"first"), (&other, b"later")] {
        fs.create_private(path).expect("create").write_at(text, 0).expect("write");
    }
    assert_eq!(fs.read(&key, 5).expect("read"), b"first");
    assert_eq!(fs.read(&key, 4).err().map(|e| e.kind()), Some(ErrorKind::FileTooLarge));
    assert_eq!(fs.read(&dir.join("none"), 4).err().map(|e| e.kind()), Some(ErrorKind::NotFound));
    let taken = fs.rename_new(&other, &key).err().map(|e| e.kind());
    assert_eq!(taken, Some(ErrorKind::AlreadyExists));
    assert_eq!(fs.read(&key, 5).expect("kept"), b"first");
    fs.remove(&key).expect("remove");
    fs.rename_new(&other, &key).expect("free now");
    assert_eq!(fs.read(&key, 5).expect("moved"), b"later");
    fs.remove(&key).expect("remove");
}

fn check_file(fs: &dyn Fs, path: &Path) {
    let file = fs.create(path).expect("create");
    assert!(file.is_empty().expect("len"));
    file.write_at(b"hello", 3).expect("write");
    let mut bytes = [9; 10];
    assert_eq!(file.read_at(&mut bytes, 0).expect("read"), 8);
    assert_eq!(&bytes, b"\0\0\0hello\x09\x09");
    let short = file.read_exact_at(&mut bytes, 0).expect_err("short");
    assert_eq!(short.kind(), ErrorKind::UnexpectedEof);
    file.allocate(10_000).expect("allocate");
    file.allocate(100).expect("never shrinks");
    assert_eq!(file.len().expect("len"), 10_000);
    file.set_len(5).expect("shrink");
    file.set_len(7).expect("grow");
    assert_eq!(file.read_at(&mut bytes, 0).expect("read"), 7);
    assert_eq!(&bytes[..7], b"\0\0\0he\0\0", "what was cut off does not come back");
    file.sync_data().expect("sync");
}

#[test]
fn the_simulated_disk_behaves_as_the_real_one() {
    let temp = tempfile::tempdir().expect("a folder");
    check_contract(&RealFs, temp.path());
    let sim = SimFs::new(1);
    sim.create_dir_all(Path::new("/d")).expect("dir");
    check_contract(&sim, Path::new("/d"));
}

#[test]
fn a_folder_may_be_ours_where_we_may_write_and_never_across_a_mount() {
    let temp = tempfile::tempdir().expect("a folder");
    let inside = temp.path().join("inside");
    RealFs.create_dir(&inside).expect("dir");
    RealFs.create_dir(&inside).expect("there already");
    assert!(RealFs.may_have_made(&inside).expect("known"));
    if cfg!(target_os = "linux") {
        assert!(!RealFs.may_have_made(Path::new("/proc")).expect("known"), "a mount");
    }
}
