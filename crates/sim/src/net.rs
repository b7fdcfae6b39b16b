//! The net of a simulated host: turmoil's sockets, and a preface that names who is at each end.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use hansa_api::client::reach::{self, Dialling};
use hansa_api::client::{Expect, Reach};
use hansa_node::env::Entropy;
use hansa_node::net::{Accept, Address, Connection, Doing, Error, Knock, Net};
use hansa_types::identity::SpiffeId;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use crate::clock;

/// Whether a process still runs. One that has ended sends and hears nothing, at once.
pub type Alive = Arc<AtomicBool>;

const NAME_BYTES_MAX: usize = 512;

/// One process's end of the simulated network.
pub struct SimNet {
    id: SpiffeId,
    alive: Alive,
}

impl SimNet {
    #[must_use]
    pub fn new(id: SpiffeId, alive: Alive) -> Self {
        Self { id, alive }
    }
}

impl Net for SimNet {
    fn id(&self) -> &SpiffeId {
        &self.id
    }

    fn bind(&self, addr: SocketAddr) -> Doing<'_, io::Result<Box<dyn Accept>>> {
        Box::pin(async move {
            let (listener, id, alive) =
                (TcpListener::bind(addr).await?, self.id.clone(), self.alive.clone());
            Ok(Box::new(Bound { listener, id, alive }) as Box<dyn Accept>)
        })
    }

    fn connect<'a>(&'a self, to: &'a Address) -> Doing<'a, Result<Connection, Error>> {
        Box::pin(async move {
            let (stream, found) = dial(&self.id, &to.addr, self.alive.clone()).await?;
            if found != to.id {
                return Err(Error::OtherName { expected: to.id.clone(), found });
            }
            Ok(Connection::lasting(Box::new(stream), found))
        })
    }
}

struct Bound {
    listener: TcpListener,
    id: SpiffeId,
    alive: Alive,
}

impl Accept for Bound {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn accept(&mut self) -> Doing<'_, io::Result<Knock>> {
        Box::pin(async move {
            let (tcp, _) = self.listener.accept().await?;
            let (id, alive) = (self.id.clone(), self.alive.clone());
            Ok(Box::pin(async move {
                let mut stream = Wire { tcp, alive };
                let peer = hear(&mut stream).await?;
                say(&mut stream, &id).await?;
                Ok(Connection::lasting(Box::new(stream), peer))
            }) as Knock)
        })
    }
}

async fn dial(id: &SpiffeId, addr: &str, alive: Alive) -> io::Result<(Wire, SpiffeId)> {
    let (host, port) = addr.rsplit_once(':').ok_or(io::ErrorKind::InvalidInput)?;
    let port: u16 = port.parse().map_err(io::Error::other)?;
    let tcp = TcpStream::connect((host, port)).await?;
    let mut stream = Wire { tcp, alive };
    say(&mut stream, id).await?;
    let found = hear(&mut stream).await?;
    Ok((stream, found))
}

async fn say(stream: &mut Wire, id: &SpiffeId) -> io::Result<()> {
    let name = id.as_str().as_bytes();
    let mut frame = (name.len() as u16).to_be_bytes().to_vec();
    frame.extend_from_slice(name);
    stream.write_all(&frame).await
}

async fn hear(stream: &mut Wire) -> io::Result<SpiffeId> {
    let len = usize::from(stream.read_u16().await?);
    if len > NAME_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut name = vec![0; len];
    stream.read_exact(&mut name).await?;
    let name = String::from_utf8(name).map_err(io::Error::other)?;
    name.parse().map_err(io::Error::other)
}

/// A stream that falls silent with its process: what a dead one would still do is not done.
struct Wire {
    tcp: TcpStream,
    alive: Alive,
}

impl Wire {
    fn dead(&self) -> bool {
        !self.alive.load(Ordering::Relaxed)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.dead() {
            return Poll::Pending;
        }
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.dead() {
            return Poll::Pending;
        }
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.dead() {
            return Poll::Pending;
        }
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// A client's way to the league over the same network.
pub struct SimReach {
    id: SpiffeId,
    alive: Alive,
    entropy: Arc<dyn Entropy>,
}

impl SimReach {
    #[must_use]
    pub fn new(id: SpiffeId, entropy: Arc<dyn Entropy>) -> Self {
        Self { id, alive: Arc::new(AtomicBool::new(true)), entropy }
    }
}

impl fmt::Debug for SimReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)
    }
}

impl Reach for SimReach {
    fn dial(&self, host: &str, port: u16, expect: &Expect) -> Dialling {
        let (id, alive, expect) = (self.id.clone(), self.alive.clone(), expect.clone());
        let addr = format!("{host}:{port}");
        Box::pin(async move {
            let (stream, found) = dial(&id, &addr, alive).await?;
            match expect.accepts(&found) {
                true => Ok(Box::new(stream) as Box<dyn reach::Stream>),
                false => Err(io::Error::other(format!("found {found}"))),
            }
        })
    }

    fn chance(&self) -> f64 {
        (self.entropy.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn wall_ms(&self) -> Option<u64> {
        clock::truth().map(|at| clock::EPOCH_MS + at.as_millis() as u64)
    }

    #[expect(clippy::disallowed_methods, reason = "a client's work, on its host's own set")]
    fn spawn(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        drop(tokio::task::spawn_local(work));
    }
}
