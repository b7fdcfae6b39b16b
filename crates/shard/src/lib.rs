//! An orders group's machine, which may keep stock and money books of its own beside the orders:
//! one log has all three, and each has a name, commands and records of its own.
//!
//! - [`machine`]: the machine as consensus runs it. Without books it writes and hashes what the
//!   order machine does, to the byte.
//!
//! Absent on purpose: this room knows nothing of what an order has its books do.

pub mod machine;

#[cfg(test)]
mod tests;
