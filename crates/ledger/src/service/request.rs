//! What the public verbs share: who asks, by when, and how a stock command answers.

use std::time::Duration;

use hansa_api::principal::Principal;
use hansa_api::status::{Failure, Reason};
use hansa_consensus::Group;
use hansa_node::layers::Deadline;
use hansa_types::id::RequestId;
use tokio::time::Instant;
use tonic::Request;
use xxhash_rust::xxh3::Xxh3;

use super::groups::{not_read, not_submitted};
use crate::core::inventory::{Command, CommandId, Inventory, RequestKey, Stock};
use crate::core::outcome::{Outcome, OutcomeCode};
use crate::machine::Batch;

/// For a caller that names no deadline.
const TIMEOUT: Duration = Duration::from_secs(10);

pub fn deadline<T>(request: &Request<T>) -> Instant {
    Deadline::of(request.extensions(), TIMEOUT).0
}

/// The key of a call: the caller's own request ids, told apart by method.
///
/// # Errors
/// `UNAUTHENTICATED` for a call without a principal.
pub fn key<T>(request: &Request<T>, method: &str, id: &RequestId) -> Result<CommandId, Failure> {
    let caller = Principal::of(request)?;
    let mut hasher = Xxh3::new();
    for part in [caller.id.as_str(), method, id.as_str()] {
        // Lengths keep the parts apart.
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    Ok(CommandId::Requested(RequestKey(hasher.digest128())))
}

/// Applies one stock command and answers the stock after it, and whether it was a repeat.
///
/// # Errors
/// What the outcome is to a warehouse.
pub async fn change(
    group: &Group<Inventory>,
    command: &Command<'_>,
    at: (&str, Option<&str>),
    deadline: Instant,
) -> Result<(Stock, hansa_types::time::LogTime, bool), Failure> {
    let mut batch = Batch::default();
    batch.push(command);
    let applied = group.submit(batch.finish().into(), deadline).await;
    let applied = applied.map_err(|error| not_submitted(error, deadline))?;
    let Some(outcome) = applied.outcomes.first() else {
        return Err(Reason::Internal.into());
    };
    let replayed = match outcome.code {
        OutcomeCode::Applied => false,
        OutcomeCode::Exists => true,
        _ => return Err(refused(outcome)),
    };
    // As of now rather than of the command: another caller's may lie between, and `as_of` says so.
    let (sku, warehouse) = at;
    let look = |machine: &Inventory| {
        let warehouse = warehouse.unwrap_or_else(|| machine.default_warehouse());
        (machine.stock(sku, Some(warehouse)), machine.now())
    };
    let (stock, now) = group.read(deadline, look).await.map_err(not_read)?;
    Ok((stock.into_iter().next().unwrap_or_default(), now, replayed))
}

/// A refused stock command, to a warehouse.
fn refused(outcome: &Outcome) -> Failure {
    let reason = match outcome.code {
        OutcomeCode::ExistsWithDifferent => Reason::RequestIdReused,
        OutcomeCode::UnknownSku => Reason::UnknownSku,
        OutcomeCode::AccountNotFound => {
            return Failure::field(Reason::FieldInvalid, "warehouse", "a warehouse that has stock");
        }
        OutcomeCode::CountDiffers => Reason::CountDiffers,
        OutcomeCode::BelowHeld | OutcomeCode::ExceedsAvailable => Reason::StockTooLow,
        OutcomeCode::AmountInvalid | OutcomeCode::Overflow => {
            return Failure::field(Reason::QuantityInvalid, "quantity", "what the books can count");
        }
        OutcomeCode::Malformed => {
            return Failure::field(Reason::FieldInvalid, "sku", "an id of the grammar");
        }
        OutcomeCode::Applied
        | OutcomeCode::Exists
        | OutcomeCode::IdTooOld
        | OutcomeCode::IdTooNew
        | OutcomeCode::LinkedFailed
        | OutcomeCode::AccountsSame
        | OutcomeCode::UnitMismatch
        | OutcomeCode::HoldNotFound
        | OutcomeCode::NotAHold
        | OutcomeCode::AlreadyPosted
        | OutcomeCode::AlreadyVoided
        | OutcomeCode::Expired
        | OutcomeCode::ExceedsHold
        | OutcomeCode::ExtendCapReached
        | OutcomeCode::ExceedsCommitted
        | OutcomeCode::ExceedsShipped
        | OutcomeCode::ExceedsCaptured
        | OutcomeCode::PaymentNotFound
        | OutcomeCode::Shelved => {
            tracing::error!(code = ?outcome.code, "a stock command answered what it cannot");
            Reason::Internal
        }
    };
    let mut failure = Failure::of(reason);
    if matches!(reason, Reason::StockTooLow | Reason::CountDiffers) {
        failure = failure.with("available", outcome.available.to_string());
    }
    if !outcome.orders.is_empty() {
        let orders: Vec<_> = outcome.orders.iter().map(ToString::to_string).collect();
        failure = failure.with("held_by", orders.join(","));
    }
    failure
}
