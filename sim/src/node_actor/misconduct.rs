//! What a node's conduct bends on the way from its core to the world.

use fedai_protocol::message::{Draft, Message};
use fedai_protocol::{EventId, LoadPing, Receipt, SigningKey, VerifiedEvent};

use super::{Disk, NodeActor};
use crate::conduct::{NodeConduct, Passage};
use crate::scenario::Tamper;
use crate::turn::{Fact, Turn};

impl NodeActor {
    /// Lets it behave like this from now on.
    pub fn misbehave(&mut self, conduct: Box<dyn NodeConduct>) {
        self.conduct = Some(conduct);
    }

    /// True for a node that does not do what its build says.
    #[must_use]
    pub const fn is_dishonest(&self) -> bool {
        self.conduct.is_some()
    }

    pub(super) fn holds(&mut self, said: u64) -> bool {
        self.conduct.as_mut().is_some_and(|conduct| conduct.output(said) == Passage::Hold)
    }

    pub(super) fn bent_ping(&mut self, draft: Draft, turn: &mut Turn<'_>) -> Draft {
        let Some(conduct) = &mut self.conduct else { return draft };
        let created_at = draft.created_at;
        let event = self.identity.sign(draft.clone(), turn.chance);
        let Ok(ping) = LoadPing::parse(&event) else { return draft };
        let mut ping = ping.message;
        conduct.ping(&mut ping);
        ping.draft(&self.identity.public_key(), created_at).unwrap_or(draft)
    }

    pub(super) fn bent_receipt(&mut self, event: VerifiedEvent, turn: &mut Turn<'_>) -> VerifiedEvent {
        let (Some(conduct), Ok(receipt)) = (&mut self.conduct, Receipt::parse(&event)) else { return event };
        let mut receipt = receipt.message;
        conduct.receipt(&mut receipt);
        if self.further.0 > 0 {
            (receipt.seq, receipt.prev) = (receipt.seq.saturating_add(self.further.0), self.further.1);
        }
        let signed = receipt.draft(&self.identity.public_key(), turn.now.seconds());
        let event = signed.map_or(event, |draft| self.identity.sign(draft, turn.chance));
        self.further.1 = event.id();
        event
    }

    /// What follows on a receipt that is out: further ones, or another name.
    pub(super) fn after_receipt(
        &mut self,
        event: &VerifiedEvent,
        dispatch: &VerifiedEvent,
        turn: &mut Turn<'_>,
    ) {
        let charges_twice = self.tamper == Some(Tamper::DoubleCharge);
        if self.conduct.is_none() && !charges_twice {
            return;
        }
        let Ok(published) = Receipt::parse(event) else { return };
        let further = match &mut self.conduct {
            Some(conduct) => conduct.further_receipts(&published.message),
            None => vec![published.message.clone()],
        };
        let (mut seq, mut prev) = (published.message.seq, published.id);
        for receipt in further {
            seq = seq.saturating_add(1);
            let receipt = Receipt { seq, prev, ..receipt };
            if let Ok(draft) = receipt.draft(&self.identity(), turn.now.seconds()) {
                let event = self.identity.sign(draft, turn.chance);
                prev = event.id();
                self.further = (self.further.0.saturating_add(1), prev);
                self.write(&event, dispatch, turn);
            }
        }
        let is_idle = self.state(turn.now).is_some_and(|state| state.open == 0);
        if is_idle && self.conduct.as_mut().is_some_and(|conduct| conduct.sheds_identity()) {
            self.shed_identity(turn);
        }
    }

    /// The same hardware under another name.
    fn shed_identity(&mut self, turn: &mut Turn<'_>) {
        self.crash(turn.now);
        self.identity = SigningKey::generate(turn.chance);
        self.policy.node = self.identity.public_key();
        self.disk = Disk::default();
        self.further = (0, EventId::all_zeros());
        turn.facts.push(Fact::Renamed(self.identity.public_key()));
        self.start(turn);
    }
}
