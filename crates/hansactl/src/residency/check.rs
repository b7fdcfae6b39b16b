use std::path::PathBuf;
use std::process::ExitCode;

use hansa_api::pb::admin::{CheckPolicyRequest, CheckPolicyResponse, PolicyChange};

use super::{class, list, read, yes};
use crate::connect::{Role, Session};
use crate::error::{Problem, WRONG};
use crate::output::{self, Rows};
use crate::values::dash;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hansactl residency check deploy/policy/residency.toml")]
pub struct Args {
    /// The policy file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Problem> {
    let request = CheckPolicyRequest { region: session.region(), text: read(&args.file)? };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.residency.check_policy(request).await
        })
        .await?;
    let (to, loaded) = (response.policy_version, response.loaded_version);
    output::print(session.format, "hansa.admin.v1.CheckPolicyResponse", &response, rows)?;
    if response.problems.is_empty() {
        eprintln!("version {to} would be taken in {}; {loaded} is loaded", response.region);
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("refused: {} problem(s); {loaded} stays loaded", response.problems.len());
    Ok(ExitCode::from(WRONG))
}

fn rows(response: &CheckPolicyResponse) -> Rows {
    let mut rows = Rows::new(&["rule or countries", "class", "what"], "nothing would change");
    for problem in &response.problems {
        rows.add([problem.rule.clone(), "-".to_owned(), format!("problem: {}", problem.why)]);
    }
    for change in &response.changes {
        rows.add([countries(change), class(change.class), what(change).join("; ")]);
    }
    rows
}

/// The countries; of many, how many more.
fn countries(change: &PolicyChange) -> String {
    const SHOWN: usize = 8;
    let all = &change.countries;
    match all.len() > SHOWN {
        true => format!("{} and {} more", all[..SHOWN].join(" "), all.len() - SHOWN),
        false => all.join(" "),
    }
}

fn what(change: &PolicyChange) -> Vec<String> {
    let mut all = Vec::new();
    let mut moved = |what: &str, from: &str, to: &str| {
        if from != to {
            all.push(format!("{what} {} -> {}", dash(from), dash(to)));
        }
    };
    moved("jurisdiction", &change.former_jurisdiction, &change.jurisdiction);
    moved("home", &change.former_home_region, &change.home_region);
    moved("transit", &yes(change.former_transit), &yes(change.transit));
    for (verb, regions) in [
        ("may also be stored in", &change.gained_store_regions),
        ("may no longer be stored in", &change.lost_store_regions),
        ("new copy in", &change.gained_failover_regions),
        ("no more copy in", &change.lost_failover_regions),
        ("counts as this class:", &change.gained_fields),
        ("no longer counts as this class:", &change.lost_fields),
    ] {
        if !regions.is_empty() {
            all.push(format!("{verb} {}", list(regions)));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_in_words_and_what_stays_is_not() {
        let change = PolicyChange {
            countries: (0..20).map(|n| format!("C{n}")).collect(),
            former_jurisdiction: "EU".into(),
            jurisdiction: "EU".into(),
            former_home_region: "eu-west".into(),
            home_region: "eu-central".into(),
            lost_store_regions: vec!["us-east".into()],
            former_transit: true,
            ..PolicyChange::default()
        };
        let told = [
            "home eu-west -> eu-central",
            "transit yes -> no",
            "may no longer be stored in us-east",
        ];
        assert_eq!(what(&change), told);
        assert_eq!(countries(&change), "C0 C1 C2 C3 C4 C5 C6 C7 and 12 more");
    }
}
