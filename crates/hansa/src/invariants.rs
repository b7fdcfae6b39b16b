//! The invariants of every region, asked for over the public API until they are settled.

use std::time::{Duration, Instant};

use hansa_api::pb::admin::{CheckInvariantsRequest, InvariantReport, Verdict};
use hansa_api::status::Failure;
use hansa_types::id::GroupId;
use hansa_types::region::RegionName;

use crate::replay::doors::Doors;

const ASK_EVERY: Duration = Duration::from_millis(500);
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// What each region answered last.
#[derive(Debug, Default)]
pub struct Settled {
    regions: Vec<(RegionName, Result<Vec<InvariantReport>, Failure>)>,
}

/// Asks every region until all hold, or until `bound` has passed.
pub async fn settle(doors: &Doors, bound: Duration) -> Settled {
    let deadline = Instant::now() + bound;
    loop {
        let mut settled = Settled::default();
        for region in doors.regions() {
            let answer = ask(doors, &region).await;
            settled.regions.push((region, answer));
        }
        if settled.all_held() || Instant::now() >= deadline {
            return settled;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn ask(doors: &Doors, region: &RegionName) -> Result<Vec<InvariantReport>, Failure> {
    let Some(mut door) = doors.pick(region, 0, 0) else { return Ok(Vec::new()) };
    let message = CheckInvariantsRequest { region: region.to_string() };
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    let answer = door.operator.admin.check_invariants(request).await;
    answer.map(|response| response.into_inner().reports).map_err(Failure::from)
}

impl Settled {
    /// Every region answered, checked something, and all of it holds: unknown is no pass.
    #[must_use]
    pub fn all_held(&self) -> bool {
        let held = |reports: &Vec<InvariantReport>| {
            !reports.is_empty() && reports.iter().all(|report| report.verdict() == Verdict::Held)
        };
        !self.regions.is_empty()
            && self.regions.iter().all(|(_, answer)| answer.as_ref().is_ok_and(held))
    }

    /// How many invariants the regions checked.
    #[must_use]
    pub fn checked(&self) -> usize {
        self.regions.iter().filter_map(|(_, answer)| answer.as_ref().ok()).map(Vec::len).sum()
    }

    /// One line a region, and one for each thing that does not hold.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (region, answer) in &self.regions {
            match answer {
                Ok(reports) => {
                    let held = reports.iter().filter(|report| report.verdict() == Verdict::Held);
                    let (held, all) = (held.count(), reports.len());
                    lines.push(format!("invariants in {region}: {held} of {all} hold"));
                    let wrong = reports.iter().filter(|report| report.verdict() != Verdict::Held);
                    lines.extend(wrong.map(line));
                }
                Err(failure) => {
                    lines.push(format!("invariants in {region}: not checked: {failure}"));
                }
            }
        }
        lines
    }
}

fn line(report: &InvariantReport) -> String {
    let group = GroupId::from_number(report.group).map_or_else(String::new, |g| format!(" in {g}"));
    let verdict = report.verdict().as_str_name().trim_start_matches("VERDICT_").to_lowercase();
    let InvariantReport { number, name, detail, .. } = report;
    format!("  {number} {name}{group}: {verdict}: {detail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(verdicts: &[Verdict]) -> Settled {
        let report = |verdict: &Verdict| InvariantReport {
            verdict: (*verdict).into(),
            ..Default::default()
        };
        let region = "eu-west".parse().expect("a name");
        Settled { regions: vec![(region, Ok(verdicts.iter().map(report).collect()))] }
    }

    #[test]
    fn nothing_checked_and_nothing_known_are_no_pass() {
        assert!(settled(&[Verdict::Held]).all_held());
        assert!(!settled(&[Verdict::Held, Verdict::Unknown]).all_held());
        assert!(!settled(&[Verdict::Violated]).all_held());
        assert!(!settled(&[]).all_held());
        assert!(!Settled::default().all_held());
    }
}
