//! The one place where a group's kind becomes its machine.

use std::path::Path;
use std::sync::Arc;

use hansa_backup::manifest::Group;
use hansa_backup::{Checked, Manifest, PartKind, Shelf};
use hansa_consensus::{Files, Host, RestoreError, RestoredGroup, check_state};
use hansa_ledger::core::{inventory::Inventory, payments::Payments};
use hansa_ledger::machine::Outcomes;
use hansa_orders::core::command::Outcome as OrdersOutcome;
use hansa_region_router::core::directory;
use hansa_shard::machine::{Outcome as ShardOutcome, Shard};
use hansa_types::id::GroupKind;
use hansa_wal::fs::Fs;

fn of_orders(outcome: &ShardOutcome) -> Result<(), String> {
    match outcome {
        ShardOutcome::Orders(OrdersOutcome::Noted) => Ok(()),
        ShardOutcome::Orders(other) => Err(format!("{other:?}")),
        ShardOutcome::Stock(of) | ShardOutcome::Money(of) => of_ledger(of),
    }
}

fn of_directory(outcome: &directory::Outcome) -> Result<(), String> {
    match outcome {
        directory::Outcome::Changed { .. } => Ok(()),
        directory::Outcome::Unchanged { .. } => Err("nothing would change".to_owned()),
        directory::Outcome::Refused(why) => Err(why.to_string()),
    }
}

fn of_ledger(_: &Outcomes) -> Result<(), String> {
    Err("a ledger takes no first commands".to_owned())
}

/// Reads a group's state through its machine.
pub fn check(
    fs: &Arc<dyn Fs>,
    scratch: &Path,
    files: &dyn Shelf,
    group: &Group,
    plan: Option<&RestoredGroup>,
) -> Result<(), RestoreError> {
    let kind = group.id().map(hansa_types::id::GroupId::kind);
    match kind {
        Some(GroupKind::Orders) => {
            let plan = plan.map(|plan| (plan, of_orders as _));
            check_state::<Shard>(fs, scratch, files, group, plan)
        }
        Some(GroupKind::Inventory) => {
            let plan = plan.map(|plan| (plan, of_ledger as _));
            check_state::<Inventory>(fs, scratch, files, group, plan)
        }
        Some(GroupKind::Payments) => {
            let plan = plan.map(|plan| (plan, of_ledger as _));
            check_state::<Payments>(fs, scratch, files, group, plan)
        }
        // A group of no known kind fails there for want of an id.
        Some(GroupKind::Directory) | None => {
            let plan = plan.map(|plan| (plan, of_directory as _));
            check_state::<directory::State>(fs, scratch, files, group, plan)
        }
    }
}

/// Puts a group in place.
pub async fn install(
    host: &Host,
    files: Files,
    group: Group,
    plan: RestoredGroup,
) -> Result<(), RestoreError> {
    match plan.id.kind() {
        GroupKind::Orders => host.restore_group::<Shard>(files, group, plan, of_orders).await,
        GroupKind::Inventory => {
            host.restore_group::<Inventory>(files, group, plan, of_ledger).await
        }
        GroupKind::Payments => host.restore_group::<Payments>(files, group, plan, of_ledger).await,
        GroupKind::Directory => {
            host.restore_group::<directory::State>(files, group, plan, of_directory).await
        }
    }
}

/// Checks a whole backup, states included; `seen` hears of the bytes as they are read.
///
/// # Errors
/// What is damaged, and where.
pub fn verify(
    fs: &Arc<dyn Fs>,
    scratch: &Path,
    files: &dyn Shelf,
    manifest: &Manifest,
    seen: &mut dyn FnMut(u64),
) -> anyhow::Result<Checked> {
    let checked = hansa_backup::verify(files, manifest, seen)?;
    for group in &manifest.groups {
        check(fs, scratch, files, group, None)?;
        seen(group.part(PartKind::State).map_or(0, |part| part.bytes));
    }
    Ok(checked)
}
