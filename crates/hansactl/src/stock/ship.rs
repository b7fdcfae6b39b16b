use hansa_api::pb::inventory::{RecordShipmentRequest, RecordShipmentResponse};

use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output::{self, Rows};
use crate::values;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// regions/<region>/orders/<uuid>; all that it has committed is shipped.
    order: String,
    #[arg(long, default_value = "")]
    warehouse: String,
    #[arg(long, default_value = "")]
    carrier: String,
    #[arg(long, default_value = "")]
    tracking_code: String,
    /// Repeat an earlier command safely; a new one is made and printed when not given.
    #[arg(long)]
    request_id: Option<String>,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let request = RecordShipmentRequest {
        order: args.order,
        request_id: values::request_id(args.request_id),
        region: String::new(),
        lines: Vec::new(),
        warehouse: args.warehouse,
        carrier: args.carrier,
        tracking_code: args.tracking_code,
    };
    let response = session
        .call(Role::Warehouse, request, |mut services, request| async move {
            services.inventory.record_shipment(request).await
        })
        .await?;
    output::print(session.format, "hansa.inventory.v1.RecordShipmentResponse", &response, rows)
}

fn rows(response: &RecordShipmentResponse) -> Rows {
    let mut rows = Rows::new(&["line", "sku", "shipped"], "nothing was left to ship");
    for line in &response.lines {
        rows.add([line.line.to_string(), line.sku.clone(), line.quantity.to_string()]);
    }
    rows
}
