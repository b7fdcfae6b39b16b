//! The operator of a region: hands leaderships about, changes members, drains nodes, raises
//! versions, rotates keys, loads policies, and rebuilds a node whose disk was damaged.

mod churn;
mod errand;

use std::cell::Cell;
use std::time::Duration;

use hansa_api::client::League as Door;
use hansa_api::pb::admin::{ListMembersRequest, ReseedNodeRequest, TransferLeaderRequest};

use self::churn::UnderWay;
use super::{Board, door};
use crate::dice::Dice;
use crate::plan::{Errand, Plan};
use crate::trace;
use crate::world::{Region, SEATS};

const CALL_MAX: Duration = Duration::from_secs(4);
const NUMBER: u32 = 80;
const PART: u64 = 200;

pub struct Operator<'a> {
    door: Door,
    region: &'a Region,
    board: &'a Board,
    dice: Dice,
    ids: u64,
    number: usize,
    under_way: Option<UnderWay>,
    /// An errand, and until when it is tried.
    errand: Option<(Errand, Duration)>,
    /// Since the clients have stopped.
    restore_until: Option<Duration>,
}

impl<'a> Operator<'a> {
    pub async fn new(plan: &Plan, region: &'a Region, number: usize, board: &'a Board) -> Self {
        let door = door(plan, region, "operator", NUMBER + number as u32).await;
        let dice = Dice::of(plan.seed, PART + number as u64);
        let (under_way, errand, restore_until) = (None, None, None);
        Self { door, region, board, dice, ids: 0, number, under_way, errand, restore_until }
    }

    /// Works until the clients stop and no node waits for its new place.
    pub async fn run(mut self, stop: &Cell<bool>) {
        loop {
            let waiting = self.board.damaged.borrow().iter().find(|name| self.knows(name)).cloned();
            match waiting {
                Some(name) => self.reseed(&name).await,
                None if self.has_errand(stop.get()) => self.run_errand().await,
                None if stop.get() && !self.has_spare() => return,
                None if stop.get() => {
                    let whole = self.restore_members().await;
                    if whole {
                        return;
                    }
                }
                None if self.has_spare() && self.dice.one_in(2) => self.change_members().await,
                None if self.dice.one_in(4) => self.hand_over().await,
                None => {}
            }
            tokio::time::sleep(Duration::from_millis(self.dice.within(200, 900))).await;
        }
    }

    fn has_spare(&self) -> bool {
        self.region.seats.len() > SEATS
    }

    fn knows(&self, name: &str) -> bool {
        self.region.seats.iter().any(|seat| seat.name() == name)
    }

    async fn reseed(&mut self, name: &str) {
        let request = ReseedNodeRequest {
            request_id: self.id(),
            region: self.region.name.to_string(),
            node: name.to_owned(),
            force: false,
        };
        let asked = self.door.call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.membership.reseed_node(request).await }
        });
        match asked.await {
            Ok(answer) => {
                trace::note(format_args!("{name} is to be node {}", answer.node));
                self.board.damaged.borrow_mut().retain(|damaged| damaged != name);
                self.board.reseeded.borrow_mut().push(name.to_owned());
            }
            Err(failure) => trace::note(format_args!("{name} is not reseeded: {failure}")),
        }
    }

    /// Hands the leadership of any group to any node of the region.
    async fn hand_over(&mut self) {
        let region = self.region.name.to_string();
        let request = ListMembersRequest { region: region.clone() };
        let asked = self.door.call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.membership.list_members(request).await }
        });
        let Ok(members) = asked.await else { return };
        if members.groups.is_empty() {
            return;
        }
        let group = &members.groups[self.dice.below(members.groups.len() as u64) as usize];
        let seat = self.dice.below(self.region.seats.len() as u64) as usize;
        let request = TransferLeaderRequest {
            request_id: self.id(),
            region,
            node: self.region.seats[seat].name().to_owned(),
            group: group.group,
        };
        let asked = self.door.call(CALL_MAX, |mut services, call| {
            let request = call.request(request.clone());
            async move { services.membership.transfer_leader(request).await }
        });
        if let Ok(answer) = asked.await
            && answer.leader_node != answer.former_leader_node
        {
            trace::count("leadership handed over", 1);
        }
    }

    fn id(&mut self) -> String {
        self.ids += 1;
        format!("op-{}-{}", self.region.name, self.ids)
    }
}
