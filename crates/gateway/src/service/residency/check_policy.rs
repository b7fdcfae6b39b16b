//! What a load would answer, and what it would change.

use std::collections::BTreeSet;

use hansa_api::pb::admin::{CheckPolicyResponse, PolicyChange, PolicyProblem};
use hansa_api::pb::hansa::options::v1::DataClass as Wire;
use hansa_region_router::core::directory::{POLICY_BYTES_MAX, Snapshot};
use hansa_region_router::core::policy::{Change, Policy, Problem, Refused, changes};
use hansa_types::region::RegionName;

use super::here;

/// More than anyone mends at once, and less than a message holds.
const PROBLEMS_MAX: usize = 500;

/// Never fails: a file that cannot be taken is an answer with problems.
pub(super) fn check(text: &str, now: &Snapshot) -> CheckPolicyResponse {
    let loaded_version = now.policy.version();
    let mut response =
        CheckPolicyResponse { region: here(now), loaded_version, ..Default::default() };
    match read(text) {
        Err(problems) => response.problems = problems,
        Ok(policy) => {
            response.policy_version = policy.version();
            response.problems = against(&policy, text, now);
            response.changes = changes(&now.policy, &policy).into_iter().map(change).collect();
        }
    }
    response
}

/// The policy that the text is, or everything that is wrong with it.
pub(super) fn read(text: &str) -> Result<Policy, Vec<PolicyProblem>> {
    if text.len() > POLICY_BYTES_MAX {
        let why = format!("{} bytes; at most {POLICY_BYTES_MAX}", text.len());
        return Err(vec![problem_of("file", &why)]);
    }
    Policy::parse(text).map_err(|refused| match refused {
        Refused::Syntax(why) => vec![problem_of("syntax", &why)],
        Refused::Unsatisfiable(problems) => {
            problems.iter().take(PROBLEMS_MAX).map(problem).collect()
        }
    })
}

/// What stands in its way here, though it is sound in itself.
fn against(policy: &Policy, text: &str, now: &Snapshot) -> Vec<PolicyProblem> {
    let mut found = strangers(policy, now);
    let have = now.policy.version();
    if policy.version() <= have && *now.policy_text != *text {
        let why = format!("version {have} is loaded; a change takes a greater one");
        found.push(problem_of("version", &why));
    }
    found
}

/// What it names and the directory does not know.
pub(super) fn strangers(policy: &Policy, now: &Snapshot) -> Vec<PolicyProblem> {
    let knows = |region: &RegionName| now.number(region).is_some();
    policy.strangers(Some(&now.policy), knows).iter().map(problem).collect()
}

fn problem(problem: &Problem) -> PolicyProblem {
    problem_of(&problem.rule, &problem.why.to_string())
}

fn problem_of(rule: &str, why: &str) -> PolicyProblem {
    PolicyProblem { rule: rule.to_owned(), why: why.to_owned() }
}

fn change(change: Change) -> PolicyChange {
    let (was, is) = (&change.from, &change.to);
    let name = |name: &Option<_>| name.as_ref().map(|n: &RegionName| n.to_string());
    let law = |law: &Option<hansa_region_router::core::policy::JurisdictionName>| {
        law.as_ref().map(ToString::to_string).unwrap_or_default()
    };
    PolicyChange {
        countries: change.countries.iter().map(ToString::to_string).collect(),
        class: Wire::from(change.class).into(),
        former_jurisdiction: law(&was.jurisdiction),
        jurisdiction: law(&is.jurisdiction),
        former_home_region: name(&was.home).unwrap_or_default(),
        home_region: name(&is.home).unwrap_or_default(),
        gained_store_regions: only(&is.store, &was.store),
        lost_store_regions: only(&was.store, &is.store),
        gained_failover_regions: only(&is.failover, &was.failover),
        lost_failover_regions: only(&was.failover, &is.failover),
        former_transit: was.transit,
        transit: is.transit,
        gained_fields: only(&is.raised, &was.raised),
        lost_fields: only(&was.raised, &is.raised),
    }
}

/// What is in one set and not in the other.
fn only<T: Ord + ToString>(these: &BTreeSet<T>, those: &BTreeSet<T>) -> Vec<String> {
    these.difference(those).map(ToString::to_string).collect()
}
