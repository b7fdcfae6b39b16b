//! What the log reports. Unlabelled: one process has one log, except where many nodes share one.

use std::time::Duration;

/// A batch of `bytes` bytes became durable after a sync of `took`.
pub fn synced(took: Duration, bytes: usize) {
    metrics::histogram!("hansa_wal_sync_seconds").record(took.as_secs_f64());
    metrics::histogram!("hansa_wal_batch_bytes").record(bytes as f64);
}

/// Bytes that wait for the disk.
pub fn queued(bytes: usize) {
    metrics::gauge!("hansa_wal_queue_bytes").set(bytes as f64);
}

/// No further segment could be made ready: usually a full disk.
pub fn spare_failed() {
    metrics::counter!("hansa_wal_spare_failures_total").increment(1);
}
