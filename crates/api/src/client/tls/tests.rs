use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::*;
use crate::client::{ConnectError, Timing, connect};

/// A certificate authority in a folder that goes away with it.
pub struct TestCa {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl TestCa {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        std::fs::write(dir.path().join("ca.crt"), pem).unwrap();
        Self { dir, issuer: Issuer::new(params, key) }
    }

    /// Files of a leaf with these URI names.
    pub fn files(&self, name: &str, uris: &[&str]) -> Files {
        self.leaf(name, uris, |_| {})
    }

    fn leaf(&self, name: &str, uris: &[&str], edit: impl FnOnce(&mut CertificateParams)) -> Files {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let uri = |uri: &&str| SanType::URI((*uri).try_into().unwrap());
        params.subject_alt_names.extend(uris.iter().map(uri));
        edit(&mut params);
        let key = KeyPair::generate().unwrap();
        let path = |suffix: &str| self.dir.path().join(format!("{name}.{suffix}"));
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        std::fs::write(path("crt"), pem).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        Files { cert: path("crt"), key: path("key"), ca: self.dir.path().join("ca.crt") }
    }

    pub fn client(&self) -> Identity {
        let uris = ["spiffe://hansa/client/storefront"];
        Identity::read(&self.files("client", &uris)).unwrap()
    }
}

/// A listener that asks for client certificates and shows the one in `files`.
pub struct Listener {
    pub address: SocketAddr,
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl Listener {
    pub async fn new(files: &Files) -> Self {
        Self::speaking(files, ALPN_H2).await
    }

    async fn speaking(files: &Files, protocol: &[u8]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(certificates(&files.ca).unwrap().remove(0)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .unwrap();
        let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(certificates(&files.cert).unwrap(), key)
            .unwrap();
        config.alpn_protocols = vec![protocol.to_vec()];
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        Self { address, tcp, tls: TlsAcceptor::from(Arc::new(config)) }
    }

    /// Connections whose handshake went well; others are dropped.
    pub fn incoming(self) -> impl futures::Stream<Item = std::io::Result<Conn>> {
        futures::stream::unfold(self, |listener| async move {
            loop {
                let (tcp, _) = listener.tcp.accept().await.unwrap();
                if let Ok(tls) = listener.tls.accept(tcp).await {
                    return Some((Ok(Conn(tls)), listener));
                }
            }
        })
    }
}

pub struct Conn(TlsStream<TcpStream>);

impl Connected for Conn {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Conn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

const NODE: &str = "spiffe://hansa/region/eu-west/node/eu-west-1";

/// What connecting to a server with these files says; empty when all is well.
async fn dial(ca: &TestCa, server: &Files, expect: &Expect) -> String {
    dial_speaking(ca, server, expect, ALPN_H2).await
}

async fn dial_speaking(ca: &TestCa, server: &Files, expect: &Expect, protocol: &[u8]) -> String {
    let listener = Listener::speaking(server, protocol).await;
    let endpoint = listener.address.to_string();
    let client = ca.client();
    let connecting = connect(&client, &endpoint, expect, Timing::default());
    let accepting = async {
        let incoming = std::pin::pin!(listener.incoming());
        let conns: Vec<_> = futures::StreamExt::collect(incoming).await;
        drop(conns);
    };
    tokio::select! {
        result = connecting => result.map_or_else(|error| error.to_string(), |_| String::new()),
        () = accepting => unreachable!("a listener accepts for ever"),
    }
}

#[tokio::test]
async fn a_server_is_accepted_by_its_spiffe_id_alone() {
    let ca = TestCa::new();
    let server = ca.files("node", &[NODE]);
    let region = |name: &str| Expect::NodeOf(name.parse().unwrap());
    assert_eq!(dial(&ca, &server, &Expect::Exactly(NODE.parse().unwrap())).await, "");
    assert_eq!(dial(&ca, &server, &region("eu-west")).await, "");
    assert_eq!(dial(&ca, &server, &Expect::AnyNode).await, "");
    let other = Expect::Exactly("spiffe://hansa/region/eu-west/node/eu-west-2".parse().unwrap());
    assert!(dial(&ca, &server, &other).await.contains("not the one that was called"));
    assert!(dial(&ca, &server, &region("us-east")).await.contains("not the one that was called"));
}

#[tokio::test]
async fn certificates_that_are_no_svid_of_ours_are_refused() {
    let ca = TestCa::new();
    let check = async |files: Files, why: &str| {
        let said = dial(&ca, &files, &Expect::AnyNode).await;
        assert!(said.contains(why), "{said}");
    };
    check(ca.files("a", &["spiffe://hansa/client/storefront"]), "not the one").await;
    check(ca.files("b", &[NODE, "spiffe://hansa/client/x"]), "2 URI names").await;
    check(ca.files("c", &[]), "0 URI names").await;
    check(ca.files("d", &["https://hansa/node"]), "no SPIFFE id").await;
    check(ca.files("e", &["spiffe://other/region/eu-west/node/n1"]), "trust domain").await;
    let usage = |p: &mut CertificateParams| p.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    check(ca.leaf("f", &[NODE], usage), "may sign").await;
    let expired = |p: &mut CertificateParams| p.not_after = rcgen::date_time_ymd(2001, 1, 1);
    check(ca.leaf("g", &[NODE], expired), "xpired").await;
    let stranger = TestCa::new();
    // Of the same name, but signed with another key.
    check(stranger.files("h", &[NODE]), "BadSignature").await;
}

#[tokio::test]
async fn only_h2_is_spoken() {
    let ca = TestCa::new();
    let server = ca.files("node", &[NODE]);
    let said = dial_speaking(&ca, &server, &Expect::AnyNode, b"http/1.1").await;
    assert!(!said.is_empty());
}

#[tokio::test]
async fn endpoints_are_host_and_port() {
    let ca = TestCa::new();
    for bad in ["", "localhost", "http://localhost:1", "localhost:1/path", "a b:1"] {
        let result = connect(&ca.client(), bad, &Expect::AnyNode, Timing::default()).await;
        assert!(matches!(result, Err(ConnectError::Endpoint(_))), "{bad}");
    }
}

#[test]
fn an_identity_is_whole_or_refused() {
    let ca = TestCa::new();
    let good = ca.files("a", &["spiffe://hansa/client/a"]);
    let identity = Identity::read(&good).unwrap();
    assert_eq!(identity.id().as_str(), "spiffe://hansa/client/a");
    assert!(!format!("{identity:?}").contains("PRIVATE"));

    let other = ca.files("b", &["spiffe://hansa/client/b"]);
    let mixed = Files { key: other.key, ..good.clone() };
    assert!(matches!(Identity::read(&mixed), Err(IdentityError::Tls(_))));
    let missing = Files { ca: "/nowhere".into(), ..good.clone() };
    assert!(Identity::read(&missing).unwrap_err().to_string().starts_with("/nowhere"));
    let not_svid = ca.files("c", &[]);
    assert!(matches!(Identity::read(&not_svid), Err(IdentityError::NotSvid { .. })));
    std::fs::write(&good.cert, "").unwrap();
    assert!(matches!(Identity::read(&good), Err(IdentityError::Empty { .. })));
}
