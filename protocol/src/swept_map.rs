//! A map that forgets what is over: it is swept whenever it has doubled since the last time, so it holds at most about
//! twice what is still of use, at a constant cost an entry, and is never larger than it may be.

use std::collections::BTreeMap;

/// Entries below which nothing is swept.
const SMALL: usize = 64;

/// The map.
#[derive(Clone, Debug)]
pub struct SweptMap<K, V> {
    entries: BTreeMap<K, V>,
    sweep_at: usize,
}

impl<K, V> Default for SweptMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> SweptMap<K, V> {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: BTreeMap::new(), sweep_at: SMALL }
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<K: Ord, V> SweptMap<K, V> {
    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    /// The value of a key, made when there is none; `None` when all of `capacity` entries are still of use.
    pub fn get_or_insert(
        &mut self,
        key: K,
        fresh: V,
        capacity: usize,
        is_over: impl Fn(&V) -> bool,
    ) -> Option<&mut V> {
        if self.entries.len() >= self.sweep_at.min(capacity) && !self.entries.contains_key(&key) {
            self.entries.retain(|_, value| !is_over(value));
            self.sweep_at = self.entries.len().saturating_mul(2).max(SMALL);
            if self.entries.len() >= capacity {
                return None;
            }
        }
        Some(self.entries.entry(key).or_insert(fresh))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_leaves_long_before_the_map_is_full() {
        let mut map = SweptMap::new();
        for now in 0..10_000_u32 {
            assert_eq!(map.get_or_insert(now, now, 5_000, |at| now - at >= 100), Some(&mut now.clone()));
        }
        assert!(map.len() <= 200, "{}", map.len());
        assert_eq!(map.get(&9_950), Some(&9_950));
    }

    #[test]
    fn what_is_of_use_is_kept_and_the_new_has_to_wait() {
        let mut map = SweptMap::new();
        assert!((0..100).all(|key| map.get_or_insert(key, (), 100, |()| false).is_some()));
        assert_eq!(map.get_or_insert(100, (), 100, |()| false), None);
        assert!(map.get_or_insert(7, (), 100, |()| false).is_some(), "a known one is no news");
        assert!(map.get_or_insert(100, (), 100, |()| true).is_some());
        assert_eq!(map.len(), 1);
    }
}
