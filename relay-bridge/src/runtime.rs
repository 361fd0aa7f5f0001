//! The runtime of a program: how many threads its tasks have.

use std::future::Future;
use std::process::ExitCode;
use std::thread::available_parallelism;

use tokio::runtime::Builder;

/// Overrides the number of threads, as tokio itself reads it.
const THREADS: &str = "TOKIO_WORKER_THREADS";

/// How much of the machine a program takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Others are beside it: a runner, another party.
    Half,
    /// It is all parties in one.
    Whole,
}

/// Runs a command to its end.
pub fn run(share: Share, command: impl Future<Output = ExitCode> + Send + 'static) -> ExitCode {
    match builder(share).build() {
        // On a worker thread: whatever runs on the main one is woken across threads, once for each event.
        Ok(runtime) => {
            let command = runtime.spawn(command);
            runtime.block_on(command).unwrap_or(ExitCode::FAILURE)
        }
        Err(error) => {
            anstream::eprintln!("error: no runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A runtime of that share. Tasks here last some tens of microseconds, about as long as it takes to wake another
/// thread for one, so a party has half of the processors; `TOKIO_WORKER_THREADS` says otherwise.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "a variable that tokio itself reads, before there is a command line"
)]
pub fn builder(share: Share) -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.enable_all();
    if std::env::var_os(THREADS).is_none_or(|threads| threads.is_empty()) {
        builder.worker_threads(share.of(available_parallelism().map_or(1, usize::from)));
    }
    builder
}

impl Share {
    const fn of(self, processors: usize) -> usize {
        let threads = match self {
            Self::Half => processors / 2,
            Self::Whole => processors,
        };
        if threads == 0 { 1 } else { threads }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_has_half_of_the_processors_and_at_least_one_thread() {
        let threads =
            [1, 2, 3, 8].map(|processors| (Share::Half.of(processors), Share::Whole.of(processors)));
        assert_eq!(threads, [(1, 1), (1, 2), (1, 3), (4, 8)]);
    }
}
