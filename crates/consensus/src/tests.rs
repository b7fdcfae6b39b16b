//! Claims about whole clusters, and openraft's own suite on our storage.

mod archived;
mod backup;
mod beginning;
mod cluster;
mod damage;
mod disk;
mod divergence;
mod every_op;
mod forgetting;
mod lasting;
mod membership;
mod parts;
mod pauses;
mod power;
#[cfg(feature = "seeded-bugs")]
mod seeded;
mod snapshots;
mod suite;
mod syncs;
mod upgrade;
