//! After the faults: everything heals, the house settles, and is looked at from end to end.

mod read;

use std::time::Duration;

use hansa_checker::{BUDGET, FinalState};
use tokio::time::Instant;

use crate::load::Run;
use crate::processes::Processes;
use crate::suite;

/// Domain.md §7: settled 60 s after the faults have healed. A busy machine gets more.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

/// Waits until the house has settled, reads all of it, and judges the run.
///
/// # Panics
/// When anything is wrong, with the history left beside the nodes' data.
pub async fn check(league: &Processes, run: &Run) -> FinalState {
    let house = settle(league, run).await;
    judge(league, run, &house);
    house
}

/// Every region's invariants hold, and its replicas have come to one index each.
pub async fn settle(league: &Processes, run: &Run) -> FinalState {
    let settled = hansa::invariants::settle(&league.doors, SETTLED_WITHIN).await;
    assert!(settled.all_held(), "{}", settled.lines().join("\n"));
    let deadline = Instant::now() + SETTLED_WITHIN;
    let groups = loop {
        let groups = read::groups(league).await;
        match read::unequal(&groups) {
            None => break groups,
            Some(why) => assert!(Instant::now() < deadline, "{why}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    walk_chains(league);
    read::all(league, &run.history, groups).await
}

/// Every replica's audit chain from genesis over archive and log, as an operator has it walked.
fn walk_chains(league: &Processes) {
    for region in league.profile.regions.keys() {
        let verify = ["--region", region.as_str(), "-o", "json", "audit", "verify"];
        let told = league.ctl(&verify).output().expect("hansactl runs");
        let said = String::from_utf8_lossy(&told.stdout);
        assert!(told.status.success(), "{said}{}", String::from_utf8_lossy(&told.stderr));
        let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        suite::checked("audit chains walked", report["findings"].as_array().map_or(0, Vec::len));
    }
}

fn judge(league: &Processes, run: &Run, house: &FinalState) {
    let judgement = hansa_checker::judge(&run.history, &[], Some(house), BUDGET);
    for (class, count) in judgement.checks() {
        suite::checked(class.trim_start_matches("checked "), count);
    }
    let replicas = house.groups.iter().map(|group| group.replicas.len()).sum();
    suite::checked("state hashes of replicas", replicas);
    suite::checked("orders read in the end", house.orders.len());
    if judgement.verdict.passed() {
        println!("{judgement}");
        return suite::publish();
    }
    let file = league.data.join("history.jsonl");
    let write = std::fs::File::create(&file).expect("a file");
    let judged = hansa_checker::with_final_reads(&run.history, Some(house));
    hansa_checker::lines::write(&judged, write).expect("the history is written");
    panic!("{judgement}\nhistory: {}", file.display());
}
