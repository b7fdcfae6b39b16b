//! A region of three nodes on lossy disks: the power goes for all of them at once, again and again.

use std::path::PathBuf;
use std::time::Duration;

use hansa_api::pb::order::GetOrderRequest;
use hansa_api::status::{Failure, Reason};
use hansa_checker::{Answer, Call};
use tokio::time::Instant;

use crate::dice::Dice;
use crate::load::{Load, Record, Shape, Tally};
use crate::lossy::{Cut, Faults, LossyDisk};
use crate::processes::{HOME, Processes, Shape as House, binary};
use crate::suite;

/// Longest that a region may take to serve again: the machine may be busy.
const BACK_WITHIN: Duration = Duration::from_secs(120);
const SKUS: usize = 8;
const CYCLES_OF_A_SHELF: usize = 4;

/// The house, its disks, and what clients were told.
pub struct Rig {
    // In the order in which they go: processes before their disks.
    pub league: Processes,
    pub disks: Vec<LossyDisk>,
    pub record: Record,
    pub tally: Tally,
}

impl Rig {
    /// # Panics
    /// When no disk can be mounted: ask [`crate::lossy::missing`] first.
    pub async fn start(name: &str) -> Self {
        Self::start_with(name, binary().to_owned(), Faults::default()).await
    }

    /// The same with another program, or on disks that are bad from the start.
    pub async fn start_with(name: &str, binary: PathBuf, faults: Faults) -> Self {
        let mut disks = Vec::new();
        let mut house = House::region(name);
        let data = house.data.clone();
        house.binary = binary;
        let house = house.folders(|node| {
            let disk =
                LossyDisk::mount(&data.join("disks").join(node), &data.join("below").join(node));
            let disk = disk.expect("a disk");
            disk.set(faults.clone());
            let folder = disk.folder().join("data");
            disks.push(disk);
            folder
        });
        let league = house.start().await;
        Self { league, disks, record: Record::default(), tally: Tally::default() }
    }

    /// A load that goes on recording where the last one ended.
    ///
    /// Every few cycles on other shelves: whoever judges the history of a SKU tries what each call
    /// without an answer may have done, and a cut leaves many.
    pub async fn load(&self, cycle: usize) -> Load {
        let first = cycle / CYCLES_OF_A_SHELF * SKUS;
        let shape = Shape { seed: cycle as u64 + 1, skus: first..first + SKUS, ..Shape::default() };
        Load::start_with(&self.league, shape, self.record.clone(), self.tally.clone()).await
    }

    /// All processes die and all disks lose what was not synced, under load; then all start.
    pub async fn power_cut(&mut self, cycle: usize, dice: &mut Dice) {
        let load = self.load(cycle).await;
        load.progress(10, BACK_WITHIN).await;
        // Anywhere between two syncs.
        tokio::time::sleep(Duration::from_micros(dice.below(200_000))).await;
        let names = self.league.names();
        self.league.kill_at_once(&names);
        for disk in &self.disks {
            let torn = |unit, dice: &mut Dice| Cut::Torn { unit, dice: Dice::new(dice.number()) };
            let mut how = match cycle % 3 {
                0 => Cut::Clean,
                1 => torn(512, dice),
                _ => torn(4_096, dice),
            };
            disk.cut(&mut how).expect("the real disk works");
        }
        self.league.start_all();
        // Each worker's last call fails at its deadline, unless the house is back sooner.
        drop(load.stop().await);
    }

    /// Names of acknowledged orders that the house does not know, or why it does not say.
    ///
    /// # Errors
    /// A house that does not answer: nothing is known of what it holds.
    pub async fn lost(&self) -> Result<Vec<String>, String> {
        let deadline = Instant::now() + BACK_WITHIN;
        let mut lost = Vec::new();
        let acknowledged = acknowledged(&self.record);
        suite::checked("acknowledged orders looked for after a power cut", acknowledged.len());
        for order in acknowledged {
            if !self.known(&order, deadline).await? {
                lost.push(order);
            }
        }
        Ok(lost)
    }

    async fn known(&self, order: &str, deadline: Instant) -> Result<bool, String> {
        let home = HOME.parse().expect("a region name");
        for attempt in 0.. {
            let mut door = self.league.doors.pick(&home, 0, attempt).expect("a gateway");
            let ask = GetOrderRequest { order: order.to_owned(), ..Default::default() };
            let mut ask = tonic::Request::new(ask);
            ask.set_timeout(Duration::from_secs(5));
            match door.operator.orders.get_order(ask).await.map_err(Failure::from) {
                Ok(_) => return Ok(true),
                Err(failure) if failure.reason() == Reason::OrderNotFound => return Ok(false),
                Err(failure) if Instant::now() > deadline => return Err(failure.to_string()),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        Err("not asked".to_owned())
    }
}

/// Orders that a client was told of, in any state.
fn acknowledged(record: &Record) -> Vec<String> {
    let history = record.history();
    let told = history.ops.iter().filter_map(|op| match (&op.call, op.answer()) {
        (Call::Place(_), Some((Answer::Order { seen, .. }, _))) => Some(seen.name.clone()),
        _ => None,
    });
    told.collect()
}
