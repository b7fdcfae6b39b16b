//! GetPaymentAccounts: the books of payments, read linearizably.

use bytes::Bytes;
use hansa_api::convert::id::{order_to_bytes, transfer_from_bytes};
use hansa_api::pb::ledger as pb;
use hansa_api::status::{Failure, Reason};
use tonic::Request;

use super::groups::{Found, not_read};
use super::list_holds::PAGE_MAX;
use super::{Shell, request, wire};
use crate::core::payments::{PaymentBooks, PaymentKey, Payments};

pub async fn run(
    shell: &Shell,
    call: Request<pb::GetPaymentAccountsRequest>,
) -> Result<pb::GetPaymentAccountsResponse, Failure> {
    let deadline = request::deadline(&call);
    let asked = call.into_inner();
    if asked.payments.len() > PAGE_MAX as usize {
        return Err(Reason::MessageTooLarge.into());
    }
    let key = |bytes: &Bytes| {
        let id = transfer_from_bytes(bytes).map_err(|_| Failure::of(Reason::FieldInvalid))?;
        Ok(PaymentKey(u128::from_be_bytes(id.to_bytes())))
    };
    let keys: Vec<PaymentKey> = asked.payments.iter().map(key).collect::<Result<_, Failure>>()?;
    let Found::Payments(group, _) = shell.group(asked.group)? else {
        return Err(Reason::Unavailable.into());
    };
    let look = |machine: &Payments| {
        let books = |key: &PaymentKey| Some((*key, machine.payment(key)?));
        keys.iter().filter_map(books).collect::<Vec<_>>()
    };
    let found = group.read(deadline, look).await.map_err(not_read)?;
    let accounts = found.into_iter().map(|(key, books)| accounts(key, &books)).collect();
    Ok(pb::GetPaymentAccountsResponse { accounts })
}

fn accounts(key: PaymentKey, books: &PaymentBooks) -> pb::PaymentAccounts {
    pb::PaymentAccounts {
        payment: Bytes::copy_from_slice(&key.to_bytes()),
        order: order_to_bytes(books.order),
        currency: books.currency.to_string(),
        authorized_minor: wire::minor(books.authorized),
        captured_minor: wire::minor(books.captured),
        refunded_minor: wire::minor(books.refunded),
        held_minor: wire::minor(books.held),
    }
}
