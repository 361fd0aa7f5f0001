//! `run`: a node in the foreground, until SIGTERM or ^C.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use fedai_relay_bridge::RelayList;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::DataArgs;
use super::exit::Failure;
use crate::shell::config::{
    ConfigError, GatewayChoice, NodeConfig, NodeFile, PriceFile, RunnerChoice, public_key, runner_choice,
};
use crate::shell::run_loop::{NodeReady, run as run_node};
use crate::shell::runners::discovery::parse_ports;
use crate::shell::runners::{ApiKey, RunnerOptions};
use crate::shell::status_file::{COMMAND, replace};

/// Run a node: serve a runner to whoever comes with a ticket.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Relay; give it again for more. Otherwise FEDAI_RELAYS, then relays.toml.
    #[arg(long, value_name = "URL")]
    relay: Vec<String>,
    /// Relays from the environment, separated by commas.
    #[arg(long = "relays-from-env", env = "FEDAI_RELAYS", hide = true)]
    relays_from_env: Option<String>,
    /// Serve a relay of this node's own at this address, for clients that come directly [default: none].
    #[arg(long, env = "FEDAI_GATEWAY", value_name = "HOST:PORT")]
    gateway: Option<String>,
    /// URL under which others reach that relay, when it is not its address.
    #[arg(long, env = "FEDAI_GATEWAY_URL", value_name = "URL", requires = "gateway")]
    gateway_url: Option<String>,
    /// Settings file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of the runner, or `auto` (look on the usual ports), `install` (a small real model) or `mock`
    /// (tests only).
    #[arg(long, env = "FEDAI_RUNNER", value_name = "URL|auto|install|mock")]
    runner: Option<String>,
    /// Kind of the runner: llama_cpp, ollama, vllm, openai. Asked of it where it is missing.
    #[arg(long, env = "FEDAI_RUNNER_KIND", value_name = "KIND")]
    runner_kind: Option<String>,
    /// File that holds the runner's API key.
    #[arg(long, env = "FEDAI_RUNNER_API_KEY_FILE", value_name = "FILE")]
    runner_api_key_file: Option<PathBuf>,
    /// Ports that `auto` looks at, separated by commas.
    #[arg(long, env = "FEDAI_RUNNER_PORTS", value_name = "PORTS")]
    runner_ports: Option<String>,
    /// The runner may be on another machine: prompts leave this one.
    #[arg(long, env = "FEDAI_ALLOW_REMOTE_RUNNER")]
    allow_remote_runner: bool,
    /// Name of the node, unique for its key.
    #[arg(long, env = "FEDAI_NODE_NAME", value_name = "NAME")]
    name: Option<String>,
    /// Price of a million prompt tokens, in millisatoshi.
    #[arg(long, value_name = "MSAT")]
    price_input: Option<u64>,
    /// Price of a million output tokens, in millisatoshi.
    #[arg(long, value_name = "MSAT")]
    price_output: Option<u64>,
    /// Take dispatches of this router only; give it again for more.
    #[arg(long, value_name = "KEY")]
    router: Vec<String>,
    /// Take dispatches that clients signed for themselves.
    #[arg(long)]
    accept_self_dispatch: bool,
    /// Jobs at once on the runner.
    #[arg(long, value_name = "N")]
    slots: Option<u32>,
    /// Jobs that may wait.
    #[arg(long, value_name = "N")]
    max_queue: Option<usize>,
    /// Longest predicted wait that is accepted, in milliseconds.
    #[arg(long, value_name = "MS")]
    max_wait: Option<u64>,
    /// Region (ISO 3166 or geohash); give it again for more.
    #[arg(long, value_name = "REGION")]
    region: Vec<String>,
    /// Public key of the operator.
    #[arg(long, value_name = "KEY")]
    operator: Option<String>,
    /// Seconds that running jobs have when the node is told to stop.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    drain_timeout: u64,
    /// Seconds between two looks at the runner.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    heartbeat: u64,
    /// Write metrics (OpenMetrics text) to this file every few seconds.
    #[arg(long, value_name = "FILE")]
    metrics_file: Option<PathBuf>,
    /// File that holds the passphrase of the key.
    #[arg(long, env = "FEDAI_KEY_PASSPHRASE_FILE", value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Relays that clients name may be in private networks: for a network on one machine.
    #[arg(long)]
    allow_private_relays: bool,
}

/// Runs the node.
pub(super) async fn run(args: RunArgs) -> Result<(), Failure> {
    let config = config(args)?;
    let data_dir = config.data_dir.clone();
    let shutdown = CancellationToken::new();
    let signals = Signals::new().map_err(Failure::general)?;
    let watch = tokio::spawn(signals.watch(shutdown.clone(), data_dir));
    let (ready, is_ready) = oneshot::channel::<NodeReady>();
    let announce = tokio::spawn(async move {
        if let Ok(ready) = is_ready.await {
            anstream::println!("{}", ready.line);
        }
    });
    let outcome = run_node(config, shutdown, ready).await;
    watch.abort();
    // The line was printed, or there was none to print.
    drop(announce.await);
    outcome.map_err(|error| Failure::with_code(error.exit_code(), error))
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    pause: Signal,
    resume: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            pause: signal(SignalKind::user_defined1())?,
            resume: signal(SignalKind::user_defined2())?,
        })
    }

    /// SIGTERM and ^C drain and stop, SIGUSR1 pauses, SIGUSR2 resumes.
    async fn watch(mut self, shutdown: CancellationToken, data_dir: PathBuf) {
        loop {
            let word = tokio::select! {
                _ = self.terminate.recv() => None,
                _ = self.interrupt.recv() => None,
                _ = self.pause.recv() => Some("pause"),
                _ = self.resume.recv() => Some("resume"),
            };
            let Some(word) = word else {
                shutdown.cancel();
                return;
            };
            if let Err(error) = replace(&data_dir.join(COMMAND), word.as_bytes()) {
                tracing::warn!(%error, "the signal could not be passed on");
            }
        }
    }
}

fn config(args: RunArgs) -> Result<NodeConfig, Failure> {
    let file = match &args.config {
        Some(path) => NodeFile::load(path).map_err(Failure::config)?,
        None => NodeFile::default(),
    };
    let urls = if args.relay.is_empty() { &file.relays } else { &args.relay };
    let (relays, source) =
        RelayList::lookup(urls, args.relays_from_env.as_deref()).map_err(Failure::config)?;
    tracing::info!(%source, "relays");
    let runner = runner(&args, &file)?;
    let mut config = NodeConfig::new(args.data.dir()?, relays, runner);
    config.runner_options = runner_options(&args, &file)?;
    settle(&mut config, &args, &file).map_err(Failure::config)?;
    config.drain_timeout = Duration::from_secs(args.drain_timeout);
    config.heartbeat = Duration::from_secs(args.heartbeat.max(1));
    config.allow_private_relays = args.allow_private_relays;
    if let Some(path) = &args.passphrase_file {
        config.passphrase = Some(secret(path)?);
    }
    config.metrics_file = args.metrics_file;
    Ok(config)
}

/// The settings that a flag or the file can make; the flag wins.
fn settle(config: &mut NodeConfig, args: &RunArgs, file: &NodeFile) -> Result<(), ConfigError> {
    if let Some(name) = args.name.as_ref().or(file.name.as_ref()) {
        config.name.clone_from(name);
    }
    let price = PriceFile {
        input: args.price_input.unwrap_or(file.price.input),
        output: args.price_output.unwrap_or(file.price.output),
        ..file.price
    };
    config.price = price.price("price")?;
    for (model, price) in &file.models {
        config.prices.insert(model.to_lowercase(), price.price("models")?);
    }
    let routers = if args.router.is_empty() { &file.routers } else { &args.router };
    config.routers = routers.iter().map(|key| public_key("router", key)).collect::<Result<_, _>>()?;
    config.accept_self_dispatch = args.accept_self_dispatch || file.accept_self_dispatch;
    config.regions = if args.region.is_empty() { file.regions.clone() } else { args.region.clone() };
    let operator = args.operator.as_ref().or(file.operator.as_ref());
    config.operator = operator.map(|key| public_key("operator", key)).transpose()?;
    if let Some(listen) = args.gateway.as_ref().or(file.gateway.as_ref()) {
        let url = args.gateway_url.as_ref().or(file.gateway_url.as_ref());
        config.gateway = Some(GatewayChoice::parse(listen, url.map(String::as_str))?);
    }
    config.slots = args.slots.or(file.limits.slots);
    let limits = &mut config.limits;
    limits.queue_max = args.max_queue.or(file.limits.queue).unwrap_or(limits.queue_max);
    limits.wait_ms_max = args.max_wait.or(file.limits.wait_ms).unwrap_or(limits.wait_ms_max);
    limits.jobs_max = file.limits.jobs.map_or(limits.jobs_max, |jobs| jobs.min(limits.jobs_max));
    limits.per_client_max =
        file.limits.per_client.map_or(limits.per_client_max, |n| n.min(limits.per_client_max));
    Ok(())
}

fn runner(args: &RunArgs, file: &NodeFile) -> Result<RunnerChoice, Failure> {
    let ports = parse_ports(args.runner_ports.as_deref()).map_err(Failure::config)?;
    let kind = args.runner_kind.clone().or_else(|| file.runner.kind.clone());
    if args.runner.is_none() && !file.runner.command.is_empty() {
        let kind = kind.unwrap_or_else(|| "llama_cpp".into());
        return Ok(RunnerChoice::Command {
            command: file.runner.command.clone(),
            kind,
            port: file.runner.port,
        });
    }
    let words = args.runner.as_deref().or(file.runner.url.as_deref()).unwrap_or("auto");
    Ok(runner_choice(words, kind, ports))
}

fn runner_options(args: &RunArgs, file: &NodeFile) -> Result<RunnerOptions, Failure> {
    let key_file = args.runner_api_key_file.as_ref().or(file.runner.api_key_file.as_ref());
    let api_key = key_file.map(|path| secret(path).map(ApiKey::new)).transpose()?;
    let allow_remote = args.allow_remote_runner || file.runner.allow_remote;
    Ok(RunnerOptions { api_key, allow_remote, ..RunnerOptions::default() })
}

fn secret(path: &std::path::Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::config(format!("{path:?}: {error}\nhint: name a file that holds the secret alone"))
    })?;
    Ok(text.trim().to_owned())
}
