//! What went wrong, what to do next, and the exit code that says so to scripts.

use std::process::ExitCode;

use hansa_api::status::{Failure, Kind, Reason};

/// Exit codes; `--help` lists them.
pub const WRONG: u8 = 1;
const USAGE: u8 = 2;
pub const NO_ANSWER: u8 = 3;
pub const REFUSED: u8 = 4;
const NOT_FOUND: u8 = 5;
const NOT_ALLOWED: u8 = 6;

/// A command that could not be done. Always says what to do next.
#[derive(Debug)]
pub struct Problem {
    code: u8,
    what: String,
    next: String,
}

impl Problem {
    /// The command line or a file it names is wrong.
    pub fn usage(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { code: USAGE, what: what.into(), next: next.into() }
    }

    /// Nobody answered.
    pub fn unreachable(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { code: NO_ANSWER, what: what.into(), next: next.into() }
    }

    /// What was asked for is not to be had; nothing changed.
    pub fn refused(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { code: REFUSED, what: what.into(), next: next.into() }
    }

    /// This process failed, not the league.
    pub fn failed(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { code: NO_ANSWER, what: what.into(), next: next.into() }
    }

    /// What was asked for is not there.
    pub fn not_found(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { code: NOT_FOUND, what: what.into(), next: next.into() }
    }

    /// Whether what was asked for is not there, as against: nobody could say.
    pub fn is_not_found(&self) -> bool {
        self.code == NOT_FOUND
    }

    /// Whether it was refused, as against: nobody could do it just now.
    pub fn is_refused(&self) -> bool {
        self.code == REFUSED
    }

    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    pub fn text(&self) -> String {
        format!("error: {}\nnext: {}", self.what, self.next)
    }
}

impl From<tonic::Status> for Problem {
    fn from(status: tonic::Status) -> Self {
        Failure::from(&status).into()
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let (code, next) = advice(&failure);
        Self { code, what: failure.to_string(), next: next.to_owned() }
    }
}

/// The exit code of a refusal and the sentence that helps.
fn advice(failure: &Failure) -> (u8, &'static str) {
    if failure.reason() == Reason::MembershipRefused {
        let next = "`member list` and `node list` show how it stands; see --help of the command";
        return (REFUSED, next);
    }
    if failure.reason() == Reason::VersionNotSupported {
        return (
            REFUSED,
            "`version list` shows what each node runs; upgrade those named, then repeat",
        );
    }
    match failure.reason() {
        Reason::OwnershipRefused => {
            return (REFUSED, "`region status` shows who owns what; see --help of the command");
        }
        Reason::EpochEnded => {
            let next = "somebody was quicker: look at `region status`, then repeat the command";
            return (REFUSED, next);
        }
        Reason::NoLawfulRegion => {
            let next = "`region status -o json` lists lawful regions under `heirs`; \
                        --leave-unserved goes on without those residents";
            return (REFUSED, next);
        }
        _ => {}
    }
    if matches!(failure.reason(), Reason::PolicyRefused | Reason::PolicyNotNewer) {
        let next = "`residency check FILE` shows every problem, `residency show` what is loaded";
        return (REFUSED, next);
    }
    match failure.kind() {
        Kind::InvalidArgument => (REFUSED, "correct the fields named above; see --help"),
        Kind::NotFound => {
            (NOT_FOUND, "check the name; `order list`, `stock list` and `node list` show names")
        }
        Kind::PermissionDenied => {
            (NOT_ALLOWED, "use a client whose role allows this: --as, or --cert and --key")
        }
        Kind::Unauthenticated => {
            (NOT_ALLOWED, "check --cert, --key and --ca; the certificate may have expired")
        }
        Kind::FailedPrecondition => {
            (REFUSED, "look at the current state first (`order get`, `stock get`)")
        }
        Kind::Aborted | Kind::ResourceExhausted => {
            (NO_ANSWER, "wait a moment and repeat; the same --request-id makes a repeat safe")
        }
        Kind::Unavailable | Kind::DeadlineExceeded | Kind::Cancelled => {
            let asleep = "`group list` shows which groups have a leader; repeat with the same \
                          --request-id, or a longer --timeout";
            (NO_ANSWER, asleep)
        }
        Kind::Unimplemented => {
            (REFUSED, "the league is of another version; use the hansactl that came with it")
        }
        Kind::Internal => (NO_ANSWER, "look at the node's log; this is a fault of the league"),
    }
}
