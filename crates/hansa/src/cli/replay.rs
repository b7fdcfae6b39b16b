//! `hansa replay FILE`

use std::path::PathBuf;

use super::{Exit, Format};
use crate::profile::Profile;
use crate::replay::core::synthetic::Shares;
use crate::replay::doors::Doors;
use crate::replay::drive::Options;
use crate::replay::report::Report;
use crate::replay::{run, table};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The online-retail CSV: InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice,
    /// CustomerID, Country.
    file: PathBuf,
    /// The league to drive, as `hansa dev` writes it.
    #[arg(long, env = "HANSA_PROFILE", default_value = "hansa-data/dev/profile.toml")]
    profile: PathBuf,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    made_up: MadeUp,
    #[arg(short, long, default_value = "table")]
    output: Format,
}

/// How hard to drive.
#[derive(Clone, Debug, clap::Args)]
pub struct Pace {
    /// Steps under way at once.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    concurrency: u16,
    /// Another name makes the same file new orders; the same name changes nothing.
    #[arg(long, default_value = "")]
    run: String,
    /// No progress.
    #[arg(short, long)]
    quiet: bool,
}

/// The made-up part, in per mille; reports label it.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Synthetic part, in per mille (not in the data)")]
pub struct MadeUp {
    #[arg(long, default_value_t = Shares::default().seed)]
    seed: u64,
    /// UK buyers moved to US, CA, JP and AU.
    #[arg(long, default_value_t = Shares::default().rehomed, value_parser = per_mille())]
    rehomed: u16,
    /// Orders whose card the sandbox declines.
    #[arg(long, default_value_t = Shares::default().declined, value_parser = per_mille())]
    declined: u16,
    /// Confirmed orders that are cancelled instead of shipped.
    #[arg(long, default_value_t = Shares::default().cancelled, value_parser = per_mille())]
    cancelled: u16,
    /// SKUs that start with less stock than is asked for.
    #[arg(long, default_value_t = Shares::default().scarce, value_parser = per_mille())]
    scarce: u16,
}

fn per_mille() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(0..=1_000)
}

impl MadeUp {
    #[must_use]
    pub fn shares(&self) -> Shares {
        let Self { seed, rehomed, declined, cancelled, scarce } = *self;
        Shares { seed, rehomed, declined, cancelled, scarce }
    }
}

impl Pace {
    #[must_use]
    pub fn options(&self, seed: u64) -> Options {
        let concurrency = usize::from(self.concurrency);
        let (run, quiet) = (self.run.clone(), self.quiet);
        Options { concurrency, run, seed, quiet, memory: None, turns: None }
    }
}

/// Drives the file into the league of the profile.
///
/// # Errors
/// What stopped it before the first order.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    let file = run::read_file(&args.file)?;
    let doors = Doors::of(&Profile::read(&args.profile)?)?;
    let shares = args.made_up.shares();
    let options = args.pace.options(shares.seed);
    let report = tokio::select! {
        biased;
        report = run::run(&file, &doors, &shares, &options) => report?,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("interrupted; run it again to go on, nothing is done twice");
            return Ok(Exit::Interrupted);
        }
    };
    print(&report, args.output);
    Ok(exit(&report))
}

/// The report on stdout.
pub fn print(report: &Report, output: Format) {
    match output {
        Format::Table => print!("{}", table::text(report)),
        Format::Json => println!("{}", table::json(report)),
    }
}

/// What scripts are told.
#[must_use]
pub fn exit(report: &Report) -> Exit {
    if !report.surprises.is_empty() {
        Exit::Surprised
    } else if !report.malformed.is_empty() {
        Exit::NotRead
    } else {
        Exit::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::core::row::Malformed;
    use crate::replay::report::Surprise;

    #[test]
    fn the_exit_code_says_the_worst() {
        let mut report = Report {
            regions: std::collections::BTreeMap::new(),
            malformed: Vec::new(),
            left: Vec::new(),
            surprises: Vec::new(),
            rehomed_invoices: 0,
            shares: Shares::default(),
            elapsed: std::time::Duration::ZERO,
        };
        assert_eq!(exit(&report), Exit::Done);
        report.malformed.push(Malformed { line: 7, why: "Quantity is 0".into() });
        assert_eq!(exit(&report), Exit::NotRead);
        let (expected, found) = ("stock corrected".into(), "refused".into());
        report.surprises.push(Surprise { invoice: "536365".into(), expected, found });
        assert_eq!(exit(&report), Exit::Surprised);
    }
}
