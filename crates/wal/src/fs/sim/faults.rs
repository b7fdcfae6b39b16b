//! What goes wrong, and when.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::fs::Op;

/// Makes matching operations fail.
#[derive(Clone, Debug)]
pub struct Rule {
    pub op: Op,
    /// Only for paths that contain this; empty for all.
    pub path_has: String,
    /// Only for this path.
    pub path_is: Option<PathBuf>,
    /// Matching operations that still succeed first.
    pub after: u64,
    /// Matching operations that then fail.
    pub times: u64,
    /// Whether the error says that the disk is full.
    pub full: bool,
}

impl Rule {
    /// The next operation of this kind fails, and every one after it.
    pub fn always(op: Op) -> Self {
        let (path_has, path_is) = Default::default();
        Self { op, path_has, path_is, after: 0, times: u64::MAX, full: false }
    }

    /// The next operation of this kind fails, later ones succeed.
    pub fn once(op: Op) -> Self {
        Self { times: 1, ..Self::always(op) }
    }

    pub fn after(self, after: u64) -> Self {
        Self { after, ..self }
    }

    pub fn on(self, path_has: &str) -> Self {
        Self { path_has: path_has.to_owned(), ..self }
    }

    /// Only on this file or folder, not on what lies in it.
    pub fn at(self, path: &Path) -> Self {
        Self { path_is: Some(path.to_owned()), ..self }
    }

    /// Fails for want of space.
    pub fn full(self) -> Self {
        Self { full: true, ..self }
    }

    fn is_of(&self, op: Op, path: &Path) -> bool {
        let whole = self.path_is.as_ref().is_none_or(|only| only == path);
        self.op == op && whole && path.to_string_lossy().contains(&self.path_has)
    }
}

/// The rules in force.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub rules: Vec<Rule>,
    /// Changes still let through before the power goes.
    pub cut_after: Option<u64>,
    pub ignore_syncs: bool,
    pub syncs: u64,
    latency: [Duration; 3],
}

impl Faults {
    /// Whether the operation goes through.
    pub fn check(&mut self, op: Op, path: &Path) -> io::Result<()> {
        if op != Op::Read
            && let Some(left) = &mut self.cut_after
        {
            if *left == 0 {
                return Err(io::Error::other("the power is gone"));
            }
            *left -= 1;
        }
        for rule in &mut self.rules {
            if !rule.is_of(op, path) {
                continue;
            }
            if rule.after > 0 {
                rule.after -= 1;
            } else if rule.times > 0 {
                rule.times -= 1;
                return Err(match rule.full {
                    true => io::ErrorKind::StorageFull.into(),
                    false => io::Error::other(format!("injected {op:?} error")),
                });
            }
        }
        Ok(())
    }

    /// Whether a power cut has struck.
    pub fn power_is_gone(&self) -> bool {
        self.cut_after == Some(0)
    }

    pub fn latency(&self, op: Op) -> Duration {
        self.latency[op as usize]
    }

    pub fn set_latency(&mut self, op: Op, latency: Duration) {
        self.latency[op as usize] = latency;
    }
}
