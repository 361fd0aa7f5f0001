//! Receipts for tests: key and id are a byte repeated, the ticket and its parties are always the same.

use fedai_protocol::event_kinds::MODEL_OFFER;
use fedai_protocol::message::Received;
use fedai_protocol::payment_offer::{Balance, PaymentMethod};
use fedai_protocol::receipt::{Outcome, ReceiptPayment};
use fedai_protocol::{Address, EventId, JobId, Msat, PublicKey, Receipt, UnixSeconds, Usage};

pub(super) const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
/// The router of the ticket.
pub(super) const ROUTER: u8 = 201;
/// The client of the ticket.
pub(super) const CLIENT: u8 = 202;
/// The ticket.
pub(super) const TICKET: u8 = 200;

pub(super) fn key(n: u8) -> PublicKey {
    PublicKey::from_byte_array([n; 32])
}

pub(super) fn id(n: u8) -> EventId {
    EventId::from_byte_array([n; 32])
}

/// A complete job under the ticket.
pub(super) fn receipt_of(node: u8, event: u8, at: UnixSeconds) -> Received<Receipt> {
    let message = Receipt {
        job: JobId(id(event)),
        dispatch: id(TICKET),
        router: key(ROUTER),
        client: key(CLIENT),
        offer: id(100 + node),
        offer_address: Address { kind: MODEL_OFFER, author: key(node), identifier: "smol".into() },
        model: "smol".into(),
        model_digest: None,
        usage: Usage::default(),
        ttft_ms: 1,
        wall_ms: 2,
        outcome: Outcome::Complete,
        amount: Msat::ZERO,
        payment: ReceiptPayment {
            method: PaymentMethod::Free,
            cumulative: Balance::default(),
            tickets: vec![],
            released: vec![],
        },
        commitment: "ab".repeat(32),
        frames: 1,
        seq: 0,
        prev: EventId::all_zeros(),
    };
    Received::simulated(message, key(node), id(event), at)
}
