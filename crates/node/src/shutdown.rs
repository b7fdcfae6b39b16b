//! Ctrl-C and SIGTERM: the first asks for a drain, the second ends the process at once.

#[cfg(test)]
mod tests;

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::tasks::Tasks;

/// What shells report for a process ended by Ctrl-C.
const EXIT_CODE: i32 = 130;

/// Listens for signals from now on; the token is cancelled by the first.
///
/// The token is not the tasks' stop token: listeners drain first, then groups, then tasks.
pub fn on_signals(tasks: &Tasks) -> io::Result<CancellationToken> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let asked = CancellationToken::new();
    let token = asked.clone();
    // Must outlive the drain, or a second Ctrl-C during a slow one would do nothing.
    tasks.spawn_untracked(async move {
        let name = next(&mut interrupts, &mut terminations).await;
        tracing::info!(signal = name, "draining; a second signal exits now");
        asked.cancel();
        let name = next(&mut interrupts, &mut terminations).await;
        eprintln!("hansa: second signal ({name}): exits without draining");
        std::process::exit(EXIT_CODE);
    });
    Ok(token)
}

async fn next(interrupts: &mut Signal, terminations: &mut Signal) -> &'static str {
    tokio::select! {
        biased;
        _ = interrupts.recv() => "SIGINT",
        _ = terminations.recv() => "SIGTERM",
    }
}
