//! Figures that are published: measured, summed up, and written as JSON with the machine's name.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

/// Times of one kind, in the order in which they were taken.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// The time that this share of all were within.
    #[must_use]
    pub fn at(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let place = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(place.saturating_sub(1)).copied().unwrap_or_default()
    }

    #[must_use]
    pub fn json(&self) -> Value {
        let ms = |took: Duration| took.as_millis() as u64;
        let (p50, p99, max) = (ms(self.at(0.5)), ms(self.at(0.99)), ms(self.at(1.0)));
        json!({ "count": self.0.len(), "p50_ms": p50, "p99_ms": p99, "max_ms": max })
    }
}

/// Writes `figures/<name>.json` below the target folder, or below `HANSA_FIGURES`, and prints it.
pub fn publish(name: &str, figures: Value) {
    println!("{figures:#}");
    write(name, &figures);
}

/// The same without a word.
pub fn write(name: &str, figures: &Value) {
    let folder = std::env::var_os("HANSA_FIGURES").map_or_else(default_folder, PathBuf::from);
    std::fs::create_dir_all(&folder).expect("a folder for figures");
    let whole = json!({ "name": name, "figures": figures, "machine": machine() });
    let file = folder.join(format!("{name}.json"));
    std::fs::write(&file, format!("{whole:#}\n")).expect("a file for figures");
}

/// The test binary's name, as `--test` takes it.
#[must_use]
pub fn suite() -> String {
    let test = std::env::current_exe().expect("a test binary has a path");
    let stem = test.file_stem().expect("a name").to_string_lossy().into_owned();
    stem.rsplit_once('-').map_or(stem.clone(), |(name, _hash)| name.to_owned())
}

fn default_folder() -> PathBuf {
    let test = std::env::current_exe().expect("a test binary has a path");
    test.ancestors().nth(3).expect("below target/").join("figures")
}

/// Where and when, and whether others had work to do meanwhile.
#[must_use]
pub fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    json!({
        "cores": cores,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load_average": load.split(' ').next().unwrap_or_default(),
        "unix_seconds": since.as_secs(),
        "commit": commit(),
        "build": if cfg!(debug_assertions) { "debug" } else { "release" },
    })
}

/// What was built, as far as git knows; a `+` says that it was changed since.
fn commit() -> String {
    let said = std::process::Command::new("git")
        .args(["describe", "--always", "--exclude=*", "--dirty=+"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let said = said.ok().filter(|said| said.status.success());
    said.map_or_else(String::new, |said| String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_the_smallest_time_that_it_fits_in() {
        let mut times = Times::default();
        (1..=100).rev().for_each(|ms| times.add(Duration::from_millis(ms)));
        let ms = |share| times.at(share).as_millis();
        assert_eq!([ms(0.5), ms(0.99), ms(1.0)], [50, 99, 100]);
        assert_eq!(Times::default().at(0.5), Duration::ZERO);
    }
}
