//! The event kinds of protocol v1, and what NIP-01 says of their classes.
//!
//! Chosen so that nothing collides with a NIP, the registry of kinds or a known project (11434 is the usual local-LLM
//! port). Kinds of NIP-90 are not used: that NIP is marked unrecommended.

/// Addressable: a node and its lease, `d` = node name.
pub const NODE_DESCRIPTOR: u16 = 31_434;
/// Addressable: one model at one node, `d` = slug.
pub const MODEL_OFFER: u16 = 31_435;
/// Addressable: a router and its terms.
pub const ROUTER_PROFILE: u16 = 31_437;
/// Addressable: what a router counted for one node in one epoch, `d` = `node:epoch`.
pub const USAGE_SUMMARY: u16 = 31_438;
/// Addressable, sealed: what a router tells one node about its decisions, `d` = node key.
pub const NODE_STANDING: u16 = 31_439;
/// Addressable (NIP-85): a router's rank of one node, `d` = node key.
pub const TRUST_ASSERTION: u16 = 30_382;
/// Ephemeral: a node's claim about its load.
pub const LOAD_PING: u16 = 21_434;
/// Ephemeral: the shape of a job, never its prompt.
pub const QUOTE_REQUEST: u16 = 21_435;
/// Ephemeral: a router's binding answer, or its refusal.
pub const QUOTE: u16 = 21_436;
/// Ephemeral: the ticket a node requires.
pub const DISPATCH: u16 = 21_437;
/// Ephemeral: one opaque frame of a session.
pub const SESSION_FRAME: u16 = 21_438;
/// Rumor only (never published bare): the job open inside a gift wrap.
pub const JOB_OPEN: u16 = 21_439;
/// Ephemeral gift wrap (NIP-59): as 1059, but relays must not store it.
pub const EPHEMERAL_GIFT_WRAP: u16 = 21_059;
/// Seal (NIP-59).
pub const SEAL: u16 = 13;
/// Regular: a node's signed metering receipt.
pub const RECEIPT: u16 = 1_434;
/// Regular: the word of a client or a router on a receipt.
pub const RECEIPT_ACK: u16 = 1_435;

/// Every kind that this network puts on relays, for probes, mirrors and taps.
pub const ALL: [u16; 14] = [
    NODE_DESCRIPTOR,
    MODEL_OFFER,
    ROUTER_PROFILE,
    USAGE_SUMMARY,
    TRUST_ASSERTION,
    NODE_STANDING,
    LOAD_PING,
    QUOTE_REQUEST,
    QUOTE,
    DISPATCH,
    SESSION_FRAME,
    EPHEMERAL_GIFT_WRAP,
    RECEIPT,
    RECEIPT_ACK,
];

/// The kinds that relays keep (everything but the ephemeral ones).
pub const STORED: [u16; 8] = [
    NODE_DESCRIPTOR,
    MODEL_OFFER,
    ROUTER_PROFILE,
    USAGE_SUMMARY,
    TRUST_ASSERTION,
    NODE_STANDING,
    RECEIPT,
    RECEIPT_ACK,
];

/// How relays treat a kind (NIP-01).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KindClass {
    /// Stored as is.
    Regular,
    /// Only the newest of one author is kept.
    Replaceable,
    /// Passed on, never stored.
    Ephemeral,
    /// Only the newest of one author and `d` tag is kept.
    Addressable,
}

impl KindClass {
    /// The class of a kind number.
    #[must_use]
    pub const fn of(kind: u16) -> Self {
        match kind {
            0 | 3 | 10_000..=19_999 => Self::Replaceable,
            20_000..=29_999 => Self::Ephemeral,
            30_000..=39_999 => Self::Addressable,
            _ => Self::Regular,
        }
    }
}

/// A word for a kind, for people.
#[must_use]
pub const fn name(kind: u16) -> &'static str {
    match kind {
        NODE_DESCRIPTOR => "node descriptor",
        MODEL_OFFER => "model offer",
        ROUTER_PROFILE => "router profile",
        USAGE_SUMMARY => "usage summary",
        TRUST_ASSERTION => "trust assertion",
        NODE_STANDING => "node standing (sealed)",
        LOAD_PING => "load ping",
        QUOTE_REQUEST => "quote request",
        QUOTE => "quote",
        DISPATCH => "dispatch",
        SESSION_FRAME => "session frame",
        EPHEMERAL_GIFT_WRAP => "job open (sealed)",
        RECEIPT => "receipt",
        RECEIPT_ACK => "receipt acknowledgement",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_in_the_class_that_the_protocol_table_gives_it() {
        for kind in
            [NODE_DESCRIPTOR, MODEL_OFFER, ROUTER_PROFILE, USAGE_SUMMARY, TRUST_ASSERTION, NODE_STANDING]
        {
            assert_eq!(KindClass::of(kind), KindClass::Addressable, "{kind}");
        }
        for kind in [LOAD_PING, QUOTE_REQUEST, QUOTE, DISPATCH, SESSION_FRAME, JOB_OPEN, EPHEMERAL_GIFT_WRAP]
        {
            assert_eq!(KindClass::of(kind), KindClass::Ephemeral, "{kind}");
        }
        for kind in [RECEIPT, RECEIPT_ACK, SEAL] {
            assert_eq!(KindClass::of(kind), KindClass::Regular, "{kind}");
        }
    }
}
