//! What came of a submit or a read, to a caller over gRPC.

use std::time::Duration;

use hansa_api::status::{Failure, Reason};
use tokio::time::Instant;

use crate::outcome::{ReadError, SubmitError};

/// When to ask again after the leader changed.
const SOON: Duration = Duration::from_millis(100);

/// A submit that came to nothing, to a caller who repeats with the same request id.
pub fn not_submitted(error: SubmitError, deadline: Instant) -> Failure {
    match error {
        SubmitError::NotLeader { leader } => Failure::not_leader(leader),
        SubmitError::Overloaded { retry_after } => overloaded(retry_after),
        SubmitError::DiskFull { retry_after } => {
            Failure::of(Reason::DiskFull).retry_after(retry_after)
        }
        SubmitError::Unknown if Instant::now() >= deadline => Failure::of(Reason::DeadlineExceeded),
        // The leader changed meanwhile: the same request id finds out what became of it.
        SubmitError::Unknown => Failure::of(Reason::Unavailable).retry_after(SOON),
        SubmitError::TooLarge => Failure::of(Reason::MessageTooLarge),
        SubmitError::Stopped => Failure::of(Reason::GroupStopped),
    }
}

pub fn not_read(error: ReadError) -> Failure {
    match error {
        ReadError::NotLeader { leader } => Failure::not_leader(leader),
        ReadError::Deadline => Failure::of(Reason::DeadlineExceeded),
        ReadError::Overloaded { retry_after } => overloaded(retry_after),
        ReadError::Stopped => Failure::of(Reason::GroupStopped),
    }
}

fn overloaded(retry_after: Duration) -> Failure {
    Failure::of(Reason::Overloaded).retry_after(retry_after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_before_the_deadline_may_be_asked_again() {
        let later = Instant::now() + Duration::from_secs(10);
        let told = |deadline| not_submitted(SubmitError::Unknown, deadline).reason();
        assert_eq!(told(later), Reason::Unavailable);
        assert_eq!(told(Instant::now()), Reason::DeadlineExceeded);
    }
}
