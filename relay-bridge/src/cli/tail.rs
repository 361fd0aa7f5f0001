//! `relay-bridge tail`: the events of the network as they pass.

use std::time::Duration;

use crate::{PoolOptions, RelayList, RelayPool, RelayRole, filters, tail, wall_clock};
use clap::Args;
use fedai_protocol::event_kinds::{ALL, KindClass};

use crate::cli::exit::Failure;
use crate::cli::serve::stop_signal;

/// Longest wait for the first relay.
const READY: Duration = Duration::from_secs(10);

/// Show events as they pass, decoded; sealed content is shown as sealed.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// Relay to listen to; may be repeated.
    #[arg(long = "relay", value_name = "URL")]
    relays: Vec<String>,
    /// Relays from the environment, separated by commas.
    #[arg(long, env = "FEDAI_RELAYS", hide = true)]
    relays_from_environment: Option<String>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    /// Stop after this many events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Begin with what is stored.
    #[arg(long)]
    stored: bool,
}

pub(crate) async fn run(args: TailArgs) -> Result<(), Failure> {
    let (list, from) =
        RelayList::lookup(&args.relays, args.relays_from_environment.as_deref()).map_err(Failure::config)?;
    tracing::debug!(?from, "relays");
    let pool = RelayPool::connect(list, PoolOptions { check_time: false, ..PoolOptions::default() });
    let ready =
        tokio::join!(pool.wait_ready(RelayRole::Discovery, READY), pool.wait_ready(RelayRole::Stream, READY));
    if let (Err(error), Err(_)) = ready {
        return Err(Failure::no_relay(error));
    }
    let kinds = |ephemeral: bool| -> Vec<u16> {
        ALL.into_iter().filter(|kind| (KindClass::of(*kind) == KindClass::Ephemeral) == ephemeral).collect()
    };
    let mut stored = filters::of_kinds(&kinds(false));
    if !args.stored {
        stored = filters::since(stored, wall_clock::now_seconds().minus(5));
    }
    let mut stored = pool.subscribe(RelayRole::Discovery, vec![stored]);
    let mut prompt = pool.subscribe(RelayRole::Stream, vec![filters::of_kinds(&kinds(true))]);
    prompt.ready(READY).await;
    anstream::eprintln!("listening to {}", pool.connected_urls(RelayRole::Stream).join(" "));
    let mut stop = stop_signal()?;
    let mut shown: u64 = 0;
    while args.count.is_none_or(|count| shown < count) {
        let event = tokio::select! {
            event = stored.recv() => event,
            event = prompt.recv() => event,
            () = stop.recv() => None,
        };
        let Some(event) = event else { break };
        shown = shown.saturating_add(1);
        let line = if args.json { tail::json_line(&event).to_string() } else { tail::line(&event) };
        // A pager that is not read must not keep the connections from being served.
        tokio::task::block_in_place(|| anstream::println!("{line}"));
    }
    let lost = stored.gaps().saturating_add(prompt.gaps());
    if lost > 0 {
        anstream::eprintln!("{lost} events were not shown: this terminal was too slow");
    }
    pool.shutdown().await;
    Ok(())
}
