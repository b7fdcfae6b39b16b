//! Disks that fill up: writes are refused while reads go on, and come back when there is room.

use std::time::Duration;

use hansa_api::pb::inventory::GetStockRequest;
use hansa_api::status::Failure;
use hansa_tests::load::{Load, Shape, stock_key};
use hansa_tests::processes::{HOME, Processes, Shape as House};
use hansa_tests::small::{self, SmallDisk};
use hansa_tests::{after, request, scale};
use tokio::time::Instant;

use crate::BACK_WITHIN;

const DISK_MIB: u32 = 160;
/// Less than any reserve, enough for a stray byte.
const LEFT: u64 = 4 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn full_disks_refuse_writes_and_serve_reads_until_there_is_room() {
    if let Some(why) = small::missing() {
        return scale::skipped("full disks", &why);
    }
    let mut disks = Vec::new();
    let house = House::region("full");
    let data = house.data.clone();
    let house = house
        .folders(|node| {
            let disk = SmallDisk::mount(&data.join("disks").join(node), DISK_MIB);
            let disk = disk.expect("a small disk");
            let folder = disk.folder().join("data");
            disks.push(disk);
            folder
        })
        .with(|config| config.log.segment_mib = 8);
    let rig = Rig { league: house.start().await, disks };
    let load = Load::start(&rig.league, Shape::default()).await;
    for _ in 0..scale::cycles(1, 20) {
        load.progress(10, BACK_WITHIN).await;
        // Two of three: a quorum has no room.
        rig.disks[1..].iter().for_each(|disk| disk.fill(LEFT).expect("ballast"));
        rig.refuses().await;
        rig.reads().await;
        rig.disks[1..].iter().for_each(|disk| disk.make_room().expect("room"));
        let back = load.progress(10, BACK_WITHIN).await;
        println!("orders again {back:?} after there is room");
    }
    let run = load.stop().await;
    println!("PlaceOrder: {}", run.tally.of("PlaceOrder"));
    after::check(&rig.league, &run).await;
}

struct Rig {
    // In the order in which they go: processes before their disks.
    league: Processes,
    disks: Vec<SmallDisk>,
}

impl Rig {
    /// A write is refused for want of room, with a code that says so.
    async fn refuses(&self) {
        let deadline = Instant::now() + BACK_WITHIN;
        let home = HOME.parse().expect("a region name");
        for attempt in 0.. {
            let mut door = self.league.doors.pick(&home, 0, attempt).expect("a gateway");
            let receive = request::receive(HOME, &stock_key(HOME, 0).sku, 1);
            let mut call = tonic::Request::new(receive);
            call.set_timeout(Duration::from_secs(5));
            let refused = door.warehouse.inventory.receive_stock(call).await.err();
            let refused = refused.map(Failure::from);
            if refused.as_ref().is_some_and(|failure| failure.reason().as_str() == "DISK_FULL") {
                return;
            }
            assert!(Instant::now() < deadline, "not refused: {refused:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Linearizable reads at every gateway, while writes are refused.
    async fn reads(&self) {
        let home = HOME.parse().expect("a region name");
        for attempt in 0..12 {
            let mut door = self.league.doors.pick(&home, 0, attempt).expect("a gateway");
            let (region, sku) = (HOME.to_owned(), stock_key(HOME, attempt % 8).sku);
            let read = GetStockRequest { region, sku, ..Default::default() };
            let mut call = tonic::Request::new(read);
            call.set_timeout(Duration::from_secs(5));
            let read = door.warehouse.inventory.get_stock(call).await;
            assert!(read.is_ok(), "a read is refused by a full disk: {read:?}");
        }
    }
}
