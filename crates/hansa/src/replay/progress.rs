//! Progress on stderr: a bar for people, a plain line now and then for logs.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// How far something is.
#[derive(Debug)]
pub struct Progress {
    shown: Shown,
    what: &'static str,
    done: u64,
    total: u64,
}

#[derive(Debug)]
enum Shown {
    Bar(ProgressBar),
    Plain { last: Instant },
    Nothing,
}

impl Progress {
    /// A bar when stderr is a terminal, plain lines otherwise, nothing when `quiet`.
    #[must_use]
    pub fn new(what: &'static str, total: u64, quiet: bool) -> Self {
        let shown = if quiet {
            Shown::Nothing
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(total);
            let style = "{prefix:>14} [{bar:30}] {pos}/{len} {per_sec} {msg}";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(what);
            Shown::Bar(bar)
        } else {
            Shown::Plain { last: Instant::now() }
        };
        Self { shown, what, done: 0, total }
    }

    /// One more is done.
    pub fn step(&mut self) {
        self.done += 1;
        match &mut self.shown {
            Shown::Bar(bar) => bar.inc(1),
            Shown::Plain { last } if last.elapsed() >= PLAIN_EVERY => {
                *last = Instant::now();
                eprintln!("{}: {} of {}", self.what, self.done, self.total);
            }
            Shown::Plain { .. } | Shown::Nothing => {}
        }
    }

    /// All is done.
    pub fn finish(self) {
        match self.shown {
            Shown::Bar(bar) => bar.finish(),
            Shown::Plain { .. } => eprintln!("{}: {} of {}", self.what, self.done, self.total),
            Shown::Nothing => {}
        }
    }
}
