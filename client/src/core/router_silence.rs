//! A job that ends before any router has said a word: whether those that were asked were silent, or the questions never
//! left this machine. Either is something else than nobody who offers the model.

use std::collections::BTreeSet;

use fedai_protocol::{PublicKey, QuoteRequest, Refusal, RefusalCode};

/// Why no router was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unheard {
    /// Those that were asked said nothing.
    Routers {
        /// The job's own time was over before all rounds of asking were.
        out_of_time: bool,
    },
    /// No relay took the questions.
    Relays,
}

impl Unheard {
    /// A way out, for somebody at a command line.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Routers { out_of_time: true } => {
                "give them longer with --timeout; see who is there: fedai doctor; or schedule here: --router self"
            }
            Self::Routers { out_of_time: false } => {
                "see who is there: fedai doctor; ask another one: --router KEY; or schedule here: --router self"
            }
            Self::Relays => "see which relays answer: fedai doctor; or name another one: --relay wss://HOST",
        }
    }
}

/// Who was asked in one job, until a router is heard.
#[derive(Clone, Debug, Default)]
pub(super) struct RouterSilence {
    meant: BTreeSet<PublicKey>,
    asked: BTreeSet<PublicKey>,
    is_broken: bool,
    lasted_ms: u64,
    out_of_time: bool,
}

impl RouterSilence {
    /// These questions are to be sent.
    pub(super) fn will_ask(&mut self, requests: &[QuoteRequest]) {
        self.meant.extend(requests.iter().filter_map(|request| request.router));
    }

    /// A relay took the question to this router.
    pub(super) fn asked(&mut self, router: PublicKey) {
        self.asked.insert(router);
    }

    /// A router was heard.
    pub(super) fn broken(&mut self) {
        self.is_broken = true;
    }

    /// How long the job has lasted.
    pub(super) fn lasted(&mut self, ms: u64) {
        self.lasted_ms = ms;
    }

    /// The job's time is up.
    pub(super) fn out_of_time(&mut self, ms: u64) {
        (self.out_of_time, self.lasted_ms) = (true, ms);
    }

    /// What a job is told that ends now; nothing when a router was heard, or none was to be asked.
    pub(super) fn ending(&self) -> Option<(Unheard, Refusal)> {
        if self.is_broken || self.meant.is_empty() {
            return None;
        }
        let lasted = shown(self.lasted_ms);
        let (unheard, text) = match self.asked.len() {
            0 => (Unheard::Relays, format!("no relay took a question to a router in {lasted}")),
            1 => (self.routers(), format!("1 router was asked and did not answer in {lasted}")),
            many => (self.routers(), format!("{many} routers were asked and none answered in {lasted}")),
        };
        Some((unheard, Refusal::new(RefusalCode::Timeout, text)))
    }

    const fn routers(&self) -> Unheard {
        Unheard::Routers { out_of_time: self.out_of_time }
    }
}

fn shown(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        _ => format!("{} s", ms.saturating_add(500) / 1_000),
    }
}
