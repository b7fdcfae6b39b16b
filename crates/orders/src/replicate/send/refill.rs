//! Orders that are shipped again: a wider view shows more of them, or the peer asked.

use hansa_api::convert::id::order_to_bytes;
use hansa_api::pb::replication as wire;
use hansa_types::id::OrderId;
use prost::Message;

use super::Sender;
use super::batch::{BATCH_BYTES_MAX, shown};
use super::session::{Session, Sweeping};
use crate::core::state::State;

/// Orders of one message, and events looked at for it.
const ORDERS_MAX: usize = 256;
const LOOKED_MAX: usize = 4_096;

impl Sender {
    /// The next part; what was asked for comes first.
    pub(super) fn refill(&self, session: &mut Session) -> Option<wire::ReplicateRequest> {
        let refill = match session.wants.is_empty() {
            false => self.wanted(session),
            true if session.sweeps() => self.swept(session)?,
            true => return None,
        };
        let seq = self.hosted.group.peek(|machine| machine.state.meta.seq);
        let mut message = self.frame(session.law.terms.version, Vec::new(), seq, None);
        message.refill = Some(refill);
        Some(message)
    }

    fn wanted(&self, session: &mut Session) -> wire::Refill {
        let mut refill = wire::Refill::default();
        let mut bytes = 0;
        while bytes < BATCH_BYTES_MAX / 2
            && refill.envelopes.len() < ORDERS_MAX
            && let Some(id) = session.wants.pop_front()
        {
            let law = &session.law;
            let envelope = self.hosted.group.peek(|machine| {
                let state = &machine.state;
                shown(&self.shell, state, law, id).or_else(|| withdrawn(state, id))
            });
            bytes += envelope.as_ref().map_or(0, wire::Envelope::encoded_len);
            refill.envelopes.extend(envelope);
        }
        refill
    }

    fn swept(&self, session: &mut Session) -> Option<wire::Refill> {
        let law = session.law.clone();
        let Sweeping { of, swept, end, lowered } = session.sweep.as_mut()?;
        let after = *swept;
        let (envelopes, upto) = self.hosted.group.peek(|machine| {
            let state = &machine.state;
            let (mut envelopes, mut bytes, mut upto) = (Vec::new(), 0, after);
            let events = state.changed_after(after).take_while(|(seq, _)| seq <= end);
            for (looked, (seq, id)) in events.enumerate() {
                if envelopes.len() == ORDERS_MAX || looked == LOOKED_MAX {
                    return (envelopes, upto);
                }
                let contents = state.contents.get(&id);
                if contents.is_some_and(|contents| of.contains(&contents.residence))
                    && let Some(envelope) = shown(&self.shell, state, &law, id)
                {
                    bytes += envelope.encoded_len();
                    if bytes > BATCH_BYTES_MAX && !envelopes.is_empty() {
                        return (envelopes, upto);
                    }
                    envelopes.push(envelope);
                }
                upto = seq;
            }
            (envelopes, *end)
        });
        *swept = upto;
        Some(wire::Refill {
            envelopes,
            version: law.terms.version,
            after,
            upto,
            end: *end,
            last: upto == *end,
            lowered: *lowered,
        })
    }
}

/// An envelope without a view: nobody goes on with the order, and what was shipped of it is to go.
fn withdrawn(state: &State, id: OrderId) -> Option<wire::Envelope> {
    let ownership_epoch = state.abandoned(id)?;
    let version = state.orders.get(&id)?.version;
    let order_id = order_to_bytes(id);
    Some(wire::Envelope { order_id, version, ownership_epoch, ..Default::default() })
}
