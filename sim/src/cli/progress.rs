//! How far a long run is.

use std::io::IsTerminal as _;

/// One line on a terminal, nothing elsewhere.
pub(super) struct Progress {
    is_shown: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { is_shown: std::io::stderr().is_terminal() }
    }

    pub(super) fn show(&self, done: usize, of: usize) {
        let step = (of / 200).max(1);
        if self.is_shown && done.is_multiple_of(step) {
            eprint!("\r{done} of {of} ");
        }
    }

    pub(super) fn clear(&self) {
        if self.is_shown {
            eprint!("\r\x1b[K");
        }
    }
}
