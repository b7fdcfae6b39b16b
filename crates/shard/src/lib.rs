//! An orders group's machine, which may keep stock and money books of its own beside the orders:
//! one log has all three, and each has a name, commands and records of its own.
//!
//! - [`machine`]: the machine as consensus runs it. Without books it writes and hashes what the
//!   order machine does, to the byte.
//! - `book`: the books as the orders use them within an entry, by the commands that a lane would
//!   have carried.
//! - [`invariants`]: what must hold between the three at every entry.
//!
//! Absent on purpose: this room knows nothing of when an order has its books do something.

mod book;
pub mod invariants;
pub mod machine;

#[cfg(test)]
mod tests;
