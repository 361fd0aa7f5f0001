//! Runners: programs somebody else wrote that turn a prompt into tokens, behind one interface.
//!
//! Why: the node never runs a model itself, and everything above this module must not care which
//! program does. The rule: adding a runner is one new file here plus its line in `ADAPTERS`;
//! nothing outside this directory changes. Adapters forward request bodies as they came and keep
//! every field of the replies, because runners differ in exactly the fields a strict type would lose.

mod answers;
mod chat_stream;
pub mod discovery;
mod error;
mod fields;
mod http;
mod llama_cpp;
pub mod mock;
mod model;
mod ollama;
mod openai;
mod options;
mod prometheus;
mod request;
pub mod sse;
mod vllm;

pub use error::{OpenError, RunnerError};
pub use model::{Estimate, RunnerEvent, RunnerLoad, RunnerModel, RunnerUsage};
pub use options::{ApiKey, RunnerOptions};
pub use request::{Endpoint, InferRequest};

use answers::Answers;
use futures_util::stream::Stream;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A boxed future, so that [`Runner`] stays object safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What [`Runner::infer`] yields: `Delta*`, then at most one `Usage`, then `Done`; or an `Err` as the
/// last item at any point. Nothing follows `Done` or `Err`.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<RunnerEvent, RunnerError>> + Send>>;

/// One running inference server.
///
/// Contract: no method blocks the thread, every method is bounded in time by the options the runner
/// was opened with, and no error carries text the runner sent (it may contain the prompt).
pub trait Runner: Send + Sync {
    /// The name the adapter is registered under, such as `"llama_cpp"`.
    fn kind(&self) -> &'static str;

    /// What the server can run now. A server with no model answers an empty list.
    fn list_models(&self) -> BoxFuture<'_, Result<Vec<RunnerModel>, RunnerError>>;

    /// Starts one generation. Must be called inside a tokio runtime.
    ///
    /// Cancelling the token, or dropping the stream, closes the connection at once, which is how
    /// every known runner is told to stop. After a cancel the last item is `Err(Cancelled)`.
    fn infer(&self, request: InferRequest, cancel: CancellationToken) -> EventStream;

    /// How many tokens the request will take; exact where the runner can count without generating,
    /// otherwise from the number of bytes.
    fn estimate<'a>(&'a self, request: &'a InferRequest) -> BoxFuture<'a, Estimate>;

    /// `Ok` when a request sent now would be worked on; [`RunnerError::Loading`] while it starts.
    fn health(&self) -> BoxFuture<'_, Result<(), RunnerError>>;

    /// How busy the server is, as far as it says. Fields it does not offer are `None`.
    fn load(&self) -> BoxFuture<'_, Result<RunnerLoad, RunnerError>>;

    /// Counts the tokens of a text with the model's own tokenizer; `None` where there is no way.
    fn count_tokens<'a>(
        &'a self,
        model: &'a str,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Option<u32>, RunnerError>>;
}

/// Makes a runner out of an address and its options.
type Opener = fn(&str, RunnerOptions) -> Result<Arc<dyn Runner>, OpenError>;

/// What an adapter file registers about itself.
pub(crate) struct Adapter {
    /// The name used in configuration.
    kind: &'static str,
    /// The name a person knows it by.
    title: &'static str,
    /// Opens it; checks the URL.
    open: Opener,
    /// Whether what a port answered is this runner. The first adapter that says yes wins.
    recognises: fn(&Answers) -> bool,
}

/// Every adapter, the most specific first: any of them also looks like a plain OpenAI server.
const ADAPTERS: &[Adapter] =
    &[llama_cpp::ADAPTER, ollama::ADAPTER, vllm::ADAPTER, openai::ADAPTER, mock::ADAPTER];

/// Opens the runner of that kind at that URL, without talking to it yet.
///
/// # Errors
/// An unknown kind, a URL that is not http(s), or one that is not on this machine while
/// [`RunnerOptions::allow_remote`] is off.
pub fn open(kind: &str, url: &str, options: RunnerOptions) -> Result<Arc<dyn Runner>, OpenError> {
    let adapter = ADAPTERS
        .iter()
        .find(|adapter| adapter.kind == kind)
        .ok_or_else(|| OpenError::UnknownKind { kind: kind.to_owned(), known: kinds().join(", ") })?;
    (adapter.open)(url, options)
}

/// The kinds [`open`] knows.
pub fn kinds() -> Vec<&'static str> {
    ADAPTERS.iter().map(|adapter| adapter.kind).collect()
}
