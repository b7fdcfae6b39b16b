//! A customer who moved by himself: his new orders go where he lives, from wherever they arrive.

use hansa_api::classes::DataClass;
use hansa_api::first_sent;
use hansa_api::pb::order as wire;
use hansa_api::pb::replication::home_service_client::HomeServiceClient;
use hansa_api::pb::replication::{PlaceMovedRequest, PlaceMovedResponse};
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_types::region::RegionNumber;
use tokio::time::{Instant, timeout_at};

use super::Asked;
use super::moved::{SKEW_MS, moving};
use crate::core::command::{Command, Outcome};
use crate::core::keys::Scope;
use crate::core::moves::{MoveRow, Step};
use crate::core::subjects::SubjectId;
use crate::machine::OrdersMachine;
use crate::service::customer::admitted;
use crate::service::find_request;
use crate::shell::{Sent, refusal};

/// Regions that one request is followed through: more moves than that are heard of one by one.
const HOPS_MAX: u32 = 4;

/// He lives, or lived lately, in a region that a third went on with.
fn taken_over() -> Failure {
    let why = "where the customer lived was taken over by a region that cannot say what he ordered";
    Failure::new(Reason::HomeUnreachable, why).retry_after(super::moved::RETRY)
}

/// Where an order is to be placed.
pub(super) enum Lives {
    /// Here, since this move of his; 0 if he never moved.
    Here(u64),
    /// Elsewhere, where this became of it.
    There(Box<wire::PlaceOrderResponse>),
}

impl Asked<'_> {
    /// Where the customer lives by now. What is known of the request here is answered here.
    ///
    /// # Errors
    /// `HOME_MOVING` while who would know cannot be asked, or lags behind; what the other region
    /// answers.
    pub(super) async fn lives(
        &self,
        subject: SubjectId,
        scope: Scope,
        sent: Sent,
        due: Instant,
    ) -> Result<Lives, Failure> {
        let here = self.shell.number;
        for _ in 0..HOPS_MAX {
            let look = |machine: &OrdersMachine| {
                let row = machine.state.moves.get(subject)?.clone();
                Some((row, machine.state.keys.table.contains(&scope)))
            };
            let Some((row, known)) = self.hosted.group.peek(look) else {
                return Ok(Lives::Here(0));
            };
            if known {
                return Ok(Lives::Here(row.epoch));
            }
            // Where the law puts him this region may own what is born: it serves him for that, and
            // nobody moves.
            let served = row.lives == self.home.0;
            if served && row.lives != here {
                self.surely_new(row.lives, sent)?;
            }
            if served || row.lives == here {
                let before = self.known_before(&row, sent, due).await?;
                return Ok(
                    before.map_or(Lives::Here(row.epoch), |there| Lives::There(Box::new(there)))
                );
            }
            let owner = self.owner_of(row.lives)?;
            let (lives, epoch) = match owner == here {
                // Where he lived is lost, and this region went on with what was born there.
                true => {
                    self.surely_new(row.lives, sent)?;
                    (here, row.epoch.saturating_add(1))
                }
                // Its heir knows neither of the move nor what he asked for since.
                false if owner != row.lives => return Err(taken_over()),
                false => {
                    let answer = self.pass_on(owner, row.epoch, false, sent, due).await?;
                    if let Some(placed) = answer.placed {
                        return Ok(Lives::There(Box::new(placed)));
                    }
                    let gone = answer.gone_to.parse().ok();
                    let gone = gone.and_then(|name| self.now.number(&name)).ok_or_else(moving)?;
                    (gone, answer.gone_epoch)
                }
            };
            if epoch <= row.epoch {
                return Err(moving());
            }
            self.follow(subject, (row.lives, lives), epoch, owner == here, due).await?;
        }
        Err(moving())
    }

    /// Whether a request that is not known here was not placed where this region went on with what
    /// was born.
    ///
    /// # Errors
    /// `REQUEST_IN_DOUBT` for one that the lost region may have heard; `HOME_MOVING` while what it
    /// is known to have heard is being taken over.
    fn surely_new(&self, birth: RegionNumber, Sent(sent): Sent) -> Result<(), Failure> {
        let epoch = self.now.owner(birth, self.slot).ok_or_else(moving)?.epoch;
        let doubt =
            self.hosted.group.peek(|machine| machine.state.may_have_heard(birth, epoch, sent));
        doubt.map_or(Ok(()), |why| Err(refusal(why)))
    }

    fn owner_of(&self, birth: RegionNumber) -> Result<RegionNumber, Failure> {
        let ownership = self.now.owner(birth, self.slot).ok_or_else(moving)?;
        Ok(ownership.owner)
    }

    /// Takes in that he went on, or came back.
    async fn follow(
        &self,
        subject: SubjectId,
        (from, to): (RegionNumber, RegionNumber),
        epoch: u64,
        untold: bool,
        due: Instant,
    ) -> Result<(), Failure> {
        let at_ms = self.shell.env.clock.wall().ms();
        let step = match to == self.shell.number {
            true => Step::Arrive { subject, from, epoch, at_ms, untold },
            false => Step::Follow { subject, to, epoch, at_ms },
        };
        match self.hosted.submit(&Command::Moves(step), due).await? {
            Outcome::Noted => Ok(()),
            Outcome::Refused(why) => Err(refusal(why)),
            _ => Err(Failure::of(Reason::Internal)),
        }
    }

    /// What became of the request where he lived before, if it may be as old as that: what he asked
    /// for here is known here. Who was told by the former home that it knows nothing need not ask.
    async fn known_before(
        &self,
        row: &MoveRow,
        Sent(sent): Sent,
        due: Instant,
    ) -> Result<Option<wire::PlaceOrderResponse>, Failure> {
        let wall = self.shell.env.clock.wall().ms();
        let ttl = self.hosted.group.peek(|machine| machine.state.meta.settings.key_ttl_ms);
        let expired = row.since_ms.saturating_add(ttl) < wall;
        let newer = sent.is_some_and(|sent| sent > row.since_ms.saturating_add(SKEW_MS));
        let owner = self.owner_of(row.former)?;
        if expired || newer || row.former == self.shell.number {
            return Ok(None);
        }
        // What was taken over came with its requests, or is in doubt.
        if owner == self.shell.number {
            return self.surely_new(row.former, Sent(sent)).map(|()| None);
        }
        if owner != row.former {
            return Err(taken_over());
        }
        let answer = self.pass_on(owner, row.epoch, true, Sent(sent), due).await?;
        Ok(answer.placed)
    }

    /// Whether an unknown request may have been placed by whoever owned what is born in his home
    /// for a while, or before this region came back from a backup.
    ///
    /// # Errors
    /// `HOME_MOVING` while these births are another region's, or are being taken over.
    fn doubts_itself(&self, sent: Option<u64>) -> Result<bool, Failure> {
        let (shell, hosted, place) = (self.shell, self.hosted, &self.place);
        let asked =
            find_request::Asked { shell, hosted, place, slot: self.slot, caller: self.caller };
        match asked.surely_new(Some(self.home.0), sent) {
            Ok(()) => Ok(false),
            Err(failure) if failure.reason() == Reason::RequestInDoubt => Ok(true),
            Err(failure) => Err(failure),
        }
    }

    async fn pass_on(
        &self,
        to: RegionNumber,
        epoch: u64,
        known_only: bool,
        Sent(sent): Sent,
        due: Instant,
    ) -> Result<PlaceMovedResponse, Failure> {
        let policy = &self.now.policy;
        let (residence, region) =
            (self.place.residence_country, self.now.region(to).ok_or_else(moving)?);
        // The whole request goes.
        let law = policy.of_country(residence).ok_or_else(moving)?;
        if !DataClass::ALL.into_iter().all(|class| policy.may_pass(law, class, &region.name)) {
            return Err(moving());
        }
        if !known_only {
            admitted(&self.now, residence, &region.name)?;
        }
        let question = PlaceMovedRequest {
            region: self.shell.region.to_string(),
            caller: self.caller.to_owned(),
            request: bytes::Bytes::copy_from_slice(self.body),
            epoch,
            known_only,
            in_doubt: !known_only && self.doubts_itself(sent)?,
        };
        let mut request = outgoing(question, Deadline(due))?;
        if let Some(sent) = sent {
            first_sent::put(request.metadata_mut(), sent);
        }
        let mut client = HomeServiceClient::new(self.shell.peers.gateway(&region.name));
        let failure = match timeout_at(due, client.place_moved(request)).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => Failure::from(&status),
            Err(_) => Failure::of(Reason::DeadlineExceeded),
        };
        match failure.reason() {
            // Another node there will know: nothing was done.
            Reason::NotLeader | Reason::Unavailable if known_only => Err(moving()),
            Reason::NotLeader => {
                Err(Failure::of(Reason::HomeUnreachable).retry_after(super::moved::RETRY))
            }
            _ => Err(failure),
        }
    }
}
