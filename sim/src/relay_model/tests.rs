//! Relays one by one: what they refuse to carry, at which rates they fail, and who is cut off.

use fedai_protocol::message::Draft;
use fedai_protocol::{SigningKey, UnixSeconds};

use super::*;
use crate::chance::Stream;

fn event(kind: u16, content: &str, to: &SigningKey) -> VerifiedEvent {
    let tags = vec![vec!["p".to_owned(), to.public_key().to_hex()]];
    let draft = Draft::new(kind, tags, content.to_owned(), UnixSeconds(1));
    to.sign(draft, &mut Chance::new(1, Stream::Keys))
}

fn parcel(event: VerifiedEvent) -> Parcel {
    Parcel { from: Party::Node(0), payload: Payload::Event(event), tries: 0 }
}

fn fault(kind: FaultKind, whom: Whom, size: u64) -> Fault {
    Fault { id: 0, kind, whom, at: UnixMicros(0), until: UnixMicros(1), size }
}

#[test]
fn what_is_neither_sealed_nor_public_is_not_carried() {
    let mut chance = Chance::new(1, Stream::Relay);
    let key = SigningKey::generate(&mut chance);
    let mut relay = RelayModel::new(1, 10, 5);
    let mut carry = |kind, content: &str| {
        relay.carry(UnixMicros(0), &parcel(event(kind, content, &key)), &mut chance).map(|_| ())
    };
    let mark = crate::workload::prompt::PLAINTEXT_MARK;
    assert_eq!(carry(RECEIPT, &format!("a {mark} b")), Err(Leak::Plaintext(RECEIPT)));
    assert_eq!(carry(SESSION_FRAME, "{\"job\":1}"), Err(Leak::Unsealed(SESSION_FRAME)));
    assert_eq!(carry(1, "hello"), Err(Leak::Kind(1)));
    assert!(carry(RECEIPT, "a receipt").is_ok());
}

#[test]
fn losses_and_repeats_come_at_their_rates() {
    let mut chance = Chance::new(1, Stream::Relay);
    let key = SigningKey::generate(&mut chance);
    let mut relay = RelayModel::new(1, 10, 5);
    for (kind, size) in [(FaultKind::RelayDrop, 300), (FaultKind::RelayDuplicate, 500)] {
        relay.begin(fault(kind, Whom::Relay(0), size), Chance::new(size, Stream::Faults));
    }
    let receipt = parcel(event(RECEIPT, "a receipt", &key));
    for _ in 0..10_000 {
        let carriage = relay.carry(UnixMicros(0), &receipt, &mut chance).unwrap();
        let is_lost = carriage.deliveries.is_empty();
        assert_eq!(carriage.again.is_some(), is_lost, "stored kinds are sent again");
        assert!(carriage.deliveries.iter().all(|(at, _)| at.0 >= 10_000));
    }
    let Carried { dropped, duplicated, .. } = relay.carried();
    assert!((2_800..3_200).contains(&dropped), "{dropped}");
    assert!((6_500..7_500).contains(&duplicated), "{duplicated}");
}

#[test]
fn one_relay_of_three_is_enough_and_who_was_cut_off_catches_up() {
    let mut chance = Chance::new(1, Stream::Relay);
    let key = SigningKey::generate(&mut chance);
    let mut relay = RelayModel::new(3, 10, 5);
    let receipt = parcel(event(RECEIPT, "a receipt", &key));
    for index in [0, 2] {
        relay.begin(fault(FaultKind::RelayDown, Whom::Relay(index), 1), Chance::new(1, Stream::Faults));
    }
    assert_eq!(relay.carry(UnixMicros(0), &receipt, &mut chance).unwrap().deliveries.len(), 1);
    let deaf = fault(FaultKind::PartyDeaf, Whom::Party(Party::Router(0)), 1);
    relay.begin(deaf, Chance::new(1, Stream::Faults));
    let carriage = relay.carry(UnixMicros(0), &receipt, &mut chance).unwrap();
    assert!(carriage.deliveries.is_empty() && carriage.again.is_none(), "the relay has it");
    let Payload::Event(event) = receipt.payload else { panic!("not an event") };
    assert_eq!(relay.end(&deaf), [(Party::Router(0), event)]);
}

#[test]
fn a_lying_ok_is_taken_for_one_and_nothing_comes() {
    let mut chance = Chance::new(1, Stream::Relay);
    let key = SigningKey::generate(&mut chance);
    let mut relay = RelayModel::new(2, 10, 5);
    relay.begin(fault(FaultKind::RelayLyingOk, Whom::Relay(1), 1_000), Chance::new(1, Stream::Faults));
    let receipt = parcel(event(RECEIPT, "a receipt", &key));
    assert_eq!(
        relay.carry(UnixMicros(0), &receipt, &mut chance).unwrap().deliveries.len(),
        1,
        "the other one"
    );
    relay.begin(fault(FaultKind::RelayDown, Whom::Relay(0), 1), Chance::new(1, Stream::Faults));
    let carriage = relay.carry(UnixMicros(0), &receipt, &mut chance).unwrap();
    assert!(carriage.deliveries.is_empty() && carriage.again.is_none(), "its sender believes the OK");
}

#[test]
fn whatever_a_relay_makes_up_fails_at_a_door() {
    let mut chance = Chance::new(1, Stream::Relay);
    let key = SigningKey::generate(&mut chance);
    let mut relay = RelayModel::new(1, 10, 5);
    relay.begin(fault(FaultKind::RelayInjects, Whom::Relay(0), 1_000), Chance::new(1, Stream::Faults));
    for number in 0..200 {
        let parcel = parcel(event(RECEIPT, &format!("a receipt {number}"), &key));
        for injected in relay.carry(UnixMicros(0), &parcel, &mut chance).unwrap().injected {
            assert!(VerifiedEvent::from_json(&injected.json).is_err(), "{}", injected.json);
        }
    }
}
