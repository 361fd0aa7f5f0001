//! Telling a person how far an installation is, in bytes that really arrived.
//!
//! The rule: a bar is drawn on a terminal only; elsewhere a plain line is written every few seconds,
//! so that logs of automatic runs stay readable. Everything goes to standard error.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// One thing worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Another installation runs; this one waits for it.
    WaitingForOther,
    /// A step without a measure began.
    Step(&'static str),
    /// Bytes of one file that are here so far.
    Bytes {
        /// The file, in words.
        what: &'static str,
        /// How many are here.
        done: u64,
        /// How many there will be.
        total: u64,
    },
    /// Everything is there.
    Finished,
}

/// Whoever wants to know.
pub trait ProgressSink: Send + Sync {
    /// Called often; must not block.
    fn update(&self, progress: Progress);
}

/// Tells nobody.
pub struct Silent;

impl ProgressSink for Silent {
    fn update(&self, _progress: Progress) {}
}

/// A bar on a terminal, plain lines elsewhere.
pub fn progress_for_terminal() -> Arc<dyn ProgressSink> {
    if std::io::stderr().is_terminal() {
        Arc::new(Bar(ProgressBar::no_length()))
    } else {
        Arc::new(Lines::default())
    }
}

struct Bar(ProgressBar);

impl ProgressSink for Bar {
    fn update(&self, progress: Progress) {
        match &progress {
            Progress::Bytes { what, done, total } => {
                let template = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}";
                if let Ok(style) = ProgressStyle::with_template(template) {
                    self.0.set_style(style);
                }
                self.0.set_message(*what);
                self.0.set_length(*total);
                self.0.set_position(*done);
            }
            Progress::Finished => self.0.finish_and_clear(),
            other => self.0.println(sentence(other)),
        }
    }
}

#[derive(Default)]
struct Lines(Mutex<Option<Instant>>);

impl ProgressSink for Lines {
    fn update(&self, progress: Progress) {
        if let Progress::Bytes { done, total, .. } = &progress {
            let Ok(mut last) = self.0.lock() else { return };
            if done < total && last.is_some_and(|at| at.elapsed() < BETWEEN_LINES) {
                return;
            }
            *last = Some(Instant::now());
        }
        let _closed = writeln!(std::io::stderr(), "{}", sentence(&progress));
    }
}

fn sentence(progress: &Progress) -> String {
    match progress {
        Progress::WaitingForOther => "another install is running, waiting for it".into(),
        Progress::Step(what) => (*what).into(),
        Progress::Bytes { what, done, total } => {
            let megabytes = |bytes: &u64| bytes.div_ceil(1_000_000);
            format!("{what}: {} of {} MB", megabytes(done), megabytes(total))
        }
        Progress::Finished => "the runner is installed".into(),
    }
}

const BETWEEN_LINES: Duration = Duration::from_secs(3);
