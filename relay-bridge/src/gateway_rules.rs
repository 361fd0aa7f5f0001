//! What a node's gateway takes from strangers and what it gives out: pure decisions, without a socket.
//!
//! It takes the two kinds of a job, addressed to a key of this node, and nothing else. It gives frames only to who
//! asks for them by the key that they are addressed to; everything else that it has is public anyway.

use std::collections::BTreeSet;

use fedai_protocol::PublicKey;
use fedai_protocol::event_kinds::{EPHEMERAL_GIFT_WRAP, SESSION_FRAME};
use fedai_protocol::limits::{GATEWAY_FILTER_KEYS_MAX, GATEWAY_FILTER_KINDS_MAX, GATEWAY_FILTER_VALUES_MAX};
use nostr::{Alphabet, Event, Filter, SingleLetterTag};

/// Kinds that are written and read by `p` only.
pub(crate) const ADDRESSED_KINDS: [u16; 2] = [EPHEMERAL_GIFT_WRAP, SESSION_FRAME];

/// Why an event is not taken, as the text of an OK message. Nothing was verified yet: what is not for this node is not
/// worth the time.
pub(crate) fn check_event(event: &Event, keys: &BTreeSet<PublicKey>) -> Result<(), &'static str> {
    if !ADDRESSED_KINDS.contains(&event.kind.as_u16()) {
        return Err("blocked: this relay takes jobs for its own node and nothing else");
    }
    let mut addressed = event.tags.iter().filter_map(|tag| match tag.as_slice() {
        [name, value, ..] if name == "p" => Some(PublicKey::from_hex(value).ok()),
        _ => None,
    });
    match (addressed.next(), addressed.next()) {
        (Some(Some(key)), None) if keys.contains(&key) => Ok(()),
        (Some(Some(_)), None) => Err("blocked: not addressed to a key of this node"),
        _ => Err("invalid: exactly one p tag"),
    }
}

/// Why a subscription is not taken, as the text of a CLOSED message.
pub(crate) fn check_filters(filters: &[Filter]) -> Result<(), String> {
    let mut keys_in_all = 0_usize;
    for filter in filters {
        let names_addressed = filter
            .kinds
            .as_ref()
            .is_some_and(|kinds| kinds.iter().any(|kind| ADDRESSED_KINDS.contains(&kind.as_u16())));
        let keys = filter.generic_tags.get(&SingleLetterTag::lowercase(Alphabet::P)).map_or(0, BTreeSet::len);
        if names_addressed && keys == 0 {
            return Err("restricted: kinds 21059 and 21438 are given out by #p only".to_owned());
        }
        keys_in_all = keys_in_all.saturating_add(keys);
        let kinds = filter.kinds.as_ref().map_or(0, BTreeSet::len);
        let named =
            filter.ids.as_ref().map_or(0, BTreeSet::len) + filter.authors.as_ref().map_or(0, BTreeSet::len);
        let values = named + filter.generic_tags.values().map(BTreeSet::len).sum::<usize>();
        let limits = [
            (keys_in_all, GATEWAY_FILTER_KEYS_MAX, "keys (#p) in a subscription"),
            (kinds, GATEWAY_FILTER_KINDS_MAX, "kinds in a filter"),
            // Keys are looked up by kind: this many places for each of them.
            (if keys > 0 { kinds } else { 0 }, ADDRESSED_KINDS.len(), "kinds beside keys (#p)"),
            (values, GATEWAY_FILTER_VALUES_MAX, "ids, authors and tag values in a filter"),
        ];
        if let Some((_, most, what)) = limits.into_iter().find(|(count, most, _)| count > most) {
            return Err(format!("blocked: more than {most} {what}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use fedai_protocol::SigningKey;
    use fedai_protocol::entropy::CountingEntropy;
    use fedai_protocol::message::Draft;
    use fedai_protocol::{UnixSeconds, VerifiedEvent};

    use super::*;
    use crate::filters;

    fn event(kind: u16, to: &[PublicKey]) -> VerifiedEvent {
        let tags = to.iter().map(|key| vec!["p".to_owned(), key.to_hex()]).collect();
        let draft = Draft::new(kind, tags, "x".into(), UnixSeconds(1_800_000_000));
        SigningKey::generate(&mut CountingEntropy(1)).sign(draft, &mut CountingEntropy(2))
    }

    #[test]
    fn only_jobs_for_a_key_of_this_node_are_taken() {
        let [ours, other] = [3, 4].map(|n| SigningKey::generate(&mut CountingEntropy(n)).public_key());
        let keys = BTreeSet::from([ours]);
        let check = |kind, to: &[PublicKey]| check_event(event(kind, to).as_event(), &keys).is_ok();
        assert!(check(SESSION_FRAME, &[ours]) && check(EPHEMERAL_GIFT_WRAP, &[ours]));
        assert!(!check(SESSION_FRAME, &[other]), "somebody else's");
        assert!(!check(SESSION_FRAME, &[]) && !check(SESSION_FRAME, &[ours, ours]), "one p tag");
        assert!(!check(1, &[ours]) && !check(31_434, &[ours]) && !check(1_434, &[ours]), "other kinds");
    }

    #[test]
    fn frames_are_asked_for_by_key_and_by_few_keys() {
        let keys: Vec<PublicKey> = (0..=GATEWAY_FILTER_KEYS_MAX as u64)
            .map(|n| SigningKey::generate(&mut CountingEntropy(n + 10)).public_key())
            .collect();
        let of = |count: usize| filters::of_kinds_to(&[SESSION_FRAME], keys.iter().take(count).copied());
        assert!(check_filters(&[of(1)]).is_ok());
        assert!(check_filters(&[of(GATEWAY_FILTER_KEYS_MAX)]).is_ok());
        assert!(check_filters(&[of(GATEWAY_FILTER_KEYS_MAX + 1)]).is_err());
        assert!(check_filters(&[of(GATEWAY_FILTER_KEYS_MAX), of(1)]).is_err(), "over all filters");
        let kinds: Vec<u16> = (1..=GATEWAY_FILTER_KINDS_MAX as u16 + 1).collect();
        assert!(check_filters(&[filters::of_kinds(&kinds)]).is_err());
        assert!(check_filters(&[filters::of_kinds(kinds.split_last().unwrap().1)]).is_ok());
        let beside_keys = |kinds: &[u16]| check_filters(&[filters::of_kinds_to(kinds, [keys[0]])]);
        assert!(beside_keys(&ADDRESSED_KINDS).is_ok() && beside_keys(&[1, 2, 3]).is_err());
        let authors: Vec<PublicKey> =
            keys.iter().copied().cycle().take(GATEWAY_FILTER_VALUES_MAX + 1).collect();
        assert!(check_filters(&[Filter::new().authors(authors)]).is_ok(), "the same ones again");
        let values = (0..=GATEWAY_FILTER_VALUES_MAX).map(|n| n.to_string());
        let many = Filter::new().custom_tags(SingleLetterTag::lowercase(Alphabet::M), values);
        assert!(check_filters(&[many]).is_err());
        assert!(check_filters(&[of(1), filters::of_kinds(&[SESSION_FRAME])]).is_err());
        assert!(check_filters(&[filters::of_kinds(&[1, EPHEMERAL_GIFT_WRAP])]).is_err());
        assert!(check_filters(&[filters::of_kinds(&[31_434])]).is_ok());
        assert!(check_filters(&[Filter::new()]).is_ok(), "stored events; frames are not delivered by it");
    }
}
