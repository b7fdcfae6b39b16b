//! Claims about whole clusters, and openraft's own suite on our storage.

mod backup;
mod cluster;
mod membership;
mod power;
mod snapshots;
mod suite;
