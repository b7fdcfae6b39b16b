//! How large the log's parts are.

use std::time::Duration;

use thiserror::Error;

use crate::segment::DATA_START;

/// Sizes and times of a log. The defaults suit a node; tests make everything small.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of a segment file, allocated in full before its first use.
    pub segment_bytes: u32,
    /// Segments kept ready ahead of need; they double as the reserve when the disk is full.
    pub spares: usize,
    /// A batch takes no further record once it holds this much.
    pub batch_bytes: usize,
    /// [`crate::Wal::admit`] waits while this much is queued; four times as much refuses appends.
    pub queue_bytes_max: usize,
    /// Recent entries kept in memory for replication, beside those not yet written.
    pub cache_bytes: usize,
    /// Above this size on disk, live records are copied forward so that old segments can go.
    pub disk_bytes_max: u64,
    /// An idle log writes its watermark, and what rides along, after this long. At most 1 s.
    pub idle_mark: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            spares: 1,
            batch_bytes: 4 << 20,
            queue_bytes_max: 16 << 20,
            cache_bytes: 16 << 20,
            disk_bytes_max: 1 << 30,
            idle_mark: Duration::from_millis(500),
        }
    }
}

/// A value out of its range.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{key} = {value}: must be {range}")]
pub struct BadConfig {
    pub key: &'static str,
    pub value: String,
    pub range: &'static str,
}

impl Config {
    /// Smallest segment: the header page and a few small batches.
    pub const SEGMENT_BYTES_MIN: u32 = 2 * DATA_START;
    /// Largest segment: offsets are 32 bits wide in the index.
    pub const SEGMENT_BYTES_MAX: u32 = 1 << 30;

    /// Checks every value and how they fit together.
    ///
    /// # Errors
    /// The first value out of range, by name.
    pub fn check(&self) -> Result<(), BadConfig> {
        let bad = |key, value: String, range| Err(BadConfig { key, value, range });
        let segment = self.segment_bytes;
        let sizes = Self::SEGMENT_BYTES_MIN..=Self::SEGMENT_BYTES_MAX;
        if !sizes.contains(&segment) || !segment.is_multiple_of(4096) {
            return bad("segment_bytes", segment.to_string(), "8 KiB to 1 GiB, whole 4 KiB pages");
        }
        if !(1..=16).contains(&self.spares) {
            return bad("spares", self.spares.to_string(), "1 to 16");
        }
        if self.batch_bytes == 0 || self.batch_bytes > 64 << 20 {
            return bad("batch_bytes", self.batch_bytes.to_string(), "1 byte to 64 MiB");
        }
        if self.queue_bytes_max < self.batch_bytes {
            return bad("queue_bytes_max", self.queue_bytes_max.to_string(), "at least a batch");
        }
        if self.disk_bytes_max < 4 * u64::from(segment) {
            return bad(
                "disk_bytes_max",
                self.disk_bytes_max.to_string(),
                "at least four segments",
            );
        }
        if self.idle_mark.is_zero() || self.idle_mark > Duration::from_secs(1) {
            return bad("idle_mark", format!("{:?}", self.idle_mark), "above 0, at most 1 s");
        }
        Ok(())
    }
}
