use std::collections::BTreeSet;

use clap::ValueEnum;
use hansa_api::pb::order::{ListOrdersRequest, ListOrdersResponse, Order, OrderState};

use super::show;
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Residence of the customer, ISO 3166-1 alpha-2.
    #[arg(long, default_value = "", requires = "customer")]
    country: String,
    /// Whose orders; without one, all of the region's (roles operator and auditor).
    #[arg(long, default_value = "", requires = "country")]
    customer: String,
    /// Only orders in this state.
    #[arg(long)]
    state: Option<State>,
    /// Orders of one page, at most 200.
    #[arg(long, default_value_t = 50)]
    page_size: i32,
    /// The page after the one that printed this token; of a customer who moved, each region has its
    /// own.
    #[arg(long, default_value = "")]
    page_token: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    Pending,
    Confirmed,
    Completed,
    Rejected,
    Cancelled,
    Parked,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let whole_region = args.customer.is_empty();
    let role = if whole_region { Role::Operator } else { Role::Storefront };
    let state = args.state.map_or(OrderState::Unspecified, State::wire);
    let request = ListOrdersRequest {
        residence_country: args.country,
        customer_id: args.customer,
        region: if whole_region { session.region() } else { String::new() },
        page_size: args.page_size,
        page_token: args.page_token,
        state: state.into(),
    };
    let listed = match request.page_token.split_once(AT) {
        // The rest of what another region has.
        Some((region, token)) => {
            let request = at(&request, region, token);
            from(ask(&session.in_region(region), role, request).await?, region)
        }
        None => {
            let home = ask(session, role, request.clone()).await?;
            match request.page_token.is_empty() {
                true => with_others(session, role, &request, home).await?,
                false => home,
            }
        }
    };
    output::print(session.format, "hansa.order.v1.ListOrdersResponse", &listed, |response| {
        show::list(&response.orders)
    })?;
    for token in listed.next_page_token.split(' ').filter(|token| !token.is_empty()) {
        eprintln!("more: --page-token {token}");
    }
    Ok(())
}

/// Between a region and the token of its page, where that is not the home.
const AT: char = '@';
/// Regions asked for the orders of one customer.
const REGIONS_MAX: usize = 16;

/// With the first pages of the regions that a customer moved from or to.
async fn with_others(
    session: &Session,
    role: Role,
    request: &ListOrdersRequest,
    home: ListOrdersResponse,
) -> Result<ListOrdersResponse, Problem> {
    let mut rest = home.also_in.clone();
    let (mut pages, mut asked) = (vec![home], BTreeSet::new());
    while let Some(region) = rest.pop().filter(|_| asked.len() < REGIONS_MAX) {
        if !asked.insert(region.clone()) {
            continue;
        }
        let page = ask(&session.in_region(&region), role, at(request, &region, "")).await;
        let page = page.map_err(|problem| {
            let what = format!("{region} does not say what he ordered there: {}", problem.text());
            Problem::unreachable(what, "the list is not whole; repeat it")
        })?;
        rest.extend(page.also_in.iter().cloned());
        pages.push(from(page, &region));
    }
    Ok(merged(pages))
}

async fn ask(
    session: &Session,
    role: Role,
    request: ListOrdersRequest,
) -> Result<ListOrdersResponse, Problem> {
    session
        .call(role, request, |mut services, request| async move {
            services.orders.list_orders(request).await
        })
        .await
}

fn at(request: &ListOrdersRequest, region: &str, token: &str) -> ListOrdersRequest {
    ListOrdersRequest {
        residence_country: String::new(),
        region: region.to_owned(),
        page_token: token.to_owned(),
        ..request.clone()
    }
}

/// Its next page is asked for there.
fn from(mut page: ListOrdersResponse, region: &str) -> ListOrdersResponse {
    if !page.next_page_token.is_empty() {
        page.next_page_token = format!("{region}{AT}{}", page.next_page_token);
    }
    page
}

/// Each order once, the newest first; a region that was asked twice says the same twice.
fn merged(pages: Vec<ListOrdersResponse>) -> ListOrdersResponse {
    let mut all = ListOrdersResponse::default();
    let (mut tokens, mut seen) = (Vec::new(), BTreeSet::new());
    for page in pages {
        tokens.extend(Some(page.next_page_token).filter(|token| !token.is_empty()));
        all.orders.extend(page.orders.into_iter().filter(|order| seen.insert(order.name.clone())));
    }
    let time = |order: &Order| order.create_time.map_or((0, 0), |at| (at.seconds, at.nanos));
    all.orders.sort_by_key(|order| std::cmp::Reverse((time(order), order.name.clone())));
    tokens.sort_unstable();
    tokens.dedup();
    all.next_page_token = tokens.join(" ");
    all
}

impl State {
    fn wire(self) -> OrderState {
        match self {
            Self::Pending => OrderState::Pending,
            Self::Confirmed => OrderState::Confirmed,
            Self::Completed => OrderState::Completed,
            Self::Rejected => OrderState::Rejected,
            Self::Cancelled => OrderState::Cancelled,
            Self::Parked => OrderState::Parked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(orders: &[(&str, i64)], token: &str) -> ListOrdersResponse {
        let orders = orders.iter().map(|(name, seconds)| {
            let create_time = Some(prost_types::Timestamp { seconds: *seconds, nanos: 0 });
            Order { name: (*name).to_owned(), create_time, ..Default::default() }
        });
        let next_page_token = token.to_owned();
        ListOrdersResponse { orders: orders.collect(), next_page_token, ..Default::default() }
    }

    #[test]
    fn who_moved_sees_each_of_his_orders_once_and_the_newest_first() {
        let home = page(&[("c", 3), ("a", 1)], "t-1");
        let away = from(page(&[("d", 4), ("c", 3), ("b", 2)], "t-2"), "eu-central");
        let all = merged(vec![home, away]);
        let names: Vec<_> = all.orders.iter().map(|order| order.name.as_str()).collect();
        assert_eq!(names, ["d", "c", "b", "a"]);
        assert_eq!(all.next_page_token, "eu-central@t-2 t-1");
        assert_eq!(merged(vec![page(&[], "")]).next_page_token, "");
    }
}
