//! Every message of the fed_AI network, once.
//!
//! All that crosses a relay is a Nostr event. This crate turns events into typed messages (the only way in is
//! [`VerifiedEvent`], the only way on is [`Message::parse`]) and typed messages into signed events
//! ([`SigningKey::sign`]). It holds no clock, no socket, no disk and no randomness of its own: time and entropy are
//! arguments, so that the same inputs give the same bytes.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod address;
pub mod chunking;
pub mod crypto_counts;
pub mod decision_record;
pub mod dispatch;
pub mod domain_separation;
pub mod entropy;
mod event_id;
pub mod event_kinds;
pub mod job_open;
pub mod job_state;
pub mod limits;
pub mod load_ping;
pub mod message;
pub mod model_offer;
pub mod msat;
pub mod node_descriptor;
pub mod node_standing;
pub mod output_stream;
pub mod payment_offer;
pub mod price;
pub mod quote;
pub mod quote_request;
pub mod receipt;
pub mod receipt_ack;
pub mod receipts_file;
pub mod refusal;
pub mod replay_window;
pub mod router_profile;
pub mod sealed_session;
pub mod session_frame;
pub mod signing_key;
#[cfg(feature = "simulation")]
pub mod simulated;
pub mod swept_map;
pub mod ticket_proof;
pub mod trust_assertion;
pub mod unix_time;
pub mod usage;
pub mod usage_summary;
pub mod verified_event;

pub use address::Address;
pub use dispatch::Dispatch;
pub use entropy::Entropy;
pub use job_open::{JobId, JobOpen};
pub use load_ping::LoadPing;
pub use message::{Message, ParseError, Received};
pub use model_offer::ModelOffer;
pub use msat::{Msat, MsatPerMtok, Tokens};
pub use node_descriptor::NodeDescriptor;
pub use node_standing::NodeStanding;
pub use price::Price;
pub use quote::{Quote, QuoteReply};
pub use quote_request::QuoteRequest;
pub use receipt::Receipt;
pub use receipt_ack::ReceiptAck;
pub use refusal::{Refusal, RefusalCode};
pub use router_profile::RouterProfile;
pub use session_frame::SessionFrame;
pub use signing_key::SigningKey;
pub use trust_assertion::TrustAssertion;
pub use unix_time::{UnixMicros, UnixSeconds};
pub use usage::Usage;
pub use usage_summary::UsageSummary;
pub use verified_event::VerifiedEvent;

/// The Nostr public key type used everywhere: 32 bytes, x-only, secp256k1.
pub use nostr::{EventId, PublicKey};
