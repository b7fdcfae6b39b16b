//! The project's own chores: `cargo xtask tidy`.

use anyhow::{Result, bail};

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("tidy") => tidy(),
        _ => bail!("usage: cargo xtask tidy   (checks arrows, sizes, imports and names)"),
    }
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
