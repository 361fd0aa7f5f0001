//! `fedai serve`: an OpenAI-compatible endpoint on this machine. Any program that speaks OpenAI's API buys from the
//! network through it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::chat::wait_for_signal;
use super::exit_code::ExitStatus;
use super::failure::CliFailure;
use super::global_flags::Settings;
use super::json_output::ServeOutput;
use super::terminal;
use super::up::parse_listen;
use crate::shell::buyer::Buyer;
use crate::shell::openai_endpoint::api_keys::KeyRing;
use crate::shell::openai_endpoint::{self, Endpoint, EndpointTerms};

/// Where the endpoint listens unless something else is said.
pub(crate) const LISTEN: &str = "127.0.0.1:8484";
/// Output limit of requests that state none.
const DEFAULT_OUTPUT: u32 = 1_024;
/// Patience with running requests when it is stopped.
const DRAIN: Duration = Duration::from_secs(30);

impl ServeArgs {
    /// An endpoint with the usual limits.
    pub(crate) const fn at(listen: SocketAddr) -> Self {
        Self {
            listen,
            model: None,
            api_keys: None,
            cors_origin: Vec::new(),
            concurrency: 64,
            max_tokens: DEFAULT_OUTPUT,
            allow_remote: false,
        }
    }
}

/// Flags of `fedai serve`.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// Address to listen on
    #[arg(long, value_name = "HOST:PORT", default_value = LISTEN, value_parser = parse_listen)]
    pub listen: SocketAddr,
    /// Model for requests that name none
    #[arg(short, long, env = "FEDAI_MODEL", value_name = "NAME", hide_env_values = true)]
    pub model: Option<String>,
    /// Ask for a key; the file names each with what it may spend
    #[arg(long, value_name = "FILE")]
    pub api_keys: Option<PathBuf>,
    /// Web page that may call, by origin; repeat for several
    #[arg(long, value_name = "ORIGIN")]
    pub cors_origin: Vec<String>,
    /// Requests at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    pub concurrency: u16,
    /// Output tokens of requests that state no limit
    #[arg(long, value_name = "N", default_value_t = DEFAULT_OUTPUT, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: u32,
    /// Allow an address that other machines can reach; needs --api-keys
    #[arg(long)]
    pub allow_remote: bool,
}

/// Runs the command.
pub async fn run(settings: &Settings, arguments: ServeArgs) -> Result<ExitStatus, CliFailure> {
    check_address(&arguments)?;
    let keys = read_keys(settings, &arguments)?;
    let listener = listen(arguments.listen).await?;
    let buyer = settings.connect().await?;
    let has_keys = !keys.is_empty();
    let serving = Serving::start(settings, &arguments, buyer, keys, listener)?;
    if settings.json {
        terminal::print_json(&ServeOutput { v: 1, url: serving.url.clone(), needs_key: has_keys })?;
    }
    wait_for_signal().await;
    terminal::say("stopping: running requests are finished, new ones refused");
    serving.stop().await?;
    Ok(ExitStatus::Success)
}

/// An endpoint that serves in a task of its own.
pub(crate) struct Serving {
    /// Base URL.
    pub(crate) url: String,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<std::io::Result<bool>>,
    buyer: Buyer,
}

impl Serving {
    /// Starts to serve, and says where.
    pub(crate) fn start(
        settings: &Settings,
        arguments: &ServeArgs,
        buyer: Buyer,
        keys: KeyRing,
        listener: TcpListener,
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let has_keys = !keys.is_empty();
        let terms = EndpointTerms {
            router: settings.router,
            mode: settings.mode,
            max_price: settings.max_price,
            timeout: settings.timeout,
            model: arguments.model.as_ref().or(settings.model.as_ref()).map(|model| model.to_lowercase()),
            default_output: arguments.max_tokens,
            concurrency: usize::from(arguments.concurrency),
            origins: arguments.cors_origin.clone(),
            is_remote: !address.ip().is_loopback(),
        };
        let endpoint = Arc::new(Endpoint::new(buyer.clone(), terms, keys));
        let (url, stop) = (format!("http://{address}/v1"), CancellationToken::new());
        terminal::say(&format!("serving  {url}  (OpenAI-compatible)"));
        if !settings.quiet {
            let key = if has_keys { "one of your keys" } else { "anything" };
            terminal::say(&format!("         OPENAI_BASE_URL={url}  OPENAI_API_KEY={key}"));
        }
        let task = tokio::spawn(openai_endpoint::serve(listener, endpoint, stop.clone(), DRAIN));
        Ok(Self { url, stop, task, buyer })
    }

    /// Finishes what runs, takes nothing new.
    pub(crate) async fn stop(self) -> Result<(), CliFailure> {
        self.stop.cancel();
        let ended = self.task.await.map_err(|_| std::io::Error::other("the endpoint ended by itself"))?;
        self.buyer.close().await;
        if !ended? {
            terminal::say("warning: some requests did not finish in time and were cancelled");
        }
        Ok(())
    }
}

/// The listener, or exit code 3 with the way out.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, CliFailure> {
    TcpListener::bind(address).await.map_err(|error| {
        let text = format!("cannot listen on {address}: {error}\nhint: name another one with --listen");
        CliFailure::new(ExitStatus::Config, "listen", text)
    })
}

fn check_address(arguments: &ServeArgs) -> Result<(), CliFailure> {
    if arguments.listen.ip().is_loopback() || (arguments.allow_remote && arguments.api_keys.is_some()) {
        return Ok(());
    }
    let text = format!(
        "{} can be reached from other machines\nhint: listen on 127.0.0.1, or add --allow-remote and --api-keys FILE",
        arguments.listen
    );
    Err(CliFailure::new(ExitStatus::Config, "listen", text))
}

fn read_keys(settings: &Settings, arguments: &ServeArgs) -> Result<KeyRing, CliFailure> {
    let Some(path) = &arguments.api_keys else { return Ok(KeyRing::default()) };
    KeyRing::read(path, &settings.data).map_err(|text| CliFailure::new(ExitStatus::Config, "api_keys", text))
}
