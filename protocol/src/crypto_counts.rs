//! Counts the steps that cost tens of microseconds, so that what the documents say of them can be checked.
//!
//! Off until somebody asks for it; then every signature, verification and key agreement of this process is noted, for
//! the party that the thread works for. Nothing reads the counts but tests.

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A step that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CryptoStep {
    /// A signature: of an event of this kind, or of a digest.
    Sign(Option<u16>),
    /// A verification: of an event of this kind, or of a digest.
    Verify(Option<u16>),
    /// The derivation of a conversation key.
    Agree,
    /// A sealing under a known conversation key.
    Seal,
    /// An opening under a known conversation key.
    Open,
}

/// Steps by party and step.
pub type CryptoCounts = BTreeMap<(&'static str, CryptoStep), u64>;

static IS_ON: AtomicBool = AtomicBool::new(false);
static COUNTS: Mutex<CryptoCounts> = Mutex::new(BTreeMap::new());

thread_local! {
    static PARTY: Cell<&'static str> = const { Cell::new("") };
}

/// From now on this thread works for this party.
pub fn work_for(party: &'static str) {
    PARTY.set(party);
}

/// Counts from now on.
pub fn begin() {
    IS_ON.store(true, Ordering::Relaxed);
}

/// What was counted since the last call.
#[must_use]
pub fn take() -> CryptoCounts {
    core::mem::take(&mut *counts())
}

pub(crate) fn note(step: CryptoStep) {
    if IS_ON.load(Ordering::Relaxed) {
        let mut counts = counts();
        let count = counts.entry((PARTY.get(), step)).or_insert(0);
        *count = count.saturating_add(1);
    }
}

fn counts() -> MutexGuard<'static, CryptoCounts> {
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner)
}
