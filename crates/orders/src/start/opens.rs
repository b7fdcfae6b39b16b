//! How an orders group is opened.

use hansa_consensus::{Group, GroupSpec, Host};
use hansa_region_router::core::directory::Snapshot;

use super::StartError;
use crate::core::settings::Settings;
use crate::machine::OrdersMachine;

/// Opens orders groups: whoever composes the node knows of what machine the orders are a part.
#[tonic::async_trait]
pub trait Opens: Send + Sync {
    /// Opens a group as the directory has it now; with `rules` it begins, if it has not.
    ///
    /// # Errors
    /// The host's, and what goes with the group and does not start.
    async fn open(
        &self,
        host: &Host,
        now: &Snapshot,
        spec: GroupSpec,
        rules: Settings,
    ) -> Result<Group<OrdersMachine>, StartError>;
}
