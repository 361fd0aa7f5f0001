//! Key agreements with the tickets of recent jobs: the next job under a ticket needs one less.
//!
//! The rule: an agreement is remembered only for a seal that was verified, and no longer than the inbox key that it was
//! made with.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fedai_protocol::job_open::OpenedJob;
use fedai_protocol::limits::NODE_JOBS_MAX;
use fedai_protocol::sealed_session::Conversation;
use fedai_protocol::{JobOpen, ParseError, PublicKey, SigningKey, VerifiedEvent};

/// Agreements by inbox key and ticket.
#[derive(Default)]
pub(super) struct TicketMemo(Mutex<BTreeMap<(PublicKey, PublicKey), Conversation>>);

impl TicketMemo {
    /// Opens a job.
    pub(super) fn unwrap(&self, wrap: &VerifiedEvent, inbox: &SigningKey) -> Result<OpenedJob, ParseError> {
        let to = inbox.public_key();
        let known = |ticket: &PublicKey| self.agreements().get(&(to, *ticket)).cloned();
        let (opened, agreement) = JobOpen::unwrap_knowing(wrap, inbox, known)?;
        let mut agreements = self.agreements();
        if agreements.len() >= NODE_JOBS_MAX {
            agreements.clear();
        }
        agreements.insert((to, opened.client), agreement);
        Ok(opened)
    }

    /// These inbox keys are erased.
    pub(super) fn forget(&self, inboxes: &[PublicKey]) {
        self.agreements().retain(|(inbox, _), _| !inboxes.contains(inbox));
    }

    fn agreements(&self) -> MutexGuard<'_, BTreeMap<(PublicKey, PublicKey), Conversation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
