//! `status` and `healthcheck`: from the files that a running router keeps fresh.

use std::path::Path;
use std::process::ExitCode;

use fedai_relay_bridge::wall_clock;

use super::Look;
use super::output::{failure, json, plain, text};
use crate::shell::data_files::{Heartbeat, StatusFile, heartbeat_path, read, status_path};

/// Age from which on a heartbeat means that the router hangs or is gone, in milliseconds.
const HEARTBEAT_MILLIS_MAX: u64 = 15_000;

/// Shows the router.
pub(super) fn show(look: &Look) -> ExitCode {
    let status: StatusFile = match read(&status_path(&look.data)) {
        Ok(status) => status,
        Err(error) => return failure(1, &error),
    };
    if look.json {
        return json(&status);
    }
    let router = &status.router;
    let mut lines = vec![
        format!("router    {} ({})", router.router, plain(&router.name)),
        format!("process   {}, {} ms ago", status.pid, wall_clock::now().millis_since(router.at)),
        format!("state     {}", if router.draining { "draining" } else { "answering" }),
        format!("nodes     {} live, {} known", router.live_nodes, router.known_nodes),
        format!("tickets   {}", router.tickets),
        format!("receipts  {}", router.receipts),
    ];
    for relay in &status.relays {
        lines.push(format!(
            "relay     {} {} (received {}, sent {})",
            plain(&relay.url),
            relay.state,
            relay.received,
            relay.sent
        ));
    }
    text(&lines.join("\n"))
}

/// Exit 0 when the router is alive and connected.
pub(super) fn healthcheck(data: &Path) -> ExitCode {
    let heartbeat: Heartbeat = match read(&heartbeat_path(data)) {
        Ok(heartbeat) => heartbeat,
        Err(error) => return failure(1, &error),
    };
    let age = wall_clock::now().millis_since(heartbeat.at);
    if age > HEARTBEAT_MILLIS_MAX {
        let hint = "hint: is the process still there? its log says why it stopped";
        return failure(1, &format!("the last sign of life is {age} ms old\n{hint}"));
    }
    if heartbeat.control_relays == 0 {
        return failure(1, &"no relay is connected\nhint: `relay-bridge probe URL` tells more");
    }
    text(&format!("alive, {} relays connected", heartbeat.control_relays))
}
