//! The few shapes of filter this network asks relays for: at most two tag keys and few kinds, because relays refuse
//! more (strfry takes three tag keys, others two).

use fedai_protocol::{PublicKey, UnixSeconds};
use nostr::{Filter, Kind, SingleLetterTag, Timestamp};

/// Events of these kinds.
#[must_use]
pub fn of_kinds(kinds: &[u16]) -> Filter {
    Filter::new().kinds(kinds.iter().copied().map(Kind::from))
}

/// Events of these kinds that are addressed (`p`) to one of these keys.
#[must_use]
pub fn of_kinds_to(kinds: &[u16], keys: impl IntoIterator<Item = PublicKey>) -> Filter {
    of_kinds(kinds).pubkeys(keys)
}

/// Events of one kind by one author.
#[must_use]
pub fn of_author(kind: u16, author: PublicKey) -> Filter {
    of_kinds(&[kind]).author(author)
}

/// Events of one kind by one of these authors.
#[must_use]
pub fn of_authors(kind: u16, authors: impl IntoIterator<Item = PublicKey>) -> Filter {
    of_kinds(&[kind]).authors(authors)
}

/// The same filter with one more tag condition. A letter that is no tag name leaves the filter as it is.
#[must_use]
pub fn with_tag<S: Into<String>>(
    filter: Filter,
    letter: char,
    values: impl IntoIterator<Item = S>,
) -> Filter {
    match SingleLetterTag::from_char(letter) {
        Ok(tag) => filter.custom_tags(tag, values),
        Err(_) => filter,
    }
}

/// The same filter, from this time on.
#[must_use]
pub fn since(filter: Filter, from: UnixSeconds) -> Filter {
    filter.since(Timestamp::from_secs(from.0))
}
