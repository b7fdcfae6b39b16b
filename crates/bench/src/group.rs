//! What is served from a process of its own, so that the client's time can be told from it: an
//! echo, or one Raft group whose replicas each have their log on disk and mTLS between them, behind
//! a service that streams commands to whoever leads.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::ValueEnum;
use hansa_consensus::testing::{Cluster, Settings};
use hansa_consensus::{Group, Leadership, Machine, Timing};
use hansa_node::telemetry::{self, probes};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};

use crate::bench::Bench;
use crate::load::CALL_MAX;
use crate::machines::{Books, Nothing};
use crate::watch::Watched;
use crate::wire::{Answers, Door, Echo, Server};

/// Until a leader stands, and until a group has gone.
const START_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Messages come back as they are.
    Echo,
    /// A group of [`Nothing`].
    Nothing,
    /// A group of [`Books`].
    Books,
}

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    what: What,
    #[arg(long, default_value_t = 3)]
    replicas: u64,
}

/// What the served process says of itself, in one line.
#[derive(Serialize, Deserialize)]
struct Told {
    door: Door,
    metrics: SocketAddr,
}

/// The served process: until its input ends.
///
/// # Errors
/// What does not start.
pub async fn serve(bench: &Bench, args: &Args) -> anyhow::Result<()> {
    match args.what {
        What::Echo => until_the_end(bench, Echo).await,
        What::Nothing => replicated(bench, args.replicas, || Nothing).await,
        What::Books => replicated(bench, args.replicas, Books::open).await,
    }
}

async fn replicated<M: Machine<Outcome = u64>>(
    bench: &Bench,
    replicas: u64,
    genesis: fn() -> M,
) -> anyhow::Result<()> {
    // Before anything counts: what is counted earlier is lost.
    telemetry::metrics()?;
    let settings = Settings {
        nodes: replicas,
        timing: Timing::default(),
        wal: hansa_wal::Config::default(),
        grpc: true,
        folder: Some(bench.folder().to_owned()),
        ..Settings::default()
    };
    let mut cluster = Cluster::with(settings, genesis).await;
    cluster.leader().await;
    let groups = cluster.up().into_iter().map(|node| {
        let group = cluster.group(node).clone();
        let leadership = group.leadership();
        (group, leadership)
    });
    let ended = until_the_end(bench, Leader(groups.collect())).await;
    cluster.kill_all().await;
    ended
}

async fn until_the_end(bench: &Bench, with: impl Answers) -> anyhow::Result<()> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let metrics = probes::serve(any, &bench.tasks, telemetry::metrics()?, Arc::new(Well)).await?;
    let server = Server::start(&bench.tasks, bench.folder(), with).await?;
    println!("{}", serde_json::to_string(&Told { door: server.door.clone(), metrics })?);
    // Its end is that of whoever started us, however they end. A read of it cannot be taken back.
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let ended = std::io::stdin().read_to_end(&mut Vec::new());
        drop(tell.send(ended));
    });
    told.await??;
    server.stop().await;
    Ok(())
}

struct Well;

impl probes::Probes for Well {
    fn live(&self) -> Result<(), String> {
        Ok(())
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Submits each message as a command; the answer is the outcome, 8 bytes, or empty.
struct Leader<M: Machine>(Vec<(Group<M>, watch::Receiver<Leadership>)>);

impl<M: Machine> Clone for Leader<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: Machine<Outcome = u64>> Answers for Leader<M> {
    async fn answer(&self, command: Bytes) -> Bytes {
        let leads = self.0.iter().find(|(_, leadership)| leadership.borrow().mine);
        let Some((group, _)) = leads else { return Bytes::new() };
        match group.submit(command, Instant::now() + CALL_MAX).await {
            Ok(outcome) => Bytes::copy_from_slice(&outcome.to_be_bytes()),
            Err(_) => Bytes::new(),
        }
    }
}

/// What a command came to.
pub fn outcome(answer: &Bytes) -> Option<u64> {
    Some(u64::from_be_bytes(answer.as_ref().try_into().ok()?))
}

/// The served process from outside; killed when dropped.
pub struct Served {
    child: Child,
    pub door: Door,
    pub watched: [Watched; 1],
}

impl Served {
    /// # Errors
    /// A process that does not serve within a minute.
    pub async fn start(bench: &Bench, what: What, replicas: u64) -> anyhow::Result<Self> {
        let what = what.to_possible_value().context("every one has a name")?;
        let mut serve = Command::new(std::env::current_exe()?);
        serve.arg("--dir").arg(bench.folder()).args(["group", what.get_name()]);
        serve.args(["--replicas", &replicas.to_string()]);
        serve.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = serve.spawn().context("our own program")?;
        let output = child.stdout.take().context("its output is piped")?;
        let mut line = String::new();
        let mut output = BufReader::new(output);
        timeout(START_MAX, output.read_line(&mut line)).await.context("it does not serve")??;
        let Told { door, metrics } = serde_json::from_str(&line).context("it has not served")?;
        let pid = child.id().context("it has ended")?;
        let name = "server".to_owned();
        Ok(Self { child, door, watched: [Watched { name, pid, metrics }] })
    }

    /// # Errors
    /// A process that does not end.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        timeout(START_MAX, self.child.wait()).await.context("it does not end")??;
        Ok(())
    }
}
