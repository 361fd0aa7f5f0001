//! A timer for a deadline that moves with nearly every event.
//!
//! A timer that becomes the earliest of a runtime wakes the thread that waits for sockets, by a system call. A new one
//! for each event, as `tokio::time::sleep` in a loop makes it, costs more than the event.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// Set anew only when the deadline has come nearer. Never goes off late; early where the deadline moved away.
#[derive(Debug)]
pub struct DeadlineTimer {
    sleep: Pin<Box<Sleep>>,
}

impl Default for DeadlineTimer {
    fn default() -> Self {
        Self { sleep: Box::pin(sleep(Duration::MAX)) }
    }
}

impl DeadlineTimer {
    /// Waits until the deadline, which is so far away, or until an earlier one that was waited for before. Cancel-safe.
    pub async fn wait(&mut self, away: Duration) {
        let at = Instant::now() + away;
        if self.sleep.is_elapsed() || at < self.sleep.deadline() {
            self.sleep.as_mut().reset(at);
        }
        self.sleep.as_mut().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_off_at_the_nearest_deadline_of_all() {
        let begun = Instant::now();
        let mut timer = DeadlineTimer::default();
        for (away, off) in [(500, 500), (100, 600)] {
            timer.wait(Duration::from_millis(away)).await;
            assert_eq!(begun.elapsed(), Duration::from_millis(off));
        }
        // Given up for something else: the nearer one counts, the farther one does not.
        for away in [300, 200, 900] {
            assert!(
                tokio::time::timeout(Duration::from_millis(10), timer.wait(Duration::from_millis(away)))
                    .await
                    .is_err()
            );
        }
        timer.wait(Duration::from_secs(9)).await;
        assert_eq!(begun.elapsed(), Duration::from_millis(610 + 200));
        timer.wait(Duration::from_secs(9)).await;
        assert_eq!(begun.elapsed(), Duration::from_millis(9_810), "early once only");
    }
}
