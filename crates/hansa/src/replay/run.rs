//! A file, from its bytes to its report.

use std::path::Path;

use anyhow::{Context, bail};

use super::core::action::Action;
use super::core::synthetic::Shares;
use super::core::{mapping, plan, row};
use super::doors::{self, Doors};
use super::drive::{self, Options};
use super::report::Report;

/// Reads, maps, plans and drives.
///
/// # Errors
/// Only what stops it before the first call: a file that is not the dataset's, a league that does
/// not say where countries are at home.
pub async fn run(
    file: &[u8],
    doors: &Doors,
    shares: &Shares,
    options: &Options,
) -> anyhow::Result<Report> {
    let (rows, mut malformed) = row::read(file)?;
    let mapped = mapping::map(&rows, shares);
    malformed.extend(mapped.malformed);
    malformed.sort_by_key(|line| line.line);
    let homes = doors::homes(doors, mapped.actions.iter().map(Action::country)).await?;
    let plan = match plan::plan(mapped.actions, &homes, shares) {
        Ok(plan) => plan,
        Err(homeless) => bail!("no region is the home of {}", homeless.join(", ")),
    };
    let driven = drive::run(&plan, doors, options).await;
    Ok(Report {
        regions: driven.regions,
        malformed,
        left: mapped.left,
        surprises: driven.surprises,
        rehomed_invoices: mapped.rehomed_invoices,
        shares: shares.clone(),
        elapsed: driven.elapsed,
    })
}

/// The whole file in memory: the full dataset is 45 MB.
///
/// # Errors
/// What the disk says.
pub fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}
