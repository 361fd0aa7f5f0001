//! The events of one job, counted where they all pass: on the relay.

use std::collections::BTreeMap;
use std::time::Duration;

use fedai_protocol::event_kinds::{
    EPHEMERAL_GIFT_WRAP, QUOTE, QUOTE_REQUEST, RECEIPT, RECEIPT_ACK, SESSION_FRAME,
};
use fedai_relay_bridge::{RelayRole, filters};

use crate::processes::Network;
use crate::purchase;

const JOBS: u32 = 50;
const KINDS: [(&str, u16); 6] = [
    ("quote request", QUOTE_REQUEST),
    ("quote", QUOTE),
    ("job open", EPHEMERAL_GIFT_WRAP),
    ("session frame", SESSION_FRAME),
    ("receipt", RECEIPT),
    ("receipt ack", RECEIPT_ACK),
];

/// Events a job.
pub struct EventCounts {
    pub frames: f64,
}

/// Listens to everything while jobs with and without a fresh ticket run one after another; prints the counts.
pub async fn count(network: &Network) -> EventCounts {
    let (tap, _) = network.buyer("tap").await;
    let kinds = KINDS.map(|(_, kind)| kind);
    let mut all = tap.pool().subscribe(RelayRole::Stream, vec![filters::of_kinds(&kinds)]);
    all.ready(Duration::from_secs(5)).await;
    // What the relay had stored before comes first.
    drain(&mut all).await;
    let (buyer, contacts) = network.buyer("counted").await;
    let mut columns = Vec::new();
    for is_cold in [true, false] {
        let mut held = None;
        if !is_cold {
            held = Some(purchase::buy(&buyer, &contacts, None).await.unwrap().1);
            drain(&mut all).await;
        }
        for _ in 0..JOBS {
            let (_, ticket) = purchase::buy(&buyer, &contacts, held.take()).await.unwrap();
            held = Some(ticket).filter(|_| !is_cold);
        }
        columns.push(drain(&mut all).await);
    }
    buyer.close().await;
    tap.close().await;
    println!(
        "\n### Events of one job on the relay (mean of {JOBS})\n\n| event | cold | warm |\n|---|---|---|"
    );
    let mean = |column: &BTreeMap<u16, u32>, kind: u16| {
        f64::from(column.get(&kind).copied().unwrap_or_default()) / f64::from(JOBS)
    };
    for (name, kind) in KINDS {
        println!("| {name} | {:.2} | {:.2} |", mean(&columns[0], kind), mean(&columns[1], kind));
    }
    EventCounts { frames: mean(&columns[0], SESSION_FRAME) }
}

/// Everything that comes until nothing more does.
async fn drain(all: &mut fedai_relay_bridge::Subscription) -> BTreeMap<u16, u32> {
    let mut counts = BTreeMap::new();
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(400), all.recv()).await {
        *counts.entry(event.kind()).or_default() += 1;
    }
    counts
}
