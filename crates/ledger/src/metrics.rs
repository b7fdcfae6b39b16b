//! What the ledger counts.
//!
//! | name | help | labels |
//! |---|---|---|
//! | `hansa_ledger_batches_total` | batches of callers' streams, by how they ended | `outcome` |
//! | `hansa_ledger_commands_total` | commands that have an outcome | |
//! | `hansa_ledger_refusals_total` | commands that were refused, by outcome | `code` |
//! | `hansa_ledger_view_lag` | postings that the account view has yet to take in | `group` |
//! | `hansa_ledger_view_rebuilds_total` | times the account view was built anew | `group` |

use hansa_types::id::GroupId;
use metrics::{counter, gauge};

use crate::core::outcome::{Outcome, OutcomeCode};

/// A batch that was applied.
pub fn applied(outcomes: &[Outcome]) {
    counter!("hansa_ledger_batches_total", "outcome" => "applied").increment(1);
    counter!("hansa_ledger_commands_total").increment(outcomes.len() as u64);
    for outcome in outcomes.iter().filter(|outcome| !outcome.is_success()) {
        counter!("hansa_ledger_refusals_total", "code" => name(outcome.code)).increment(1);
    }
}

/// A batch that was not applied, or may not have been.
pub fn refused(why: &'static str) {
    counter!("hansa_ledger_batches_total", "outcome" => why).increment(1);
}

pub fn view_lag(group: GroupId, postings: u64) {
    gauge!("hansa_ledger_view_lag", "group" => group.to_string()).set(postings as f64);
}

pub fn view_rebuilt(group: GroupId) {
    counter!("hansa_ledger_view_rebuilds_total", "group" => group.to_string()).increment(1);
}

fn name(code: OutcomeCode) -> &'static str {
    crate::service::wire::outcome_code(code).as_str_name()
}
