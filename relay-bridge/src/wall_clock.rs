//! The one place that reads the system clock.
//!
//! Time is the system's at first use plus what the monotonic clock counted since, so small corrections by NTP never
//! make it run back. When the two differ by more than `STEP`, the clock was set: the new time is taken over, in
//! either direction, and said once.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fedai_protocol::{UnixMicros, UnixSeconds};

/// A difference that is a clock being set, not a clock drifting.
const STEP: Duration = Duration::from_secs(2);

static ANCHOR: Mutex<Option<Anchor>> = Mutex::new(None);

/// The time now.
#[must_use]
pub fn now() -> UnixMicros {
    #[expect(clippy::disallowed_methods, reason = "the one clock of the process")]
    let (system, monotonic) = (SystemTime::now(), Instant::now());
    let system = system.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut slot = ANCHOR.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let anchor = slot.get_or_insert(Anchor { system, monotonic });
    let (time, stepped) = anchor.read(system, monotonic);
    if stepped {
        tracing::warn!(to_seconds = system.as_secs(), "the system clock was set; following it");
    }
    UnixMicros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// The time now, in whole seconds.
#[must_use]
pub fn now_seconds() -> UnixSeconds {
    now().seconds()
}

/// The time as it was at a begin, and what has passed since. It does not follow when the clock is set: what began has
/// deadlines by the clock that it began with.
#[derive(Clone, Copy, Debug)]
pub struct SteadyClock {
    began: UnixMicros,
    monotonic: Instant,
}

impl SteadyClock {
    /// Begins now.
    #[must_use]
    pub fn start() -> Self {
        #[expect(clippy::disallowed_methods, reason = "a point to count from, beside the one clock")]
        let monotonic = Instant::now();
        Self { began: now(), monotonic }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> UnixMicros {
        self.began.plus(u64::try_from(self.monotonic.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

struct Anchor {
    system: Duration,
    monotonic: Instant,
}

impl Anchor {
    fn read(&mut self, system: Duration, monotonic: Instant) -> (Duration, bool) {
        let computed = self.system.saturating_add(monotonic.saturating_duration_since(self.monotonic));
        if computed.abs_diff(system) <= STEP {
            return (computed, false);
        }
        *self = Self { system, monotonic };
        (system, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_correction_never_runs_back_and_a_step_is_followed() {
        #[expect(clippy::disallowed_methods, reason = "an arbitrary point to count from")]
        let start = Instant::now();
        let mut anchor = Anchor { system: Duration::from_secs(100), monotonic: start };
        let later = start + Duration::from_secs(10);
        assert_eq!(anchor.read(Duration::from_secs(109), later), (Duration::from_secs(110), false));
        assert_eq!(anchor.read(Duration::from_secs(50), later), (Duration::from_secs(50), true));
        let end = later + Duration::from_secs(1);
        assert_eq!(anchor.read(Duration::from_secs(51), end), (Duration::from_secs(51), false));
    }

    #[test]
    fn a_steady_clock_counts_on_from_where_it_began() {
        let clock = SteadyClock::start();
        let moved = SteadyClock { began: UnixMicros(5), ..clock };
        assert!(clock.now() >= clock.began && clock.now().since(clock.began) < 60_000_000);
        assert!(moved.now().0 < 60_000_005, "whatever the system says now");
    }

    #[test]
    fn it_is_later_than_the_first_release() {
        assert!(now_seconds() > UnixSeconds(1_700_000_000));
        assert!(now() <= now());
    }
}
