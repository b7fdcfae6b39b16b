//! `hansactl reconcile verify`

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use hansa_api::pb::admin::{DifferenceClass, FoundDifference};

use super::kind::Kind;
use super::{Look, file, scan, show};
use crate::connect::Session;
use crate::error::{NO_ANSWER, Problem};

pub async fn run(session: &Session, path: &Path, look: &Look) -> Result<ExitCode, Problem> {
    let plan = file::read(path, Kind::Repairs)?;
    Kind::Repairs.check(&plan.plan, path, "verify")?;
    let session = session.in_region(&plan.region());
    let outcome = scan::run(&session, look).await?;
    let code = show::outcome(&session, &outcome)?;
    let now: BTreeSet<_> = outcome.entries.iter().map(|entry| key(&entry.difference)).collect();
    let planned = plan.plan.entries.iter().filter_map(|entry| entry.difference.as_ref());
    let left: Vec<&FoundDifference> = planned.filter(|found| now.contains(&key(found))).collect();
    for found in &left {
        eprintln!("still there: {} {}", show::class(found), found.subject);
    }
    let unseen = plan.plan.entries.iter().filter_map(|entry| entry.difference.as_ref());
    let unseen = unseen.filter(|found| !looked_at(found, look)).count();
    if unseen > 0 {
        eprintln!(
            "nothing is proven: {unseen} of the plan's differences are of a side that was left \
             out; name the provider's statement (--statement), and leave --no-copies away"
        );
        return Ok(ExitCode::from(NO_ANSWER));
    }
    let total = plan.plan.entries.len();
    match outcome.complete() {
        true => eprintln!("{} of {total} of the plan's differences are gone", total - left.len()),
        false => eprintln!("nothing is proven: not everything could be read"),
    }
    Ok(code)
}

/// Whether this look would have seen the difference again.
fn looked_at(found: &FoundDifference, look: &Look) -> bool {
    match DifferenceClass::try_from(found.class) {
        Ok(
            DifferenceClass::ProviderMissingThere
            | DifferenceClass::ProviderMissingHere
            | DifferenceClass::ProviderAmountDiffers
            | DifferenceClass::ProviderStateDiffers,
        ) => look.statement.is_some(),
        Ok(
            DifferenceClass::CopyMissing
            | DifferenceClass::CopyExtra
            | DifferenceClass::CopyStale
            | DifferenceClass::CopyConflicting,
        ) => !look.no_copies,
        // `region tail` looks at it.
        Ok(DifferenceClass::UnshippedTail) => false,
        _ => true,
    }
}

fn key(found: &FoundDifference) -> (i32, Vec<u8>, String) {
    (found.class, found.order_id.to_vec(), found.subject.clone())
}
