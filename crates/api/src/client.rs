//! How every client of the league calls it: who we are, whom we accept, when we try again.

pub mod connect;
pub mod lane;
pub mod league;
pub mod placing;
pub mod reach;
pub mod retry;
pub mod tls;

pub use connect::{ConnectError, Services, Timing, connect, connect_lazy};
pub use league::{About, Call, League, Options};
pub use placing::{Placing, ToPlace};
pub use reach::Reach;
pub use retry::{Budget, Policy, RetryBudget, SERVICE_CONFIG};
pub use tls::{Expect, Files, Identity, IdentityError};
