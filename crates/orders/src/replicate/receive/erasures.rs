//! What other regions say of customers who are to be forgotten.

use std::collections::BTreeSet;

use hansa_api::pb::replication as wire;
use hansa_api::status::{Failure, Reason};
use hansa_types::id::OrderId;

use super::Inbound;
use super::keys::key_named;
use crate::core::command::Command;
use crate::core::keys::Scope;
use crate::core::order::Order;
use crate::core::subjects::{Asked, Cause, KEYS_MAX, KeyOf, KeyState, KeyStep};
use crate::core::takeover::Birth;
use crate::shell::keys::vault_failed;
use crate::start::destroy_after_ms;

/// Orders looked at in one go.
const LOOKED_MAX: usize = 4_096;

/// What an origin's word on a key that was erased is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Word {
    /// His to say: copies' keys go.
    OfCopies,
    /// Of this region's own customer, whose orders it has or had.
    OfOurs,
    NotHis,
}

impl Inbound {
    /// Drops a key, and what it became where its orders were taken over, if that is the origin's
    /// to say.
    pub(super) async fn take_erasure(&self, erased: &wire::KeyErasure) -> Result<(), Failure> {
        let malformed = || Failure::of(Reason::MessageMalformed);
        let of = key_named(erased.home, &erased.subject, erased.generation);
        let of = of.ok_or_else(malformed)?;
        let request = <[u8; 16]>::try_from(erased.request.as_ref()).map_err(|_| malformed())?;
        let request = Scope(u128::from_be_bytes(request));
        let asked = Asked { request, cause: cause_of(erased) };
        let word = self.word_on(of, erased, asked.cause)?;
        let (gone, served, heard, news) = self.hosted.group.peek(|machine| {
            let (state, subjects) = (&machine.state, &machine.state.subjects);
            let gone = subjects.key(of) == KeyState::Erased;
            let served = subjects.table.get(&of.subject).is_some_and(|row| row.key.is_some());
            (gone, served, subjects.heard_of(of, request), state.is_news(of, asked.cause))
        });
        // Whoever asked may have named the copy here first: what it became lives on then.
        let became = match word {
            // What he left there is no wish: who went on with his orders keeps them.
            Word::OfCopies if !heard && asked.cause != Cause::Left => self.became(of).await,
            Word::OfCopies | Word::OfOurs | Word::NotHis => Vec::new(),
        };
        let done = gone && became.is_empty() && !(news && word == Word::OfOurs);
        if word == Word::NotHis || done {
            // It ended by another word, and who asks may not know of the key that came after it.
            if word == Word::OfOurs && asked.cause == Cause::Erased && served && !heard {
                self.not_forgotten(of, asked, erased.asked_ms);
            }
            return Ok(());
        }
        // When the last of it is gone here is for this region to say.
        let vault = self.shell.vault.keys().await;
        let newest = vault.map_err(|error| vault_failed(&error))?.last().copied();
        let wall = self.shell.env.clock.wall().ms();
        let after = |newest| destroy_after_ms(newest, &self.shell.cfg.keys, wall);
        let destroy_after_ms = newest.as_ref().map_or(erased.destroy_after_ms, after);
        let (keys, asked_ms) = (vec![of], erased.asked_ms);
        let told = match word {
            Word::OfCopies => {
                // After a crash in between it is asked for again only if this one is still to do.
                self.tell(KeyStep::Told { keys: became, asked, asked_ms, destroy_after_ms })
                    .await?;
                if gone {
                    return Ok(());
                }
                KeyStep::Forget { keys, asked, asked_ms, destroy_after_ms }
            }
            Word::OfOurs | Word::NotHis => {
                KeyStep::Told { keys, asked, asked_ms, destroy_after_ms }
            }
        };
        self.tell(told).await
    }

    async fn tell(&self, step: KeyStep) -> Result<(), Failure> {
        let (KeyStep::Forget { keys, asked, asked_ms, .. }
        | KeyStep::Told { keys, asked, asked_ms, .. }) = &step
        else {
            return Ok(());
        };
        let (keys, asked, asked_ms) = (keys.clone(), *asked, *asked_ms);
        if keys.is_empty() {
            return Ok(());
        }
        self.commit(Command::Keys(step)).await?;
        for of in keys {
            match self.hosted.group.peek(|machine| machine.state.subjects.key(of)) {
                KeyState::Erased => self.shell.keyring.forget(of),
                KeyState::Living(_) => self.not_forgotten(of, asked, asked_ms),
                KeyState::Unknown => {}
            }
        }
        self.shell.keys_changed.notify_waiters();
        Ok(())
    }

    fn not_forgotten(&self, of: KeyOf, asked: Asked, asked_ms: u64) {
        let group = &self.hosted.group;
        let will = group.peek(|m| m.state.will_forget(of.subject, asked, asked_ms));
        let subject = format!("{:032x}", of.subject.hash);
        match will {
            true => tracing::warn!(
                subject,
                "erased elsewhere, and here once his order has ended: `region status` names it"
            ),
            false if asked.cause == Cause::Unsaid => tracing::warn!(
                subject,
                "erased elsewhere, or left there, which is not said, and he lives here or was \
                 served since: look whether he is to be erased here, too"
            ),
            false => tracing::warn!(
                subject,
                "erased elsewhere, and he lives here or was served since: erase him here, too"
            ),
        }
    }

    /// A region speaks for its own customers, and for those whose orders it took over: to copies
    /// while it owns them, and to their home also when they have come back to it since.
    /// What he left is deleted by itself, so it says nothing of other homes' keys.
    fn word_on(&self, of: KeyOf, erased: &wire::KeyErasure, cause: Cause) -> Result<Word, Failure> {
        let origin = self.origin.region;
        if of.subject.home == origin {
            return Ok(Word::OfCopies);
        }
        if cause == Cause::Left {
            return Ok(Word::NotHis);
        }
        let birth = super::region_of(erased.birth);
        let birth = birth.ok_or_else(|| Failure::of(Reason::MessageMalformed))?;
        let ours = of.subject.home == self.shell.number;
        let (known, served) = match ours {
            // Before the group itself has let go of its orders they would look as if under way.
            true => self.hosted.group.peek(|machine| {
                let births = &machine.state.births;
                let from = |row: &Birth| row.taken.as_ref().is_some_and(|t| t.take.from == origin);
                let known = births.get(birth).map(|row| (row.owner, row.epoch));
                (known, births.iter().any(|(_, row)| from(row)))
            }),
            false => {
                let now = self.shell.map.now()?;
                (now.owners.get(&birth).map(|of| (of.owner, of.epoch)), false)
            }
        };
        if known.map_or(0, |(_, epoch)| epoch) < erased.ownership_epoch {
            let why = "an erasure by an owner who is not known as such here yet";
            return Err(Failure::new(Reason::Unavailable, why));
        }
        let owns = known.is_some_and(|(owner, _)| owner == origin) && erased.ownership_epoch > 0;
        Ok(match (owns, ours) {
            (true, false) => Word::OfCopies,
            (true, true) => Word::OfOurs,
            (false, true) if served => Word::OfOurs,
            (false, _) => Word::NotHis,
        })
    }

    /// What his orders are sealed with that were taken over from there: he asked before his home
    /// was lost, and nobody here had heard of it.
    async fn became(&self, of: KeyOf) -> Vec<KeyOf> {
        let (here, home) = (self.shell.number, of.subject.home);
        let orders = self.hosted.group.peek(|machine| {
            let state = &machine.state;
            let from = |birth, row: &Birth| {
                row.taken.as_ref().is_some_and(|of| birth == home || of.take.from == home)
            };
            let mut births = state.births.iter();
            let took = births.any(|(birth, row)| row.held_by(here) && from(birth, row));
            took.then(|| state.orders.freeze())
        });
        let was = |key: &KeyOf| key.subject == of.subject && key.generation <= of.generation;
        let his = |order: &Order| {
            let sealed = order.adopted.is_some_and(|adoption| was(&adoption.sealed));
            sealed || order.requests.iter().any(|heard| heard.under.as_ref().is_some_and(was))
        };
        let mut found: Vec<OrderId> = Vec::new();
        for (n, (id, order)) in orders.iter().flat_map(|orders| orders.iter()).enumerate() {
            if n % LOOKED_MAX == LOOKED_MAX - 1 {
                tokio::task::yield_now().await;
            }
            found.extend(his(order).then_some(*id));
        }
        let sealed: BTreeSet<KeyOf> = self.hosted.group.peek(|machine| {
            let (contents, subjects) = (&machine.state.contents, &machine.state.subjects);
            let sealed = found.iter().filter_map(|id| Some(contents.get(id)?.sealed_with));
            sealed.filter(|of| matches!(subjects.key(*of), KeyState::Living(_))).collect()
        });
        sealed.into_iter().filter(|of| of.subject.home == here).take(KEYS_MAX).collect()
    }
}

/// An older program says nothing, and a newer one may say what is not known here.
fn cause_of(erased: &wire::KeyErasure) -> Cause {
    match wire::KeyErasureCause::try_from(erased.cause) {
        Ok(wire::KeyErasureCause::Left) => Cause::Left,
        Ok(wire::KeyErasureCause::Erased) => Cause::Erased,
        Ok(wire::KeyErasureCause::Unspecified) | Err(_) => Cause::Unsaid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_does_not_say_which_or_what_nobody_here_knows_is_none() {
        let says = |cause| cause_of(&wire::KeyErasure { cause, ..Default::default() });
        let heard = [0, 1, 2, 3, -1].map(says);
        let unsaid = Cause::Unsaid;
        assert_eq!(heard, [unsaid, Cause::Left, Cause::Erased, unsaid, unsaid]);
    }
}
