use std::collections::BTreeSet;

use hansa_api::pb::customer::export_customer_response::Item;
use hansa_api::pb::customer::{ExportCustomerRequest, ExportCustomerResponse, ExportSummary};
use tokio::time::timeout;

use super::Who;
use crate::args::Format;
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output::{self, Rows};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    who: Who,
}

/// Asks the home, then every other region that a summary names.
pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let who = &args.who;
    let request = ExportCustomerRequest {
        residence_country: who.country(),
        customer_id: who.customer(),
        order: who.order(),
        region: String::new(),
    };
    let mut orders = BTreeSet::new();
    let home = export(session, request, &mut orders).await?;
    let mut asked = BTreeSet::from([home.region.clone()]);
    let mut named: BTreeSet<String> = home.lawful_regions.into_iter().collect();
    // Who moved on may be known where only the region that he moved to knows of.
    while let Some(region) = named.difference(&asked).next().cloned() {
        let request = ExportCustomerRequest {
            customer_id: who.customer(),
            order: who.order(),
            region: region.clone(),
            ..Default::default()
        };
        let told = export(&session.in_region(&region), request, &mut orders).await;
        let told = told.map_err(|problem| {
            let what = format!("{region} did not tell what it knows: {}", problem.text());
            Problem::unreachable(what, "the export is not whole; repeat it")
        })?;
        asked.insert(region);
        named.extend(told.lawful_regions);
    }
    let asked: Vec<String> = asked.into_iter().collect();
    eprintln!("{} orders, asked {}", orders.len(), asked.join(" "));
    match orders.len() {
        0 => Err(Problem::not_found(
            "no lawful region knows the customer",
            "check the id and the country in which he lived when he ordered",
        )),
        _ => Ok(()),
    }
}

/// Prints one region's items as they come; `Err` unless its summary ends them. An order of somebody
/// who moved is told by both regions, and counts once.
async fn export(
    session: &Session,
    request: ExportCustomerRequest,
    orders: &mut BTreeSet<String>,
) -> Result<ExportSummary, Problem> {
    let mut customers = session.services(Role::Operator).await?.customers;
    let slow = || Problem::unreachable("the region fell silent", "repeat the export");
    let opened = timeout(session.timeout(), customers.export_customer(request)).await;
    let mut stream = opened.map_err(|_| slow())??.into_inner();
    loop {
        // Each item may take as long as an answer may; the whole takes what it takes.
        let item = timeout(session.timeout(), stream.message()).await.map_err(|_| slow())??;
        let Some(item) = item else {
            return Err(Problem::unreachable("the export ended early", "repeat it"));
        };
        // Lines are for programs, whatever is asked of other commands.
        output::print(Format::Json, "hansa.customer.v1.ExportCustomerResponse", &item, none)?;
        match item.item {
            Some(Item::Summary(summary)) => return Ok(summary),
            Some(Item::Order(exported)) => {
                orders.extend(exported.order.map(|order| order.name));
            }
            None => {}
        }
    }
}

fn none(_: &ExportCustomerResponse) -> Rows {
    Rows::new(&[], "")
}
