//! What the role tells and does for backups, and for a region that came back from one.

use std::time::Duration;

use hansa_api::status::Failure;
use hansa_types::id::{GroupId, OrderId};
use hansa_types::region::{RegionName, RegionNumber};
use tokio::time::Instant;

use super::Orders;
use crate::core::command::{Command, Outcome};
use crate::core::remote::{Cursor, Difference, Origin};
use crate::core::restored::{Restored, Step};
use crate::machine::OrdersMachine;
use crate::shell::{not_read, refusal};

/// Another region's stream, and how far it has come.
pub type Known = (Option<RegionName>, Origin, Cursor);

/// Steps are never held longer: callers wait for them.
const HOLD_MAX: Duration = Duration::from_secs(10);

/// How far a restored group has come.
#[derive(Clone, Debug)]
pub struct RestoreStatus {
    pub group: GroupId,
    /// `None` for a group that was never restored.
    pub restored: Option<Restored>,
    pub open_steps: usize,
    /// Whether unknown requests are answered with doubt.
    pub doubting: bool,
}

impl Orders {
    /// The machines of this node's groups, for tests that plant what nobody sent.
    #[doc(hidden)]
    pub fn machines(&self) -> impl Iterator<Item = &hansa_consensus::Group<OrdersMachine>> {
        self.shell.groups.values().map(|hosted| &hosted.group)
    }

    /// Begins no step of a saga for `length`, on the leader of `group`: the pause's number, and an
    /// index at or before which all was decided that has begun.
    ///
    /// # Errors
    /// Not the leader.
    pub fn hold_steps(&self, group: GroupId, length: Duration) -> Result<(u64, u64), Failure> {
        let hosted = self.shell.hosted(group)?;
        let leadership = *hosted.group.leadership().borrow();
        if !leadership.mine {
            return Err(Failure::not_leader(leadership.leader));
        }
        let number = hosted.hold.begin(Instant::now() + length.min(HOLD_MAX));
        // Only after: what was pulled before the pause is in the state by now. The term goes along,
        // since in another one somebody else may have begun steps.
        Ok((number << 32 | (leadership.term & 0xffff_ffff), hosted.group.status().applied))
    }

    /// Ends a pause: `true` when nothing can have begun during it, here or under another leader.
    ///
    /// # Errors
    /// Not the leader any more.
    pub async fn release_steps(
        &self,
        group: GroupId,
        hold: u64,
        due: Instant,
    ) -> Result<bool, Failure> {
        let hosted = self.shell.hosted(group)?;
        // A quorum says that nobody else has led meanwhile; asked while the pause still lasts.
        let led = hosted.group.read(due, |_| ()).await;
        let leadership = *hosted.group.leadership().borrow();
        let lasted = hosted.hold.end(hold >> 32);
        led.map_err(not_read)?;
        Ok(lasted && leadership.mine && leadership.term & 0xffff_ffff == hold & 0xffff_ffff)
    }

    /// Of the groups that this node leads.
    pub fn restores(&self) -> Vec<RestoreStatus> {
        let led = self.shell.groups.values().filter(|h| h.group.leadership().borrow().mine);
        let status = led.map(|hosted| {
            hosted.group.peek(|machine| RestoreStatus {
                group: hosted.group.id(),
                restored: machine.state.restored.clone(),
                open_steps: machine.state.open_steps(),
                doubting: machine.state.doubting(),
            })
        });
        status.collect()
    }

    /// Decides on payments that the provider knows and the books do not, of the groups that this
    /// node leads; how many were open.
    ///
    /// # Errors
    /// The way's failures.
    pub async fn settle_strays(
        &self,
        key: Option<String>,
        cancel: bool,
        due: Instant,
    ) -> Result<u32, Failure> {
        let mut decided = 0;
        for status in self.restores() {
            let Some(restored) = status.restored.filter(|now| now.restoring) else { continue };
            let asked = |of: &&String| key.as_ref().is_none_or(|key| key == *of);
            let open = restored.strays.keys().filter(asked).count();
            if open == 0 {
                continue;
            }
            let hosted = self.shell.hosted(status.group)?;
            let step = Command::Restore(Step::Decide { key: key.clone(), cancel });
            match hosted.submit(&step, due).await? {
                Outcome::Refused(why) => return Err(refusal(why)),
                _ => decided += u32::try_from(open).unwrap_or(u32::MAX),
            }
        }
        Ok(decided)
    }

    /// How far the events of other regions have come, in the groups that this node leads, and
    /// which those are.
    pub async fn origins(&self, due: Instant) -> (Vec<GroupId>, Vec<Known>) {
        let (mut led, mut known) = (Vec::new(), Vec::new());
        for hosted in self.shell.groups.values() {
            let cursors = hosted.group.read(due, |machine| {
                let cursors = machine.state.remote.cursors.iter();
                cursors.map(|(origin, cursor)| (*origin, *cursor)).collect::<Vec<_>>()
            });
            // Who does not lead says nothing.
            let Ok(cursors) = cursors.await else { continue };
            led.push(hosted.group.id());
            let name = |origin: &Origin| self.shell.map.region_name(origin.region);
            known.extend(cursors.into_iter().map(|(of, cursor)| (name(&of), of, cursor)));
        }
        (led, known)
    }

    /// Copies that are not what their home says: the first `max` by order, of those after `after`,
    /// of each group that this node leads, and which those are.
    pub fn differences(
        &self,
        origin: Option<RegionNumber>,
        after: Option<OrderId>,
        max: usize,
    ) -> (Vec<GroupId>, Vec<(OrderId, Difference)>) {
        let led = self.shell.groups.values().map(|hosted| &hosted.group);
        let led: Vec<_> = led.filter(|group| group.leadership().borrow().mine).collect();
        let found = led.iter().flat_map(|group| {
            group.peek(|machine| machine.state.remote.differences(origin, after, max))
        });
        let found = found.collect();
        (led.into_iter().map(|group| group.id()).collect(), found)
    }

    /// The number of a region by its name.
    pub fn region_number(&self, name: &RegionName) -> Option<RegionNumber> {
        self.shell.map.region_number(name)
    }

    /// An order's public name.
    pub fn name_of(&self, order: OrderId) -> String {
        self.shell.map.name_of(order)
    }
}
