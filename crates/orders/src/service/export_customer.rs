//! ExportCustomer: what the region knows of a customer, one order at a time.

use std::sync::Arc;

use futures::{Stream, stream};
use hansa_api::convert::customer::ExportCustomer;
use hansa_api::pb::customer as wire;
use hansa_api::pb::customer::export_customer_response::Item;
use hansa_api::principal::Principal;
use hansa_api::status::{Failure, Reason};
use hansa_types::id::OrderId;
use tonic::{Request, Status};

use crate::core::subjects::SubjectId;
use crate::service::customer::{self, Found};
use crate::shell::{Hosted, Shell, deadline, personal};
use crate::wire as show;

pub async fn run(
    shell: Arc<Shell>,
    request: Request<wire::ExportCustomerRequest>,
) -> Result<impl Stream<Item = Result<wire::ExportCustomerResponse, Status>> + use<>, Failure> {
    let due = deadline(&request);
    Principal::of(&request)?;
    let asked = ExportCustomer::try_from(request.into_inner())?;
    let Found { hosted, subject, .. } = customer::find(&shell, &asked.person, due).await?;
    let hosted = hosted.clone();
    let orders: Vec<OrderId> = hosted.group.peek(|machine| {
        subject.map_or_else(Vec::new, |of| machine.state.subjects.orders_of(of).collect())
    });
    let residences = match subject {
        Some(of) => customer::residences(&hosted, of, asked.residence),
        None => asked.residence.into_iter().collect(),
    };
    let lawful = customer::lawful(&shell, residences)?;
    let count = orders.len();
    let export = Export { shell, hosted, subject, orders: orders.into_iter(), count, lawful };
    Ok(stream::unfold(Some(export), |export| async move {
        let mut export = export?;
        match export.next().await {
            Ok((item, more)) => {
                let answer = wire::ExportCustomerResponse { item: Some(item) };
                Some((Ok(answer), more.then_some(export)))
            }
            Err(failure) => Some((Err(failure.into()), None)),
        }
    }))
}

/// Holds ids only: each order is read when the stream has room for it.
struct Export {
    shell: Arc<Shell>,
    hosted: Arc<Hosted>,
    subject: Option<SubjectId>,
    orders: std::vec::IntoIter<OrderId>,
    count: usize,
    lawful: Vec<String>,
}

impl Export {
    /// The next item, and whether more follow.
    async fn next(&mut self) -> Result<(Item, bool), Failure> {
        if self.shell.closing.is_cancelled() {
            return Err(Failure::of(Reason::Unavailable));
        }
        let region = self.shell.region.to_string();
        let Some(id) = self.orders.next() else { return Ok((self.summary(region), false)) };
        let shell = &self.shell;
        let (mut order, payment) = self.hosted.look(id, |order, contents| {
            let payment = show::payment(shell, id, order, contents);
            (show::order(shell, id, order, contents), payment)
        })?;
        personal::reveal(shell, &self.hosted, id, &mut order, true).await?;
        Ok((Item::Order(wire::ExportedOrder { region, order: Some(order), payment }), true))
    }

    fn summary(&mut self, region: String) -> Item {
        let erased = self.hosted.group.peek(|machine| {
            let row = self.subject.and_then(|of| machine.state.subjects.table.get(&of));
            row.map_or(0, |row| row.erased.len())
        });
        Item::Summary(wire::ExportSummary {
            region,
            order_count: u32::try_from(self.count).unwrap_or(u32::MAX),
            erased_count: u32::try_from(erased).unwrap_or(u32::MAX),
            lawful_regions: std::mem::take(&mut self.lawful),
        })
    }
}
