//! A league of nine real `hansa serve` processes, each killed, stopped and started at will.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use hansa::config::Config;
use hansa::league::layout::Layout;
use hansa::league::prepare;
use hansa::profile::Profile;
use hansa::replay::doors::Doors;
use hansa_api::pb::admin::{GroupKind, ListGroupsRequest, ListGroupsResponse};
use tokio::time::Instant;

use crate::local::PATIENCE;

pub struct Processes {
    pub data: PathBuf,
    pub profile: Profile,
    pub doors: Doors,
    nodes: BTreeMap<String, Process>,
}

struct Process {
    config: Config,
    running: Option<Child>,
}

impl Processes {
    /// Starts every node of a new league and waits until all serve.
    pub async fn start(name: &str) -> Self {
        let data = crate::folder::fresh(name);
        let layout = Layout::anywhere().expect("free ports");
        let (configs, profile) = prepare(&data, &layout).expect("a league on disk");
        let doors = Doors::of(&profile).expect("channels to every gateway");
        let process = |config: Config| (config.name.clone(), Process { config, running: None });
        let nodes = configs.into_iter().map(process).collect();
        let mut league = Self { data, profile, doors, nodes };
        league.start_all();
        league.ready().await;
        league
    }

    pub fn names(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    pub fn start_all(&mut self) {
        for name in self.names() {
            self.run(&name);
        }
    }

    /// Starts one node; its log goes to `<its folder>.log`.
    pub fn run(&mut self, name: &str) {
        let node = self.node(name);
        let log = node.config.data_dir.with_extension("log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log);
        let log = log.expect("a log file");
        let mut serve = Command::new(binary());
        serve.arg("serve").arg("--config").arg(node.config.data_dir.join("node.toml"));
        serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        node.running = Some(serve.spawn().expect("hansa serve starts"));
    }

    /// SIGKILL: the node gets no chance to do anything.
    pub fn kill(&mut self, name: &str) {
        let mut child = self.node(name).running.take().expect("it runs");
        child.kill().expect("it is killed");
        child.wait().expect("it is gone");
    }

    /// SIGTERM to all, then waits: each drains and exits with 0.
    pub async fn stop_all(&mut self) {
        for node in self.nodes.values_mut().filter(|node| node.running.is_some()) {
            terminate(node.running.as_ref().map_or(0, Child::id));
        }
        for (name, node) in &mut self.nodes {
            let Some(mut child) = node.running.take() else { continue };
            let wait = tokio::task::spawn_blocking(move || child.wait());
            let status = tokio::time::timeout(PATIENCE, wait).await.expect("it drains in time");
            let status = status.expect("joins").expect("its status");
            assert!(status.success(), "{name} ended with {status}");
        }
    }

    /// Waits until every running node says that it serves.
    pub async fn ready(&self) {
        let deadline = Instant::now() + 2 * PATIENCE;
        for node in self.nodes.values().filter(|node| node.running.is_some()) {
            while !is_ready(node.config.listen.metrics).await {
                let name = &node.config.name;
                assert!(Instant::now() < deadline, "{name} is not ready: see {:?}", self.data);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// The node that leads a region's first group of a kind.
    pub async fn leader(&self, region: &str, kind: GroupKind) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for group in self.groups(region).await.groups {
                let leader = group.replicas.iter().find(|r| r.node == r.leader_node);
                if let (true, Some(leader)) = (group.kind() == kind, leader) {
                    return leader.node_name.clone();
                }
            }
            assert!(Instant::now() < deadline, "{kind:?} of {region} has no leader");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn groups(&self, region: &str) -> ListGroupsResponse {
        let home = region.parse().expect("a region name");
        // One gateway may be the node that was killed.
        for attempt in 0..3 {
            let mut door = self.doors.pick(&home, 0, attempt).expect("a gateway");
            let mut call = tonic::Request::new(ListGroupsRequest { region: region.to_owned() });
            call.set_timeout(Duration::from_secs(5));
            if let Ok(answer) = door.operator.admin.list_groups(call).await {
                return answer.into_inner();
            }
        }
        ListGroupsResponse::default()
    }

    fn node(&mut self, name: &str) -> &mut Process {
        self.nodes.get_mut(name).expect("a node of this league")
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in self.nodes.values_mut().filter_map(|node| node.running.as_mut()) {
            // Nothing to do about one that is gone already.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn terminate(pid: u32) {
    let status = Command::new("kill").args(["-TERM", &pid.to_string()]).status();
    assert!(status.expect("kill runs").success());
}

async fn is_ready(metrics: std::net::SocketAddr) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(metrics).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer.starts_with("HTTP/1.1 200"))
    };
    tokio::time::timeout(Duration::from_secs(2), ask)
        .await
        .is_ok_and(|ready| ready.unwrap_or(false))
}

/// The `hansa` binary of this build, made if it is not there or old.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().expect("a test binary has a path");
        // target/debug/deps/test-binary
        let folder = test.ancestors().nth(2).expect("below target/").to_owned();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "-q", "-p", "hansa", "--bin", "hansa", "--target-dir"]);
        build.arg(folder.parent().expect("target/"));
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo runs").success(), "the binary does not build");
        folder.join("hansa")
    })
}
