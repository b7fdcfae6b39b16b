//! What this node does for copies of its region.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use hansa_api::pb::admin as pb;
use hansa_api::pb::node::GetNodeRestoreResponse;
use hansa_api::status::{Failure, Reason};
use hansa_backup::PartKind;
use hansa_consensus::{Chunk, Cursor, Cut, ExportError, Exports, Host};
use hansa_gateway::copies::{Chunks, Copies};
use hansa_node::layers::Deadline;
use hansa_orders::core::remote::DifferenceKind;
use hansa_orders::core::restored::{Stray, StrayState};
use hansa_orders::{Orders, RestoreStatus};
use hansa_types::id::{GroupId, OrderId};

use super::inside::Inside;

/// The cuts that this node keeps, and the orders that it leads.
pub struct NodeCopies {
    exports: Exports,
    inside: Arc<Inside>,
}

impl NodeCopies {
    pub fn new(host: Host, inside: Arc<Inside>) -> Self {
        Self { exports: Exports::new(host), inside }
    }

    fn orders(&self) -> Result<&Orders, Failure> {
        self.inside.orders().ok_or_else(|| Failure::of(Reason::Unavailable))
    }
}

#[tonic::async_trait]
impl Copies for NodeCopies {
    fn hold_steps(&self, group: GroupId, length: Duration) -> Result<(u64, u64), Failure> {
        self.orders()?.hold_steps(group, length)
    }

    async fn release_steps(
        &self,
        group: GroupId,
        hold: u64,
        due: Deadline,
    ) -> Result<bool, Failure> {
        self.orders()?.release_steps(group, hold, due.0).await
    }

    async fn read_index(&self, group: GroupId, due: Deadline) -> Result<u64, Failure> {
        self.exports.read_index(group, due.0).await.map_err(failure)
    }

    async fn freeze(
        &self,
        backup: &str,
        group: GroupId,
        min_index: u64,
        due: Deadline,
    ) -> Result<pb::GroupCut, Failure> {
        let cut = self.exports.freeze(backup, group, min_index, due.0).await;
        cut.map(cut_of).map_err(failure)
    }

    fn read(
        &self,
        backup: &str,
        group: GroupId,
        from: pb::BackupCursor,
    ) -> Result<Chunks, Failure> {
        let pb::BackupCursor { state_offset, record, entry } = from;
        let from = Cursor { state_offset, record, entry };
        let chunks = self.exports.read(backup, group, from).map_err(failure)?;
        let told = chunks.map(|chunk| match chunk {
            Ok(chunk) => Ok(chunk_of(chunk)),
            Err(error) => Err(Failure::new(Reason::Unavailable, error)),
        });
        Ok(told.boxed())
    }

    fn end(&self, backup: &str) {
        self.exports.end(backup);
    }

    fn restores(&self) -> GetNodeRestoreResponse {
        let mut told = GetNodeRestoreResponse::default();
        let Some(orders) = self.inside.orders() else { return told };
        for status in orders.restores() {
            match restore_of(orders, &status) {
                Some(group) => told.groups.push(group),
                None => told.ordinary.push(status.group.number()),
            }
        }
        told
    }

    async fn settle(
        &self,
        key: Option<String>,
        cancel: bool,
        due: Deadline,
    ) -> Result<u32, Failure> {
        self.orders()?.settle_strays(key, cancel, due.0).await
    }

    async fn origins(&self, due: Deadline) -> (Vec<GroupId>, Vec<pb::OriginEpoch>) {
        let Some(orders) = self.inside.orders() else { return Default::default() };
        let (led, known) = orders.origins(due.0).await;
        let told = known.into_iter().map(|(name, origin, cursor)| pb::OriginEpoch {
            region: name.map_or_else(String::new, |name| name.to_string()),
            group: u32::from(origin.group),
            epoch: origin.epoch,
            applied_sequence: cursor.applied,
        });
        (led, told.collect())
    }

    fn differences(
        &self,
        origin: &str,
        after: Option<OrderId>,
        max: usize,
    ) -> Result<(Vec<GroupId>, Vec<pb::CopyDifference>), Failure> {
        let Some(orders) = self.inside.orders() else { return Ok(Default::default()) };
        let unknown = || Failure::of(Reason::UnknownRegion);
        let origin = match origin {
            "" => None,
            name => {
                let name = name.parse().map_err(|_| unknown())?;
                Some(orders.region_number(&name).ok_or_else(unknown)?)
            }
        };
        let (led, found) = orders.differences(origin, after, max);
        let told = found.into_iter().map(|(order, found)| {
            let kind = match found.kind {
                DifferenceKind::Conflict => pb::CopyDifferenceKind::Conflict,
                DifferenceKind::Ahead => pb::CopyDifferenceKind::Ahead,
                DifferenceKind::OnlyHere => pb::CopyDifferenceKind::OnlyHere,
            };
            pb::CopyDifference {
                order: orders.name_of(order),
                kind: kind.into(),
                copy_version: found.copy_version,
                copy_epoch: found.copy_epoch,
                home_version: found.home_version,
                home_epoch: found.home_epoch,
            }
        });
        Ok((led, told.collect()))
    }
}

fn failure(error: ExportError) -> Failure {
    let reason = match &error {
        ExportError::NotLeader(_) => return Failure::not_leader(None),
        ExportError::NotHosted(_) | ExportError::NoSuchCut => Reason::NotFound,
        ExportError::TooMany => Reason::Overloaded,
        ExportError::Name => Reason::FieldInvalid,
        ExportError::Stopped(..) | ExportError::Late(_) | ExportError::Empty(_) => {
            Reason::Unavailable
        }
    };
    Failure::new(reason, error.to_string())
}

fn cut_of(cut: Cut) -> pb::GroupCut {
    pb::GroupCut {
        group: cut.group.number(),
        node: cut.node.0,
        index: cut.index,
        term: cut.term,
        log_time_ms: cut.time.ms(),
        state_hash: cut.state_hash.to_string(),
        chain_head: hansa_backup::manifest::hex(&cut.chain_head),
        records: cut.records,
    }
}

fn chunk_of(chunk: Chunk) -> pb::ReadBackupResponse {
    let part = match chunk.part {
        PartKind::State => pb::BackupPart::State,
        PartKind::Records => pb::BackupPart::Records,
        PartKind::Entries => pb::BackupPart::Entries,
    };
    let Cursor { state_offset, record, entry } = chunk.next;
    pb::ReadBackupResponse {
        part: part.into(),
        position: chunk.position,
        checksum: hansa_backup::part::checksum(chunk.position, &chunk.data),
        data: chunk.data,
        next: Some(pb::BackupCursor { state_offset, record, entry }),
        state_bytes: chunk.state_bytes,
    }
}

fn restore_of(orders: &Orders, status: &RestoreStatus) -> Option<pb::GroupRestore> {
    let restored = status.restored.as_ref()?;
    let phase = match (restored.restoring, status.doubting) {
        (true, _) => pb::RestorePhase::Restoring,
        (false, true) => pb::RestorePhase::InDoubt,
        (false, false) => pb::RestorePhase::Over,
    };
    let strays = restored.strays.iter();
    Some(pb::GroupRestore {
        group: status.group.number(),
        phase: phase.into(),
        epoch: restored.restore.epoch,
        restored_ms: restored.restore.restored_ms,
        backup: restored.restore.backup.clone(),
        open_steps: status.open_steps as u64,
        strays: strays.map(|(key, stray)| stray_of(orders, key, stray)).collect(),
        listed: restored.listed,
    })
}

fn stray_of(orders: &Orders, key: &str, stray: &Stray) -> pb::StrayPayment {
    let state = match stray.state {
        StrayState::Open => pb::StrayState::Open,
        StrayState::Cancelling => pb::StrayState::Cancelling,
        StrayState::Cancelled => pb::StrayState::Cancelled,
        StrayState::Kept => pb::StrayState::Kept,
    };
    pb::StrayPayment {
        order: orders.name_of(stray.order),
        key: key.to_owned(),
        provider_reference: stray.reference.0.clone(),
        state: state.into(),
    }
}
