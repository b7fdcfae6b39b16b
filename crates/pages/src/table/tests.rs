use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Insert(u8, u32),
    Update(u8, u32),
    Remove(u8),
    FreezeAndThaw,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (any::<u8>(), any::<u32>()).prop_map(|(k, v)| Op::Insert(k, v)),
        3 => (any::<u8>(), any::<u32>()).prop_map(|(k, v)| Op::Update(k, v)),
        3 => any::<u8>().prop_map(Op::Remove),
        1 => Just(Op::FreezeAndThaw),
    ]
}

fn thawed(table: &Table<u8, u32>) -> Table<u8, u32> {
    let mut bytes = Vec::new();
    table.freeze().write(&mut bytes).unwrap();
    Table::read("t", &mut bytes.as_slice()).unwrap()
}

fn contents(table: &Table<u8, u32>) -> Vec<(u8, u32)> {
    table.iter().map(|(k, v)| (*k, *v)).collect()
}

proptest! {
    /// One replica restarts from checkpoints now and then, the other never does.
    #[test]
    fn agrees_with_a_map_and_a_restarted_replica(ops in prop::collection::vec(op(), 0..300)) {
        let mut model = BTreeMap::new();
        let (mut steady, mut restarted) = (Table::new("t"), Table::new("t"));
        for op in ops {
            match op {
                Op::Insert(k, v) => {
                    let expect = model.insert(k, v);
                    prop_assert_eq!(steady.insert(k, v), expect);
                    restarted.insert(k, v);
                }
                Op::Update(k, v) => {
                    let expect = model.get_mut(&k).map(|old| *old = v);
                    prop_assert_eq!(steady.update(&k, |old| *old = v), expect);
                    restarted.update(&k, |old| *old = v);
                }
                Op::Remove(k) => {
                    prop_assert_eq!(steady.remove(&k), model.remove(&k));
                    restarted.remove(&k);
                }
                Op::FreezeAndThaw => restarted = thawed(&restarted),
            }
            prop_assert_eq!(steady.digest(), steady.recompute_digest());
            prop_assert_eq!(steady.digest(), restarted.digest());
        }
        prop_assert_eq!(steady.len(), model.len());
        prop_assert_eq!(contents(&steady), contents(&restarted));
        let mut sorted = contents(&steady);
        sorted.sort_unstable();
        prop_assert_eq!(sorted, model.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_frozen_view_does_not_see_later_writes() {
    let mut table = Table::new("t");
    for k in 0..100_u8 {
        table.insert(k, 1_u32);
    }
    let frozen = table.freeze();
    for k in 0..100 {
        table.update(&k, |v| *v = 2);
    }
    assert!(frozen.iter().all(|(_, v)| *v == 1));
    assert!(table.iter().all(|(_, v)| *v == 2));
}

#[test]
fn a_cut_or_altered_stream_is_refused_or_told_by_its_digest() {
    let mut table = Table::new("t");
    for k in 0..50_u8 {
        table.insert(k, u32::from(k));
    }
    let mut bytes = Vec::new();
    table.freeze().write(&mut bytes).unwrap();
    for cut in 0..bytes.len() {
        assert!(Table::<u8, u32>::read("t", &mut &bytes[..cut]).is_err(), "cut at {cut}");
    }
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        if let Ok(read) = Table::<u8, u32>::read("t", &mut bad.as_slice()) {
            assert_ne!(read.digest(), table.digest(), "flip at {at}");
        }
    }
}
