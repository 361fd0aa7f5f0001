//! What can be on the agenda, and what each thing does.

use fedai_client::core::journey_step::JourneyInput;
use fedai_node_agent::core::Input as NodeInput;
use fedai_protocol::{JobId, UnixMicros, VerifiedEvent};
use fedai_router_agent::core::Input as RouterInput;

use super::{Party, SPINS_MAX, World};
use crate::faults::Fault;
use crate::invariants::Violation;
use crate::relay_model::Parcel;
use crate::runner::Due;
use crate::wire::Payload;

/// One thing.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    /// The job with this number; whether it was queued for a time of its own.
    Arrival(usize, bool),
    OwnJob(usize),
    Audit,
    Canary,
    Delivery(Party, Payload),
    Injected(Party, String),
    Publish(Parcel),
    Tick(Party, UnixMicros),
    Runner(usize, u32, Due),
    Stored(usize, u32, JobId, Box<(VerifiedEvent, VerifiedEvent)>),
    Loaded(usize, u32),
    Reprice,
    FaultBegins(Fault),
    FaultEnds(Fault),
    Flood(Fault),
    Restart(Party),
    Calm,
}

impl World {
    pub(super) fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        let now = self.agenda.now();
        match happening {
            Happening::Arrival(job, is_queued) => self.arrive(now, job, is_queued),
            Happening::OwnJob(number) => self.arrive_own(now, number),
            Happening::Audit => {
                self.audit(now);
                Ok(())
            }
            Happening::Canary => self.send_canary(now),
            Happening::Delivery(party, payload) => self.deliver(party, payload),
            Happening::Injected(party, json) => self.knock(party, &json),
            Happening::Publish(parcel) => {
                self.settle_owed(&parcel.payload);
                self.publish(now, parcel)
            }
            Happening::Tick(party, at) => self.tick(now, party, at),
            Happening::Runner(index, incarnation, due) => self.with_node(index, |node, turn| {
                if node.incarnation() == incarnation {
                    node.runner_step(due, turn);
                }
            }),
            Happening::Stored(index, incarnation, job, events) => self.with_node(index, |node, turn| {
                if node.incarnation() == incarnation {
                    node.stored(job, &events.0, &events.1, turn);
                }
            }),
            Happening::Loaded(index, incarnation) => self.with_node(index, |node, turn| {
                if node.incarnation() == incarnation {
                    node.loaded(turn);
                }
            }),
            Happening::Reprice => self.reprice(now),
            Happening::FaultBegins(fault) => self.begin_fault(&fault),
            Happening::FaultEnds(fault) => self.end_fault(&fault),
            Happening::Flood(fault) => self.flood(&fault),
            Happening::Restart(party) => self.restart(party),
            Happening::Calm => {
                self.calm = true;
                Ok(())
            }
        }
    }

    fn tick(&mut self, now: UnixMicros, party: Party, at: UnixMicros) -> Result<(), Violation> {
        if self.ticks.get(&party) != Some(&at) {
            return Ok(());
        }
        self.ticks.remove(&party);
        let (since, spins) = self.spins.entry(party).or_insert((now, 0));
        if now.millis_since(*since) > 0 {
            (*since, *spins) = (now, 0);
        }
        *spins = spins.saturating_add(1);
        if *spins > SPINS_MAX {
            let text = format!("{party:?} asks for ticks without end");
            return self.check(Err(("every_job_ends", text)));
        }
        self.act(party, |parties, turn| match party {
            Party::Router(index) => {
                if let Some(router) = parties.routers.get_mut(index) {
                    router.take(RouterInput::Tick, turn);
                }
            }
            Party::Node(index) => {
                if let Some(node) = parties.nodes.get_mut(index) {
                    node.take(NodeInput::Tick, turn);
                }
            }
            Party::Client(job) => {
                if let Some(client) = parties.clients.get_mut(&job) {
                    client.take(JourneyInput::Tick, &mut parties.client_conduct, turn);
                }
            }
        })
    }
}
