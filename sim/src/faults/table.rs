//! The table of fault kinds. A new kind is a line here and the place that asks for it.

use super::FaultKind::{self, *};
use super::kind::{Befalls, FaultRow};

/// All kinds.
pub const FAULTS: [FaultRow; 35] = [
    relay(RelayDrop, "relay-drop", 1, (10, 300), "every_job_ends", "events are lost, each with this chance"),
    relay(
        RelayDuplicate,
        "relay-duplicate",
        2,
        (10, 500),
        "second_arrival_changes_nothing",
        "events come again, up to 3 times and up to 10 minutes later",
    ),
    relay(
        RelayDelay,
        "relay-delay",
        3,
        (10, 500),
        "sums_agree",
        "events are held back, most for seconds, some for up to 10 minutes, and so change places",
    ),
    FaultRow {
        befalls: Befalls::LyingRelay,
        ..relay(
            RelayLyingOk,
            "relay-lying-ok",
            4,
            (50, 1_000),
            "every_job_ends",
            "it says OK and loses events",
        )
    },
    FaultRow {
        befalls: Befalls::LyingRelay,
        unit: "number of the party",
        ..relay(
            RelayHides,
            "relay-hides",
            4,
            (0, 7),
            "every_job_ends",
            "it says OK to one party and hands nothing on",
        )
    },
    FaultRow {
        befalls: Befalls::LyingRelay,
        ..relay(
            RelayInjects,
            "relay-injects",
            5,
            (50, 1_000),
            "nothing_injected_is_accepted",
            "beside an event come forged, altered, old and unasked-for ones",
        )
    },
    cut(RelayDown, "relay-down", Befalls::Relay, "one relay is gone for everybody"),
    cut(
        Split,
        "split",
        Befalls::Network,
        "half of the parties reach the first relay only, the others all but that",
    ),
    cut(PartyAlone, "party-alone", Befalls::Party, "one party reaches no relay"),
    cut(PartyDeaf, "party-deaf", Befalls::Party, "one party is heard and hears nothing"),
    cut(PartyMute, "party-mute", Befalls::Party, "one party hears and is not heard"),
    lie(
        RouterPicksFriend,
        "router-picks-friend",
        8,
        Befalls::LyingRouter,
        "charge_within_quote",
        "it names the node with the highest key first, whatever its scheduler said",
    ),
    lie(
        RouterHidesNode,
        "router-hides-node",
        8,
        Befalls::LyingRouter,
        "charge_within_quote",
        "it does not hear one node",
    ),
    lie(
        RouterAltersPrice,
        "router-alters-price",
        8,
        Befalls::LyingRouter,
        "altered_price_is_caught",
        "its quotes name another cost than the node's offer gives",
    ),
    lie(
        RouterAssignsTwice,
        "router-assigns-twice",
        8,
        Befalls::LyingRouter,
        "one_charge_per_job",
        "it answers one request with two tickets",
    ),
    FaultRow {
        size: (300, 1_000),
        unit: "permille",
        ..lie(
            RouterSilent,
            "router-silent",
            9,
            Befalls::LyingRouter,
            "every_job_ends",
            "it does not answer, with this chance",
        )
    },
    FaultRow {
        size: (0, 3),
        unit: "1.01, 2, 10 times, or all there is",
        ..lie(
            NodeOverBills,
            "node-over-bills",
            10,
            Befalls::LyingNode,
            "overcharge_is_refused",
            "its receipts count more tokens and money than there were",
        )
    },
    lie(
        NodeGarbage,
        "node-garbage",
        11,
        Befalls::LyingNode,
        "charge_within_quote",
        "it answers something else",
    ),
    lie(
        NodeTruncates,
        "node-truncates",
        11,
        Befalls::LyingNode,
        "charge_within_quote",
        "it stops half way and says that this is all",
    ),
    lie(
        NodeSwaps,
        "node-swaps",
        11,
        Befalls::LyingNode,
        "charge_within_quote",
        "it sends the answer to another prompt",
    ),
    lie(
        NodeReplaysReceipt,
        "node-replays-receipt",
        12,
        Befalls::LyingNode,
        "one_charge_per_job",
        "it publishes old receipts again, and ends jobs with the receipt of another job",
    ),
    lie(
        NodeForks,
        "node-forks",
        12,
        Befalls::LyingNode,
        "fork_is_evidence",
        "it signs a second receipt in the same place of its chain",
    ),
    lie(
        ClientReplays,
        "client-replays",
        13,
        Befalls::LyingClient,
        "one_run_per_job",
        "it sends its job open again, again and again",
    ),
    lie(
        ClientAlters,
        "client-alters",
        13,
        Befalls::LyingClient,
        "one_run_per_job",
        "it sends other content under the ticket of a job that it has opened",
    ),
    FaultRow {
        size: (20, 200),
        unit: "messages a second",
        ..lie(
            ClientFloods,
            "client-floods",
            14,
            Befalls::LyingClient,
            "queues_within_limits",
            "it asks and opens without end",
        )
    },
    lie(
        ClientVanishes,
        "client-vanishes",
        15,
        Befalls::LyingClient,
        "unpaid_work_is_bounded",
        "it leaves in the middle of its answer, without a word",
    ),
    lie(
        ClientNeverAcks,
        "client-never-acks",
        15,
        Befalls::LyingClient,
        "sums_agree",
        "it never says a word on a receipt",
    ),
    FaultRow {
        size: (1, 8),
        unit: "nodes",
        befalls: Befalls::Network,
        ..lie(
            Sybils,
            "sybils",
            16,
            Befalls::Network,
            "newcomers_share_is_bounded",
            "fresh identities announce the best there is, and serve nobody",
        )
    },
    crash(NodeCrash, "node-crash", Befalls::Node, (500, 8_000), "one_receipt_per_job"),
    crash(RouterCrash, "router-crash", Befalls::Router, (200, 5_000), "restart_is_the_same"),
    FaultRow {
        row: 19,
        size: (1, 3),
        unit: "writes that still work",
        meaning: "after so many writes its disk fails; it leaves, and comes back with a new disk's worth of room",
        ..crash(DiskError, "disk-error", Befalls::Node, (2_000, 15_000), "durable_before_told")
    },
    FaultRow {
        size: (1, 172_800),
        unit: "seconds, counted from a day behind",
        ..lie(
            ClockSkew,
            "clock-skew",
            20,
            Befalls::Party,
            "every_job_ends",
            "its clock is wrong by up to a day either way, and then set right",
        )
    },
    runner(RunnerHang, "runner-hang", (1, 1), "", "no token comes, jobs stay on their slots"),
    runner(RunnerStalls, "runner-stalls", (0, 19), "token", "each answer stops for good at this token"),
    FaultRow {
        befalls: Befalls::LyingNode,
        ..runner(RunnerStreamsOn, "runner-streams-on", (1, 1), "", "answers do not end where they should")
    },
];

impl FaultKind {
    /// The line of the table.
    #[must_use]
    pub fn row(self) -> &'static FaultRow {
        let [first, rest @ ..] = &FAULTS;
        rest.iter().find(|row| row.kind == self).unwrap_or(first)
    }

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        FAULTS.iter().find(|row| row.name == name).map(|row| row.kind)
    }
}

const fn relay(
    kind: FaultKind,
    name: &'static str,
    row: u8,
    size: (u64, u64),
    keeps: &'static str,
    meaning: &'static str,
) -> FaultRow {
    let lasts_ms = (1_000, 30_000);
    FaultRow { kind, name, row, befalls: Befalls::Relay, size, unit: "permille", lasts_ms, meaning, keeps }
}

const fn cut(kind: FaultKind, name: &'static str, befalls: Befalls, meaning: &'static str) -> FaultRow {
    let keeps = "one_charge_per_job";
    FaultRow { kind, name, row: 6, befalls, size: (1, 1), unit: "", lasts_ms: (500, 15_000), meaning, keeps }
}

const fn lie(
    kind: FaultKind,
    name: &'static str,
    row: u8,
    befalls: Befalls,
    keeps: &'static str,
    meaning: &'static str,
) -> FaultRow {
    FaultRow { kind, name, row, befalls, size: (1, 1), unit: "", lasts_ms: (2_000, 30_000), meaning, keeps }
}

const fn crash(
    kind: FaultKind,
    name: &'static str,
    befalls: Befalls,
    lasts_ms: (u64, u64),
    keeps: &'static str,
) -> FaultRow {
    let meaning = "the process is killed at any instant and restarts from its journal";
    FaultRow { kind, name, row: 17, befalls, size: (1, 1), unit: "", lasts_ms, meaning, keeps }
}

const fn runner(
    kind: FaultKind,
    name: &'static str,
    size: (u64, u64),
    unit: &'static str,
    meaning: &'static str,
) -> FaultRow {
    let (befalls, lasts_ms, keeps) = (Befalls::Node, (2_000, 20_000), "every_job_ends");
    FaultRow { kind, name, row: 22, befalls, size, unit, lasts_ms, meaning, keeps }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_line_and_its_name_leads_back_to_it() {
        for row in &FAULTS {
            assert_eq!(FAULTS.iter().filter(|other| other.kind == row.kind).count(), 1, "{}", row.name);
            assert_eq!(FaultKind::named(row.name), Some(row.kind));
            assert_eq!(row.kind.row().name, row.name);
            assert!(row.size.0 <= row.size.1 && row.lasts_ms.0 < row.lasts_ms.1, "{}", row.name);
        }
    }
}
