//! The other parties of a node, in a few lines: they sign what has to be signed and write down what was done.

use fedai_protocol::chunking::split;
use fedai_protocol::dispatch::DispatchedNode;
use fedai_protocol::entropy::CountingEntropy;
use fedai_protocol::job_open::{JobEndpoint, JobOpen, OpenedJob, RequestBody, request_hash};
use fedai_protocol::output_stream::output_line;
use fedai_protocol::payment_offer::{Payment, PaymentMethod};
use fedai_protocol::session_frame::{Direction, FrameBody};
use fedai_protocol::*;

use super::super::metering::ReportedUsage;
use super::super::offers::LocalModel;
use super::super::policy::NodePolicy;
use super::super::{Action, Input, NodeCore, Restored};

pub(super) const START: UnixMicros = UnixMicros(1_700_000_000_000_000);
pub(super) const PROMPT: &str =
    r#"{"messages":[{"role":"user","content":"Say something."}],"max_tokens":40,"stream":true}"#;

/// What a job asks for; tests change single fields.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) body: String,
    pub(super) endpoint: JobEndpoint,
    pub(super) payment: PaymentMethod,
    pub(super) ticket_payment: PaymentMethod,
    pub(super) model: String,
    pub(super) offer: Option<EventId>,
    pub(super) max_cost: u64,
    pub(super) max_input: u64,
    pub(super) max_output: u64,
    pub(super) uses: u16,
    pub(super) lives: u64,
    pub(super) job_lives: u64,
    pub(super) patience_ms: Option<u64>,
    pub(super) signer: Signer,
    pub(super) sealed_by_other: bool,
    pub(super) other_node: bool,
    pub(super) bulk: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Signer {
    Router,
    OtherRouter,
    Client,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            body: PROMPT.into(),
            endpoint: JobEndpoint::Chat,
            payment: PaymentMethod::Free,
            ticket_payment: PaymentMethod::Free,
            model: "words".into(),
            offer: None,
            max_cost: 1_000,
            max_input: 1_000,
            max_output: 100,
            uses: 1,
            lives: 600,
            job_lives: 600,
            patience_ms: None,
            signer: Signer::Router,
            sealed_by_other: false,
            other_node: false,
            bulk: false,
        }
    }
}

pub(super) struct Bench {
    pub(super) node: NodeCore,
    pub(super) now: UnixMicros,
    /// Everything done so far.
    pub(super) done: Vec<Action>,
    /// Receipts on disk, in order.
    pub(super) disk: Vec<VerifiedEvent>,
    pub(super) identity: SigningKey,
    pub(super) router: SigningKey,
    pub(super) tickets: [SigningKey; 3],
    pub(super) entropy: CountingEntropy,
    /// False: receipts wait until `store` is called.
    pub(super) disk_is_quick: bool,
    unstored: Vec<(JobId, message::Draft)>,
    pub(super) pieces: Vec<String>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut NodePolicy)) -> Self {
        Self::restored(change, Restored::default(), START)
    }

    pub(super) fn restored(
        change: impl FnOnce(&mut NodePolicy),
        restored: Restored,
        now: UnixMicros,
    ) -> Self {
        let mut keys = CountingEntropy(1);
        let identity = SigningKey::generate(&mut keys);
        let router = SigningKey::generate(&mut keys);
        let tickets = core::array::from_fn(|_| SigningKey::generate(&mut keys));
        let mut policy = NodePolicy::new(identity.public_key(), "node");
        change(&mut policy);
        let mut bench = Self {
            node: NodeCore::new(policy, restored),
            now,
            done: vec![],
            disk: vec![],
            identity,
            router,
            tickets,
            entropy: CountingEntropy(now.0),
            disk_is_quick: true,
            unstored: vec![],
            pieces: vec![],
        };
        bench.take(Input::RunnerUp);
        bench.take(Input::ModelsChanged(vec![model("words")]));
        bench
    }

    /// Hands in one input and plays everybody who answers at once. Gives the actions of this input.
    pub(super) fn take(&mut self, input: Input) -> Vec<Action> {
        let mut out = Vec::new();
        self.node.handle(self.now, input, &mut out);
        let mut all = Vec::new();
        for action in out {
            all.push(action.clone());
            self.done.push(action.clone());
            match action {
                Action::MakeInbox { valid_until } => {
                    let key = SigningKey::generate(&mut self.entropy).public_key();
                    all.extend(self.take(Input::InboxReady { key, valid_until }));
                }
                Action::SignReceipt { job, draft, .. } => {
                    self.unstored.push((job, draft));
                    if self.disk_is_quick {
                        all.extend(self.store());
                    }
                }
                _ => {}
            }
        }
        all
    }

    /// The disk gets everything that waits for it.
    pub(super) fn store(&mut self) -> Vec<Action> {
        let waiting = core::mem::take(&mut self.unstored);
        let mut all = Vec::new();
        for (job, draft) in waiting {
            let event = self.identity.sign(draft, &mut self.entropy);
            self.disk.push(event.clone());
            all.extend(self.take(Input::ReceiptDurable { job, event }));
        }
        all
    }

    /// Lets time pass, with a tick whenever the core asked for one.
    pub(super) fn pass(&mut self, millis: u64) -> Vec<Action> {
        let end = self.now.plus_millis(millis);
        let mut all = Vec::new();
        let mut ticks = 0;
        while let Some(at) = self.node.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            all.extend(self.take(Input::Tick));
            ticks += 1;
            assert!(ticks < 1_000 + millis / 1_000, "the core asks for ticks without end, at {at:?}");
        }
        self.now = end;
        all
    }

    pub(super) fn offer_id(&self) -> EventId {
        let mut offers = self.done.iter().filter_map(|action| match action {
            Action::PublishOffer(draft) => Some(draft.id(&self.identity.public_key())),
            _ => None,
        });
        offers.next_back().unwrap()
    }

    pub(super) fn dispatch(&mut self, ask: &Ask, client: usize) -> VerifiedEvent {
        let other = SigningKey::generate(&mut CountingEntropy(77));
        let client = self.tickets[client].clone();
        let node = if ask.other_node { other.public_key() } else { self.identity.public_key() };
        let dispatch = Dispatch {
            request: EventId::from_hex(&hex::encode(self.entropy.bytes32())).unwrap(),
            client: client.public_key(),
            nodes: vec![DispatchedNode {
                node,
                offer: ask.offer.unwrap_or_else(|| self.offer_id()),
                max_cost: Msat::saturating(ask.max_cost),
            }],
            model: ask.model.clone(),
            max_input_tokens: Tokens::saturating(ask.max_input),
            max_output_tokens: Tokens::saturating(ask.max_output),
            payment: ask.ticket_payment,
            uses: ask.uses,
            expires_at: self.now.seconds().plus(ask.lives),
        };
        let signer = match ask.signer {
            Signer::Router => &self.router,
            Signer::OtherRouter => &other,
            Signer::Client => &client,
        };
        let draft = dispatch.draft(&signer.public_key(), self.now.seconds()).unwrap();
        signer.sign(draft, &mut self.entropy)
    }

    /// Makes a job of client `client` under a dispatch.
    pub(super) fn job(&mut self, ask: &Ask, dispatch: &VerifiedEvent, client: usize) -> Input {
        let request = if ask.bulk {
            let (manifest, pieces) = split(ask.body.as_bytes(), &mut self.entropy).unwrap();
            self.pieces = pieces.iter().map(|piece| sealed_session::base64_encode(piece)).collect();
            RequestBody::Chunked(manifest)
        } else {
            RequestBody::Inline(ask.body.clone())
        };
        let session = SigningKey::generate(&mut self.entropy).public_key();
        let open = JobOpen {
            dispatch: dispatch.clone(),
            endpoint: ask.endpoint,
            request,
            request_hash: hex::encode(request_hash(ask.body.as_bytes())),
            session,
            nonce: hex::encode(self.entropy.bytes32()),
            relays: vec![],
            payment: Payment { method: ask.payment, tokens: vec![] },
            expires_at: self.now.seconds().plus(ask.job_lives),
            patience_ms: ask.patience_ms,
        };
        let sealed_by = if ask.sealed_by_other { (client + 1) % self.tickets.len() } else { client };
        let job = JobId(EventId::from_hex(&hex::encode(self.entropy.bytes32())).unwrap());
        let client = self.tickets[sealed_by].public_key();
        let opened = Box::new(OpenedJob { job, client, open, created_at: self.now.seconds() });
        Input::JobOpened { opened, ticket: Dispatch::parse(dispatch).map(Box::new) }
    }

    /// Opens a job as asked and gives its id with what the node did.
    pub(super) fn open(&mut self, ask: &Ask) -> (JobId, Vec<Action>) {
        let dispatch = self.dispatch(ask, 0);
        let input = self.job(ask, &dispatch, 0);
        (job_of(&input), self.take(input))
    }

    /// A job that runs.
    pub(super) fn running(&mut self) -> JobId {
        let (job, actions) = self.open(&Ask::default());
        assert!(started(&actions), "{actions:?}");
        job
    }

    pub(super) fn say(&mut self, job: JobId, text: &str) -> Vec<Action> {
        let choice = serde_json::json!({"index": 0, "delta": {"content": text}});
        self.take(Input::RunnerDelta { job, line: output_line(&choice) })
    }

    pub(super) fn finish(&mut self, job: JobId, tokens: u64) -> Vec<Action> {
        let usage = ReportedUsage { input_tokens: 12, output_tokens: tokens, ..ReportedUsage::default() };
        let mut all = self.take(Input::RunnerUsage { job, usage });
        all.extend(self.take(Input::RunnerDone { job }));
        all
    }

    pub(super) fn frame(&mut self, job: JobId, s: u64, body: FrameBody) -> Vec<Action> {
        let frame = Box::new(SessionFrame { job, dir: Direction::ToNode, s, body });
        self.take(Input::Frame { job, frame })
    }

    /// Every frame that was sent for a job, once per number, in order.
    pub(super) fn frames(&self, job: JobId) -> Vec<FrameBody> {
        let mut by_number = std::collections::BTreeMap::new();
        for frame in sent(&self.done, job).into_iter().filter(|frame| frame.body.is_numbered()) {
            let before = by_number.insert(frame.s, frame.body.clone());
            assert!(before.is_none_or(|body| body == frame.body), "number {} was used twice", frame.s);
        }
        assert!(by_number.keys().copied().eq(0..by_number.len() as u64), "numbers have a gap");
        by_number.into_values().collect()
    }

    /// The text that reached the client, and the one terminal frame.
    pub(super) fn answer(&self, job: JobId) -> (String, FrameBody) {
        let frames = self.frames(job);
        let mut counter = output_stream::OutputCounter::default();
        let mut text = String::new();
        for frame in &frames {
            if let FrameBody::Chunk(chunk) = frame {
                text.extend(counter.push(&chunk.data).unwrap().into_iter().map(|line| line.text));
            }
        }
        let ends = frames.iter().filter(|frame| frame.is_terminal()).count();
        assert_eq!(ends, 1, "{frames:?}");
        let end = frames.last().unwrap().clone();
        if let FrameBody::Final(end) = &end {
            assert_eq!(end.output_sha256, counter.sha256());
        }
        (text, end)
    }
}

pub(super) fn model(name: &str) -> LocalModel {
    LocalModel {
        runner_id: format!("{name}.gguf"),
        model: name.into(),
        slug: name.into(),
        quantization: None,
        digest: None,
        context_tokens: 2_000,
        max_output_tokens: 500,
        slots: 1,
        endpoints: vec![JobEndpoint::Chat],
        takes_images: false,
        features: vec![],
    }
}

pub(super) fn job_of(input: &Input) -> JobId {
    match input {
        Input::JobOpened { opened, .. } => opened.job,
        other => panic!("{other:?}"),
    }
}

pub(super) fn started(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::StartRunner { .. }))
}

pub(super) fn sent(actions: &[Action], job: JobId) -> Vec<SessionFrame> {
    let frames = actions.iter().filter_map(|action| match action {
        Action::Send { job: of, frame } if *of == job => Some((**frame).clone()),
        _ => None,
    });
    frames.collect()
}

/// The code that a job was refused or failed with.
pub(super) fn refusal(actions: &[Action], job: JobId) -> Option<RefusalCode> {
    sent(actions, job).into_iter().find_map(|frame| match frame.body {
        FrameBody::Error(failure) => Some(failure.refusal.code),
        _ => None,
    })
}
