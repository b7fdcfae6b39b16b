//! The pure half: who may, what a body begins with, whether replicas agree.

pub mod authz;
pub mod frame;
pub mod replicas;
