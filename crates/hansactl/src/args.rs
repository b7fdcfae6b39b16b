//! The command line: nouns, verbs and what all of them share.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    audit, backup, customer, drill, group, invariants, key, member, node, order, payment,
    reconcile, region, replication, residency, stock, version,
};

const ABOUT_LONG: &str = "\
Looks into and works on a Hansa league through its public API.

Certificates come from --cert, --key and --ca, from HANSA_CERT, HANSA_KEY and HANSA_CA, or from \
the profile that `hansa dev` writes (--profile, HANSA_PROFILE, else ./hansa-data/dev/profile.toml).
Data goes to stdout, messages to stderr.";

const AFTER: &str = "\
Exit codes:
  0  done
  1  done, and what was looked for is wrong (an invariant is violated)
  2  the command line is wrong
  3  no answer: unreachable, timed out, or a part could not be checked
  4  refused: the request is wrong, the state does not allow it, or the order was rejected
  5  not found
  6  not allowed: certificate or role

Examples:
  hansactl region list
  hansactl region status --region eu-central
  hansactl region failover eu-west --to eu-central --confirm-stopped --reason flood --ticket INC-1
  hansactl residency explain --country DE --class PERSONAL
  hansactl group list --region us-east
  hansactl member replace eu-west-2 eu-west-4
  hansactl node reseed eu-west-2
  hansactl version raise --group all --to 2
  hansactl stock receive 85123A 100
  hansactl order place --country DE --customer 12583 --line 85123A:2:2.55 --currency EUR
  hansactl order watch regions/eu-west/orders/0193...
  hansactl customer erase --country DE 12583
  hansactl customer export --country DE 12583 > 12583.jsonl
  hansactl key rotate --region eu-west
  hansactl -o json invariants check";

#[derive(Debug, Parser)]
#[command(name = "hansactl", version, about = "The operator's tool of a Hansa league")]
#[command(long_about = ABOUT_LONG, after_help = AFTER, max_term_width = 100)]
#[command(arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Global {
    /// The file that names endpoints and certificates.
    #[arg(long, global = true, env = "HANSA_PROFILE", value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// A gateway to ask instead of the profile's.
    #[arg(long, global = true, env = "HANSA_ENDPOINT", value_name = "HOST:PORT")]
    pub endpoint: Option<String>,
    /// The authority that signed the league's certificates (PEM).
    #[arg(long, global = true, env = "HANSA_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Your certificate (PEM).
    #[arg(long, global = true, env = "HANSA_CERT", value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, global = true, env = "HANSA_KEY", value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Which client of the profile to be; chosen by the command when not given.
    #[arg(long = "as", global = true, env = "HANSA_CLIENT", value_name = "CLIENT")]
    pub client: Option<String>,
    /// The region to ask; the profile's first choice when not given.
    #[arg(long, global = true, env = "HANSA_REGION")]
    pub region: Option<String>,
    /// How long to wait for an answer, such as 500ms, 10s or 2m.
    #[arg(long, global = true, env = "HANSA_TIMEOUT", default_value = "15s", value_parser = span)]
    pub timeout: Duration,
    /// How to print.
    #[arg(short, long, global = true, env = "HANSA_OUTPUT", default_value = "table")]
    pub output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// The API's messages as proto3 JSON, one object a line.
    Json,
    /// The table's rows as CSV, for a spreadsheet.
    Csv,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Regions of the league and the routes to them.
    #[command(subcommand)]
    Region(region::Verb),
    /// Drills: what a loss costs, tried on a league that may lose something.
    #[command(subcommand)]
    Drill(drill::Verb),
    /// The residency policy: where the law lets data lie.
    #[command(subcommand)]
    Residency(residency::Verb),
    /// Raft groups of a region.
    #[command(subcommand)]
    Group(group::Verb),
    /// Members of the groups: which nodes keep them.
    #[command(subcommand)]
    Member(member::Verb),
    /// Nodes of a region.
    #[command(subcommand)]
    Node(node::Verb),
    /// Versions of behaviour: the second half of an upgrade.
    #[command(subcommand)]
    Version(version::Verb),
    /// What the law grants a customer: his data, and that it is forgotten.
    #[command(subcommand)]
    Customer(customer::Verb),
    /// Keys of a region's vault.
    #[command(subcommand)]
    Key(key::Verb),
    /// Orders.
    #[command(subcommand)]
    Order(order::Verb),
    /// Stock of a region.
    #[command(subcommand)]
    Stock(stock::Verb),
    /// Payments of orders.
    #[command(subcommand)]
    Payment(payment::Verb),
    /// Copies of a region, and the way back.
    #[command(subcommand)]
    Backup(backup::Verb),
    /// How orders travel to other regions, and what got stuck.
    #[command(subcommand)]
    Replication(replication::Verb),
    /// Histories, walked from their beginning.
    #[command(subcommand)]
    Audit(audit::Verb),
    /// What must always hold.
    #[command(subcommand)]
    Invariants(invariants::Verb),
    /// Orders, stock, money and the provider side by side, and repairs by two people.
    #[command(subcommand)]
    Reconcile(reconcile::Verb),
    /// Prints a completion script: `source <(hansactl completion bash)`.
    Completion { shell: clap_complete::Shell },
}

/// `500ms`, `10s`, `2m`.
pub fn span(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let count: u64 = digits.parse().map_err(|_| "expected such as 500ms, 10s or 2m".to_owned())?;
    let span = match &text[digits.len()..] {
        "ms" => Duration::from_millis(count),
        "s" => Duration::from_secs(count),
        "m" => Duration::from_secs(count.saturating_mul(60)),
        "h" => Duration::from_secs(count.saturating_mul(3_600)),
        "d" => Duration::from_secs(count.saturating_mul(86_400)),
        _ => return Err("expected a unit: ms, s, m, h or d".to_owned()),
    };
    if span.is_zero() { Err("must be more than 0".to_owned()) } else { Ok(span) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_need_a_unit() {
        assert_eq!(span("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(span("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(span("36h"), Ok(Duration::from_secs(36 * 3_600)));
        assert_eq!(span("30d"), Ok(Duration::from_secs(30 * 86_400)));
        for wrong in ["", "10", "s", "0s", "1y", "-1s"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
