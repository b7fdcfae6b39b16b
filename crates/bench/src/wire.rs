//! Bytes over gRPC and mTLS as our nodes speak it: the ceiling of what any service can do here, and
//! the way to what has no service of its own.
//!
//! A message on a stream begins with its number, 8 bytes, and so does its answer.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use hansa_api::client::{Expect, Files, Identity, Timing, connect};
use hansa_node::devca::DevCa;
use hansa_node::env::SystemClock;
use hansa_node::layers::{self, Exempt, Settings};
use hansa_node::listen::{Limits, Listener, Serving};
use hansa_node::net::TlsNet;
use hansa_node::tasks::Tasks;
use hansa_node::tls;
use http::uri::PathAndQuery;
use serde::{Deserialize, Serialize};
use tonic::body::Body;
use tonic::client;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};
use tower::service_fn;

use crate::load::{CALL_MAX, Work};
use crate::pipe::Pipe;
use crate::record::{Done, Refusal};

const UNARY: &str = "/hansa.bench.Wire/Unary";
const STREAM: &str = "/hansa.bench.Wire/Stream";
/// Messages of one stream that are being answered.
const ANSWERING_MAX: usize = 1_024;
/// In the names of our certificates.
const REGION: &str = "bench";
const NUMBER_BYTES: usize = 8;
/// Above a batch of 8,189 transfers.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Answers messages.
pub trait Answers: Clone + Send + Sync + 'static {
    fn answer(&self, message: Bytes) -> impl Future<Output = Bytes> + Send;
}

/// A message is its own answer.
#[derive(Clone)]
pub struct Echo;

impl Answers for Echo {
    async fn answer(&self, message: Bytes) -> Bytes {
        message
    }
}

/// Where a server is, and who may ask it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Door {
    endpoint: String,
    cert: PathBuf,
    key: PathBuf,
    ca: PathBuf,
}

impl Door {
    /// # Errors
    /// A server that is gone.
    pub async fn connect(&self) -> anyhow::Result<Channel> {
        let (cert, key, ca) = (self.cert.clone(), self.key.clone(), self.ca.clone());
        let identity = Identity::read(&Files { cert, key, ca })?;
        let expect = Expect::NodeOf(REGION.parse()?);
        Ok(connect(&identity, &self.endpoint, &expect, Timing::default()).await?)
    }

    /// So many streams, each over its own connection.
    ///
    /// # Errors
    /// As [`Door::connect`].
    pub async fn streams(&self, tasks: &Tasks, count: usize) -> anyhow::Result<Vec<Arc<Stream>>> {
        let mut streams = Vec::with_capacity(count);
        for _ in 0..count.max(1) {
            let (pipe, questions) = Pipe::new();
            let mut grpc = client::Grpc::new(self.connect().await?)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
            grpc.ready().await?;
            let path = PathAndQuery::from_static(STREAM);
            let opened = grpc.streaming(Request::new(questions), path, Raw).await;
            pipe.listen(tasks, opened?.into_inner(), number_of);
            streams.push(Arc::new(Stream(pipe)));
        }
        Ok(streams)
    }
}

/// A server in this process, with certificates for itself and for its clients.
pub struct Server {
    pub door: Door,
    serving: Serving,
}

impl Server {
    /// # Errors
    /// A folder for certificates, or a port, that cannot be had.
    pub async fn start(tasks: &Tasks, folder: &Path, with: impl Answers) -> anyhow::Result<Self> {
        let ca = DevCa::open(&folder.join("wire-pki"), "hansa")?;
        let own = tls::Identity::load(ca.node(&REGION.parse()?, "wire")?)?;
        let net = TlsNet::new(own, Arc::new(SystemClock::new()));
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let limits = Limits { streams_max: 1_024, ..Limits::default() };
        let listener = Listener::bind("bench", at, &net, limits).await.context("a free port")?;
        let tls::Files { cert, key, ca } = ca.client("bench")?;
        let door = Door { endpoint: listener.local_addr()?.to_string(), cert, key, ca };
        // The same layers as a node's, so that the ceiling is one that it could reach.
        let settings = Settings {
            listener: "bench",
            in_flight_max: 65_536,
            timeout_max: Duration::from_secs(60),
            exempt: Exempt::NOTHING,
        };
        let serving = listener.start(tasks, layers::stack(&settings, service_fn(served(with))));
        Ok(Self { door, serving })
    }

    pub async fn stop(self) {
        self.serving.drain().await;
    }
}

type Served = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

/// What answers one call, by its path.
fn served<A: Answers>(with: A) -> impl Fn(http::Request<Body>) -> Served + Clone {
    move |request| {
        let with = with.clone();
        let mut grpc = server::Grpc::new(Raw).max_decoding_message_size(MESSAGE_BYTES_MAX);
        if request.uri().path() == UNARY {
            let one = service_fn(move |message: Request<Bytes>| {
                let with = with.clone();
                async move {
                    let answer = with.answer(message.into_inner()).await;
                    Ok::<_, Status>(Response::new(answer))
                }
            });
            return Box::pin(async move { Ok(grpc.unary(one, request).await) });
        }
        let many = service_fn(move |messages: Request<Streaming<Bytes>>| {
            let with = with.clone();
            let answers = messages.into_inner().map(move |message| {
                let with = with.clone();
                async move {
                    let mut message = message?;
                    let number = message.split_to(NUMBER_BYTES.min(message.len()));
                    Ok(joined(&number, &with.answer(message).await))
                }
            });
            let answers = answers.buffer_unordered(ANSWERING_MAX);
            async move { Ok::<_, Status>(Response::new(answers)) }
        });
        Box::pin(async move { Ok(grpc.streaming(many, request).await) })
    }
}

fn joined(number: &[u8], rest: &[u8]) -> Bytes {
    let mut whole = BytesMut::with_capacity(number.len() + rest.len());
    whole.put_slice(number);
    whole.put_slice(rest);
    whole.freeze()
}

fn number_of(answer: &Bytes) -> u64 {
    let mut rest = &answer[..];
    if rest.len() < NUMBER_BYTES { u64::MAX } else { rest.get_u64() }
}

/// The asking end of one stream.
pub struct Stream(Pipe<Bytes, Bytes>);

impl Stream {
    /// # Errors
    /// As [`Pipe::ask`].
    pub async fn ask(&self, number: u64, message: &[u8]) -> Result<Bytes, Refusal> {
        let mut answer = self.0.ask(number, joined(&number.to_be_bytes(), message)).await?;
        Ok(answer.split_off(NUMBER_BYTES))
    }
}

/// Messages of so many bytes over a stream.
pub struct Messages {
    pub stream: Arc<Stream>,
    pub bytes: usize,
}

impl Work for Messages {
    async fn one(&self, number: u64) -> Done {
        self.stream.ask(number, &vec![b'x'; self.bytes]).await.map(|_| 1)
    }
}

/// Unary calls of so many bytes over a connection.
pub struct Calls {
    pub channel: Channel,
    pub bytes: usize,
}

impl Work for Calls {
    async fn one(&self, _number: u64) -> Done {
        let mut grpc = client::Grpc::new(self.channel.clone());
        let ready = grpc.ready().await;
        ready.map_err(|error| Refusal::named(error.to_string()))?;
        let mut call = Request::new(Bytes::from(vec![b'x'; self.bytes]));
        call.set_timeout(CALL_MAX);
        grpc.unary(call, PathAndQuery::from_static(UNARY), Raw).await?;
        Ok(1)
    }
}

/// Bytes as they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buf.copy_to_bytes(buf.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_come_back_by_their_numbers_over_mtls() {
        let (tasks, folder) = (Tasks::new("bench"), hansa_tests::folder::fresh("bench-wire"));
        let server = Server::start(&tasks, &folder, Echo).await.unwrap();
        let streams = server.door.streams(&tasks, 2).await.unwrap();
        let asked = [streams[0].ask(1, b"one"), streams[0].ask(2, b"two"), streams[1].ask(3, b"")];
        let answers = futures::future::join_all(asked).await;
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, [&b"one"[..], b"two", b""]);
        let calls = Calls { channel: server.door.connect().await.unwrap(), bytes: 400 };
        assert_eq!(calls.one(0).await, Ok(1));
        drop((streams, calls));
        server.stop().await;
    }
}
