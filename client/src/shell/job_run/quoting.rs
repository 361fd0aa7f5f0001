//! What a job says to routers: quote requests out, quotes in, and the profiles of routers that full ones named.

use std::time::Duration;

use super::*;

/// Wait for the profiles of routers that a full one named.
const FIND_WAIT: Duration = Duration::from_millis(1_500);

impl JobRun<'_> {
    /// Runs to the quote and no further.
    pub(crate) async fn quote(mut self, cancel: &CancellationToken) -> Result<Ticket, JobFailure> {
        if self.ears.is_deaf() {
            return Err(JobFailure::too_many_jobs());
        }
        let mut inputs = std::collections::VecDeque::from([JourneyInput::Start]);
        loop {
            while let Some(input) = inputs.pop_front() {
                let mut actions = Vec::new();
                self.journey.handle(self.clock.now(), input, &mut actions);
                for action in actions {
                    match action {
                        JourneyAction::Ask(requests) => inputs.extend(self.ask(&requests).await),
                        JourneyAction::FindRouters(peers) => inputs.push_back(self.find(&peers).await),
                        JourneyAction::Open { ticket, .. } => return Ok(*ticket),
                        JourneyAction::End(ending) => {
                            return Err(ending.err().unwrap_or_else(JobFailure::of_our_own));
                        }
                        _ => {}
                    }
                }
            }
            let wait = self.journey.poll_timeout().map(|at| at.since(self.clock.now()));
            let wait = Duration::from_micros(wait.unwrap_or(1_000_000));
            inputs.push_back(tokio::select! {
                () = cancel.cancelled() => JourneyInput::Cancel,
                heard = self.ears.hear(std::iter::empty()) => match heard {
                    Heard::Reply(event) => self.reply(&event),
                    Heard::Frame(_) => JourneyInput::Tick,
                },
                () = tokio::time::sleep(wait) => JourneyInput::Tick,
            });
        }
    }

    /// Sends quote requests, sealed to each router; answers those to ourselves.
    pub(super) async fn ask(&mut self, requests: &[QuoteRequest]) -> Vec<JourneyInput> {
        let mut inputs = Vec::new();
        let ticket = self.ticket_key.public_key();
        self.used = 0;
        self.ears.ask_for_replies(ticket);
        self.ears.ready().await;
        let (now, mut entropy) = (wall_clock::now(), SystemEntropy);
        for request in requests {
            let Some(router) = request.router else {
                inputs.extend(own_quote(&self.buyer.pool, request, &self.ticket_key).await);
                continue;
            };
            let Some(session) = self.sessions_of_routers.get(&router) else { continue };
            let Some(draft) = sealed_draft(request, &self.ticket_key, session, now.seconds()) else {
                continue;
            };
            let event = self.ticket_key.sign(draft, &mut entropy);
            let question = Question { router, request: event.id(), ticket };
            let relays = self.buyer.pool.publish_ephemeral(event, RelayRole::Control);
            tracing::debug!(relays, router = %router.to_hex(), "quote requested");
            if relays > 0 {
                inputs.push(JourneyInput::Asked(question));
            }
        }
        inputs
    }

    /// Looks up routers that full ones named, on the relays that they were named with, too.
    pub(super) async fn find(&mut self, peers: &[PeerRouter]) -> JourneyInput {
        for url in peers.iter().filter_map(|peer| peer.relay.as_deref()) {
            if let Err(error) = self.buyer.pool.add_relay(url, &[RelayRole::Discovery, RelayRole::Control]) {
                tracing::debug!(%error, "the relay of a named router is not used");
            }
        }
        let keys: Vec<PublicKey> = peers.iter().map(|peer| peer.router).collect();
        let found = NetworkView::fetch_routers(&self.buyer.pool, &keys, wall_clock::now_seconds(), FIND_WAIT);
        let sessions = found.await.routers.into_iter().map(|found| found.received);
        let sessions: Vec<(PublicKey, PublicKey)> = sessions
            .filter(|found| keys.contains(&found.author))
            .map(|p| (p.author, p.message.session))
            .collect();
        tracing::debug!(named = keys.len(), found = sessions.len(), "a full router named others");
        self.sessions_of_routers.extend(sessions.iter().copied());
        JourneyInput::RoutersFound(sessions.into_iter().map(|(router, _)| router).collect())
    }

    pub(super) fn reply(&self, event: &VerifiedEvent) -> JourneyInput {
        self.read_reply(event).map_or(JourneyInput::Tick, |reply| JourneyInput::Reply(Box::new(reply)))
    }

    fn read_reply(&self, event: &VerifiedEvent) -> Option<Received<QuoteReply>> {
        let session = self.sessions_of_routers.get(&event.author())?;
        let conversation = Conversation::derive(&self.ticket_key, session).ok()?;
        let body = conversation.open(event.content()).ok()?;
        match QuoteReply::parse_body(event, &body) {
            Ok(reply) => Some(reply),
            Err(error) => {
                tracing::debug!(code = error.code(), "an answer of a router is malformed");
                None
            }
        }
    }
}
