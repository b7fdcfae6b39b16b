//! What a region does while it is cut off, in this region's directory.

use hansa_api::pb::admin as pb;
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_region_router::core::directory::{Command, Isolation};
use hansa_region_router::forward::Upstreams;

use super::super::{Own, change_directory};

/// # Errors
/// `UNKNOWN_REGION`, a lease out of bounds, and what the directory says.
pub(super) async fn run<U: Upstreams>(
    own: &Own<U>,
    request: &pb::SetIsolationRequest,
    due: Deadline,
) -> Result<pb::SetIsolationResponse, Failure> {
    let now = own.directory()?;
    let region = now.number_of(&request.of_region).ok_or(Reason::UnknownRegion)?;
    let isolation = match request.lease_ms {
        0 => Isolation::Serve,
        ms => Isolation::Lease { ms },
    };
    let command = Command::SetIsolation { region, isolation };
    let changed = change_directory(&own.upstreams, &own.book, &now, &command, due).await?;
    let directory_version = changed.version;
    Ok(pb::SetIsolationResponse { changed: changed.changed, directory_version })
}
