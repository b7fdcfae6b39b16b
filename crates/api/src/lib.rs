//! The wire: `proto/` compiled, and everything that stands between it and plain values.
//!
//! Knows nothing of storage or Raft. A gRPC status is made in [`status`] and nowhere else.

pub mod classes;
pub mod client;
pub mod codec;
pub mod convert;
pub mod facts;
pub mod first_sent;
pub mod methods;
pub mod ownership;
pub mod pb;
pub mod place_orders;
pub mod principal;
pub mod routing;
pub mod signature;
pub mod status;
pub mod sweep;
pub mod together;

/// The encoded `FileDescriptorSet` of every package, with imports, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.binpb"));
