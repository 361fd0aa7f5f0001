//! The clock was set back: what was planned or measured by the old time would hold for as long as the clock was ahead.

use fedai_protocol::UnixMicros;

use super::RouterCore;
use super::announcing::Announcing;
use super::quote_desk::QuoteDesk;

impl RouterCore {
    /// Notes the time, and plans anew when it has run back by more than a correction. Tickets, sums and trust stay.
    pub(super) fn follow_clock(&mut self, now: UnixMicros) {
        let latest = core::mem::replace(&mut self.latest, now);
        if now.plus_seconds(CORRECTION_SECONDS_MAX) >= latest {
            return;
        }
        (self.next_tick, self.next_refresh, self.next_summary) = (now, now, now);
        // Buckets that were filled in the future would not fill again before it.
        self.desk = QuoteDesk::new(self.terms.identity, self.terms.quotes.clone());
        self.announcing = Announcing::new(self.terms.introduction.clone());
        self.registry.clock_went_back(now);
    }
}

/// A clock that runs back by less is being corrected; ticks are late by that, and no harm is done.
const CORRECTION_SECONDS_MAX: u64 = 60;
