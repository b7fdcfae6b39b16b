use hansa_api::pb::admin::{RetireNodeRequest, RetireNodeResponse};
use hansa_api::status::Failure;
use hansa_region_router::core::directory::Command;
use hansa_region_router::forward::Upstreams;

use super::Desk;

impl<U: Upstreams> Desk<'_, U> {
    pub async fn retire_node(
        &self,
        request: &RetireNodeRequest,
    ) -> Result<RetireNodeResponse, Failure> {
        let node = self.node(&request.node)?.id;
        let version = self.change(&Command::RetireNode { node }).await?.version;
        Ok(RetireNodeResponse { version })
    }
}
