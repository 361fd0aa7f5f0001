//! `fedai bench`: how quickly an endpoint answers, and how much it sustains. One or several targets in one run.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};

use super::bench_output::BenchOutput;
use super::bench_plot::BenchPlot;
use super::chat::cancel_on_signal;
use super::exit_code::ExitStatus;
use super::failure::CliFailure;
use super::global_flags::{GlobalFlags, Settings};
use super::json_wish::JsonWish;
use super::terminal;
use crate::shell::load_test::{self, LoadPlan, Measured, Pace, Quantiles, Tally, Target, TargetError};

/// Requests a second beyond which this program would be what is measured.
const RATE_MAX: f64 = 100_000.0;
/// Shares of all requests that the table shows.
const SHARES: [f64; 3] = [0.50, 0.95, 0.99];

/// Flags of `fedai bench`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Latency counts from when a request was due, so an endpoint that stalls cannot hide it. \
                        Targets take turns in one run: compare figures of one run only."
)]
pub struct BenchArgs {
    /// Endpoint to measure, as programs are given it
    #[arg(long, value_name = "BASE_URL", default_value = "http://127.0.0.1:8484/v1")]
    pub url: String,
    /// Endpoint to measure in turns with the first; repeat for several
    #[arg(long, value_name = "BASE_URL")]
    pub compare: Vec<String>,
    /// Model, as the endpoints name it
    #[arg(short, long, value_name = "MODEL")]
    pub model: String,
    /// Requests to each target
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub requests: u32,
    /// Requests at once: the next one when one is answered [default: 1]
    #[arg(long, value_name = "C", conflicts_with = "rate", value_parser = clap::value_parser!(u16).range(1..=4_096))]
    pub concurrency: Option<u16>,
    /// Requests a second, at random times, whatever becomes of earlier ones
    #[arg(long, value_name = "R", value_parser = parse_rate)]
    pub rate: Option<f64>,
    /// Stream the answers
    #[arg(long)]
    pub stream: bool,
    /// Size of a prompt, about; no two prompts are alike
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub prompt_tokens: u32,
    /// Most output tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: u32,
    /// Requests to each target before those that count
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub warmup: u32,
    /// Key that the endpoints ask for
    #[arg(long, value_name = "KEY", env = "OPENAI_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// Write the result to a file as one JSON object; - is stdout
    #[arg(long = "json", id = "json", value_name = "FILE", value_parser = JsonWish::file())]
    pub json_wish: Option<JsonWish>,
    /// Draw latencies by percentile
    #[arg(long, visible_alias = "out", value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Seed of prompts and random times
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// Runs the command.
pub async fn run(global: &GlobalFlags, arguments: BenchArgs) -> Result<ExitStatus, CliFailure> {
    let settings = global.settings()?;
    let targets = targets(&arguments)?;
    let plan = Arc::new(plan(&settings, &arguments));
    let bar = progress_bar(&settings, u64::from(arguments.requests).saturating_mul(targets.len() as u64));
    let cancel = cancel_on_signal();
    let outcome = Box::pin(load_test::run(Arc::clone(&plan), &targets, &cancel.token, || bar.inc(1))).await;
    bar.finish_and_clear();
    let Measured { tallies, is_whole } = outcome.map_err(failure)?;
    let measured: Vec<(&str, &Tally)> = targets.iter().map(|target| target.url()).zip(&tallies).collect();
    if !is_whole {
        say_interrupted(&measured, arguments.requests);
    }
    hand_over(global, &arguments, &plan, &measured, is_whole)?;
    if !is_whole {
        return Ok(ExitStatus::Interrupted);
    }
    match measured.iter().find(|(_, tally)| tally.answers() == 0) {
        // The one object that was printed says it.
        Some(_) if matches!(global.json_wish, JsonWish::Stdout) => Ok(ExitStatus::Failure),
        Some((url, tally)) => {
            let code = tally.errors.keys().next().map(String::as_str).unwrap_or_default();
            let text =
                format!("{url} gave no good answer ({code})\nhint: look at its log, or ask less of it");
            Err(CliFailure::new(ExitStatus::Failure, "no_answer", text))
        }
        None => Ok(ExitStatus::Success),
    }
}

/// The figures as a table, an object or a file, and the plot.
fn hand_over(
    global: &GlobalFlags,
    arguments: &BenchArgs,
    plan: &LoadPlan,
    measured: &[(&str, &Tally)],
    is_whole: bool,
) -> Result<(), CliFailure> {
    let output = BenchOutput::new(plan, measured, !is_whole);
    let is_empty = measured.iter().all(|(_, tally)| tally.answers() + tally.failures() == 0);
    // First what was measured: it is not lost with a file that cannot be written.
    if matches!(global.json_wish, JsonWish::Stdout) {
        terminal::print_json(&output)?;
    } else if !is_empty {
        print(measured, plan.is_streamed)?;
    }
    if let JsonWish::File(path) = &global.json_wish {
        let text = serde_json::to_string_pretty(&output).map_err(std::io::Error::from)?;
        write(path, &format!("{text}\n"))?;
    }
    match &arguments.plot {
        Some(path) if !is_empty => write(path, &BenchPlot::new(measured, plan.is_streamed).to_svg()),
        _ => Ok(()),
    }
}

/// What the figures of a run that was stopped are of.
fn say_interrupted(measured: &[(&str, &Tally)], requests: u32) {
    let ended: u64 = measured.iter().map(|(_, tally)| tally.answers() + tally.failures()).sum();
    let all = u64::from(requests).saturating_mul(measured.len() as u64);
    terminal::say(&match ended {
        0 => "interrupted before anything was measured".to_owned(),
        ended => format!("interrupted: what follows is of {ended} requests of {all}"),
    });
}

fn targets(arguments: &BenchArgs) -> Result<Vec<Arc<Target>>, CliFailure> {
    let mut targets: Vec<Arc<Target>> = Vec::new();
    for url in [&arguments.url].into_iter().chain(&arguments.compare) {
        if targets.iter().any(|target| target.url() == url) {
            let text = format!("{url} is named twice\nhint: each target is measured once in a run");
            return Err(CliFailure::usage(text));
        }
        targets.push(Target::new(url, arguments.api_key.clone()).map_err(failure)?);
    }
    Ok(targets)
}

fn plan(settings: &Settings, arguments: &BenchArgs) -> LoadPlan {
    LoadPlan {
        model: arguments.model.clone(),
        requests: arguments.requests,
        warm_up: arguments.warmup,
        pace: match arguments.rate {
            Some(per_second) => Pace::Open(per_second),
            None => Pace::Closed(arguments.concurrency.unwrap_or(1)),
        },
        is_streamed: arguments.stream,
        prompt_tokens: arguments.prompt_tokens,
        max_tokens: arguments.max_tokens,
        seed: arguments.seed,
        timeout: settings.timeout,
    }
}

fn failure(error: TargetError) -> CliFailure {
    match error {
        TargetError::Url { .. } => CliFailure::usage(error.to_string()),
        TargetError::Silent { .. } => CliFailure::new(ExitStatus::Failure, "no_answer", error.to_string()),
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= RATE_MAX => Ok(rate),
        _ => Err(format!("a number of requests a second, above 0 and up to {RATE_MAX}")),
    }
}

/// A bar for people; nothing where nobody watches.
fn progress_bar(settings: &Settings, requests: u64) -> ProgressBar {
    if settings.quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(requests);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} requests, {per_sec}, {eta} to go") {
        bar.set_style(style);
    }
    bar
}

fn write(path: &Path, text: &str) -> Result<(), CliFailure> {
    std::fs::write(path, text).map_err(|error| {
        let text = format!("cannot write {}: {error}\nhint: name another file", path.display());
        CliFailure::new(ExitStatus::Config, "io", text)
    })
}

fn print(measured: &[(&str, &Tally)], is_streamed: bool) -> std::io::Result<()> {
    let header =
        ["target", "answers", "errors", "a second", "tokens/s", "first token ms", "between ms", "total ms"];
    let rows = measured.iter().map(|(url, tally)| {
        vec![
            (*url).to_owned(),
            tally.answers().to_string(),
            tally.failures().to_string(),
            format!("{:.1}", tally.per_second(tally.answers())),
            format!("{:.0}", tally.per_second(tally.tokens)),
            if is_streamed { cell(|share| tally.first.at(share)) } else { "-".to_owned() },
            cell(|share| tally.gaps.at(share)),
            cell(|share| tally.total.at(share)),
        ]
    });
    terminal::print_table(&header, rows.collect())?;
    if let Some(((first, base), others)) = measured.split_first().filter(|(_, others)| !others.is_empty()) {
        let header = ["beside the first", "first token ms", "total ms"];
        let rows = others.iter().map(|(url, tally)| {
            let added =
                |of: fn(&Tally) -> &Quantiles| cell(|share| Some(of(tally).at(share)? - of(base).at(share)?));
            vec![(*url).to_owned(), added(|tally| &tally.first), added(|tally| &tally.total)]
        });
        terminal::print("\n")?;
        terminal::print_table(&header, rows.collect())?;
        terminal::say(&format!(
            "added over {first}: differences of percentiles, not percentiles of differences"
        ));
    }
    terminal::say("latencies: p50 / p95 / p99, from when a request was due");
    for (url, tally) in measured {
        for (code, count) in &tally.errors {
            terminal::say(&format!("errors of {url}: {count} x {code}"));
        }
    }
    Ok(())
}

fn cell(at: impl Fn(f64) -> Option<f64>) -> String {
    let texts: Option<Vec<String>> = SHARES.iter().map(|share| Some(format!("{:.2}", at(*share)?))).collect();
    texts.map_or_else(|| "-".to_owned(), |texts| texts.join(" / "))
}
