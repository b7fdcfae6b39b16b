//! Nodes, stacks and raw clients for this crate's tests.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tonic::body::Body;
use tower::{BoxError, service_fn};

use crate::devca::{DevCa, Leaf, Pair};
use crate::env::SystemClock;
use crate::layers::{self, Exempt, Settings, Stack};
use crate::listen::{Limits, Listener, Serving};
use crate::net::{Net, TlsNet};
use crate::peers::Address;
use crate::tasks::Tasks;
use crate::tls::{Identity, PeerIdentity};

pub const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
pub const CLIENT: &str = "spiffe://hansa/client/storefront";

/// A trust domain in a temporary folder.
pub struct House {
    _dir: TempDir,
    pub ca: DevCa,
    pub tasks: Tasks,
}

impl House {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = DevCa::open(dir.path(), "hansa").unwrap();
        Self { _dir: dir, ca, tasks: Tasks::new("test") }
    }

    pub fn identity(&self, node: &str) -> Identity {
        Identity::load(self.ca.node(&"eu-west".parse().unwrap(), node).unwrap()).unwrap()
    }

    pub fn net(&self, node: &str) -> Arc<dyn Net> {
        Arc::new(TlsNet::new(self.identity(node), Arc::new(SystemClock::new())))
    }

    /// Serves `stack` as `node` on a free port.
    pub async fn serve(&self, node: &str, stack: Stack, limits: Limits) -> (Address, Serving) {
        self.serve_at(LOOPBACK, node, stack, limits).await
    }

    pub async fn serve_at(
        &self,
        addr: SocketAddr,
        node: &str,
        stack: Stack,
        limits: Limits,
    ) -> (Address, Serving) {
        let identity = self.identity(node);
        let id = identity.id().clone();
        let net = TlsNet::new(identity, Arc::new(SystemClock::new()));
        let listener = Listener::bind("test", addr, &net, limits).await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        (Address { id, addr }, listener.start(&self.tasks, stack))
    }

    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.ca.ca_file()).unwrap()).unwrap();
        roots
    }
}

/// What a raw client shows and speaks.
pub struct Caller {
    pub pair: Option<Pair>,
    pub alpn: Vec<Vec<u8>>,
    pub version: &'static SupportedProtocolVersion,
}

impl Caller {
    pub fn with(pair: Pair) -> Self {
        let alpn = vec![b"h2".to_vec()];
        Self { pair: Some(pair), alpn, version: &rustls::version::TLS13 }
    }

    pub fn good(house: &House) -> Self {
        Self::with(house.ca.mint(&Leaf::named(CLIENT)).unwrap())
    }

    fn config(&self, house: &House) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[self.version])
            .unwrap()
            .with_root_certificates(house.roots());
        let mut config = match &self.pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let cert = CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![cert], key).unwrap()
            }
        };
        config.alpn_protocols = self.alpn.clone();
        Arc::new(config)
    }

    /// Connects and shakes hands, no more.
    pub async fn tls(&self, house: &House, to: &Address) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(&to.addr).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(self.config(house)).connect(name, stream).await
    }

    /// Connects and makes one call; the connection stays open for more.
    pub async fn connect(&self, house: &House, to: &Address) -> Result<Client, BoxError> {
        let stream = self.tls(house, to).await?;
        let certs = stream.get_ref().1.peer_certificates().unwrap();
        let server_cert = certs[0].clone().into_owned();
        let http = http2::Builder::new(TokioExecutor::new());
        let (send, connection) = http.handshake(TokioIo::new(stream)).await?;
        house.tasks.spawn_untracked(async move { drop(connection.await) });
        let mut client = Client { send, server_cert };
        client.call("/first").await?;
        Ok(client)
    }
}

pub struct Client {
    pub send: SendRequest<Body>,
    pub server_cert: CertificateDer<'static>,
}

impl Client {
    pub async fn call(&mut self, path: &str) -> Result<String, BoxError> {
        let uri = format!("https://localhost{path}");
        let request = Request::post(uri).body(Body::empty())?;
        let response = self.send.send_request(request).await?;
        Ok(String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec())?)
    }
}

/// A stack that answers with the caller's name.
pub fn who() -> Stack {
    stack(service_fn(|request: Request<Body>| async move {
        let peer = request.extensions().get::<PeerIdentity>().map(|peer| peer.0.to_string());
        Ok::<_, Infallible>(text(peer.unwrap_or_else(|| "nobody".to_owned())))
    }))
}

/// The standard layers around `inner`, with room for two calls of a minute.
pub fn stack<S>(inner: S) -> Stack
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error: Into<BoxError> + 'static>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    stack_but(Exempt::NOTHING, inner)
}

/// The same, but for what is exempt.
pub fn stack_but<S>(exempt: Exempt, inner: S) -> Stack
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error: Into<BoxError> + 'static>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let timeout_max = Duration::from_secs(60);
    layers::stack(&Settings { listener: "test", in_flight_max: 2, timeout_max, exempt }, inner)
}

pub fn text(text: impl Into<Bytes>) -> Response<Body> {
    Response::new(Body::new(Full::new(text.into()).map_err(|never| match never {})))
}

/// The status that a response carries, in its headers or at its end.
pub async fn status(response: Response<Body>) -> Status {
    let (head, body) = response.into_parts();
    let in_head = Status::from_header_map(&head.headers);
    let trailers = body.collect().await.unwrap().trailers().cloned();
    in_head.or_else(|| trailers.as_ref().and_then(Status::from_header_map)).unwrap()
}

pub fn overwrite(path: &std::path::Path, text: &str) {
    std::fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}
