//! The sender: one stream per led group and peer, resumed at what the peer says it has.

mod batch;
mod compare;
mod refill;
mod session;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::convert::time::from_log;
use hansa_api::pb::replication as wire;
use hansa_consensus::Mark;
use hansa_types::id::GroupId;
use hansa_types::region::{RegionName, RegionNumber};
use hansa_types::time::LogTime;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use self::compare::Compare;
pub use self::compare::Found;
use self::session::{Broken, Kind, Session};
use super::law::{Law, terms_to_wire};
use super::{Lag, Lags};
use crate::core::takeover::{Birth, Lost};
use crate::machine::OrdersMachine;
use crate::metrics;
use crate::shell::{Hosted, Shell};

const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Silence of a peer that owes us an acknowledgement.
const ACK_MAX: Duration = Duration::from_secs(10);
/// How long a bookmark waits for a quorum to say that we still lead.
const CONFIRM_MAX: Duration = Duration::from_millis(500);
/// Between two messages that carry the heads of all groups.
const HEADS_EVERY: Duration = Duration::from_secs(5);
/// Of live batches in a row while orders wait to be shipped again, or the peer to be compared:
/// live events come first, and still leave a fifth of the messages to these.
const LIVE_RUN_MAX: u32 = 4;
/// Between two looks at how far the peer lags, if nothing else happens.
const LEVEL_EVERY: Duration = Duration::from_millis(500);
/// Between two parts of building the digest, so that orders go on.
const WALK_EVERY: Duration = Duration::from_millis(5);

/// Ships one group's events to one peer for as long as this node leads the group.
pub struct Sender {
    pub shell: Arc<Shell>,
    pub hosted: Arc<Hosted>,
    pub peer: RegionName,
    pub lags: Lags,
    /// When the heads of all groups were last sent.
    told: Mutex<Option<Instant>>,
    /// What the peer should have, and where it differs; kept from one stream to the next.
    compare: Mutex<Compare>,
    /// The group's last event when this node began to lead it.
    led_from: Mutex<Option<u64>>,
}

impl Sender {
    pub fn new(shell: Arc<Shell>, hosted: Arc<Hosted>, peer: RegionName, lags: Lags) -> Self {
        let (told, compare, led_from) = Default::default();
        Self { shell, hosted, peer, lags, told, compare, led_from }
    }

    pub async fn run(self) {
        let stop = self.shell.env.tasks.stop_token();
        let mut leadership = self.hosted.group.leadership();
        let mut backoff = BACKOFF_FIRST;
        loop {
            if !leadership.borrow_and_update().mine {
                self.lead_no_more();
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    changed = leadership.changed() => if changed.is_err() { return },
                }
                continue;
            }
            self.begin_to_lead();
            let started = Instant::now();
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // Another leader ships from now on.
                changed = leadership.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                ended = self.watched(self.session()) => ended,
            };
            if started.elapsed() > BACKOFF_MAX {
                backoff = BACKOFF_FIRST;
            }
            let (peer, group) = (&self.peer, self.hosted.group.id());
            if let Err(why) = ended {
                tracing::debug!(%peer, %group, %why, "replication stream ended");
                self.lags.failed(&self.peer, group.index(), &why.to_string());
            }
            self.lags.disconnected(&self.peer, group.index());
            self.level_again();
            let wait = backoff + self.shell.env.entropy.jitter(backoff);
            backoff = (backoff * 2).min(BACKOFF_MAX);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.watched(sleep(wait)) => {}
            }
        }
    }

    fn begin_to_lead(&self) {
        let now = || self.hosted.group.peek(|machine| machine.state.meta.seq);
        self.led_from.lock().get_or_insert_with(now);
    }

    /// Another node of the region knows, and says, how far the peer lags from now on.
    fn lead_no_more(&self) {
        let group = self.hosted.group.id();
        *self.led_from.lock() = None;
        // What another leader ships is not in it.
        *self.compare.lock() = Compare::default();
        if self.lags.forget(&self.peer, group.index()) {
            metrics::lag(&self.peer, group, None);
            metrics::differences(&self.peer, group, None);
        }
    }

    async fn session(&self) -> Result<(), Broken> {
        let mut session = self.open().await?;
        let shipped = self.shipped_births();
        self.compare.lock().begin(&session.law.terms, shipped.clone());
        let mut applied = self.hosted.group.applied();
        let cfg = self.shell.cfg.replicate;
        let bookmark_every = Duration::from_millis(cfg.bookmark_ms);
        let mut bookmark = Instant::now();
        // Of the stream, not of a turn of the loop: a busy group has hundreds of turns a second.
        let mut walk_at = Instant::now();
        loop {
            applied.borrow_and_update();
            if self.shipped_births() != shipped {
                // Other orders are ours to tell: what the peer should have is made anew.
                return Ok(());
            }
            while session.open.len() < cfg.window {
                let Some((message, kind)) = self.next(&mut session).await? else { break };
                session.send(message, kind).await?;
                bookmark = Instant::now() + bookmark_every;
            }
            let acknowledged = session.acked;
            self.level(Lag { acknowledged, connected: true, heard: true, ..Lag::default() });
            self.tell(&session);
            let patience = session.heard + ACK_MAX;
            let walks = self.walks(&session);
            let compares = self.compare.lock().due();
            let probes = session.open.len() < cfg.window && self.level_with(&session);
            tokio::select! {
                biased;
                answer = session.inbound.message() => self.answered(&mut session, answer?)?,
                () = tokio::time::sleep_until(patience) => return Err(Broken::Silent),
                () = tokio::time::sleep_until(bookmark) => {
                    // Every batch and bookmark is acknowledged, so silence is told from idleness.
                    if session.open.len() < cfg.window {
                        let message = self.bookmark(&session).await;
                        session.send(message, Kind::Other).await?;
                    }
                    bookmark = Instant::now() + bookmark_every;
                }
                () = tokio::time::sleep_until(walk_at), if walks => {
                    self.walk(&session);
                    walk_at = Instant::now() + WALK_EVERY;
                }
                () = tokio::time::sleep_until(compares), if probes => {}
                // Last: under load it is always ready.
                changed = applied.changed(), if session.open.len() < cfg.window => {
                    if changed.is_err() { return Ok(()) }
                }
            }
        }
    }

    /// Of whose births this group tells, and in which epochs.
    fn shipped_births(&self) -> Vec<(RegionNumber, Option<u64>)> {
        self.hosted.group.peek(|machine| {
            let state = &machine.state;
            state.births.iter().map(|(birth, _)| (birth, state.ships(birth))).collect()
        })
    }

    /// What is to be sent next, if there is anything: a new law, live events, then orders that are
    /// shipped again and steps of a comparison.
    async fn next(
        &self,
        session: &mut Session,
    ) -> Result<Option<(wire::ReplicateRequest, Kind)>, Broken> {
        if let Some(message) = self.new_law(session) {
            return Ok(Some((message, Kind::Other)));
        }
        let refills = session.refills_due();
        let turn = session.live_run >= LIVE_RUN_MAX && (refills || self.probe_due(session));
        if !turn && let Some(live) = self.live(session).await? {
            return Ok(Some(live));
        }
        session.live_run = 0;
        if refills && let Some(mut message) = self.refill(session) {
            self.add_keys(session, &mut message).await?;
            return Ok(Some((message, Kind::Refill)));
        }
        if let Some(probe) = self.probe(session) {
            return Ok(Some((probe, Kind::Probe)));
        }
        if turn { self.live(session).await } else { Ok(None) }
    }

    async fn live(
        &self,
        session: &mut Session,
    ) -> Result<Option<(wire::ReplicateRequest, Kind)>, Broken> {
        let max = self.shell.cfg.replicate.batch_max;
        let Some((mut message, upto)) = self.batch(session, max) else { return Ok(None) };
        session.live_run += 1;
        self.add_keys(session, &mut message).await?;
        Ok(Some((message, Kind::Live(upto))))
    }

    /// The terms of a policy that is newer than the stream's: everything after is made by them.
    fn new_law(&self, session: &mut Session) -> Option<wire::ReplicateRequest> {
        let now = self.shell.map.now().ok()?;
        if now.policy.version() <= session.law.terms.version {
            return None;
        }
        session.renew(Law::of(&now, &self.peer));
        self.compare.lock().begin(&session.law.terms, self.shipped_births());
        let seq = self.hosted.group.peek(|machine| machine.state.meta.seq);
        let mut message = self.frame(session.law.terms.version, Vec::new(), seq, None);
        message.terms = Some(terms_to_wire(&session.law.terms));
        Some(message)
    }

    fn answered(
        &self,
        session: &mut Session,
        answer: Option<wire::ReplicateResponse>,
    ) -> Result<(), Broken> {
        let answer = answer.ok_or(Broken::Closed)?;
        let bytes = prost::Message::encoded_len(&answer);
        let probe = session.heard(answer)?;
        if let Some(answer) = probe {
            let wall = self.shell.env.clock.wall().ms();
            let next = Duration::from_millis(self.shell.cfg.replicate.compare_ms);
            let jitter = self.shell.env.entropy.jitter(next / 4);
            let mut compare = self.compare.lock();
            compare.take(&answer, bytes, wall, Instant::now() + next + jitter);
            drop(compare);
            self.withdraw(session);
        }
        Ok(())
    }

    /// Says up to when the peer has all there is. An idle group's LogTime stands still, so a quorum
    /// confirms that nobody else has led it on: a leader that was cut off does not know of its
    /// successor, and its own clock would call an old copy fresh.
    async fn bookmark(&self, session: &Session) -> wire::ReplicateRequest {
        // Taken before the round, which then covers all that was acknowledged until here.
        let wall = LogTime(self.shell.env.clock.wall().ms());
        let look = |machine: &OrdersMachine| (machine.state.meta.seq, machine.state.meta.now);
        let (group, version) = (&self.hosted.group, session.law.terms.version);
        match group.read(Instant::now() + CONFIRM_MAX, look).await {
            Ok((seq, now)) => self.frame(version, Vec::new(), seq, Some(now.max(wall))),
            Err(_) => self.frame(version, Vec::new(), group.peek(look).0, None),
        }
    }

    /// `as_of`: when there was nothing beyond `seq`, if that is known.
    fn frame(
        &self,
        view_version: u64,
        envelopes: Vec<wire::Envelope>,
        seq: u64,
        as_of: Option<LogTime>,
    ) -> wire::ReplicateRequest {
        let status = self.hosted.group.status();
        wire::ReplicateRequest {
            origin_region: self.shell.region.to_string(),
            group: self.hosted.group.id().number(),
            epoch: self.hosted.stream_epoch(),
            view_version,
            envelopes,
            origin_last_sequence: seq,
            origin_time: as_of.map(from_log),
            chain_head: bytes::Bytes::copy_from_slice(&status.chain_head),
            chain_index: status.applied,
            heads: self.heads(),
            settled: self.settled(),
            ..Default::default()
        }
    }

    /// Births that this group took over and adopted.
    fn settled(&self) -> Vec<wire::SettledBirth> {
        self.hosted.group.peek(|machine| {
            let state = &machine.state;
            let settled = state.births.iter().filter(|(_, row)| row.settled());
            let one = |(birth, row): (RegionNumber, &Birth)| wire::SettledBirth {
                birth: u32::from(birth.get()),
                epoch: row.epoch,
                sequence: state.meta.seq,
                from: row.taken.iter().flat_map(|taken| &taken.lost).map(taken_from).collect(),
                doubt_sent_upto_ms: row.doubt.map_or(0, |doubt| doubt.sent_upto_ms),
                doubt_until_ms: row.doubt.map_or(0, |doubt| doubt.until.ms()),
            };
            settled.map(one).collect()
        })
    }

    /// The heads of this node's groups, when it is time to tell them again.
    fn heads(&self) -> Vec<wire::GroupHead> {
        let mut told = self.told.lock();
        if told.is_some_and(|at| at.elapsed() < HEADS_EVERY) {
            return Vec::new();
        }
        *told = Some(Instant::now());
        let head = |(group, mark): (GroupId, Mark)| wire::GroupHead {
            group: group.number(),
            index: mark.index,
            head: bytes::Bytes::copy_from_slice(&mark.head),
        };
        self.shell.host.heads().into_iter().map(head).collect()
    }

    /// Shows how far the peer lags behind, by the age of the first event that it has not said to
    /// have.
    fn level(&self, lag: Lag) {
        let group = self.hosted.group.id();
        let acked = lag.acknowledged;
        let (seq, oldest) = self.hosted.group.peek(|machine| {
            let (seq, times) = (machine.state.meta.seq, &machine.state.times);
            (seq, (seq > acked).then(|| times.of(acked + 1)).flatten())
        });
        let now = self.shell.env.clock.wall().ms();
        let ms = oldest.map_or(0, |oldest| now.saturating_sub(oldest.ms()));
        let lag = Lag { events: seq.saturating_sub(acked), ms, ..lag };
        metrics::lag(&self.peer, group, Some((lag.events, Duration::from_millis(ms))));
        self.lags.set(&self.peer, group.index(), lag);
    }

    /// What the peer acknowledged is durable there, whether it can be reached or not; it lags
    /// behind by what came since. One that has not said anything since this node leads lags at
    /// least by what came in that time.
    fn level_again(&self) {
        let known = self.lags.of(&self.peer, self.hosted.group.id().index());
        let least = |acknowledged| Lag { acknowledged, ..Lag::default() };
        if let Some(lag) = known.or_else(|| self.led_from.lock().map(least)) {
            self.level(lag);
        }
    }

    /// Has `what` go on and the lag shown meanwhile, which grows when nothing else happens.
    async fn watched<T>(&self, what: impl Future<Output = T>) -> T {
        let mut what = pin!(what);
        loop {
            tokio::select! {
                biased;
                done = &mut what => return done,
                () = sleep(LEVEL_EVERY) => self.level_again(),
            }
        }
    }

    /// Shows operators what is known of the peer.
    fn tell(&self, session: &Session) {
        let group = self.hosted.group.id();
        let compare = self.compare.lock();
        let wall = self.shell.env.clock.wall().ms();
        let every = self.shell.cfg.replicate.compare_ms;
        self.lags.tell(&self.peer, group.index(), |stream| {
            stream.epoch = self.hosted.stream_epoch();
            stream.view_version = session.law.terms.version;
            stream.purge_pending = session.view.purged_version < session.law.terms.version;
            stream.sweep = session.sweep.as_ref().map(|sweep| (sweep.swept, sweep.end));
            stream.parked = session.parked;
            compare.show(stream);
            let known = stream.compared(wall, every).then_some(stream.differences);
            metrics::differences(&self.peer, group, known);
        });
    }
}

fn taken_from(lost: &Lost) -> wire::TakenFrom {
    wire::TakenFrom {
        region: u32::from(lost.origin.region.get()),
        group: u32::from(lost.origin.group),
        epoch: lost.origin.epoch,
        sequence: lost.after,
    }
}
