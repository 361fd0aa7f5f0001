//! A breaker per node and model: stop sending to what keeps failing, try again after a while, close on proof.
//!
//! Opens at five failures in a row or at more than half of at least ten within a minute; stays open for thirty seconds
//! times the number of openings, at most ten minutes, with jitter; half-open lets one probe through, two
//! successes close
//! it. "Busy" is not a failure: it lowers the learned cap instead, and successes raise it again (AIMD).

use fedai_protocol::UnixMicros;

/// Failures in a row that open it.
const CONSECUTIVE_MAX: u32 = 5;
/// Results within the window below which the failure share says nothing.
const WINDOW_LEAST: u32 = 10;
/// The window, in seconds; kept as two halves that take turns.
const WINDOW_SECONDS: u64 = 60;
/// Open time per opening, in seconds.
const OPEN_SECONDS: u64 = 30;
/// Longest open time, in seconds.
const OPEN_SECONDS_MAX: u64 = 600;
/// Successes in half-open that close it.
const PROBES_TO_CLOSE: u32 = 2;
/// A probe without a result is given up after this, in seconds.
const PROBE_SECONDS: u64 = 120;

/// A breaker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    consecutive: u32,
    halves: [(u32, u32); 2],
    half_since: UnixMicros,
    opened: u32,
    until: UnixMicros,
    good_probes: u32,
    probe_until: UnixMicros,
}

impl Breaker {
    /// Takes the result of a job. `jitter` in [0, 1) spreads re-openings; `may_open` is false when too large a share of
    /// the fleet is out already.
    pub fn record(&mut self, now: UnixMicros, ok: bool, jitter: f64, may_open: bool) {
        self.turn(now);
        let [(good, bad), _] = &mut self.halves;
        *(if ok { good } else { bad }) += 1;
        self.consecutive = if ok { 0 } else { self.consecutive.saturating_add(1) };
        let is_half_open = self.until.0 > 0 && self.until <= now;
        self.probe_until = UnixMicros(0);
        if is_half_open {
            if !ok {
                self.open(now, jitter);
            } else {
                self.good_probes += 1;
                if self.good_probes >= PROBES_TO_CLOSE {
                    *self = Self { opened: self.opened, ..Self::default() };
                }
            }
        } else if self.until.0 == 0 && may_open && self.has_failed() {
            self.open(now, jitter);
        }
        // A long good time forgives past openings.
        if ok && self.until.0 == 0 && self.halves.iter().map(|(good, _)| good).sum::<u32>() > 100 {
            self.opened = 0;
        }
    }

    /// A job was sent: in half-open it is the probe.
    pub fn sent(&mut self, now: UnixMicros) {
        if self.until.0 > 0 && self.until <= now {
            self.probe_until = now.plus_seconds(PROBE_SECONDS);
        }
    }

    /// When it lets a probe through; 0 when it is closed.
    #[must_use]
    pub const fn until(&self) -> UnixMicros {
        self.until
    }

    /// True while a probe is under way.
    #[must_use]
    pub fn is_probing(&self, now: UnixMicros) -> bool {
        self.probe_until > now
    }

    /// True when nothing passes.
    #[must_use]
    pub fn is_open(&self, now: UnixMicros) -> bool {
        self.until > now
    }

    fn has_failed(&self) -> bool {
        let good: u32 = self.halves.iter().map(|(good, _)| good).sum();
        let bad: u32 = self.halves.iter().map(|(_, bad)| bad).sum();
        self.consecutive >= CONSECUTIVE_MAX || (good + bad >= WINDOW_LEAST && bad > good)
    }

    fn open(&mut self, now: UnixMicros, jitter: f64) {
        self.opened = self.opened.saturating_add(1);
        let seconds = OPEN_SECONDS.saturating_mul(u64::from(self.opened)).min(OPEN_SECONDS_MAX);
        let jittered = seconds as f64 * (0.9 + 0.2 * jitter.clamp(0.0, 1.0));
        self.until = now.plus((jittered * 1e6) as u64);
        self.good_probes = 0;
        self.consecutive = 0;
        self.halves = [(0, 0); 2];
    }

    fn turn(&mut self, now: UnixMicros) {
        let age = now.since(self.half_since);
        let half = WINDOW_SECONDS * 500_000;
        if age >= half {
            let [current, _] = self.halves;
            self.halves = [(0, 0), if age < 2 * half { current } else { (0, 0) }];
            self.half_since = now;
        }
    }
}

/// How many jobs a node takes before it says busy, learned from its refusals.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LearnedCap(f64);

impl LearnedCap {
    /// The node was busy with `in_flight` jobs of ours: half of that.
    pub fn busy(&mut self, in_flight: u32) {
        let reached = f64::from(in_flight.max(1));
        let before = if self.0 > 0.0 { self.0.min(reached) } else { reached };
        self.0 = (before / 2.0).max(1.0);
    }

    /// A job went well: a little more.
    pub fn success(&mut self) {
        if self.0 > 0.0 {
            self.0 += 1.0 / self.0;
        }
    }

    /// The cap; 0 when none was learned.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> UnixMicros {
        UnixMicros(second * 1_000_000)
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_four_do_not() {
        let mut breaker = Breaker::default();
        for second in 1..=4 {
            breaker.record(at(second), false, 0.5, true);
        }
        assert!(!breaker.is_open(at(4)));
        breaker.record(at(5), false, 0.5, true);
        assert!(breaker.is_open(at(34)) && !breaker.is_open(at(35)));
    }

    #[test]
    fn more_than_half_of_ten_within_a_minute_opens_it() {
        let mut breaker = Breaker::default();
        for n in 0..10 {
            breaker.record(at(100 + n), n % 2 == 0, 0.5, true);
        }
        assert!(!breaker.is_open(at(109)), "exactly half is not more than half");
        breaker.record(at(110), false, 0.5, true);
        assert!(breaker.is_open(at(111)));
    }

    #[test]
    fn old_failures_do_not_count() {
        let mut breaker = Breaker::default();
        for n in 0..20 {
            breaker.record(at(1_000 + n * 40), n % 3 == 0, 0.5, true);
        }
        assert!(!breaker.is_open(at(2_000)));
    }

    #[test]
    fn half_open_lets_one_probe_through_and_two_successes_close_it() {
        let mut breaker = Breaker::default();
        for second in 1..=5 {
            breaker.record(at(second), false, 0.5, true);
        }
        breaker.sent(at(40));
        assert!(breaker.is_probing(at(41)));
        breaker.record(at(42), true, 0.5, true);
        assert!(!breaker.is_probing(at(42)) && breaker.until().0 > 0);
        breaker.record(at(43), true, 0.5, true);
        assert_eq!(breaker.until(), UnixMicros(0));
    }

    #[test]
    fn each_opening_lasts_longer_up_to_ten_minutes() {
        let mut breaker = Breaker::default();
        for second in 1..=5 {
            breaker.record(at(second), false, 0.5, true);
        }
        let mut now = breaker.until();
        let mut lasted = Vec::new();
        for _ in 0..30 {
            breaker.record(now, false, 0.5, true);
            lasted.push(breaker.until().since(now) / 1_000_000);
            now = breaker.until();
        }
        assert_eq!(lasted.first(), Some(&60));
        assert_eq!(lasted.last(), Some(&600));
        assert!(lasted.is_sorted());
    }

    #[test]
    fn it_does_not_open_when_too_many_are_out() {
        let mut breaker = Breaker::default();
        for second in 1..=50 {
            breaker.record(at(second), false, 0.5, false);
        }
        assert!(!breaker.is_open(at(50)));
    }

    #[test]
    fn busy_halves_the_cap_and_success_raises_it_slowly() {
        let mut cap = LearnedCap::default();
        cap.success();
        assert_eq!(cap.get(), 0.0, "nothing learned yet");
        cap.busy(8);
        assert_eq!(cap.get(), 4.0);
        for _ in 0..4 {
            cap.success();
        }
        assert!((4.8..5.0).contains(&cap.get()));
    }
}
