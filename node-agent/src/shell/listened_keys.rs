//! What the node asks relays for: job opens to its inbox keys, frames to its session keys.
//!
//! A request has to fit into one message of a strict relay, so the number of keys has an end. The rule: every
//! job that is still open is listened for; finished ones fill the rest, the last finished first.

use std::collections::BTreeSet;
use std::sync::Arc;

use fedai_protocol::PublicKey;
use fedai_protocol::event_kinds::{EPHEMERAL_GIFT_WRAP, SESSION_FRAME};
use fedai_protocol::limits::NODE_JOBS_MAX;
use fedai_relay_bridge::{Filter, filters};

use super::session_keys::{InboxKeys, SessionKeys};

/// The keys asked for. Two are equal when they ask for the same.
///
/// Each job asks again, so what it asks for is short, and so is the work of choosing it: jobs that ended are many, and
/// go into a request of their own, which is written anew when enough of them have come together.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct ListenedKeys {
    inboxes: BTreeSet<PublicKey>,
    /// Sessions that are open or ended lately.
    lately: BTreeSet<PublicKey>,
    /// Sessions that ended before.
    ended: Arc<BTreeSet<PublicKey>>,
    /// Finishes, and finished sessions gone, when those were written.
    moved_at: (u64, u64),
}

impl ListenedKeys {
    /// The keys that matter now, as many as relays take; `before` are those asked for last.
    pub(super) fn choose(inboxes: &InboxKeys, sessions: &SessionKeys, before: &Self) -> Self {
        let (open, (finishes, gone)) = (sessions.open_keys(), sessions.past());
        let room = SESSION_KEYS_MAX.saturating_sub(open.len());
        let lately = sessions.finished_after(before.moved_at.0).take(LATELY_MAX + 1);
        let lately: Vec<PublicKey> = lately.collect();
        let are_many_gone = gone.saturating_sub(before.moved_at.1) > GONE_MAX;
        // A request for nothing would be refused.
        let has_to_move = lately.len() > LATELY_MAX || (are_many_gone && sessions.has_finished());
        let inboxes = inboxes.listening().collect();
        if has_to_move {
            let ended = Arc::new(sessions.finished_after(0).take(room).collect());
            return Self { inboxes, lately: open.collect(), ended, moved_at: (finishes, gone) };
        }
        let lately = open.take(SESSION_KEYS_MAX).chain(lately).collect();
        Self { inboxes, lately, ended: Arc::clone(&before.ended), moved_at: before.moved_at }
    }

    /// True when the request for ended sessions has to be written anew, too.
    pub(super) fn has_moved(&self, before: &Self) -> bool {
        self.ended != before.ended
    }

    /// What each job asks for anew: a filter for job opens, and as many for frames as the keys need.
    pub(super) fn filters(&self) -> Vec<Filter> {
        let opens = filters::of_kinds_to(&[EPHEMERAL_GIFT_WRAP], self.inboxes.iter().copied());
        std::iter::once(opens).chain(for_frames(&self.lately)).collect()
    }

    /// For the frames of ended sessions.
    pub(super) fn filters_of_ended(&self) -> Vec<Filter> {
        for_frames(&self.ended).collect()
    }
}

fn for_frames(sessions: &BTreeSet<PublicKey>) -> impl Iterator<Item = Filter> {
    let sessions: Vec<PublicKey> = sessions.iter().copied().collect();
    let filter = |keys: &[PublicKey]| filters::of_kinds_to(&[SESSION_FRAME], keys.iter().copied());
    sessions.chunks(FILTER_KEYS_MAX).map(filter).collect::<Vec<_>>().into_iter()
}

/// Ended sessions that are asked for with each job, until they move.
const LATELY_MAX: usize = 32;
/// Keys that are asked for although their sessions are forgotten, until the ended ones are written anew.
const GONE_MAX: u64 = 256;
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
        let listened = ListenedKeys::choose(&inboxes, &sessions, &ListenedKeys::default());
        assert_eq!(listened.lately.len(), 601);
        assert!(listened.lately.is_superset(&keys(&sessions, &first)), "the oldest open job");
        assert!(listened.lately.is_superset(&keys(&sessions, &last)));
        // The rest is for those that finished last.
        let rest = SESSION_KEYS_MAX - 601;
        assert_eq!(*listened.ended, keys(&sessions, &done[done.len() - rest..]));

        let sizes = |filters: &[Filter]| -> Vec<usize> {
            filters.iter().flat_map(|filter| filter.generic_tags.values().map(BTreeSet::len)).collect()
        };
        assert_eq!(sizes(&listened.filters()), [1, 512, 89]);
        assert_eq!(sizes(&listened.filters_of_ended()), [512, 423]);
    }

    #[test]
    fn as_many_open_jobs_as_there_may_be_fit_one_message_of_a_strict_relay() {
        let (mut inboxes, mut sessions) = (InboxKeys::default(), SessionKeys::default());
        inboxes.make(UnixSeconds(9));
        open(&mut sessions, SESSION_KEYS_MAX);
        let filters = ListenedKeys::choose(&inboxes, &sessions, &ListenedKeys::default()).filters();
        assert_eq!(filters.len(), 4);
        assert!(serde_json::to_string(&filters).unwrap().len() < 2 * EVENT_BYTES_MAX - 1_024);
    }

    #[test]
    fn sessions_that_ended_move_many_at_a_time_and_no_key_is_ever_left_out() {
        let (inboxes, mut sessions) = (InboxKeys::default(), SessionKeys::default());
        let (mut listened, mut moves) = (ListenedKeys::default(), 0);
        for _ in 0..200 {
            let job = open(&mut sessions, 1);
            sessions.finish(&job[0]);
            let now = ListenedKeys::choose(&inboxes, &sessions, &listened);
            moves += usize::from(now.has_moved(&listened));
            listened = now;
            assert!(listened.lately.len() <= LATELY_MAX);
        }
        let all: BTreeSet<PublicKey> = sessions.open_keys().chain(sessions.finished_after(0)).collect();
        assert_eq!(listened.lately.union(&listened.ended).copied().collect::<BTreeSet<_>>(), all);
        assert_eq!(moves, 200 / (LATELY_MAX + 1));
    }

    #[test]
    fn a_finish_or_a_session_that_came_and_went_asks_for_nothing_new() {
        let (inboxes, mut sessions) = (InboxKeys::default(), SessionKeys::default());
        let jobs = open(&mut sessions, 513);
        let before = ListenedKeys::choose(&inboxes, &sessions, &ListenedKeys::default());
        assert_eq!(before.filters().len(), 3);
        sessions.finish(&jobs[0]);
        let refused = open(&mut sessions, 1);
        sessions.close(&refused[0]);
        assert!(ListenedKeys::choose(&inboxes, &sessions, &before) == before);
        sessions.close(&jobs[0]);
        assert!(ListenedKeys::choose(&inboxes, &sessions, &before) != before);
    }
}
