//! `fedai up`: the whole network on this machine. Relay, router and node run in this process, the runner in one of its
//! own; everything is stopped in the reverse order. `--once` asks one question, checks the receipt and ends.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fedai_node_agent::shell::config::{GatewayChoice, NodeConfig};
use fedai_protocol::PublicKey;
use fedai_relay_bridge::dev_relay::DevRelayError;
use fedai_relay_bridge::{DevRelay, DevRelayLimits, DevRelayOptions, RelayList};
use fedai_router_agent::shell::config::RouterConfig;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::answer_report::npub;
use super::chat::wait_for_signal;
use super::exit_code::ExitStatus;
use super::failure::CliFailure;
use super::global_flags::{GlobalFlags, Settings};
use super::job_flags::not_empty;
use super::json_output::UpOutput;
use super::serve::{self, ServeArgs, Serving};
use super::up_runner::{FoundRunner, find_runner};
use super::{terminal, up_once};
use crate::shell::config;
use crate::shell::openai_endpoint::api_keys::KeyRing;

/// Where the relay listens unless something else is said.
const LISTEN: &str = "127.0.0.1:7447";
/// Wait for a part to be ready.
const READY_WAIT: Duration = Duration::from_secs(30);
/// Wait for a part to stop.
const STOP_WAIT: Duration = Duration::from_secs(40);
/// Time between two accounts that the router gives to the node.
const UP_SUMMARY_SECONDS: u64 = 5;

/// Flags of `fedai up`.
#[derive(Clone, Debug, clap::Args)]
pub struct UpArgs {
    /// Ask this, print the answer, check the receipt, stop everything
    #[arg(long, value_name = "PROMPT")]
    pub once: Option<String>,
    /// Address of the relay [default: 127.0.0.1:7447, or a free port when that is taken]
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_listen)]
    pub relay_listen: Option<SocketAddr>,
    /// Allow a relay address that other machines can reach
    #[arg(long)]
    pub allow_remote: bool,
    /// Serve the network to programs that speak OpenAI's API, here
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_listen, conflicts_with = "once")]
    pub listen: Option<SocketAddr>,
    /// OpenAI-compatible server to sell from [default: one that is found, else one is installed]
    #[arg(long, value_name = "URL")]
    pub runner: Option<String>,
    /// Model to ask with --once [default: any]
    #[arg(short, long, value_name = "NAME", requires = "once")]
    pub model: Option<String>,
    /// Most output tokens of --once
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: u32,
}

/// The running network.
pub struct Network {
    relay: DevRelay,
    runner: FoundRunner,
    router: Part,
    node: Part,
    /// What was started.
    pub output: UpOutput,
}

/// An agent that runs in this process.
struct Part {
    name: &'static str,
    key: PublicKey,
    stop: CancellationToken,
    task: JoinHandle<Result<(), String>>,
}

/// Runs the command.
pub async fn run(global: &GlobalFlags, arguments: UpArgs) -> Result<ExitStatus, CliFailure> {
    let settings = global.settings()?;
    let ports = global.runner_ports()?;
    check_before_anything_starts(&arguments)?;
    // A network for one question leaves nothing behind, unless a folder was named.
    let temporary = match (&arguments.once, &global.data) {
        (Some(_), None) => Some(tempfile::tempdir()?),
        _ => None,
    };
    let data = match &temporary {
        Some(folder) => folder.path().to_owned(),
        None => config::up_folder(global.data.as_deref())?,
    };
    check_folder(&data)?;
    let wanted = arguments.once.as_ref().and_then(|_| up_once::wanted_model(&settings, &arguments));
    let mut network = tokio::select! {
        network = start(&arguments, &data, &ports, wanted.as_deref()) => network?,
        () = wait_for_signal() => return Ok(ExitStatus::Interrupted),
    };
    let settings = Settings {
        relays: RelayList::single(&network.output.relay).map_err(config::ConfigError::from)?,
        data,
        ..settings
    };
    let output = network.output.clone();
    let status = tokio::select! {
        status = stay(&settings, &arguments, &output) => status,
        what = network.watch() => {
            let text = format!("{what}\nhint: run it again with -v to see why");
            Err(CliFailure::new(ExitStatus::Failure, "part_ended", text))
        }
    };
    network.stop().await;
    status
}

/// What would fail only after the runner was fetched and started.
fn check_before_anything_starts(arguments: &UpArgs) -> Result<(), CliFailure> {
    if let Some(prompt) = &arguments.once {
        not_empty(prompt.clone())?;
    }
    let named = [arguments.relay_listen, arguments.listen].into_iter().flatten();
    match named.into_iter().find(|address| !address.ip().is_loopback()) {
        Some(address) if !arguments.allow_remote || Some(address) == arguments.listen => {
            let text = format!(
                "{address} can be reached from other machines\n\
                 hint: listen on 127.0.0.1, or add --allow-remote if that is what you want"
            );
            Err(CliFailure::new(ExitStatus::Config, "relay", text))
        }
        _ => Ok(()),
    }
}

/// Everything keeps its state below this folder.
fn check_folder(data: &Path) -> Result<(), CliFailure> {
    let written = std::fs::create_dir_all(data).and_then(|()| tempfile::tempfile_in(data));
    written.map(drop).map_err(|error| {
        let text =
            format!("cannot write to {}: {error}\nhint: name another folder with --data", data.display());
        CliFailure::new(ExitStatus::Config, "data", text)
    })
}

pub(crate) fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let mut found =
        text.to_socket_addrs().map_err(|error| format!("not an address of this machine: {error}"))?;
    found.next().ok_or_else(|| "the name has no address".to_owned())
}

/// What happens while the network is up.
async fn stay(settings: &Settings, arguments: &UpArgs, output: &UpOutput) -> Result<ExitStatus, CliFailure> {
    if let Some(prompt) = &arguments.once {
        return Box::pin(up_once::ask(settings, arguments, prompt, &output.models)).await;
    }
    let serving = match arguments.listen {
        Some(address) => {
            let (listener, buyer) = (serve::listen(address).await?, settings.connect().await?);
            Some(Serving::start(settings, &ServeArgs::at(address), buyer, KeyRing::default(), listener)?)
        }
        None => None,
    };
    if settings.json {
        let endpoint = serving.as_ref().map(|serving| serving.url.clone());
        terminal::print_json(&UpOutput { endpoint, ..output.clone() })?;
    }
    let relay = match output.relay.trim_end_matches('/') {
        config::DEFAULT_RELAY => String::new(),
        other => format!(" --relay {other}"),
    };
    // As it was started, so that the line can be pasted: a clone has no `fedai` on the PATH.
    let program = std::env::args().next().unwrap_or_else(|| "fedai".to_owned());
    terminal::say(&format!("\nready. In another terminal:  {program} chat{relay} \"Name three colours.\""));
    terminal::say("Ctrl-C stops everything.");
    wait_for_signal().await;
    if let Some(serving) = serving {
        serving.stop().await?;
    }
    Ok(ExitStatus::Success)
}

async fn start(
    arguments: &UpArgs,
    data: &Path,
    ports: &[u16],
    wanted: Option<&str>,
) -> Result<Network, CliFailure> {
    let is_kept = arguments.once.is_none();
    let relay = start_relay(arguments.relay_listen, is_kept.then(|| data.join("relay"))).await?;
    terminal::say(&format!("relay    {}", relay.url()));
    let runner = find_runner(arguments.runner.as_deref(), ports, data, wanted).await?;
    let relays = RelayList::single(relay.url()).map_err(config::ConfigError::from)?;
    let router = start_router(data, relays.clone()).await?;
    let (node, models) = start_node(data, relays, &runner).await?;
    let output = UpOutput {
        v: 1,
        relay: relay.url().to_owned(),
        router: router.key.to_hex(),
        router_npub: npub(&router.key),
        node: node.key.to_hex(),
        node_npub: npub(&node.key),
        models,
        runner: runner.url.clone(),
        runner_started_here: runner.process.is_some(),
        data: data.display().to_string(),
        endpoint: None,
    };
    Ok(Network { relay, runner, router, node, output })
}

async fn start_relay(named: Option<SocketAddr>, data_dir: Option<PathBuf>) -> Result<DevRelay, CliFailure> {
    let options =
        |listen| DevRelayOptions { listen, data_dir: data_dir.clone(), limits: DevRelayLimits::default() };
    let usual = LISTEN.parse().map_err(|_| CliFailure::usage("no address to listen on"))?;
    let first = DevRelay::start(options(named.unwrap_or(usual))).await;
    let started = match first {
        Err(DevRelayError::Listen { .. }) if named.is_none() => {
            terminal::say(&format!("note: {LISTEN} is taken; the relay takes a free port"));
            DevRelay::start(options(SocketAddr::from(([127, 0, 0, 1], 0)))).await
        }
        other => other,
    };
    started.map_err(|error| {
        let text = error.to_string().replace("--listen", "--relay-listen");
        CliFailure::new(ExitStatus::Config, "relay", text)
    })
}

async fn start_router(data: &Path, relays: RelayList) -> Result<Part, CliFailure> {
    let (stop, (tell, ready)) = (CancellationToken::new(), oneshot::channel());
    let mut config = RouterConfig::new(data.join("router"), relays);
    // One node on this machine: it may know at once how it stands.
    config.settings.summary_seconds = UP_SUMMARY_SECONDS;
    let stopped = stop.clone();
    let run = fedai_router_agent::run(config, stopped, tell);
    let task = tokio::spawn(async move { run.await.map_err(|error| error.to_string()) });
    let (ready, task) = wait_ready("router", ready, task).await?;
    let key = ready.public_key;
    terminal::say(&format!("router   {}\n         {}", key.to_hex(), npub(&key)));
    Ok(Part { name: "router", key, stop, task })
}

async fn start_node(
    data: &Path,
    relays: RelayList,
    runner: &FoundRunner,
) -> Result<(Part, Vec<String>), CliFailure> {
    let (stop, (tell, ready)) = (CancellationToken::new(), oneshot::channel());
    let mut config = NodeConfig::new(data.join("node"), relays, runner.choice.clone());
    config.accept_self_dispatch = true;
    config.allow_private_relays = true;
    config.gateway = Some(GatewayChoice { listen: SocketAddr::from(([127, 0, 0, 1], 0)), url: None });
    let run = fedai_node_agent::run(config, stop.clone(), tell);
    let task = tokio::spawn(async move { run.await.map_err(|error| error.to_string()) });
    let (ready, task) = wait_ready("node", ready, task).await?;
    let key = ready.public_key;
    terminal::say(&format!("node     {}\n         {}", key.to_hex(), npub(&key)));
    terminal::say(&format!("models   {}", ready.models.join(", ")));
    Ok((Part { name: "node", key, stop, task }, ready.models))
}

/// Waits for a part to be ready, or for what kept it from it.
async fn wait_ready<R>(
    name: &'static str,
    ready: oneshot::Receiver<R>,
    mut task: JoinHandle<Result<(), String>>,
) -> Result<(R, JoinHandle<Result<(), String>>), CliFailure> {
    let fail = |what: String| CliFailure::new(ExitStatus::Failure, name, format!("{name}: {what}"));
    tokio::select! {
        Ok(ready) = ready => Ok((ready, task)),
        ended = &mut task => match ended {
            Ok(Err(error)) => Err(fail(error)),
            _ => Err(fail("ended before it was ready".to_owned())),
        },
        () = tokio::time::sleep(READY_WAIT) => {
            task.abort();
            Err(fail(format!("not ready after {} s\nhint: run it again with -v to see why", READY_WAIT.as_secs())))
        }
    }
}

impl Network {
    /// Waits for a part to end by itself, which it should not.
    async fn watch(&mut self) -> String {
        let (part, ended) = tokio::select! {
            ended = &mut self.router.task => (self.router.name, ended),
            ended = &mut self.node.task => (self.node.name, ended),
        };
        match ended {
            Ok(Err(error)) => format!("the {part} ended: {error}"),
            _ => format!("the {part} ended"),
        }
    }

    /// Stops everything in order: the node finishes what it has, then router, runner, relay.
    async fn stop(self) {
        terminal::say("stopping");
        self.node.stop().await;
        self.router.stop().await;
        if let Some(process) = self.runner.process {
            process.stop().await;
        }
        self.relay.shutdown().await;
    }
}

impl Part {
    async fn stop(self) {
        self.stop.cancel();
        if !self.task.is_finished() && tokio::time::timeout(STOP_WAIT, self.task).await.is_err() {
            terminal::say(&format!("warning: the {} did not stop in time", self.name));
        }
    }
}
