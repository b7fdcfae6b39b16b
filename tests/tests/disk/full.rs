//! Disks that fill up: writes are refused while reads go on, and come back when there is room.

use std::time::Duration;

use hansa_api::client::Policy;
use hansa_api::pb::inventory::GetStockRequest;
use hansa_api::pb::order::PlaceOrderLine;
use hansa_checker::history::{Place, PlaceLine};
use hansa_checker::seen::StockKey;
use hansa_tests::load::{Caller, Load, Shape, Tally, stock_key};
use hansa_tests::processes::{HOME, Processes, Shape as House};
use hansa_tests::small::{self, SmallDisk};
use hansa_tests::{after, request, scale};
use hansa_types::limits::ORDER_LINES_MAX;
use tokio::time::Instant;

use crate::BACK_WITHIN;

const DISK_MIB: u32 = 160;
/// Orders of about 300 kB each: more than the segments that a node has allocated.
const BIG_ORDERS: usize = 80;
const AT_ONCE: usize = 4;
/// Less than any reserve, enough for a stray byte.
const LEFT: u64 = 4 << 20;

async fn start(name: &str, disk_mib: u32, segment_mib: u32) -> Rig {
    let mut disks = Vec::new();
    let house = House::region(name);
    let data = house.data.clone();
    let house = house
        .folders(|node| {
            let disk = SmallDisk::mount(&data.join("disks").join(node), disk_mib);
            let disk = disk.expect("a small disk");
            let folder = disk.folder().join("data");
            disks.push(disk);
            folder
        })
        .with(|config| config.log.segment_mib = segment_mib);
    Rig { league: house.start().await, disks }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disks_refuse_writes_and_serve_reads_until_there_is_room() {
    if let Some(why) = small::missing() {
        return scale::skipped("full disks", &why);
    }
    let rig = start("full", DISK_MIB, 8).await;
    let load = Load::start(&rig.league, Shape::default()).await;
    for _ in 0..scale::cycles(1, 20) {
        load.progress(10, BACK_WITHIN).await;
        // Two of three: a quorum has no room.
        rig.disks[1..].iter().for_each(|disk| disk.fill(LEFT).expect("ballast"));
        rig.refuses(&load).await;
        rig.reads().await;
        rig.disks[1..].iter().for_each(|disk| disk.make_room().expect("room"));
        let back = load.progress(10, BACK_WITHIN).await;
        println!("orders again {back:?} after there is room");
    }
    let run = load.stop().await;
    println!("PlaceOrder: {}", run.tally.of("PlaceOrder"));
    after::check(&rig.league, &run).await;
}

/// The others have room and go on: what they commit uses up the last bytes of the one that has not.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_truly_runs_out_ends_cleanly_and_returns_when_there_is_room() {
    if let Some(why) = small::missing() {
        return scale::skipped("a node out of room", &why);
    }
    let mut rig = start("out-of-room", DISK_MIB, 8).await;
    let load = Load::start(&rig.league, Shape::default()).await;
    load.progress(10, BACK_WITHIN).await;
    let names = rig.league.names();
    let victim = names.last().expect("three nodes");
    rig.disks[names.len() - 1].fill(0).expect("ballast");
    rig.place_big(&load, victim).await;
    let status = rig.league.exited(victim, BACK_WITHIN).await;
    assert!(!status.success(), "it ended as if all were well");
    println!("{victim} ended with {status}");
    load.progress(10, BACK_WITHIN).await;
    rig.disks[names.len() - 1].make_room().expect("room");
    rig.league.run(victim);
    rig.league.ready().await;
    load.progress(10, BACK_WITHIN).await;
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
    /// A client beside the load, in its record, that tries everything once.
    async fn once(&self, load: &Load) -> Caller {
        let policy = Policy { attempts_max: 1, ..Policy::default() };
        let shape = Shape { timeout: Duration::from_secs(5), policy, ..Shape::default() };
        let tally = Tally::default();
        Caller::connect(&self.league, HOME, shape.workers, &shape, &load.record, &tally).await
    }

    /// A write is refused for want of room, with a code that says so.
    async fn refuses(&self, load: &Load) {
        let deadline = Instant::now() + BACK_WITHIN;
        let caller = self.once(load).await;
        loop {
            let refused =
                caller.receive(request::receive(HOME, &stock_key(HOME, 0).sku, 1)).await.err();
            if refused.as_ref().is_some_and(|failure| failure.reason().as_str() == "DISK_FULL") {
                return;
            }
            assert!(Instant::now() < deadline, "not refused: {refused:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Orders of many lines, of goods that nobody has: their entries are large, whatever comes of
    /// them. Until the victim is gone, or has had more than it has room for.
    async fn place_big(&mut self, load: &Load, victim: &str) {
        let caller = self.once(load).await;
        let line = PlaceOrderLine { description: "x".repeat(250), ..request::line("NONE", 1) };
        let stock = StockKey { sku: "NONE".to_owned(), ..stock_key(HOME, 0) };
        let asked = PlaceLine { stock: Some(stock), quantity: 1, price_minor: 255 };
        let place = || {
            let mut order = request::order("C-BIG", vec![line.clone(); ORDER_LINES_MAX]);
            order.client_reference = order.request_id.clone();
            let place = Place {
                request: order.request_id.clone(),
                reference: order.client_reference.clone(),
                lines: vec![asked.clone(); ORDER_LINES_MAX],
                total_minor: 255 * ORDER_LINES_MAX as i64,
            };
            caller.place(place, order)
        };
        for _ in 0..BIG_ORDERS / AT_ONCE {
            if self.league.has_ended(victim) {
                return;
            }
            // What counts is what they write.
            drop(futures::future::join_all((0..AT_ONCE).map(|_| place())).await);
        }
    }

    /// Linearizable reads at every gateway, while writes are refused.
    async fn reads(&self) {
        let home = HOME.parse().expect("a region name");
        for attempt in 0..12 {
            let door = self.league.doors.pick(&home, 0, attempt).expect("a gateway");
            let (region, sku) = (HOME.to_owned(), stock_key(HOME, attempt % 8).sku);
            let read = GetStockRequest { region, sku, ..Default::default() };
            let read = request::asked(|| {
                let mut inventory = door.warehouse.inventory.clone();
                let mut call = tonic::Request::new(read.clone());
                call.set_timeout(Duration::from_secs(5));
                async move { inventory.get_stock(call).await }
            });
            let read = read.await;
            assert!(read.is_ok(), "a read is refused by a full disk: {read:?}");
        }
    }
}
