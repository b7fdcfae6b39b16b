//! Power cuts of a whole region, both ways: with syncs nothing is lost, without them it is.

use std::path::PathBuf;

use hansa_tests::dice::Dice;
use hansa_tests::load::Run;
use hansa_tests::lossy::{self, Faults};
use hansa_tests::power::Rig;
use hansa_tests::processes::{binary, without_sync};
use hansa_tests::{after, scale};

use crate::BACK_WITHIN;

/// Cuts the power `cycles` times; what was lost, if anything.
async fn cut(name: &str, binary: PathBuf, faults: Faults, cycles: usize) -> Result<Rig, String> {
    let (mut dice, _) = Dice::of_this_run();
    let mut rig = Rig::start_with(name, binary, faults.clone()).await;
    // What an error is about is to be looked at.
    rig.league.keep = true;
    for cycle in 0..cycles {
        rig.power_cut(cycle, &mut dice).await;
        for disk in &rig.disks {
            disk.set(faults.clone());
        }
        let lost = rig.lost().await?;
        if !lost.is_empty() {
            return Err(format!("{} acknowledged orders are lost: {lost:?}", lost.len()));
        }
    }
    rig.league.keep = false;
    rig.league.ready().await;
    Ok(rig)
}

#[tokio::test(flavor = "multi_thread")]
async fn power_cuts_of_a_whole_region_lose_nothing_that_was_acknowledged() {
    if let Some(why) = lossy::missing() {
        return scale::skipped("power cuts", &why);
    }
    let cycles = scale::cycles(3, 100);
    let cut = cut("power", binary().to_owned(), Faults::default(), cycles).await;
    let rig = cut.unwrap_or_else(|lost| panic!("{lost}"));
    let load = rig.load(cycles).await;
    load.progress(10, BACK_WITHIN).await;
    let run: Run = load.stop().await;
    println!("{cycles} power cuts; PlaceOrder: {}", run.tally.of("PlaceOrder"));
    after::check(&rig.league, &run).await;
}

/// The test above can fail: on disks that only say that they sync, it does.
#[tokio::test(flavor = "multi_thread")]
async fn on_disks_that_lie_about_syncs_a_power_cut_loses_orders() {
    if let Some(why) = lossy::missing() {
        return scale::skipped("power cuts on lying disks", &why);
    }
    let lying = Faults { lies: true, ..Faults::default() };
    let lost = cut("power-lies", binary().to_owned(), lying, 2).await.err();
    println!("as it must be: {}", lost.expect("nothing is lost: the harness proves nothing"));
}

/// Nor is it the disk: with the syncs compiled out, a good disk loses them.
#[tokio::test(flavor = "multi_thread")]
async fn with_syncs_compiled_out_a_power_cut_loses_orders() {
    if let Some(why) = lossy::missing() {
        return scale::skipped("power cuts without syncs", &why);
    }
    if !scale::full() && std::env::var_os("HANSA_WITHOUT_SYNC").is_none() {
        let why = "a second program is built for it: HANSA_FAULTS=full, or HANSA_WITHOUT_SYNC";
        return scale::skipped("power cuts without syncs", why);
    }
    let binary = without_sync().to_owned();
    let lost = cut("power-no-sync", binary, Faults::default(), 2).await.err();
    println!("as it must be: {}", lost.expect("nothing is lost: the harness proves nothing"));
}
