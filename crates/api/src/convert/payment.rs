//! Checked requests of PaymentService.

use hansa_types::id::{OrderName, RequestId};
use hansa_types::money::{Currency, Money};
use hansa_types::region::RegionName;

use super::Checks;
use super::page::Page;
use crate::pb::payment as pb;
use crate::status::{Failure, Reason};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetPayment {
    pub order: OrderName,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundPayment {
    pub order: OrderName,
    pub request_id: RequestId,
    /// More than zero.
    pub amount: Money,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListAccountEntries {
    pub of: Account,
    pub region: Option<RegionName>,
    pub page: Page,
}

/// Whose entries are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// Of an order's payment.
    Order(OrderName),
    /// Of a region's own account.
    Named { name: AccountName, currency: Currency },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountName {
    Clearing,
    Merchant,
    Fees,
    Refunds,
}

impl AccountName {
    pub const ALL: [Self; 4] = [Self::Clearing, Self::Merchant, Self::Fees, Self::Refunds];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clearing => "clearing",
            Self::Merchant => "merchant",
            Self::Fees => "fees",
            Self::Refunds => "refunds",
        }
    }
}

impl TryFrom<pb::GetPaymentRequest> for GetPayment {
    type Error = Failure;
    fn try_from(request: pb::GetPaymentRequest) -> Result<Self, Failure> {
        let mut checks = Checks::begin(&request)?;
        let order = checks.required("order", &request.order);
        checks.done(order.map(|order| Self { order }))
    }
}

impl TryFrom<pb::RefundPaymentRequest> for RefundPayment {
    type Error = Failure;
    fn try_from(request: pb::RefundPaymentRequest) -> Result<Self, Failure> {
        let mut checks = Checks::begin(&request)?;
        let order = checks.required("order", &request.order);
        let request_id = checks.request_id(&request.request_id);
        let amount = checks.money("amount", request.amount.as_ref());
        if amount.is_some_and(|amount| amount.minor <= 0) {
            checks.refuse(Reason::MoneyInvalid, "amount", "more than zero");
        }
        checks.text("reason", &request.reason);
        let reason = request.reason;
        let value = (|| {
            let (order, request_id) = (order?, request_id?);
            Some(Self { order, request_id, amount: amount?, reason })
        })();
        checks.done(value)
    }
}

impl TryFrom<pb::ListAccountEntriesRequest> for ListAccountEntries {
    type Error = Failure;
    fn try_from(mut request: pb::ListAccountEntriesRequest) -> Result<Self, Failure> {
        let mut checks = Checks::begin(&request)?;
        let token = std::mem::take(&mut request.page_token);
        let size = std::mem::take(&mut request.page_size);
        let page = Page::read(&mut checks, size, &token, &request);
        let region = checks.optional("region", &request.region);
        let of = account(&mut checks, &request);
        let value = (|| Some(Self { of: of?, region: region?, page: page? }))();
        checks.done(value)
    }
}

fn account(checks: &mut Checks, request: &pb::ListAccountEntriesRequest) -> Option<Account> {
    if !request.order.is_empty() {
        if !request.account.is_empty() {
            checks.refuse(Reason::FieldInvalid, "account", "empty when order is set");
        }
        return checks.required("order", &request.order).map(Account::Order);
    }
    let name = AccountName::ALL.into_iter().find(|name| name.as_str() == request.account);
    if name.is_none() {
        let why = "clearing, merchant, fees or refunds, unless order is set";
        checks.refuse(Reason::FieldInvalid, "account", why);
    }
    let currency = checks.required("currency_code", &request.currency_code);
    Some(Account::Named { name: name?, currency: currency? })
}

#[cfg(test)]
mod tests;
