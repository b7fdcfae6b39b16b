//! Stock holds straight at the ledger's leader: batches on streams, as the saga sends them.

use std::sync::Arc;
use std::time::Duration;

use hansa_api::pb::ledger as pb;
use hansa_api::pb::ledger::ledger_command_service_client::LedgerCommandServiceClient;
use hansa_api::pb::ledger::submit_response::Result as Answer;
use hansa_types::id::{GroupId, GroupKind, OrderId};
use hansa_types::limits::PEER_MESSAGE_BYTES_MAX;
use hansa_types::region::{RegionNumber, Slot};
use serde_json::Value;

use super::Outcome;
use super::transfers::now;
use crate::bench::Bench;
use crate::cli;
use crate::dice::draw;
use crate::load::{Drive, Work};
use crate::machines::transfer_id;
use crate::pipe::Pipe;
use crate::record::{Done, Refusal};
use crate::region::{Region, sku};

/// As the saga's own.
const HOLD_TTL_MS: u32 = 120_000;
const TIMEOUT_MS: u32 = 5_000;

/// One stream to the leader.
struct Stream {
    pipe: Pipe<pb::SubmitRequest, pb::SubmitResponse>,
    group: u32,
}

struct Reserve {
    stream: Arc<Stream>,
    region: RegionNumber,
    batch: u64,
    skus: u64,
    seed: u64,
}

impl Reserve {
    fn hold(&self, number: u64) -> pb::Command {
        let at = now();
        let slot = Slot::of(&number.to_le_bytes());
        let line = pb::StockLine {
            line: 1,
            sku: sku(draw(self.seed, number) % self.skus.max(1)),
            quantity: 1,
            ..Default::default()
        };
        let reserve = pb::Reserve {
            id: transfer_id(at, self.seed, number).to_bytes().to_vec().into(),
            order: OrderId::new(at, self.region, slot, number).to_bytes().to_vec().into(),
            lines: vec![line],
            ttl_ms: HOLD_TTL_MS,
        };
        pb::Command { command: Some(pb::command::Command::Reserve(reserve)) }
    }
}

impl Work for Reserve {
    async fn one(&self, number: u64) -> Done {
        let first = number * self.batch;
        let batch = pb::SubmitRequest {
            seq: number,
            group: self.stream.group,
            commands: (first..first + self.batch).map(|number| self.hold(number)).collect(),
            timeout_ms: TIMEOUT_MS,
        };
        match self.stream.pipe.ask(number, batch).await?.result {
            Some(Answer::Outcomes(all)) => {
                let applied = |outcome: &&pb::Outcome| outcome.code() != pb::OutcomeCode::Applied;
                match all.outcomes.iter().find(applied) {
                    None => Ok(all.outcomes.len() as u64),
                    Some(other) => Err(Refusal::named(other.code().as_str_name())),
                }
            }
            Some(Answer::Refused(refused)) => Err(Refusal {
                reason: refused.reason().as_str_name().to_owned(),
                retry_after: Some(refused.retry_after_ms)
                    .filter(|ms| *ms > 0)
                    .map(|ms| Duration::from_millis(ms.into())),
            }),
            None => Err(Refusal::named("NO_RESULT")),
        }
    }
}

/// # Errors
/// A region that does not start.
pub async fn run(bench: &Bench, args: &cli::Reserve) -> anyhow::Result<Outcome> {
    let region = Region::open(&bench.common, bench.folder()).await?;
    region.stock(args.skus).await?;
    let streams = streams(bench, &region, args.times.connections).await?;
    let (number, seed) = (RegionNumber::try_from(1)?, bench.common.seed);
    let lasts = (args.times.warms_up(), args.times.lasts());
    let mut runs = Vec::new();
    for &batch in &args.batch {
        for &clients in &args.clients {
            let reserve = |stream: &Arc<Stream>| {
                let (stream, batch) = (stream.clone(), batch.max(1));
                Arc::new(Reserve { stream, region: number, batch, skus: args.skus, seed })
            };
            let reserves: Vec<_> = streams.iter().map(reserve).collect();
            let name = format!("{clients} x {batch}");
            let (what, drive) = ((name.as_str(), "holds"), Drive::Closed { clients });
            runs.push(bench.measure(what, &reserves, &drive, lasts, &region.watched).await);
        }
    }
    drop(streams);
    region.stop().await;
    Ok(Outcome { runs, notes: Vec::new(), more: Value::Null })
}

/// So many streams to the leader of the region's stock.
async fn streams(bench: &Bench, region: &Region, count: usize) -> anyhow::Result<Vec<Arc<Stream>>> {
    let group = GroupId::new(GroupKind::Inventory, 0).number();
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count.max(1) {
        let (pipe, questions) = Pipe::new();
        let mut ledger = LedgerCommandServiceClient::new(region.inside_of_stock().await?)
            .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX);
        let answers = ledger.submit(questions).await?.into_inner();
        pipe.listen(&bench.tasks, answers, |answer: &pb::SubmitResponse| answer.seq);
        streams.push(Arc::new(Stream { pipe, group }));
    }
    Ok(streams)
}
