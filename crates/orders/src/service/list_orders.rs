//! ListOrders: a customer's orders, newest first; for operators, a region's.

use std::cmp::Reverse;
use std::sync::Arc;

use hansa_api::convert::order::ListOrders;
use hansa_api::convert::page::Position;
use hansa_api::pb::order as wire;
use hansa_api::principal::{Principal, Role};
use hansa_api::status::{Failure, Reason};
use hansa_consensus::ReadError;
use hansa_types::id::{GroupId, GroupKind};
use hansa_types::region::Slot;
use tokio::time::Instant;
use tonic::Request;

use crate::core::state::listing::{Listed, Of};
use crate::shell::{Hosted, Shell, answer_by, deadline, not_read, personal};
use crate::wire as show;

/// Orders looked at for one page: a filter that nothing passes must not scan for ever.
const SCAN_MAX: usize = 10_000;
/// Bytes of one page: clients take no message above 4 MiB unless told to.
const PAGE_BYTES_MAX: usize = 2 << 20;
/// Orders of one page; the wire says so.
const PAGE_MAX: usize = 200;

pub async fn run(
    shell: &Shell,
    request: Request<wire::ListOrdersRequest>,
) -> Result<wire::ListOrdersResponse, Failure> {
    let due = deadline(&request);
    let principal = Principal::of(&request)?.clone();
    let mut list = ListOrders::try_from(request.into_inner())?;
    list.page.size = list.page.size.min(PAGE_MAX);
    if list.customer_id.is_none() {
        // A whole region's orders are for those who look after it.
        principal.require(&[Role::Operator, Role::Auditor])?;
    }
    let groups = groups(shell, &list)?;
    for hosted in &groups {
        wait(hosted, groups.len() > 1, answer_by(due)).await?;
    }
    let of = match &list.customer_id {
        Some(customer) => Of::Customer(personal::customer(shell, customer)?),
        None => Of::Everybody,
    };
    let mut columns = Vec::new();
    for hosted in &groups {
        columns.push(column(hosted, of, &list).await?);
    }
    let mut answer = merge(shell, columns, &list).await?;
    answer.also_in = also_in(shell, &groups, of);
    Ok(answer)
}

/// Where else orders of a customer are who has moved.
fn also_in(shell: &Shell, groups: &[Arc<Hosted>], of: Of) -> Vec<String> {
    let (Of::Customer(subject), [hosted]) = (of, groups) else { return Vec::new() };
    let lived = hosted.group.peek(|machine| {
        let row = machine.state.moves.get(subject);
        row.map_or_else(Vec::new, |row| row.lived.clone())
    });
    let others = lived.into_iter().filter(|number| *number != shell.number);
    others.filter_map(|number| Some(shell.map.region_name(number)?.to_string())).collect()
}

fn groups(shell: &Shell, list: &ListOrders) -> Result<Vec<Arc<Hosted>>, Failure> {
    match &list.customer_id {
        Some(customer) => {
            let slot = Slot::of(customer.as_str().as_bytes());
            let hosted = shell.hosted(shell.map.orders_group(slot)?)?;
            Ok(vec![hosted.clone()])
        }
        None => whole_region(shell),
    }
}

/// Every orders group of the region, or a refusal: rows must not be missing without a word.
fn whole_region(shell: &Shell) -> Result<Vec<Arc<Hosted>>, Failure> {
    let now = shell.map.now()?;
    let all = now.groups.iter().filter(|(group, _)| group.kind() == GroupKind::Orders);
    let (mut hosted, mut absent) = (Vec::new(), Vec::new());
    for (group, members) in all {
        // A replica that waits to be a member holds nothing yet.
        match shell.groups.get(&group.index()) {
            Some(here) if members.contains(&here.group.node()) => hosted.push(here.clone()),
            None if shell.host.stopped(*group).is_some() => {
                return Err(Failure::of(Reason::GroupStopped));
            }
            _ => absent.push(group.to_string()),
        }
    }
    if absent.is_empty() {
        return Ok(hosted);
    }
    let why = "this node hosts a part of the region's orders groups only: ask a node that hosts \
               all of them, or list by customer_id";
    Err(Failure::new(Reason::Unavailable, why).with("absent_groups", absent.join(",")))
}

/// Waits until this node has all that was acknowledged before this call.
///
/// A listing over several groups is as fresh as this node where another node leads: no node leads
/// them all.
async fn wait(hosted: &Hosted, several: bool, due: Instant) -> Result<(), Failure> {
    match hosted.group.read(due, |_| ()).await {
        Err(ReadError::NotLeader { .. }) if several => Ok(()),
        read => read.map_err(not_read),
    }
}

/// The order at which a group's part of the last page ended.
fn turned(key: &[u8]) -> Result<Listed, Failure> {
    Listed::from_bytes(key).ok_or_else(|| Failure::of(Reason::PageTokenInvalid))
}

/// One group's share of a page, newest first.
struct Column {
    group: GroupId,
    hosted: Arc<Hosted>,
    rows: Vec<Listed>,
    /// The last order that was looked at, and whether more may follow.
    last: Option<Listed>,
    more: bool,
}

async fn column(hosted: &Arc<Hosted>, of: Of, list: &ListOrders) -> Result<Column, Failure> {
    let group = hosted.group.id();
    let mut last = list.page.after(group).map(turned).transpose()?;
    let (mut rows, mut seen, mut more) = (Vec::new(), 0, true);
    while more && rows.len() < list.page.size && seen < SCAN_MAX {
        // The last of a page and the first behind it; with a filter, what is soon looked through.
        let limit = if list.state.is_none() { list.page.size + 1 } else { PAGE_MAX + 1 };
        let found = hosted.group.peek(|machine| machine.state.listed(of, last, limit));
        let count = found.len();
        more = count == limit;
        seen += count;
        for (nth, (row, status)) in (1..).zip(found) {
            last = Some(row);
            if list.state.is_none_or(|wanted| wanted == show::order_state(status)) {
                rows.push(row);
            }
            if rows.len() == list.page.size {
                more |= nth < count;
                break;
            }
        }
        // Others want the machine, and this thread, too.
        tokio::task::yield_now().await;
    }
    Ok(Column { group, hosted: hosted.clone(), rows, last, more })
}

async fn merge(
    shell: &Shell,
    columns: Vec<Column>,
    list: &ListOrders,
) -> Result<wire::ListOrdersResponse, Failure> {
    let mut rows: Vec<(usize, &Listed)> = Vec::new();
    for (n, column) in columns.iter().enumerate() {
        rows.extend(column.rows.iter().map(|row| (n, row)));
    }
    rows.sort_by_key(|(_, row)| Reverse(**row));
    let mut full = rows.len() >= list.page.size;
    rows.truncate(list.page.size);
    let (mut orders, mut bytes, mut shown) = (Vec::with_capacity(rows.len()), 0, 0);
    for (n, row) in &rows {
        let hosted = &columns[*n].hosted;
        let order =
            hosted.look(row.id(), |order, contents| show::order(shell, row.id(), order, contents));
        let Ok(mut order) = order else {
            shown += 1;
            continue;
        };
        personal::reveal(shell, hosted, row.id(), &mut order, false).await?;
        bytes += prost::Message::encoded_len(&order);
        if bytes > PAGE_BYTES_MAX && shown > 0 {
            full = true;
            break;
        }
        shown += 1;
        orders.push(order);
    }
    rows.truncate(shown);
    let mut positions = Vec::new();
    let mut more = full;
    for (n, column) in columns.iter().enumerate() {
        more |= column.more;
        let mut mine = rows.iter().filter(|(m, _)| *m == n);
        let taken = mine.clone().count() == column.rows.len();
        let key = match mine.next_back() {
            // All of its rows are in: also what the filter passed over is done with.
            _ if taken => column.last,
            Some((_, row)) => Some(**row),
            None => list.page.after(column.group).map(turned).transpose()?,
        };
        let key = key.map(|row| row.to_bytes().to_vec());
        positions.extend(key.map(|key| Position { group: column.group, key }));
    }
    let next_page_token = if more { list.page.next(&positions)? } else { String::new() };
    Ok(wire::ListOrdersResponse { orders, next_page_token, ..Default::default() })
}
