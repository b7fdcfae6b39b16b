//! What happened, as a digest that two runs of a seed must share and as words for whoever looks.
//!
//! The product's own log lines are the trace: each is a fact with its host and its simulated time.
//! They also feed the coverage. One simulation runs on a thread at a time, so the trace is that
//! thread's.

use std::cell::RefCell;
use std::fmt;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::clock;
use crate::coverage::{self, Counts};

/// FNV-1a's start and prime.
const START: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;
/// Last lines kept for a failure's report.
const TAIL_MAX: usize = 60;

thread_local! {
    /// The host whose code runs: turmoil says so in a span.
    static HERE: RefCell<String> = const { RefCell::new(String::new()) };
    static TRACE: RefCell<Trace> = RefCell::new(Trace::default());
}

/// One simulation's trace.
#[derive(Clone, Debug)]
pub struct Trace {
    pub digest: u64,
    pub lines: u64,
    pub counts: Counts,
    /// Panics anywhere: each is a failure.
    pub panics: Vec<String>,
    pub verbose: bool,
    pub tail: std::collections::VecDeque<String>,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            digest: START,
            lines: 0,
            counts: Counts::default(),
            panics: Vec::new(),
            verbose: false,
            tail: Default::default(),
        }
    }
}

impl Trace {
    fn fold(&mut self, bytes: &[u8]) {
        let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
        self.digest = bytes.iter().fold(self.digest, fold);
    }

    fn add(&mut self, line: &str) {
        self.fold(line.as_bytes());
        self.lines += 1;
        if self.verbose {
            println!("{line}");
        }
        if self.tail.len() == TAIL_MAX {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
    }
}

/// Begins a new trace on this thread.
pub fn begin(verbose: bool) {
    TRACE.with_borrow_mut(|trace| *trace = Trace { verbose, ..Trace::default() });
}

/// Ends it.
#[must_use]
pub fn end() -> Trace {
    TRACE.with_borrow_mut(std::mem::take)
}

/// Notes something that the simulator itself did.
pub fn note(what: fmt::Arguments<'_>) {
    let at = clock::truth().unwrap_or_default();
    write(&format!("{:>11.6} sim {what}", at.as_secs_f64()));
}

/// The same with the time given, for what happens between two steps.
pub fn note_at(at: std::time::Duration, what: fmt::Arguments<'_>) {
    write(&format!("{:>11.6} sim {what}", at.as_secs_f64()));
}

/// Takes bytes into the digest alone.
pub fn digest(bytes: &[u8]) {
    TRACE.with_borrow_mut(|trace| trace.fold(bytes));
}

/// Counts something for the coverage.
pub fn count(what: &'static str, times: u64) {
    TRACE.with_borrow_mut(|trace| trace.counts.add(what, times));
}

/// Whether `what` was counted so far.
#[must_use]
pub fn counted(what: &str) -> u64 {
    TRACE.with_borrow(|trace| trace.counts.of(what))
}

/// Notes a panic.
pub fn panicked(what: String) {
    // A panic while the trace is written must not become a second one.
    TRACE.with(|trace| {
        if let Ok(mut trace) = trace.try_borrow_mut() {
            trace.panics.push(what);
        }
    });
}

fn write(line: &str) {
    TRACE.with_borrow_mut(|trace| trace.add(line));
}

/// Takes the product's log lines into the trace, for this process.
pub fn install() {
    let set = tracing::subscriber::set_global_default(Lines);
    assert!(set.is_ok(), "the trace was installed twice");
    std::panic::set_hook(Box::new(|info| panicked(info.to_string())));
}

struct Lines;

/// turmoil enters it around each host's turn.
fn turn(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.name() == "node" && metadata.target().starts_with("turmoil")
}

fn wanted(metadata: &Metadata<'_>) -> bool {
    metadata.is_event()
        && *metadata.level() <= Level::INFO
        && metadata.target().starts_with("hansa")
}

impl Subscriber for Lines {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match wanted(metadata) || turn(metadata) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        wanted(metadata) || turn(metadata)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        HERE.with_borrow_mut(|here| {
            here.clear();
            span.record(&mut Name(here));
        });
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {
        HERE.with_borrow_mut(String::clear);
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let at = clock::truth().unwrap_or_default().as_secs_f64();
        let host = HERE.with_borrow(Clone::clone);
        let level = event.metadata().level();
        if let Some(what) = coverage::of_line(&line.message) {
            count(what, 1);
        }
        write(&format!("{at:>11.6} {host} {level} {}{}", line.message, line.fields));
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.fields += &format!(" {name}={value:?}"),
        }
    }
}

/// Takes the host's name out of turmoil's span.
struct Name<'a>(&'a mut String);

impl Visit for Name<'_> {
    fn record_str(&mut self, _: &Field, value: &str) {
        self.0.push_str(value);
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}
