//! What a run costs: time on cores, syncs, bytes and memory, by process.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hansa_tests::metrics::{self, Page};
use hansa_tests::usage::Process;
use serde::Serialize;

/// A node that is looked at: its process and its metrics port.
#[derive(Debug, Clone)]
pub struct Watched {
    pub name: String,
    pub pid: u32,
    pub metrics: SocketAddr,
}

/// Everything at one moment.
pub struct Look {
    client: Process,
    /// Without a page where its port did not answer in time.
    nodes: Vec<(String, Process, Option<Page>)>,
}

impl Look {
    pub async fn at(nodes: &[Watched]) -> Self {
        let mut seen = Vec::with_capacity(nodes.len());
        for node in nodes {
            let page = metrics::page(node.metrics).await;
            seen.push((node.name.clone(), Process::of(node.pid), page));
        }
        Self { client: Process::of(std::process::id()), nodes: seen }
    }

    /// What was used up since an earlier look.
    pub fn since(&self, before: &Self) -> Cost {
        let mut cost = Cost::default();
        cost.processes.push(Used::between("client", &before.client, &self.client));
        for ((name, now, page), (_, was, page_was)) in self.nodes.iter().zip(&before.nodes) {
            cost.processes.push(Used::between(name, was, now));
            let (Some(page), Some(page_was)) = (page, page_was) else {
                cost.silent.push(name.clone());
                continue;
            };
            let grown =
                |name: &str| page.sum(name).unwrap_or(0.0) - page_was.sum(name).unwrap_or(0.0);
            cost.log_syncs += grown("hansa_wal_sync_seconds_count");
            cost.log_bytes += grown("hansa_wal_batch_bytes_sum");
            for (labels, now) in page.values(ENTRIES) {
                cost.groups.entry(kind(labels)).or_default().entries += now;
            }
            for (labels, was) in page_was.values(ENTRIES) {
                cost.groups.entry(kind(labels)).or_default().entries -= was;
            }
            for (labels, now) in page.values(COMMANDS) {
                cost.groups.entry(kind(labels)).or_default().commands += now;
            }
            for (labels, was) in page_was.values(COMMANDS) {
                cost.groups.entry(kind(labels)).or_default().commands -= was;
            }
        }
        cost
    }
}

const ENTRIES: &str = "hansa_raft_entries_proposed_total";
const COMMANDS: &str = "hansa_raft_commands_committed_total";

/// The kind of the group that a metric's labels name: `{group="orders-0"}`.
fn kind(labels: &str) -> String {
    let group = labels.split_once("group=\"").map_or("", |(_, rest)| rest);
    group.split(['-', '"']).next().unwrap_or_default().to_owned()
}

/// Over the measured time, whatever was done in it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Cost {
    /// The client first.
    pub processes: Vec<Used>,
    /// Of the nodes' logs.
    pub log_syncs: f64,
    pub log_bytes: f64,
    /// Entries and commands of the leaders, by kind of group.
    pub groups: BTreeMap<String, Group>,
    /// Nodes whose metrics were not to be had: the logs' and groups' figures are without theirs.
    pub silent: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Group {
    pub entries: f64,
    pub commands: f64,
}

/// What one process used.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Used {
    pub name: String,
    pub cpu_seconds: f64,
    /// The same by name of thread, as far as they live.
    pub threads: BTreeMap<String, f64>,
    pub disk_bytes: u64,
    /// At its worst since it started.
    pub memory_max_bytes: u64,
}

impl Used {
    fn between(name: &str, was: &Process, now: &Process) -> Self {
        let thread = |(name, now): (&String, &std::time::Duration)| {
            let was = was.threads.get(name).copied().unwrap_or_default();
            (name.clone(), now.saturating_sub(was).as_secs_f64())
        };
        Self {
            name: name.to_owned(),
            cpu_seconds: now.busy.saturating_sub(was.busy).as_secs_f64(),
            threads: now.threads.iter().map(thread).collect(),
            disk_bytes: now.written.saturating_sub(was.written),
            memory_max_bytes: now.memory_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn look(busy_ms: u64, syncs: u64, orders: u64) -> Look {
        let busy = Duration::from_millis(busy_ms);
        let client = Process { busy, memory_max: 7, ..Process::default() };
        let page = format!(
            "# HELP hansa_wal_sync_seconds x\nhansa_wal_sync_seconds_count {syncs}\n\
             {ENTRIES}{{group=\"orders-0\"}} {orders}\n{ENTRIES}{{group=\"orders-1\"}} 1\n"
        );
        let page = (orders > 0).then_some(Page(page));
        Look { nodes: vec![("n1".to_owned(), client.clone(), page)], client }
    }

    #[test]
    fn a_cost_is_the_difference_of_two_looks() {
        let cost = look(1_500, 12, 100).since(&look(500, 2, 40));
        assert_eq!(cost.processes.len(), 2);
        assert_eq!(cost.processes[1].cpu_seconds, 1.0);
        assert_eq!(cost.processes[1].memory_max_bytes, 7);
        assert_eq!(cost.log_syncs, 10.0);
        assert_eq!(cost.groups["orders"], Group { entries: 60.0, commands: 0.0 });
    }

    #[test]
    fn a_node_that_does_not_answer_is_named_and_not_counted() {
        let cost = look(1_500, 12, 0).since(&look(500, 2, 40));
        assert_eq!((cost.log_syncs, cost.silent), (0.0, vec!["n1".to_owned()]));
    }

    #[test]
    fn a_group_has_its_kind_before_the_hyphen() {
        assert_eq!(kind("{group=\"inventory-12\"}"), "inventory");
        assert_eq!(kind("{group=\"directory\",x=\"y\"}"), "directory");
        assert_eq!(kind(" "), "");
    }
}
