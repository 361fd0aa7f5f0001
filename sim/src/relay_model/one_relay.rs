//! One relay and its faults: what it holds back, repeats, hides and makes up.

use fedai_protocol::event_kinds::STORED;
use fedai_protocol::limits::EPHEMERAL_AGE_SECONDS_MAX;
use fedai_protocol::{Entropy, UnixMicros, VerifiedEvent};

use super::Injected;
use crate::chance::Chance;
use crate::faults::{Active, FaultKind};
use crate::world::Party;

/// A relay.
#[derive(Clone, Debug, Default)]
pub(super) struct OneRelay {
    pub(super) faults: Active,
    /// For readers that are cut off; they catch up by `since`.
    kept: Vec<(Party, VerifiedEvent)>,
    /// An event that somebody else asked for.
    seen: Option<(Party, VerifiedEvent)>,
}

impl OneRelay {
    /// True when it keeps from everybody what this party says.
    pub(super) fn hides(&mut self, from: Party) -> bool {
        let hides = self.faults.size(FaultKind::RelayHides) == Some(from.number());
        if hides {
            self.faults.fired(FaultKind::RelayHides);
        }
        hides
    }

    /// How much longer an event takes.
    pub(super) fn held_micros(&mut self) -> u64 {
        if !self.faults.strikes(FaultKind::RelayDelay) {
            return 0;
        }
        self.faults.chance(FaultKind::RelayDelay).map_or(0, |chance| late_micros(5_000, chance))
    }

    /// When further copies of an event come that comes at `at`.
    pub(super) fn copies(&mut self, at: UnixMicros) -> Vec<UnixMicros> {
        if !self.faults.strikes(FaultKind::RelayDuplicate) {
            return Vec::new();
        }
        let Some(chance) = self.faults.chance(FaultKind::RelayDuplicate) else { return Vec::new() };
        (0..chance.between(1, COPIES_MAX)).map(|_| at.plus(late_micros(20_000, chance))).collect()
    }

    pub(super) fn keep(&mut self, reader: Party, event: VerifiedEvent) {
        self.kept.push((reader, event));
    }

    /// What it has kept for readers that are back.
    pub(super) fn take_kept(
        &mut self,
        mut is_back: impl FnMut(Party) -> bool,
    ) -> Vec<(Party, VerifiedEvent)> {
        let (back, away) =
            core::mem::take(&mut self.kept).into_iter().partition(|(party, _)| is_back(*party));
        self.kept = away;
        back
    }

    /// What it makes up beside an event.
    pub(super) fn inject(&mut self, at: UnixMicros, to: Party, event: &VerifiedEvent) -> Option<Injected> {
        let strikes = self.faults.strikes(FaultKind::RelayInjects);
        // What is public is for all routers.
        let is_for =
            |reader: &Party| *reader == to || matches!((reader, to), (Party::Router(_), Party::Router(_)));
        let foreign = self.seen.take().filter(|(reader, _)| !is_for(reader));
        self.seen = Some((to, event.clone()));
        if !strikes {
            return None;
        }
        let json = event.to_json();
        let is_stored = STORED.contains(&event.kind());
        let chance = self.faults.chance(FaultKind::RelayInjects)?;
        Some(match (chance.between(0, 3), foreign) {
            (0, Some((_, foreign))) => Injected { at, to, json: foreign.to_json() },
            (1, _) if !is_stored => {
                let late = at.plus_seconds(EPHEMERAL_AGE_SECONDS_MAX.saturating_add(chance.between(2, 200)));
                Injected { at: late, to, json }
            }
            (2, _) => Injected { at, to, json: altered(&json, "\"sig\":\"", chance) },
            _ => Injected { at, to, json: altered(&json, "\"content\":\"", chance) },
        })
    }
}

/// The text with one letter changed, up to 60 after this mark: the length of a signature leaves room for that, and the
/// content of every message does.
fn altered(json: &str, mark: &str, chance: &mut Chance) -> String {
    let begin = json.find(mark).map_or(0, |at| at.saturating_add(mark.len()));
    let end = begin.saturating_add(usize::try_from(chance.below(60)).unwrap_or(0));
    let is_letter = |c: char| c.is_ascii_alphanumeric();
    let found =
        json.char_indices().filter(|(_, c)| is_letter(*c)).find(|(at, _)| *at >= end.min(json.len() - 1));
    let at = found.map_or(begin, |(at, _)| at);
    let (head, tail) = json.split_at_checked(at).unwrap_or((json, ""));
    let mut tail = tail.chars();
    let other = if tail.next() == Some('a') { 'b' } else { 'a' };
    format!("{head}{other}{}", tail.as_str())
}

/// Mostly seconds, sometimes a minute, now and then ten.
fn late_micros(usual_ms: u64, chance: &mut Chance) -> u64 {
    let longest_ms = match chance.between(0, 99) {
        0..=79 => usual_ms,
        80..=95 => 60_000,
        _ => 600_000,
    };
    chance.below(longest_ms.saturating_mul(1_000))
}

const COPIES_MAX: u64 = 3;
