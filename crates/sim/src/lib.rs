//! The whole league in one thread, repeatable by seed: real nodes in a simulated world that breaks.
//!
//! A seed is a [`plan::Plan`]: the shape of a league, and what breaks when. [`run`] builds that
//! league on `turmoil` hosts, lets clients work while it breaks, heals everything, requires
//! progress, and judges what the clients saw and what the disks hold.
//!
//! - [`plan`], [`dice`]: the seed as a value.
//! - [`world`], [`host`], [`gate`], [`net`], [`clock`]: what a node gets instead of a machine.
//! - [`provider`]: the third party that takes the money.
//! - [`director`], [`links`]: carries the plan out, and heals.
//! - [`workload`], [`closing`]: clients, and what is read when all is calm again.
//! - [`trace`], [`coverage`]: the digest that two runs of a seed must share; what really happened.
//! - [`verdict`], [`batch`]: one seed's judgement, and that of many.
//!
//! Not covered, on purpose: TLS (the preface of a stream names its SPIFFE id and is believed) and
//! threads. The suite of real processes covers those.

pub mod batch;
pub mod clock;
pub mod closing;
pub mod coverage;
pub mod dice;
pub mod director;
pub mod gate;
pub mod host;
pub mod links;
pub mod net;
pub mod plan;
pub mod provider;
pub mod run;
pub mod trace;
pub mod verdict;
pub mod workload;
pub mod world;
