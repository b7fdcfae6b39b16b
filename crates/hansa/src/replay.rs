//! Real orders, replayed: the file is mapped honestly (`core`), then driven into a league.

pub mod core;
