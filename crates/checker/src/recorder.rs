//! Recording a history: instants that are unique, and ops that nobody forgets.

use crate::history::{Call, History, Op, Outcome};

/// Collects a history. Share it behind a lock; take the clock's reading inside the lock.
///
/// Instants are made unique by adding nanoseconds, so that a coarse or simulated clock still says
/// which of two things came first: the one that was recorded first.
#[derive(Debug, Default)]
pub struct Recorder {
    history: History,
    last: u64,
}

/// A call that was begun.
#[derive(Debug)]
#[must_use = "a ticket that is dropped leaves its call open: an unknown outcome"]
pub struct Ticket(usize);

impl Recorder {
    /// Notes a call just before it is sent.
    pub fn invoke(&mut self, client: u32, call: Call, now_ns: u64) -> Ticket {
        let invoked = self.stamp(now_ns);
        let outcome = Outcome::Unknown { why: "not returned".to_owned() };
        let id = self.history.ops.len();
        let op = Op { id: id as u64, client, call, invoked, returned: None, outcome };
        self.history.ops.push(op);
        Ticket(id)
    }

    /// Notes how it ended, just after its answer or its failure came.
    pub fn finish(&mut self, ticket: Ticket, outcome: Outcome, now_ns: u64) {
        let returned = self.stamp(now_ns);
        if let Some(op) = self.history.ops.get_mut(ticket.0) {
            op.returned = Some(returned);
            op.outcome = outcome;
        }
    }

    pub fn history(&self) -> &History {
        &self.history
    }

    pub fn into_history(self) -> History {
        self.history
    }

    fn stamp(&mut self, now_ns: u64) -> u64 {
        self.last = now_ns.max(self.last + 1);
        self.last
    }
}
