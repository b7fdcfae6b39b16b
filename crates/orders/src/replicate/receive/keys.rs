//! Data keys of another home's customers, as they come and go.

use std::collections::BTreeSet;

use hansa_api::pb::replication as wire;
use hansa_api::status::{Failure, Reason};
use hansa_types::region::RegionNumber;

use super::Inbound;
use crate::core::remote::RemoteEvent;
use crate::replicate::purge::key_of;
use crate::core::command::Command;
use crate::core::keys::Scope;
use crate::core::subjects::{KEYS_MAX, KeyOf, KeyState, KeyStep, SubjectId};
use crate::vault::{KeyShare, VaultError};

/// Keys in one message.
const SHARES_MAX: usize = 4_096;

impl Inbound {
    /// Wraps shared keys under this region's own key and commits them; drops erased ones. Only
    /// such keys are taken as open what is kept of this message.
    pub(super) async fn take_keys(
        &self,
        message: &wire::ReplicateRequest,
        events: impl Iterator<Item = &RemoteEvent>,
    ) -> Result<(), Failure> {
        let malformed = || Failure::of(Reason::MessageMalformed);
        let (shares, erasures) = (&message.key_shares, &message.key_erasures);
        if shares.len() > SHARES_MAX || erasures.len() > SHARES_MAX {
            return Err(malformed());
        }
        // First: the customer's next key would take the row of the one that is to go.
        for erased in erasures {
            let of = self.key_of(erased.home, &erased.subject, erased.generation)?;
            let request = <[u8; 16]>::try_from(erased.request.as_ref()).map_err(|_| malformed())?;
            let step = KeyStep::Forget {
                keys: vec![of],
                request: Scope(u128::from_be_bytes(request)),
                asked_ms: erased.asked_ms,
                destroy_after_ms: erased.destroy_after_ms,
            };
            self.commit(Command::Keys(step)).await?;
            self.shell.keyring.forget(of);
        }
        let kept = match shares.is_empty() {
            true => BTreeSet::new(),
            false => events.filter(|e| e.fault.is_none()).filter_map(|e| key_of(&e.view)).collect(),
        };
        let mut taken = Vec::new();
        for share in shares {
            let of = self.key_of(share.home, &share.subject, share.generation)?;
            if !kept.contains(&of) {
                continue;
            }
            let (known, by) = self.hosted.group.peek(|machine| {
                let state = &machine.state;
                (state.subjects.key(of) != KeyState::Unknown, state.meta.wraps)
            });
            if known {
                continue;
            }
            let share = KeyShare::of_bytes(of, &share.key).ok_or_else(malformed)?;
            match self.shell.keyring.take(&share, by).await {
                Ok(wrapped) => taken.push(wrapped),
                // Its home has erased it, and a late message brings it along.
                Err(VaultError::Erased) => {}
                Err(error) => {
                    tracing::error!(%error, "a shared data key was not wrapped");
                    return Err(Failure::of(Reason::Unavailable));
                }
            }
        }
        for part in taken.chunks(KEYS_MAX) {
            self.commit(Command::Keys(KeyStep::Take(part.to_vec()))).await?;
        }
        Ok(())
    }

    /// A region speaks for its own customers only.
    fn key_of(&self, home: u32, subject: &[u8], generation: u32) -> Result<KeyOf, Failure> {
        let home = u16::try_from(home).ok().and_then(|home| RegionNumber::try_from(home).ok());
        let hash = <[u8; 16]>::try_from(subject).ok().map(u128::from_be_bytes);
        match (home, hash) {
            (Some(home), Some(hash)) if home == self.origin.region => {
                Ok(KeyOf { subject: SubjectId { home, hash }, generation })
            }
            _ => Err(Reason::MessageMalformed.into()),
        }
    }
}
