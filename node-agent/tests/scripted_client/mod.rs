//! A client in a few lines: finds the node on relays, signs its own ticket, opens a job, reads frames to the end.

use std::collections::BTreeMap;
use std::time::Duration;

use fedai_protocol::dispatch::DispatchedNode;
use fedai_protocol::event_kinds::{MODEL_OFFER, NODE_DESCRIPTOR, SESSION_FRAME};
use fedai_protocol::job_open::{JobEndpoint, JobOpen, RequestBody, request_hash};
use fedai_protocol::output_stream::OutputCounter;
use fedai_protocol::payment_offer::{Payment, PaymentMethod};
use fedai_protocol::sealed_session::Conversation;
use fedai_protocol::session_frame::{Direction, FrameBody};
use fedai_protocol::*;
use fedai_relay_bridge::{
    RelayPool, RelayRole, Subscription, SystemEntropy, filters, newest_per_address, wall_clock,
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What is known of a node from its announcements.
pub(crate) struct FoundNode {
    pub(crate) descriptor: Received<NodeDescriptor>,
    pub(crate) offer: Received<ModelOffer>,
}

pub(crate) async fn find_node(pool: &RelayPool) -> FoundNode {
    pool.wait_ready(RelayRole::Discovery, PATIENCE).await.unwrap();
    let search = async {
        loop {
            let kinds = filters::of_kinds(&[NODE_DESCRIPTOR, MODEL_OFFER]);
            let events = newest_per_address(
                pool.fetch(RelayRole::Discovery, vec![kinds], Duration::from_secs(2)).await,
            );
            let descriptor = events.iter().find_map(|event| NodeDescriptor::parse(event).ok());
            let offer = events.iter().find_map(|event| ModelOffer::parse(event).ok());
            if let (Some(descriptor), Some(offer)) = (descriptor, offer) {
                return FoundNode { descriptor, offer };
            }
        }
    };
    tokio::time::timeout(PATIENCE, search).await.expect("the node is not on the relay")
}

/// A job on its way.
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) session: SigningKey,
    pub(crate) wrap: VerifiedEvent,
    pub(crate) subscription: Subscription,
    node: PublicKey,
    node_session: Option<(PublicKey, Conversation)>,
    pub(crate) frames: BTreeMap<u64, FrameBody>,
}

/// Opens a job under a self-signed ticket. The same arguments can be wrapped again: it is the same job.
pub(crate) async fn open(pool: &RelayPool, node: &FoundNode, body: &str, method: PaymentMethod) -> Job {
    let mut entropy = SystemEntropy;
    let now = wall_clock::now_seconds();
    let ticket = SigningKey::generate(&mut entropy);
    let session = SigningKey::generate(&mut entropy);
    let dispatch = Dispatch {
        request: EventId::all_zeros(),
        client: ticket.public_key(),
        nodes: vec![DispatchedNode {
            node: node.descriptor.author,
            offer: node.offer.id,
            max_cost: Msat::ZERO,
        }],
        model: node.offer.message.model.clone(),
        max_input_tokens: Tokens::saturating(2_000),
        max_output_tokens: Tokens::saturating(500),
        payment: method,
        uses: 1,
        expires_at: now.plus(300),
    };
    let draft = dispatch.draft(&ticket.public_key(), now).unwrap();
    let open = JobOpen {
        dispatch: ticket.sign(draft, &mut entropy),
        endpoint: JobEndpoint::Chat,
        request: RequestBody::Inline(body.into()),
        request_hash: hex::encode(request_hash(body.as_bytes())),
        session: session.public_key(),
        nonce: hex::encode(entropy.bytes32()),
        relays: vec![],
        payment: Payment { method, tokens: vec![] },
        expires_at: now.plus(120),
        patience_ms: None,
    };
    let filter = filters::of_kinds_to(&[SESSION_FRAME], [session.public_key()]);
    let subscription = pool.subscribe(RelayRole::Stream, vec![filter]);
    assert!(subscription.ready(PATIENCE).await > 0);
    let inbox = node.descriptor.message.inbox.key;
    let wrapped = open.wrap(&ticket, &inbox, now, now, &mut entropy).unwrap();
    assert!(pool.publish_ephemeral(wrapped.wrap.clone(), RelayRole::Stream) > 0);
    let (node, wrap) = (node.descriptor.author, wrapped.wrap);
    Job { id: wrapped.job, session, wrap, subscription, node, node_session: None, frames: BTreeMap::new() }
}

impl Job {
    /// The next frame that is really of this job.
    pub(crate) async fn next(&mut self) -> SessionFrame {
        let next = async {
            loop {
                let event = self.subscription.recv().await.expect("the pool is gone");
                let conversation = Conversation::derive(&self.session, &event.author()).unwrap();
                let Ok(frame) = SessionFrame::open(&event, &conversation, self.id, Direction::ToClient)
                else {
                    continue;
                };
                if let FrameBody::Accept(accept) = &frame.body {
                    let (theirs, ours) = (event.author(), self.session.public_key());
                    assert!(
                        accept.vouches(&self.node, self.id, &theirs, &ours),
                        "the identity does not vouch"
                    );
                    self.node_session = Some((theirs, conversation));
                }
                return frame;
            }
        };
        let frame = tokio::time::timeout(PATIENCE, next).await.expect("no frame came");
        if frame.body.is_numbered() {
            let before = self.frames.insert(frame.s, frame.body.clone());
            assert!(before.is_none_or(|body| body == frame.body || matches!(body, FrameBody::Accept(_))));
        }
        frame
    }

    /// Reads until the terminal frame and all before it are there.
    pub(crate) async fn read_to_end_of_job(&mut self) -> FrameBody {
        loop {
            let whole = self.frames.keys().copied().eq(0..self.frames.len() as u64);
            if let (true, Some(last)) = (whole, self.frames.values().find(|body| body.is_terminal())) {
                return last.clone();
            }
            self.next().await;
        }
    }

    /// The text so far, and the digest of the stream.
    pub(crate) fn text(&self) -> (String, String) {
        let mut counter = OutputCounter::default();
        let mut text = String::new();
        for body in self.frames.values() {
            if let FrameBody::Chunk(chunk) = body {
                text.extend(counter.push(&chunk.data).unwrap().into_iter().map(|line| line.text));
            }
        }
        (text, counter.sha256())
    }

    /// Sends a frame to the node.
    pub(crate) fn say(&self, pool: &RelayPool, body: FrameBody) {
        let (to, conversation) = self.node_session.as_ref().expect("not accepted yet");
        let frame = SessionFrame { job: self.id, dir: Direction::ToNode, s: 0, body };
        let now = wall_clock::now_seconds();
        let event = frame.seal(conversation, &self.session, to, now, &mut SystemEntropy).unwrap();
        assert!(pool.publish_ephemeral(event, RelayRole::Stream) > 0);
    }
}
