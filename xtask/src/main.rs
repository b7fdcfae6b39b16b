//! The project's own chores: `cargo xtask tidy`, `cargo xtask sim`, `cargo xtask sim-report`,
//! `cargo xtask suite-report`, `cargo xtask counts`.

use anyhow::{Result, bail, ensure};
use xtask::counts::{self, Verdict};
use xtask::sim::Profile;

/// Builds the simulator for thousands of seeds; the only option of it that is ours.
const CAMPAIGN: &str = "--campaign";

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("tidy") => tidy(),
        Some("sim") => sim(std::env::args().skip(2)),
        Some("sim-report") => report(),
        Some("suite-report") => suite_report(std::env::args().nth(2)),
        Some("counts") => counts(std::env::args().nth(2).as_deref()),
        _ => bail!(
            "usage: cargo xtask tidy   (checks arrows, sizes, imports and names)\n       \
             cargo xtask sim --help   (the league in one thread, broken by seed)\n       \
             cargo xtask sim-report   (its results, into docs/reliability.md)\n       \
             cargo xtask suite-report [FOLDER]   (the same of the process suites, which leave \
             theirs in target/figures)\n       \
             cargo xtask counts [--write | PROGRAM]   (instructions of hot paths: compares them \
             with what is kept, writes that down, or counts another build)"
        ),
    }
}

fn sim(args: impl Iterator<Item = String>) -> Result<()> {
    let (campaign, args): (Vec<String>, Vec<String>) = args.partition(|arg| arg == CAMPAIGN);
    let profile = if campaign.is_empty() { Profile::Sim } else { Profile::Campaign };
    let built = xtask::sim::build(profile)?;
    let status = std::process::Command::new(&built).args(args).status()?;
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => std::process::exit(code),
        None => bail!("{} ended by a signal", built.display()),
    }
}

fn counts(how: Option<&str>) -> Result<()> {
    match how {
        None => ensure!(counts::check()? != Verdict::Differs, "not what is kept"),
        Some("--write") => counts::write()?,
        Some(program) => counts::show(program.as_ref())?,
    }
    Ok(())
}

fn suite_report(folder: Option<String>) -> Result<()> {
    if let Some(folder) = folder {
        xtask::suites::take(&xtask::workspace_root(), folder.as_ref())?;
    }
    report()
}

fn report() -> Result<()> {
    let root = xtask::workspace_root();
    std::fs::write(root.join(xtask::report::PAGE), xtask::report::page(&root)?)?;
    Ok(())
}

fn tidy() -> Result<()> {
    let found = xtask::tidy::check(&xtask::workspace_root())?;
    for problem in &found {
        println!("{problem}");
    }
    match found.len() {
        0 => Ok(()),
        n => bail!("tidy found {n} problem(s)"),
    }
}
