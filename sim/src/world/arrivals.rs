//! Jobs that come, one after the other.

use fedai_protocol::{Tokens, UnixMicros};

use super::happenings::Happening;
use super::{Party, World};
use crate::client_actor::{ClientActor, RouterContact};
use crate::invariants::Violation;
use crate::job_spec::JobWish;
use crate::workload::poisson::draw_mode;
use crate::workload::{Arrival, Delivery};

impl World {
    /// Puts the next arrival whose time is known on the agenda.
    pub(super) fn plan_arrival(&mut self) {
        while let Some((at, job)) = self.queue.take_next() {
            if self.scenario.has_job(job) {
                return self.expect(at, job, true);
            }
        }
    }

    /// A job ended: whoever waited for it goes on.
    pub(super) fn go_on_after(&mut self, now: UnixMicros, job: usize) {
        for (at, next) in self.queue.ended(now, job) {
            self.expect(at, next, false);
        }
    }

    fn expect(&mut self, at: UnixMicros, job: usize, is_queued: bool) {
        self.last_arrival = self.last_arrival.max(at);
        self.agenda.at(at, Happening::Arrival(job, is_queued));
    }

    /// The same for jobs of accomplices.
    pub(super) fn plan_own_job(&mut self, number: usize) {
        if let Some(job) = self.scenario.own_jobs.get(number) {
            self.last_arrival = self.last_arrival.max(job.at);
            self.agenda.at(job.at, Happening::OwnJob(number));
        }
    }

    /// A person comes.
    pub(super) fn arrive(&mut self, now: UnixMicros, job: usize, is_queued: bool) -> Result<(), Violation> {
        if is_queued {
            self.plan_arrival();
        }
        let Some(arrival) = self.scenario.arrivals.get(job).copied() else { return Ok(()) };
        self.log.arrived(now, job);
        self.admit(now, job, &arrival, None)
    }

    /// An accomplice of a node comes, who pretends to be a person.
    pub(super) fn arrive_own(&mut self, now: UnixMicros, number: usize) -> Result<(), Violation> {
        self.plan_own_job(number.saturating_add(1));
        let Some(own) = self.scenario.own_jobs.get(number).copied() else { return Ok(()) };
        let job = self.scenario.arrivals.len().saturating_add(number);
        let mut prompt = own.prompt;
        prompt.job = job;
        let mode = draw_mode(&mut self.market_chance);
        let arrival = Arrival::single(now, prompt, mode, Delivery::Buffered);
        self.admit(now, job, &arrival, Some(own.node))
    }

    pub(super) fn admit(
        &mut self,
        now: UnixMicros,
        job: usize,
        arrival: &Arrival,
        only: Option<usize>,
    ) -> Result<(), Violation> {
        self.to_come = self.to_come.saturating_sub(1);
        let prompt = arrival.prompt;
        let max_cost = self.scenario.budget.filter(|_| only.is_none()).map(|budget| {
            let (input, output) = (Tokens::saturating(prompt.tokens()), Tokens::saturating(prompt.words));
            budget.draw(input, output, &mut self.market_chance)
        });
        let wish = JobWish {
            arrival,
            routers: self.draw_routers(),
            payment: self.scenario.terms.payment,
            max_cost,
            output_tokens_max: self.scenario.terms.output_tokens_max,
            deadline_seconds: self.scenario.terms.deadline_seconds,
            headroom: self.scenario.terms.headroom,
            only_node: only.and_then(|node| self.parties.nodes.get(node)).map(|node| node.identity()),
        };
        self.watcher.arrived(now, job, arrival);
        let faults = self.faults_of_newcomer(now, job);
        self.act(Party::Client(job), |parties, turn| {
            let mut client = ClientActor::new(now, &wish, turn);
            for (fault, chance) in faults {
                client.faults.begin(fault, chance);
            }
            client.start(&mut parties.client_conduct, turn);
            parties.clients.insert(job, Box::new(client));
        })
    }

    /// The routers that a client asks: as many as the scenario says, each at most once.
    fn draw_routers(&mut self) -> Vec<RouterContact> {
        let all = self.parties.routers.iter();
        let mut left: Vec<RouterContact> = all
            .map(|router| RouterContact { identity: router.identity(), session: router.session() })
            .collect();
        let wanted = self.scenario.routers_asked.clamp(1, left.len().max(1));
        if left.len() <= wanted {
            return left;
        }
        let mut drawn = Vec::with_capacity(wanted);
        for _ in 0..wanted {
            let at = self.market_chance.between(0, (left.len() as u64).saturating_sub(1));
            drawn.push(left.swap_remove(usize::try_from(at).unwrap_or(0)));
        }
        drawn
    }
}
