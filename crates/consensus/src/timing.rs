//! How fast a group beats, elects, checkpoints and gives up.

use std::time::Duration;

use openraft::{Config, ConfigError, SnapshotPolicy};
use serde::{Deserialize, Serialize};

/// How noisy the disks and clocks below are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Heartbeat 150 ms, election 600 to 1,200 ms: fails over within 3 s.
    #[default]
    Standard,
    /// Heartbeat 250 ms, election 1.5 to 3 s: for disks that stall. Fails over in 4.5 to 6 s.
    NoisyDisk,
    /// Heartbeat 100 ms, election 400 to 800 ms: for tests.
    Quick,
}

/// The settings of every group on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timing {
    pub profile: Profile,
    /// A checkpoint is due after this many entries,
    pub checkpoint_entries: u64,
    /// or this many bytes of them,
    pub checkpoint_bytes: u64,
    /// or this long after the last one, if anything was applied since.
    pub checkpoint_every: Duration,
    /// Entries of one group on their way at once; more leave earlier, fewer gather larger batches.
    pub entries_in_flight_max: usize,
    /// Commands and bytes that wait for their entry, per group; beyond them submits are refused.
    pub queue_commands_max: usize,
    pub queue_bytes_max: usize,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            profile: Profile::Standard,
            checkpoint_entries: 200_000,
            checkpoint_bytes: 256 << 20,
            checkpoint_every: Duration::from_secs(600),
            entries_in_flight_max: 4,
            queue_commands_max: 16_384,
            queue_bytes_max: 32 << 20,
        }
    }
}

impl Timing {
    /// Settings for tests: quick elections.
    pub fn quick() -> Self {
        Self { profile: Profile::Quick, ..Self::default() }
    }

    /// Heartbeat and the bounds of the election timeout.
    ///
    /// # Units
    /// Milliseconds.
    fn beats(&self) -> (u64, u64, u64) {
        match self.profile {
            Profile::Standard => (150, 600, 1_200),
            Profile::NoisyDisk => (250, 1_500, 3_000),
            Profile::Quick => (100, 400, 800),
        }
    }

    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.beats().0)
    }

    /// Longest election timeout: what a transfer or a stop waits for at most.
    pub fn election_max(&self) -> Duration {
        Duration::from_millis(self.beats().2)
    }

    /// openraft's settings: its defaults are for toy loads.
    pub(crate) fn config(&self, name: String) -> Result<Config, ConfigError> {
        let (heartbeat_interval, election_timeout_min, election_timeout_max) = self.beats();
        let config = Config {
            cluster_name: name,
            heartbeat_interval,
            election_timeout_min,
            election_timeout_max,
            // A follower that answered an append lately needs no heartbeat.
            heartbeat_min_interval: Some(heartbeat_interval / 2),
            install_snapshot_timeout: 60_000,
            max_payload_entries: 1_024,
            max_append_entries: Some(4_096),
            // Only a follower behind the purged log gets a snapshot, never one that hiccuped.
            replication_lag_threshold: u64::MAX,
            // Checkpoints and purges are ours: by entries, bytes and time, below the older kept
            // one.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            purge_batch_size: 1_024,
            enable_pre_vote: Some(true),
            // A restarted leader is elected anew: it may have lost the tail of its committed ids.
            enable_leader_restore: Some(false),
            allow_log_reversion: Some(false),
            backoff: "50ms 100ms 200ms ...300ms".to_owned(),
            ..Config::default()
        };
        config.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_one_that_openraft_accepts() {
        for profile in [Profile::Standard, Profile::NoisyDisk, Profile::Quick] {
            let timing = Timing { profile, ..Timing::default() };
            let config = timing.config("orders-1".to_owned()).unwrap();
            let suppressed = config.heartbeat_interval * 3 / 2 + config.heartbeat_interval / 4;
            assert!(suppressed < config.election_timeout_min, "{profile:?}");
        }
    }
}
