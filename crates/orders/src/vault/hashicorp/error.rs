//! What stands between us and the secret, and what an operator does about it.

use thiserror::Error;

use super::api::Call;

/// Nothing here comes from the wire: what echoes a request must not bring a secret into a log.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Error {
    #[error("not reached ({why}); asked again by itself")]
    Unreached { why: String },
    #[error("sealed or in maintenance (HTTP 503): unseal it")]
    Sealed,
    #[error("{call} answered with HTTP {status}: its log says why; asked again by itself")]
    Failing { call: Call, status: u16 },
    #[error(
        "{call} was sent elsewhere (HTTP {status}): orders.vault.address must name what \
             answers for the active node"
    )]
    Redirected { call: Call, status: u16 },
    #[error("{call} was refused with HTTP {status}: its log says why")]
    Refused { call: Call, status: u16 },
    #[error(
        "{call} is denied: the token has ended, or its policy does not grant what docs/keys.md \
             lists"
    )]
    Denied { call: Call },
    #[error(
        "login is refused (HTTP {status}): look at orders.vault.auth.role, what the role is \
             bound to, and the auth method's mount"
    )]
    Login { status: u16 },
    #[error("{file} gives no credential: {why}")]
    Credential { file: String, why: String },
    #[error("{file} gives no authority for its certificate: {why}")]
    Authority { file: String, why: String },
    #[error(
        "no KV v2 engine answers {call}: look at orders.vault.mount \
             (`vault secrets enable -path=… kv-v2`)"
    )]
    NoEngine { call: Call },
    #[error(
        "version {version} of the secret was deleted or destroyed: undelete it (`vault kv \
             undelete`), or restore Vault; what is in nodes' memory lasts until they stop"
    )]
    Deleted { version: u64 },
    #[error(
        "the secret went back from version {seen} to {now}, as from an older snapshot: restore \
             the newest; what is in nodes' memory lasts until they stop (docs/keys.md)"
    )]
    WentBack { seen: u64, now: u64 },
}

impl Error {
    /// Whether the same question may be answered in a moment.
    pub(super) fn is_brief(&self) -> bool {
        matches!(self, Self::Unreached { .. } | Self::Sealed | Self::Failing { .. })
    }
}
