//! `tidy`: what the compiler does not check. Each finding names the place and what to do.

mod arrows;
mod chance;
mod imports;
mod names;
mod sizes;
mod source;

use std::path::Path;

use anyhow::Result;

pub use sizes::LISTED;
use source::Source;

/// Every problem in the workspace at `root`; empty when it is tidy.
///
/// # Errors
/// The workspace cannot be read.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let sources = Source::all(root)?;
    let mut found = arrows::check(root)?;
    found.extend(sizes::check(root, &sources)?);
    found.extend(sources.iter().flat_map(chance::check));
    found.extend(sources.iter().flat_map(imports::check));
    found.extend(sources.iter().flat_map(names::check));
    found.sort();
    Ok(found)
}
