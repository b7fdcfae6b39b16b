//! The provider's statement: read, sorted, and ready to be walked along.

use std::time::Duration;

use hansa_reconcile::merge::{Along, Coverage};
use hansa_reconcile::statement::{self, Mapping};

use super::Look;
use super::progress::Progress;
use crate::error::Problem;

/// `Ok(None)`: none was given. The outer error is the command line's, the inner one the file's.
pub fn open(look: &Look, progress: &Progress) -> Result<Result<Option<Along>, String>, Problem> {
    let Some(path) = &look.statement else { return Ok(Ok(None)) };
    let mapping = match &look.mapping {
        None => Mapping::sandbox(),
        Some(file) => {
            let wrong = |why: String| {
                let what = format!("{}: {why}", file.display());
                Problem::usage(what, "docs/reconcile.md shows a mapping")
            };
            let text = std::fs::read_to_string(file).map_err(|e| wrong(e.to_string()))?;
            Mapping::parse(&text).map_err(|e| wrong(e.to_string()))?
        }
    };
    progress.stage("reading the statement");
    let read = statement::read(path, &mapping, |bytes| progress.bytes(bytes));
    let along = read.map_err(|error| error.to_string()).and_then(|read| {
        let given =
            |time: &Option<prost_types::Timestamp>, otherwise| time.as_ref().map_or(otherwise, ms);
        let coverage = Coverage {
            from_ms: given(&look.statement_from, read.from_ms),
            until_ms: given(&look.statement_until, read.until_ms),
            settle_ms: ms_of(look.settle),
        };
        Along::new(read.charges, coverage).map_err(|error| error.to_string())
    });
    let named = |why| format!("statement {}: {why}", path.display());
    Ok(along.map(Some).map_err(named))
}

fn ms(time: &prost_types::Timestamp) -> u64 {
    let ms = time.seconds.saturating_mul(1_000) + i64::from(time.nanos) / 1_000_000;
    u64::try_from(ms).unwrap_or(0)
}

fn ms_of(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
