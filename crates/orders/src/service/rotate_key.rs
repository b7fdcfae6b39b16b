//! RotateKey: a new region key in the place of one that is named, so that a repeat makes no second.

use hansa_api::pb::admin as wire;
use hansa_api::principal::Principal;
use hansa_api::status::{Failure, Reason};
use tonic::Request;

use super::list_keys::key;
use crate::core::subjects::RegionKey;
use crate::shell::keys::vault_failed;
use crate::shell::{Shell, deadline, not_read};
use crate::vault::{KeyLife, VaultError};

pub async fn run(
    shell: &Shell,
    request: Request<wire::RotateKeyRequest>,
) -> Result<wire::RotateKeyResponse, Failure> {
    let due = deadline(&request);
    Principal::of(&request)?;
    let request = request.into_inner();
    let refused = || {
        let why = "the active key, 16 hex digits, as ListKeys says";
        Failure::field(Reason::FieldInvalid, "former_key", why)
    };
    let named = request.former_key.as_str();
    let digits = named.len() == 16 && named.bytes().all(|b| b.is_ascii_hexdigit());
    let former = u64::from_str_radix(named, 16).ok().filter(|_| digits);
    let former = former.map(RegionKey).ok_or_else(refused)?;
    // One leader makes it, and a quorum says that this is the one.
    let first = shell.map.first_orders_group()?;
    let hosted = shell.hosted(first)?;
    hosted.group.read(due, |_| ()).await.map_err(not_read)?;
    let vault_error = |error: VaultError| match error {
        VaultError::NotNewest(_) => refused(),
        other => vault_failed(&other),
    };
    let before = shell.vault.keys().await.map_err(vault_error)?;
    let replayed = before.last().is_none_or(|last| last.key != former);
    let (now, window) = (shell.env.clock.wall().ms(), shell.cfg.keys.window_ms);
    let made = shell.vault.rotate(former, now, window).await.map_err(vault_error)?;
    if made.state == KeyLife::Active && !replayed {
        tracing::info!(%former, key = %made.key, "region key rotated");
    }
    shell.keys_changed.notify_waiters();
    Ok(wire::RotateKeyResponse { key: Some(key(&made)), replayed })
}
