//! Nodes that lost their volumes. Each has forgotten what it promised: until it has a new place,
//! and with it a new id, nothing may be built on it.

use std::collections::BTreeSet;

use super::State;

#[derive(Default)]
pub(super) struct Lost(BTreeSet<usize>);

impl Lost {
    pub fn add(&mut self, seat: usize) {
        self.0.insert(seat);
    }

    /// It has a new place.
    pub fn remove(&mut self, seat: usize) {
        self.0.remove(&seat);
    }

    /// One that serves again as what it was; told once.
    pub fn back(&mut self, seats: &[State]) -> Option<String> {
        let serves = |seat: &&usize| seats[**seat].seat.groups().iter().any(|one| one.applied > 0);
        let seat = *self.0.iter().find(serves)?;
        self.0.remove(&seat);
        let name = seats[seat].seat.name();
        Some(format!("{name} lost its volume and serves again under its old id"))
    }
}
