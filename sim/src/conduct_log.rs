//! What each node was caught at, day by day: the books that an adversary is judged by.
//!
//! A node that takes another name stays one party. Only what customers asked for is in here, nothing of accomplices.

use std::collections::BTreeMap;

use fedai_client::core::job_ending::Settlement;
use fedai_protocol::{Tokens, UnixMicros, Usage};

use crate::scenario::START;
use crate::workload::prompt::Prompt;

/// What one node was caught at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartyBook {
    /// What clients paid above the price of what was really used, in msat.
    pub overpaid_msat: u64,
    /// Receipts that clients accepted, by day.
    pub accepted: Vec<u64>,
    /// Receipts that clients disputed.
    pub disputed: u64,
    /// Proofs of misbehaviour that routers found, by code.
    pub accused: BTreeMap<&'static str, u64>,
    /// When the first word against it came, in seconds of the run.
    pub first_word_seconds: Option<u64>,
    /// Its last rank, of 100.
    pub rank: u8,
}

/// The books of all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConductLog {
    books: BTreeMap<usize, PartyBook>,
}

impl ConductLog {
    /// A client judged a receipt. `prompt` is what the job really was; none for a job of an accomplice.
    pub fn settled(
        &mut self,
        now: UnixMicros,
        node: usize,
        prompt: Option<&Prompt>,
        settlement: &Settlement,
    ) {
        let Some(prompt) = prompt else { return };
        let book = self.books.entry(node).or_default();
        let Ok(amount) = &settlement.verdict else {
            book.disputed = book.disputed.saturating_add(1);
            return book.spoken_against(now);
        };
        let used = Usage {
            input_tokens: Tokens::saturating(prompt.tokens()),
            output_tokens: Tokens::saturating(prompt.words),
            output_bytes: 1,
            ..Usage::default()
        };
        let fair = settlement.node.offer.message.price.amount(&used);
        let above = fair.map_or(0, |fair| amount.get().saturating_sub(fair.get()));
        book.overpaid_msat = book.overpaid_msat.saturating_add(above);
        let day = usize::try_from(now.since(START) / DAY_MICROS).unwrap_or(0).min(DAYS_MAX);
        if book.accepted.len() <= day {
            book.accepted.resize(day.saturating_add(1), 0);
        }
        if let Some(count) = book.accepted.get_mut(day) {
            *count = count.saturating_add(1);
        }
    }

    /// A router has proof against a node.
    pub fn accused(&mut self, now: UnixMicros, node: usize, code: &'static str) {
        let book = self.books.entry(node).or_default();
        book.spoken_against(now);
        let count = book.accused.entry(code).or_default();
        *count = count.saturating_add(1);
    }

    /// A router published a rank.
    pub fn ranked(&mut self, node: usize, rank: u8) {
        self.books.entry(node).or_default().rank = rank;
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

    /// Days that were begun.
    #[must_use]
    pub fn days(&self) -> usize {
        self.books.values().map(|book| book.accepted.len()).max().unwrap_or(0)
    }
}

impl PartyBook {
    /// Receipts accepted on a day.
    #[must_use]
    pub fn on(&self, day: usize) -> u64 {
        self.accepted.get(day).copied().unwrap_or(0)
    }

    fn spoken_against(&mut self, now: UnixMicros) {
        self.first_word_seconds.get_or_insert_with(|| now.since(START) / 1_000_000);
    }
}

const DAY_MICROS: u64 = 86_400_000_000;
/// Ten years: no run is longer.
const DAYS_MAX: usize = 3_650;
