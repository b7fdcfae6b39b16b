//! State in fixed pages behind `Arc`: a table that freezes by cloning page pointers.
//!
//! Replicated machines keep their records here. A later write copies one page, so a checkpoint or
//! a snapshot can be written from a frozen view while commands go on being applied. A [`Shelf`]
//! says what has left them.
//!
//! What is absent: secondary indexes. They are derived, so their owner rebuilds them after a read.

mod frozen;
mod index;
mod key_hash;
pub mod shelf;
mod table;

pub use frozen::{Frozen as FrozenTable, ReadError};
pub use shelf::Shelf;
pub use table::Table;

use std::fmt::Debug;
use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a table can be keyed by.
pub trait Key: Clone + Eq + Hash + Debug + Serialize + DeserializeOwned + Send + Sync {}
impl<T: Clone + Eq + Hash + Debug + Serialize + DeserializeOwned + Send + Sync> Key for T {}

/// What a table can hold. `Hash` feeds the state digest, so it must cover every field that
/// replicas must agree on.
pub trait Record: Clone + Hash + Serialize + DeserializeOwned + Send + Sync {}
impl<T: Clone + Hash + Serialize + DeserializeOwned + Send + Sync> Record for T {}
