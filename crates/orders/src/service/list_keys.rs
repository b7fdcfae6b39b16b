//! ListKeys: the vault's region keys, and what each still wraps.

use std::sync::Arc;

use hansa_api::convert::time::from_ms;
use hansa_api::pb::admin as wire;
use hansa_api::principal::Principal;
use hansa_api::status::Failure;
use tonic::Request;

use crate::shell::keys::vault_failed;
use crate::shell::{Hosted, Shell};
use crate::vault::{KeyInfo, KeyLife};

pub async fn run(
    shell: &Shell,
    request: Request<wire::ListKeysRequest>,
) -> Result<wire::ListKeysResponse, Failure> {
    Principal::of(&request)?;
    let keys = shell.vault.keys().await.map_err(|error| vault_failed(&error))?;
    let vault = shell.vault.id().await.map_err(|error| vault_failed(&error))?;
    Ok(wire::ListKeysResponse {
        keys: keys.iter().map(key).collect(),
        groups: shell.groups.values().map(group).collect(),
        vault: vault.map_or_else(String::new, |id| format!("{id:016x}")),
    })
}

pub fn key(info: &KeyInfo) -> wire::RegionKey {
    let (state, retired, destroy) = match info.state {
        KeyLife::Active => (wire::RegionKeyState::Active, None, None),
        KeyLife::Retired { at_ms, destroy_after_ms } => {
            (wire::RegionKeyState::Retired, Some(at_ms), Some(destroy_after_ms))
        }
        KeyLife::Destroyed { at_ms } => (wire::RegionKeyState::Destroyed, None, Some(at_ms)),
    };
    wire::RegionKey {
        key: info.key.to_string(),
        state: state.into(),
        create_time: Some(from_ms(info.made_ms)),
        retire_time: retired.map(from_ms),
        destroy_time: destroy.map(from_ms),
    }
}

fn group(hosted: &Arc<Hosted>) -> wire::GroupKeys {
    let (wraps, counts) = hosted.group.peek(|machine| {
        let state = &machine.state;
        (state.meta.wraps, state.subjects.counts())
    });
    let wrapped = counts.into_iter().map(|(key, count)| wire::WrappedCount {
        key: key.to_string(),
        data_key_count: count as u64,
    });
    wire::GroupKeys {
        group: hosted.group.id().number(),
        wraps_with: wraps.map_or_else(String::new, |key| key.to_string()),
        wrapped: wrapped.collect(),
    }
}
