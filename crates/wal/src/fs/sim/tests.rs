use super::*;

fn disk() -> (SimFs, PathBuf) {
    let fs = SimFs::new(1);
    let dir = PathBuf::from("/d");
    fs.create_dir_all(&dir).expect("dir");
    (fs, dir)
}

fn read(fs: &SimFs, path: &Path) -> Vec<u8> {
    fs.bytes(path).expect("there")
}

#[test]
fn synced_bytes_survive_every_crash_and_unsynced_ones_some() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..64 {
        let fs = SimFs::new(seed);
        let path = PathBuf::from("/d/f");
        fs.create_dir_all(Path::new("/d")).expect("dir");
        let file = fs.create(&path).expect("create");
        file.write_at(&[1; 5000], 0).expect("write");
        file.sync_data().expect("sync");
        fs.sync_dir(Path::new("/d")).expect("sync");
        file.write_at(&[2; 5000], 5000).expect("write");
        fs.crash();
        let bytes = read(&fs, &path);
        assert_eq!(&bytes[..5000], &[1; 5000], "seed {seed}");
        if bytes.get(5000..) == Some(&[2; 5000]) {
            kept += 1;
        } else {
            lost += 1;
        }
    }
    assert!(lost > 0 && kept > 0, "lost {lost}, kept {kept}");
}

#[test]
fn a_name_is_durable_only_after_its_folder_is_synced() {
    let mut gone = 0;
    for seed in 0..32 {
        let fs = SimFs::new(seed);
        fs.create_dir_all(Path::new("/d")).expect("dir");
        fs.create(Path::new("/d/synced")).expect("create");
        fs.sync_dir(Path::new("/d")).expect("sync");
        fs.create(Path::new("/d/not")).expect("create");
        fs.crash();
        assert!(fs.exists(Path::new("/d/synced")).expect("exists"));
        gone += usize::from(!fs.exists(Path::new("/d/not")).expect("exists"));
    }
    assert!(gone > 0 && gone < 32, "{gone}");
}

#[test]
fn a_rename_is_whole_or_not_at_all() {
    for seed in 0..64 {
        let fs = SimFs::new(seed);
        fs.create_dir_all(Path::new("/d")).expect("dir");
        let file = fs.create(Path::new("/d/a")).expect("create");
        file.write_at(b"x", 0).expect("write");
        file.sync_data().expect("sync");
        fs.sync_dir(Path::new("/d")).expect("sync");
        fs.rename(Path::new("/d/a"), Path::new("/d/b")).expect("rename");
        fs.crash();
        assert_eq!(fs.files().len(), 1, "seed {seed}: {:?}", fs.files());
    }
}

/// A folder of which nothing is durable but what was synced, and a file in it that was.
fn folder_with_a_file(fs: &SimFs, dir: &str) {
    fs.create_dir(Path::new(dir)).expect("dir");
    let file = fs.create(&Path::new(dir).join("f")).expect("create");
    file.write_at(b"x", 0).expect("write");
    file.sync_data().expect("sync");
    fs.sync_dir(Path::new(dir)).expect("sync");
}

#[test]
fn a_folder_that_loses_its_name_takes_what_is_in_it_along() {
    let mut gone = 0;
    for seed in 0..32 {
        let fs = SimFs::new(seed);
        folder_with_a_file(&fs, "/d");
        fs.crash();
        match fs.exists(Path::new("/d")).expect("exists") {
            true => assert_eq!(read(&fs, Path::new("/d/f")), b"x", "seed {seed}"),
            false => gone += 1,
        }
        assert_eq!(fs.files().is_empty(), !fs.exists(Path::new("/d")).expect("exists"));
    }
    assert!(gone > 0 && gone < 32, "{gone}");
}

#[test]
fn a_folder_that_is_there_is_durable_once_it_is_asked_for() {
    for seed in 0..32 {
        let fs = SimFs::new(seed);
        fs.create_dir_all(Path::new("/d")).expect("dir");
        // A process is killed before it syncs the name.
        fs.create_dir(Path::new("/d/e")).expect("dir");
        fs.kill();
        fs.create_dir_all(Path::new(["/d/e", "/d/e/f"][seed as usize % 2])).expect("dir");
        fs.crash();
        assert!(fs.exists(Path::new("/d/e")).expect("exists"), "seed {seed}");
    }
}

#[test]
fn a_folders_rename_is_whole_or_not_at_all_until_it_is_synced() {
    let mut back = 0;
    for seed in 0..64 {
        let fs = SimFs::new(seed);
        folder_with_a_file(&fs, "/d");
        fs.create_dir_all(Path::new("/d/deep")).expect("dir");
        fs.create_dir_all(Path::new("/e")).expect("dir");
        fs.rename(Path::new("/d"), Path::new("/e/d")).expect("rename");
        assert_eq!(read(&fs, Path::new("/e/d/f")), b"x");
        // Durable in the folder, whatever that is called after the crash.
        fs.create(Path::new("/e/d/g")).expect("create");
        fs.sync_dir(Path::new("/e/d")).expect("sync");
        let synced = seed % 4 == 0;
        if synced {
            fs.sync_dir(Path::new("/e")).expect("sync");
        }
        fs.crash();
        let new = fs.exists(Path::new("/e/d")).expect("exists");
        assert!(new || !synced, "seed {seed}");
        let at = Path::new(if new { "/e/d" } else { "/d" });
        assert_eq!(fs.list(at).expect("list"), ["deep", "f", "g"], "seed {seed}");
        assert_eq!(fs.files().len(), 2, "seed {seed}");
        back += usize::from(!new);
    }
    assert!(back > 0 && back < 48, "{back}");
}

#[test]
fn what_a_synced_folder_received_is_there_once_and_where_it_was_is_not() {
    for seed in 0..64 {
        let fs = SimFs::new(seed);
        for dir in ["/a", "/b"] {
            fs.create_dir_all(Path::new(dir)).expect("dir");
        }
        fs.create(Path::new("/a/x")).expect("create");
        fs.rename(Path::new("/a/x"), Path::new("/b/x")).expect("rename");
        fs.sync_dir(Path::new("/b")).expect("sync");
        fs.crash();
        assert_eq!(fs.files(), [PathBuf::from("/b/x")], "seed {seed}");
    }
}

#[test]
fn folders_are_renamed_over_nothing_that_holds_something() {
    let fs = SimFs::new(1);
    folder_with_a_file(&fs, "/d");
    folder_with_a_file(&fs, "/e");
    let full = fs.rename(Path::new("/d"), Path::new("/e")).expect_err("not empty");
    assert_eq!(full.kind(), io::ErrorKind::DirectoryNotEmpty);
    fs.remove_dir_all(Path::new("/e")).expect("removed");
    fs.remove_dir_all(Path::new("/e")).expect("nothing to remove");
    fs.rename(Path::new("/d"), Path::new("/e")).expect("rename");
    assert_eq!(fs.files(), [PathBuf::from("/e/f")]);
    assert!(fs.create(Path::new("/d/f")).is_err(), "no such folder");
}

#[test]
fn after_a_failed_sync_a_second_one_lies() {
    for seed in 0..16 {
        let fs = SimFs::new(seed);
        fs.create_dir_all(Path::new("/d")).expect("dir");
        let path = PathBuf::from("/d/f");
        let file = fs.create(&path).expect("create");
        file.allocate(4096).expect("allocate");
        file.sync_data().expect("sync");
        fs.sync_dir(Path::new("/d")).expect("sync");
        file.write_at(b"gone", 0).expect("write");
        fs.inject(Rule::once(Op::Sync));
        assert!(file.sync_data().is_err());
        file.sync_data().expect("the kernel believes the page clean");
        fs.crash();
        assert_eq!(&read(&fs, &path)[..4], &[0; 4]);
    }
}

#[test]
fn handles_and_locks_die_with_a_crash() {
    let (fs, dir) = disk();
    let file = fs.create(&dir.join("f")).expect("create");
    fs.sync_dir(&dir).expect("sync");
    let lock = fs.lock(&dir.join("LOCK")).expect("free");
    assert!(fs.lock(&dir.join("LOCK")).is_err());
    fs.crash();
    assert!(file.write_at(b"x", 0).is_err());
    let again = fs.lock(&dir.join("LOCK")).expect("free again");
    drop(lock);
    assert!(fs.lock(&dir.join("LOCK")).is_err(), "the old guard frees nothing");
    drop(again);
    fs.lock(&dir.join("LOCK")).expect("free");
}

#[test]
fn a_full_disk_says_so_and_reserved_space_still_serves() {
    let (fs, dir) = disk();
    fs.set_capacity(10_000);
    let file = fs.create(&dir.join("f")).expect("create");
    file.allocate(8000).expect("fits");
    let other = fs.create(&dir.join("g")).expect("create");
    let full = other.allocate(4000).expect_err("full");
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    file.write_at(&[1; 8000], 0).expect("reserved");
    drop(file);
    fs.remove(&dir.join("f")).expect("remove");
    fs.sync_dir(&dir).expect("sync");
    other.allocate(4000).expect("free again");
}

#[test]
fn the_power_goes_after_so_many_changes() {
    let (fs, dir) = disk();
    let file = fs.create(&dir.join("f")).expect("create");
    fs.cut_power_after(1);
    file.write_at(b"x", 0).expect("one more");
    assert!(file.write_at(b"y", 0).is_err());
    assert!(file.sync_data().is_err());
    fs.crash();
    fs.create(&dir.join("g")).expect("back again");
}
