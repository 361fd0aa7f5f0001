//! Event ids as NIP-01 says: SHA-256 over the JSON of `[0, pubkey, created_at, kind, tags, content]`.
//!
//! The Nostr library builds a tree of that JSON first, with a copy of the content in it, which shows in a profile
//! beside the signatures. This writes the same bytes once.

use nostr::{EventId, Kind, PublicKey, Tags, Timestamp};
use sha2::{Digest, Sha256};

/// What surrounds the content: keys, numbers and a few tags.
const AROUND_BYTES: usize = 512;

/// The id of an event.
pub(crate) fn event_id(
    author: &PublicKey,
    created_at: &Timestamp,
    kind: &Kind,
    tags: &Tags,
    content: &str,
) -> EventId {
    let mut json = Vec::with_capacity(content.len().saturating_add(AROUND_BYTES));
    match serde_json::to_writer(&mut json, &(0_u8, author, created_at, kind, tags, content)) {
        Ok(()) => EventId::from_byte_array(Sha256::digest(&json).into()),
        // Memory does not fail to be written to; the library is right in any case.
        Err(_) => EventId::new(author, created_at, kind, tags, content),
    }
}

#[cfg(test)]
mod tests {
    use nostr::Tag;
    use proptest::prelude::*;

    use super::*;
    use crate::entropy::CountingEntropy;
    use crate::signing_key::SigningKey;

    proptest! {
        #[test]
        fn ids_are_those_of_the_library(
            content in any::<String>(),
            tags in prop::collection::vec(prop::collection::vec(any::<String>(), 1..4), 0..4),
            created_at in any::<u64>(),
            kind in any::<u16>(),
        ) {
            let author = SigningKey::generate(&mut CountingEntropy(1)).public_key();
            let tags = Tags::from_list(tags.into_iter().filter_map(|tag| Tag::parse(tag).ok()).collect());
            let (created_at, kind) = (Timestamp::from_secs(created_at), Kind::from(kind));
            let theirs = EventId::new(&author, &created_at, &kind, &tags, &content);
            prop_assert_eq!(event_id(&author, &created_at, &kind, &tags, &content), theirs);
        }
    }
}
