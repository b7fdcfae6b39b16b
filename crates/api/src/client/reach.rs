//! How a client reaches the league: streams, lots and tasks, so that a test or a simulator can
//! bring its own.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use rustls::CertificateError;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::tls::{ALPN_H2, Expect, Identity};
use crate::together::{READ_MAX, Together};

/// What a client reaches for besides tokio's time.
pub trait Reach: Debug + Send + Sync + 'static {
    /// A stream to `host:port`, with proof that the other end is `expect`.
    ///
    /// Unbounded in time: the channel has a limit.
    fn dial(&self, host: &str, port: u16, expect: &Expect) -> Dialling;

    /// A number from 0 to 1, for jitter.
    fn chance(&self) -> f64;

    /// The wall clock, Unix milliseconds, where there is one: what a request's first try is dated
    /// by.
    fn wall_ms(&self) -> Option<u64> {
        None
    }

    /// Runs a connection's work; it ends with the connection.
    fn spawn(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>);
}

/// A stream on its way.
pub type Dialling = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// Bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// TCP and TLS 1.3 with our certificate, on the runtime that calls.
#[derive(Clone, Debug)]
pub struct Tls(pub Identity);

impl Reach for Tls {
    fn wall_ms(&self) -> Option<u64> {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok()
    }

    fn dial(&self, host: &str, port: u16, expect: &Expect) -> Dialling {
        let config = self.0.config(expect);
        let host = host.to_owned();
        Box::pin(async move {
            let tls = TlsConnector::from(config.map_err(io::Error::other)?);
            let tcp = TcpStream::connect((host.as_str(), port)).await?;
            tcp.set_nodelay(true)?;
            // Used for SNI at most: the verifier looks at the SPIFFE id alone.
            let name = ServerName::try_from(host).map_err(io::Error::other)?;
            let tcp = BufReader::with_capacity(READ_MAX, tcp);
            let stream = tls.connect(name, tcp).await.map_err(plain)?;
            if stream.get_ref().1.alpn_protocol() != Some(ALPN_H2) {
                return Err(io::Error::other("the server does not speak h2"));
            }
            Ok(Box::new(Together::new(stream)) as Box<dyn Stream>)
        })
    }

    fn chance(&self) -> f64 {
        rand::random()
    }

    #[expect(clippy::disallowed_methods, reason = "a client has no tasks of its own: its user's")]
    fn spawn(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        drop(tokio::spawn(work));
    }
}

/// The reason itself where our verifier gave it: rustls shows it inside its own debug text.
fn plain(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(why))) => {
            io::Error::other(why.0.to_string())
        }
        _ => error,
    }
}

/// A reach as what tonic runs its work on.
#[derive(Clone)]
pub(super) struct Runs(pub Arc<dyn Reach>);

impl<F> hyper::rt::Executor<F> for Runs
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, work: F) {
        self.0.spawn(Box::pin(work));
    }
}
