//! Comparisons: the same seeds give the same bytes however many threads there are, the report keeps its schema, and the
//! policies do what their names say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::num::NonZeroUsize;

use clap::CommandFactory as _;
use fedai_protocol::quote_request::Mode;
use fedai_sim::cli::Cli;
use fedai_sim::comparison::experiment::Draw;
use fedai_sim::comparison::{Comparison, Contender, Experiment, markdown, plots, report, run, summary};
use fedai_sim::hooks::Hooks;
use fedai_sim::run_log::JobLog;
use fedai_sim::workload::trace::Trace;
use fedai_sim::world::World;

/// A trace of one minute: sizes go up and down, gaps are uneven.
fn trace() -> Trace {
    let line = |i: u64| {
        let (at, input, output) = (i * 500 + i * i % 7 * 60, 200 + i * 37 % 900, 20 + i * 13 % 90);
        format!("{{\"timestamp\": {at}, \"input_length\": {input}, \"output_length\": {output}}}\n")
    };
    Trace::parse("minute.jsonl", &(0..120).map(line).collect::<String>()).unwrap()
}

fn experiment() -> Experiment {
    Experiment {
        trace: trace(),
        nodes: 8,
        routers: 2,
        load: 0.6,
        info_age_seconds: 5.0,
        liars: 0.25,
        requests: 60,
        mode: Mode::Balanced,
        deadline_seconds: 600,
    }
}

fn compare(experiment: &Experiment, contenders: &[Contender], seeds: u64, threads: usize) -> Comparison {
    let draws: Vec<Draw> = (1..=seeds).map(|seed| experiment.draw(seed)).collect();
    let threads = NonZeroUsize::new(threads).unwrap();
    let results = run::run_all(experiment, &draws, contenders, threads, &|_| {});
    summary::comparison(experiment, &draws, contenders, &results.unwrap_or_else(|error| panic!("{error}")))
}

#[test]
fn every_policy_runs_and_threads_do_not_show() {
    let experiment = experiment();
    let one = compare(&experiment, &Contender::ALL, 2, 1);
    let json = one.to_json().unwrap();
    assert_eq!(json, compare(&experiment, &Contender::ALL, 2, 3).to_json().unwrap());
    for (name, policy) in &one.policies {
        assert!(
            policy.total_ms.p50.mean > 0.0 && policy.ttft_ms.p95.mean <= policy.total_ms.p95.mean,
            "{name}"
        );
        assert!(policy.total_ms.p95.low <= policy.total_ms.p95.mean, "{name}");
        assert!(policy.drop_rate.mean < 0.05, "{name}: {:?}", policy.drop_rate);
        assert!(policy.cost_msat_per_request.mean > 0.0 && policy.jain.mean > 0.0, "{name}");
    }
    let cost = |name: &str| one.policies[name].cost_msat_per_request.mean;
    assert!(cost("cheapest") < cost("random"), "the cheapest is cheaper than any");
    let p95 = |name: &str| one.policies[name].total_ms.p95.mean;
    assert!(p95("jsq") < p95("random"), "perfect knowledge is better than none");

    // What was written is read again, and page and plots come out of it alike.
    let again: Comparison = serde_json::from_str(&json).unwrap();
    assert_eq!(again, one);
    assert_eq!(markdown::page(&again), markdown::page(&one));
    assert_eq!(plots::all(&again), plots::all(&one));
}

#[test]
fn draws_are_the_same_for_all_and_more_liars_are_the_same_ones_and_others() {
    let (few, many) = (experiment(), Experiment { liars: 0.5, ..experiment() });
    let (few, many) = (few.draw(3), many.draw(3));
    assert_eq!((few.liars.len(), many.liars.len()), (2, 4));
    assert!(few.liars.is_subset(&many.liars));
    assert_eq!(few.scenario, many.scenario, "fleet and workload do not depend on who lies");
    let asked = few.rate / few.capacities.iter().sum::<f64>();
    assert!((asked - 0.6).abs() < 1e-9, "{asked}");
}

/// Requests that the clairvoyant scheduler ends a second, over the capacity of the fleet, once queues have filled.
fn done_over_capacity(load: f64) -> f64 {
    let experiment = Experiment { load, liars: 0.0, requests: 1_500, ..experiment() };
    let draw = experiment.draw(2);
    let scheduler = Contender::Jsq.scheduler(draw.knowledge());
    let hooks = Hooks { scheduler, wants_oracle: true, ..Hooks::default() };
    let log = World::with(draw.scenario.clone(), hooks).run(&mut |_| {}).unwrap_or_else(|e| panic!("{e}"));
    let (first, last) = (log.jobs.first().unwrap().at, log.jobs.last().unwrap().at);
    let begin = first.plus_millis(last.millis_since(first) / 3);
    let is_counted =
        |job: &&JobLog| job.is_done() && job.ended_at().is_some_and(|at| at > begin && at <= last);
    let done = log.jobs.iter().filter(is_counted).count() as f64;
    done * 1e3 / last.millis_since(begin) as f64 / draw.capacities.iter().sum::<f64>()
}

#[test]
fn what_is_offered_below_capacity_is_done_and_no_overload_does_more_than_capacity() {
    let (below, above) = (done_over_capacity(0.7), done_over_capacity(1.3));
    assert!((0.65..0.75).contains(&below), "all that is offered is done: {below}");
    // Clients that find every queue full leave or come back later, so some slots are idle in between.
    assert!((0.75..1.02).contains(&above), "no more than the capacity is done, and most of it: {above}");
}

/// The file is written by: fedai-sim list --schema > docs/schema/sim-compare.json
#[test]
fn the_published_schema_is_the_one_of_this_version() {
    let path = format!("{}/../docs/schema/sim-compare.json", env!("CARGO_MANIFEST_DIR"));
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), report::schema().unwrap(), "{path}");
}

#[test]
fn every_documented_command_is_understood() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let mut understood = 0;
    for file in ["docs/simulator.md", "sim/README.md"] {
        let text = std::fs::read_to_string(format!("{root}/{file}")).unwrap();
        // A command may go on in the next line.
        for line in text.replace("\\\n", " ").lines() {
            let line =
                line.trim().trim_start_matches("cargo run -p fedai-sim -- ").trim_start_matches("fedai-sim ");
            let words = line.split(" #").next().unwrap().split_whitespace();
            let is_command = words.clone().next().is_some_and(|word| {
                ["run", "compare", "sweep", "report", "swarm", "list"].contains(&word)
                    && words.clone().nth(1).is_none_or(|second| second.starts_with('-') || word == "report")
            });
            if is_command {
                let parsed = Cli::command().try_get_matches_from(std::iter::once("fedai-sim").chain(words));
                assert!(parsed.is_ok(), "{file}: {line}: {}", parsed.unwrap_err());
                understood += 1;
            }
        }
    }
    assert!(understood >= 5, "only {understood} commands found");
}

/// Whoever writes a list with spaces means a list, and a word that is none of it is named with the form that is wanted.
#[test]
fn lists_are_read_with_commas_and_with_spaces_and_mistakes_say_the_form() {
    let parse = |line: &str| {
        let words = std::iter::once("fedai-sim").chain(line.split(' '));
        Cli::command().try_get_matches_from(words).map_err(|error| error.to_string())
    };
    for list in
        ["--policies jsq,p2c --seeds 2", "--policies jsq p2c --seeds 2", "--policies jsq --policies p2c"]
    {
        let matches = parse(&format!("compare --trace t --out o {list}")).unwrap();
        let (_, compare) = matches.subcommand().unwrap();
        let read: Vec<&String> = compare.get_many("policies").unwrap().collect();
        assert_eq!(read, ["jsq", "p2c"], "{list}");
    }
    for right in ["--only-jobs 3,17", "--only-jobs none", "--only relay-drop,node-crash.1", "--only none"] {
        assert!(parse(&format!("swarm {right}")).is_ok(), "{right}");
    }
    for (wrong, words) in [
        ("swarm --only-jobs x", "\"x\" is no number of a job; write 3 or 3,17"),
        ("swarm --only relay-dorp", "`fedai-sim list` names them"),
        ("compare --trace t --out o --policies jsq best", "possible values: fedai, jsq"),
    ] {
        let said = parse(wrong).unwrap_err();
        assert!(said.contains(words), "{wrong}: {said}");
    }
}
