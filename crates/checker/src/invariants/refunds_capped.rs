//! Invariant 4: Refunded ≤ captured ≤ authorized, per payment, and the order and its payment say
//! the same.

use crate::verdict::Reason;

use super::Settled;

pub fn check(settled: Settled<'_>) -> Vec<Reason> {
    let mut wrong = Vec::new();
    let name = "4 refunds capped";
    for (order, seen, _) in settled.orders() {
        let payment = settled.state.payments.get(order).and_then(Option::as_ref);
        let paid = payment.map(|payment| payment.money);
        for money in paid.into_iter().chain(seen.money) {
            let capped = money.refunded <= money.captured && money.captured <= money.authorized;
            if !capped || money.refunded < 0 {
                wrong.push(Reason::new(name, order, format!("{money:?}")));
            }
        }
        if let (Some(paid), Some(shown)) = (paid, seen.money)
            && paid != shown
        {
            let what = format!("the order shows {shown:?}, its payment {paid:?}");
            wrong.push(Reason::new(name, order, what));
        }
    }
    wrong
}
