use hansa_types::region::{RegionNumber, Slot};
use hansa_types::time::LogTime;

use super::*;

fn id(ms: u64, n: u64) -> OrderId {
    let region = RegionNumber::try_from(1).unwrap();
    OrderId::new(LogTime(ms), region, Slot::of(&n.to_le_bytes()), n)
}

fn leaf(n: u64) -> Leaf {
    Leaf::of(id(n, n), n, b"shipped")
}

#[test]
fn equal_orders_add_up_equally_whatever_the_way_there() {
    let (mut a, mut b) = (Tree::default(), Tree::default());
    for n in 0..500_u64 {
        a.put(id(n * 777, n), leaf(n));
    }
    for n in (0..500_u64).rev() {
        b.put(id(n * 777, n), leaf(n + 1_000));
        b.put(id(n * 777, n), leaf(n));
    }
    b.put(id(1, 9_999), leaf(1));
    assert_ne!(a.root(), b.root());
    b.take(id(1, 9_999));
    assert_eq!(a.root(), b.root());
    for shift in [0, 7, 16, 20, 47] {
        assert_eq!(a.sums(&EVERYTHING, shift, 1_000), b.sums(&EVERYTHING, shift, 1_000));
    }
    assert!(b.sums(&EVERYTHING, 0, 10).1, "there are more than ten");
}

#[test]
fn buckets_of_any_width_add_up_to_the_root() {
    let mut tree = Tree::default();
    for n in 0..300_u64 {
        tree.put(id(1_700_000_000_000 + n * n * 100, n), leaf(n));
    }
    for shift in 0..48 {
        let (sums, more) = tree.sums(&EVERYTHING, shift, 1_000);
        assert!(!more);
        let mut all = Sum::default();
        sums.iter().for_each(|(_, sum)| all.join(*sum));
        assert_eq!(all, tree.root(), "{shift}");
    }
    let shift = tree.shift_for(&EVERYTHING, 256);
    assert!(tree.sums(&EVERYTHING, shift, 256).0.len() <= 256);
    assert!(tree.sums(&EVERYTHING, shift - 1, 1_000).0.len() > 128);
}
