//! Rows to actions to a plan. Pure: no clock, no socket, no chance that is not seeded.

pub mod action;
pub mod code;
pub mod country;
pub mod mapping;
pub mod matching;
pub mod plan;
pub mod request;
pub mod row;
pub mod synthetic;
