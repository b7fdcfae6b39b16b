//! How long the search takes: `cargo run --release -p hansa-checker --example speed`.
//!
//! Histories of one stock key: 5 clients draw receipts, deductions, orders' holds and reads, one in
//! twenty of unknown outcome; honest, then with one update lost in the last tenth.

use std::time::Instant;

use hansa_checker::seen::StockSeen;
use hansa_checker::stock::{OneKey, Step, Stock};
use hansa_checker::wgl::{Entry, Found, Model, check};

const OPS: usize = 5_000;
const CLIENTS: usize = 5;

fn main() {
    for unknown_in in [0, 100, 20] {
        for lost in [false, true] {
            let (mut worst, mut steps) = (0_f64, 0);
            for seed in 1..=5 {
                let entries = history(seed, unknown_in, lost);
                let begun = Instant::now();
                let found = check(&OneKey, &entries, u64::MAX);
                worst = worst.max(begun.elapsed().as_secs_f64());
                match found {
                    Found::Explained { steps: n } => {
                        assert!(!lost, "a lost update was explained");
                        steps = steps.max(n);
                    }
                    Found::Refuted(_) => assert!(lost, "an honest history was refuted"),
                    Found::GaveUp { why } => panic!("{why}"),
                }
            }
            let kind = if lost { "refuted" } else { "explained" };
            let unknown = if unknown_in == 0 { 0.0 } else { 100.0 / f64::from(unknown_in) };
            println!(
                "{OPS} ops x {CLIENTS} clients, {unknown} % unknown: {kind} in at most \
                 {worst:.3} s ({steps} steps)"
            );
        }
    }
}

struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn history(seed: u64, unknown_in: u32, lost: bool) -> Vec<Entry<Step>> {
    let mut draw = Draw((seed * 0x9e37_79b9_7f4a_7c15) | 1);
    let mut entries: Vec<Entry<Step>> = Vec::new();
    let mut state = Stock { free: 0, known: true, ..Stock::default() };
    let mut running: Vec<Option<(Step, u64, bool)>> = vec![None; CLIENTS];
    let (mut now, mut lose) = (0, lost);
    while entries.len() < OPS {
        now += 1;
        let client = draw.below(CLIENTS as u64) as usize;
        match running[client].take() {
            None => {
                let n = 1 + draw.below(3) as i64;
                let step = match draw.below(5) {
                    0 => Step::Receive(2 * n),
                    1 => Step::Adjust { delta: -n, expected: None },
                    2 => Step::Hold(n),
                    _ => Step::Read(StockSeen::default()),
                };
                running[client] = Some((step, now, false));
            }
            // Takes effect somewhere inside.
            Some((step, begun, false)) => {
                let mut next = Vec::new();
                let step = match step {
                    Step::Read(_) => Step::Read(shown(&state)),
                    step => step,
                };
                OneKey.step(&state, &step, &mut next);
                let forgets = lose && entries.len() > OPS * 9 / 10 && !next.contains(&state);
                match next.first() {
                    Some(next) if !forgets => state = *next,
                    Some(_) => lose = false,
                    None => continue,
                }
                running[client] = Some((step, begun, true));
            }
            Some((step, begun, true)) => {
                let read = matches!(step, Step::Read(_));
                let unknown = !read && unknown_in > 0 && draw.below(u64::from(unknown_in)) == 0;
                entries.push(match unknown {
                    true => {
                        Entry::open(step, begun).twin(hansa_checker::wgl::class(&step), u64::MAX)
                    }
                    false => Entry::done(step, begun, now),
                });
            }
        }
    }
    entries
}

fn shown(state: &Stock) -> StockSeen {
    StockSeen {
        sellable: state.free,
        reserved: state.reserved,
        committed: state.committed,
        quarantine: state.quarantine,
        ..StockSeen::default()
    }
}
