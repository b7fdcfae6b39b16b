//! Every kind of file that a node keeps, one file of code each.

mod anchors;
mod archive;
mod aside;
pub mod backup;
mod checkpoint;
mod empty;
mod forgotten;
mod identity;
mod log;
pub mod metrics;
pub mod pem;
pub mod policy;
pub mod sandbox;
mod stopped;
pub mod trace;
pub mod vault;
pub mod view;

pub(crate) use self::archive::carved_if;
use self::aside::Aside;
use crate::format::Format;

/// All of them, in the order in which they are asked whether a file is theirs.
pub fn all() -> Vec<Box<dyn Format>> {
    vec![
        Box::new(log::Log),
        Box::new(log::LogFormat),
        Box::new(checkpoint::Checkpoint),
        Box::new(archive::Archive),
        Box::new(identity::Identity),
        Box::new(anchors::Anchors),
        Box::new(stopped::Stopped),
        Box::new(forgotten::Forgotten),
        Box::new(Aside(log::LogFormat)),
        Box::new(Aside(identity::Identity)),
        Box::new(Aside(anchors::Anchors)),
        Box::new(Aside(stopped::Stopped)),
        Box::new(Aside(forgotten::Forgotten)),
        Box::new(empty::Empty),
        Box::new(vault::VaultFile),
        Box::new(sandbox::Journal),
        Box::new(sandbox::Settlement),
        Box::new(pem::Pem),
        Box::new(policy::PolicyFile),
        Box::new(backup::Manifested),
        Box::new(view::Engine),
    ]
}
