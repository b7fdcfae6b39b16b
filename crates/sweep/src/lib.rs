//! What a node keeps, byte by byte, and whether the law lets it.
//!
//! - [`Sweep`]: walks all files of a node, a piece at a time; every byte is explained or listed.
//! - [`format`]: a kind of file; [`formats`] has one file for each.
//! - `says`: what a command, a record or a row says of whom.
//! - `carve`: copies of orders in bytes that no store reads any more.
//! - [`law`]: whether that may be here; pure.
//! - [`disk`]: a disk that is only read.
//! - [`findings`]: what was found, by place.
//!
//! Absent on purpose: this room changes no file, talks to nobody, and knows no node: it is given a
//! file system, a policy and a place.

mod carve;
pub mod disk;
pub mod fact;
pub mod findings;
pub mod format;
pub mod formats;
pub mod law;
mod says;
pub mod walk;

#[cfg(test)]
mod tests;

/// Takes in every shipped copy of an order that lies in `bytes`. An answer to a call looks alike
/// and names its epoch, which no shipped copy does.
pub fn search(bytes: &[u8], place: &str, to: &mut Findings) {
    let place = findings::Place { file: place.into(), stays: findings::Stays::Kept };
    let shipped = |order: &hansa_api::pb::order::Order| order.epoch == 0;
    formats::carved_if(bytes, &place, to, shipped);
}

pub use findings::{Findings, Found, Unexplained, Verdict};
pub use law::Law;
pub use walk::{Root, Step, Sweep};
