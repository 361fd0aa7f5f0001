//! `observe`: load on a real server, and what is seen of it.

use std::path::PathBuf;

use clap::Args;
use fedai_relay_bridge::wall_clock;

use super::progress::Progress;
use super::{Outcome, say};
use crate::calibration::observation::{OBSERVATION_SCHEMA, Observations, ObservedRunner};
use crate::observe::http_stream::Server;
use crate::observe::load::{self, LoadPace, LoadPlan};

#[derive(Debug, Args)]
pub(super) struct ObserveArgs {
    /// Server with the OpenAI interface, as http://127.0.0.1:8080.
    #[arg(long)]
    url: String,
    /// Model to ask for.
    #[arg(long)]
    model: String,
    /// Requests that count.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    requests: u16,
    /// Requests a second with exponential gaps, whatever the server does.
    #[arg(long, conflicts_with = "concurrency", required_unless_present = "concurrency")]
    rate: Option<f64>,
    /// Requests at once, each followed by the next.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: Option<u16>,
    /// Requests before them that warm the server up and do not count.
    #[arg(long, default_value_t = 4)]
    warm_up: u16,
    /// Longest answer, in tokens.
    #[arg(long, default_value_t = 64)]
    output_tokens: u64,
    /// Longest prompt, in sentences of about 20 tokens.
    #[arg(long, default_value_t = 6)]
    sentences: u64,
    /// Seed of prompts, lengths and times.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What the server runs on, for the record.
    #[arg(long, default_value = "unnamed")]
    machine: String,
    /// File of JSON lines. A run is added to one that exists.
    #[arg(long)]
    out: PathBuf,
}

/// Puts load on a server and records what comes.
pub(super) fn observe(args: &ObserveArgs) -> Outcome {
    let server = Server::parse(&args.url)?;
    let mut observations = match std::fs::read_to_string(&args.out) {
        Ok(text) => Observations::parse(&text).map_err(|error| format!("{}: {error}", args.out.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Observations { runner: describe(&server, args)?, requests: Vec::new() }
        }
        Err(error) => return Err(format!("{} cannot be read: {error}", args.out.display()).into()),
    };
    let run = observations.requests.last().map_or(0, |request| request.run.saturating_add(1));
    let pace = match (args.rate, args.concurrency) {
        (_, Some(at_once)) => LoadPace::Concurrency(usize::from(at_once)),
        (rate, None) => LoadPace::Rate(rate.unwrap_or(1.0)),
    };
    let plan = LoadPlan {
        model: args.model.clone(),
        requests: usize::from(args.requests),
        pace,
        warm_up: usize::from(args.warm_up),
        output_tokens_max: args.output_tokens,
        sentences_max: args.sentences,
        seed: args.seed,
        run,
    };
    let progress = Progress::new();
    let seen = load::run(&server, &plan, &|done| progress.show(done, plan.requests));
    progress.clear();
    let seen = seen?;
    let count = seen.len();
    observations.requests.extend(seen);
    std::fs::write(&args.out, observations.to_lines()?)
        .map_err(|error| format!("{} cannot be written: {error}", args.out.display()))?;
    say(&format!("run {run}: {count} requests are in {}\n", args.out.display()))
}

/// llama.cpp tells its slots; of another server one slot for each request at once is assumed.
fn describe(server: &Server, args: &ObserveArgs) -> Result<ObservedRunner, Box<dyn core::error::Error>> {
    let props = server.get("/props").unwrap_or_default();
    let number = |path: &str| props.pointer(path).and_then(serde_json::Value::as_u64);
    let slots = number("/total_slots").unwrap_or_else(|| u64::from(args.concurrency.unwrap_or(8)));
    Ok(ObservedRunner {
        schema: OBSERVATION_SCHEMA.to_owned(),
        model: args.model.clone(),
        machine: args.machine.clone(),
        recorded_at: wall_clock::now_seconds().0,
        slots: u32::try_from(slots)?,
        context_tokens: number("/default_generation_settings/n_ctx").unwrap_or(4_096),
    })
}
