//! `hansa-sim`: built and run by `cargo xtask sim`.

use std::process::ExitCode;

use hansa_sim::{plan::Plan, run, trace};

fn main() -> ExitCode {
    trace::install();
    let seed = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(1);
    let n: u64 = std::env::args().nth(2).and_then(|s| s.parse().ok()).unwrap_or(1);
    let verbose = std::env::args().nth(3).is_some();
    for seed in seed..seed + n {
        let began = std::time::Instant::now();
        let plan = Plan::draw(seed, None);
        if verbose {
            println!("{plan}");
        }
        let done = run::run(plan, verbose);
        println!("{seed} {:?} {:016x} lines {} ops {} sim {:.1}s wall {:.2}s", done.judged.word, done.digest, done.lines, done.judged.ops, done.simulated.as_secs_f64(), began.elapsed().as_secs_f64());
        for reason in &done.judged.reasons { println!("   {reason}"); }
        if verbose { for (k, v) in done.counts.iter() { println!("   {k}: {v}"); } }
    }
    ExitCode::SUCCESS
}
