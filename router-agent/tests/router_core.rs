//! The router as a whole, driven by hand: quotes that clients accept, coded refusals, receipts held against tickets,
//! and the same state after a restart.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use fedai_protocol::message::{Message, Received};
use fedai_protocol::quote::QuoteOutcome;
use fedai_protocol::quote_request::Mode;
use fedai_protocol::receipt_ack::AckVerdict;
use fedai_protocol::{
    Dispatch, EventId, Msat, PublicKey, QuoteRequest, Receipt, RefusalCode, SigningKey, UnixMicros,
    UsageSummary, VerifiedEvent,
};
use fedai_router_agent::core::announcing::Announcement;
use fedai_router_agent::core::decision_entry::Replayed;
use fedai_router_agent::core::{
    AckProof, Action, Input, JournalKind, Restored, RestoredRecord, Restoring, RouterCore,
};
use world::{MODEL, Node, START, World, ack, heard, heard_from, key, price, receipt, request, sign, terms};

const FREE: fedai_protocol::Price = fedai_protocol::Price::FREE;

fn refusal(actions: &[Action]) -> RefusalCode {
    actions
        .iter()
        .find_map(|action| match action {
            Action::Refuse { refusal, .. } => Some(refusal.code),
            _ => None,
        })
        .expect("a refusal")
}

#[test]
fn a_quote_is_accepted_by_the_clients_own_check() {
    let mut world = World::new(&[price(1_000_000, 2_000_000), FREE, price(500_000, 500_000), FREE]);
    let asked = request(Mode::Balanced);
    let actions = world.ask(asked.clone());
    let (asker, draft) = actions
        .iter()
        .find_map(|action| match action {
            Action::Quote { asker, draft } => Some((asker, draft)),
            _ => None,
        })
        .unwrap();
    let ticket = sign(draft.dispatch.as_ref().unwrap(), &world.router, START);
    let reply = draft.reply(asker, Some(&ticket)).unwrap();
    reply.check().unwrap();
    let QuoteOutcome::Quote(quote) = reply.outcome else { panic!("a quote") };
    let nodes = quote.check_nodes(START).unwrap();
    assert_eq!(nodes.len(), 3);
    assert_eq!(quote.decision, quote.record.as_ref().unwrap().digest());
    let dispatch = Dispatch::parse(quote.dispatch.as_ref().unwrap()).unwrap().message;
    for (node, dispatched) in nodes.iter().zip(&dispatch.nodes) {
        assert_eq!(
            (node.node, node.offer.id, node.max_cost),
            (dispatched.node, dispatched.offer, dispatched.max_cost)
        );
    }
    assert!(quote.expires_at <= START.plus(60));
}

#[test]
fn refusals_are_coded() {
    type Change = fn(&mut QuoteRequest);
    let table: [(RefusalCode, Change); 7] = [
        (RefusalCode::UnknownModel, |r| r.wanted.model = Some("nobody-has-it".into())),
        (RefusalCode::PriceCeiling, |r| r.max_cost = Some(Msat::saturating(1))),
        (RefusalCode::PaymentNotAccepted, |r| r.constraints.payment.clear()),
        (RefusalCode::ContextExceeded, |r| r.prompt_tokens = fedai_protocol::Tokens::saturating(65_536)),
        (RefusalCode::NoNode, |r| r.constraints.regions = vec!["ZZ".into()]),
        (RefusalCode::Expired, |r| r.expires_at = START),
        (RefusalCode::Malformed, |r| r.router = Some(key(1).public_key())),
    ];
    for (code, change) in table {
        let mut world = World::new(&[price(1_000_000, 1_000_000)]);
        let mut asked = request(Mode::Balanced);
        change(&mut asked);
        assert_eq!(refusal(&world.ask(asked)), code);
    }
}

#[test]
fn a_repeated_request_is_answered_once_and_a_draining_router_refuses() {
    let mut world = World::new(&[FREE]);
    let asked = Received::simulated(request(Mode::Balanced), key(9).public_key(), world::event_id(5), START);
    let input = Input::QuoteRequest { request: asked, sealed: true };
    assert!(world.step(input.clone()).iter().any(|action| matches!(action, Action::Quote { .. })));
    assert!(!world.step(input).iter().any(|a| matches!(a, Action::Quote { .. } | Action::Refuse { .. })));
    let farewell = world.step(Input::Shutdown);
    assert!(farewell.iter().any(|action| matches!(
        action,
        Action::Publish(Announcement::Profile(profile)) if profile.expires_at <= START.plus(5) && profile.nodes == 0
    )));
    assert_eq!(refusal(&world.ask(request(Mode::Balanced))), RefusalCode::Draining);
}

#[test]
fn a_request_that_came_too_fast_may_be_sent_again() {
    let router = key(500);
    let mut tight = terms(&router);
    tight.quotes.global = fedai_router_agent::core::rate_limit::Rate { burst: 1.0, per_second: 1.0 };
    let mut world = World::new(&[FREE]);
    world.core = RouterCore::new(world.now, tight);
    world.announce();
    let asked = |n: u64| {
        let request = request(Mode::Balanced);
        let received = Received::simulated(request, key(9).public_key(), world::event_id(n), START);
        Input::QuoteRequest { request: received, sealed: true }
    };
    let is_quoted = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::Quote { .. }));
    assert!(is_quoted(&world.step(asked(1))));
    assert_eq!(refusal(&world.step(asked(2))), RefusalCode::RateLimited);
    world.now = world.now.plus_seconds(2);
    assert!(is_quoted(&world.step(asked(2))));
}

#[test]
fn a_full_memory_of_requests_is_said_and_not_silent() {
    let mut world = World::new(&[FREE]);
    let mut unknown = request(Mode::Balanced);
    unknown.wanted.model = Some("nobody-has-it".into());
    for n in 0..fedai_protocol::limits::REPLAY_IDS_MAX as u64 {
        if n % 5_000 == 0 {
            world.now = world.now.plus_seconds(1);
        }
        let client = PublicKey::from_byte_array(world::event_id(n).to_bytes());
        world.ask_as(unknown.clone(), client);
    }
    assert_eq!(refusal(&world.ask(request(Mode::Balanced))), RefusalCode::Busy);
}

#[test]
fn the_profile_is_said_again_soon_after_the_first_node_is_known() {
    let mut world = World::new(&[]);
    let said = |actions: Vec<Action>| {
        actions.into_iter().find_map(|action| match action {
            Action::Publish(Announcement::Profile(profile)) => Some((profile.nodes, profile.models)),
            _ => None,
        })
    };
    for input in Node::new(1, FREE).inputs() {
        world.step(input);
    }
    let mut profiles = Vec::new();
    for _ in 0..10 {
        world.now = world.now.plus_seconds(1);
        profiles.extend(said(world.step(Input::Tick)));
    }
    assert_eq!(profiles, [(1, vec![MODEL.to_owned()])]);
}

#[test]
fn an_expired_lease_ends_every_offer_and_a_newer_version_wins_in_any_order() {
    let mut world = World::new(&[FREE]);
    world.now = START.plus(900).micros();
    assert_eq!(
        refusal(&world.ask(QuoteRequest { expires_at: START.plus(2_000), ..request(Mode::Balanced) })),
        RefusalCode::NoNode
    );
    let dearer = sign(&world::offer("node-1", price(9, 9)), &world.nodes[0].key, START.plus(5));
    for order in [[0, 1], [1, 0]] {
        let mut world = World::new(&[]);
        let node = Node::new(1, FREE);
        let newer =
            Node { key: node.key.clone(), descriptor: node.descriptor.clone(), offer: dearer.clone() };
        let both = [&node, &newer];
        for index in order {
            for input in both[index].inputs() {
                world.step(input);
            }
        }
        let fleets = world.core.registry().fleets(Some(MODEL));
        assert_eq!(fleets[0].rows().len(), 1);
        assert_eq!(fleets[0].rows()[0].offer, dearer.id());
    }
}

/// Serves one ticket: receipt and acknowledgement of the chosen node.
fn serve(
    world: &World,
    ticket: &VerifiedEvent,
    seq: u64,
    prev: EventId,
    client: &SigningKey,
) -> [VerifiedEvent; 2] {
    let chosen = Dispatch::parse(ticket).unwrap().message.nodes[0].node;
    let node = world.nodes.iter().find(|node| node.id() == chosen).unwrap();
    let at = world.now.seconds();
    let signed = sign(&receipt(node, ticket, client.public_key(), seq, prev, at), &node.key, at);
    let ack = ack(&signed, client, AckVerdict::Accepted, at);
    [signed, ack]
}

fn counted(world: &mut World) -> Vec<UsageSummary> {
    world.now = world.now.plus_seconds(61);
    let published = world.step(Input::Tick);
    published
        .into_iter()
        .filter_map(|action| match action {
            Action::Publish(Announcement::Summary(summary)) => Some(summary),
            _ => None,
        })
        .collect()
}

#[test]
fn receipts_and_acknowledgements_become_summaries_ranks_and_speeds() {
    let mut world = World::new(&[price(1_000_000, 1_000_000)]);
    let client = key(901);
    let mut prev = EventId::all_zeros();
    for seq in 0..20 {
        let (ticket, _) = world.dispatch(request(Mode::Balanced));
        let [signed, ack] = serve(&world, &ticket, seq, prev, &client);
        prev = signed.id();
        assert!(world.step(Input::Receipt(Receipt::parse(&signed).unwrap())).iter().any(
            |action| matches!(action, Action::Journal { kind: JournalKind::Receipt, id } if *id == signed.id())
        ));
        world.step(Input::Acknowledged(heard(&ack)));
        // Once more, as relays do.
        assert!(
            world.step(Input::Acknowledged(heard(&ack))).iter().all(|a| !matches!(a, Action::Journal { .. }))
        );
    }
    let summaries = counted(&mut world);
    assert_eq!(summaries.len(), 1);
    let totals = &summaries[0].models[0];
    assert_eq!((totals.count, totals.output_tokens, summaries[0].acknowledged), (20, 1_000, 20));
    assert_eq!(totals.amount, Msat::saturating(20 * 150));
    summaries[0].check().unwrap();
    assert!(counted(&mut world).is_empty(), "nothing changed, nothing said");
    let status = world.core.status(world.now);
    assert_eq!(status.nodes[0].models[0].in_flight, 0);
    assert_eq!(status.nodes[0].receipts, 20);
    assert_eq!(status.nodes[0].rank, 0, "there was no other node to be drawn");
    assert!((status.nodes[0].models[0].tokens_per_second.unwrap() - 49.0).abs() < 1.0);
}

#[test]
fn the_ledger_is_the_same_whatever_the_order_and_however_often() {
    let mut hashes = Vec::new();
    for (order, copies) in [(1_usize, 1), (7, 1), (5, 3)] {
        let mut world = World::new(&[FREE, FREE, FREE]);
        let client = key(902);
        let mut events = Vec::new();
        let mut chains: std::collections::BTreeMap<PublicKey, (u64, EventId)> = Default::default();
        for _ in 0..12 {
            let (ticket, dispatch) = world.dispatch(request(Mode::Balanced));
            let (seq, prev) =
                chains.get(&dispatch.nodes[0].node).copied().unwrap_or((0, EventId::all_zeros()));
            let [signed, ack] = serve(&world, &ticket, seq, prev, &client);
            chains.insert(dispatch.nodes[0].node, (seq + 1, signed.id()));
            events.push(Input::Receipt(Receipt::parse(&signed).unwrap()));
            events.push(Input::Acknowledged(heard(&ack)));
        }
        let count = events.len();
        for n in 0..count * copies {
            world.step(events[n * order % count].clone());
        }
        hashes.push(world.core.state_hash(world.now));
        assert_eq!(counted(&mut world).iter().map(|s| s.models[0].count).sum::<u64>(), 12);
    }
    assert_eq!(hashes[0], hashes[1]);
    assert_eq!(hashes[0], hashes[2]);
}

#[test]
fn a_receipt_that_breaks_its_ticket_is_evidence() {
    type Change = fn(&mut Receipt);
    let table: [(&str, Change); 4] = [
        ("unknown_dispatch", |r| r.dispatch = world::event_id(99)),
        ("overcharge", |r| r.amount = Msat::saturating(1_000_000)),
        ("other_offer", |r| r.offer = world::event_id(98)),
        ("too_many_tokens", |r| r.usage.output_tokens = fedai_protocol::Tokens::saturating(257)),
    ];
    for (code, change) in table {
        let mut world = World::new(&[price(1_000_000, 1_000_000)]);
        world.now = world.now.plus_seconds(700);
        let (ticket, _) =
            world.dispatch(QuoteRequest { expires_at: START.plus(5_000), ..request(Mode::Balanced) });
        let node = &world.nodes[0];
        let mut bad =
            receipt(node, &ticket, key(903).public_key(), 0, EventId::all_zeros(), world.now.seconds());
        change(&mut bad);
        let signed = sign(&bad, &node.key, world.now.seconds());
        let actions = world.step(Input::Receipt(Receipt::parse(&signed).unwrap()));
        let found = actions.iter().find_map(|action| match action {
            Action::Evidence { code, receipt, .. } => Some((*code, *receipt)),
            _ => None,
        });
        assert_eq!(found, Some((code, signed.id())));
        assert!(counted(&mut world).is_empty(), "it is not counted");
    }
}

#[test]
fn a_second_use_of_a_single_ticket_a_foreign_node_and_a_fork_are_evidence() {
    let mut world = World::new(&[FREE]);
    let client = key(904);
    let (ticket, _) = world.dispatch(request(Mode::Balanced));
    let [first, _] = serve(&world, &ticket, 0, EventId::all_zeros(), &client);
    let [second, _] = serve(&world, &ticket, 1, first.id(), &client);
    let mut codes = Vec::new();
    let stranger = Node::new(44, FREE);
    for input in stranger.inputs() {
        world.step(input);
    }
    let foreign = sign(
        &receipt(&stranger, &ticket, client.public_key(), 0, EventId::all_zeros(), START),
        &stranger.key,
        START,
    );
    world.now = world.now.plus_seconds(1);
    let [forked, _] = serve(&world, &ticket, 1, world::event_id(3), &client);
    for event in [&first, &second, &foreign, &forked, &first] {
        for action in world.step(Input::Receipt(Receipt::parse(event).unwrap())) {
            if let Action::Evidence { code, .. } = action {
                codes.push(code);
            }
        }
    }
    assert_eq!(codes, ["ticket_used_up", "foreign_node", "chain_fork", "ticket_used_up"]);
    let status = world.core.status(world.now);
    let line = status.nodes.iter().find(|line| line.node == world.nodes[0].id()).unwrap();
    assert_eq!((line.chain_forks, line.breaches), (1, 2));
}

#[test]
fn the_word_of_a_stranger_has_no_weight() {
    let mut world = World::new(&[FREE]);
    let (ticket, _) = world.dispatch(request(Mode::Balanced));
    let [signed, _] = serve(&world, &ticket, 0, EventId::all_zeros(), &key(905));
    let stranger = ack(&signed, &key(906), AckVerdict::Accepted, START);
    world.step(Input::Acknowledged(heard(&stranger)));
    assert_eq!(world.core.trust_of(world.now, &world.nodes[0].id()).receipts(), 0);
    let own = ack(&signed, &key(905), AckVerdict::Disputed("truncated".into()), START);
    world.step(Input::Acknowledged(heard(&own)));
    assert_eq!(world.core.trust_of(world.now, &world.nodes[0].id()).receipts(), 1);
}

/// The receipt names a key that the node made up, or the node signs with a key of its own: nothing of it counts, and it
/// does not take the place of the client's word.
#[test]
fn a_node_cannot_acknowledge_itself() {
    let mut world = World::new(&[FREE]);
    let (ticket, _) = world.dispatch(request(Mode::Balanced));
    let made_up = key(905);
    let [signed, own] = serve(&world, &ticket, 0, EventId::all_zeros(), &made_up);
    let before = world.core.trust_of(world.now, &world.nodes[0].id());
    for (proof, code) in
        [(AckProof::Missing, "unproven"), (AckProof::By(made_up.public_key()), "foreign_proof")]
    {
        let actions = world.step(Input::Acknowledged(heard_from(&own, proof)));
        let counted = |action: &Action| matches!(action, Action::Count { label, .. } if label == code);
        assert!(actions.iter().any(counted), "{code}: {actions:?}");
        assert!(
            !actions.iter().any(|a| matches!(a, Action::Journal { kind: JournalKind::ProvenAck { .. }, .. }))
        );
        assert_eq!(world.core.trust_of(world.now, &world.nodes[0].id()), before, "{code}");
    }
    let proven = world.step(Input::Acknowledged(heard(&own)));
    assert!(proven.iter().any(
        |a| matches!(a, Action::Journal { kind: JournalKind::ProvenAck { .. }, id } if *id == own.id())
    ));
    assert_eq!(world.core.trust_of(world.now, &world.nodes[0].id()).receipts(), 1);
    assert!(signed.id() != own.id());
}

#[test]
fn a_client_that_asks_again_without_a_node_opens_its_breaker_after_five_times() {
    let mut world = World::new(&[FREE, FREE]);
    let bad = world.nodes[0].id();
    for n in 0..5 {
        let client = key(910 + n).public_key();
        let only = |nodes: Vec<PublicKey>| {
            let mut asked = request(Mode::Balanced);
            asked.constraints.only_nodes = nodes;
            asked
        };
        let actions = world.ask_as(only(vec![bad]), client);
        let dispatch = actions
            .iter()
            .find_map(|action| match action {
                Action::Quote { draft, .. } => draft.dispatch.clone(),
                _ => None,
            })
            .unwrap();
        let ticket = sign(&dispatch, &world.router, START);
        world.step(Input::Dispatched(Dispatch::parse(&ticket).unwrap()));
        let mut again = request(Mode::Balanced);
        again.constraints.not_nodes = vec![bad];
        world.ask_as(again.clone(), client);
        world.ask_as(again, client);
    }
    let status = world.core.status(world.now);
    let line = status.nodes.iter().find(|line| line.node == bad).unwrap();
    assert!(line.models[0].breaker_until.is_some());
    assert_eq!(line.models[0].in_flight, 0);
}

#[test]
fn a_restart_from_the_journal_gives_the_same_state() {
    let mut world = World::new(&[price(1_000_000, 1_000_000), FREE]);
    let client = key(907);
    let mut journal: Vec<Restored> = Vec::new();
    let mut chains: std::collections::BTreeMap<PublicKey, (u64, EventId)> = Default::default();
    let mut keep = |at: UnixMicros, actions: &[Action], record: RestoredRecord| {
        for action in actions {
            match action {
                Action::Journal { kind: JournalKind::Fork, .. } => {
                    let RestoredRecord::Receipt(receipt) = &record else { continue };
                    journal.push(Restored { at, record: RestoredRecord::Fork(receipt.clone()) });
                }
                Action::Journal { .. } => journal.push(Restored { at, record: record.clone() }),
                _ => {}
            }
        }
    };
    for n in 0..10 {
        world.now = world.now.plus_seconds(7);
        let (ticket, dispatch) = world.dispatch(request(Mode::Balanced));
        let restored = Dispatch::parse(&ticket).unwrap();
        let luck_permille = world.luck_permille;
        let marker = Action::Journal { kind: JournalKind::Dispatch { luck_permille }, id: ticket.id() };
        keep(world.now, &[marker], RestoredRecord::Dispatch { dispatch: restored, luck_permille });
        let (seq, prev) = chains.get(&dispatch.nodes[0].node).copied().unwrap_or((0, EventId::all_zeros()));
        let prev = if n == 8 { world::event_id(1_234) } else { prev };
        let [signed, ack] = serve(&world, &ticket, if n == 8 { seq.max(1) } else { seq }, prev, &client);
        chains.insert(dispatch.nodes[0].node, (seq + 1, signed.id()));
        let received = Receipt::parse(&signed).unwrap();
        if n % 3 != 0 {
            let actions = world.step(Input::Receipt(received.clone()));
            keep(world.now, &actions, RestoredRecord::Receipt(received));
        }
        let actions = world.step(Input::Acknowledged(heard(&ack)));
        keep(world.now, &actions, RestoredRecord::Acknowledged(heard(&ack)));
    }
    let mut again = RouterCore::new(world.now, terms(&world.router));
    for part in Restoring::all(START, journal) {
        again.handle(world.now, Input::Restore(part), &mut Vec::new());
    }
    assert_eq!(again.state_hash(world.now), world.core.state_hash(world.now));
}

#[test]
fn a_recorded_decision_comes_out_the_same_after_a_round_trip_through_json() {
    let mut world = World::new(&[price(1_000_000, 1_000_000), FREE, price(3, 5)]);
    for _ in 0..20 {
        let actions = world.ask(request(Mode::Balanced));
        let entry = actions
            .iter()
            .find_map(|action| match action {
                Action::Decided(entry) => Some(entry),
                _ => None,
            })
            .unwrap();
        let json = serde_json::to_string(entry).unwrap();
        let mut read: fedai_router_agent::core::decision_entry::DecisionEntry =
            serde_json::from_str(&json).unwrap();
        assert_eq!(read.replay(), Replayed::Same);
        let record = std::sync::Arc::make_mut(&mut read.record);
        record.seed ^= 0xffff_ffff;
        record.regret_msat += 1.0;
        assert_eq!(read.replay(), Replayed::Differs);
    }
}

#[test]
fn two_cores_with_the_same_inputs_do_the_same() {
    let run = || {
        let mut world = World::new(&[FREE, price(1_000, 1_000), price(7, 7)]);
        let mut said = String::new();
        for n in 0..30 {
            world.now = world.now.plus_millis(700 * n);
            said.push_str(&format!("{:?}", world.ask(request(Mode::Cheapest))));
            said.push_str(&format!("{:?}", world.step(Input::Tick)));
        }
        said
    };
    assert_eq!(run(), run());
}

/// Buckets, ticks, breakers and leases were all counted by the wrong time.
#[test]
fn a_clock_that_is_set_back_does_not_stop_a_router_for_as_long_as_it_was_ahead() {
    let mut world = World::new(&[fedai_protocol::Price::FREE]);
    let right = world.now;
    world.now = right.plus_seconds(86_000);
    for _ in 0..40 {
        world.ask(request(Mode::Balanced));
    }
    world.step(Input::Tick);
    world.now = right.plus_seconds(5);
    world.step(Input::Tick);
    assert!(world.core.poll_timeout().unwrap() <= world.now.plus_seconds(2));
    world.announce();
    world.dispatch(request(Mode::Balanced));
}
