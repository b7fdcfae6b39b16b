//! The peer most teams would pick: PostgreSQL 15 with two quorum-synchronous replicas, set up and
//! run by `../shared/bench/postgres.py`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

const PGBENCH: &str = "/usr/lib/postgresql/15/bin/pgbench";
/// The primary's port, as the script has it.
const PORT: &str = "54331";

pub struct Postgres {
    script: PathBuf,
    dir: PathBuf,
}

/// What the script prints of a run at full speed.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Peak {
    pub clients: usize,
    pub failed: u64,
    pub rate: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub cpu_us_primary: f64,
    pub cpu_us_replicas: f64,
    pub cpu_us_client: f64,
    pub wal_bytes: f64,
    pub wal_syncs: f64,
}

/// What came of a run at a given rate; latency from when each was due.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AtRate {
    pub rate: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl Postgres {
    /// Makes a primary and two synchronous replicas below `dir`, over what is there.
    ///
    /// # Errors
    /// What the script says.
    pub async fn init(script: &Path, dir: &Path) -> anyhow::Result<Self> {
        let script = std::path::absolute(script)?;
        ensure!(script.exists(), "{} is not there: --postgres names it", script.display());
        let postgres = Self { script, dir: dir.to_owned() };
        postgres.run(&["init", "quorum"]).await?;
        Ok(postgres)
    }

    /// As fast as so many clients can; starts it when it does not run.
    ///
    /// # Errors
    /// What the script says.
    pub async fn peak(&self, what: &str, clients: usize, seconds: u64) -> anyhow::Result<Peak> {
        let (clients, seconds) = (clients.to_string(), seconds.to_string());
        let told = self.run(&["run", what, "--clients", &clients, "--seconds", &seconds]).await?;
        serde_json::from_str(&told).with_context(|| format!("not a result: {told}"))
    }

    /// At so many a second, arriving as strangers do. It must run already.
    ///
    /// # Errors
    /// What pgbench says.
    pub async fn at_rate(
        &self,
        what: &str,
        clients: usize,
        rate: f64,
        seconds: u64,
    ) -> anyhow::Result<AtRate> {
        let log = self.dir.join("log");
        for old in std::fs::read_dir(&log)?.filter_map(Result::ok) {
            std::fs::remove_file(old.path())?;
        }
        let file = self.script.with_file_name("postgres").join(format!("{what}.sql"));
        let mut pgbench = Command::new(PGBENCH);
        pgbench.args(["-h", "127.0.0.1", "-p", PORT, "-U", "postgres", "-n", "-M", "prepared"]);
        pgbench.args(["-c", &clients.to_string(), "-j", &clients.min(2).to_string()]);
        pgbench.args(["-T", &seconds.to_string(), "-R", &format!("{rate:.1}"), "-l"]);
        pgbench.arg("--log-prefix").arg(log.join("rate")).arg("-f").arg(file).arg("postgres");
        output(pgbench).await?;
        let mut took = Vec::new();
        for file in std::fs::read_dir(&log)?.filter_map(Result::ok) {
            took.extend(times(&std::fs::read_to_string(file.path())?));
        }
        took.sort_unstable();
        Ok(summed_up(&took, seconds))
    }

    /// # Errors
    /// What the script says.
    pub async fn stop(&self) -> anyhow::Result<()> {
        self.run(&["stop"]).await.map(drop)
    }

    async fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut python = Command::new("python3");
        python.arg(&self.script).arg("--dir").arg(&self.dir).args(words);
        output(python).await
    }
}

impl Drop for Postgres {
    /// Also when a scenario ends half-way: servers of another user would stay.
    fn drop(&mut self) {
        let mut python = std::process::Command::new("python3");
        python.arg(&self.script).arg("--dir").arg(&self.dir).arg("stop");
        if let Err(error) = python.stdin(Stdio::null()).output() {
            eprintln!("PostgreSQL stays in {}: {error}", self.dir.display());
        }
    }
}

async fn output(mut command: Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("{command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Microseconds of each transaction in pgbench's log, from when it was due; `failed` and `skipped`
/// are no numbers.
fn times(log: &str) -> impl Iterator<Item = u64> {
    log.lines().filter_map(|line| line.split(' ').nth(2)?.parse().ok())
}

fn summed_up(sorted: &[u64], seconds: u64) -> AtRate {
    let at = |share: f64| {
        let place = (sorted.len() as f64 * share) as usize;
        sorted.get(place).or(sorted.last()).map_or(0.0, |us| *us as f64 / 1_000.0)
    };
    AtRate { rate: sorted.len() as f64 / seconds as f64, p50_ms: at(0.5), p99_ms: at(0.99) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_pgbench_is_read_and_summed_up() {
        let log = "0 1 2500 0 1700000000 1 120\n1 1 failed 0 1700000000 2\n0 2 1500 0 1 1 5\n";
        let mut took: Vec<_> = times(log).collect();
        took.sort_unstable();
        let told = summed_up(&took, 2);
        assert_eq!(told, AtRate { rate: 1.0, p50_ms: 2.5, p99_ms: 2.5 });
        assert_eq!(summed_up(&[], 2).p99_ms, 0.0);
    }

    #[test]
    fn a_result_of_the_script_is_read() {
        let line = r#"{"peer": "postgresql-15", "replicas": 2, "script": "uniform", "clients": 16,
            "seconds": 20, "failed": 0, "rate": 3608.1, "p50_ms": 3.7, "p95_ms": 8.1,
            "p99_ms": 12.6, "max_ms": 80.2, "cpu_us_primary": 337.1, "cpu_us_replicas": 125.0,
            "cpu_us_client": 19.4, "wal_bytes": 2400, "wal_syncs": 0.21}"#;
        let peak: Peak = serde_json::from_str(line).unwrap();
        assert_eq!((peak.clients, peak.rate), (16, 3_608.1));
    }
}
