use hansa_api::convert::id::order_to_bytes;

use super::*;

/// An id of ours is hex digits, and by chance they are all decimal ones that pass the Luhn check.
#[test]
fn a_key_that_looks_like_a_card_is_the_orders_all_the_same() {
    let order: OrderId = "01a20945-6874-8001-8030-000000000007".parse().unwrap();
    let key = crate::core::order::provider_key(order);
    assert!(looks_like_card(&key));
    let cancel = |key: &str| {
        let cancel = pb::CancelCharge { key: key.to_owned(), ..Default::default() };
        let repair = pb::Repair { action: Some(Wire::CancelCharge(cancel)) };
        let difference =
            pb::FoundDifference { order_id: order_to_bytes(order), ..Default::default() };
        let (difference, repair) = (Some(difference), Some(repair));
        action(&pb::PlanEntry { difference, repair, ..Default::default() })
    };
    assert!(matches!(cancel(&key), Ok(Action::CancelCharge { key: k, .. }) if k == key));
    let other = cancel("pay-01a20945-6874-8001-8030-000000000008").unwrap_err();
    assert_eq!(other.reason(), Reason::FieldInvalid);
}
