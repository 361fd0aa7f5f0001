//! Everything about a run that is decided before it begins: nodes, jobs, faults, seed. The same scenario gives the same
//! run, byte for byte.

use std::collections::BTreeSet;

use fedai_protocol::payment_offer::PaymentMethod;
use fedai_protocol::router_profile::RouterFee;
use fedai_protocol::{Msat, MsatPerMtok, Price, UnixMicros};

use crate::audit_plan::AuditPlan;
use crate::chance::{Chance, Stream};
use crate::faults::{Befallen, FaultKind, FaultPlan, Selection};
use crate::hardware::MARKET;
use crate::market::budget::Budget;
use crate::runner::{Emit, FEMTOS_PER_MICRO, RunnerProfile};
use crate::wire::Wire;
use crate::workload::closed_loop::ClosedLoop;
use crate::workload::gaps::Gaps;
use crate::workload::open_loop::{OpenLoop, Sizes};
use crate::workload::poisson::Poisson;
use crate::workload::prompt::Prompt;
use crate::workload::sessions::Sessions;
use crate::workload::{Arrival, BlockTable};
use crate::world::Party;

/// The model that all simulated nodes offer.
pub const MODEL: &str = "simulated-8b";
/// When every world begins: the start of an hour, so that usage epochs are whole.
pub const START: UnixMicros = UnixMicros(1_800_000_000_000_000);

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// Name of its hardware class.
    pub class: &'static str,
    /// Its runner.
    pub runner: RunnerProfile,
    /// How long its runner loads the model before it serves, after every start, in milliseconds.
    pub load_ms: u64,
    /// Jobs that may wait.
    pub queue_max: usize,
    /// The price of its offer, where jobs are paid; else it only prices the report.
    pub list_price: Price,
    /// What a second of one busy slot costs it, in msat.
    pub cost_msat_per_slot_second: u64,
    /// A cheat; only tests of the invariants set it.
    pub tamper: Option<Tamper>,
}

impl NodeSpec {
    /// Jobs of this size that it does in a second when it has no pause.
    #[must_use]
    pub fn jobs_per_second(&self, prompt_tokens: f64, words: f64) -> f64 {
        let slots = f64::from(self.runner.slots.max(1));
        let cost = &self.runner.cost;
        let step = (cost.step as f64) + slots * (cost.sequence as f64);
        let femtos = prompt_tokens * (cost.prefill_token as f64) + words * step / slots;
        1e15 / femtos.max(1.0)
    }

    /// What a million output tokens cost it at the margin, when all its slots are busy.
    #[must_use]
    pub fn output_cost(&self) -> MsatPerMtok {
        let slots = u128::from(self.runner.slots.max(1));
        let cost = &self.runner.cost;
        // A million tokens of one slot, in a step that decodes for all.
        let femtos = u128::from(cost.step) + u128::from(cost.sequence) * slots;
        let msat = femtos.saturating_mul(u128::from(self.cost_msat_per_slot_second)) / FEMTOS_PER_MICRO;
        MsatPerMtok::saturating(u64::try_from(msat).unwrap_or(u64::MAX))
    }
}

/// One router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouterSpec {
    /// What it takes for a job.
    pub fee: RouterFee,
}

/// How parties deal with each other, and how often they speak: the same for all.
#[derive(Clone, Debug, PartialEq)]
pub struct MarketTerms {
    /// How jobs are paid: free, or by account.
    pub payment: PaymentMethod,
    /// Shortest and longest time between two load pings of a node, in milliseconds.
    pub ping_ms: (u64, u64),
    /// How long a node keeps a finished job for a client that asks again, in milliseconds.
    pub keep_ms: u64,
    /// After this a person has left, in seconds.
    pub deadline_seconds: u64,
    /// Longest answer that a client asks for, as a multiple of the one that it gets: nobody knows its length before.
    pub headroom: u64,
    /// Tokens that clients allow an answer, whatever it will take: nobody knows that before. At least the headroom
    /// holds.
    pub output_tokens_max: Option<u64>,
    /// Requests a second that a router answers at most.
    pub router_rate: f64,
    /// Time between two of a router's summaries, in seconds.
    pub summary_seconds: u64,
    /// Whether parties write down what they need after a crash. Without it nobody may be killed.
    pub keeps_journals: bool,
}

impl Default for MarketTerms {
    fn default() -> Self {
        Self {
            payment: PaymentMethod::Credit,
            ping_ms: (5_000, 15_000),
            keep_ms: 180_000,
            deadline_seconds: 60,
            headroom: 1,
            output_tokens_max: None,
            router_rate: 1_000.0,
            summary_seconds: 60,
            keeps_journals: true,
        }
    }
}

impl MarketTerms {
    /// Ways to pay, in the words of quotes.
    #[must_use]
    pub fn methods(&self) -> Vec<PaymentMethod> {
        let mut methods = vec![PaymentMethod::Free];
        if self.payment != PaymentMethod::Free {
            methods.insert(0, self.payment);
        }
        methods
    }
}

/// A job that an accomplice of a node asks for, through a router, and wants at that node. It is in nobody's statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnJob {
    /// When.
    pub at: UnixMicros,
    /// Node.
    pub node: usize,
    /// What is asked. Its number is set by the world.
    pub prompt: Prompt,
}

/// Ways to break a world on purpose: each must be caught by an invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tamper {
    /// A node signs a second receipt for a job.
    DoubleCharge,
    /// The end of a job is never told.
    ForgetEnding,
    /// A word of an answer is handed on twice.
    RepeatOutput,
}

/// Which workload a market has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WorkloadKind {
    /// Independent jobs.
    Poisson,
    /// Conversations of several turns, whose times do not depend on the answers.
    Sessions,
    /// Independent jobs that come in another way, under this name.
    Open(&'static str, Gaps),
    /// Conversations of people who wait for the answer before they think on.
    ClosedLoop,
}

impl WorkloadKind {
    /// Names of all, as reports and the command line have them, and what they are.
    pub const NAMES: [(&str, &str); 7] = [
        ("poisson", "independent requests with exponential gaps"),
        ("gamma", "independent requests with gamma gaps, in bursts (coefficient of variation 2)"),
        ("weibull", "independent requests with Weibull gaps, in longer bursts (shape 0.6)"),
        ("diurnal", "independent requests at a rate that swings by 80 % over ten minutes"),
        ("spikes", "independent requests, every five minutes half a minute at five times the rate"),
        ("sessions", "conversations of a few turns that carry what was said, on times of their own"),
        ("closed-loop", "conversations whose next turn comes a think time after the answer"),
    ];

    /// The workload of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "poisson" => Self::Poisson,
            "gamma" => Self::Open("gamma", Gaps::Gamma { cv: 2.0 }),
            "weibull" => Self::Open("weibull", Gaps::Weibull { shape: 0.6 }),
            "diurnal" => Self::Open("diurnal", Gaps::Diurnal { period_seconds: 600.0, swing: 0.8 }),
            "spikes" => {
                let spikes = Gaps::Spikes { every_seconds: 300.0, length_seconds: 30.0, factor: 5.0 };
                Self::Open("spikes", spikes)
            }
            "sessions" => Self::Sessions,
            "closed-loop" => Self::ClosedLoop,
            _ => return None,
        })
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Poisson => "poisson",
            Self::Sessions => "sessions",
            Self::Open(name, _) => name,
            Self::ClosedLoop => "closed-loop",
        }
    }

    fn draw(&self, requests: usize, rate: f64, begin: UnixMicros, seed: u64) -> (Vec<Arrival>, BlockTable) {
        let mut chance = Chance::new(seed, Stream::Workload);
        let arrivals = match *self {
            Self::Poisson => Poisson { requests, rate, prompt_bytes_mean: 900.0, words_mean: 60.0 }
                .draw(begin, &mut chance),
            Self::Sessions => {
                Sessions { requests, rate, turns_mean: 4.0, think_seconds_mean: 8.0 }.draw(begin, &mut chance)
            }
            Self::Open(_, gaps) => {
                OpenLoop { requests, rate, gaps, sizes: Sizes::default() }.draw(begin, seed)
            }
            Self::ClosedLoop => {
                let (turns_mean, think_seconds_mean, sizes) = (4.0, 8.0, Sizes::default());
                let sessions_rate = rate / turns_mean;
                return ClosedLoop { requests, sessions_rate, turns_mean, think_seconds_mean, sizes }
                    .draw(begin, seed);
            }
        };
        (arrivals, BlockTable::default())
    }
}

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Seed of everything.
    pub seed: u64,
    /// Name of the workload.
    pub workload: &'static str,
    /// How parties speak.
    pub wire: Wire,
    /// MarketTerms of all.
    pub terms: MarketTerms,
    /// Routers. Every node announces itself to all of them.
    pub routers: Vec<RouterSpec>,
    /// Routers that a client asks at once, drawn for each job.
    pub routers_asked: usize,
    /// Nodes.
    pub nodes: Vec<NodeSpec>,
    /// Jobs, in order of their numbers; who comes when is asked of an [`ArrivalQueue`](crate::workload::ArrivalQueue).
    pub arrivals: Vec<Arrival>,
    /// The blocks that their prompts are made of.
    pub blocks: BlockTable,
    /// What clients will pay; whatever it costs when missing.
    pub budget: Option<Budget>,
    /// Jobs of accomplices, in order of time.
    pub own_jobs: Vec<OwnJob>,
    /// Whether somebody audits the nodes; every router follows it.
    pub audits: Option<AuditPlan>,
    /// Faults.
    pub faults: FaultPlan,
    /// The jobs that come; all when none is named.
    pub only_jobs: Option<BTreeSet<usize>>,
    /// Befallen that are killed before an effect of theirs, counted from 1.
    pub crash_points: BTreeSet<(Party, u64)>,
    /// Relays.
    pub relays: usize,
    /// From a sender through a relay to a reader, in milliseconds.
    pub relay_way_ms: u64,
    /// Mean of what comes on top.
    pub relay_jitter_ms: u64,
    /// How much later load pings arrive than everything else, in milliseconds.
    pub info_age_ms: u64,
    /// A world that is broken on purpose.
    pub tamper: Option<Tamper>,
}

impl Scenario {
    /// A market without faults.
    #[must_use]
    pub fn market(kind: WorkloadKind, nodes: usize, requests: usize, rate: f64, seed: u64) -> Self {
        let mut fleet = Chance::new(seed, Stream::Fleet);
        let begin = START.plus_seconds(WARM_UP_SECONDS);
        let (arrivals, blocks) = kind.draw(requests, rate, begin, seed);
        Self {
            seed,
            workload: kind.name(),
            nodes: (0..nodes).map(|_| draw_node(&mut fleet)).collect(),
            arrivals,
            blocks,
            ..Self::empty(seed)
        }
    }

    /// The median of the nodes' list prices of output.
    #[must_use]
    pub fn usual_price(&self) -> MsatPerMtok {
        let mut prices: Vec<MsatPerMtok> = self.nodes.iter().map(|node| node.list_price.output).collect();
        prices.sort_unstable();
        prices.get(prices.len() / 2).copied().unwrap_or_default()
    }

    /// A market in which so large a part of what all nodes can do is asked of them.
    #[must_use]
    pub fn market_at_load(kind: WorkloadKind, nodes: usize, requests: usize, load: f64, seed: u64) -> Self {
        // Sizes do not depend on the rate: a first draw gives their means.
        let sample = Self::market(kind, nodes, requests.min(LOAD_SAMPLE), 1.0, seed);
        let mean = |of: fn(&Arrival) -> u64| {
            let sum: u64 = sample.arrivals.iter().map(of).sum();
            sum as f64 / (sample.arrivals.len() as f64).max(1.0)
        };
        let (prompt, words) = (mean(|job| job.prompt.tokens()), mean(|job| job.prompt.words));
        let capacity: f64 = sample.nodes.iter().map(|node| node.jobs_per_second(prompt, words)).sum();
        Self::market(kind, nodes, requests, capacity * load, seed)
    }

    /// A world with one router in which nothing happens: a base for others.
    #[must_use]
    pub fn empty(seed: u64) -> Self {
        Self {
            seed,
            workload: "none",
            wire: Wire::Sealed,
            terms: MarketTerms::default(),
            routers: vec![RouterSpec::default()],
            routers_asked: 1,
            nodes: Vec::new(),
            arrivals: Vec::new(),
            budget: None,
            blocks: BlockTable::default(),
            own_jobs: Vec::new(),
            audits: None,
            faults: FaultPlan::none(),
            only_jobs: None,
            crash_points: BTreeSet::new(),
            relays: 1,
            relay_way_ms: 35,
            relay_jitter_ms: 10,
            info_age_ms: 0,
            tamper: None,
        }
    }

    /// The same on the typed wire, at whatever rate: a router takes all requests, a finished job is kept no longer than
    /// a client asks for it.
    #[must_use]
    pub fn typed(mut self) -> Self {
        self.wire = Wire::Typed;
        for node in &mut self.nodes {
            node.runner.emit = Emit::Coalesced { max_ms: TYPED_EMIT_MS };
        }
        self.terms.router_rate = 1e9;
        let is_rough = !self.faults.is_none() || !self.crash_points.is_empty();
        self.terms.keep_ms = self.terms.keep_ms.min(if is_rough { 20_000 } else { 5_000 });
        self.terms.keeps_journals = is_rough;
        self
    }

    /// The same with faults drawn from its seed, until the last job has come.
    #[must_use]
    pub fn with_faults(mut self) -> Self {
        let begin = START.plus_seconds(WARM_UP_SECONDS);
        let last = self.arrivals.iter().map(|arrival| arrival.at).max().unwrap_or(begin);
        let mut chance = Chance::new(self.seed, Stream::Faults);
        self.faults = FaultPlan::draw(self.fleet(), begin, last.plus_seconds(10), &mut chance);
        self
    }

    /// Who there is to be befallen by faults.
    fn fleet(&self) -> Befallen {
        let clients =
            self.arrivals.iter().filter(|arrival| !arrival.must_succeed).count().min(FAULTY_CLIENTS_MAX);
        Befallen { relays: self.relays, routers: self.routers.len(), nodes: self.nodes.len(), clients }
    }

    /// True when this job comes.
    #[must_use]
    pub fn has_job(&self, job: usize) -> bool {
        self.only_jobs.as_ref().is_none_or(|jobs| jobs.contains(&job))
    }

    /// True when second arrivals are looked at: it costs a hash of the router for every event.
    #[must_use]
    pub fn watches_repeats(&self) -> bool {
        self.faults.has(FaultKind::RelayDuplicate)
    }

    /// The same with a part of its faults and jobs.
    #[must_use]
    pub fn keeping(mut self, selection: &Selection) -> Self {
        self.faults = selection.of_plan(self.faults);
        self.only_jobs.clone_from(&selection.jobs);
        self
    }

    /// A small world with faults of some kinds, drawn from the seed, and one job after they are over that has to
    /// succeed.
    #[must_use]
    pub fn swarm(seed: u64) -> Self {
        let world = Self::small_world(seed);
        let (begin, calm_at) = (START.plus_seconds(WARM_UP_SECONDS), world.faults.calm_at);
        let faults = FaultPlan::draw(world.fleet(), begin, calm_at, &mut Chance::new(seed, Stream::Faults));
        Self { faults, ..world }
    }

    /// The small world of a seed with faults of these kinds and no others.
    #[must_use]
    pub fn swarm_of(seed: u64, kinds: &[FaultKind]) -> Self {
        let world = Self::small_world(seed);
        let (begin, calm_at) = (START.plus_seconds(WARM_UP_SECONDS), world.faults.calm_at);
        let mut chance = Chance::new(seed, Stream::Faults);
        let faults = FaultPlan::of_kinds(kinds, world.fleet(), begin, calm_at, &mut chance);
        Self { faults, ..world }
    }

    /// A small world without faults, up to its calm and the job after it.
    fn small_world(seed: u64) -> Self {
        let mut fleet = Chance::new(seed, Stream::Fleet);
        let mut workload = Chance::new(seed, Stream::Workload);
        let begin = START.plus_seconds(WARM_UP_SECONDS);
        let nodes = usize::try_from(fleet.between(1, 3)).unwrap_or(1);
        let relays = usize::try_from(fleet.between(1, 3)).unwrap_or(1);
        let requests = usize::try_from(workload.between(2, 4)).unwrap_or(2);
        // One prompt in a few is too large for a job open, so uploads see faults as well.
        let prompt_bytes_mean = if workload.happens(200) { 12_000.0 } else { 400.0 };
        let poisson = Poisson { requests, rate: 0.5, prompt_bytes_mean, words_mean: 10.0 };
        let mut arrivals = poisson.draw(begin, &mut workload);
        let calm_at = begin.plus_seconds(20);
        let last = arrivals.last().map_or(calm_at, |arrival| arrival.at.max(calm_at));
        let mut probe = poisson.draw(last.plus_seconds(RECOVERY_SECONDS), &mut workload).swap_remove(0);
        probe.prompt.job = requests;
        // Small enough for the slowest node: what fails now fails without a reason.
        probe.prompt.bytes = probe.prompt.bytes.min(1_000);
        probe.must_succeed = true;
        arrivals.push(probe);
        let mut trade = Chance::new(seed, Stream::Router);
        let routers = vec![RouterSpec::default(); if trade.happens(333) { 2 } else { 1 }];
        Self {
            seed,
            workload: "swarm",
            routers_asked: routers.len(),
            routers,
            nodes: (0..nodes).map(|_| draw_node(&mut fleet)).collect(),
            arrivals,
            faults: FaultPlan { faults: Vec::new(), calm_at },
            relays,
            relay_way_ms: fleet.between(1, 120),
            relay_jitter_ms: fleet.between(1, 60),
            ..Self::empty(seed)
        }
    }
}

/// A class of the market, and what one node of it differs by from another.
pub(crate) fn draw_node(chance: &mut Chance) -> NodeSpec {
    let [first, ..] = MARKET;
    let number = chance.between(0, MARKET.len() as u64 - 1);
    let class = usize::try_from(number).ok().and_then(|at| MARKET.get(at)).copied().unwrap_or(first);
    let spread = |chance: &mut Chance, value: u64| value.saturating_mul(chance.between(80, 120)) / 100;
    let list_price = Price {
        input: MsatPerMtok::saturating(spread(chance, class.price)),
        cached_input: None,
        output: MsatPerMtok::saturating(spread(chance, class.price.saturating_mul(3))),
        request: Msat::ZERO,
    };
    let (prefill, decode) = (chance.between(80, 120), chance.between(80, 120));
    let runner = class.runner.at_speed(prefill, decode);
    // A slot at half its list price's output rate pays for itself.
    let per_second = list_price.output.get().saturating_mul(runner.decode_rate()) / 1_000_000;
    NodeSpec {
        class: class.name,
        runner,
        load_ms: 0,
        queue_max: 16,
        list_price,
        cost_msat_per_slot_second: per_second * 2 / 5,
        tamper: None,
    }
}

/// A client that hears nothing for two seconds asks whether the node is there.
const TYPED_EMIT_MS: u64 = 1_500;
/// Jobs from which the mean size is taken.
const LOAD_SAMPLE: usize = 2_000;
/// In a large market some clients lie, not all.
const FAULTY_CLIENTS_MAX: usize = 50;
/// Nodes announce themselves before the first job comes.
pub(crate) const WARM_UP_SECONDS: u64 = 5;
/// Time to notice that all is well again. Announcements that were lost are renewed after five minutes and a half. A
/// router believes for up to two minutes in a job of which nobody told it that it ended, and a client has left after
/// one.
const RECOVERY_SECONDS: u64 = 400;
