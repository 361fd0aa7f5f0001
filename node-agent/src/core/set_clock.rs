//! The clock was set: what was planned by the old time would wait for as long as the clock was ahead, and what was said
//! by it was refused as too new, or replaced nothing because it was too old.
//!
//! A machine that booted with a wrong clock is the usual case. It says again all that it says of itself; jobs that were
//! under way when the clock ran back end with a code, because none of their deadlines means anything now.

use fedai_protocol::job_state::JobStep;
use fedai_protocol::receipt::Outcome;
use fedai_protocol::{Refusal, RefusalCode, UnixMicros};

use super::flood_gate::FloodGate;
use super::node_core::{Action, NodeCore};

impl NodeCore {
    /// Notes the time, and plans anew when it has run back by more than a correction, or on by more than a pause.
    pub(super) fn follow_clock(&mut self, now: UnixMicros, out: &mut Vec<Action>) {
        let latest = core::mem::replace(&mut self.latest, now);
        if now > latest.plus_seconds(PAUSE_SECONDS_MAX) {
            self.announcer.clock_was_set();
        }
        if now.plus_seconds(CORRECTION_SECONDS_MAX) >= latest {
            return;
        }
        for job in self.jobs.open_jobs() {
            let refusal = Refusal::new(RefusalCode::Timeout, "the clock of this node was set back");
            self.end_job(now, job, JobStep::Expire, Outcome::Partial, Some(refusal), out);
        }
        self.announcer.clock_was_set();
        self.announcer.drop_inbox();
        self.flood = FloodGate::default();
        self.leave = self.leave.sooner(latest.since(now));
    }
}

/// A clock that runs back by less is being corrected; deadlines are late by that, and no harm is done.
const CORRECTION_SECONDS_MAX: u64 = 60;
/// A node that announces itself hears of the time more often than this.
const PAUSE_SECONDS_MAX: u64 = 3_600;
