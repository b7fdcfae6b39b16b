//! Plain values that every room shares: ids, money, time, regions, limits. No async, wire or I/O.

pub mod country;
pub mod hash;
pub mod id;
pub mod identity;
pub mod limits;
pub mod money;
pub mod pan;
pub mod region;
pub mod seeded;
pub mod time;
