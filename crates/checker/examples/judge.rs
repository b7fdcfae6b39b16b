//! Judges a history file: `cargo run --release -p hansa-checker --example judge -- FILE [BUDGET]`.
//!
//! `cargo xtask sim --seed N --history FILE` writes one, as do failing suites of real processes.

use std::io::BufReader;
use std::time::Instant;

use hansa_checker::{BUDGET, judge, lines};

fn main() {
    let mut args = std::env::args().skip(1);
    let file = args.next().expect("a history file");
    let budget = args.next().map_or(BUDGET, |text| text.parse().expect("a number of steps"));
    let file = std::fs::File::open(file).expect("readable");
    let history = lines::read(BufReader::new(file)).expect("one operation a line");
    let begun = Instant::now();
    let judgement = judge(&history, &[], None, budget);
    println!("{judgement}\nin {:.2} s", begun.elapsed().as_secs_f64());
}
