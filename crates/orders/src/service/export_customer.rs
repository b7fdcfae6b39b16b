//! ExportCustomer: what the region knows of a customer, one order at a time.

use std::sync::Arc;

use futures::{Stream, stream};
use hansa_api::convert::customer::ExportCustomer;
use hansa_api::pb::customer as wire;
use hansa_api::pb::customer::export_customer_response::Item;
use hansa_api::pb::order as orders;
use hansa_api::principal::Principal;
use hansa_api::status::{Failure, Reason};
use hansa_types::id::OrderId;
use tonic::{Request, Status};

use crate::core::state::State;
use crate::core::subjects::SubjectId;
use crate::service::customer::{self, Found};
use crate::service::get_order;
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
        let State { subjects, moves, contents, .. } = &machine.state;
        let known = |of| {
            // An order that came without its block is another region's customer's here.
            let own = |id: &OrderId| contents.get(id).is_some_and(|c| c.sealed_with.subject == of);
            let kept = moves.kept_of(of).filter(|id| !own(id));
            subjects.orders_of(of).chain(kept).collect()
        };
        subject.map_or_else(Vec::new, known)
    });
    let residences = match subject {
        Some(of) => customer::residences(&hosted, of, asked.residence),
        None => asked.residence.into_iter().collect(),
    };
    let lawful = customer::lawful(&shell, (&hosted, subject), residences)?;
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

/// Of an order of which this region has no copy.
fn named(shell: &Shell, id: OrderId) -> orders::Order {
    orders::Order { name: shell.map.name_of(id), ..Default::default() }
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
        let found = self.hosted.look(id, |order, contents| {
            let payment = show::payment(shell, id, order, contents);
            (show::order(shell, id, order, contents), payment)
        });
        let (mut order, payment) = match found {
            // Another region's, of which he brought along what is personal.
            Err(_) => (get_order::copy(shell, id).unwrap_or_else(|_| named(shell, id)), None),
            Ok(found) => found,
        };
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
