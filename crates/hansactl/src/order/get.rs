use hansa_api::pb::order::{GetOrderRequest, ReadMode};

use super::show;
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// regions/<region>/orders/<uuid>
    order: String,
    /// Read the copy of the region that is asked; says on stderr how stale it may be.
    #[arg(long)]
    local_copy: bool,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let read = if args.local_copy { ReadMode::LocalCopy } else { ReadMode::Linearizable };
    let request = GetOrderRequest { order: args.order, read: read.into() };
    let response = session
        .call(Role::Storefront, request, |mut services, request| async move {
            services.orders.get_order(request).await
        })
        .await?;
    if let Some(copy) = &response.staleness {
        eprintln!("a copy in {}, {} ms behind at most", copy.region, copy.lag_ms);
    }
    output::print(session.format, "hansa.order.v1.GetOrderResponse", &response, |response| {
        show::facts(response.order.as_ref())
    })
}
