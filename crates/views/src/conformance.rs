//! One set of claims, run over every implementation.

use std::ops::Bound;
use std::path::Path;

use crate::memory::MemoryView;
use crate::sled_view::{Config, SledView};
use crate::{Batch, Range, View};

fn config(folder: &Path) -> Config {
    Config { folder: folder.join("view"), schema: 1, cache_bytes: 1 << 20 }
}

fn each(claim: impl Fn(&dyn View)) {
    claim(&MemoryView::default());
    let folder = tempfile::tempdir().unwrap();
    claim(&SledView::open(config(folder.path())).unwrap());
}

fn batch(entries: &[(&str, &str)]) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in entries {
        batch.put(*key, *value);
    }
    batch
}

fn keys(view: &dyn View, range: &Range, limit: usize) -> Vec<String> {
    let entries = view.scan(range, limit).unwrap();
    entries.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect()
}

#[test]
fn a_new_view_has_no_position_and_no_entries() {
    each(|view| {
        assert_eq!(view.position().unwrap(), None);
        assert_eq!(view.get(b"a").unwrap(), None);
        assert!(keys(view, &Range::prefix(b""), 10).is_empty());
    });
}

#[test]
fn a_batch_moves_entries_and_position_together() {
    each(|view| {
        view.apply(batch(&[("a", "1"), ("b", "2")]), 7).unwrap();
        let mut next = batch(&[("a", "3")]);
        next.delete("b");
        next.put("c", "4");
        next.delete("c");
        view.apply(next, 9).unwrap();
        assert_eq!(view.position().unwrap(), Some(9));
        assert_eq!(view.get(b"a").unwrap(), Some(b"3".to_vec()));
        assert_eq!(view.get(b"b").unwrap(), None);
        assert_eq!(view.get(b"c").unwrap(), None);
    });
}

#[test]
fn ranges_are_read_in_pages_both_ways() {
    each(|view| {
        let entries = [("a", ""), ("b1", ""), ("b2", ""), ("b3", ""), ("c", "")];
        view.apply(batch(&entries), 1).unwrap();
        let all = Range::prefix(b"b");
        assert_eq!(keys(view, &all, 2), ["b1", "b2"]);
        assert_eq!(keys(view, &all.clone().after(b"b2"), 2), ["b3"]);
        assert_eq!(keys(view, &all.clone().descending(), 2), ["b3", "b2"]);
        assert_eq!(keys(view, &all.clone().descending().after(b"b2"), 9), ["b1"]);
        assert_eq!(keys(view, &Range::prefix(b""), 9).len(), 5);
        assert!(keys(view, &all.clone().after(b"b3"), 9).is_empty());
        assert!(keys(view, &all, 0).is_empty());
        let backwards = Range { to: Bound::Excluded(b"a".to_vec()), ..Range::prefix(b"b") };
        assert!(keys(view, &backwards, 9).is_empty());
    });
}

#[test]
fn prefixes_at_the_end_of_the_alphabet_are_whole() {
    each(|view| {
        let mut high = Batch::default();
        high.put([0xfe, 0xff, 1], "");
        high.put([0xff, 0xff], "");
        high.put([0xff, 0xff, 9], "");
        view.apply(high, 1).unwrap();
        assert_eq!(view.scan(&Range::prefix(&[0xfe, 0xff]), 9).unwrap().len(), 1);
        assert_eq!(view.scan(&Range::prefix(&[0xff, 0xff]), 9).unwrap().len(), 2);
    });
}

#[test]
fn a_reset_view_is_built_from_the_beginning() {
    each(|view| {
        view.apply(batch(&[("a", "1")]), 5).unwrap();
        view.reset().unwrap();
        assert_eq!(view.position().unwrap(), None);
        assert_eq!(view.get(b"a").unwrap(), None);
        view.apply(batch(&[("a", "2")]), 1).unwrap();
        assert_eq!(view.position().unwrap(), Some(1));
    });
}

#[test]
fn a_view_on_disk_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let view = SledView::open(config.clone()).unwrap();
    view.apply(batch(&[("a", "1")]), 5).unwrap();
    drop(view);
    let view = SledView::open(config).unwrap();
    assert_eq!(view.position().unwrap(), Some(5));
    assert_eq!(view.get(b"a").unwrap(), Some(b"1".to_vec()));
}

#[test]
fn a_deleted_folder_is_an_empty_view() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let view = SledView::open(config.clone()).unwrap();
    view.apply(batch(&[("a", "1")]), 5).unwrap();
    drop(view);
    std::fs::remove_dir_all(&config.folder).unwrap();
    assert_eq!(SledView::open(config).unwrap().position().unwrap(), None);
}

#[test]
fn a_view_of_another_schema_is_built_anew() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let view = SledView::open(config.clone()).unwrap();
    view.apply(batch(&[("a", "1")]), 5).unwrap();
    drop(view);
    let view = SledView::open(Config { schema: 2, ..config }).unwrap();
    assert_eq!(view.position().unwrap(), None);
    assert_eq!(view.get(b"a").unwrap(), None);
}

#[test]
fn a_damaged_folder_is_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let view = SledView::open(config.clone()).unwrap();
    for n in 0..200u32 {
        view.apply(batch(&[(&format!("key {n}"), "value")]), u64::from(n)).unwrap();
    }
    drop(view);
    // Every file of the folder, overwritten with noise.
    for file in std::fs::read_dir(&config.folder).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let len = std::fs::metadata(&path).unwrap().len().max(64) as usize;
            std::fs::write(&path, vec![0x5a; len]).unwrap();
        }
    }
    let view = SledView::open(config.clone()).unwrap();
    assert_eq!(view.position().unwrap(), None);
    view.apply(batch(&[("a", "1")]), 1).unwrap();
    assert_eq!(view.get(b"a").unwrap(), Some(b"1".to_vec()));
    assert!(folder.path().join("view.damaged").is_dir());
}
