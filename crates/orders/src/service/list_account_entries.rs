//! ListAccountEntries: what the payment books say of an order, or of one of their own accounts.

use hansa_api::convert::id::{order_from_bytes, transfer_to_bytes};
use hansa_api::convert::page::Position;
use hansa_api::convert::payment::{Account, ListAccountEntries};
use hansa_api::convert::time::from_ms;
use hansa_api::pb::ledger as books;
use hansa_api::pb::ledger::list_entries_request::Account as Of;
use hansa_api::pb::payment as wire;
use hansa_api::status::{Failure, Reason};
use hansa_types::id::{GroupId, GroupKind};
use hansa_types::money::Currency;
use tokio::time::Instant;
use tonic::Request;

use crate::shell::{Shell, deadline, ledger};
use crate::wire as show;

pub async fn run(
    shell: &Shell,
    request: Request<wire::ListAccountEntriesRequest>,
) -> Result<wire::ListAccountEntriesResponse, Failure> {
    let due = deadline(&request);
    let list = ListAccountEntries::try_from(request.into_inner())?;
    let (groups, of, currency) = target(shell, &list, due).await?;
    let mut entries = Vec::new();
    let mut positions = list.page.after.clone();
    // Group after group: each group's accounts are its own, so there is no order between them.
    for group in groups {
        let room = list.page.size - entries.len();
        if room == 0 {
            return page(&list, entries, &positions);
        }
        let after = list.page.after(group).map(number).transpose()?;
        let question = books::ListEntriesRequest {
            group: group.number(),
            account: Some(of.clone()),
            currency: currency.map_or_else(String::new, |c| c.as_str().to_owned()),
            after: after.unwrap_or_default(),
            page_size: u32::try_from(room).unwrap_or(u32::MAX),
        };
        let fetch = |mut client: ledger::Client, ask| async move { client.list_entries(ask).await };
        let found: books::ListEntriesResponse =
            ledger::ask(shell, group, question, due, fetch).await?;
        if let Some(last) = found.entries.last() {
            positions.retain(|position| position.group != group);
            positions.push(Position { group, key: last.number.to_be_bytes().to_vec() });
        }
        entries.extend(found.entries.into_iter().map(|entry| entry_of(shell, entry)));
        if found.more {
            return page(&list, entries, &positions);
        }
    }
    Ok(wire::ListAccountEntriesResponse { entries, next_page_token: String::new() })
}

/// What a page token carries of a group: the number of the last entry shown.
fn number(key: &[u8]) -> Result<u64, Failure> {
    let bytes = key.try_into().map_err(|_| Reason::PageTokenInvalid)?;
    Ok(u64::from_be_bytes(bytes))
}

fn page(
    list: &ListAccountEntries,
    entries: Vec<wire::AccountEntry>,
    positions: &[Position],
) -> Result<wire::ListAccountEntriesResponse, Failure> {
    let next_page_token = list.page.next(positions)?;
    Ok(wire::ListAccountEntriesResponse { entries, next_page_token })
}

type Target = (Vec<GroupId>, Of, Option<Currency>);

async fn target(shell: &Shell, list: &ListAccountEntries, due: Instant) -> Result<Target, Failure> {
    match &list.of {
        Account::Order(name) => {
            let (id, hosted) = shell.find(name)?;
            shell.adopt_first(hosted, id, due).await?;
            let look = |order: &crate::core::order::Order,
                        contents: &crate::core::contents::Contents| {
                (order.money.payment, contents.payment_group)
            };
            let (payment, group) = hosted.read(id, due, look).await?;
            let payment = payment.ok_or_else(|| Failure::of(Reason::PaymentNotFound))?;
            let group = GroupId::new(GroupKind::Payments, group);
            Ok((vec![group], Of::Payment(transfer_to_bytes(payment)), None))
        }
        Account::Named { name, currency } => {
            let now = shell.map.now()?;
            let groups = now.groups.keys().copied();
            let groups = groups.filter(|group| group.kind() == GroupKind::Payments).collect();
            Ok((groups, Of::Name(name.as_str().to_owned()), Some(*currency)))
        }
    }
}

fn entry_of(shell: &Shell, entry: books::Entry) -> wire::AccountEntry {
    let currency = entry.currency.parse::<Currency>().ok();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    wire::AccountEntry {
        transfer: hex(&entry.id),
        debit_account: entry.debit_account,
        credit_account: entry.credit_account,
        amount: currency.and_then(|currency| show::money(entry.amount_minor, currency)),
        code: entry.code,
        pending: entry.pending,
        entry_time: Some(from_ms(entry.log_time_ms)),
        order: order_from_bytes(&entry.order)
            .map_or_else(|_| String::new(), |id| shell.map.name_of(id)),
    }
}
