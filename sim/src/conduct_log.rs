//! Who got what, day by day, and what was noticed: the books that an adversary is judged by.
//!
//! A node that takes another name stays one party. Money is what clients accepted; a disputed receipt pays nothing.

use std::collections::BTreeMap;

use fedai_client::core::job_ending::Settlement;
use fedai_protocol::{PublicKey, Tokens, UnixMicros, Usage};

use crate::scenario::START;
use crate::workload::prompt::Prompt;
use crate::world::Party;

/// What one node got and was caught at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartyBook {
    /// Money received for its work, in msat.
    pub income_msat: u64,
    /// What clients paid above the price of what was really used, in msat.
    pub overpaid_msat: u64,
    /// Receipts that clients accepted, by day.
    pub accepted: Vec<u64>,
    /// Receipts that clients disputed.
    pub disputed: u64,
    /// Proofs of misbehaviour that the router found, by code.
    pub accused: BTreeMap<&'static str, u64>,
    /// When the first word against it came, in seconds of the run.
    pub first_word_seconds: Option<u64>,
    /// Names that it has had.
    pub names: u64,
}

/// The books of all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConductLog {
    owners: BTreeMap<PublicKey, usize>,
    books: BTreeMap<usize, PartyBook>,
}

impl ConductLog {
    /// A node goes by this name from now on.
    pub fn named(&mut self, name: PublicKey, party: Party) {
        if let Party::Node(index) = party {
            self.owners.insert(name, index);
            let book = self.books.entry(index).or_default();
            book.names = book.names.saturating_add(1);
        }
    }

    /// A client judged a receipt. `prompt` is what the job really was.
    pub fn settled(&mut self, now: UnixMicros, prompt: Option<&Prompt>, settlement: &Settlement) {
        let Some(book) = self.book(&settlement.node.node) else { return };
        let Ok(amount) = &settlement.verdict else {
            book.disputed = book.disputed.saturating_add(1);
            book.spoken_against(now);
            return;
        };
        let price = settlement.node.offer.message.price;
        let fair = prompt.and_then(|prompt| {
            price.amount(&Usage {
                input_tokens: Tokens::saturating(prompt.tokens()),
                output_tokens: Tokens::saturating(prompt.words),
                output_bytes: 1,
                ..Usage::default()
            })
        });
        let above = fair.map_or(0, |fair| amount.get().saturating_sub(fair.get()));
        book.income_msat = book.income_msat.saturating_add(amount.get());
        book.overpaid_msat = book.overpaid_msat.saturating_add(above);
        let day = usize::try_from(now.since(START) / DAY_MICROS).unwrap_or(0).min(DAYS_MAX);
        if book.accepted.len() <= day {
            book.accepted.resize(day.saturating_add(1), 0);
        }
        if let Some(count) = book.accepted.get_mut(day) {
            *count = count.saturating_add(1);
        }
    }

    /// The router has proof against a node.
    pub fn accused(&mut self, now: UnixMicros, node: &PublicKey, code: &'static str) {
        if let Some(book) = self.book(node) {
            book.spoken_against(now);
            let count = book.accused.entry(code).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// The book of a node.
    #[must_use]
    pub fn of(&self, index: usize) -> Option<&PartyBook> {
        self.books.get(&index)
    }

    /// All books, by node.
    pub fn books(&self) -> impl Iterator<Item = (usize, &PartyBook)> {
        self.books.iter().map(|(index, book)| (*index, book))
    }

    fn book(&mut self, name: &PublicKey) -> Option<&mut PartyBook> {
        self.owners.get(name).and_then(|index| self.books.get_mut(index))
    }
}

impl PartyBook {
    fn spoken_against(&mut self, now: UnixMicros) {
        self.first_word_seconds.get_or_insert(now.since(START) / 1_000_000);
    }
}

const DAY_MICROS: u64 = 86_400_000_000;
/// Ten years: no run is longer.
const DAYS_MAX: usize = 3_650;
