//! The kinds of faults, and how the seed draws each.

/// What goes wrong. The table says more: [`FaultKind::row`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// A relay loses events.
    RelayDrop,
    /// A relay hands events on more than once.
    RelayDuplicate,
    /// A relay holds events back, which also reorders them.
    RelayDelay,
    /// A relay says OK and loses the event.
    RelayLyingOk,
    /// A relay hides everything that one party says.
    RelayHides,
    /// A relay adds forged, altered, old and unwanted events.
    RelayInjects,
    /// A relay is gone.
    RelayDown,
    /// Half of the parties reach half of the relays only.
    Split,
    /// A party reaches no relay.
    PartyAlone,
    /// A party hears nothing.
    PartyDeaf,
    /// A party is not heard.
    PartyMute,
    /// A router steers to its friend.
    RouterPicksFriend,
    /// A router hides a node from clients.
    RouterHidesNode,
    /// A router alters a price.
    RouterAltersPrice,
    /// A router assigns one request twice.
    RouterAssignsTwice,
    /// A router does not answer.
    RouterSilent,
    /// A node bills too much.
    NodeOverBills,
    /// A node answers garbage.
    NodeGarbage,
    /// A node stops early and calls it complete.
    NodeTruncates,
    /// A node gives one client another client's answer.
    NodeSwaps,
    /// A node publishes and hands out receipts of earlier jobs again.
    NodeReplaysReceipt,
    /// A node signs a second receipt in the same place of its chain.
    NodeForks,
    /// A client sends its job again and again.
    ClientReplays,
    /// A client opens a second job under the id of the first.
    ClientAlters,
    /// A client floods the router and the node.
    ClientFloods,
    /// A client leaves in the middle of its answer.
    ClientVanishes,
    /// A client never acknowledges.
    ClientNeverAcks,
    /// Fresh identities crowd in and serve nobody.
    Sybils,
    /// The process of a node is killed.
    NodeCrash,
    /// The process of a router is killed.
    RouterCrash,
    /// A disk takes no more writes.
    DiskError,
    /// A clock is wrong by up to a day, and is set right later.
    ClockSkew,
    /// A runner gives nothing.
    RunnerHang,
    /// A runner stops at one token of each answer.
    RunnerStalls,
    /// A runner does not stop.
    RunnerStreamsOn,
}

/// Whom a kind of fault befalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Befalls {
    /// One relay, any.
    Relay,
    /// One relay, never the first: one stays honest.
    LyingRelay,
    /// The whole network.
    Network,
    /// One router, node or client.
    Party,
    /// One router, any: its process, not its honesty.
    Router,
    /// One router, never the first: one stays honest. With a single router it may be that one.
    LyingRouter,
    /// One node, any.
    Node,
    /// One node, never the first: one stays honest. With a single node it may be that one.
    LyingNode,
    /// One client, never that of the last job.
    LyingClient,
}

impl Befalls {
    /// True when whoever it befalls is not honest any more: promises are made to honest parties.
    #[must_use]
    pub const fn is_dishonest(self) -> bool {
        matches!(self, Self::LyingRelay | Self::LyingRouter | Self::LyingNode | Self::LyingClient)
    }
}

/// A kind of fault, as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultRow {
    /// Kind.
    pub kind: FaultKind,
    /// Its name on the command line.
    pub name: &'static str,
    /// Its row in docs/faults.md.
    pub row: u8,
    /// Whom it befalls.
    pub befalls: Befalls,
    /// How bad it is: smallest and largest.
    pub size: (u64, u64),
    /// What the size counts.
    pub unit: &'static str,
    /// How long it lasts, in milliseconds.
    pub lasts_ms: (u64, u64),
    /// What happens.
    pub meaning: &'static str,
    /// The invariant that is about this fault.
    pub keeps: &'static str,
}
