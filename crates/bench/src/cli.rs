//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::load::Drive;
use crate::pace::{self, Plan};

#[derive(Debug, Parser)]
#[command(name = "hansa-bench", version, about = "Measures throughput, latency and cost")]
#[command(max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub scenario: Scenario,
}

/// What every scenario takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// Folder on the disk that is measured; a fresh one that goes afterwards when not given.
    #[arg(long, global = true)]
    pub dir: Option<PathBuf>,
    /// Another `hansa` program to measure than the one built into this.
    #[arg(long, global = true)]
    pub hansa: Option<PathBuf>,
    /// A running league instead: its profile, as `hansa dev` writes one.
    #[arg(long, global = true)]
    pub profile: Option<PathBuf>,
    /// With --profile: these gateways of its region (host:port) instead of those it lists.
    #[arg(long, global = true, value_delimiter = ',')]
    pub target: Vec<String>,
    /// The region that is started keeps its books in the orders group's own log (groups.joint).
    #[arg(long, global = true, conflicts_with = "profile")]
    pub joint: bool,
    #[arg(short, long, global = true, default_value = "table")]
    pub output: Output,
    /// Folder for plots: latency over load, and throughput over time for each run.
    #[arg(long, global = true)]
    pub svg: Option<PathBuf>,
    /// Draws SKUs, customers and accounts: the same in every run.
    #[arg(long, global = true, default_value_t = 1)]
    pub seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Scenario {
    /// Orders of 2 lines to CONFIRMED, SKUs drawn uniformly: gateway, saga, stock, payments.
    Orders(Orders),
    /// The same over one `PlaceOrders` stream for each client.
    OrdersStream(OrdersStream),
    /// The same, every line of every order wanting one SKU.
    FlashSale(Orders),
    /// Steady at 15 % of capacity, then ten times that, then steady again.
    Spike(Spike),
    /// What an order costs as one thing grows: SKUs, groups, open orders or watchers.
    Scale(Scale),
    /// Commands of 256 bytes that change nothing, through one group of three replicas.
    Raft(Raft),
    /// Holds of one unit straight at the stock ledger, in batches on streams.
    Reserve(Reserve),
    /// Transfers between accounts of the kernel, at one replica and at three.
    Transfers(Transfers),
    /// What the machine gives: syncs of the disk, unary calls and streams over mTLS.
    Calibrate(Times),
    /// Orders here and in PostgreSQL with two synchronous replicas, by turns.
    Compare(Compare),
    #[command(hide = true)]
    Group(crate::group::Args),
    #[command(hide = true)]
    Serve(hansa::cli::serve::Args),
}

#[derive(Debug, Clone, clap::Args)]
pub struct Orders {
    #[command(flatten)]
    pub load: Load,
    /// SKUs with stock before the load begins.
    #[arg(long, default_value_t = 10_000)]
    pub skus: u64,
}

#[derive(Debug, Clone, clap::Args)]
pub struct OrdersStream {
    #[command(flatten)]
    pub orders: Orders,
    /// Closed loop: orders that each client has under way on its stream. An open loop has a stream
    /// on each connection.
    #[arg(long, default_value_t = 64)]
    pub window: usize,
    /// Measures unary calls of so many clients before each, in the same region, and tells the
    /// ratio.
    #[arg(long)]
    pub beside: Option<usize>,
}

#[derive(Debug, Clone, clap::Args)]
pub struct Spike {
    #[command(flatten)]
    pub orders: Orders,
    /// Orders per second that it can do; measured first when not given.
    #[arg(long)]
    pub capacity: Option<f64>,
}

#[derive(Debug, Clone, clap::Args)]
pub struct Scale {
    /// What there is more and more of.
    pub axis: Axis,
    /// How many of it; a region of its own is measured with each.
    #[arg(long, value_delimiter = ',')]
    pub points: Vec<u64>,
    /// Nodes of the region.
    #[arg(long, default_value_t = 3)]
    pub replicas: usize,
    /// Clients, each with one order under way.
    #[arg(long, default_value_t = 64)]
    pub clients: usize,
    #[command(flatten)]
    pub times: Times,
}

/// What grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Axis {
    /// SKUs with stock, each a stock account.
    Skus,
    /// Groups of each kind: orders, stock, payments.
    Groups,
    /// Orders that are confirmed and not shipped.
    Orders,
    /// Open `WatchOrder` streams.
    Watchers,
}

impl Scale {
    /// How many of it are measured when the command line does not say.
    pub fn points(&self) -> Vec<u64> {
        if !self.points.is_empty() {
            return self.points.clone();
        }
        match self.axis {
            Axis::Skus => vec![10_000, 100_000, 1_000_000],
            Axis::Groups => vec![1, 4, 16],
            Axis::Orders => vec![1_000, 100_000, 300_000],
            Axis::Watchers => vec![1_000, 10_000, 50_000],
        }
    }
}

#[derive(Debug, Clone, clap::Args)]
pub struct Raft {
    /// Commands in flight; a list measures one by one.
    #[arg(long, value_delimiter = ',', default_value = "1,64,512")]
    pub clients: Vec<usize>,
    #[arg(long, default_value_t = 256)]
    pub bytes: usize,
    #[command(flatten)]
    pub times: Times,
}

#[derive(Debug, Clone, clap::Args)]
pub struct Reserve {
    /// Batches in flight; a list measures one by one.
    #[arg(long, value_delimiter = ',', default_value = "16")]
    pub clients: Vec<usize>,
    /// Holds in one batch.
    #[arg(long, value_delimiter = ',', default_value = "512")]
    pub batch: Vec<u64>,
    #[arg(long, default_value_t = 10_000)]
    pub skus: u64,
    #[command(flatten)]
    pub times: Times,
}

#[derive(Debug, Clone, clap::Args)]
pub struct Transfers {
    #[arg(long, value_delimiter = ',', default_value = "1,3")]
    pub replicas: Vec<u64>,
    /// Transfers in one batch.
    #[arg(long, value_delimiter = ',', default_value = "8189,64,1")]
    pub batch: Vec<u64>,
    /// Batches in flight: 4 of 1,000 and more, else 64, when not given.
    #[arg(long)]
    pub clients: Option<usize>,
    #[command(flatten)]
    pub times: Times,
}

#[derive(Debug, Clone, clap::Args)]
pub struct Compare {
    /// Clients to try here and there; each side's best is what is compared.
    #[arg(long, value_delimiter = ',', default_value = "64,256")]
    pub clients: Vec<usize>,
    #[arg(long, value_delimiter = ',', default_value = "16,64")]
    pub peer_clients: Vec<usize>,
    /// Pairs of measurements, this side and that one by turns.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Every order wants one SKU, here and there.
    #[arg(long)]
    pub flash_sale: bool,
    /// `postgres.py` of ../shared/bench: it sets the peer up, runs it and stops it.
    #[arg(long, default_value = "../shared/bench/postgres.py")]
    pub postgres: PathBuf,
    #[command(flatten)]
    pub times: Times,
}

/// How the load comes.
#[derive(Debug, Clone, clap::Args)]
pub struct Load {
    /// Closed loop: so many clients, each with one call under way; a list measures one by one.
    #[arg(long, value_delimiter = ',', default_value = "64", conflicts_with = "rate")]
    pub clients: Vec<usize>,
    /// Open loop: calls per second, whatever becomes of them, timed from when each was due.
    #[arg(long, value_delimiter = ',')]
    pub rate: Vec<f64>,
    /// How an open loop's calls arrive.
    #[arg(long, default_value = "steady", requires = "rate")]
    pub pattern: Pattern,
    /// Real orders whose minutes `--pattern minutes` follows; the shipped sample when not given.
    #[arg(long)]
    pub orders_file: Option<PathBuf>,
    #[command(flatten)]
    pub times: Times,
}

#[derive(Debug, Clone, clap::Args)]
pub struct Times {
    /// Measured seconds of each run.
    #[arg(long, default_value_t = 20.0)]
    pub seconds: f64,
    /// Load before each, not measured.
    #[arg(long, default_value_t = 5.0)]
    pub warm_up: f64,
    /// Connections to each gateway.
    #[arg(long, default_value_t = 4)]
    pub connections: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pattern {
    /// Evenly.
    Steady,
    /// As strangers come: a Poisson process.
    Random,
    /// A third evenly, a third at ten times the rate, a third as at first.
    Step,
    /// As real orders came by the minute, a minute in a second; the rate is their mean.
    Minutes,
}

impl Times {
    pub fn lasts(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.max(0.1))
    }

    pub fn warms_up(&self) -> Duration {
        Duration::from_secs_f64(self.warm_up.max(0.0))
    }
}

impl Load {
    /// What is to be measured, one after the other.
    ///
    /// # Errors
    /// A file of orders that does not read.
    pub fn drives(&self, seed: u64) -> anyhow::Result<Vec<(String, Drive)>> {
        if self.rate.is_empty() {
            let closed = |&clients: &usize| {
                let clients = clients.max(1);
                (format!("{clients} clients"), Drive::Closed { clients })
            };
            return Ok(self.clients.iter().map(closed).collect());
        }
        let minutes = match (self.pattern, &self.orders_file) {
            (Pattern::Minutes, Some(file)) => pace::minutes(&std::fs::read(file)?)?,
            (Pattern::Minutes, None) => pace::minutes(pace::SAMPLE)?,
            (Pattern::Steady | Pattern::Random | Pattern::Step, _) => Vec::new(),
        };
        let lasts = self.times.lasts();
        let open = |&rate: &f64| {
            let plan = match self.pattern {
                Pattern::Steady => Plan::steady(rate, lasts),
                Pattern::Random => Plan::random(rate, lasts, seed),
                Pattern::Step => Plan::step(rate, lasts),
                Pattern::Minutes => Plan::minutes(&minutes, rate, lasts),
            };
            (format!("{rate:.0}/s"), Drive::Open(plan))
        };
        Ok(self.rate.iter().map(open).collect())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_list_is_measured_one_by_one() {
        let cli = Cli::parse_from(["hansa-bench", "orders", "--clients", "1,16"]);
        let Scenario::Orders(orders) = cli.scenario else { panic!("another scenario") };
        let drives = orders.load.drives(1).unwrap();
        let names: Vec<_> = drives.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["1 clients", "16 clients"]);
    }
}
