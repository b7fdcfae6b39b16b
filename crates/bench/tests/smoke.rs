//! The whole way once: a real region, orders through it, figures that add up.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[test]
fn orders_through_a_real_region_have_figures_and_a_cost() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-smoke");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    let mut bench = Command::new(env!("CARGO_BIN_EXE_hansa-bench"));
    bench.args(["orders", "--skus", "20", "--clients", "4", "--connections", "1"]);
    bench.args(["--seconds", "1", "--warm-up", "0", "-o", "json"]);
    bench.arg("--dir").arg(&folder).arg("--svg").arg(folder.join("svg"));
    let output = bench.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let run = &told["runs"][0];
    // At least the first order of each client, however slow the machine is.
    let phase = &run["phases"][0];
    assert!(phase["calls"].as_u64().unwrap() >= 4, "{run:#}");
    assert!(phase["p50_ms"].as_f64().unwrap() > 0.0, "no order was confirmed: {run:#}");
    let processes = run["cost"]["processes"].as_array().unwrap();
    assert_eq!(processes.len(), 4, "the client and three nodes: {run:#}");
    assert!(run["cost"]["log_syncs"].as_f64().unwrap() > 0.0, "{run:#}");
    // Counters of the groups, which are made while a node starts, are on its page.
    assert!(run["cost"]["groups"]["orders"]["entries"].as_f64().unwrap() >= 1.0, "{run:#}");
    let plot = std::fs::read_to_string(folder.join("svg/orders-4-clients.svg")).unwrap();
    assert!(plot.starts_with("<svg") && plot.ends_with("</svg>\n"));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn orders_over_streams_are_measured_beside_calls() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-smoke-stream");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    let mut bench = Command::new(env!("CARGO_BIN_EXE_hansa-bench"));
    bench.args(["orders-stream", "--skus", "20", "--clients", "3", "--connections", "1"]);
    bench.args(["--window", "4", "--beside", "2", "--seconds", "1", "--warm-up", "0"]);
    let output = bench.args(["-o", "json"]).arg("--dir").arg(&folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (run, calls) in [(0, 2), (1, 12)] {
        let phase = &told["runs"][run]["phases"][0];
        assert!(phase["calls"].as_u64().unwrap() >= calls, "{phase:#}");
        assert!(phase["p50_ms"].as_f64().unwrap() > 0.0, "no order was confirmed: {phase:#}");
    }
    assert!(told["more"]["beside_calls"][0]["orders"].as_f64().unwrap() > 0.0, "{told:#}");
    std::fs::remove_dir_all(&folder).unwrap();
}
