//! The pure half: what the law says, who owns what, and where a call goes.

pub mod directory;
pub mod heir;
pub mod home;
pub mod hunt;
pub mod policy;
pub mod route;
pub mod standing;
