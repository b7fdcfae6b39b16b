//! How fast a group beats, elects, checkpoints and gives up.

use std::time::Duration;

use hansa_types::id::{GroupId, NodeId};
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

/// Parts of the election timeouts: most groups have three voters with neighbouring ids.
const PARTS: u64 = 3;

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
            entries_in_flight_max: 2,
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

    /// The part of the election timeouts that `node` draws from in `group`, in milliseconds.
    ///
    /// Three neighbours draw from three parts that do not meet: two survivors of one leader do not
    /// stand at once, split the votes and wait for another timeout. Who stands first differs from
    /// group to group, or one node would lead them all. Its lease ends with its part, so a part is
    /// also how soon a node lets others stand; no read relies on a lease.
    fn part(&self, group: GroupId, node: NodeId) -> (u64, u64) {
        let (_, min, max) = self.beats();
        let third = (max - min) / PARTS;
        let place = (node.0 + u64::from(group.number())) % PARTS;
        let from = min + place * third;
        (from, from + third * 3 / 4)
    }

    /// openraft's settings: its defaults are for toy loads.
    pub(crate) fn config(&self, group: GroupId, node: NodeId) -> Result<Config, ConfigError> {
        let (heartbeat_interval, ..) = self.beats();
        let (election_timeout_min, election_timeout_max) = self.part(group, node);
        let config = Config {
            cluster_name: group.to_string(),
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
            // Cheap: the line below has its own pauses.
            backoff: "50ms ...100ms".to_owned(),
            ..Config::default()
        };
        config.validate()
    }
}

#[cfg(test)]
mod tests {
    use hansa_types::id::GroupKind;

    use super::*;

    const PROFILES: [Profile; 3] = [Profile::Standard, Profile::NoisyDisk, Profile::Quick];

    fn config(profile: Profile, group: u16, node: u64) -> Config {
        let timing = Timing { profile, ..Timing::default() };
        timing.config(GroupId::new(GroupKind::Orders, group), NodeId(node)).unwrap()
    }

    #[test]
    fn every_profile_is_one_that_openraft_accepts() {
        for (profile, node) in PROFILES.into_iter().flat_map(|profile| [(profile, 1), (profile, 2)])
        {
            let config = config(profile, 1, node);
            let suppressed = config.heartbeat_interval * 3 / 2 + config.heartbeat_interval / 4;
            assert!(suppressed < config.election_timeout_min, "{profile:?}");
        }
    }

    #[test]
    fn three_nodes_never_stand_at_once_and_each_is_first_in_some_group() {
        for profile in PROFILES {
            let timing = Timing { profile, ..Timing::default() };
            let mut first = std::collections::BTreeSet::new();
            for group in 0..3 {
                let mut parts: Vec<_> = (100_001..=100_003)
                    .map(|node| (config(profile, group, node), node))
                    .map(|(c, node)| (c.election_timeout_min, c.election_timeout_max, node))
                    .collect();
                parts.sort_unstable();
                assert!(parts.windows(2).all(|two| two[0].1 < two[1].0), "{parts:?}");
                assert!(Duration::from_millis(parts[2].1) <= timing.election_max());
                first.insert(parts[0].2);
            }
            assert_eq!(first.len(), 3);
        }
    }
}
