//! Why a group stopped, noted where it happened and read where it is acted on.

use parking_lot::Mutex;

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub what: String,
    /// Damage or divergence concerns the group only; anything else ends the process.
    pub group_only: bool,
    /// What is on this disk must not be served again.
    pub for_good: bool,
}

/// The first problem of a group; later ones follow from it.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    first: Mutex<Option<Problem>>,
}

impl Trouble {
    pub fn note(&self, what: String, group_only: bool) {
        self.first.lock().get_or_insert(Problem { what, group_only, for_good: group_only });
    }

    /// This binary does not apply what the group is at: another one serves the same disk.
    pub fn note_version(&self, what: String) {
        let problem = Problem { what, group_only: true, for_good: false };
        self.first.lock().get_or_insert(problem);
    }

    pub fn first(&self) -> Option<Problem> {
        self.first.lock().clone()
    }
}
