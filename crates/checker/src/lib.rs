//! What may be believed of a run: histories of what clients saw, and verdicts on them.
//!
//! Pure: no clock, no async, no network; the only I/O is a history as JSON lines. The simulator and
//! the suite of real processes record the same [`History`], fill the same [`FinalState`] after the
//! faults have healed, and ask the same questions.

pub mod final_state;
pub mod history;
#[cfg(test)]
mod house;
pub mod invariants;
pub mod judge;
pub mod life;
pub mod lines;
pub mod loss;
pub mod order;
pub mod payment;
pub mod recorder;
pub mod request;
pub mod requests;
pub mod seen;
pub mod stock;
#[cfg(test)]
mod testing;
pub mod trace;
pub mod verdict;
pub mod watch;
pub mod wgl;
#[cfg(feature = "wire")]
pub mod wire;

pub use final_state::FinalState;
pub use history::{Answer, Call, History, Op, Outcome};
pub use judge::{BUDGET, Judgement, judge, with_final_reads};
pub use recorder::{Recorder, Ticket};
pub use verdict::Verdict;
