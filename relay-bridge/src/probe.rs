//! Finds out what a relay really does, before anything relies on it: relays differ from each other and from their own
//! description.
//!
//! Works with throwaway keys. Its stored test events expire within a minute, and a deletion is asked for as well.

use std::time::Duration;

use fedai_protocol::event_kinds::{self, SESSION_FRAME, STORED};
use fedai_protocol::limits::EVENT_BYTES_MAX;
use fedai_protocol::message::Draft;
use fedai_protocol::{SigningKey, VerifiedEvent};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::entropy::SystemEntropy;
use crate::filters;
use crate::raw_relay::{RawRelay, Verdict};
use crate::relay_address::RelayAddress;
use crate::stream_connection::install_crypto;
use crate::wall_clock;

/// Round trips measured.
const ROUND_TRIPS: usize = 15;
/// Smallest event tried for the size limit, in bytes of JSON.
const SMALL_EVENT: usize = 2_048;
/// Precision of the size limit.
const SIZE_STEP: usize = 1_024;
/// Bytes of a relay's description that are read.
const DOCUMENT_BYTES_MAX: usize = 65_536;
const DELETION: u16 = 5;

/// What was found out.
#[derive(Clone, Debug, Serialize)]
pub struct ProbeReport {
    /// Relay.
    pub url: String,
    /// Can this network use it at all?
    pub usable: bool,
    /// Milliseconds to an open websocket.
    pub connect_ms: Option<f64>,
    /// Why it could not be used.
    pub error: Option<String>,
    /// Software, from its description (NIP-11).
    pub software: Option<String>,
    /// The whole description.
    pub document: Option<Value>,
    /// Our stored kinds, and whether each is taken.
    pub stored_kinds: Vec<KindVerdict>,
    /// Does a stored event come back?
    pub stored_events_found: Option<bool>,
    /// Are ephemeral events passed on to a second connection?
    pub ephemerals_forwarded: Option<bool>,
    /// Does it say OK to them?
    pub ephemerals_acknowledged: Option<bool>,
    /// Largest event passed on, in bytes of JSON; this network needs 65,536.
    pub event_bytes_max: Option<usize>,
    /// Milliseconds from publishing to receiving, median.
    pub round_trip_ms_p50: Option<f64>,
    /// The same, slowest of the sample.
    pub round_trip_ms_max: Option<f64>,
    /// Roles that fit what was found.
    pub roles: Vec<&'static str>,
}

/// Is a kind taken?
#[derive(Clone, Debug, Serialize)]
pub struct KindVerdict {
    /// Kind.
    pub kind: u16,
    /// Its name.
    pub name: &'static str,
    /// Taken?
    pub taken: bool,
    /// The relay's reason, if not.
    pub reason: Option<String>,
}

/// Probes one relay; `timeout` bounds each single wait.
pub async fn probe(address: &RelayAddress, timeout: Duration) -> ProbeReport {
    let mut report = ProbeReport::new(address);
    let started = Instant::now();
    let (mut one, mut two) =
        match (RawRelay::open(address, timeout).await, RawRelay::open(address, timeout).await) {
            (Ok(one), Ok(two)) => (one, two),
            (Err(error), _) | (_, Err(error)) => {
                report.error = Some(error.to_string());
                return report;
            }
        };
    report.connect_ms = Some(millis(started.elapsed()) / 2.0);
    report.document = document(address, timeout).await;
    report.software = report.document.as_ref().and_then(software);
    report.ephemerals(&mut one, &mut two, timeout).await;
    if report.ephemerals_forwarded == Some(true) {
        report.event_bytes_max = size_limit(address, timeout).await;
    }
    report.stored(address, timeout).await;
    report.conclude();
    report
}

/// Is a relay there and answering? Time of one question.
pub async fn answers(address: &RelayAddress, timeout: Duration) -> Result<Duration, String> {
    let started = Instant::now();
    let mut relay = RawRelay::open(address, timeout).await.map_err(|error| error.to_string())?;
    match relay.subscribe("health", &filters::of_kinds(&[SESSION_FRAME]).limit(1), timeout).await {
        Some(_) => Ok(started.elapsed()),
        None => Err("connected, but it does not answer a question".to_owned()),
    }
}

impl ProbeReport {
    fn new(address: &RelayAddress) -> Self {
        Self {
            url: address.url().to_owned(),
            usable: false,
            connect_ms: None,
            error: None,
            software: None,
            document: None,
            stored_kinds: Vec::new(),
            stored_events_found: None,
            ephemerals_forwarded: None,
            ephemerals_acknowledged: None,
            event_bytes_max: None,
            round_trip_ms_p50: None,
            round_trip_ms_max: None,
            roles: Vec::new(),
        }
    }

    async fn ephemerals(&mut self, one: &mut RawRelay, two: &mut RawRelay, timeout: Duration) {
        let key = SigningKey::generate(&mut SystemEntropy);
        let filter = filters::of_kinds_to(&[SESSION_FRAME], [key.public_key()]);
        if two.subscribe("probe", &filter, timeout).await.is_none() {
            self.error = Some("does not answer a subscription".to_owned());
            return;
        }
        let first = ephemeral(&key, 64);
        one.send(crate::wire::publish(&first)).await;
        let forwarded = two.sees(&first, timeout).await;
        self.ephemerals_forwarded = Some(forwarded);
        if !forwarded {
            return;
        }
        let mut times = Vec::with_capacity(ROUND_TRIPS);
        for _ in 0..ROUND_TRIPS {
            let event = ephemeral(&key, 256);
            let started = Instant::now();
            if one.send(crate::wire::publish(&event)).await && two.sees(&event, timeout).await {
                times.push(millis(started.elapsed()));
            }
        }
        times.sort_by(f64::total_cmp);
        self.round_trip_ms_p50 = times.get(times.len() / 2).copied();
        self.round_trip_ms_max = times.last().copied();
        let verdict = one.publish(&ephemeral(&key, 64), Duration::from_secs(1)).await;
        self.ephemerals_acknowledged = Some(verdict == Verdict::Taken);
    }

    async fn stored(&mut self, address: &RelayAddress, timeout: Duration) {
        let Ok(mut relay) = RawRelay::open(address, timeout).await else { return };
        let key = SigningKey::generate(&mut SystemEntropy);
        let mut taken = Vec::new();
        for kind in STORED {
            let event = stored_sample(&key, kind);
            let verdict = relay.publish(&event, timeout).await;
            let reason = match verdict {
                Verdict::Taken => None,
                Verdict::Refused(reason) => Some(reason),
                Verdict::NoAnswer => Some("no answer".to_owned()),
                Verdict::Closed => Some("connection closed".to_owned()),
            };
            if reason.is_none() {
                taken.push(event);
            }
            let name = event_kinds::name(kind);
            self.stored_kinds.push(KindVerdict { kind, name, taken: reason.is_none(), reason });
        }
        if taken.is_empty() {
            return;
        }
        let filter = nostr::Filter::new().author(key.public_key());
        self.stored_events_found =
            Some(relay.subscribe("found", &filter, timeout).await.is_some_and(|count| count > 0));
        let tags = taken.iter().map(|event| vec!["e".to_owned(), event.id().to_hex()]).collect();
        let draft = Draft::new(DELETION, tags, "probe ended".to_owned(), wall_clock::now_seconds());
        // Asked politely; where it is refused, the events expire.
        drop(relay.publish(&key.sign(draft, &mut SystemEntropy), timeout).await);
    }

    fn conclude(&mut self) {
        let stores =
            self.stored_events_found == Some(true) && self.stored_kinds.iter().all(|kind| kind.taken);
        let forwards = self.ephemerals_forwarded == Some(true);
        let prompt = self.round_trip_ms_p50.is_some_and(|ms| ms < 150.0);
        let large =
            self.event_bytes_max.is_some_and(|bytes| bytes.saturating_add(SIZE_STEP) >= EVENT_BYTES_MAX);
        let fits = [("discovery", stores), ("control", forwards), ("stream", forwards && prompt && large)];
        self.roles = fits.iter().filter(|(_, fits)| *fits).map(|(role, _)| *role).collect();
        self.usable = !self.roles.is_empty();
    }
}

/// The largest self-addressed ephemeral event that comes back, by bisection.
async fn size_limit(address: &RelayAddress, timeout: Duration) -> Option<usize> {
    let (mut fits, mut fails) = (0, EVENT_BYTES_MAX + SIZE_STEP);
    let mut size = EVENT_BYTES_MAX;
    while fails.saturating_sub(fits) > SIZE_STEP {
        // A relay hangs up on what is too large: each try has a connection of its own.
        let key = SigningKey::generate(&mut SystemEntropy);
        let mut relay = RawRelay::open(address, timeout).await.ok()?;
        let filter = filters::of_kinds_to(&[SESSION_FRAME], [key.public_key()]);
        relay.subscribe("size", &filter, timeout).await?;
        let event = ephemeral(&key, size);
        let came_back = relay.send(crate::wire::publish(&event)).await && relay.sees(&event, timeout).await;
        if came_back {
            fits = size;
        } else {
            fails = size;
        }
        size = (fits + fails) / 2;
        if size < SMALL_EVENT {
            return Some(fits);
        }
    }
    Some(fits)
}

/// A self-addressed ephemeral event of this many bytes of JSON.
fn ephemeral(key: &SigningKey, bytes: usize) -> VerifiedEvent {
    let tags = vec![vec!["p".to_owned(), key.public_key().to_hex()]];
    let sign = |content: String| {
        let draft = Draft::new(SESSION_FRAME, tags.clone(), content, wall_clock::now_seconds());
        key.sign(draft, &mut SystemEntropy)
    };
    let empty = sign(String::new()).to_json().len();
    sign("A".repeat(bytes.saturating_sub(empty)))
}

fn stored_sample(key: &SigningKey, kind: u16) -> VerifiedEvent {
    let now = wall_clock::now_seconds();
    let tag = |name: &str, value: &str| vec![name.to_owned(), value.to_owned()];
    let tags = vec![
        tag("d", "probe"),
        tag("expiration", &now.plus(60).to_string()),
        tag("alt", "probe of a relay; expires"),
    ];
    let content = "probe of a relay by fed_AI; expires in a minute".to_owned();
    key.sign(Draft::new(kind, tags, content, now), &mut SystemEntropy)
}

/// The relay's own description (NIP-11), if it has a readable one.
async fn document(address: &RelayAddress, timeout: Duration) -> Option<Value> {
    install_crypto();
    let url = address.url().replacen("ws", "http", 1);
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(timeout)
        .build()
        .ok()?;
    let mut response = client.get(url).header("accept", "application/nostr+json").send().await.ok()?;
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > DOCUMENT_BYTES_MAX {
            return None;
        }
    }
    serde_json::from_slice::<Value>(&body).ok().filter(Value::is_object)
}

fn software(document: &Value) -> Option<String> {
    let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default();
    let name = text("software").rsplit('/').next().unwrap_or_default();
    let software: String = format!("{name} {}", text("version")).trim().chars().take(64).collect();
    (!software.is_empty()).then_some(software)
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}
