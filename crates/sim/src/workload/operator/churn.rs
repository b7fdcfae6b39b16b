//! Changes of members as an operator makes them: one call at a time, looked after until it is done.

use std::time::Duration;

use hansa_api::pb::admin::{
    AddMemberRequest, ListMembersRequest, ListMembersResponse, MemberPlace, PromoteMemberRequest,
    RemoveMemberRequest, ReplaceMemberRequest,
};

use super::{CALL_MAX, Operator};
use crate::clock;
use crate::plan::Change;
use crate::trace;
use crate::world::SEATS;

/// A change that the storm does not let through is left where it is.
const CHANGE_MAX: Duration = Duration::from_secs(15);
/// With everything healed the members are as they were at the beginning after this long.
const RESTORE_MAX: Duration = Duration::from_secs(45);

/// A change under way.
pub struct UnderWay {
    change: Change,
    until: Duration,
}

/// The next call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ask {
    Done,
    Wait,
    Add { node: usize, held: bool },
    Promote { node: usize },
    Remove { node: usize },
    Replace { node: usize, force: bool },
}

impl Operator<'_> {
    /// Goes a step on with the change that is under way, or begins the next.
    pub(super) async fn change_members(&mut self) {
        if self.under_way.is_none() {
            let change = self.board.changes.borrow_mut().pop_front();
            let until = now() + CHANGE_MAX;
            self.under_way = change.map(|change| UnderWay { change, until });
        }
        let Some(UnderWay { change, until }) = &self.under_way else { return };
        let (change, late) = (*change, *until < now());
        let Some(members) = self.members().await else { return };
        if late {
            trace::count("member change given up", 1);
            self.under_way = None;
        } else if !self.spare_has_joined(&members) {
            self.board.spare_wanted.set(true);
        } else if self.ask(step(change, &self.places(&members))).await {
            trace::note(format_args!("done: {change:?}"));
            trace::count("member change settled", 1);
            self.under_way = None;
        }
    }

    /// Brings the members back to what they were at the beginning; whether they are.
    pub(super) async fn restore_members(&mut self) -> bool {
        let late = *self.restore_until.get_or_insert(now() + RESTORE_MAX) < now();
        let members = self.members().await;
        let places = members.map(|members| self.places(&members));
        if late {
            // Who never catches up is not promoted, rightly.
            if !self.region.seats.iter().any(|seat| seat.refuses()) {
                let what = format!("{}: members not restored: {places:?}", self.region.name);
                self.board.wrong.borrow_mut().push(what);
            }
            return true;
        }
        match places {
            Some(places) => self.ask(back(&places)).await,
            None => false,
        }
    }

    async fn members(&self) -> Option<ListMembersResponse> {
        let request = ListMembersRequest { region: self.region.name.to_string() };
        let asked = self.door.call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.membership.list_members(request).await }
        });
        asked.await.ok()
    }

    fn spare_has_joined(&self, members: &ListMembersResponse) -> bool {
        let Some(spare) = self.region.seats.get(SEATS) else { return false };
        members.nodes.iter().any(|node| node.name == spare.name() && !node.retired)
    }

    fn places(&self, members: &ListMembersResponse) -> Places {
        let place = |name: &str| {
            let groups = members.groups.iter().map(|group| {
                let found = group.members.iter().find(|member| member.node_name == name);
                found.map_or((MemberPlace::None, MemberPlace::None), |member| {
                    (member.wanted(), member.actual())
                })
            });
            groups.collect()
        };
        Places {
            seats: self.region.seats.iter().map(|seat| place(seat.name())).collect(),
            settled: members.groups.iter().all(|group| group.settled && group.leader_node != 0),
        }
    }

    /// Makes the call, if one is due; whether nothing is left to do.
    async fn ask(&mut self, ask: Ask) -> bool {
        let (request_id, region) = (self.id(), self.region.name.to_string());
        let name = |node: usize| self.region.seats[node].name().to_owned();
        let (what, asked) = match ask {
            Ask::Done => return true,
            Ask::Wait => return false,
            Ask::Add { node, held } => {
                let (node, hold_as_learner, groups) = (name(node), held, Vec::new());
                let request =
                    AddMemberRequest { request_id, region, node, groups, hold_as_learner };
                let asked = self.door.call(CALL_MAX, |mut services, call| {
                    let request = call.request(request.clone());
                    async move { services.membership.add_member(request).await }
                });
                ("member added", asked.await.map(drop))
            }
            Ask::Promote { node } => {
                let (node, groups) = (name(node), Vec::new());
                let request = PromoteMemberRequest { request_id, region, node, groups };
                let asked = self.door.call(CALL_MAX, |mut services, call| {
                    let request = call.request(request.clone());
                    async move { services.membership.promote_member(request).await }
                });
                ("member promoted", asked.await.map(drop))
            }
            Ask::Remove { node } => {
                let (node, groups, force) = (name(node), Vec::new(), false);
                let request = RemoveMemberRequest { request_id, region, node, groups, force };
                let asked = self.door.call(CALL_MAX, |mut services, call| {
                    let request = call.request(request.clone());
                    async move { services.membership.remove_member(request).await }
                });
                ("member removed", asked.await.map(drop))
            }
            Ask::Replace { node, force } => {
                let (node, replacement, groups) = (name(node), name(SEATS), Vec::new());
                let request =
                    ReplaceMemberRequest { request_id, region, node, groups, force, replacement };
                let asked = self.door.call(CALL_MAX, |mut services, call| {
                    let request = call.request(request.clone());
                    async move { services.membership.replace_member(request).await }
                });
                let what = if force { "member replaced by force" } else { "member replaced" };
                (what, asked.await.map(drop))
            }
        };
        match asked {
            Ok(()) => {
                trace::note(format_args!("{what}: {ask:?}"));
                trace::count(what, 1);
            }
            Err(failure) => trace::note(format_args!("refused: {ask:?}: {failure}")),
        }
        false
    }
}

fn now() -> Duration {
    clock::truth().unwrap_or_default()
}

/// Where each seat's node is wanted and is, group by group.
#[derive(Debug)]
struct Places {
    seats: Vec<Vec<(MemberPlace, MemberPlace)>>,
    settled: bool,
}

impl Places {
    fn everywhere(&self, seat: usize, wanted: MemberPlace) -> bool {
        let places = self.seats.get(seat);
        places.is_some_and(|places| places.iter().all(|place| place.0 == wanted))
    }

    fn nowhere(&self, seat: usize) -> bool {
        let out =
            |place: MemberPlace| matches!(place, MemberPlace::None | MemberPlace::Unspecified);
        let places = self.seats.get(seat);
        places.is_none_or(|places| places.iter().all(|place| out(place.0) && out(place.1)))
    }

    fn is_learner(&self, seat: usize) -> bool {
        let places = self.seats.get(seat);
        places.is_some_and(|places| places.iter().all(|place| place.1 == MemberPlace::Learner))
    }
}

/// What an operator does next for a change.
fn step(change: Change, places: &Places) -> Ask {
    let voter = |seat| places.everywhere(seat, MemberPlace::Voter);
    let held = places.everywhere(SEATS, MemberPlace::Learner);
    match change {
        Change::AddHeld if held && places.is_learner(SEATS) => Ask::Promote { node: SEATS },
        Change::AddHeld if held => Ask::Wait,
        Change::AddHeld if !voter(SEATS) => Ask::Add { node: SEATS, held: true },
        Change::Add | Change::Remove { .. } if held => Ask::Promote { node: SEATS },
        Change::Add | Change::Remove { .. } if !voter(SEATS) => {
            Ask::Add { node: SEATS, held: false }
        }
        Change::Replace { node } if !voter(SEATS) => Ask::Replace { node, force: false },
        Change::ReplaceLost { node } if !voter(SEATS) => Ask::Replace { node, force: true },
        Change::Remove { node } | Change::Replace { node } | Change::ReplaceLost { node }
            if !places.nowhere(node) =>
        {
            // Asked for already: it leaves.
            match places.seats[node].iter().any(|place| place.0 == MemberPlace::Voter) {
                true => Ask::Remove { node },
                false => Ask::Wait,
            }
        }
        _ if places.settled => Ask::Done,
        _ => Ask::Wait,
    }
}

/// What an operator does next to have the three that were there at the beginning, and no other.
fn back(places: &Places) -> Ask {
    let missing = (0..SEATS).find(|seat| !places.everywhere(*seat, MemberPlace::Voter));
    if let Some(node) = missing {
        return Ask::Add { node, held: false };
    }
    match places.settled {
        false => Ask::Wait,
        true if places.nowhere(SEATS) => Ask::Done,
        true => Ask::Remove { node: SEATS },
    }
}

#[cfg(test)]
mod tests {
    use MemberPlace::{Learner, None as Out, Voter};

    use super::*;

    /// Three old ones and the spare, each with one place.
    fn places(of: [MemberPlace; 4]) -> Places {
        let seats = of.into_iter().map(|place| vec![(place, place)]).collect();
        Places { seats, settled: true }
    }

    #[test]
    fn a_replacement_goes_and_comes_back() {
        let change = Change::Replace { node: 1 };
        let begin = places([Voter, Voter, Voter, Out]);
        assert_eq!(step(change, &begin), Ask::Replace { node: 1, force: false });
        let lost = Change::ReplaceLost { node: 1 };
        assert_eq!(step(lost, &begin), Ask::Replace { node: 1, force: true });
        let done = places([Voter, Out, Voter, Voter]);
        assert_eq!(step(change, &done), Ask::Done);
        assert_eq!(back(&done), Ask::Add { node: 1, held: false });
        assert_eq!(back(&places([Voter; 4])), Ask::Remove { node: SEATS });
        assert_eq!(back(&begin), Ask::Done);
    }

    #[test]
    fn a_node_leaves_when_the_spare_has_its_place() {
        let change = Change::Remove { node: 0 };
        let begin = places([Voter, Voter, Voter, Out]);
        assert_eq!(step(change, &begin), Ask::Add { node: SEATS, held: false });
        assert_eq!(step(change, &places([Voter; 4])), Ask::Remove { node: 0 });
        assert_eq!(step(change, &places([Out, Voter, Voter, Voter])), Ask::Done);
    }

    #[test]
    fn one_that_is_held_back_is_promoted_once_it_is_a_learner() {
        let mut held = places([Voter, Voter, Voter, Learner]);
        assert_eq!(step(Change::AddHeld, &held), Ask::Promote { node: SEATS });
        held.seats[SEATS][0].1 = Out;
        assert_eq!(step(Change::AddHeld, &held), Ask::Wait);
    }
}
