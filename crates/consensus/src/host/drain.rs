//! A node that is about to stop leads nothing.

use hansa_types::id::GroupId;

use super::Host;

/// Times that it is looked for what this node leads: whoever had its votes on their way may come to
/// lead meanwhile.
const LOOKS: usize = 3;

impl Host {
    /// Hands every leadership over, each within a bounded time, and stands for none again; the
    /// groups go on as followers. What was led: those handed over, and those that nobody took.
    pub async fn drain(&self) -> (Vec<GroupId>, Vec<GroupId>) {
        let groups = self.inner.inbound.groups();
        groups.iter().for_each(|running| running.retire_from_elections());
        let (mut handed, mut kept) = (Vec::new(), Vec::new());
        for _ in 0..LOOKS {
            let led = groups.iter().filter(|running| !kept.contains(&running.id));
            let led: Vec<_> = led.filter(|running| running.leads()).collect();
            if led.is_empty() {
                break;
            }
            let gone = led.iter().map(|running| running.hand_over());
            let gone = futures::future::join_all(gone).await;
            for (running, gone) in led.iter().zip(gone) {
                if gone { &mut handed } else { &mut kept }.push(running.id);
            }
        }
        handed.sort_unstable();
        handed.dedup();
        (handed, kept)
    }
}
