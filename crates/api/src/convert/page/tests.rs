use hansa_types::id::GroupKind;
use proptest::prelude::*;

use super::*;
use crate::pb::order::ListOrdersRequest;

fn query(customer: &str) -> ListOrdersRequest {
    ListOrdersRequest { customer_id: customer.into(), ..Default::default() }
}

fn read(size: i32, token: &str, customer: &str) -> Result<Page, Reason> {
    let mut checks = Checks::default();
    let page = Page::read(&mut checks, size, token, &query(customer));
    checks.done(page).map_err(|failure| failure.reason())
}

fn position(index: u16, key: &[u8]) -> Position {
    Position { group: GroupId::new(GroupKind::Orders, index), key: key.to_vec() }
}

#[test]
fn a_token_continues_its_own_query_only() {
    let first = read(0, "", "17850").unwrap();
    assert_eq!((first.size, first.after.len()), (50, 0));
    let token = first.next(&[position(0, b"abc"), position(1, b"")]).unwrap();
    let next = read(7, &token, "17850").unwrap();
    assert_eq!(next.size, 7);
    assert_eq!(next.after(GroupId::new(GroupKind::Orders, 0)), Some(&b"abc"[..]));
    assert_eq!(next.after(GroupId::new(GroupKind::Orders, 1)), Some(&b""[..]));
    assert_eq!(next.after(GroupId::new(GroupKind::Orders, 2)), None);
    assert_eq!(read(7, &token, "17851"), Err(Reason::PageTokenInvalid));
}

#[test]
fn sizes_are_bounded() {
    assert_eq!(read(1_000_000, "", "x").unwrap().size, 1_000);
    assert_eq!(read(-1, "", "x"), Err(Reason::PageSizeInvalid));
}

#[test]
fn damaged_tokens_are_refused() {
    let token = read(0, "", "x").unwrap().next(&[position(0, b"abc")]).unwrap();
    for bad in [&token[1..], &token[..token.len() - 2], "zz", "é", "0"] {
        assert_eq!(read(0, bad, "x"), Err(Reason::PageTokenInvalid), "{bad}");
    }
}

proptest! {
    #[test]
    fn arbitrary_tokens_never_panic(token in ".{0,60}", hex in "[0-9a-f]{0,80}") {
        let _ = read(0, &token, "x");
        let _ = read(0, &hex, "x");
    }

    #[test]
    fn positions_survive_their_token(keys in prop::collection::vec(any::<Vec<u8>>(), 0..5)) {
        let positions: Vec<Position> = keys.iter().enumerate()
            .map(|(n, key)| position(n as u16, &key[..key.len().min(255)])).collect();
        let token = read(0, "", "x").unwrap().next(&positions).unwrap();
        prop_assert_eq!(read(0, &token, "x").unwrap().after, positions);
    }
}
