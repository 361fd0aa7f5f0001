//! What survives a restart: the records that the core asks for, and the form in which they come back.

use fedai_protocol::message::Received;
use fedai_protocol::{Dispatch, Msat, Receipt, UnixMicros, UnixSeconds};

use super::dispute::DisputeGrade;
use super::evidence::AckHeard;

/// A record of the journal, with the time at which it was acted on first.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Time.
    pub at: UnixMicros,
    /// Record.
    pub record: RestoredRecord,
}

/// A journal as it is read: part by part, since it may be larger than memory.
#[derive(Clone, Debug)]
pub enum Restoring {
    /// Since when it is complete. Comes first.
    Since(UnixSeconds),
    /// The next record.
    Record(Box<Restored>),
    /// There are no more.
    End,
}

impl Restoring {
    /// All parts of a journal that is in memory.
    pub fn all(
        since: UnixSeconds,
        records: impl IntoIterator<Item = Restored>,
    ) -> impl Iterator<Item = Self> {
        let records = records.into_iter().map(|record| Self::Record(Box::new(record)));
        core::iter::once(Self::Since(since)).chain(records).chain([Self::End])
    }
}

/// What the journal keeps.
#[derive(Clone, Debug)]
pub enum RestoredRecord {
    /// A ticket of ours.
    Dispatch {
        /// The ticket.
        dispatch: Received<Dispatch>,
        /// How unlikely its draw was, in thousandths.
        luck_permille: u16,
    },
    /// A receipt under a ticket of ours.
    Receipt(Received<Receipt>),
    /// A client's word on one.
    Acknowledged(AckHeard),
    /// A receipt that showed a fork of its node's chain.
    Fork(Received<Receipt>),
}

/// The kinds of journal records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JournalKind {
    /// A ticket of ours.
    Dispatch {
        /// How unlikely its draw was, in thousandths.
        luck_permille: u16,
    },
    /// A receipt under a ticket of ours.
    Receipt,
    /// Somebody's word on one, without weight; the receipt inside was news.
    Ack,
    /// The word of the ticket's client on one.
    ProvenAck {
        /// What was found of it if it is a dispute.
        grade: DisputeGrade,
        /// What it had paid by then, as a payment rail has verified.
        paid: Msat,
    },
    /// A receipt that showed a fork.
    Fork,
}
