//! One seed's judgement.

use hansa_checker::judge::{BUDGET, judge};
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
    pub checks: Vec<(&'static str, usize)>,
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
    let judgement = judge(history, streams, finals, BUDGET);
    let (mut word, mut reasons) = match &judgement.verdict {
        Verdict::Pass => (Word::Pass, Vec::new()),
        Verdict::Fail(why) => (Word::Fail, why.iter().map(ToString::to_string).collect()),
        Verdict::Unknown(why) => (Word::Unknown, why.clone()),
    };
    if finals.is_none() {
        word = Word::Fail;
    }
    if !wrong.is_empty() {
        word = Word::Fail;
        reasons.extend(wrong);
    }
    Judged { word, reasons, ops: judgement.ops, checks: judgement.checks().to_vec() }
}
