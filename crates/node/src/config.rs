//! Strict configuration: every key known, every value in range, or the process does not start.

#[cfg(test)]
mod tests;

use std::fmt::{self, Display};
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// A configuration that knows which of its values are wrong. Structs also carry
/// `#[serde(deny_unknown_fields)]`.
pub trait Checked {
    /// Notes every wrong value; all are reported at once.
    fn check(&self, problems: &mut Problems);
}

/// A text that an operator may change while the process runs: a policy.
#[derive(Clone)]
pub struct Text {
    path: PathBuf,
    read: Reader,
}

type Reader = Arc<dyn Fn(&Path) -> io::Result<String> + Send + Sync>;

impl Text {
    /// The file at `path`, as `read` reads it.
    pub fn new(
        path: PathBuf,
        read: impl Fn(&Path) -> io::Result<String> + Send + Sync + 'static,
    ) -> Self {
        Self { path, read: Arc::new(read) }
    }

    /// A file of this machine.
    pub fn file(path: PathBuf) -> Self {
        Self::new(path, |path| std::fs::read_to_string(path))
    }

    /// The text as it is now.
    pub fn read(&self) -> io::Result<String> {
        (self.read)(&self.path)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

/// One wrong value: its key, what it is, what it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub key: String,
    pub value: String,
    pub allowed: String,
}

/// Wrong values, each under the path of keys that led to it.
#[derive(Debug, Default)]
pub struct Problems {
    path: Vec<String>,
    found: Vec<Problem>,
}

impl Problems {
    /// Checks a part of the configuration under its key.
    pub fn within(&mut self, key: impl Into<String>, part: &impl Checked) {
        self.path.push(key.into());
        part.check(self);
        self.path.pop();
    }

    /// Notes `value` unless it lies in `range`.
    pub fn range<T: PartialOrd + Display>(
        &mut self,
        key: &str,
        value: T,
        range: RangeInclusive<T>,
    ) {
        if !range.contains(&value) {
            self.add(key, value, format!("{} to {}", range.start(), range.end()));
        }
    }

    /// Notes `value` unless `good`.
    pub fn must(&mut self, good: bool, key: &str, value: impl Display, allowed: &str) {
        if !good {
            self.add(key, value, allowed.to_owned());
        }
    }

    fn add(&mut self, key: &str, value: impl Display, allowed: String) {
        let mut path = self.path.clone();
        path.push(key.to_owned());
        self.found.push(Problem { key: path.join("."), value: value.to_string(), allowed });
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: must be {}", self.key, self.value, self.allowed)
    }
}

/// Why a configuration was not accepted. The text is for the terminal: exit non-zero with it.
#[derive(Debug, Error)]
pub enum Error {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Syntax { path: PathBuf, source: Box<toml::de::Error> },
    #[error("{}: {}", path.display(), lines(problems))]
    Invalid { path: PathBuf, problems: Vec<Problem> },
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// Reads and checks the file at `path`.
pub fn load<T: DeserializeOwned + Checked>(path: &Path) -> Result<T, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::Read { path: path.to_owned(), source })?;
    parse(path, &text)
}

/// Checks `text`; `path` is for the error only.
pub fn parse<T: DeserializeOwned + Checked>(path: &Path, text: &str) -> Result<T, Error> {
    let config: T = toml::from_str(text)
        .map_err(|source| Error::Syntax { path: path.to_owned(), source: Box::new(source) })?;
    let mut problems = Problems::default();
    config.check(&mut problems);
    if problems.found.is_empty() {
        Ok(config)
    } else {
        Err(Error::Invalid { path: path.to_owned(), problems: problems.found })
    }
}

/// The configuration as TOML with every default filled in, for `--print-config`.
pub fn print(config: &impl Serialize) -> Result<String, toml::ser::Error> {
    toml::to_string_pretty(config)
}
