//! A limit for everything, in one place, each with its reason.
//!
//! A queue, a map, a message or a wait without a constant here is a bug. The refusing path of each is tested at the
//! limit and one past it.

/// Largest event accepted from a relay, in bytes of JSON: strfry's default `maxEventSize`, the strictest in wide use.
pub const EVENT_BYTES_MAX: usize = 65_536;
/// Most tags on one event; an offer carries about fifty, so this leaves room and bounds the work of a hostile one.
pub const EVENT_TAGS_MAX: usize = 96;
/// Longest single tag value: strfry refuses single-letter values above 1,024 bytes. `spec` and `receipt` are exempt.
pub const TAG_VALUE_BYTES_MAX: usize = 1_024;
/// Largest `spec` tag: holds the machine form of a descriptor or an offer, well under a kilobyte in practice.
pub const SPEC_TAG_BYTES_MAX: usize = 16_384;

/// How far in the future `created_at` may be, in seconds: strict relays allow 900, we trust clocks less.
pub const FUTURE_SECONDS_MAX: u64 = 300;
/// Oldest ephemeral event that is acted on, in seconds: strfry refuses older than 60, a slow relay adds some.
pub const EPHEMERAL_AGE_SECONDS_MAX: u64 = 90;
/// Oldest addressable announcement that is read, in seconds: offers are re-published daily, three days cover an
/// outage.
pub const ANNOUNCEMENT_AGE_SECONDS_MAX: u64 = 3 * 86_400;
/// How long ids are remembered, in seconds: longer than age and future windows together, so no replay fits between.
pub const REPLAY_MEMORY_SECONDS: u64 = 600;
/// Most ids remembered by one replay window: 600 s at 400 events a second.
pub const REPLAY_IDS_MAX: usize = 240_000;
/// Furthest a gift wrap is backdated, in seconds: strict relays refuse ephemerals older than 60.
pub const WRAP_BACKDATE_SECONDS_MAX: u64 = 30;

/// Longest a quote lives, in seconds. A node honours its own offers for at least this long after replacing them.
pub const QUOTE_SECONDS_MAX: u64 = 60;
/// Longest a dispatch ticket lives, in seconds: a conversation, not a subscription.
pub const DISPATCH_SECONDS_MAX: u64 = 900;
/// Most jobs one ticket covers.
pub const DISPATCH_USES_MAX: u16 = 64;
/// Nodes named by one quote: the choice and two fallbacks.
pub const QUOTE_NODES_MAX: usize = 3;
/// Candidates kept in a decision record that travels; the router keeps its own record whole.
pub const DECISION_CANDIDATES_MAX: usize = 16;
/// Lease of a node descriptor, in seconds; re-published three times within it.
pub const DESCRIPTOR_LEASE_SECONDS: u64 = 900;
/// How long a node honours an offer that it has replaced, in seconds: a quote's life and a dispatch's on top of it.
pub const OFFER_HONOUR_SECONDS: u64 = QUOTE_SECONDS_MAX + DISPATCH_SECONDS_MAX;

/// Largest plaintext sealed in one event: the next padding step above would not fit a 64 KiB relay.
pub const SEALED_PLAINTEXT_BYTES_MAX: usize = 32_768;
/// Largest job-open rumor: two layers of NIP-44 over it stay under [`EVENT_BYTES_MAX`] (computed in
/// `job_open`'s tests).
pub const JOB_OPEN_BYTES_MAX: usize = 24_576;
/// Largest request carried inside the job open; anything above travels in chunks after `accept`.
pub const INLINE_REQUEST_BYTES_MAX: usize = 12_288;
/// Bytes of one bulk chunk before base64: with JSON around it stays under [`SEALED_PLAINTEXT_BYTES_MAX`].
pub const BULK_CHUNK_BYTES: usize = 21_504;
/// Largest request body in all: a full context of a large model with a few images.
pub const REQUEST_BYTES_MAX: usize = 16 * 1_048_576;
/// Largest output of one job, in bytes: 128 k tokens at a generous 16 bytes each.
pub const OUTPUT_BYTES_MAX: usize = 2 * 1_048_576;
/// Largest text in one output frame: leaves room for JSON escaping (worst case two bytes for one).
pub const OUTPUT_CHUNK_BYTES_MAX: usize = 12_288;
/// Frames out of order that a receiver holds while waiting for the missing one.
pub const REORDER_FRAMES_MAX: usize = 512;
/// Frames that a node sends ahead of the client's acknowledgement before it lets its runner wait: four times what a
/// client acknowledges at once, and half of what it holds.
pub const UNACKED_FRAMES_MAX: u64 = 256;
/// Frames a sender keeps for `resume`: more than any output that fits [`OUTPUT_BYTES_MAX`] at normal chunk sizes.
pub const RESUME_FRAMES_MAX: usize = 16_384;

/// Longest model name, node name, slug or region, in bytes: strfry does not index tag values above 255.
pub const NAME_BYTES_MAX: usize = 128;
/// Most relays, gateways, mints or regions in one announcement.
pub const ANNOUNCED_URLS_MAX: usize = 8;
/// Longest URL in an announcement.
pub const URL_BYTES_MAX: usize = 255;
/// Steps of the price ladder per side; relays have no range queries, twelve 1-2-5 steps are four decades.
pub const PRICE_LADDER_STEPS: usize = 12;
/// Largest tokens field anywhere: four billion is beyond any context and keeps price arithmetic far from overflow.
pub const TOKENS_MAX: u64 = u32::MAX as u64;
/// Largest price, in msat per million tokens: a thousand bitcoin per million tokens is a typing error.
pub const PRICE_MSAT_PER_MTOK_MAX: u64 = 100_000_000_000_000;
/// Largest amount in one message: stays exact in JSON numbers of every language (2^53).
pub const AMOUNT_MSAT_MAX: u64 = 9_007_199_254_740_991;
/// Longest human text in a refusal.
pub const REFUSAL_TEXT_BYTES_MAX: usize = 512;
/// Largest receipt event, in bytes of JSON: a receipt is about 2 kB; one that is larger would not fit into its own
/// acknowledgement and a receipts file beside its ticket.
pub const RECEIPT_EVENT_BYTES_MAX: usize = 8_192;
/// Longest line of a receipts file: a receipt, its acknowledgement and its dispatch.
pub const RECEIPTS_LINE_BYTES_MAX: usize = 32_768;
/// Longest ticket proof in an acknowledgement: a key and a signature, sealed, are 432 bytes of base64.
pub const TICKET_PROOF_BYTES_MAX: usize = 512;
/// Receipt identifiers under one usage summary.
pub const SUMMARY_RECEIPTS_MAX: usize = 100_000;

/// Offers in one standing: at half a kilobyte each they stay far below [`SEALED_PLAINTEXT_BYTES_MAX`].
pub const STANDING_OFFERS_MAX: usize = 16;
/// Filter codes counted for one offer of a standing: there are half as many.
pub const STANDING_CODES_MAX: usize = 32;
/// Standings that a router sends in one summary period: a signature and a key agreement each, a hundredth of a second
/// of one core in all; with more nodes than that each has its turn later.
pub const STANDINGS_PER_PERIOD_MAX: usize = 256;
/// How long a standing is worth reading, in seconds: an operator looks in the evening at what happened by day.
pub const STANDING_SECONDS: u64 = 43_200;
/// Routers whose standings a node keeps: the first ones, so that strangers cannot crowd them out.
pub const NODE_STANDINGS_MAX: usize = 32;
/// Other routers that a router names when it has to refuse.
pub const QUOTE_PEERS_MAX: usize = 4;
/// Earliest that a second attempt may be begun beside a slow first one, in milliseconds: sooner is impatience.
pub const HEDGE_MS_MIN: u64 = 50;

/// Nodes a router keeps in memory.
pub const ROUTER_NODES_MAX: usize = 20_000;
/// Offers one node may have live at once.
pub const NODE_OFFERS_MAX: usize = 64;
/// Quotes and dispatches a router remembers at once.
pub const ROUTER_OPEN_QUOTES_MAX: usize = 100_000;
/// Receipts a router's ledger holds in memory per node before it folds them into the summary.
pub const ROUTER_RECEIPTS_PER_NODE_MAX: usize = 4_096;
/// Decision records a router keeps for `explain`.
pub const ROUTER_DECISIONS_MAX: usize = 10_000;
/// Jobs a node holds at once, running and queued.
pub const NODE_JOBS_MAX: usize = 1_024;
/// Finished jobs a node remembers so that a repeated open gets its answer instead of a second run.
pub const NODE_FINISHED_JOBS_MAX: usize = 4_096;
/// Dispatches whose uses a node counts at once.
pub const NODE_TICKETS_MAX: usize = 65_536;
/// Jobs one ticket key may have in flight at a node: a client is one person or one app.
pub const NODE_JOBS_PER_CLIENT_MAX: usize = 16;

/// Events waiting to be written to one relay.
pub const RELAY_OUTBOUND_EVENTS_MAX: usize = 4_096;
/// Events waiting for one subscriber inside the process.
pub const SUBSCRIPTION_EVENTS_MAX: usize = 16_384;
/// Events in the durable outbox.
pub const OUTBOX_EVENTS_MAX: usize = 65_536;
/// Subscription ids of one process: no connection needs more than a gateway allows.
pub const RELAY_SUBSCRIPTIONS_MAX: usize = GATEWAY_SUBSCRIPTIONS_MAX;
/// Of those for prompt traffic on relays, so many have one listener; further ones share
/// [`RELAY_SHARED_SUBSCRIPTIONS_MAX`] for each of two roles. Public relays allow a connection 20 to 200: 16 leave room.
pub const RELAY_SUBSCRIPTIONS_ALONE_MAX: usize = 12;
/// Ids of one role that many jobs share.
pub const RELAY_SHARED_SUBSCRIPTIONS_MAX: usize = 2;
/// Keys in one shared request: 17 KB, below what the strictest relays take as a message (64 KiB).
pub const RELAY_SHARED_KEYS_MAX: usize = 256;
/// Longest journal record.
pub const JOURNAL_RECORD_BYTES_MAX: usize = 1_048_576;

/// Connections to a node's gateway at once: one for each client, whatever the number of its jobs.
pub const GATEWAY_CONNECTIONS_MAX: usize = 1_024;
/// Subscriptions of one connection to a gateway: one for each job under way, and a busy endpoint has many.
pub const GATEWAY_SUBSCRIPTIONS_MAX: usize = 256;
/// Keys (`#p`) in one subscription at a gateway: a client listens for its own sessions and for nobody else's. With the
/// two below, a stranger's subscription is a few kilobytes of memory.
pub const GATEWAY_FILTER_KEYS_MAX: usize = 16;
/// Kinds in one filter at a gateway, which has four.
pub const GATEWAY_FILTER_KINDS_MAX: usize = 16;
/// Ids, authors and tag values in one filter at a gateway.
pub const GATEWAY_FILTER_VALUES_MAX: usize = 64;
/// Unsent bytes of one connection to a gateway: two answers of the largest size. What does not fit is asked for again.
pub const GATEWAY_QUEUE_BYTES_MAX: usize = 2 * OUTPUT_BYTES_MAX;
/// Messages that one connection may send to a gateway in a minute: an endpoint with a thousand jobs a second sends
/// three for each. Verifying that many takes a sixth of a core. A faster one is read more slowly, nothing is refused.
pub const GATEWAY_EVENTS_PER_MINUTE: u32 = 240_000;
/// Events that wait for the node behind its gateway; connections wait while it is full.
pub const GATEWAY_INBOX_EVENTS_MAX: usize = 1_024;
/// Events of its own that a gateway shows: announcements and the newest receipts.
pub const GATEWAY_STORED_EVENTS_MAX: usize = 4_096;
/// Events in one answer of a gateway: a page for a browser, not an export.
pub const GATEWAY_QUERY_EVENTS_MAX: usize = 500;
/// Silence after which a gateway ends a connection, in seconds: our clients ping every 15.
pub const GATEWAY_SILENCE_SECONDS: u64 = 60;
/// Gateways that one client keeps connections to; the least recently used one is left first.
pub const CLIENT_GATEWAYS_MAX: usize = 16;
/// Nodes that a client passes over because they have just gone or broken, the latest ones: with those that its user
/// ignores they fit the constraints of a quote request.
pub const CLIENT_LOST_NODES_MAX: usize = 64;
/// How long a job waits for the connection to a gateway before it goes through relays, in milliseconds: three round
/// trips between continents. The connection goes on being made for the next job.
pub const GATEWAY_CONNECT_WAIT_MS: u64 = 750;
