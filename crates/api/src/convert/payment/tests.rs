use super::*;
use crate::pb;

const ORDER: &str = "regions/eu-west/orders/0193482e-b400-8001-8000-000000000001";

#[test]
fn a_refund_is_of_more_than_nothing() {
    let refund = |units| {
        let amount = pb::Money { currency_code: "GBP".into(), units, nanos: 0 };
        RefundPayment::try_from(pb::payment::RefundPaymentRequest {
            order: ORDER.into(),
            request_id: "r1".into(),
            amount: Some(amount),
            reason: String::new(),
        })
        .map(|r| r.amount.minor)
        .map_err(|f| f.reason())
    };
    assert_eq!(refund(2), Ok(200));
    assert_eq!(refund(0), Err(Reason::MoneyInvalid));
    assert_eq!(refund(-2), Err(Reason::MoneyInvalid));
}

#[test]
fn entries_are_of_an_order_or_of_a_named_account() {
    let list = |order: &str, account: &str, currency: &str| {
        ListAccountEntries::try_from(pb::payment::ListAccountEntriesRequest {
            order: order.into(),
            account: account.into(),
            currency_code: currency.into(),
            ..Default::default()
        })
        .map(|list| list.of)
        .map_err(|failure| failure.reason())
    };
    assert_eq!(list(ORDER, "", ""), Ok(Account::Order(ORDER.parse().unwrap())));
    let merchant = Account::Named { name: AccountName::Merchant, currency: Currency::EUR };
    assert_eq!(list("", "merchant", "EUR"), Ok(merchant));
    assert_eq!(list(ORDER, "merchant", ""), Err(Reason::FieldInvalid));
    assert_eq!(list("", "", "EUR"), Err(Reason::FieldInvalid));
    assert_eq!(list("", "fees", "XXX"), Err(Reason::CurrencyUnknown));
}
