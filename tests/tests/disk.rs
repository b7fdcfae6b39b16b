//! Disks that lose, tear, fail and fill up under real processes. Needs root; power cuts /dev/fuse.

mod disk {
    mod bad;
    mod full;
    mod power;
}

use std::time::Duration;

/// Longest that a region may take to confirm orders again: the machine may be busy.
const BACK_WITHIN: Duration = Duration::from_secs(120);
