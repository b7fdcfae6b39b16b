//! The orders of `orders`, over one `PlaceOrders` stream for each client.

use std::sync::Arc;

use hansa_api::client::{Placing, ToPlace};
use hansa_api::pb::order::OrderState;
use hansa_node::tasks::OnError;
use serde_json::json;

use super::Outcome;
use super::orders::Orders;
use crate::bench::{Bench, Run};
use crate::cli;
use crate::load::{CALL_MAX, Drive, Work};
use crate::record::{Done, Refusal};
use crate::region::Region;

/// Orders over one stream.
struct Streamed {
    orders: Arc<Orders>,
    stream: Placing,
}

impl Streamed {
    /// So many streams, over these connections by turns.
    fn over(bench: &Bench, connections: &[Arc<Orders>], streams: usize) -> Vec<Arc<Self>> {
        let open = |orders: &Arc<Orders>| {
            let (stream, run) = Placing::new(orders.services.orders.clone());
            bench.tasks.spawn("orders-stream", OnError::Log, run);
            Arc::new(Self { orders: orders.clone(), stream })
        };
        connections.iter().cycle().take(streams.max(1)).map(open).collect()
    }
}

impl Work for Streamed {
    async fn one(&self, number: u64) -> Done {
        let order = self.orders.order(number);
        let asked = ToPlace { order, timeout: CALL_MAX, first_sent_ms: 0 };
        // The stream keeps the time, as a call's own client does.
        let answer = self.stream.place(asked).await?;
        let order = answer.order.unwrap_or_default();
        match order.state() {
            OrderState::Confirmed => Ok(1),
            other => Err(Refusal::named(other.as_str_name())),
        }
    }
}

/// # Errors
/// A region that does not start.
pub async fn run(bench: &Bench, args: &cli::OrdersStream) -> anyhow::Result<Outcome> {
    let cli::OrdersStream { orders: cli::Orders { load, skus }, window, beside } = args;
    let region = Region::open(&bench.common, bench.folder()).await?;
    region.stock(*skus).await?;
    let times = (load.times.warms_up(), load.times.lasts());
    let seeds = (*skus, bench.common.seed);
    let connections = Orders::over(&region, load.times.connections, seeds).await?;
    let (mut runs, mut notes, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for (name, drive) in load.drives(bench.common.seed)? {
        if let Some(clients) = *beside {
            let name = format!("calls of {clients} clients");
            let (what, drive) = ((name.as_str(), "orders"), Drive::Closed { clients });
            runs.push(bench.measure(what, &connections, &drive, times, &region.watched).await);
        }
        let (name, streams, drive) = match drive {
            Drive::Closed { clients } => {
                let name = format!("{name} of {window}");
                (name, clients, Drive::Closed { clients: clients * window })
            }
            open => (name, connections.len(), open),
        };
        let streams = Streamed::over(bench, &connections, streams);
        let what = (name.as_str(), "orders");
        runs.push(bench.measure(what, &streams, &drive, times, &region.watched).await);
        if let (Some(_), [.., calls, streamed]) = (*beside, &runs[..]) {
            let ratio = Ratio::of(calls, streamed);
            notes.push(ratio.note(calls, streamed));
            ratios.push(json!({ "orders": ratio.orders, "cpu": ratio.cpu }));
        }
    }
    drop(connections);
    region.stop().await;
    Ok(Outcome { runs, notes, more: json!({ "beside_calls": ratios }) })
}

/// What streams do beside calls, in one region and one after the other.
struct Ratio {
    orders: f64,
    cpu: f64,
}

impl Ratio {
    fn of(calls: &Run, streamed: &Run) -> Self {
        let rate = |run: &Run| run.phases.iter().map(|phase| phase.rate).sum::<f64>();
        let cpu = |run: &Run| {
            let used = run.cost.processes.iter().map(|used| used.cpu_seconds).sum::<f64>();
            used / (run.done() as f64).max(1.0)
        };
        let per = |this: f64, that: f64| this / that.max(f64::MIN_POSITIVE);
        Self { orders: per(rate(streamed), rate(calls)), cpu: per(cpu(streamed), cpu(calls)) }
    }

    fn note(&self, calls: &Run, streamed: &Run) -> String {
        format!(
            "{}: {:.2} times the orders of the {} before, {:.2} times the CPU of each",
            streamed.name, self.orders, calls.name, self.cpu
        )
    }
}
