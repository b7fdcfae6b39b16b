//! What an order costs as one thing grows; each point is measured in a region of its own, filled
//! first.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use hansa_api::pb::order::{WatchOrderRequest, WatchOrderResponse};
use hansa_tests::usage::Process;
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::Streaming;

use super::Outcome;
use super::orders::Orders;
use crate::bench::{Bench, Run};
use crate::cli::{self, Axis};
use crate::load::{CALL_MAX, Drive};
use crate::region::{Region, Size};
use crate::report;

/// SKUs with stock, where they are not what grows.
const SKUS: u64 = 10_000;
/// Orders that are watched: each by several, when there are more watchers.
const WATCHED: u64 = 1_000;
/// Calls under way while a region is filled.
const FILLING: usize = 256;
/// Tries of each.
const TRIES: usize = 50;
const PAUSE: Duration = Duration::from_millis(100);
/// Watch streams on one connection: fewer than a listener lets it have.
const STREAMS: u64 = 200;

/// One size, and what came of it.
struct Point {
    count: u64,
    /// Of all nodes, after it was filled and before the load.
    memory: u64,
    run: Run,
}

/// # Errors
/// A region that does not start or cannot be filled.
pub async fn run(bench: &Bench, args: &cli::Scale) -> anyhow::Result<Outcome> {
    ensure!(bench.common.profile.is_none(), "each point needs a region of its own, not --profile");
    let mut points = Vec::new();
    for count in args.points() {
        let folder = bench.folder().join(format!("scale-{count}"));
        points.push(point(bench, args, (count, &folder)).await?);
        std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    let notes = vec![table(args, &points)];
    let more = points.iter().map(|point| more(args, point)).collect::<Vec<_>>();
    let runs = points.into_iter().map(|point| point.run).collect();
    Ok(Outcome { runs, notes, more: Value::Array(more) })
}

async fn point(
    bench: &Bench,
    args: &cli::Scale,
    (count, folder): (u64, &PathBuf),
) -> anyhow::Result<Point> {
    let groups = if args.axis == Axis::Groups { u16::try_from(count)? } else { 1 };
    let size = Size { replicas: args.replicas.max(1), groups };
    let region = Region::start(&bench.common, folder, size).await?;
    let skus = if args.axis == Axis::Skus { count } else { SKUS };
    eprintln!("{count} {}: {skus} SKUs", name(args.axis));
    region.stock(skus).await?;
    let with = (skus, bench.common.seed);
    let orders = Orders::over(&region, args.times.connections, with).await?;
    let watching = match args.axis {
        Axis::Skus | Axis::Groups => Vec::new(),
        Axis::Orders => {
            placed(&orders, count).await?;
            Vec::new()
        }
        Axis::Watchers => {
            let names = placed(&orders, WATCHED.min(count)).await?;
            watch(&region, &names, count).await?
        }
    };
    let nodes = region.watched.iter().map(|node| Process::of(node.pid).memory);
    let memory = nodes.sum();
    let drive = Drive::Closed { clients: args.clients.max(1) };
    let what = format!("{count} {}", name(args.axis));
    let lasts = (args.times.warms_up(), args.times.lasts());
    let run = bench.measure((&what, "orders"), &orders, &drive, lasts, &region.watched).await;
    drop((orders, watching));
    region.stop().await;
    Ok(Point { count, memory, run })
}

/// Places so many orders and tells their names.
async fn placed(orders: &[Arc<Orders>], count: u64) -> anyhow::Result<Vec<String>> {
    let tenth = (count / 10).max(1);
    let one = |number: u64| async move {
        if number.is_multiple_of(tenth) {
            eprintln!("{number} of {count} orders");
        }
        let mut tries = 0;
        loop {
            let by = &orders[(number as usize + tries) % orders.len()];
            match by.place(number).await {
                Ok(name) => return Ok(name),
                Err(why) if tries == TRIES => anyhow::bail!("an order is refused: {}", why.reason),
                Err(why) => tokio::time::sleep(why.retry_after.unwrap_or(PAUSE)).await,
            }
            tries += 1;
        }
    };
    futures::stream::iter((0..count).map(one)).buffer_unordered(FILLING).try_collect().await
}

/// Opens so many streams, each until it has told its first item. Nobody reads on: what comes later
/// is small, and waits.
async fn watch(
    region: &Region,
    orders: &[String],
    count: u64,
) -> anyhow::Result<Vec<Streaming<WatchOrderResponse>>> {
    let each = count.div_ceil(STREAMS * region.watched.len() as u64) as usize;
    let services = region.connect("storefront", each).await?;
    eprintln!("{count} watchers on {} connections", services.len());
    let services = &services;
    let one = |number: u64| async move {
        let order = orders[number as usize % orders.len()].clone();
        let mut client = services[number as usize % services.len()].orders.clone();
        let request = WatchOrderRequest { order, ..Default::default() };
        let opened = timeout(CALL_MAX, client.watch_order(request)).await;
        let mut items = opened.context("a watch did not open in time")??.into_inner();
        let first = timeout(CALL_MAX, items.message()).await;
        first.context("a watch told nothing in time")??.context("a watch ended")?;
        anyhow::Ok(items)
    };
    futures::stream::iter((0..count).map(one)).buffer_unordered(FILLING).try_collect().await
}

fn name(axis: Axis) -> &'static str {
    match axis {
        Axis::Skus => "SKUs",
        Axis::Groups => "groups of each kind",
        Axis::Orders => "open orders",
        Axis::Watchers => "watchers",
    }
}

/// CPU of all nodes for one order, in microseconds.
fn cpu_us(run: &Run) -> f64 {
    let nodes: f64 = run.cost.processes.iter().skip(1).map(|used| used.cpu_seconds).sum();
    nodes * 1e6 / (run.done() as f64).max(1.0)
}

fn more(args: &cli::Scale, point: &Point) -> Value {
    json!({
        "axis": name(args.axis),
        "count": point.count,
        "replicas": args.replicas,
        "nodes_cpu_us_per_order": cpu_us(&point.run),
        "nodes_memory_bytes": point.memory,
    })
}

/// What grew, beside what an order costs the nodes; bytes are those of all nodes together, from one
/// point to the next.
fn table(args: &cli::Scale, points: &[Point]) -> String {
    let header =
        [name(args.axis), "nodes' CPU us an order", "of the first", "nodes' MiB", "bytes each"];
    let first = points.first().map_or(1.0, |point| cpu_us(&point.run).max(f64::MIN_POSITIVE));
    let mut before: Option<&Point> = None;
    let rows = points.iter().map(|point| {
        let each = before.replace(point).map(|was| {
            let grown = point.memory as f64 - was.memory as f64;
            report::round(grown / point.count.abs_diff(was.count).max(1) as f64)
        });
        let cpu = cpu_us(&point.run);
        vec![
            point.count.to_string(),
            report::round(cpu),
            format!("{:.2}", cpu / first),
            (point.memory >> 20).to_string(),
            each.unwrap_or_default(),
        ]
    });
    report::table(&header, rows)
}
