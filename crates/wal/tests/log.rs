//! The log as its users see it, on a disk that crashes.

#[path = "log/claims.rs"]
mod claims;
#[path = "log/collect.rs"]
mod collect;
#[path = "log/damage.rs"]
mod damage;
#[path = "log/faults.rs"]
mod faults;
#[path = "log/model.rs"]
mod model;
#[path = "log/property.rs"]
mod property;
#[path = "log/real.rs"]
mod real;
#[path = "log/rig.rs"]
mod rig;
#[cfg(feature = "seeded-bugs")]
#[path = "log/seeded.rs"]
mod seeded;
#[path = "log/torn.rs"]
mod torn;
