//! How fast a world runs and how that grows: processor time a request and peak memory by nodes and requests, with the
//! production cores of router, nodes and clients on the typed wire and all invariants watched.
//!
//! `cargo bench -p fedai-sim --bench world_speed -- [NODES:REQUESTS]… [--plots DIR]` prints a line for each world, each
//! of which has a process of its own, and draws both figures. Time is the processor's, not the clock's: other work on
//! the machine counts for less.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing
)]

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use fedai_sim::report::Report;
use fedai_sim::report::plot::{Axis, LineChart, Mark, Scale, Series};
use fedai_sim::scenario::{Scenario, WorkloadKind};
use fedai_sim::world::World;

/// Three quarters of what the nodes can do.
const LOAD: f64 = 0.75;
/// What is run when nothing is asked for.
const SIZES: [(usize, usize); 4] = [(100, 20_000), (300, 20_000), (1_000, 20_000), (1_000, 100_000)];
/// Marks a process that runs one world and says its figures.
const ONE: &str = "--one-world";

/// What one world took.
#[derive(Clone, Copy)]
struct Figures {
    nodes: usize,
    requests: usize,
    /// By the clock.
    seconds: f64,
    /// Of one processor, drawing the world included.
    busy_seconds: f64,
    done: f64,
    events: f64,
    megabytes: f64,
}

impl Figures {
    fn micros(&self) -> f64 {
        self.busy_seconds * 1e6 / self.requests as f64
    }
}

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let (mut sizes, mut folder, mut is_one) = (Vec::new(), None, false);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--plots" => folder = words.next().map(PathBuf::from),
            ONE => is_one = true,
            word => sizes.extend(parse(word)),
        }
    }
    if is_one {
        sizes.first().iter().for_each(|(nodes, requests)| run(*nodes, *requests));
        return;
    }
    println!(
        "| nodes | requests | processor s | µs a request | requests/s | clock s | done | events a request | peak MB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut all: Vec<Figures> = Vec::new();
    for (nodes, requests) in if sizes.is_empty() { SIZES.to_vec() } else { sizes } {
        let figures = apart(nodes, requests);
        let Figures { seconds, busy_seconds, done, events, megabytes, .. } = figures;
        let (each, rate) = (figures.micros(), requests as f64 / busy_seconds);
        println!(
            "| {nodes} | {requests} | {busy_seconds:.1} | {each:.1} | {rate:.0} | {seconds:.1} | {done:.2} % | \
             {events:.1} | {megabytes:.0} |"
        );
        all.push(figures);
    }
    if let Some(folder) = folder {
        std::fs::create_dir_all(&folder).unwrap();
        let time = Axis::new("processor time a request, µs", Scale::Linear);
        let memory = Axis::new("peak memory, MB", Scale::Log);
        let picture = |title: &str, y: Axis, of: fn(&Figures) -> f64| chart(&all, title, y, of).to_svg();
        let titles =
            ("Time of the simulator by requests and nodes", "Memory of the simulator by requests and nodes");
        std::fs::write(folder.join("sim_time.svg"), picture(titles.0, time, Figures::micros)).unwrap();
        std::fs::write(folder.join("sim_memory.svg"), picture(titles.1, memory, |one| one.megabytes))
            .unwrap();
    }
}

/// A line for each number of nodes.
fn chart(all: &[Figures], title: &str, y: Axis, of: fn(&Figures) -> f64) -> LineChart {
    let mut nodes: Vec<usize> = all.iter().map(|one| one.nodes).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let points = |nodes: usize| {
        let mut points: Vec<(f64, f64)> =
            all.iter().filter(|one| one.nodes == nodes).map(|one| (one.requests as f64, of(one))).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    let series = nodes.iter().enumerate().map(|(style, nodes)| Series {
        name: format!("{nodes} nodes"),
        style,
        points: points(*nodes),
    });
    let (title, x) = (title.to_owned(), Axis::new("requests", Scale::Log));
    LineChart { title, x, y, mark: Mark::DottedLine, series: series.collect() }
}

/// Runs a world in a process of its own, whose memory is that of this world alone.
fn apart(nodes: usize, requests: usize) -> Figures {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).args([ONE, &format!("{nodes}:{requests}")]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<f64> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let [seconds, busy_seconds, done, events, megabytes] = numbers[..] else { panic!("{line}") };
    Figures { nodes, requests, seconds, busy_seconds, done, events, megabytes }
}

fn run(nodes: usize, requests: usize) {
    let begin = Instant::now();
    let scenario = Scenario::market_at_load(WorkloadKind::Poisson, nodes, requests, LOAD, 1).typed();
    let log = World::new(scenario).run(&mut |_| {}).unwrap_or_else(|violation| panic!("{violation}"));
    let seconds = begin.elapsed().as_secs_f64();
    let report = Report::new(&log);
    let done = report.requests.done as f64 / requests as f64 * 100.0;
    let events = log.events as f64 / requests as f64;
    println!("{seconds} {} {done} {events} {}", busy_seconds(), peak_megabytes());
}

fn parse(word: &str) -> Option<(usize, usize)> {
    let (nodes, requests) = word.split_once(':')?;
    Some((nodes.parse().ok()?, requests.parse().ok()?))
}

/// What this process had of processors so far, in its own code and in the kernel's.
fn busy_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: Vec<f64> = after_name.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // The state is no number; user and system time are the 14th and 15th fields of the line.
    (ticks[10] + ticks[11]) / TICKS_PER_SECOND
}

/// The most memory that this process has had so far.
fn peak_megabytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) / 1_024.0
}

/// What the kernel counts in, on every architecture that matters.
const TICKS_PER_SECOND: f64 = 100.0;
