//! Channels to gateways, and the typed clients that run over one.

use std::sync::Arc;
use std::time::Duration;

use hansa_types::limits::{CONNECTION_WINDOW_BYTES, PEER_MESSAGE_BYTES_MAX};
use http::Uri;
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};

use super::reach::{Reach, Runs, Stream, Tls};
use super::tls::{Expect, Identity};
use crate::pb::admin::admin_service_client::AdminServiceClient;
use crate::pb::admin::audit_service_client::AuditServiceClient;
use crate::pb::admin::backup_service_client::BackupServiceClient;
use crate::pb::admin::key_service_client::KeyServiceClient;
use crate::pb::admin::membership_service_client::MembershipServiceClient;
use crate::pb::admin::reconcile_service_client::ReconcileServiceClient;
use crate::pb::admin::region_loss_service_client::RegionLossServiceClient;
use crate::pb::admin::replication_service_client::ReplicationServiceClient;
use crate::pb::admin::residency_service_client::ResidencyServiceClient;
use crate::pb::admin::version_service_client::VersionServiceClient;
use crate::pb::customer::customer_service_client::CustomerServiceClient;
use crate::pb::inventory::inventory_service_client::InventoryServiceClient;
use crate::pb::order::order_service_client::OrderServiceClient;
use crate::pb::payment::payment_service_client::PaymentServiceClient;
use crate::pb::region::region_service_client::RegionServiceClient;

/// How long a channel waits, and how it notices that its peer has gone.
///
/// Measured: after a 40 s partition a channel without HTTP/2 keepalive came back 14.5 s later, one
/// with 1 s / 1 s 0.2 s later (research/ecosystem.md §1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// TCP and TLS handshake together.
    pub connect: Duration,
    /// A ping after this long without traffic, calls in flight or not.
    pub keepalive: Duration,
    /// The peer is gone when a ping is not answered in this time.
    pub keepalive_timeout: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            keepalive: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(3),
        }
    }
}

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("`{0}` is not host:port")]
    Endpoint(String),
    #[error("{endpoint}: {}", innermost(source))]
    Unreachable { endpoint: String, source: tonic::transport::Error },
    #[error("no endpoint is given")]
    NoEndpoint,
}

/// The cause that says something: tonic's own text is "transport error".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// A channel to `endpoint` (`host:port`), connected before this returns.
///
/// # Errors
/// Also when something answers that is not `expect`.
pub async fn connect(
    identity: &Identity,
    endpoint: &str,
    expect: &Expect,
    timing: Timing,
) -> Result<Channel, ConnectError> {
    connect_over(&reach(identity), endpoint, expect, timing).await
}

/// The same over any reach.
///
/// # Errors
/// As there.
pub async fn connect_over(
    reach: &Arc<dyn Reach>,
    endpoint: &str,
    expect: &Expect,
    timing: Timing,
) -> Result<Channel, ConnectError> {
    let (settings, connector) = prepare(reach, endpoint, expect, timing)?;
    let unreachable = |source| ConnectError::Unreachable { endpoint: endpoint.to_owned(), source };
    settings.connect_with_connector(connector).await.map_err(unreachable)
}

/// A channel that connects at its first call; must be made inside a tokio runtime.
///
/// # Errors
/// Only for an endpoint that is not `host:port`.
pub fn connect_lazy(
    identity: &Identity,
    endpoint: &str,
    expect: &Expect,
    timing: Timing,
) -> Result<Channel, ConnectError> {
    connect_lazy_over(&reach(identity), endpoint, expect, timing)
}

/// The same over any reach.
///
/// # Errors
/// As there.
pub fn connect_lazy_over(
    reach: &Arc<dyn Reach>,
    endpoint: &str,
    expect: &Expect,
    timing: Timing,
) -> Result<Channel, ConnectError> {
    let (settings, connector) = prepare(reach, endpoint, expect, timing)?;
    Ok(settings.connect_with_connector_lazy(connector))
}

fn reach(identity: &Identity) -> Arc<dyn Reach> {
    Arc::new(Tls(identity.clone()))
}

fn prepare(
    reach: &Arc<dyn Reach>,
    endpoint: &str,
    expect: &Expect,
    timing: Timing,
) -> Result<(Endpoint, impl Connect), ConnectError> {
    let bad = |_| ConnectError::Endpoint(endpoint.to_owned());
    // The scheme is what tonic sees; TLS is ours, inside the connector.
    let uri: Uri = format!("http://{endpoint}").parse().map_err(bad)?;
    if uri.port_u16().is_none() || uri.path() != "/" {
        return Err(ConnectError::Endpoint(endpoint.to_owned()));
    }
    let settings = Endpoint::from(uri)
        .executor(Runs(reach.clone()))
        .connect_timeout(timing.connect)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(timing.keepalive)
        .keep_alive_timeout(timing.keepalive_timeout)
        .keep_alive_while_idle(true);
    let (reach, expect) = (reach.clone(), expect.clone());
    let connector = tower::service_fn(move |uri: Uri| {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let dialling = reach.dial(host, uri.port_u16().unwrap_or_default(), &expect);
        async move { dialling.await.map(TokioIo::new) }
    });
    Ok((settings, connector))
}

/// What tonic asks of a connector, by one name.
trait Connect:
    tower::Service<Uri, Response = Wire, Error = std::io::Error, Future: Send> + Send + 'static
{
}

impl<S> Connect for S where
    S: tower::Service<Uri, Response = Wire, Error = std::io::Error, Future: Send> + Send + 'static
{
}

type Wire = TokioIo<Box<dyn Stream>>;

/// The public services over one channel; cheap to clone.
#[derive(Clone, Debug)]
pub struct Services {
    pub orders: OrderServiceClient<Channel>,
    pub inventory: InventoryServiceClient<Channel>,
    pub payments: PaymentServiceClient<Channel>,
    pub regions: RegionServiceClient<Channel>,
    pub admin: AdminServiceClient<Channel>,
    pub audit: AuditServiceClient<Channel>,
    pub membership: MembershipServiceClient<Channel>,
    pub region_loss: RegionLossServiceClient<Channel>,
    pub residency: ResidencyServiceClient<Channel>,
    pub versions: VersionServiceClient<Channel>,
    pub keys: KeyServiceClient<Channel>,
    pub customers: CustomerServiceClient<Channel>,
    pub backups: BackupServiceClient<Channel>,
    pub reconcile: ReconcileServiceClient<Channel>,
    pub replication: ReplicationServiceClient<Channel>,
}

impl Services {
    pub fn new(channel: Channel) -> Self {
        // A page of large orders is larger than tonic's 4 MiB.
        let max = PEER_MESSAGE_BYTES_MAX;
        Self {
            orders: OrderServiceClient::new(channel.clone()).max_decoding_message_size(max),
            inventory: InventoryServiceClient::new(channel.clone()).max_decoding_message_size(max),
            payments: PaymentServiceClient::new(channel.clone()).max_decoding_message_size(max),
            regions: RegionServiceClient::new(channel.clone()).max_decoding_message_size(max),
            audit: AuditServiceClient::new(channel.clone()).max_decoding_message_size(max),
            admin: AdminServiceClient::new(channel.clone()).max_decoding_message_size(max),
            membership: MembershipServiceClient::new(channel.clone())
                .max_decoding_message_size(max),
            region_loss: RegionLossServiceClient::new(channel.clone())
                .max_decoding_message_size(max),
            residency: ResidencyServiceClient::new(channel.clone()).max_decoding_message_size(max),
            versions: VersionServiceClient::new(channel.clone()).max_decoding_message_size(max),
            keys: KeyServiceClient::new(channel.clone()).max_decoding_message_size(max),
            customers: CustomerServiceClient::new(channel.clone()).max_decoding_message_size(max),
            reconcile: ReconcileServiceClient::new(channel.clone()).max_decoding_message_size(max),
            replication: ReplicationServiceClient::new(channel.clone())
                .max_decoding_message_size(max),
            backups: BackupServiceClient::new(channel).max_decoding_message_size(max),
        }
    }
}
