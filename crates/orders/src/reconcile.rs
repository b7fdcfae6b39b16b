//! What the orders role tells and does for reconciliation.

mod facts;
mod verbs;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hansa_api::facts::{Asked, Telling};
use hansa_api::pb::admin as pb;
use hansa_api::status::Failure;
use hansa_types::id::GroupId;
use tokio::time::Instant;

use crate::machine::OrdersMachine;
use crate::shell::not_read;
use crate::start::Orders;

impl Orders {
    /// Freezes an orders group that this node leads, and tells its facts as far as the reader takes
    /// them: of these orders, or of all when none is named.
    ///
    /// # Errors
    /// Not the leader.
    pub async fn tell_facts(
        &self,
        group: GroupId,
        asked: Asked,
        due: Instant,
    ) -> Result<BoxFuture<'static, ()>, Failure> {
        let hosted = self.shell().hosted(group)?.clone();
        let only = &asked.only;
        let look = |machine: &OrdersMachine, at| (facts::Frozen::of(&machine.state, only), at);
        let (frozen, at) = hosted.group.read_at(due, look).await.map_err(not_read)?;
        let head = pb::FactsHead {
            group: group.number(),
            node: hosted.group.node().0,
            index: at.index,
            log_time_ms: at.time.ms(),
            state_hash: at.state_hash.to_string(),
        };
        Ok(Box::pin(facts::tell(frozen, head, Telling::new(&asked)).map(|_gone| ())))
    }
}
