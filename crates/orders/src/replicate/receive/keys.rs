//! Data keys of another home's customers, as they come and go.

use std::collections::BTreeSet;

use hansa_api::pb::replication as wire;
use hansa_api::status::{Failure, Reason};
use hansa_types::region::RegionNumber;

use super::Inbound;
use crate::core::command::Command;
use crate::core::keys::Scope;
use crate::core::remote::RemoteEvent;
use crate::core::subjects::{KEYS_MAX, KeyOf, KeyState, KeyStep, SubjectId};
use crate::replicate::purge::key_of;
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
            false => opening(events),
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

/// The keys of the blocks that are kept of these events.
fn opening<'a>(events: impl Iterator<Item = &'a RemoteEvent>) -> BTreeSet<KeyOf> {
    events.filter(|event| event.fault.is_none()).filter_map(|event| key_of(&event.view)).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hansa_types::id::OrderId;
    use hansa_types::region::Slot;
    use hansa_types::time::LogTime;
    use prost::Message;

    use super::*;
    use crate::core::remote::{Fault, Shown};

    fn event(subject: u8, fault: Option<Fault>) -> RemoteEvent {
        let sealed = wire::SealedBlock {
            home: 2,
            subject: Bytes::copy_from_slice(&[subject; 16]),
            generation: 1,
            ..Default::default()
        };
        let view = wire::OrderView { sealed: Some(sealed), ..Default::default() };
        RemoteEvent {
            sequence: 1,
            order: OrderId::new(LogTime(1), 2_u16.try_into().unwrap(), Slot::of(b"x"), 5),
            version: 1,
            view: view.encode_to_vec().into(),
            shown: Shown::default(),
            fault,
        }
    }

    #[test]
    fn a_key_is_taken_only_with_a_block_that_is_kept() {
        let events = [event(1, None), event(2, Some(Fault::ForbiddenClass))];
        let kept = opening(events.iter());
        let subjects: Vec<u128> = kept.iter().map(|of| of.subject.hash).collect();
        assert_eq!(subjects, [u128::from_be_bytes([1; 16])]);
    }
}
