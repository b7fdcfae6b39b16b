//! Copies in other regions are, in the end, what the home has (reliability.md I9): none is missing,
//! none is behind, none differs.

use crate::final_state::CopySeen;
use crate::order::same;
use crate::verdict::Reason;

use super::Settled;

pub fn check(settled: Settled<'_>) -> Vec<Reason> {
    let mut wrong = Vec::new();
    let left = |copy: &&CopySeen| settled.state.loss.may_be_gone(&copy.order);
    for copy in settled.state.copies.iter().filter(|copy| !left(copy)) {
        let Some(Some(home)) = settled.state.orders.get(&copy.order) else { continue };
        let what = match &copy.seen {
            None => Some("is missing".to_owned()),
            Some(seen) if seen.version != home.version => {
                Some(format!("is at version {}, its home at {}", seen.version, home.version))
            }
            Some(seen) if !same(seen, home) => Some("differs from its home".to_owned()),
            Some(_) => None,
        };
        if let Some(what) = what {
            let subject = format!("{} in {}", copy.order, copy.region);
            wrong.push(Reason::new("copies converge", subject, what));
        }
    }
    wrong
}
