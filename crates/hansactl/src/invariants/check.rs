use std::process::ExitCode;
use std::time::Duration;

use hansa_api::pb::admin::{CheckInvariantsRequest, CheckInvariantsResponse, Verdict};
use hansa_types::id::GroupId;
use tokio::time::{Instant, sleep};

use crate::connect::{Role, Session};
use crate::error::{self, Problem};
use crate::member::group_name;
use crate::output::{self, Rows};
use crate::values::{dash, short};

/// How long what is under way may take.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

pub async fn run(session: &Session) -> Result<ExitCode, Problem> {
    told(session, &asked(session).await?)
}

/// The same, once all of them hold: some do only when what was under way is done (domain.md §7).
pub async fn settled(session: &Session) -> Result<ExitCode, Problem> {
    let until = Instant::now() + SETTLED_WITHIN;
    loop {
        let response = asked(session).await?;
        if code(&response) == 0 || Instant::now() >= until {
            return told(session, &response);
        }
        for report in response.reports.iter().filter(|report| report.verdict() != Verdict::Held) {
            let group = group_name(report.group);
            eprintln!("looking again: {} of {group}: {}", report.name, report.detail);
        }
        sleep(Duration::from_secs(1)).await;
    }
}

async fn asked(session: &Session) -> Result<CheckInvariantsResponse, Problem> {
    let request = CheckInvariantsRequest { region: session.region() };
    session
        .call(Role::Operator, request, |mut services, request| async move {
            services.admin.check_invariants(request).await
        })
        .await
}

fn told(session: &Session, response: &CheckInvariantsResponse) -> Result<ExitCode, Problem> {
    let name = "hansa.admin.v1.CheckInvariantsResponse";
    output::print(session.format, name, response, rows)?;
    Ok(exit_code(response))
}

fn rows(response: &CheckInvariantsResponse) -> Rows {
    let mut rows = Rows::new(&["no", "invariant", "group", "verdict", "detail"], "none checked");
    for report in &response.reports {
        let group = GroupId::from_number(report.group);
        rows.add([
            report.number.to_string(),
            report.name.clone(),
            group.map_or_else(|| "-".to_owned(), |group| group.to_string()),
            short(report.verdict().as_str_name(), "VERDICT_").to_lowercase(),
            dash(&report.detail),
        ]);
    }
    rows
}

/// Unknown is never a pass, and nothing checked is unknown.
fn exit_code(response: &CheckInvariantsResponse) -> ExitCode {
    ExitCode::from(code(response))
}

fn code(response: &CheckInvariantsResponse) -> u8 {
    let any = |verdict| response.reports.iter().any(|report| report.verdict() == verdict);
    if any(Verdict::Violated) {
        error::WRONG
    } else if any(Verdict::Unknown) || any(Verdict::Unspecified) || response.reports.is_empty() {
        error::NO_ANSWER
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use hansa_api::pb::admin::InvariantReport;

    use super::*;

    #[test]
    fn unknown_is_not_a_pass() {
        let with = |verdicts: &[Verdict]| CheckInvariantsResponse {
            reports: verdicts
                .iter()
                .map(|verdict| InvariantReport { verdict: (*verdict).into(), ..Default::default() })
                .collect(),
        };
        assert_eq!(code(&with(&[Verdict::Held, Verdict::Held])), 0);
        assert_eq!(code(&with(&[Verdict::Held, Verdict::Unknown])), 3);
        assert_eq!(code(&with(&[Verdict::Unknown, Verdict::Violated])), 1);
        assert_eq!(code(&with(&[])), 3);
    }
}
