//! One seed's judgement.

use hansa_checker::judge::{BUDGET, BUDGET_AFTER, judge};
use hansa_checker::watch::Stream;
use hansa_checker::{FinalState, History, Verdict};
use serde::{Deserialize, Serialize};

/// Pass, fail or unknown; unknown is no pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    Pass,
    Fail,
    Unknown,
}

/// The word, and every reason for it.
#[derive(Clone, Debug)]
pub struct Judged {
    pub word: Word,
    pub reasons: Vec<String>,
    pub ops: usize,
    /// Checks that were made, by class.
    pub checks: Vec<(String, usize)>,
}

/// Judges what the simulator saw (`wrong`: panics, ends without a cause, no progress) and what the
/// clients were told.
#[must_use]
pub fn of(
    wrong: Vec<String>,
    history: &History,
    streams: &[Stream],
    finals: Option<&FinalState>,
) -> Judged {
    // What has failed already need not be searched to the end.
    let budget = if wrong.is_empty() { BUDGET } else { BUDGET_AFTER };
    let judgement = judge(history, streams, finals, budget);
    let (mut word, reasons) = match &judgement.verdict {
        Verdict::Pass => (Word::Pass, Vec::new()),
        Verdict::Fail(why) => (Word::Fail, why.iter().map(ToString::to_string).collect()),
        Verdict::Unknown(why) => (Word::Unknown, why.clone()),
    };
    if finals.is_none() || !wrong.is_empty() {
        word = Word::Fail;
    }
    // What failed it comes first, before what could not be known because of that.
    let reasons = match judgement.verdict.failed() {
        true => reasons.into_iter().chain(wrong).collect(),
        false => wrong.into_iter().chain(reasons).collect(),
    };
    let invariants = judgement.settled.iter();
    let invariants = invariants.map(|(name, times)| (format!("invariant {name}"), *times));
    let all = judgement.checks().map(|(what, times)| (what.to_owned(), times)).into_iter();
    let checks = all.chain(invariants).collect();
    Judged { word, reasons, ops: judgement.ops, checks }
}
