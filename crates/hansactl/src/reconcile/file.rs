//! A plan's file: proto3 JSON with its hash. Whatever was changed in it is another plan.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use hansa_api::pb::admin::ReconcilePlan;
use hansa_reconcile::judge::hex;
use hansa_reconcile::tree::{FORMAT, Hash, Tree};

use super::kind::Kind;
use crate::error::Problem;
use crate::output;

pub const NAME: &str = "hansa.admin.v1.ReconcilePlan";
/// Larger than any plan.
const BYTES_MAX: u64 = 256 << 20;

/// A plan that is what it says it is.
pub struct Plan {
    pub plan: ReconcilePlan,
    pub tree: Tree,
    pub hash: Hash,
}

/// Writes a plan where none is.
pub fn write(path: &Path, mut plan: ReconcilePlan) -> Result<Plan, Problem> {
    let tree = Tree::of(&plan).ok_or_else(|| {
        Problem::refused("too many differences for one plan", "repair what is most urgent first")
    })?;
    let hash = tree.hash();
    plan.hash = hex(&hash);
    let text = output::json(NAME, &plan)?;
    let disk = |error: std::io::Error| {
        let what = format!("{}: {error}", path.display());
        Problem::usage(what, "give a file that is not there yet")
    };
    let mut file = fs::File::create_new(path).map_err(disk)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(disk)?;
    Ok(Plan { plan, tree, hash })
}

/// Reads a plan, and refuses one that is not what its hash says; `kind` is what it should be of.
pub fn read(path: &Path, kind: Kind) -> Result<Plan, Problem> {
    let refuse = |why: String| {
        let what = format!("{}: {why}", path.display());
        Problem::usage(what, format!("make a new plan: `hansactl {} plan`", kind.command()))
    };
    let length = fs::metadata(path).map_err(|e| refuse(e.to_string()))?.len();
    if length > BYTES_MAX {
        return Err(refuse("too long for a plan".to_owned()));
    }
    let text = fs::read_to_string(path).map_err(|e| refuse(e.to_string()))?;
    let plan: ReconcilePlan = output::parse(NAME, &text).map_err(refuse)?;
    let format = plan.header.as_ref().map_or(0, |header| header.format);
    if format != FORMAT {
        return Err(refuse(format!("format {format}; this release knows {FORMAT}")));
    }
    let tree = Tree::of(&plan).ok_or_else(|| refuse("not a whole plan".to_owned()))?;
    let hash = tree.hash();
    if plan.hash != hex(&hash) {
        return Err(refuse("changed since it was made: its hash is another one".to_owned()));
    }
    Ok(Plan { plan, tree, hash })
}

impl Plan {
    pub fn region(&self) -> String {
        self.plan.header.as_ref().map(|header| header.region.clone()).unwrap_or_default()
    }
}
