//! Copies of orders in bytes that no store reads any more: pages that are free, engines that are
//! not ours.
//!
//! A view has its order's name in plain, three bytes and two lengths from its beginning. So every
//! whole view is found, wherever it lies.

use hansa_api::pb::replication::OrderView;
use hansa_types::id::OrderName;
use prost::Message as _;
use prost::encoding::decode_varint;

/// `regions/` and what follows is an order's name.
const NAME: &[u8] = b"regions/";
const FIRST_FIELD: u8 = 0x0a;
/// Fields of a view, by the tag they begin with: order, event_sequence, sealed, succession.
const TAGS: [u8; 4] = [0x0a, 0x10, 0x1a, 0x22];

/// Every view in `bytes`, with its offset.
pub fn views(bytes: &[u8]) -> Vec<(usize, OrderView)> {
    let mut found = Vec::new();
    for at in memchr::memmem::find_iter(bytes, NAME) {
        if let Some((start, view)) = view_around(bytes, at) {
            found.push((start, view));
        }
    }
    found
}

/// The view whose order's name begins at `name`.
fn view_around(bytes: &[u8], name: usize) -> Option<(usize, OrderView)> {
    // order: 0x0a, its length in up to five bytes; name: 0x0a, its length in one.
    let named = name.checked_sub(2).filter(|at| bytes[*at] == FIRST_FIELD)?;
    let length = usize::from(bytes[named + 1]);
    let text = std::str::from_utf8(bytes.get(name..name + length)?).ok()?;
    text.parse::<OrderName>().ok()?;
    for width in 1..=5 {
        let start = named.checked_sub(1 + width)?;
        if bytes[start] != FIRST_FIELD {
            continue;
        }
        let mut rest = &bytes[start + 1..named];
        let Ok(order) = decode_varint(&mut rest) else { continue };
        if !rest.is_empty() {
            continue;
        }
        let end = named.checked_add(usize::try_from(order).ok()?)?;
        if end > bytes.len() {
            continue;
        }
        if let Some(view) = longest(bytes, start, end) {
            return Some((start, view));
        }
    }
    None
}

/// The view from `start` on with all of its fields behind the order, which ends at `order_end`.
fn longest(bytes: &[u8], start: usize, order_end: usize) -> Option<OrderView> {
    let mut best = OrderView::decode(&bytes[start..order_end]).ok()?;
    let mut end = order_end;
    while let Some(next) = field_end(bytes, end) {
        match OrderView::decode(&bytes[start..next]) {
            Ok(view) => (best, end) = (view, next),
            Err(_) => break,
        }
    }
    Some(best)
}

fn field_end(bytes: &[u8], at: usize) -> Option<usize> {
    let tag = *bytes.get(at)?;
    if !TAGS[1..].contains(&tag) {
        return None;
    }
    let mut rest = bytes.get(at + 1..)?;
    let before = rest.len();
    let value = decode_varint(&mut rest).ok()?;
    let after = at + 1 + (before - rest.len());
    match tag {
        0x10 => Some(after),
        _ => after.checked_add(usize::try_from(value).ok()?).filter(|end| *end <= bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_api::pb::order::Order;
    use hansa_api::pb::replication::SealedBlock;
    use hansa_types::id::OrderId;
    use hansa_types::region::Slot;
    use hansa_types::time::LogTime;

    #[test]
    fn a_view_is_found_whole_among_other_bytes_and_nothing_else_is() {
        let id = OrderId::new(LogTime(5), 2.try_into().unwrap(), Slot::of(b"x"), 9);
        let name = OrderName { region: "us-east".parse().unwrap(), id }.to_string();
        for description in ["", "x", &"long ".repeat(4_000)] {
            let order = Order {
                name: name.clone(),
                cancel_reason: description.to_owned(),
                ..Order::default()
            };
            let sealed = SealedBlock { home: 2, generation: 1, ..SealedBlock::default() };
            let view = OrderView {
                order: Some(order),
                event_sequence: 3,
                sealed: Some(sealed),
                ..OrderView::default()
            };
            let bytes = [b"\x0a\xffnoise regions/".as_slice(), &view.encode_to_vec(), &[0; 99]];
            let found = views(&bytes.concat());
            assert_eq!(found, [(bytes[0].len(), view)], "{} bytes", description.len());
        }
        assert_eq!(views(b"\x0a\x20regions/eu-west/orders/none-at-all-"), []);
    }
}
