//! What the node asks relays for: job opens to its inbox keys, frames to its session keys.
//!
//! A request has to fit into one message of a strict relay, so the number of keys has an end. The rule: every
//! job that is still open is listened for; finished ones fill the rest, the last finished first.

use std::collections::BTreeSet;

use fedai_protocol::PublicKey;
use fedai_protocol::event_kinds::{EPHEMERAL_GIFT_WRAP, SESSION_FRAME};
use fedai_protocol::limits::NODE_JOBS_MAX;
use fedai_relay_bridge::{Filter, filters};

use super::session_keys::{InboxKeys, SessionKeys};

/// The keys of one request. Two are equal when they ask for the same.
#[derive(Default, PartialEq, Eq)]
pub(super) struct ListenedKeys {
    inboxes: BTreeSet<PublicKey>,
    sessions: BTreeSet<PublicKey>,
}

impl ListenedKeys {
    /// The keys that matter now, as many as relays take.
    pub(super) fn choose(inboxes: &InboxKeys, sessions: &SessionKeys) -> Self {
        Self {
            inboxes: inboxes.listening().collect(),
            sessions: sessions.listening().into_iter().take(SESSION_KEYS_MAX).collect(),
        }
    }

    /// One filter for job opens, and as many for frames as the keys need.
    pub(super) fn filters(&self) -> Vec<Filter> {
        let opens = filters::of_kinds_to(&[EPHEMERAL_GIFT_WRAP], self.inboxes.iter().copied());
        let sessions: Vec<PublicKey> = self.sessions.iter().copied().collect();
        let frames = sessions
            .chunks(FILTER_KEYS_MAX)
            .map(|keys| filters::of_kinds_to(&[SESSION_FRAME], keys.iter().copied()));
        std::iter::once(opens).chain(frames).collect()
    }
}

/// Keys in one filter: relays limit the values of a tag.
const FILTER_KEYS_MAX: usize = 512;
/// Three full filters are a request of 103 KB: strict relays, ours too, take messages of 128 KiB.
const SESSION_KEYS_MAX: usize = 3 * FILTER_KEYS_MAX;
const _: () = assert!(SESSION_KEYS_MAX >= NODE_JOBS_MAX, "an open job would not be listened for");

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use fedai_protocol::limits::EVENT_BYTES_MAX;
    use fedai_protocol::{Entropy, EventId, JobId, SigningKey, UnixSeconds};
    use fedai_relay_bridge::SystemEntropy;

    use super::*;

    fn open(sessions: &mut SessionKeys, count: usize) -> Vec<JobId> {
        let client = SigningKey::generate(&mut SystemEntropy).public_key();
        let jobs: Vec<_> =
            (0..count).map(|_| JobId(EventId::from_byte_array(SystemEntropy.bytes32()))).collect();
        for job in &jobs {
            sessions.open(*job, client, vec![]).unwrap();
        }
        jobs
    }

    fn keys(sessions: &SessionKeys, jobs: &[JobId]) -> BTreeSet<PublicKey> {
        jobs.iter().map(|job| sessions.get(job).unwrap().public_key()).collect()
    }

    #[test]
    fn every_open_job_is_listened_for_however_many_have_finished() {
        let (mut inboxes, mut sessions) = (InboxKeys::default(), SessionKeys::default());
        inboxes.make(UnixSeconds(9));
        let first = open(&mut sessions, 1);
        let done = open(&mut sessions, SESSION_KEYS_MAX);
        done.iter().for_each(|job| sessions.finish(job));
        let last = open(&mut sessions, 600);
        let listened = ListenedKeys::choose(&inboxes, &sessions);
        assert_eq!(listened.sessions.len(), SESSION_KEYS_MAX);
        assert!(listened.sessions.is_superset(&keys(&sessions, &first)), "the oldest open job");
        assert!(listened.sessions.is_superset(&keys(&sessions, &last)));
        // The rest is for those that finished last.
        let rest = SESSION_KEYS_MAX - 601;
        assert!(listened.sessions.is_superset(&keys(&sessions, &done[done.len() - rest..])));

        let filters = listened.filters();
        assert_eq!(filters.len(), 4);
        let sizes: Vec<_> = filters.iter().flat_map(|f| f.generic_tags.values().map(BTreeSet::len)).collect();
        assert_eq!(sizes, [1, 512, 512, 512]);
        assert!(serde_json::to_string(&filters).unwrap().len() < 2 * EVENT_BYTES_MAX - 1_024);
    }

    #[test]
    fn a_finish_or_a_session_that_came_and_went_asks_for_nothing_new() {
        let (inboxes, mut sessions) = (InboxKeys::default(), SessionKeys::default());
        let jobs = open(&mut sessions, 513);
        let before = ListenedKeys::choose(&inboxes, &sessions);
        assert_eq!(before.filters().len(), 3);
        sessions.finish(&jobs[0]);
        let refused = open(&mut sessions, 1);
        sessions.close(&refused[0]);
        assert!(ListenedKeys::choose(&inboxes, &sessions) == before);
        sessions.close(&jobs[0]);
        assert!(ListenedKeys::choose(&inboxes, &sessions) != before);
    }
}
