//! From a router's standing to a sentence that an operator can act on: the one thing that keeps most work away.
//!
//! What a router says is a claim; the sentence repeats it in words and with its numbers, and judges nothing beyond.

use fedai_protocol::node_standing::{BreakerWord, FleetRank, HeardOn, OfferStanding};
use fedai_protocol::{NodeStanding, UnixSeconds};

/// A sentence, and what can be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandingVerdict {
    /// What keeps work away, or that nothing does.
    pub sentence: String,
    /// What to change, most important first.
    pub advice: Vec<String>,
}

/// Judges one router's word by the offer about which most was decided.
#[must_use]
pub fn verdict(standing: &NodeStanding) -> StandingVerdict {
    let Some(offer) = standing.offers.first() else {
        return StandingVerdict {
            sentence: "nobody asked this router for a model of yours".into(),
            advice: vec!["`fedai models` shows what others offer; offer what is asked for".into()],
        };
    };
    let mut advice = Vec::new();
    let sentence = if let Some((code, count)) = main_filter(offer) {
        advice.extend(advice_for(code, offer));
        let share = format!("filtered: {code}, {count} of {} times", offer.looked_at);
        match detail(code, offer, standing) {
            Some(detail) => format!("{share}: {detail}"),
            None => share,
        }
    } else if offer.chosen.saturating_mul(2) >= offer.decisions {
        format!("you have most of the work: chosen {} of {} times", offer.chosen, offer.decisions)
    } else {
        let (sentence, what) = main_rank(offer, standing);
        advice.push(what);
        sentence
    };
    if offer.filtered.contains_key("stale") && !advice.iter().any(|line| line.contains("relay")) {
        advice.extend(advice_for("stale", offer));
    }
    StandingVerdict { sentence, advice }
}

/// The code that kept the offer out of at least half of what was looked at.
fn main_filter(offer: &OfferStanding) -> Option<(&str, u32)> {
    let all: u32 = offer.filtered.values().fold(0, |sum, count| sum.saturating_add(*count));
    if all == 0 || all.saturating_mul(2) < offer.looked_at {
        return None;
    }
    let (code, count) =
        offer.filtered.iter().max_by_key(|(code, count)| (**count, core::cmp::Reverse(*code)))?;
    Some((code, *count))
}

/// The numbers behind a filter code.
fn detail(code: &str, offer: &OfferStanding, standing: &NodeStanding) -> Option<String> {
    let usual = usual(offer);
    match code {
        "stale" => Some(silence(&standing.heard, offer.load_ping_at, standing.at)),
        "lease_expired" => {
            let age = standing.lease_until.map(|until| standing.at.since(until))?;
            Some(format!("the lease of your descriptor ended {age} s before"))
        }
        "price_ceiling" => {
            let price = offer.price?;
            let (own, median, best) = (price.own, price.median, price.best);
            Some(format!("{usual} costs up to {own} msat with you; median {median}, cheapest {best}"))
        }
        "saturated" => match offer.learned_cap {
            Some(cap) => Some(format!("it learned that you say busy above {cap} jobs at once")),
            None => Some(format!("{} of its jobs are under way", offer.in_flight)),
        },
        "breaker_open" => Some(match offer.breaker_until {
            Some(until) => format!("jobs kept failing; one is tried again in {} s", until.since(standing.at)),
            None => "jobs kept failing".into(),
        }),
        "misbehaved" => Some(format!(
            "a receipt of yours breaks its ticket or your own chain; trust is {} of 1000",
            standing.trust_permille
        )),
        "trust_floor" => Some(format!(
            "trust is {} of 1000, from {} acknowledged receipts",
            standing.trust_permille, standing.receipts
        )),
        "context" | "max_tokens" => Some(format!("{usual} is usual here")),
        _ => None,
    }
}

/// Where the node was heard last, and where not at all.
fn silence(heard: &[HeardOn], load_ping_at: Option<UnixSeconds>, at: UnixSeconds) -> String {
    let newest = heard.iter().filter_map(|on| Some((on.load_ping?, &on.relay))).max();
    let words = match (newest, load_ping_at) {
        (Some((seen, relay)), _) => format!("last heartbeat {} s before, on {relay}", at.since(seen)),
        (None, Some(seen)) => format!("last heartbeat {} s before", at.since(seen)),
        (None, None) => "no heartbeat was ever heard".into(),
    };
    let silent: Vec<&str> =
        heard.iter().filter(|on| on.load_ping.is_none()).map(|on| on.relay.as_str()).collect();
    if silent.is_empty() { words } else { format!("{words}; none on {}", silent.join(", ")) }
}

fn advice_for(code: &str, offer: &OfferStanding) -> Option<String> {
    let text = match code {
        "stale" | "lease_expired" => {
            "`node-agent status` shows your relays: share one with the router, check it with `relay-bridge probe URL`"
        }
        "not_active" => "`node-agent status`: a paused node, or a runner that is down, takes nothing",
        "router_not_accepted" => "add this router to `routers`, or leave the list empty",
        "payment" => "the clients pay in another way than your offer takes",
        "price_ceiling" => "lower `--price-input` and `--price-output`",
        "saturated" => "raise `--slots` if the machine can bear it; else you have the work you can do",
        "breaker_open" => {
            "`node-agent status` and the log show failed jobs; the breaker closes after two that succeed"
        }
        "trust_floor" => {
            "trust grows with acknowledged jobs; until then only the mode `trusted` passes you over"
        }
        "misbehaved" => {
            "you are asked for nothing while anybody else can serve; that ends some weeks after the last such receipt"
        }
        "context" | "max_tokens" => "serve the model with a larger context",
        "quantization" | "modality" | "feature" | "region" => {
            "clients ask for something that your offer does not have"
        }
        _ => return None,
    };
    let model = if offer.model.is_empty() { String::new() } else { format!("{}: ", offer.model) };
    Some(format!("{model}{text}"))
}

/// What an eligible offer loses by: price, first token, speed or trust, whichever is furthest behind.
fn main_rank(offer: &OfferStanding, standing: &NodeStanding) -> (String, String) {
    let behind = |rank: &Option<FleetRank>| {
        let rank = rank.filter(|rank| rank.of > 1 && rank.own > rank.median)?;
        Some(
            u64::from(rank.place.saturating_sub(1)).saturating_mul(1_000)
                / u64::from(rank.of.saturating_sub(1)),
        )
    };
    let ranks = [behind(&offer.price), behind(&offer.first_token), behind(&offer.per_token)];
    let worst = (0..).zip(ranks).filter_map(|(at, behind)| Some((behind?, core::cmp::Reverse(at)))).max();
    let times = format!("chosen {} of {} times", offer.chosen, offer.decisions);
    let words = |rank: Option<FleetRank>, what: &str, unit: &str, per: u64| {
        let FleetRank { place, of, own, median, best, is_measured } = rank.unwrap_or_default();
        let per = per.max(1);
        let assumed = if is_measured { "" } else { " (assumed; it was not measured yet)" };
        let (own, median, best, place) = (own / per, median / per, best / per, ordinal(place));
        format!(
            "your {what} is {place} of {of}: {own} {unit}{assumed}; median {median}, best {best}; {times}"
        )
    };
    match worst {
        Some((_, core::cmp::Reverse(0))) => (
            format!("{} ({})", words(offer.price, "price", "msat", 1), usual(offer)),
            "lower `--price-input` and `--price-output`, or be faster than those who are cheaper".into(),
        ),
        Some((_, core::cmp::Reverse(1))) => (
            words(offer.first_token, "time to first token", "ms", 1),
            "a nearer relay, or a runner with a faster prefill".into(),
        ),
        Some((_, core::cmp::Reverse(_))) => (
            words(offer.per_token, "time per output token", "ms", 1_000),
            "a smaller quantization or a faster machine".into(),
        ),
        None if standing.trust_permille < 200 => (
            format!(
                "you have no record with this router yet (trust {} of 1000); {times}",
                standing.trust_permille
            ),
            "nodes without a record share a small part of the draws; it grows with each acknowledged job"
                .into(),
        ),
        None => (
            format!("nothing speaks against you; {times}, and others were drawn"),
            "more slots or a lower price raise your share of the draw".into(),
        ),
    }
}

fn usual(offer: &OfferStanding) -> String {
    let usual = offer.usual;
    format!("a usual job of {} + {} tokens", usual.prompt_tokens.get(), usual.max_output_tokens.get())
}

/// `1st`, `2nd`, `11th`.
#[must_use]
pub fn ordinal(n: u32) -> String {
    let ending = match (n % 100, n % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{n}{ending}")
}

/// A word for the breaker.
#[must_use]
pub const fn breaker_word(offer: &OfferStanding) -> &'static str {
    match offer.breaker {
        BreakerWord::Closed => "closed",
        BreakerWord::Open => "open",
        BreakerWord::HalfOpen => "half open",
        BreakerWord::Unknown => "unknown",
    }
}

#[cfg(test)]
#[path = "tests/standing_verdicts.rs"]
mod tests;
