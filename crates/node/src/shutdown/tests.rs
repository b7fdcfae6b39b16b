use std::process::Command;

use super::*;

#[tokio::test]
async fn the_first_signal_asks_for_a_drain_and_stops_no_task_itself() {
    let tasks = Tasks::new("n1");
    let asked = on_signals(&tasks).unwrap();
    assert!(!asked.is_cancelled());
    let pid = std::process::id().to_string();
    let kill = format!("kill -TERM {pid}");
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    asked.cancelled().await;
    assert!(!tasks.stop_token().is_cancelled());
}
