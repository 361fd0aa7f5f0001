//! Slander: clients who dispute every true receipt of a rival.
//!
//! - What it does: one client in ten is a friend of the node in the seat. It takes the answers of all others, calls
//!   their receipts false, and does not pay them.
//! - What it hopes to gain: rivals lose their names, and the friend gets their work; the friends get theirs for
//!   nothing.
//! - What meets it: a word has the weight of a client that our own ticket was made for, one a job; it hits all rivals
//!   alike, so the order among them stays; and good work outweighs it. Free rides end where jobs are paid beforehand.

use fedai_protocol::receipt_ack::AckVerdict;
use fedai_protocol::{PublicKey, ReceiptAck};

use super::{Adversary, Beneficiaries};
use crate::conduct::ClientConduct;

/// The entry of the table.
pub const ADVERSARY: Adversary = Adversary {
    name: "slander",
    does: "one client in ten disputes true receipts, and does not pay them",
    hopes: "rivals lose their names; free rides",
    met_by: "router: one word a job, good work outweighs it; paying beforehand ends the free rides",
    two_routers: false,
    is_audited: false,
    cast: |_, hooks| {
        hooks.clients = Some(Box::new(Slander::default()));
        Beneficiaries::seat()
    },
};

/// One client in ten.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slander {
    words: u64,
    pays_last: bool,
}

impl ClientConduct for Slander {
    fn word(&mut self, node: &PublicKey, word: &mut ReceiptAck) {
        self.words = self.words.saturating_add(1);
        let is_hostile = self.words.is_multiple_of(ONE_IN);
        self.pays_last = !is_hostile;
        let _rival = node;
        if is_hostile {
            word.verdict = AckVerdict::Disputed("usage_bounds".to_owned());
        }
    }

    fn pays(&mut self, _node: &PublicKey) -> bool {
        self.pays_last
    }
}

/// Every tenth client.
const ONE_IN: u64 = 10;
