//! Real orders, replayed: the file is mapped honestly (`core`), then driven into a league.

pub mod core;
pub mod doors;
pub mod drive;
pub mod memory;
pub mod progress;
pub mod report;
pub mod run;
pub mod schedule;
pub mod table;
