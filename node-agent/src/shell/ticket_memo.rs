//! Tickets of recent jobs and the key agreements with them: the next job under a ticket needs one agreement and one
//! verification less.
//!
//! The rule: a ticket is remembered only for a seal that was verified, and no longer than the inbox key that its
//! agreement was made with.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fedai_protocol::job_open::{KnownTicket, OpenedJob};
use fedai_protocol::limits::NODE_JOBS_MAX;
use fedai_protocol::{JobOpen, ParseError, PublicKey, SigningKey, VerifiedEvent};

/// Tickets by inbox key and ticket key.
#[derive(Default)]
pub(super) struct TicketMemo(Mutex<BTreeMap<(PublicKey, PublicKey), KnownTicket>>);

impl TicketMemo {
    /// Opens a job.
    pub(super) fn unwrap(&self, wrap: &VerifiedEvent, inbox: &SigningKey) -> Result<OpenedJob, ParseError> {
        let to = inbox.public_key();
        let known = |ticket: &PublicKey| self.known().get(&(to, *ticket)).cloned();
        let (opened, ticket) = JobOpen::unwrap_knowing(wrap, inbox, known)?;
        let mut tickets = self.known();
        if tickets.len() >= NODE_JOBS_MAX {
            tickets.clear();
        }
        tickets.insert((to, opened.client), ticket);
        Ok(opened)
    }

    /// These inbox keys are erased.
    pub(super) fn forget(&self, inboxes: &[PublicKey]) {
        self.known().retain(|(inbox, _), _| !inboxes.contains(inbox));
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<(PublicKey, PublicKey), KnownTicket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
