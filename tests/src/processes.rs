//! A league of real `hansa serve` processes, each killed, stopped and started at will.

mod binary;
mod shape;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use hansa::config::Config;
use hansa::profile::Profile;
use hansa::replay::doors::Doors;
use hansa_api::pb::admin::{Group, GroupKind, ListGroupsRequest, ReplicaRole};
use tokio::time::Instant;

pub use self::binary::{binary, hansactl, next_release, without_sync};
pub use self::shape::{HOME, Shape};
use crate::local::PATIENCE;
use crate::suite;

/// Lines of each node's log that a failed test shows.
const LINES_SHOWN: usize = 25;

/// How long a command of `hansactl` is repeated that nobody answers, which it says by this code.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
const NO_ANSWER: i32 = 3;

pub struct Processes {
    pub data: PathBuf,
    pub profile: Profile,
    pub doors: Doors,
    /// Leaves the nodes' data where it is also when nothing has failed.
    pub keep: bool,
    nodes: BTreeMap<String, Process>,
}

struct Process {
    config: Config,
    /// Outside the data folder, which may lie on a disk that forgets.
    file: PathBuf,
    binary: PathBuf,
    /// The network namespace that it lives in.
    netns: Option<String>,
    running: Option<Child>,
}

impl Processes {
    /// Starts every node of a new league of three regions and waits until all serve.
    pub async fn start(name: &str) -> Self {
        Shape::league(name).start().await
    }

    /// The same with one region of three nodes, `eu-west`.
    pub async fn start_region(name: &str) -> Self {
        Shape::region(name).start().await
    }

    pub fn names(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    pub fn names_in(&self, region: &str) -> Vec<String> {
        let of = self.nodes.values().filter(|node| node.config.region.as_str() == region);
        of.map(|node| node.config.name.clone()).collect()
    }

    pub fn start_all(&mut self) {
        for name in self.names() {
            self.run(&name);
        }
    }

    /// Starts one node; its log goes to `<its name>.log`.
    pub fn run(&mut self, name: &str) {
        let log = self.log_file(name);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log);
        let log = log.expect("a log file");
        let node = self.node(name);
        let mut serve = match &node.netns {
            Some(netns) => {
                let mut inside = Command::new("ip");
                inside.args(["netns", "exec", netns]).arg(&node.binary);
                inside
            }
            None => Command::new(&node.binary),
        };
        serve.arg("serve").arg("--config").arg(&node.file);
        serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        node.running = Some(serve.spawn().expect("hansa serve starts"));
    }

    /// The node's program from its next start on.
    pub fn set_binary(&mut self, name: &str, binary: PathBuf) {
        self.node(name).binary = binary;
    }

    /// Adds a node that was not there at the beginning; it does not run yet.
    pub fn add(&mut self, config: Config) {
        let file = self.data.join(format!("{}.toml", config.name));
        let text = hansa_node::config::print(&config).expect("a config that prints");
        std::fs::write(&file, text).expect("a config file");
        let (name, binary) = (config.name.clone(), binary().to_owned());
        let process = Process { config, file, binary, netns: None, running: None };
        self.nodes.insert(name, process);
    }

    /// `hansactl` with these words, as the operator of this league.
    pub fn ctl(&self, words: &[&str]) -> Command {
        let mut ctl = Command::new(hansactl());
        // A busy machine answers late.
        ctl.env("HANSA_TIMEOUT", "60s");
        ctl.arg("--profile").arg(self.data.join("profile.toml")).args(words);
        ctl
    }

    /// Runs `hansactl` until it is done, and again where nobody answered: a group may be without a
    /// leader for a moment. What it printed.
    ///
    /// # Panics
    /// When it is refused, or nobody answers for two minutes.
    pub async fn operate(&self, words: &[&str]) -> String {
        let deadline = Instant::now() + ANSWER_WITHIN;
        loop {
            let mut tool = tokio::process::Command::from(self.ctl(words));
            let done = tool.output().await.expect("hansactl starts");
            let [out, err] =
                [done.stdout, done.stderr].map(|of| String::from_utf8_lossy(&of).into_owned());
            println!("hansactl {}:\n{out}{err}", words.join(" "));
            if done.status.success() {
                return out;
            }
            let again = done.status.code() == Some(NO_ANSWER) && Instant::now() < deadline;
            assert!(again, "hansactl {}: {}: {err}", words.join(" "), done.status);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// SIGKILL: the node gets no chance to do anything.
    pub fn kill(&mut self, name: &str) {
        self.kill_at_once(&[name.to_owned()]);
    }

    /// SIGKILL to all of these, then waits for all of them.
    pub fn kill_at_once(&mut self, names: &[String]) {
        let mut dying = Vec::new();
        for name in names {
            suite::fault("SIGKILL of a node");
            let mut child = self.node(name).running.take().expect("it runs");
            child.kill().expect("it is killed");
            dying.push(child);
        }
        for mut child in dying {
            child.wait().expect("it is gone");
        }
    }

    /// SIGSTOP: the node stands still, its sockets open.
    pub fn pause(&mut self, name: &str) {
        suite::fault("SIGSTOP of a node");
        signal("-STOP", self.pid(name));
    }

    pub fn resume(&mut self, name: &str) {
        signal("-CONT", self.pid(name));
    }

    /// SIGTERM to one node, then waits: it drains and exits with 0.
    pub async fn stop(&mut self, name: &str) {
        suite::fault("graceful stop of a node");
        signal("-TERM", self.pid(name));
        let status = self.exited(name, PATIENCE).await;
        assert!(status.success(), "{name} ended with {status}");
    }

    /// SIGTERM to all, then waits: each drains and exits with 0.
    pub async fn stop_all(&mut self) {
        let running: Vec<String> =
            self.names().into_iter().filter(|name| self.node(name).running.is_some()).collect();
        for name in &running {
            suite::fault("graceful stop of a node");
            signal("-TERM", self.pid(name));
        }
        for name in &running {
            let status = self.exited(name, PATIENCE).await;
            assert!(status.success(), "{name} ended with {status}");
        }
    }

    #[must_use]
    pub fn is_running(&self, name: &str) -> bool {
        self.nodes[name].running.is_some()
    }

    /// Whether a node that was started has ended by itself; [`Processes::exited`] says how.
    pub fn has_ended(&mut self, name: &str) -> bool {
        let child = self.node(name).running.as_mut().expect("it was started");
        child.try_wait().expect("its status").is_some()
    }

    /// Waits until a node ends by itself.
    pub async fn exited(&mut self, name: &str, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        loop {
            let child = self.node(name).running.as_mut().expect("it was started");
            if let Some(status) = child.try_wait().expect("its status") {
                self.node(name).running = None;
                return status;
            }
            assert!(Instant::now() < deadline, "{name} has not ended in {within:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Everything that a node has said.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.log_file(name)).unwrap_or_default()
    }

    pub fn config(&self, name: &str) -> &Config {
        &self.nodes[name].config
    }

    /// Waits until every running node says that it serves.
    pub async fn ready(&self) {
        let deadline = Instant::now() + 2 * PATIENCE;
        for node in self.nodes.values().filter(|node| node.running.is_some()) {
            while !is_ready(node.config.listen.metrics).await {
                let name = &node.config.name;
                assert!(Instant::now() < deadline, "{name} is not ready: see {:?}", self.data);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// The node that leads a region's first group of a kind.
    pub async fn leader(&self, region: &str, kind: GroupKind) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let groups = self.groups(region).await;
            let of_kind = groups.iter().filter(|group| group.kind() == kind);
            let leads = |group: &Group| {
                let said = group.replicas.iter().filter(|r| r.role() == ReplicaRole::Leader);
                said.max_by_key(|r| r.term).map(|r| r.node_name.clone())
            };
            if let Some(leader) = of_kind.filter_map(leads).next() {
                return leader;
            }
            assert!(Instant::now() < deadline, "{kind:?} of {region} has no leader");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What a region's replicas say of themselves; empty when no gateway answers.
    pub async fn groups(&self, region: &str) -> Vec<Group> {
        let home = region.parse().expect("a region name");
        // One gateway may be the node that was killed.
        for attempt in 0..3 {
            let mut door = self.doors.pick(&home, 0, attempt).expect("a gateway");
            let mut call = tonic::Request::new(ListGroupsRequest { region: region.to_owned() });
            call.set_timeout(Duration::from_secs(5));
            if let Ok(answer) = door.operator.admin.list_groups(call).await {
                return answer.into_inner().groups;
            }
        }
        Vec::new()
    }

    #[must_use]
    pub fn log_file(&self, name: &str) -> PathBuf {
        self.data.join(format!("{name}.log"))
    }

    /// Prints the end of a node's log, for who reads why a test failed elsewhere.
    fn show_log(&self, name: &str) {
        let log = std::fs::read_to_string(self.log_file(name)).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        eprintln!("--- the last lines of {name}'s log");
        for line in &lines[lines.len().saturating_sub(LINES_SHOWN)..] {
            eprintln!("{line}");
        }
    }

    pub fn pid(&mut self, name: &str) -> u32 {
        self.node(name).running.as_ref().expect("it runs").id()
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
        if std::thread::panicking() {
            self.nodes.keys().for_each(|name| self.show_log(name));
        } else if !self.keep {
            // 130 MB a league. One that the test took away itself is gone.
            for node in self.nodes.values() {
                drop(std::fs::remove_dir_all(&node.config.data_dir));
            }
        }
    }
}

fn signal(what: &str, pid: u32) {
    let status = Command::new("kill").args([what, &pid.to_string()]).status();
    assert!(status.expect("kill runs").success(), "kill {what} {pid}");
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
    tokio::time::timeout(Duration::from_secs(10), ask)
        .await
        .is_ok_and(|ready| ready.unwrap_or(false))
}
