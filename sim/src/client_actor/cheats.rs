//! What a client does while a fault makes it lie.

use fedai_protocol::JobOpen;
use fedai_protocol::job_open::{RequestBody, request_hash};

use super::{ClientActor, hex};
use crate::faults::FaultKind;
use crate::turn::{Fact, Turn};
use crate::workload::prompt::Prompt;

impl ClientActor {
    /// Asks once more, as fast as it can.
    pub fn flood(&mut self, turn: &mut Turn<'_>) {
        self.faults.fired(FaultKind::ClientFloods);
        self.open_all_again(turn);
    }

    /// Sends its job open again for whatever it hears.
    pub(super) fn replay(&mut self, turn: &mut Turn<'_>) {
        if self.faults.has(FaultKind::ClientReplays) && self.replays < REPLAYS_MAX {
            self.replays = self.replays.saturating_add(1);
            self.faults.fired(FaultKind::ClientReplays);
            self.open_all_again(turn);
        }
    }

    fn open_all_again(&self, turn: &mut Turn<'_>) {
        for attempt in self.sessions.keys() {
            self.publish_open(*attempt, turn);
        }
    }

    /// Opens other work under the same ticket, session and nonce.
    pub(super) fn open_other(&mut self, attempt: u32, turn: &mut Turn<'_>) {
        if !self.faults.has(FaultKind::ClientAlters) || self.is_bulky {
            return;
        }
        let (Some(session), Some(key)) = (self.sessions.get(&attempt), self.ticket_key.real()) else {
            return;
        };
        let request = Prompt { bytes: self.prompt.bytes.saturating_add(1), ..self.prompt }.request();
        let open = JobOpen {
            request_hash: hex(&request_hash(request.as_bytes())),
            request: RequestBody::Inline(request),
            ..session.open.clone()
        };
        let (inbox, now, dispatch) = (session.inbox, turn.now.seconds(), open.dispatch.id());
        if let Ok(wrapped) = open.wrap(key, &inbox, now, now, turn.mint) {
            self.faults.fired(FaultKind::ClientAlters);
            turn.facts.push(Fact::Opened { job: wrapped.job, node: session.node, dispatch });
            turn.publish(wrapped.wrap);
        }
    }
}

/// More would only be the flood.
const REPLAYS_MAX: u32 = 20;
