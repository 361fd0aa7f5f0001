//! The jobs of a scenario in the order in which they come. The world asks for the next one, and tells which ended: a
//! turn of a closed loop comes a think time after the end of the one before it.

use std::collections::{BTreeMap, VecDeque};

use fedai_protocol::UnixMicros;

use super::Arrival;

/// The queue. It knows times and numbers only; what a job asks for is in the scenario.
#[derive(Clone, Debug, Default)]
pub struct ArrivalQueue {
    ready: VecDeque<(UnixMicros, usize)>,
    /// Turns that wait for a job: their number and their think time.
    waiting: BTreeMap<usize, Vec<(usize, u64)>>,
    waiting_count: usize,
}

impl ArrivalQueue {
    /// The queue of these jobs. Jobs that wait for none are handed out by time, and by number among equals.
    #[must_use]
    pub fn new(arrivals: &[Arrival]) -> Self {
        let mut queue = Self::default();
        for (job, arrival) in arrivals.iter().enumerate() {
            match arrival.previous.and_then(|previous| Some((previous.job, previous.think_micros?))) {
                Some((previous, think)) => {
                    queue.waiting.entry(previous).or_default().push((job, think));
                    queue.waiting_count = queue.waiting_count.saturating_add(1);
                }
                None => queue.ready.push_back((arrival.at, job)),
            }
        }
        queue.ready.make_contiguous().sort_by_key(|(at, job)| (*at, *job));
        queue
    }

    /// The next job whose time is known, and takes it off the queue.
    pub fn take_next(&mut self) -> Option<(UnixMicros, usize)> {
        self.ready.pop_front()
    }

    /// A job ended, well or not: the turns that waited for it, with their times. They are off the queue.
    pub fn ended(&mut self, now: UnixMicros, job: usize) -> Vec<(UnixMicros, usize)> {
        let next = self.waiting.remove(&job).unwrap_or_default();
        self.waiting_count = self.waiting_count.saturating_sub(next.len());
        next.into_iter().map(|(job, think)| (now.plus(think), job)).collect()
    }

    /// Jobs that are still on it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ready.len().saturating_add(self.waiting_count)
    }

    /// True when every job was handed out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use fedai_protocol::quote_request::Mode;

    use super::*;
    use crate::workload::prompt::Prompt;
    use crate::workload::{Delivery, PreviousTurn};

    fn arrival(at: u64, previous: Option<(usize, Option<u64>)>) -> Arrival {
        let prompt = Prompt { job: 0, words: 1, bytes: 64 };
        let mut arrival = Arrival::single(UnixMicros(at), prompt, Mode::Balanced, Delivery::Buffered);
        arrival.previous = previous.map(|(job, think_micros)| PreviousTurn { job, think_micros });
        arrival
    }

    #[test]
    fn a_turn_of_a_closed_loop_comes_after_the_end_of_the_one_before() {
        let jobs = [
            arrival(30, None),
            arrival(10, None),
            arrival(0, Some((1, Some(5)))),
            arrival(40, Some((0, None))),
        ];
        let mut queue = ArrivalQueue::new(&jobs);
        assert_eq!(queue.len(), 4);
        let order: Vec<_> = core::iter::from_fn(|| queue.take_next()).map(|(at, job)| (at.0, job)).collect();
        assert_eq!(order, [(10, 1), (30, 0), (40, 3)]);
        assert_eq!(queue.len(), 1);
        assert!(queue.ended(UnixMicros(90), 0).is_empty());
        assert_eq!(queue.ended(UnixMicros(100), 1), [(UnixMicros(105), 2)]);
        assert!(queue.is_empty() && queue.ended(UnixMicros(100), 1).is_empty());
    }
}
