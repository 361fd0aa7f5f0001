//! `why`: why no work comes, from what routers told this node of their decisions; where none has told anything, what to
//! check first.

use clap::Args;
use fedai_protocol::UnixSeconds;
use fedai_protocol::node_standing::{FleetRank, OfferStanding};
use fedai_relay_bridge::wall_clock;
use serde::Serialize;

use super::DataArgs;
use super::exit::Failure;
use crate::core::standing_verdict::{breaker_word, ordinal, verdict};
use crate::shell::node_board::npub;
use crate::shell::standing_book::{RouterWord, STANDINGS};
use crate::shell::status_file::{NodeStatusFile, STALE_SECONDS, STATUS, read_json};

/// Show why no work comes: price rank, filter codes, trust and heartbeats, as each router tells it to this node.
#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    #[command(flatten)]
    data: DataArgs,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// All that is known.
#[derive(Debug, Serialize)]
struct Why {
    v: u32,
    node: String,
    checks: Vec<Check>,
    routers: Vec<RouterLine>,
}

/// One thing that has to hold before any router can know the node.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    text: String,
}

/// What one router says.
#[derive(Debug, Serialize)]
struct RouterLine {
    router: String,
    age_seconds: u64,
    sentence: String,
    advice: Vec<String>,
    #[serde(flatten)]
    word: RouterWord,
}

/// Shows it. Nothing that is wrong with the market is a failure of this command.
pub(super) fn run(args: &WhyArgs) -> Result<(), Failure> {
    let dir = args.data.dir()?;
    let status: NodeStatusFile = read_json(&dir, STATUS).map_err(Failure::general)?;
    let words: Vec<RouterWord> = if dir.join(STANDINGS).exists() {
        read_json(&dir, STANDINGS).map_err(Failure::general)?
    } else {
        vec![]
    };
    let now = wall_clock::now_seconds();
    let why =
        Why { v: 1, node: status.npub.clone(), checks: checks(&status, now), routers: lines(words, now) };
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&why).map_err(Failure::general)?);
    } else {
        print(&why, now);
    }
    Ok(())
}

fn lines(words: Vec<RouterWord>, now: UnixSeconds) -> Vec<RouterLine> {
    let mut lines: Vec<RouterLine> = words
        .into_iter()
        .filter(|word| word.standing.expires_at > now)
        .map(|word| {
            let told = verdict(&word.standing);
            RouterLine {
                router: npub(&word.router),
                age_seconds: now.since(word.created_at),
                sentence: told.sentence,
                advice: told.advice,
                word,
            }
        })
        .collect();
    lines.sort_by_key(|line| (line.age_seconds, line.word.router));
    lines
}

fn checks(status: &NodeStatusFile, now: UnixSeconds) -> Vec<Check> {
    let age = now.since(status.updated_at);
    let check =
        |name, ok, good: String, bad: &str| Check { name, ok, text: if ok { good } else { bad.into() } };
    let ads = format!("{} of {} relays took the descriptor", status.advertised_on, status.advertised_of);
    vec![
        check(
            "process",
            age <= STALE_SECONDS && status.state != "stopped",
            format!("running, pid {}", status.pid),
            "no node is running with this data directory: `node-agent run`",
        ),
        check(
            "state",
            status.state == "active",
            "active: takes jobs".into(),
            "it takes nothing new: `node-agent resume`, or see the log when its runner is down",
        ),
        check(
            "runner",
            status.runner_up,
            status.runner.clone(),
            "the runner gives no tokens: `node-agent runner find`",
        ),
        check(
            "relays",
            !status.relays.is_empty(),
            status.relays.join(", "),
            "no relay is connected: `relay-bridge probe URL` says why",
        ),
        check(
            "descriptor",
            status.advertised_on > 0,
            ads,
            "no relay took the descriptor: see the log for the reason",
        ),
        check(
            "offers",
            !status.models.is_empty(),
            status.models.join(", "),
            "no model is offered: the runner serves none",
        ),
    ]
}

fn print(why: &Why, now: UnixSeconds) {
    for check in why.checks.iter().filter(|check| !check.ok || why.routers.is_empty()) {
        anstream::println!("{}  {:<10}  {}", if check.ok { "ok  " } else { "FAIL" }, check.name, check.text);
    }
    if why.routers.is_empty() {
        anstream::println!(
            "\nno router has told this node anything. A router does so about once a minute, when it decided on it.\n\
             So none shares a relay with this node, or nobody asks for its models:\n\
             `fedai routers` and `fedai models` with the same relays show both"
        );
    }
    for line in &why.routers {
        anstream::println!("\nrouter {}, {} s ago", line.router, line.age_seconds);
        anstream::println!("  {}", line.sentence);
        for offer in &line.word.standing.offers {
            print_offer(offer);
        }
        print_node(line, now);
        for advice in &line.advice {
            anstream::println!("  do      {advice}");
        }
    }
}

fn print_offer(offer: &OfferStanding) {
    let filtered: Vec<String> =
        offer.filtered.iter().map(|(code, count)| format!("{code} {count}")).collect();
    anstream::println!(
        "  {}: {} decisions; chosen {}, lost of two {}, further fallback {}",
        offer.model,
        offer.decisions,
        offer.chosen,
        offer.lost_pair,
        offer.fallback
    );
    anstream::println!(
        "    of {} looked at: not drawn {}, filtered {}",
        offer.looked_at,
        offer.not_drawn,
        if filtered.is_empty() { "0".into() } else { filtered.join(", ") }
    );
    let rank = |name: &str, rank: Option<FleetRank>, unit: &str, per: u64| {
        if let Some(FleetRank { place, of, own, median, best, is_measured }) = rank {
            let (own, median, best, place) = (own / per, median / per, best / per, ordinal(place));
            let assumed = if is_measured { "" } else { " (assumed)" };
            anstream::println!(
                "    {name:<12} {place} of {of}: {own} {unit}{assumed}, median {median}, best {best}"
            );
        }
    };
    rank("price", offer.price, "msat", 1);
    rank("first token", offer.first_token, "ms", 1);
    rank("per token", offer.per_token, "ms", 1_000);
    let cap = offer.learned_cap.map_or_else(|| "none learned".to_owned(), |cap| cap.to_string());
    anstream::println!("    breaker {}, cap {cap}, under way {}", breaker_word(offer), offer.in_flight);
    if let Some(code) = &offer.now {
        anstream::println!("    now     a usual job would be refused here: {code}");
    }
}

fn print_node(line: &RouterLine, now: UnixSeconds) {
    let standing = &line.word.standing;
    let dimensions = standing.dimensions;
    anstream::println!(
        "  trust   {} of 1000 (delivery {}, metering {}, price {}), {} receipts",
        standing.trust_permille,
        dimensions.delivery_permille,
        dimensions.metering_permille,
        dimensions.price_permille,
        standing.receipts
    );
    if let Some(until) = standing.lease_until {
        let left = i128::from(until.0) - i128::from(now.0);
        anstream::println!("  lease   {left} s left, as this router knows it");
    }
    let ago = |at: Option<UnixSeconds>| {
        at.map_or_else(|| "never".to_owned(), |at| format!("{} s before", standing.at.since(at)))
    };
    for heard in &standing.heard {
        anstream::println!(
            "  heard   on {}: load ping {}, announcement {}",
            heard.relay,
            ago(heard.load_ping),
            ago(heard.descriptor)
        );
    }
}
