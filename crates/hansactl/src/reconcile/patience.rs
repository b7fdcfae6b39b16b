//! How often what does not stand still is looked at again.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Between the first looks; later ones come rarer, for each one is work for every group.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(8);

/// One thing's time to settle: it begins when that thing was first looked at, not when the run did.
pub struct Patience {
    until: Instant,
    pause: Duration,
    looked: bool,
}

impl Patience {
    pub fn new(settle: Duration) -> Self {
        Self { until: Instant::now() + settle, pause: PAUSE, looked: false }
    }

    /// Waits for the next look; `false` when there is none. A second one there always is.
    pub async fn again(&mut self) -> bool {
        if self.looked && Instant::now() >= self.until {
            return false;
        }
        self.looked = true;
        sleep(self.pause).await;
        self.pause = (2 * self.pause).min(PAUSE_MAX);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn looks(settle: Duration) -> usize {
        let (mut patience, mut looks) = (Patience::new(settle), 0);
        while patience.again().await {
            looks += 1;
        }
        looks
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_always_a_second_look_and_later_ones_come_rarer() {
        assert_eq!(looks(Duration::ZERO).await, 1);
        let began = Instant::now();
        assert_eq!(looks(Duration::from_secs(60)).await, 10);
        assert!(began.elapsed() < Duration::from_secs(60) + PAUSE_MAX);
    }
}
