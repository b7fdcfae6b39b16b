//! ListEntries: the posted transfers of one account, oldest first, from the view.

use hansa_api::convert::id::{order_to_bytes, transfer_from_bytes, transfer_to_bytes};
use hansa_api::pb::ledger as pb;
use hansa_api::pb::ledger::list_entries_request::Account;
use hansa_api::status::{Failure, Reason};
use hansa_types::id::AccountId;
use hansa_types::money::Currency;
use tonic::Request;

use super::groups::{Found, not_read};
use super::list_holds::page_size;
use super::{Shell, request, wire};
use crate::core::payments::{House, Movement, PaymentKey, Payments, currency_of, unit_of};
use crate::entries::{Entry, ListError};

pub async fn run(
    shell: &Shell,
    call: Request<pb::ListEntriesRequest>,
) -> Result<pb::ListEntriesResponse, Failure> {
    let deadline = request::deadline(&call);
    let asked = call.into_inner();
    let account = account(&asked)?;
    let after = asked.after.checked_sub(1);
    let Found::Payments(group, entries) = shell.group(asked.group)? else {
        return Err(Reason::Unavailable.into());
    };
    let next = |machine: &Payments| machine.kernel().journal().next();
    let reached = group.read(deadline, next).await.map_err(not_read)?;
    let max = page_size(asked.page_size);
    let listed = entries.list(account, after, max + 1, reached, deadline).await;
    let mut found = listed.map_err(|error| match error {
        ListError::Behind => Failure::of(Reason::ViewBehind),
        ListError::View(_) | ListError::Decode(_) => {
            tracing::warn!(group = %group.id(), %error, "account view cannot be read");
            Failure::of(Reason::ViewBehind)
        }
    })?;
    let more = found.len() > max;
    found.truncate(max);
    let entries =
        group.peek(|machine| found.iter().map(|found| entry(machine, found)).collect::<Vec<_>>());
    Ok(pb::ListEntriesResponse { entries, more })
}

fn account(asked: &pb::ListEntriesRequest) -> Result<AccountId, Failure> {
    match &asked.account {
        Some(Account::Payment(payment)) => {
            let id = transfer_from_bytes(payment).map_err(|_| Reason::FieldInvalid)?;
            Ok(PaymentKey(u128::from_be_bytes(id.to_bytes())).account())
        }
        Some(Account::Name(name)) => {
            let house = House::by_name(name).ok_or(Reason::AccountNotFound)?;
            let currency =
                asked.currency.parse::<Currency>().map_err(|_| Reason::CurrencyUnknown)?;
            Ok(house.account(unit_of(currency)))
        }
        None => Err(Failure::field(Reason::FieldEmpty, "account", "a payment or a name")),
    }
}

fn entry(machine: &Payments, Entry { number, posting }: &Entry) -> pb::Entry {
    let account = machine.kernel().books().account(&posting.debit);
    let currency = account.and_then(|account| currency_of(account.unit));
    let order = machine.order_of(&PaymentKey(posting.reference.0));
    pb::Entry {
        id: transfer_to_bytes(posting.id),
        debit_account: name(posting.debit),
        credit_account: name(posting.credit),
        amount_minor: wire::minor(posting.amount),
        currency: currency.map(|currency| currency.to_string()).unwrap_or_default(),
        code: Movement::from_code(posting.code).map_or("", Movement::as_str).to_owned(),
        pending: false,
        order: order.map(order_to_bytes).unwrap_or_default(),
        log_time_ms: posting.at.ms(),
        number: number + 1,
    }
}

/// An account as people call it.
fn name(account: AccountId) -> String {
    match House::of_account(account) {
        Some((house, _)) => house.as_str().to_owned(),
        None => format!("payment/{account}"),
    }
}
