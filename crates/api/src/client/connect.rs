//! Channels to gateways, and the typed clients that run over one.

use std::time::Duration;

use hansa_types::limits::PEER_MESSAGE_BYTES_MAX;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::CertificateError;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use super::tls::{ALPN_H2, Expect, Identity};
use crate::pb::admin::admin_service_client::AdminServiceClient;
use crate::pb::admin::membership_service_client::MembershipServiceClient;
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
    #[error("tls: {0}")]
    Tls(#[from] rustls::Error),
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
    let (settings, connector) = prepare(identity, endpoint, expect, timing)?;
    let unreachable = |source| ConnectError::Unreachable { endpoint: endpoint.to_owned(), source };
    settings.connect_with_connector(connector).await.map_err(unreachable)
}

/// A channel that connects at its first call; must be made inside a tokio runtime.
///
/// # Errors
/// Only for an endpoint that is not `host:port`, or a key that is not the certificate's.
pub fn connect_lazy(
    identity: &Identity,
    endpoint: &str,
    expect: &Expect,
    timing: Timing,
) -> Result<Channel, ConnectError> {
    let (settings, connector) = prepare(identity, endpoint, expect, timing)?;
    Ok(settings.connect_with_connector_lazy(connector))
}

type Stream = TokioIo<TlsStream<TcpStream>>;

fn prepare(
    identity: &Identity,
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
        .connect_timeout(timing.connect)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(timing.keepalive)
        .keep_alive_timeout(timing.keepalive_timeout)
        .keep_alive_while_idle(true);
    let tls = TlsConnector::from(identity.config(expect)?);
    let connector = tower::service_fn(move |uri: Uri| handshake(tls.clone(), uri));
    Ok((settings, connector))
}

/// What tonic asks of a connector, by one name.
trait Connect:
    tower::Service<Uri, Response = Stream, Error = std::io::Error, Future: Send> + Send + 'static
{
}

impl<S> Connect for S where
    S: tower::Service<Uri, Response = Stream, Error = std::io::Error, Future: Send>
        + Send
        + 'static
{
}

async fn handshake(tls: TlsConnector, uri: Uri) -> std::io::Result<Stream> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or_default();
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    // Used for SNI at most: the verifier looks at the SPIFFE id alone.
    let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
    let stream = tls.connect(name, tcp).await.map_err(plain)?;
    if stream.get_ref().1.alpn_protocol() != Some(ALPN_H2) {
        return Err(std::io::Error::other("the server does not speak h2"));
    }
    Ok(TokioIo::new(stream))
}

/// The reason itself where our verifier gave it: rustls shows it inside its own debug text.
fn plain(error: std::io::Error) -> std::io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(why))) => {
            std::io::Error::other(why.0.to_string())
        }
        _ => error,
    }
}

/// The public services over one channel; cheap to clone.
#[derive(Clone, Debug)]
pub struct Services {
    pub orders: OrderServiceClient<Channel>,
    pub inventory: InventoryServiceClient<Channel>,
    pub payments: PaymentServiceClient<Channel>,
    pub regions: RegionServiceClient<Channel>,
    pub admin: AdminServiceClient<Channel>,
    pub membership: MembershipServiceClient<Channel>,
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
            admin: AdminServiceClient::new(channel.clone()).max_decoding_message_size(max),
            membership: MembershipServiceClient::new(channel).max_decoding_message_size(max),
        }
    }
}
