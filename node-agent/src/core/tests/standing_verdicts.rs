//! One sentence for each reason why no work comes.

use fedai_protocol::node_standing::UsualJob;
use fedai_protocol::trust_assertion::TrustDimensions;
use fedai_protocol::{SigningKey, Tokens, entropy::CountingEntropy};

use super::*;

const AT: UnixSeconds = UnixSeconds(1_800_000_000);

fn rank(place: u32, own: u64, median: u64) -> Option<FleetRank> {
    Some(FleetRank { place, of: 12, own, median, best: 90, is_measured: true })
}

fn offer(change: impl FnOnce(&mut OfferStanding)) -> OfferStanding {
    let mut offer = OfferStanding {
        slug: "smol".into(),
        model: "smol".into(),
        decisions: 40,
        looked_at: 40,
        not_drawn: 40,
        usual: UsualJob {
            prompt_tokens: Tokens::saturating(256),
            max_output_tokens: Tokens::saturating(512),
        },
        ..OfferStanding::default()
    };
    change(&mut offer);
    offer
}

fn check(change: impl FnOnce(&mut OfferStanding), sentence: &str, advice: &str) {
    let heard = |relay: &str, ago: Option<u64>| HeardOn {
        relay: relay.into(),
        load_ping: ago.map(|ago| AT.minus(ago)),
        descriptor: None,
    };
    let standing = NodeStanding {
        node: SigningKey::generate(&mut CountingEntropy(1)).public_key(),
        since: AT.minus(60),
        at: AT,
        lease_until: Some(AT.minus(30)),
        trust_permille: 610,
        dimensions: TrustDimensions::default(),
        receipts: 12,
        heard: vec![heard("wss://one", Some(400)), heard("wss://two", Some(190)), heard("wss://three", None)],
        offers: vec![offer(change)],
        expires_at: AT.plus(60),
    };
    let told = verdict(&standing);
    assert_eq!(told.sentence, sentence);
    assert!(told.advice.iter().any(|line| line.contains(advice)), "{advice:?} in {:?}", told.advice);
}

fn filtered(code: &str, count: u32) -> std::collections::BTreeMap<String, u32> {
    [(code.to_owned(), count)].into()
}

#[test]
fn a_stale_node_is_told_the_relay_by_which_it_was_heard_last() {
    check(
        |offer| offer.filtered = filtered("stale", 37),
        "filtered: stale, 37 of 40 times: last heartbeat 190 s before, on wss://two; none on wss://three",
        "share one with the router",
    );
}

#[test]
fn a_price_above_the_clients_ceilings_is_named_with_the_fleets() {
    check(
        |offer| {
            offer.filtered = filtered("price_ceiling", 30);
            offer.price = rank(12, 240, 140);
        },
        "filtered: price_ceiling, 30 of 40 times: a usual job of 256 + 512 tokens costs up to 240 msat with you; \
         median 140, cheapest 90",
        "--price-output",
    );
}

#[test]
fn what_loses_the_draw_is_the_rank_that_is_furthest_behind() {
    check(
        |offer| {
            offer.chosen = 1;
            offer.price = rank(9, 240, 140);
            offer.first_token = rank(3, 350, 300);
        },
        "your price is 9th of 12: 240 msat; median 140, best 90; chosen 1 of 40 times \
         (a usual job of 256 + 512 tokens)",
        "lower `--price-input`",
    );
    check(
        |offer| {
            offer.price = rank(9, 240, 140);
            offer.first_token = rank(11, 900, 300);
        },
        "your time to first token is 11th of 12: 900 ms; median 300, best 90; chosen 0 of 40 times",
        "nearer relay",
    );
}

#[test]
fn a_rare_filter_does_not_hide_what_matters_and_a_busy_node_is_told_so() {
    check(
        |offer| {
            offer.filtered = filtered("stale", 3);
            offer.price = rank(9, 240, 140);
        },
        "your price is 9th of 12: 240 msat; median 140, best 90; chosen 0 of 40 times \
         (a usual job of 256 + 512 tokens)",
        "relay-bridge probe",
    );
    let busy = offer(|offer| offer.chosen = 30);
    assert!(main_filter(&busy).is_none());
}

#[test]
fn places_are_said_as_people_say_them() {
    let said: Vec<String> = [1, 2, 3, 4, 11, 12, 13, 21, 111].into_iter().map(ordinal).collect();
    assert_eq!(said, ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "111th"]);
}

#[test]
fn every_filter_code_of_a_router_has_advice() {
    let codes = [
        "lease_expired",
        "not_active",
        "router_not_accepted",
        "quantization",
        "modality",
        "feature",
        "region",
        "context",
        "max_tokens",
        "payment",
        "price_ceiling",
        "saturated",
        "stale",
        "trust_floor",
        "breaker_open",
        "misbehaved",
    ];
    for code in codes {
        assert!(advice_for(code, &offer(|_| {})).is_some(), "{code}");
    }
}
