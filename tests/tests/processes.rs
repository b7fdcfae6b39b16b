//! Real processes: the books survive a second replay, killed leaders, and a full stop.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hansa::replay::core::synthetic::Shares;
use hansa::replay::drive::Options;
use hansa::replay::report::Report;
use hansa::replay::run;
use hansa_api::pb::admin::GroupKind;
use hansa_api::pb::inventory::ListStockRequest;
use hansa_api::pb::payment::ListAccountEntriesRequest;
use hansa_tests::local::PATIENCE;
use hansa_tests::processes::{Processes, binary};
use hansa_tests::request::asked;
use hansa_tests::suite;

const SAMPLE: &str = include_str!("../../data/online-retail-sample.csv");
const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];

/// The first invoices of the sample: enough to fill every region, few enough for a debug build.
fn first_rows(count: usize) -> String {
    let rows: Vec<&str> = SAMPLE.lines().take(count + 1).collect();
    rows.join("\n") + "\n"
}

async fn replay(league: &Processes, rows: &str) -> Report {
    let shares = Shares::default();
    let options = Options {
        concurrency: 16,
        run: String::new(),
        seed: shares.seed,
        quiet: true,
        memory: None,
        turns: None,
    };
    let report = run::run(rows.as_bytes(), &league.doors, &shares, &options).await;
    let report = report.expect("the replay runs");
    let surprises: Vec<_> = report.surprises.iter().map(|s| format!("{s:?}")).collect();
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
    (0..report.total().placed).for_each(|_| suite::call(false));
    report
}

/// Every stock figure of every region.
async fn stock_books(league: &Processes) -> BTreeMap<String, [i64; 5]> {
    let mut books = BTreeMap::new();
    for region in REGIONS {
        let home = region.parse().expect("a region name");
        let door = league.doors.pick(&home, 0, 0).expect("a gateway");
        let mut page_token = String::new();
        loop {
            let wanted = ListStockRequest {
                region: region.to_owned(),
                page_size: 500,
                page_token,
                ..Default::default()
            };
            let page = asked(|| {
                let mut inventory = door.warehouse.inventory.clone();
                let mut call = tonic::Request::new(wanted.clone());
                call.set_timeout(PATIENCE);
                async move { inventory.list_stock(call).await }
            });
            let page = page.await.expect("a page");
            books.extend(page.stocks.into_iter().map(|s| {
                let figures = [
                    s.available_quantity,
                    s.reserved_quantity,
                    s.committed_quantity,
                    s.quarantine_quantity,
                    s.on_hand_quantity,
                ];
                (format!("{region}/{}/{}", s.warehouse, s.sku), figures)
            }));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
    }
    books
}

/// The entries of each region's clearing accounts: how many, and what they sum to.
async fn money_books(league: &Processes) -> BTreeMap<(&'static str, &'static str), (usize, i64)> {
    let accounts = [
        ("eu-west", "GBP"),
        ("us-east", "USD"),
        ("us-east", "CAD"),
        ("ap-south", "AUD"),
        ("ap-south", "JPY"),
    ];
    let mut books = BTreeMap::new();
    for (region, currency) in accounts {
        books.insert((region, currency), clearing(league, region, currency).await);
    }
    books
}

async fn clearing(league: &Processes, region: &str, currency: &str) -> (usize, i64) {
    let home = region.parse().expect("a region name");
    let door = league.doors.pick(&home, 0, 0).expect("a gateway");
    let (mut page_token, mut entries, mut cents) = (String::new(), 0, 0);
    loop {
        let wanted = ListAccountEntriesRequest {
            region: region.to_owned(),
            account: "clearing".to_owned(),
            currency_code: currency.to_owned(),
            page_size: 500,
            page_token,
            ..Default::default()
        };
        let page = asked(|| {
            let mut payments = door.finance.payments.clone();
            let mut call = tonic::Request::new(wanted.clone());
            call.set_timeout(PATIENCE);
            async move { payments.list_account_entries(call).await }
        });
        let page = page.await.expect("a page");
        entries += page.entries.len();
        let amounts = page.entries.iter().filter_map(|entry| entry.amount.as_ref());
        cents += amounts.map(|a| a.units * 100 + i64::from(a.nanos) / 10_000_000).sum::<i64>();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return (entries, cents);
        }
    }
}

async fn invariants_hold(league: &Processes) {
    let settled = hansa::invariants::settle(&league.doors, 2 * PATIENCE).await;
    assert!(settled.all_held(), "{}", settled.lines().join("\n"));
    suite::checked("invariants that a region checks itself", settled.checked());
    suite::publish();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_replay_and_a_full_stop_change_nothing() {
    let rows = first_rows(700);
    let mut league = Processes::start("stop").await;
    let first = replay(&league, &rows).await.total();
    assert!(first.confirmed > 0 && first.placed > first.confirmed, "{first:?}");
    invariants_hold(&league).await;
    let (stock, money) = (stock_books(&league).await, money_books(&league).await);
    assert!(money.values().any(|(entries, _)| *entries > 0), "{money:?}");

    let second = replay(&league, &rows).await.total();
    assert_eq!(stock_books(&league).await, stock, "the second replay changed stock");
    assert_eq!(money_books(&league).await, money, "the second replay changed money");
    assert_eq!((second.placed, second.confirmed), (first.placed, first.confirmed));
    assert!(second.replayed > first.replayed, "nothing was answered from memory");

    league.stop_all().await;
    league.start_all();
    league.ready().await;
    // Every order is asked for again by its request: each must be known, with its outcome.
    let third = replay(&league, &rows).await.total();
    assert_eq!((third.placed, third.confirmed), (first.placed, first.confirmed));
    assert_eq!(third.replayed, second.replayed, "an order was forgotten");
    assert_eq!(stock_books(&league).await, stock, "the restart changed stock");
    suite::checked("stock books compared", 2 * stock.len());
    suite::checked("accounts compared", 2 * money.len());
    assert_eq!(money_books(&league).await, money, "the restart changed money");
    invariants_hold(&league).await;
    let copy = league.data.join("backup").display().to_string();
    let made = league.ctl(&["--region", "eu-west", "backup", "create", &copy]).output();
    let made = made.expect("hansactl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    league.stop_all().await;
    nothing_foreign_is_left(&league, &copy);
}

/// What stopped nodes, their logs and a backup hold, as the program for them reads it.
fn nothing_foreign_is_left(league: &Processes, backup_of_eu_west: &str) {
    for region in REGIONS {
        let names = league.names_in(region);
        let config = league.config(&names[0]);
        let number = config.own_region().expect("its own").number.get().to_string();
        let mut verify = Command::new(binary());
        verify.arg("verify-residency").arg("--policy").arg(&config.residency_file);
        verify.args(["--region", region, "--number", &number]);
        for name in &names {
            verify.arg("--data").arg(&league.config(name).data_dir);
            verify.arg("--trace").arg(league.log_file(name));
        }
        if region == "eu-west" {
            verify.args(["--data", backup_of_eu_west]);
        }
        let said = verify.output().expect("hansa runs");
        let text = String::from_utf8_lossy(&said.stdout);
        assert_eq!(said.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&said.stderr));
        assert!(text.contains("archive") && text.contains("trace"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_leader_of_each_group_in_a_replay_loses_nothing() {
    let rows = first_rows(1_200);
    let mut league = Processes::start("kill").await;
    let doors = league.doors.clone();
    let shares = Shares::default();
    let options = Options {
        concurrency: 8,
        run: String::new(),
        seed: shares.seed,
        quiet: true,
        memory: None,
        turns: None,
    };
    let over = AtomicBool::new(false);
    let replaying = async {
        let report = run::run(rows.as_bytes(), &doors, &shares, &options).await;
        over.store(true, Ordering::Relaxed);
        report
    };
    let (report, killed) = tokio::join!(replaying, kill_leaders(&mut league, &over));
    let report = report.expect("the replay runs to its end");
    let surprises: Vec<_> = report.surprises.iter().map(|s| format!("{s:?}")).collect();
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
    assert!(killed >= 3, "the replay was over after {killed} kills: it proves nothing");
    invariants_hold(&league).await;

    // What was acknowledged is still known: the same replay is answered from memory.
    let first = report.total();
    let again = replay(&league, &rows).await.total();
    assert_eq!((again.placed, again.confirmed), (first.placed, first.confirmed));
    league.stop_all().await;
}

/// Kills the leader of each kind of group in each region; how many died while the replay ran.
async fn kill_leaders(league: &mut Processes, over: &AtomicBool) -> usize {
    let kinds =
        [GroupKind::Orders, GroupKind::Inventory, GroupKind::Payments, GroupKind::Directory];
    let mut killed = 0;
    for kind in kinds {
        for region in REGIONS {
            let leader = league.leader(region, kind).await;
            killed += usize::from(!over.load(Ordering::Relaxed));
            league.kill(&leader);
            tokio::time::sleep(Duration::from_millis(300)).await;
            league.run(&leader);
        }
        league.ready().await;
    }
    killed
}
