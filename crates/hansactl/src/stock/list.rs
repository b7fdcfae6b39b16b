use hansa_api::pb::inventory::ListStockRequest;

use super::show;
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// All warehouses when not given.
    #[arg(long, default_value = "")]
    warehouse: String,
    /// Rows of one page, at most 1000.
    #[arg(long, default_value_t = 100)]
    page_size: i32,
    /// The page after the one that printed this token.
    #[arg(long, default_value = "")]
    page_token: String,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let request = ListStockRequest {
        region: session.region(),
        page_size: args.page_size,
        page_token: args.page_token,
        warehouse: args.warehouse,
    };
    let response = session
        .call(Role::Warehouse, request, |mut services, request| async move {
            services.inventory.list_stock(request).await
        })
        .await?;
    let name = "hansa.inventory.v1.ListStockResponse";
    output::print(session.format, name, &response, |response| show::rows(&response.stocks))?;
    if !response.next_page_token.is_empty() {
        eprintln!("more: --page-token {}", response.next_page_token);
    }
    Ok(())
}
