//! `relay-bridge mirror`: copies this network's stored events between relays.

use std::time::Duration;

use crate::mirror::{self, MirrorCounts};
use crate::{PoolOptions, RelayList, RelayPool, RelayRole, wall_clock};
use clap::Args;
use fedai_protocol::UnixSeconds;

use crate::cli::exit::Failure;
use crate::cli::serve::stop_signal;

/// Longest wait for each relay.
const READY: Duration = Duration::from_secs(10);

/// Copy descriptors, offers, profiles, receipts, acknowledgements and summaries from one relay to another.
#[derive(Debug, Args)]
pub(crate) struct MirrorArgs {
    /// Relay to read.
    #[arg(value_name = "FROM")]
    from: String,
    /// Relay to write.
    #[arg(value_name = "TO")]
    to: String,
    /// Only events from this time on, in seconds since 1970.
    #[arg(long, value_name = "UNIX_SECONDS")]
    since: Option<u64>,
    /// Go on with new events, until Ctrl-C or SIGTERM.
    #[arg(long)]
    follow: bool,
    /// Print the counts as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: MirrorArgs) -> Result<(), Failure> {
    let open = |url: &str| -> Result<RelayPool, Failure> {
        let list = RelayList::single(url).map_err(Failure::config)?;
        Ok(RelayPool::connect(list, PoolOptions { check_time: false, ..PoolOptions::default() }))
    };
    let (from, to) = (open(&args.from)?, open(&args.to)?);
    for pool in [&from, &to] {
        pool.wait_ready(RelayRole::Discovery, READY).await.map_err(Failure::no_relay)?;
    }
    let started = wall_clock::now_seconds();
    let mut counts = mirror::copy(&from, &to, args.since.map(UnixSeconds)).await;
    if args.follow {
        anstream::eprintln!("copied {} of {}; following", counts.copied, counts.found);
        let mut stop = stop_signal()?;
        let mut events = mirror::follow(&from, started);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => mirror::copy_one(&to, event, &mut counts).await,
                    None => break,
                },
                () = stop.recv() => break,
            }
        }
    }
    print(&counts, args.json)?;
    if counts.unanswered > 0 {
        return Err(Failure::general(format!(
            "{} events were not answered\nhint: run it again; nothing is copied twice",
            counts.unanswered
        )));
    }
    Ok(())
}

fn print(counts: &MirrorCounts, json: bool) -> Result<(), Failure> {
    if json {
        let line = serde_json::to_string(counts).map_err(Failure::general)?;
        anstream::println!("{line}");
    } else {
        anstream::println!(
            "found {}, copied {}, refused {}, unanswered {}",
            counts.found,
            counts.copied,
            counts.refused,
            counts.unanswered
        );
    }
    Ok(())
}
