//! What a node uses up: its disk by part, its memory, its time on a core.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// A block of [`std::os::unix::fs::MetadataExt::blocks`].
const BLOCK: u64 = 512;
/// What the kernel counts a process's time in, on every Linux that Rust runs on.
const TICKS_PER_SECOND: u64 = 100;

/// Bytes on a node's disk, as allocated, and how many checkpoints lie there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    pub wal: u64,
    pub checkpoints: u64,
    pub archive: u64,
    pub views: u64,
    /// By group: those that are kept, and one that is being written.
    pub checkpoint_files: BTreeMap<String, usize>,
}

impl Disk {
    /// What lies in a node's data folder now; files that go meanwhile count nothing.
    #[must_use]
    pub fn of(data_dir: &Path) -> Self {
        let mut disk = Self {
            wal: below(&data_dir.join("wal")),
            views: below(&data_dir.join("views")),
            ..Self::default()
        };
        for (group, _) in entries(&data_dir.join("groups")) {
            let (mut files, folder) = (0, data_dir.join("groups").join(&group));
            for (name, bytes) in entries(&folder) {
                let is = |suffix| Path::new(&name).extension().is_some_and(|is| is == suffix);
                if is("ckpt") || is("tmp") {
                    disk.checkpoints += bytes;
                    files += 1;
                } else {
                    disk.archive += bytes;
                }
            }
            disk.checkpoint_files.insert(group, files);
        }
        disk
    }

    /// All but what the archive keeps for ever.
    #[must_use]
    pub fn bounded(&self) -> u64 {
        self.wal + self.checkpoints + self.views
    }
}

/// Bytes of everything below a folder.
#[must_use]
pub fn below(folder: &Path) -> u64 {
    let each = entries(folder).into_iter().map(|(name, bytes)| {
        let path = folder.join(name);
        if path.is_dir() { below(&path) } else { bytes }
    });
    each.sum()
}

/// The names in a folder with their allocated bytes.
fn entries(folder: &Path) -> Vec<(String, u64)> {
    let listed = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
        listed => listed.expect("a readable folder"),
    };
    let seen = listed.filter_map(|entry| {
        let entry = entry.ok()?;
        let bytes = entry.metadata().ok()?.blocks() * BLOCK;
        Some((entry.file_name().to_string_lossy().into_owned(), bytes))
    });
    seen.collect()
}

/// A process's memory in bytes, and its time on cores since it began.
#[must_use]
pub fn process(pid: u32) -> (u64, Duration) {
    let used = Process::of(pid);
    (used.memory, used.busy)
}

/// What a process has used since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Bytes now, and at the worst.
    pub memory: u64,
    pub memory_max: u64,
    /// Time on cores, and that of each kind of thread that lives now.
    pub busy: Duration,
    pub threads: BTreeMap<String, Duration>,
    /// Bytes that went to a disk.
    pub written: u64,
}

impl Process {
    /// Nothing of a process that is gone.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
        let (status, io) = (read("status").unwrap_or_default(), read("io").unwrap_or_default());
        // The name, the second field, may hold anything; the fields after it are numbers.
        let stat = read("stat").unwrap_or_default();
        let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: u64 =
            after.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
        Self {
            memory: named(&status, "VmRSS:") * 1_024,
            memory_max: named(&status, "VmHWM:") * 1_024,
            busy: Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND),
            threads: threads(pid),
            written: named(&io, "write_bytes:"),
        }
    }
}

/// The number on the line that begins so.
fn named(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Time on cores by thread name, as the scheduler counts it; numbers at the end say nothing.
fn threads(pid: u32) -> BTreeMap<String, Duration> {
    let mut named = BTreeMap::new();
    let Ok(listed) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return named };
    for task in listed.filter_map(Result::ok) {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file));
        let (Ok(name), Ok(times)) = (read("comm"), read("schedstat")) else { continue };
        let nanos = times.split_whitespace().next().and_then(|n| n.parse().ok());
        // A node's own begin with its name.
        let name = name.trim().rsplit('/').next().unwrap_or_default();
        let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
        *named.entry(name.to_owned()).or_default() += Duration::from_nanos(nanos.unwrap_or(0));
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_time() {
        let busy = |from: std::time::Instant| while from.elapsed() < Duration::from_millis(50) {};
        busy(std::time::Instant::now());
        let (memory, time) = process(std::process::id());
        assert!(memory > 1 << 20, "{memory}");
        assert!(time > Duration::ZERO);
        let used = Process::of(std::process::id());
        assert!(used.memory_max >= memory, "{used:?}");
        assert!(used.threads.values().sum::<Duration>() > Duration::ZERO, "{used:?}");
    }

    #[test]
    fn a_disk_is_told_by_its_parts() {
        let dir = tempfile::tempdir().unwrap();
        let group = dir.path().join("groups/orders-0");
        std::fs::create_dir_all(&group).unwrap();
        std::fs::create_dir_all(dir.path().join("wal")).unwrap();
        for name in ["1.ckpt", "2.ckpt", "writing.tmp", "archive.redb"] {
            std::fs::write(group.join(name), vec![1; 8_192]).unwrap();
        }
        std::fs::write(dir.path().join("wal/1.seg"), vec![1; 4_096]).unwrap();
        let disk = Disk::of(dir.path());
        assert_eq!(disk.checkpoint_files["orders-0"], 3);
        // As the file system allocates: no less than was written.
        assert!(disk.wal >= 4_096 && disk.checkpoints >= 3 * 8_192 && disk.archive >= 8_192);
        assert_eq!(disk.views, 0);
    }
}
