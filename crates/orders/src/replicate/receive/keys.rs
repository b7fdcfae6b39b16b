//! Data keys of another home's customers, as they come and go.

use std::collections::BTreeSet;

use bytes::Bytes;
use hansa_api::pb::replication as wire;
use hansa_api::status::{Failure, Reason};
use hansa_types::id::OrderId;

use super::Inbound;
use crate::core::command::Command;
use crate::core::remote::RemoteEvent;
use crate::core::state::State;
use crate::core::subjects::{KEYS_MAX, KeyOf, KeyState, KeyStep, RegionKey, SubjectId, Subjects};
use crate::replicate::purge::key_of;
use crate::vault::{KeyShare, VaultError};

/// Keys in one message.
const SHARES_MAX: usize = 4_096;
/// Region keys that may come while one message's keys are taken.
const TAKES_MAX: usize = 4;
/// How often a stream asks for one order because of its key, and for how many.
const ASKS_MAX: u8 = 8;
const KEYLESS_MAX: usize = 10_000;

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
        // First: what a late share brings along is to stay erased.
        for erased in erasures {
            self.take_erasure(erased).await?;
        }
        let kept = match shares.is_empty() {
            true => BTreeSet::new(),
            false => opening(events),
        };
        let mut wanted = Vec::new();
        for share in shares {
            let of = self.key_of(share.home, &share.subject, share.generation)?;
            if kept.contains(&of) {
                let share = KeyShare::of_bytes(of, &share.key).ok_or_else(malformed)?;
                wanted.push((of, share));
            }
        }
        self.take_shares(wanted).await
    }

    /// Until all of them are here: what was wrapped while the region key was replaced is refused.
    async fn take_shares(&self, mut shares: Vec<(KeyOf, KeyShare)>) -> Result<(), Failure> {
        for _ in 0..TAKES_MAX {
            let by = self.hosted.group.peek(|machine| missing(&machine.state, &mut shares));
            let (mut taken, mut erased) = (Vec::new(), BTreeSet::new());
            for (of, share) in &shares {
                match self.shell.keyring.take(share, by).await {
                    Ok(wrapped) => taken.push(wrapped),
                    // Its home has erased it, and a late message brings it along.
                    Err(VaultError::Erased) => drop(erased.insert(*of)),
                    Err(error) => {
                        tracing::error!(%error, "a shared data key was not wrapped");
                        return Err(Failure::of(Reason::Unavailable));
                    }
                }
            }
            shares.retain(|(of, _)| !erased.contains(of));
            if shares.is_empty() {
                return Ok(());
            }
            for part in taken.chunks(KEYS_MAX) {
                self.commit(Command::Keys(KeyStep::Take(part.to_vec()))).await?;
            }
        }
        // The stream begins again where it was, with its keys.
        let why = "region keys change faster than shared keys are taken";
        Err(Failure::new(Reason::Unavailable, why))
    }

    /// Asks for the orders again that are here without what opens them, as far as may be: a key
    /// that home shared with an event which had to wait was not kept.
    pub(super) fn want_keys(&mut self, orders: &[OrderId]) {
        let views: Vec<(OrderId, Bytes)> = self.hosted.group.peek(|machine| {
            let copies = &machine.state.remote.copies;
            let view = |id: &OrderId| Some((*id, copies.get(id)?.view.clone()));
            orders.iter().filter_map(view).collect()
        });
        let keys = views.iter().filter_map(|(id, view)| Some((*id, key_of(view)?)));
        let keys: Vec<_> = keys.filter(|(_, of)| of.subject.home == self.origin.region).collect();
        let lacking = self.hosted.group.peek(|machine| lacking(&machine.state.subjects, keys));
        for order in lacking {
            // A home that cannot share it, either, is not asked for ever.
            let room = self.keyless.len() < KEYLESS_MAX || self.keyless.contains_key(&order);
            let asked = self.keyless.get(&order).copied().unwrap_or(0);
            if room && asked < ASKS_MAX && self.shell.heard.want(self.origin.place(), order) {
                self.keyless.insert(order, asked + 1);
            }
        }
    }

    /// A region shares its own customers' keys only.
    fn key_of(&self, home: u32, subject: &[u8], generation: u32) -> Result<KeyOf, Failure> {
        let of = key_named(home, subject, generation);
        let own = of.filter(|of| of.subject.home == self.origin.region);
        own.ok_or_else(|| Reason::MessageMalformed.into())
    }
}

pub(super) fn key_named(home: u32, subject: &[u8], generation: u32) -> Option<KeyOf> {
    let home = super::region_of(home)?;
    let hash = u128::from_be_bytes(<[u8; 16]>::try_from(subject).ok()?);
    Some(KeyOf { subject: SubjectId { home, hash }, generation })
}

/// Leaves those that are not here; what they are to be wrapped with now.
fn missing<T>(state: &State, shares: &mut Vec<(KeyOf, T)>) -> Option<RegionKey> {
    shares.retain(|(of, _)| state.subjects.key(*of) == KeyState::Unknown);
    state.meta.wraps
}

/// Those whose key was never heard of.
fn lacking(subjects: &Subjects, keys: Vec<(OrderId, KeyOf)>) -> Vec<OrderId> {
    let unknown = |(_, of): &(OrderId, KeyOf)| subjects.key(*of) == KeyState::Unknown;
    keys.into_iter().filter(unknown).map(|(order, _)| order).collect()
}

/// The keys of the blocks that are kept of these events.
fn opening<'a>(events: impl Iterator<Item = &'a RemoteEvent>) -> BTreeSet<KeyOf> {
    events.filter(|event| event.fault.is_none()).filter_map(|event| key_of(&event.view)).collect()
}

#[cfg(test)]
mod tests {
    use hansa_types::region::Slot;
    use hansa_types::time::LogTime;
    use prost::Message;

    use super::*;
    use crate::core::remote::{Fault, Shown};
    use crate::core::subjects::{KeyEntry, Wrapped};
    use crate::core::tests::settings;

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
            forks: Vec::new(),
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

    #[test]
    fn the_key_of_an_order_without_a_block_is_kept_for_its_requests() {
        let subject = wire::SucceededSubject {
            home: 2,
            hash: Bytes::copy_from_slice(&[3; 16]),
            generation: 4,
            guest: true,
        };
        let succession = wire::Succession { subject: Some(subject), ..Default::default() };
        let view = wire::OrderView { succession: Some(succession), ..Default::default() };
        let guest = RemoteEvent { view: view.encode_to_vec().into(), ..event(1, None) };
        let kept: Vec<_> = opening([guest].iter()).into_iter().collect();
        let hash = u128::from_be_bytes([3; 16]);
        let home = 2_u16.try_into().unwrap();
        assert_eq!(kept, [KeyOf { subject: SubjectId { home, hash }, generation: 4 }]);
    }

    #[test]
    fn a_key_that_was_wrapped_while_the_region_key_was_replaced_is_wrapped_once_more() {
        let mut state = State::new(settings());
        let keys = |state: &mut State, step| state.apply(LogTime(1), Command::Keys(step));
        let home = 2_u16.try_into().unwrap();
        let of = KeyOf { subject: SubjectId { home, hash: 1 }, generation: 1 };
        let (old, new) = (RegionKey::new(1, 7), RegionKey::new(2, 7));
        keys(&mut state, KeyStep::Use { key: old });
        let mut shares = vec![(of, ())];
        for (seen, now) in [(old, new), (new, new)] {
            assert_eq!((missing(&state, &mut shares), shares.len()), (Some(seen), 1));
            // Committed before what is wrapped by what was seen.
            keys(&mut state, KeyStep::Use { key: now });
            let ciphertext = Bytes::from_static(b"wrapped");
            let wrapped = Wrapped { by: seen, nonce: [0; 12], ciphertext };
            keys(&mut state, KeyStep::Take(vec![KeyEntry { of, wrapped }]));
        }
        assert_eq!((missing(&state, &mut shares), shares.len()), (Some(new), 0));
    }

    #[test]
    fn an_order_is_asked_for_again_until_its_key_is_here_or_erased() {
        let (mut subjects, order) = (Subjects::new(), event(1, None).order);
        let home = 2_u16.try_into().unwrap();
        let of = KeyOf { subject: SubjectId { home, hash: 1 }, generation: 2 };
        assert_eq!(lacking(&subjects, vec![(order, of)]), [order]);
        let ciphertext = Bytes::from_static(b"wrapped");
        let wrapped = Wrapped { by: RegionKey(1 << 48), nonce: [0; 12], ciphertext };
        subjects.put(of, wrapped);
        assert_eq!(lacking(&subjects, vec![(order, of)]), []);
        assert_eq!(lacking(&subjects, vec![(order, KeyOf { generation: 1, ..of })]), [order]);
        assert_eq!(lacking(&subjects, vec![(order, KeyOf { generation: 3, ..of })]), [order]);
    }
}
