//! What the machine gives: nothing measured here can be beaten by anything built on it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::Outcome;
use crate::bench::{Bench, Run};
use crate::cli::Times;
use crate::disk;
use crate::group::{Served, What};
use crate::load::Drive;
use crate::wire::{Calls, Messages};

/// An order's request is about as long.
const BYTES: usize = 400;
const SYNCS: usize = 500;
const CONNECTIONS: usize = 8;

/// # Errors
/// A disk that cannot be written, a server that does not start.
pub async fn run(bench: &Bench, times: &Times) -> anyhow::Result<Outcome> {
    let took = disk::syncs(bench.folder(), SYNCS)?;
    let at = |share: f64| took[(share * (took.len() - 1) as f64) as usize].as_micros() as u64;
    let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
    let lasts = (times.warms_up(), times.lasts());
    let mut runs = Vec::new();
    for clients in [1, 64, 512] {
        runs.push(unary(bench, clients, lasts).await?);
    }
    for clients in [64, 512] {
        runs.push(streams(bench, CONNECTIONS, (clients, BYTES), lasts).await?);
    }
    let note = format!("fdatasync of 4 KiB, one by one: p50 {p50} us, p99 {p99} us, max {max} us");
    let more = json!({ "fdatasync_us": { "p50": p50, "p99": p99, "max": max } });
    Ok(Outcome { runs, notes: vec![note], more })
}

async fn unary(bench: &Bench, clients: usize, times: (Duration, Duration)) -> anyhow::Result<Run> {
    let server = Served::start(bench, What::Echo, 1).await?;
    let mut calls = Vec::new();
    for _ in 0..CONNECTIONS {
        calls.push(Arc::new(Calls { channel: server.door.connect().await?, bytes: BYTES }));
    }
    let name = format!("unary, {clients} in flight");
    let drive = Drive::Closed { clients };
    let run = bench.measure((&name, "calls"), &calls, &drive, times, &server.watched).await;
    drop(calls);
    server.stop().await?;
    Ok(run)
}

/// Messages that come back as they are: the ceiling of whatever answers a stream.
///
/// # Errors
/// A server that does not start.
pub async fn streams(
    bench: &Bench,
    count: usize,
    (clients, bytes): (usize, usize),
    times: (Duration, Duration),
) -> anyhow::Result<Run> {
    let server = Served::start(bench, What::Echo, 1).await?;
    let streams = server.door.streams(&bench.tasks, count).await?;
    let messages = |stream| Arc::new(Messages { stream, bytes });
    let messages: Vec<_> = streams.into_iter().map(messages).collect();
    let name = format!("stream echo, {clients} in flight");
    let drive = Drive::Closed { clients };
    let run = bench.measure((&name, "messages"), &messages, &drive, times, &server.watched).await;
    drop(messages);
    server.stop().await?;
    Ok(run)
}
