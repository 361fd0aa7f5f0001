//! `fedai doctor`: what is in order and what is not, each with a way out. It changes nothing and shows no secret.

use std::time::Duration;

use fedai_node_agent::shell::runners::RunnerOptions;
use fedai_node_agent::shell::runners::discovery::discover;
use fedai_relay_bridge::{RelayRole, wall_clock};

use super::exit_code::ExitStatus;
use super::failure::CliFailure;
use super::global_flags::{GlobalFlags, Settings};
use super::json_output::{CheckRow, DoctorOutput};
use super::terminal;
use crate::shell::buyer::Buyer;
use crate::shell::network_view::NetworkView;
use crate::shell::private_file;

/// Largest difference of clocks that nobody has to care about, in seconds.
const SKEW_SECONDS_MAX: u64 = 30;
/// Wait for relays to list what is announced.
const FETCH_WAIT: Duration = Duration::from_secs(5);

/// Checks, in order.
#[derive(Default)]
struct Checks(Vec<CheckRow>);

impl Checks {
    fn add(&mut self, check: &str, status: &str, detail: impl Into<String>, remedy: Option<&str>) {
        let remedy = remedy.map(str::to_owned);
        self.0.push(CheckRow { check: check.into(), status: status.into(), detail: detail.into(), remedy });
    }
}

/// Runs the command.
pub async fn run(global: &GlobalFlags) -> Result<ExitStatus, CliFailure> {
    let mut checks = Checks::default();
    let status = match global.settings() {
        Ok(settings) => {
            checks.add("settings", "pass", format!("relays from {}", settings.relays_from), None);
            check_data(&settings, &mut checks);
            match settings.connect().await {
                Ok(buyer) => check_network(&buyer, &mut checks).await,
                Err(failure) => {
                    let remedy = failure.hint.clone();
                    checks.add("relays", "fail", failure.message, remedy.as_deref());
                    for check in ["clock", "routers", "nodes"] {
                        checks.add(check, "skip", "no relay is connected", None);
                    }
                    failure.status
                }
            }
        }
        Err(failure) => {
            checks.add("settings", "fail", failure.message.clone(), failure.hint.as_deref());
            failure.status
        }
    };
    check_runners(global, &mut checks).await;
    print(global, checks.0, status)?;
    Ok(status)
}

fn check_data(settings: &Settings, checks: &mut Checks) {
    let path = settings.data.display().to_string();
    let absolute = std::path::absolute(&settings.data).unwrap_or_else(|_| settings.data.clone());
    let there = absolute.ancestors().find(|folder| folder.exists());
    let metadata = there.and_then(|folder| folder.metadata().ok());
    if metadata.is_none_or(|metadata| !metadata.is_dir() || metadata.permissions().readonly()) {
        let at = there.map_or_else(|| path.clone(), |folder| folder.display().to_string());
        let what = format!("{path}: {at} is no folder that can be written to");
        return checks.add("data folder", "fail", what, Some("name another: --data"));
    }
    if !settings.data.exists() {
        return checks.add("data folder", "pass", format!("{path}: made at the first receipt"), None);
    }
    match private_file::foreign_bits(&settings.data) {
        Ok(0) => checks.add("data folder", "pass", path, None),
        Ok(_) => {
            let remedy = format!("chmod 700 {path}");
            checks.add("data folder", "warn", format!("{path}: other users can read it"), Some(&remedy));
        }
        Err(error) => {
            checks.add("data folder", "fail", format!("{path}: {error}"), Some("name another: --data"))
        }
    }
}

async fn check_network(buyer: &Buyer, checks: &mut Checks) -> ExitStatus {
    let now = wall_clock::now_seconds();
    let view = NetworkView::fetch_all(buyer.pool(), now, FETCH_WAIT).await;
    let mut statuses = buyer.pool().status();
    // One relay may have several connections: the one that was measured speaks for it.
    statuses.sort_by_key(|relay| (relay.url.clone(), relay.rtt.is_none()));
    statuses.dedup_by_key(|relay| relay.url.clone());
    for relay in &statuses {
        let rtt =
            relay.rtt.map_or_else(|| "no round trip yet".to_owned(), |rtt| format!("{} ms", rtt.as_millis()));
        match &relay.last_error {
            Some(error) if !buyer.pool().connected_urls(RelayRole::Discovery).contains(&relay.url) => {
                checks.add(
                    "relays",
                    "warn",
                    format!("{}: {error}", relay.url),
                    Some("check the URL or drop it"),
                );
            }
            _ => checks.add("relays", "pass", format!("{}: {rtt}", relay.url), None),
        }
    }
    let skew = buyer.pool().clock_skew();
    match (skew.samples, skew.seconds.unsigned_abs() <= SKEW_SECONDS_MAX) {
        (0, _) => checks.add("clock", "skip", "nothing to compare with yet", None),
        (_, true) => checks.add("clock", "pass", format!("{} s apart from others", skew.seconds), None),
        (_, false) => {
            let detail = format!("this clock is {} s apart from others", skew.seconds);
            checks.add("clock", "warn", detail, Some("turn on time synchronisation (NTP)"));
        }
    }
    let mut status = ExitStatus::Success;
    let mut count = |check: &str, count: usize, remedy: &str| {
        if count > 0 {
            return checks.add(check, "pass", format!("{count} announced"), None);
        }
        let what = match (check, view.away) {
            ("nodes", away @ 1..) => format!("announced and paused, or leaving: {away}; none takes jobs now"),
            _ => "none announced on these relays".to_owned(),
        };
        checks.add(check, "fail", what, Some(remedy));
        status = ExitStatus::NoMatch;
    };
    count("routers", view.routers.len(), "start one: fedai up; or schedule here: --router self");
    count("nodes", view.nodes.len(), "start one: fedai up, or node-agent run beside a runner");
    buyer.close().await;
    status
}

async fn check_runners(global: &GlobalFlags, checks: &mut Checks) {
    let ports = match global.runner_ports() {
        Ok(ports) => ports,
        Err(failure) => return checks.add("runners", "fail", failure.message, failure.hint.as_deref()),
    };
    let found = discover(&ports, RunnerOptions::default()).await.found;
    if found.is_empty() {
        return checks.add("runners", "skip", "none on the usual ports; fedai up installs a small one", None);
    }
    for runner in found {
        checks.add("runners", "pass", format!("{} at {}", runner.title, runner.url), None);
    }
}

fn print(global: &GlobalFlags, checks: Vec<CheckRow>, status: ExitStatus) -> std::io::Result<()> {
    if global.json() {
        return terminal::print_json(&DoctorOutput { v: 1, ok: status == ExitStatus::Success, checks });
    }
    for row in checks {
        terminal::print(&format!(
            "{:5} {}: {}\n",
            row.status,
            row.check,
            terminal::without_controls(&row.detail)
        ))?;
        if let Some(remedy) = row.remedy {
            terminal::print(&format!("      {remedy}\n"))?;
        }
    }
    Ok(())
}
