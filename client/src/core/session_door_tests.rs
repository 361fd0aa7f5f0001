//! Who gets through the door, and in which order.

use fedai_protocol::entropy::CountingEntropy;
use fedai_protocol::payment_offer::Balance;
use fedai_protocol::session_frame::{Accept, Failure, accept_digest};
use fedai_protocol::{EventId, Refusal, RefusalCode, UnixSeconds};

use super::*;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

struct Side {
    entropy: CountingEntropy,
    identity: SigningKey,
    session: SigningKey,
    client: PublicKey,
    job: JobId,
}

impl Side {
    fn new() -> (Self, SessionDoor) {
        let mut entropy = CountingEntropy(3);
        let [identity, session, client] = core::array::from_fn(|_| SigningKey::generate(&mut entropy));
        let job = JobId(EventId::from_byte_array([9; 32]));
        let door = SessionDoor::new(client.clone(), job, identity.public_key());
        (Self { entropy, identity, session, client: client.public_key(), job }, door)
    }

    fn frame(&mut self, from: &SigningKey, s: u64, body: FrameBody) -> VerifiedEvent {
        let conversation = Conversation::derive(from, &self.client).unwrap();
        let frame = SessionFrame { job: self.job, dir: Direction::ToClient, s, body };
        frame.seal(&conversation, from, &self.client, NOW, &mut self.entropy).unwrap()
    }

    fn accept(&mut self, identity: &SigningKey, session: &SigningKey) -> FrameBody {
        let digest = accept_digest(self.job, &session.public_key(), &self.client);
        let sig = identity.sign_digest(digest, &mut self.entropy).to_string();
        FrameBody::Accept(Accept {
            node: self.identity.public_key(),
            sig,
            queue_ms: 0,
            balance: Balance::default(),
        })
    }
}

#[test]
fn frames_that_overtook_the_accept_pass_after_it() {
    let (mut node, mut door) = Side::new();
    let (identity, session) = (node.identity.clone(), node.session.clone());
    let early = node.frame(&session, 1, FrameBody::Pong);
    assert!(door.open(&early).is_empty());
    assert!(door.seal(0, FrameBody::Ping, NOW, &mut CountingEntropy(1)).is_none(), "no peer yet");
    let accept = node.accept(&identity, &session);
    let accept = node.frame(&session, 0, accept);
    let passed: Vec<u64> = door.open(&accept).iter().map(|frame| frame.s).collect();
    assert_eq!(passed, [0, 1]);
    assert_eq!(door.peer(), Some(session.public_key()));
    assert!(door.seal(0, FrameBody::Ping, NOW, &mut CountingEntropy(1)).unwrap().is_ok());
}

#[test]
fn a_stranger_who_vouches_for_himself_stays_outside() {
    let (mut node, mut door) = Side::new();
    let stranger = SigningKey::generate(&mut CountingEntropy(99));
    let accept = node.accept(&stranger, &stranger);
    let forged = node.frame(&stranger, 0, accept);
    assert!(door.open(&forged).is_empty());
    let chunk = node.frame(&stranger, 1, FrameBody::Pong);
    assert!(door.open(&chunk).is_empty());
    assert_eq!(door.peer(), None);
    let (identity, session) = (node.identity.clone(), node.session.clone());
    let accept = node.accept(&identity, &session);
    let accept = node.frame(&session, 0, accept);
    assert_eq!(door.open(&accept).len(), 1, "the real node still gets in");
    assert!(door.open(&chunk).is_empty(), "and the stranger still does not");
}

#[test]
fn a_refusal_in_place_of_the_accept_passes_and_a_later_error_does_not() {
    let (mut node, mut door) = Side::new();
    let session = node.session.clone();
    let refusal = Refusal::new(RefusalCode::Busy, "full");
    let body = FrameBody::Error(Failure { refusal, receipt: None });
    let late = node.frame(&session, 3, body.clone());
    assert!(door.open(&late).is_empty(), "an ending after output needs the voucher");
    let refused = node.frame(&session, 0, body.clone());
    assert_eq!(door.open(&refused).len(), 1);
    assert_eq!(door.peer(), None, "and it vouches for nothing");
    node.job = JobId(EventId::all_zeros());
    let of_another_job = node.frame(&session, 0, body);
    assert!(door.open(&of_another_job).is_empty(), "who does not know the job cannot refuse it");
}

#[test]
fn strangers_take_no_more_than_their_places() {
    let (mut node, mut door) = Side::new();
    for seed in 0..20 {
        let stranger = SigningKey::generate(&mut CountingEntropy(1_000 + seed));
        let frame = node.frame(&stranger, 1, FrameBody::Pong);
        assert!(door.open(&frame).is_empty());
    }
    assert_eq!(door.waiting.len(), AUTHORS_MAX);
}

#[test]
fn a_frame_of_another_job_does_not_pass() {
    let (mut node, mut door) = Side::new();
    let (identity, session) = (node.identity.clone(), node.session.clone());
    let accept = node.accept(&identity, &session);
    node.job = JobId(EventId::all_zeros());
    let foreign = node.frame(&session, 0, accept);
    assert!(door.open(&foreign).is_empty());
}

#[test]
fn a_refusal_in_the_place_of_the_accept_passes_and_a_later_error_waits_for_its_voucher() {
    use fedai_protocol::session_frame::Failure;
    use fedai_protocol::{Refusal, RefusalCode};
    let refusal =
        || FrameBody::Error(Failure { refusal: Refusal::new(RefusalCode::Busy, "no"), receipt: None });
    let (mut node, mut door) = Side::new();
    let session = node.session.clone();
    let late = node.frame(&session, 3, refusal());
    assert!(door.open(&late).is_empty());
    let refused = node.frame(&session, 0, refusal());
    assert_eq!(door.open(&refused).len(), 1);
    assert_eq!(door.peer(), None, "a refusal makes nobody a peer");
    // Without the job's id nothing opens: another job's refusal stays outside.
    let (mut other, _) = Side::new();
    other.job = JobId(EventId::from_byte_array([8; 32]));
    let foreign = other.frame(&session, 0, refusal());
    assert!(door.open(&foreign).is_empty());
}
