//! A fleet of unequal nodes on paper: continuous batching without a network, so that what a strategy does to waiting
//! times can be tested in a moment. Registries and strategy are the production ones; the simulator is for more.

#![allow(unreachable_pub, dead_code, reason = "every test binary uses its own part")]

use std::collections::VecDeque;

use fedai_protocol::limits::DESCRIPTOR_LEASE_SECONDS;
use fedai_protocol::message::Received;
use fedai_protocol::quote_request::Mode;
use fedai_protocol::router_profile::RouterFee;
use fedai_protocol::{LoadPing, Msat, PublicKey, Tokens, UnixMicros, UnixSeconds, Usage};
use fedai_router_agent::core::candidate::network_max_ms;
use fedai_router_agent::core::node_view::Observation;
use fedai_router_agent::core::policy::Policy;
use fedai_router_agent::core::registry::{Held, Registry};
use fedai_router_agent::core::scheduler::{Asked, Scratch, plan};
use fedai_router_agent::core::trust::{JobWeight, Trust};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::world::{MODEL, START, descriptor, event_id, offer, price, request};

const RTT_MS: f64 = 50.0;

/// A server: slots, prompt speed, step time.
#[derive(Clone, Debug)]
pub struct Server {
    pub slots: usize,
    pub prefill_ms: f64,
    pub alone_ms: f64,
    pub each_ms: f64,
    pub lies: bool,
    waiting: VecDeque<usize>,
    reading: VecDeque<(usize, f64)>,
    writing: Vec<(usize, f64)>,
    at_ms: f64,
    pub served: usize,
}

impl Server {
    pub fn new(slots: usize, prefill_ms: f64, alone_ms: f64, each_ms: f64) -> Self {
        Self {
            slots,
            prefill_ms,
            alone_ms,
            each_ms,
            lies: false,
            waiting: VecDeque::new(),
            reading: VecDeque::new(),
            writing: Vec::new(),
            at_ms: 0.0,
            served: 0,
        }
    }

    /// Jobs of this size that it finishes per second when it is full.
    pub fn capacity(&self, prompt: f64, output: f64) -> f64 {
        let full = self.alone_ms + self.each_ms * (self.slots as f64 - 1.0);
        1e3 / (self.prefill_ms * prompt + full * output / self.slots as f64)
    }

    fn jobs(&self) -> usize {
        self.waiting.len() + self.reading.len() + self.writing.len()
    }

    fn step_ms(&self, jobs: usize) -> f64 {
        self.alone_ms + self.each_ms * (jobs.max(1) as f64 - 1.0)
    }

    /// When something ends there, if nothing comes.
    fn next_ms(&self) -> Option<f64> {
        let read = self.reading.front().map(|(_, left)| *left);
        let least = self.writing.iter().map(|(_, tokens)| *tokens).min_by(f64::total_cmp);
        let written = least.map(|tokens| tokens * self.step_ms(self.writing.len()));
        let next = [read, written].into_iter().flatten().min_by(f64::total_cmp)?;
        Some(self.at_ms + next.max(0.0))
    }

    fn advance(&mut self, to_ms: f64) {
        let (passed, step) = ((to_ms - self.at_ms).max(0.0), self.step_ms(self.writing.len()));
        if let Some((_, left)) = self.reading.front_mut() {
            *left -= passed;
        }
        for (_, tokens) in &mut self.writing {
            *tokens -= passed / step;
        }
        self.at_ms = to_ms;
    }

    fn settle(&mut self, jobs: &mut [Job]) -> Vec<usize> {
        let mut ended = Vec::new();
        self.writing.retain(|(job, tokens)| {
            let is_over = *tokens <= 1e-6;
            if is_over {
                ended.push(*job);
            }
            !is_over
        });
        while let Some((job, _)) = self.reading.front().copied().filter(|(_, left)| *left <= 1e-6) {
            self.reading.pop_front();
            jobs[job].first_ms = self.at_ms;
            self.writing.push((job, jobs[job].output));
        }
        while self.reading.len() + self.writing.len() < self.slots {
            let Some(job) = self.waiting.pop_front() else { break };
            self.reading.push_back((job, self.prefill_ms * jobs[job].prompt));
        }
        ended
    }

    /// How long a job would take if nothing else came: what a clairvoyant knows.
    fn clairvoyant_ms(&self, job: &Job, jobs: &[Job]) -> f64 {
        let full = self.step_ms(self.slots.min(self.jobs() + 1));
        let reading: f64 = self.reading.iter().map(|(_, left)| left).sum();
        let waiting: f64 = self.waiting.iter().map(|at| self.prefill_ms * jobs[*at].prompt).sum();
        let mut free = self.slots.saturating_sub(self.reading.len() + self.writing.len());
        let mut lefts: Vec<f64> = self.writing.iter().map(|(_, tokens)| tokens * full).collect();
        lefts.extend(self.reading.iter().map(|(at, _)| jobs[*at].output * full));
        lefts.sort_by(f64::total_cmp);
        free = free.min(self.slots);
        let ahead = self.waiting.len();
        let slot = if ahead < free { 0.0 } else { lefts.get(ahead - free).copied().unwrap_or(1e9) };
        let behind = if ahead >= free { waiting } else { reading + waiting };
        slot.max(behind) + self.prefill_ms * job.prompt + full * job.output
    }
}

/// One job.
#[derive(Clone, Debug)]
pub struct Job {
    at_ms: f64,
    prompt: f64,
    output: f64,
    first_ms: f64,
    router: usize,
    node: usize,
    beside: u32,
    queued: bool,
}

/// Who picks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picker {
    Production,
    Clairvoyant,
}

/// What is run.
#[derive(Clone, Debug)]
pub struct Trial {
    pub servers: Vec<Server>,
    pub load: f64,
    pub jobs: usize,
    pub routers: usize,
    pub info_age_ms: f64,
    pub picker: Picker,
    pub policy: Policy,
    pub seed: u64,
}

/// What came out, after a warm-up cut of a fifth.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub ttft_p95_ms: f64,
    pub total_p50_ms: f64,
    pub total_p95_ms: f64,
    pub served: Vec<usize>,
}

struct Router {
    registry: Registry,
    trust: Vec<Trust>,
    scratch: Scratch,
}

/// A key for a node.
pub fn node_key(at: usize) -> PublicKey {
    PublicKey::from_byte_array(event_id(at as u64).to_bytes())
}

/// Forty nodes: a few large, some middling, many small.
pub fn forty() -> Vec<Server> {
    (0..40)
        .map(|n| match n % 8 {
            0 => Server::new(16, 0.2, 12.0, 0.6),
            1 | 2 => Server::new(8, 0.6, 20.0, 1.5),
            3..=5 => Server::new(4, 1.5, 35.0, 5.0),
            _ => Server::new(2, 4.0, 60.0, 20.0),
        })
        .collect()
}

fn unit(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

fn now(ms: f64) -> UnixMicros {
    UnixMicros(START.micros().0 + (ms * 1e3) as u64)
}

impl Router {
    fn new(n: usize, trial: &Trial) -> Self {
        let mut registry =
            Registry::new(event_id(90_000 + n as u64).to_bytes().into_key(), trial.policy.clone());
        let long = START.plus(DESCRIPTOR_LEASE_SECONDS * 10_000);
        for (at, server) in trial.servers.iter().enumerate() {
            let (key, name) = (node_key(at), format!("node-{at}"));
            let mut offer = offer(&name, price(1_000_000, 3_000_000));
            offer.slots = u32::try_from(server.slots).unwrap() * if server.lies { 3 } else { 1 };
            offer.context_tokens = Tokens::saturating(1 << 20);
            let id = |k: u64| event_id(1_000_000 + at as u64 * 2 + k);
            let (one, two) = (
                Received::simulated(descriptor(&name, long), key, id(0), START),
                Received::simulated(offer, key, id(1), START),
            );
            let trust = Trust::default();
            registry.descriptor(now(0.0), Held { received: one, event: None }, &trust);
            registry.offer(now(0.0), Held { received: two, event: None }, &trust);
        }
        Self { registry, trust: vec![Trust::default(); trial.servers.len()], scratch: Scratch::default() }
    }

    fn pick(&mut self, at_ms: f64, seed: u64, job: &Job, policy: &Policy) -> (usize, bool, u32) {
        let mut wanted = request(Mode::Balanced);
        wanted.prompt_tokens = Tokens::saturating(job.prompt as u64);
        wanted.max_output_tokens = Tokens::saturating(2_048);
        wanted.expires_at = UnixSeconds(u64::MAX / 4);
        let asked = Asked { id: event_id(seed), request: &wanted, fee: RouterFee::default(), methods: 1 };
        let fleets = self.registry.fleets(Some(MODEL));
        let Ok(decision) = plan(now(at_ms), seed, &asked, policy, &fleets, &mut self.scratch) else {
            return ((seed % self.trust.len() as u64) as usize, true, 0);
        };
        let choice = &decision.choices[0];
        let node = (0..self.trust.len()).find(|n| node_key(*n) == choice.node).unwrap();
        let view = self.registry.view(&choice.node, MODEL);
        (node, choice.terms.wait_ms > 0.0, view.map_or(0, |view| view.jobs(now(at_ms), policy)))
    }

    fn ended(&mut self, at_ms: f64, job: &Job) {
        let (at, key) = (now(at_ms), node_key(job.node));
        self.registry.touch(at, &key, MODEL, |view| view.ended(now(job.at_ms)));
        self.trust[job.node].accepted(at, JobWeight::new(Msat::saturating(20_000), 900, 0), true);
        let (first, total) = (job.first_ms - job.at_ms + RTT_MS, at_ms - job.at_ms + RTT_MS);
        let usage = Usage {
            input_tokens: Tokens::saturating(job.prompt as u64),
            output_tokens: Tokens::saturating(job.output as u64),
            output_bytes: 0,
            ..Usage::default()
        };
        let seen = Observation {
            ttft_ms: first as u64,
            total_ms: total as u64,
            node_ttft_ms: (first - RTT_MS) as u64,
            network_max_ms: network_max_ms(self.registry.fleets(Some(MODEL)).first().copied()),
            usage,
            queued: job.queued,
            beside: job.beside,
            is_drawn: true,
        };
        let trust = self.trust[job.node];
        self.registry.output_length(at, MODEL, job.output as u64);
        self.registry.learn(at, &key, MODEL, &trust, |view| view.observe(at, &seen));
    }

    fn hear(&mut self, at_ms: f64, servers: &[Server]) {
        for (at, server) in servers.iter().enumerate() {
            let jobs = if server.lies { 0 } else { server.jobs() };
            let running = jobs.min(server.slots);
            let load = LoadPing {
                node: format!("node-{at}"),
                load_permille: 0,
                running: running as u32,
                queued: (jobs - running) as u32,
                slots: server.slots as u32,
                wait_ms: 0,
            };
            let second = START.plus((at_ms / 1e3) as u64);
            self.registry.load(now(at_ms), &Received::simulated(load, node_key(at), event_id(1), second));
        }
    }
}

trait IntoKey {
    fn into_key(self) -> PublicKey;
}

impl IntoKey for [u8; 32] {
    fn into_key(self) -> PublicKey {
        PublicKey::from_byte_array(self)
    }
}

/// Jobs of exponential sizes at exponential distances.
fn draw_jobs(trial: &Trial, rng: &mut ChaCha8Rng) -> Vec<Job> {
    let (prompt_mean, output_mean) = (500.0, 200.0);
    let capacity: f64 = trial.servers.iter().map(|s| s.capacity(prompt_mean, output_mean)).sum();
    let gap_ms = 1e3 / (capacity * trial.load);
    let mut at_ms = 0.0;
    let size = |mean: f64, u: f64| (mean * -(1.0 - u).ln()).clamp(8.0, mean * 6.0);
    (0..trial.jobs)
        .map(|_| {
            at_ms += -gap_ms * (1.0 - unit(rng)).ln();
            let (prompt, output) = (size(prompt_mean, unit(rng)), size(output_mean, unit(rng)));
            let router = rng.next_u64() as usize % trial.routers;
            Job { at_ms, prompt, output, first_ms: 0.0, router, node: 0, beside: 0, queued: false }
        })
        .collect()
}

/// A trial under way.
struct Run<'a> {
    trial: &'a Trial,
    rng: ChaCha8Rng,
    jobs: Vec<Job>,
    servers: Vec<Server>,
    routers: Vec<Router>,
    next_job: usize,
    next_load: f64,
    next_refresh: f64,
    times: Vec<(f64, f64)>,
}

impl Run<'_> {
    /// Lets the next thing happen; false when nothing is left.
    fn step(&mut self) -> bool {
        let arrival = self.jobs.get(self.next_job).map_or(f64::INFINITY, |job| job.at_ms);
        let (node, step) = self
            .servers
            .iter()
            .enumerate()
            .filter_map(|(n, server)| Some((n, server.next_ms()?)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap_or((usize::MAX, f64::INFINITY));
        if arrival.is_infinite() && step.is_infinite() {
            return false;
        }
        if self.next_load.min(self.next_refresh) <= arrival.min(step) {
            self.tick();
        } else if arrival <= step {
            self.arrive(arrival);
        } else {
            self.serve(node, step);
        }
        true
    }

    fn tick(&mut self) {
        if self.next_load <= self.next_refresh {
            let at = self.next_load;
            self.routers.iter_mut().for_each(|router| router.hear(at, &self.servers));
            self.next_load += self.trial.info_age_ms;
            return;
        }
        for Router { registry, trust, .. } in &mut self.routers {
            let of = |key: &PublicKey| {
                (0..trust.len()).find(|n| node_key(*n) == *key).map(|n| trust[n]).unwrap_or_default()
            };
            registry.refresh(now(self.next_refresh), of);
        }
        self.next_refresh += 5_000.0;
    }

    fn arrive(&mut self, at_ms: f64) {
        let job = self.jobs[self.next_job].clone();
        let (node, queued, beside) = match self.trial.picker {
            Picker::Production => {
                self.routers[job.router].pick(at_ms, self.rng.next_u64(), &job, &self.trial.policy)
            }
            Picker::Clairvoyant => {
                self.servers.iter_mut().for_each(|server| server.advance(at_ms));
                let of = |n: &usize| self.servers[*n].clairvoyant_ms(&job, &self.jobs);
                let best = (0..self.servers.len()).min_by(|a, b| of(a).total_cmp(&of(b)));
                (best.unwrap(), false, 0)
            }
        };
        let sent = &mut self.jobs[self.next_job];
        (sent.node, sent.queued, sent.beside) = (node, queued, beside);
        let registry = &mut self.routers[job.router].registry;
        registry.touch(now(at_ms), &node_key(node), MODEL, |view| view.sent(now(at_ms)));
        self.servers[node].advance(at_ms);
        self.servers[node].waiting.push_back(self.next_job);
        self.servers[node].settle(&mut self.jobs);
        self.next_job += 1;
    }

    fn serve(&mut self, node: usize, at_ms: f64) {
        self.servers[node].advance(at_ms);
        for ended in self.servers[node].settle(&mut self.jobs) {
            let job = self.jobs[ended].clone();
            if ended >= self.trial.jobs / 5 {
                self.servers[node].served += 1;
                self.times.push((job.first_ms - job.at_ms + RTT_MS, at_ms - job.at_ms + RTT_MS));
            }
            self.routers[job.router].ended(at_ms, &job);
        }
    }
}

/// Runs a trial.
pub fn run(trial: &Trial) -> Outcome {
    let mut rng = ChaCha8Rng::seed_from_u64(trial.seed);
    let mut run = Run {
        trial,
        jobs: draw_jobs(trial, &mut rng),
        rng,
        servers: trial.servers.clone(),
        routers: (0..trial.routers).map(|n| Router::new(n, trial)).collect(),
        next_job: 0,
        next_load: 0.0,
        next_refresh: 0.0,
        times: Vec::new(),
    };
    while run.step() {}
    let quantile = |of: fn(&(f64, f64)) -> f64, q: f64| {
        let mut values: Vec<f64> = run.times.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[((values.len() - 1) as f64 * q) as usize]
    };
    Outcome {
        ttft_p95_ms: quantile(|t| t.0, 0.95),
        total_p50_ms: quantile(|t| t.1, 0.5),
        total_p95_ms: quantile(|t| t.1, 0.95),
        served: run.servers.iter().map(|server| server.served).collect(),
    }
}
