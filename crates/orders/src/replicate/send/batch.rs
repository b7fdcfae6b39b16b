//! Live events: each changed order once, under its last one.

use bytes::Bytes;
use hansa_api::classes::DataClass;
use hansa_api::convert::id::order_from_bytes;
use hansa_api::pb::replication as wire;
use hansa_types::id::OrderId;
use hansa_types::seeded::{self, Bug};
use prost::Message;

use super::Sender;
use super::session::{Broken, Session};
use crate::core::remote::tree::Leaf;
use crate::core::state::State;
use crate::core::subjects::{Cause, Erased, Former, KeyOf, KeyState, Wrapped};
use crate::replicate::law::Law;
use crate::replicate::view;
use crate::shell::Shell;
use crate::vault::VaultError;

/// Bytes of one batch, unless one order alone is larger.
pub(super) const BATCH_BYTES_MAX: usize = 1 << 20;
const _: () = assert!(BATCH_BYTES_MAX < hansa_types::limits::COMMAND_BYTES_MAX);
/// Erasures told in one batch.
const ERASURES_MAX: usize = 256;
/// Events looked at in one step: most may be of orders that the peer may not know.
const LOOKED_MAX: usize = 4_096;

/// An order as the peer may see it; `None` where it may not know of it at all.
pub(super) fn shown(
    shell: &Shell,
    state: &State,
    law: &Law,
    id: OrderId,
) -> Option<wire::Envelope> {
    let (order, contents) = (state.orders.get(&id)?, state.contents.get(&id)?);
    let allowed = law.allowed(contents.residence).filter(|a| a.has(DataClass::Operational))?;
    // What another region owns by now is that one's to tell.
    let epoch = state.ships(id.region()).filter(|_| state.is_own(id, order))?;
    let epoch = if epoch == state.meta.settings.epoch { 0 } else { epoch };
    Some(view::envelope(shell, id, order, contents, epoch, allowed))
}

/// What a step over the group's events came to.
pub(super) struct Step {
    pub envelopes: Vec<wire::Envelope>,
    /// Every order looked at, with its leaf, `None` where the peer may not know of it.
    pub leaves: Vec<(OrderId, Option<Leaf>)>,
    pub upto: u64,
}

/// The events after `after`, at most `max` orders and a batch's bytes.
pub(super) fn step(shell: &Shell, state: &State, law: &Law, after: u64, max: usize) -> Step {
    let mut step = Step { envelopes: Vec::new(), leaves: Vec::new(), upto: after };
    let (mut bytes, mut looked) = (0, 0);
    // An erasure is an event of its own, and of no order.
    let last = state.subjects.erased_after(after).nth(ERASURES_MAX).map(|(seq, _)| seq - 1);
    let upto = last.unwrap_or(state.meta.seq);
    for (seq, id) in state.changed_after(after).take_while(|(seq, _)| *seq <= upto) {
        if step.envelopes.len() == max || looked == LOOKED_MAX {
            return step;
        }
        looked += 1;
        let envelope = shown(shell, state, law, id);
        if let Some(envelope) = envelope {
            bytes += envelope.encoded_len();
            // One order may be large; the batch must fit the receiver's command all the same.
            if bytes > BATCH_BYTES_MAX && !step.envelopes.is_empty() {
                return step;
            }
            let leaf = Leaf::of(id, envelope.version, &envelope.view);
            step.leaves.push((id, Some(leaf)));
            step.envelopes.push(envelope);
        } else {
            step.leaves.push((id, None));
        }
        step.upto = seq;
    }
    step.upto = upto;
    step
}

impl Sender {
    /// The next events, and up to which they are; `None` when there are none.
    pub(super) fn batch(
        &self,
        session: &Session,
        max: usize,
    ) -> Option<(wire::ReplicateRequest, u64)> {
        self.built(session.sent, &session.law, max)
    }

    pub(crate) fn built(
        &self,
        after: u64,
        law: &Law,
        max: usize,
    ) -> Option<(wire::ReplicateRequest, u64)> {
        let (mut step, erasures, seq, now) = self.hosted.group.peek(|machine| {
            let state = &machine.state;
            let step = step(&self.shell, state, law, after, max);
            let erasures = erasures(state, after, step.upto);
            (step, erasures, state.meta.seq, state.meta.now)
        });
        if step.upto == after {
            return None;
        }
        self.compare.lock().shipped((after, step.upto, seq), &step.leaves);
        if seeded::on(Bug::ReorderedOutbox) && step.envelopes.len() > 1 {
            // It leaves after the others, when the peer has passed it already.
            step.envelopes.remove(0);
        }
        let mut message = self.frame(law.terms.version, step.envelopes, seq, Some(now));
        message.upto_sequence = step.upto;
        message.key_erasures = erasures;
        Some((message, step.upto))
    }

    /// The data keys that open what the message carries, where the peer may have them.
    ///
    /// # Errors
    /// The vault does not answer: what is sealed waits for its keys.
    pub(super) async fn add_keys(
        &self,
        session: &mut Session,
        message: &mut wire::ReplicateRequest,
    ) -> Result<(), Broken> {
        let refilled = message.refill.as_ref().map_or(&[][..], |refill| &refill.envelopes);
        let orders = message.envelopes.iter().chain(refilled);
        let orders: Vec<OrderId> =
            orders.filter_map(|envelope| order_from_bytes(&envelope.order_id).ok()).collect();
        let law = session.law.clone();
        let wanted: Vec<(KeyOf, Wrapped)> = self.hosted.group.peek(|machine| {
            let state = &machine.state;
            let key = |id: &OrderId| {
                let contents = state.contents.get(id)?;
                let allowed = law.allowed(contents.residence)?;
                // Without a block it still tells one request from another, for a successor.
                let needed = contents.personal.is_some() || allowed.has(DataClass::Financial);
                if !needed || !allowed.has(DataClass::Personal) {
                    return None;
                }
                match state.subjects.key(contents.sealed_with) {
                    KeyState::Living(wrapped) => Some((contents.sealed_with, wrapped)),
                    KeyState::Erased | KeyState::Unknown => None,
                }
            };
            orders.iter().filter_map(key).collect()
        });
        for (of, wrapped) in wanted {
            if !session.shares(of) {
                continue;
            }
            match self.shell.keyring.share(of, &wrapped).await {
                Ok(share) => message.key_shares.push(wire::KeyShare {
                    home: u32::from(of.subject.home.get()),
                    subject: Bytes::copy_from_slice(&of.subject.hash.to_be_bytes()),
                    generation: of.generation,
                    key: Bytes::copy_from_slice(share.bytes()),
                }),
                // Its erasure comes along in its own turn.
                Err(VaultError::Erased) => {}
                // Gone for good, as the block is here.
                Err(error @ (VaultError::Destroyed(_) | VaultError::Open)) => {
                    tracing::warn!(%error, peer = %self.peer, "a data key was not shared");
                    crate::metrics::key_not_shared();
                }
                Err(error) => return Err(Broken::Vault(error)),
            }
        }
        Ok(())
    }
}

/// Keys that were dropped by events in (after, upto].
fn erasures(state: &State, after: u64, upto: u64) -> Vec<wire::KeyErasure> {
    let mut told = Vec::new();
    for (seq, subject) in state.subjects.erased_after(after).take_while(|(seq, _)| *seq <= upto) {
        let row = state.subjects.table.get(&subject);
        let erased = row.and_then(|row| row.erased.iter().find(|erased| erased.seq == seq));
        let Some(erased) = erased else { continue };
        told.push(erasure(KeyOf { subject, generation: erased.generation }, erased));
        told.extend(erased.also.iter().map(|Former { of, birth }| wire::KeyErasure {
            birth: u32::from(birth.get()),
            ownership_epoch: state.ships(*birth).unwrap_or(0),
            ..erasure(*of, erased)
        }));
    }
    told
}

fn erasure(of: KeyOf, erased: &Erased) -> wire::KeyErasure {
    wire::KeyErasure {
        home: u32::from(of.subject.home.get()),
        subject: Bytes::copy_from_slice(&of.subject.hash.to_be_bytes()),
        generation: of.generation,
        request: Bytes::copy_from_slice(&erased.request.0.to_be_bytes()),
        asked_ms: erased.asked_ms,
        destroy_after_ms: erased.destroy_after_ms,
        birth: 0,
        ownership_epoch: 0,
        cause: match erased.cause {
            Cause::Unsaid => wire::KeyErasureCause::Unspecified,
            Cause::Left => wire::KeyErasureCause::Left,
            Cause::Erased => wire::KeyErasureCause::Erased,
        } as i32,
    }
}
