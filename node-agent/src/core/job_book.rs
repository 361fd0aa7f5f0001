//! All jobs of the node: open ones, the line before the slots, finished ones that can still be resumed.
//!
//! The rule: everything in here has a limit. Finished answers are kept for minutes within a fixed memory and
//! the oldest
//! go first; jobs that have a receipt are remembered by id for as long as their ticket could be used again.

use std::collections::{BTreeMap, VecDeque};

use fedai_protocol::job_open::RequestBody;
use fedai_protocol::limits::{NODE_FINISHED_JOBS_MAX, NODE_TICKETS_MAX};
use fedai_protocol::{JobId, PublicKey, UnixMicros, UnixSeconds};

use super::admission::Occupancy;
use super::announcer::LoadLevel;
use super::pace::PaceBook;
use super::policy::{Deadlines, JobLimits};
use super::session::{Phase, Session};

/// Jobs by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobBook {
    /// Jobs without their terminal frame. Apart from the finished ones, which are many and are asked for rarely: these
    /// here are gone through for each line of output.
    unfinished: BTreeMap<JobId, Box<Session>>,
    line: VecDeque<JobId>,
    finished: BTreeMap<JobId, Box<Session>>,
    /// The oldest first.
    finish_order: VecDeque<JobId>,
    finished_bytes: usize,
    receipted: BTreeMap<JobId, UnixSeconds>,
    running: usize,
    /// Work of others on the same runner.
    pub(crate) foreign: u32,
}

impl JobBook {
    /// A session, open or finished.
    pub(crate) fn get_mut(&mut self, job: &JobId) -> Option<&mut Session> {
        self.unfinished.get_mut(job).or_else(|| self.finished.get_mut(job)).map(AsMut::as_mut)
    }

    /// Adds an admitted job; it waits, or uploads first.
    pub(crate) fn insert(&mut self, session: Session) {
        if session.phase == Phase::Queued {
            self.line.push_back(session.job);
        }
        self.unfinished.insert(session.job, Box::new(session));
    }

    /// The upload of a job is complete: it waits for a slot.
    pub(crate) fn enqueue(&mut self, job: JobId) {
        if let Some(session) = self.unfinished.get_mut(&job) {
            session.phase = Phase::Queued;
            self.line.push_back(job);
        }
    }

    /// Takes the next waiting job when a slot is free.
    pub(crate) fn next_to_run(&mut self, slots: u32, now: UnixMicros) -> Option<&mut Session> {
        if self.running >= usize::try_from(slots).unwrap_or(usize::MAX) {
            return None;
        }
        let job = self.line.pop_front()?;
        let session = self.unfinished.get_mut(&job)?.as_mut();
        session.phase = Phase::Running;
        session.times.started = Some(now);
        self.running = self.running.saturating_add(1);
        Some(session)
    }

    /// The job leaves line or slot; true when it was running.
    pub(crate) fn leave(&mut self, job: &JobId, phase: Phase) -> bool {
        match phase {
            Phase::Running => self.running = self.running.saturating_sub(1),
            Phase::Queued => self.line.retain(|waiting| waiting != job),
            _ => {}
        }
        phase == Phase::Running
    }

    /// The terminal frame was sent: the session stays for `resume`.
    pub(crate) fn close(&mut self, job: JobId, now: UnixMicros) {
        if let Some(mut session) = self.unfinished.remove(&job) {
            session.phase = Phase::Closed;
            session.times.closed = Some(now);
            session.body = None;
            session.bulk = None;
            self.finished_bytes = self.finished_bytes.saturating_add(session.kept_bytes());
            self.finish_order.push_back(job);
            self.finished.insert(job, session);
        }
    }

    /// Finished sessions that are over: too old, too many or too large in all.
    pub(crate) fn forget_finished(
        &mut self,
        now: UnixMicros,
        limits: &JobLimits,
        deadlines: &Deadlines,
    ) -> Vec<JobId> {
        let mut gone = Vec::new();
        while let Some(job) = self.finish_order.front().copied() {
            let over = self.finish_order.len() > NODE_FINISHED_JOBS_MAX
                || self.finished_bytes > limits.finished_bytes_max
                || self.forget_at(&job, deadlines).is_none_or(|at| at <= now);
            if !over {
                break;
            }
            self.finish_order.pop_front();
            let bytes = self.finished.remove(&job).map_or(0, |session| session.kept_bytes());
            self.finished_bytes = self.finished_bytes.saturating_sub(bytes);
            gone.push(job);
        }
        gone
    }

    /// Remembers that the job has its receipt: it never gets a second one.
    pub(crate) fn remember_receipt(&mut self, job: JobId, until: UnixSeconds) {
        self.receipted.insert(job, until);
    }

    /// True when the job has its receipt already.
    pub(crate) fn has_receipt(&self, job: &JobId) -> bool {
        self.receipted.contains_key(job)
    }

    /// True while another receipt can be remembered, so that no job is taken whose replay could not be told.
    pub(crate) fn can_remember(&mut self, now: UnixSeconds) -> bool {
        let needed = self.receipted.len().saturating_add(self.open_count());
        if needed >= NODE_TICKETS_MAX {
            self.receipted.retain(|_, until| *until >= now);
        }
        self.receipted.len().saturating_add(self.open_count()) < NODE_TICKETS_MAX
    }

    /// Jobs that are not finished.
    pub(crate) fn open_count(&self) -> usize {
        self.unfinished.len()
    }

    /// Jobs on the runner.
    pub(crate) const fn running(&self) -> usize {
        self.running
    }

    /// Jobs in line.
    pub(crate) fn queued(&self) -> usize {
        self.line.len()
    }

    /// Ids of the jobs that have not ended, in order.
    pub(crate) fn open_jobs(&self) -> Vec<JobId> {
        self.unfinished.values().filter(|session| session.is_open()).map(|session| session.job).collect()
    }

    /// How full the node is for one more job of `client`.
    pub(crate) fn occupancy(
        &self,
        client: &PublicKey,
        pace: &PaceBook,
        slots: u32,
        now: UnixMicros,
    ) -> Occupancy {
        let bulk = |session: &Session| match (&session.open.request, session.phase) {
            (RequestBody::Chunked(manifest), Phase::Uploading | Phase::Queued) => manifest.bytes,
            _ => 0,
        };
        Occupancy {
            jobs: self.open_count(),
            of_client: self.unfinished.values().filter(|session| session.terms.client == *client).count(),
            queued: self.line.len(),
            bulk_bytes: self.unfinished.values().map(|session| bulk(session)).fold(0, u64::saturating_add),
            wait_ms: self.wait_ms(pace, slots, now),
        }
    }

    /// Predicted wait of one more job: nothing while a slot is free, else as many ends as jobs are in line, and one.
    pub(crate) fn wait_ms(&self, pace: &PaceBook, slots: u32, now: UnixMicros) -> u64 {
        let busy = self.running.saturating_add(self.line.len());
        let foreign = u64::from(self.foreign);
        let slots = u64::from(slots.max(1));
        if (busy as u64).saturating_add(foreign) < slots {
            return 0;
        }
        let (mut running, mut waiting) = (foreign.saturating_mul(pace.of("").job_ms(u64::MAX)), 0_u64);
        // Jobs of a node are mostly for one model.
        let mut latest = ("", pace.of(""));
        for session in self.unfinished.values() {
            if latest.0 != session.terms.model {
                latest = (&session.terms.model, pace.of(&session.terms.model));
            }
            let whole = latest.1.job_ms(session.output_cap);
            match session.phase {
                // A job that takes longer than expected has an unknown rest, not none.
                Phase::Running => {
                    let ran = session.times.started.map_or(0, |at| now.millis_since(at));
                    running = running.saturating_add(whole.saturating_sub(ran).max(whole / 8));
                }
                Phase::Queued | Phase::Uploading => waiting = waiting.saturating_add(whole),
                Phase::Closing | Phase::Closed => {}
            }
        }
        // Rests are spread evenly: the first of n ends comes at the (n+1)th part of twice their mean.
        let first = running.saturating_mul(2) / (slots.saturating_mul(slots.saturating_add(1)));
        first.saturating_add(waiting / slots).max(1)
    }

    /// How busy the runner is, without a look at the jobs.
    pub(crate) fn load_level(&self, slots: u32) -> LoadLevel {
        let running = u32::try_from(self.running).unwrap_or(u32::MAX);
        let busy = u64::from(running.saturating_add(self.foreign).min(slots)).saturating_mul(1_000);
        LoadLevel {
            permille: u16::try_from(busy.checked_div(u64::from(slots)).unwrap_or(1_000)).unwrap_or(1_000),
            queued: u32::try_from(self.line.len()).unwrap_or(u32::MAX),
        }
    }

    /// When something has to be done about any job.
    pub(crate) fn next_deadline(&self, deadlines: &Deadlines) -> Option<UnixMicros> {
        let open = self.unfinished.values().filter_map(|session| session.next_deadline(deadlines));
        let finished = self.finish_order.front().and_then(|job| self.forget_at(job, deadlines));
        open.chain(finished).min()
    }

    fn forget_at(&self, job: &JobId, deadlines: &Deadlines) -> Option<UnixMicros> {
        Some(self.finished.get(job)?.times.closed?.plus_millis(deadlines.keep_ms))
    }
}
