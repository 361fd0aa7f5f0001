//! `fedai doctor`: what is in order and what is not, each with a way out. It changes nothing and shows no secret.
//!
//! Clocks are compared with what others say afresh: a stored event tells when it was written, not what time it is now.
//! Routers are asked for a price, which they answer at once; where none does, a node says its load within seconds.

use std::time::Duration;

use fedai_node_agent::shell::runners::RunnerOptions;
use fedai_node_agent::shell::runners::discovery::discover;
use fedai_protocol::UnixSeconds;
use fedai_protocol::event_kinds::LOAD_PING;
use fedai_protocol::job_open::JobEndpoint;
use fedai_relay_bridge::{ClockSkewReport, RelayRole, filters, wall_clock};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::exit_code::ExitStatus;
use super::failure::CliFailure;
use super::global_flags::{GlobalFlags, Settings};
use super::job_flags::JobFlags;
use super::json_output::{CheckRow, DoctorOutput};
use super::terminal;
use crate::core::job_ending::JobFailure;
use crate::core::job_journey::ROUTERS_ASKED_MAX;
use crate::core::router_silence::Unheard;
use crate::shell::buyer::Buyer;
use crate::shell::job_run::JobRun;
use crate::shell::network_view::NetworkView;
use crate::shell::private_file;

/// Largest difference of clocks that nobody has to care about, in seconds.
const SKEW_SECONDS_MAX: u64 = 30;
/// Wait for somebody to say the time: a little more than a node's longest pause between two words on its load.
const CLOCK_WAIT: Duration = Duration::from_secs(16);
/// Wait for routers to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(4);
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
                Ok(buyer) => check_network(&settings, &buyer, &mut checks).await,
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

async fn check_network(settings: &Settings, buyer: &Buyer, checks: &mut Checks) -> ExitStatus {
    let (now, until) = (wall_clock::now_seconds(), Instant::now() + CLOCK_WAIT);
    // From any time: by a clock that is ahead everything was said long ago.
    let pings = vec![filters::since(filters::of_kinds(&[LOAD_PING]), UnixSeconds(0))];
    let mut loads = buyer.pool().subscribe(RelayRole::Control, pings);
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
    let silence = ask_routers(settings, buyer).await;
    // Also where nobody is announced: to a wrong clock all of them are over.
    while buyer.pool().clock_skew().authors == 0 && Instant::now() < until {
        // What is too old or too new is counted, and does not come here: look at least every second.
        let next = until.min(Instant::now() + Duration::from_secs(1));
        drop(tokio::time::timeout_at(next, loads.recv()).await);
    }
    check_clock(&buyer.pool().clock_skew(), checks);
    let mut status = ExitStatus::Success;
    let mut count = |check: &str, count: usize, remedy: &str| {
        if let ("routers", Some(Silence { failure, is_all, unheard })) = (check, &silence) {
            let what = format!("{count} announced; {}", failure.refusal.message);
            let (verdict, exit) = match (unheard, is_all) {
                (Unheard::Relays, _) => ("fail", ExitStatus::NoRelay),
                (Unheard::Routers { .. }, true) => ("fail", ExitStatus::Timeout),
                // A job would go on and ask the others.
                (Unheard::Routers { .. }, false) => ("warn", status),
            };
            let remedy = match unheard {
                Unheard::Relays => unheard.hint(),
                Unheard::Routers { .. } => "start one: fedai up; or schedule here: --router self",
            };
            checks.add(check, verdict, what, Some(remedy));
            return status = exit;
        }
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

/// Nothing was heard of routers.
struct Silence {
    failure: JobFailure,
    unheard: Unheard,
    /// True when there are no more than were asked.
    is_all: bool,
}

/// Asks for a price; says when no router says anything to that.
async fn ask_routers(settings: &Settings, buyer: &Buyer) -> Option<Silence> {
    let contacts = buyer.routers(settings.router, FETCH_WAIT).await;
    if contacts.is_empty() {
        return None;
    }
    let settings = Settings { timeout: ANSWER_WAIT, ..settings.clone() };
    let flags = JobFlags::plain(None, 1);
    let fields = flags.request_fields(None);
    let spec = flags.spec(&settings, JobEndpoint::Chat, fields, &contacts, None).ok()?;
    let run = JobRun::begin(buyer, spec, &contacts, None).await;
    let answer = Box::pin(run.quote(&CancellationToken::new())).await;
    let failure = answer.err()?;
    Some(Silence { unheard: failure.unheard?, is_all: contacts.len() <= ROUTERS_ASKED_MAX, failure })
}

fn check_clock(skew: &ClockSkewReport, checks: &mut Checks) {
    let who = match skew.authors {
        // Relays tell the time, too, by what they refuse.
        0 if skew.refusals > 0 => {
            let what = format!("relays refuse {} events of this machine for their time", skew.refusals);
            return checks.add("clock", "warn", what, Some("turn on time synchronisation (NTP)"));
        }
        0 => {
            let waited = CLOCK_WAIT.as_secs();
            let what = format!("cannot tell: nobody said anything within {waited} s to compare it with");
            return checks.add("clock", "skip", what, None);
        }
        1 => "the only one that was heard".to_owned(),
        many => format!("{many} others"),
    };
    let apart = skew.between_authors.unsigned_abs();
    if apart <= SKEW_SECONDS_MAX {
        return checks.add("clock", "pass", format!("{apart} s apart from {who}"), None);
    }
    let side = if skew.between_authors < 0 { "behind" } else { "ahead of" };
    let remedy = match skew.authors {
        1 => "turn on time synchronisation (NTP) here; or it is the other clock that is wrong",
        _ => "turn on time synchronisation (NTP)",
    };
    checks.add("clock", "warn", format!("this clock is {apart} s {side} {who}"), Some(remedy));
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

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_judged_by_those_who_were_heard_and_by_nobody_else() {
        for (between_authors, authors, status, detail) in [
            (0, 0, "skip", "cannot tell: nobody said anything within 16 s to compare it with"),
            (2, 1, "pass", "2 s apart from the only one that was heard"),
            (-30, 3, "pass", "30 s apart from 3 others"),
            (-31, 3, "warn", "this clock is 31 s behind 3 others"),
            (7_200, 1, "warn", "this clock is 7200 s ahead of the only one that was heard"),
        ] {
            let mut checks = Checks::default();
            let skew = ClockSkewReport { between_authors, authors, ..ClockSkewReport::default() };
            check_clock(&skew, &mut checks);
            assert_eq!((checks.0[0].status.as_str(), checks.0[0].detail.as_str()), (status, detail));
            assert_eq!(checks.0[0].remedy.is_some(), status == "warn");
        }
    }
}
