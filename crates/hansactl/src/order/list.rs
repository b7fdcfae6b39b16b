use clap::ValueEnum;
use hansa_api::pb::order::{ListOrdersRequest, OrderState};

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
    /// The page after the one that printed this token.
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
    let response = session
        .call(role, request, |mut services, request| async move {
            services.orders.list_orders(request).await
        })
        .await?;
    output::print(session.format, "hansa.order.v1.ListOrdersResponse", &response, |response| {
        show::list(&response.orders)
    })?;
    if !response.next_page_token.is_empty() {
        eprintln!("more: --page-token {}", response.next_page_token);
    }
    Ok(())
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
