//! `relay-bridge probe`: what do these relays really do?

use std::time::Duration;

use crate::RelayAddress;
use crate::probe::{ProbeReport, probe};
use clap::Args;
use comfy_table::{Table, presets};
use futures_util::future::join_all;

use crate::cli::exit::Failure;

/// Measure what relays take, pass on and how fast; exit 4 if none can be used.
///
/// Publishes test events under throwaway keys. The stored ones expire within a minute and are deleted.
#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// Relays.
    #[arg(value_name = "URL", required = true)]
    urls: Vec<String>,
    /// Print one JSON object for each relay.
    #[arg(long)]
    json: bool,
    /// Longest single wait, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    timeout: u64,
}

pub(crate) async fn run(args: ProbeArgs) -> Result<(), Failure> {
    let addresses: Vec<RelayAddress> = args
        .urls
        .iter()
        .map(|url| {
            RelayAddress::parse(url).map_err(|error| Failure::config(format!("relay {url:?} {error}")))
        })
        .collect::<Result<_, _>>()?;
    anstream::eprintln!(
        "publishing test events under throwaway keys; stored ones expire in a minute and are deleted"
    );
    let timeout = Duration::from_secs(args.timeout);
    let reports: Vec<ProbeReport> = join_all(addresses.iter().map(|address| probe(address, timeout))).await;
    if args.json {
        for report in &reports {
            let line = serde_json::to_string(report).map_err(Failure::general)?;
            anstream::println!("{line}");
        }
    } else {
        anstream::println!("{}", table(&reports));
        for report in &reports {
            details(report);
        }
    }
    if reports.iter().any(|report| report.usable) {
        return Ok(());
    }
    Err(Failure::no_relay("none of these relays can be used\nhint: `relay-bridge serve` runs one"))
}

fn table(reports: &[ProbeReport]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "relay",
        "connect",
        "our kinds",
        "ephemerals",
        "event size",
        "round trip",
        "roles",
        "software",
    ]);
    for report in reports {
        let millis = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
        let taken = report.stored_kinds.iter().filter(|kind| kind.taken).count();
        let ephemerals = match report.ephemerals_forwarded {
            Some(true) => "passed on",
            Some(false) => "lost",
            None => "-",
        };
        table.add_row([
            report.url.clone(),
            millis(report.connect_ms),
            format!("{taken}/{}", report.stored_kinds.len()),
            ephemerals.to_owned(),
            report.event_bytes_max.map_or_else(|| "-".to_owned(), |bytes| format!("{bytes} B")),
            millis(report.round_trip_ms_p50),
            if report.roles.is_empty() { "none".to_owned() } else { report.roles.join(" ") },
            report.software.as_deref().unwrap_or("-").chars().filter(|c| !c.is_control()).collect(),
        ]);
    }
    table
}

fn details(report: &ProbeReport) {
    if let Some(error) = &report.error {
        anstream::eprintln!("{}: {}", report.url, error.escape_debug());
    }
    for kind in report.stored_kinds.iter().filter(|kind| !kind.taken) {
        let reason = kind.reason.as_deref().unwrap_or("no reason given");
        anstream::eprintln!(
            "{}: {} ({}) refused: {}",
            report.url,
            kind.name,
            kind.kind,
            reason.escape_debug()
        );
    }
}
