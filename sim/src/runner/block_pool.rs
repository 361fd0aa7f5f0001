//! Memory in blocks, with what was computed kept until somebody needs the room: first in line goes what was longest not
//! used, and of one text its end before its beginning.

use std::collections::BTreeMap;

use super::prefix::Prefix;
use super::profile::BLOCK_TOKENS;

/// The pool.
#[derive(Clone, Debug)]
pub(super) struct BlockPool {
    total: u64,
    /// Blocks of running sequences, shared ones once.
    used: u64,
    /// Blocks that nobody runs on.
    idle: u64,
    units: BTreeMap<u64, Unit>,
    leftovers: BTreeMap<u64, Leftover>,
    stamps: u64,
}

/// A run of blocks with a name.
#[derive(Clone, Copy, Debug)]
struct Unit {
    blocks: u64,
    holders: u32,
    /// Its place in the line when nobody holds it.
    stamp: u64,
}

#[derive(Clone, Copy, Debug)]
struct Leftover {
    /// None when it can never be asked for again.
    unit: Option<u64>,
    blocks: u64,
}

/// What a sequence holds.
#[derive(Clone, Debug, Default)]
pub(super) struct BlockHold {
    units: Vec<u64>,
    /// Units of its text that are settled: held by name, or its own copy of one that exists already.
    settled: u64,
    unit_blocks: u64,
    private: u64,
}

impl BlockPool {
    pub(super) const fn new(total: u64) -> Self {
        Self { total, used: 0, idle: 0, units: BTreeMap::new(), leftovers: BTreeMap::new(), stamps: 0 }
    }

    /// Blocks that may be had, by dropping what is idle if need be.
    pub(super) const fn available(&self) -> u64 {
        self.total.saturating_sub(self.used)
    }

    /// Blocks in use.
    pub(super) const fn used(&self) -> u64 {
        self.used
    }

    /// Blocks in use and idle ones; never more than there are.
    pub(super) const fn filled(&self) -> u64 {
        self.used + self.idle
    }

    /// Room for a text of so many tokens while `reserve` blocks stay available: what is held, and how many tokens need
    /// not be computed.
    pub(super) fn admit(&mut self, prefix: &Prefix, tokens: u64, reserve: u64) -> Option<(BlockHold, u64)> {
        let blocks_each = prefix.unit_tokens() / BLOCK_TOKENS;
        // The last token is always computed: its output is the next token.
        let named = prefix.units_in(tokens.saturating_sub(1));
        let names: Vec<u64> = (0..named)
            .map(|number| prefix.unit(number))
            .take_while(|name| self.units.contains_key(name))
            .collect();
        let hit_blocks = names.len() as u64 * blocks_each;
        let private = tokens.div_ceil(BLOCK_TOKENS).saturating_sub(hit_blocks);
        let woken: u64 = names.iter().filter_map(|name| self.units.get(name)).map(Unit::idle_blocks).sum();
        if private + woken + reserve > self.available() {
            return None;
        }
        for name in &names {
            self.hold(*name);
        }
        self.grow(private);
        let hit = names.len() as u64;
        let hold = BlockHold { units: names, settled: hit, unit_blocks: hit_blocks, private };
        Some((hold, hit * prefix.unit_tokens()))
    }

    /// More blocks for running sequences. The caller has seen that they are available.
    pub(super) fn grow(&mut self, blocks: u64) {
        self.used += blocks;
        while self.used + self.idle > self.total {
            let excess = self.used + self.idle - self.total;
            let Some(mut first) = self.leftovers.first_entry() else { break };
            let leftover = first.get_mut();
            if leftover.unit.is_none() && leftover.blocks > excess {
                leftover.blocks -= excess;
                self.idle -= excess;
                break;
            }
            let (unit, blocks) = (leftover.unit, leftover.blocks);
            first.remove();
            self.idle -= blocks;
            if let Some(name) = unit {
                self.units.remove(&name);
            }
        }
    }

    /// So many tokens of the text are computed: whole units of it are there for others.
    pub(super) fn publish(&mut self, hold: &mut BlockHold, prefix: &Prefix, tokens: u64) {
        let blocks = prefix.unit_tokens() / BLOCK_TOKENS;
        for number in hold.settled..prefix.units_in(tokens) {
            let name = prefix.unit(number);
            if !self.units.contains_key(&name) && hold.private >= blocks {
                self.units.insert(name, Unit { blocks, holders: 1, stamp: 0 });
                hold.units.push(name);
                hold.unit_blocks += blocks;
                hold.private -= blocks;
            }
            hold.settled = number + 1;
        }
    }

    /// The sequence is over, with so many tokens computed.
    pub(super) fn release(&mut self, mut hold: BlockHold, prefix: &Prefix, tokens: u64) {
        hold.private = tokens.div_ceil(BLOCK_TOKENS).max(hold.unit_blocks + hold.private) - hold.unit_blocks;
        self.publish(&mut hold, prefix, tokens);
        self.used -= hold.private;
        self.leave(None, hold.private);
        for name in hold.units.into_iter().rev() {
            let Some(unit) = self.units.get_mut(&name) else { continue };
            unit.holders = unit.holders.saturating_sub(1);
            if unit.holders == 0 {
                let blocks = unit.blocks;
                self.used -= blocks;
                self.leave(Some(name), blocks);
            }
        }
    }

    /// Nothing is there any more.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.total);
    }

    fn hold(&mut self, name: u64) {
        let Some(unit) = self.units.get_mut(&name) else { return };
        if unit.holders == 0 {
            self.leftovers.remove(&unit.stamp);
            self.idle -= unit.blocks;
            self.used += unit.blocks;
        }
        unit.holders += 1;
    }

    fn leave(&mut self, unit: Option<u64>, blocks: u64) {
        if blocks == 0 {
            return;
        }
        self.stamps += 1;
        self.idle += blocks;
        self.leftovers.insert(self.stamps, Leftover { unit, blocks });
        if let Some(unit) = unit.and_then(|name| self.units.get_mut(&name)) {
            unit.stamp = self.stamps;
        }
    }
}

impl Unit {
    const fn idle_blocks(&self) -> u64 {
        if self.holders == 0 { self.blocks } else { 0 }
    }
}
