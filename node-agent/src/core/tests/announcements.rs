//! What a node says about itself, and when.

use fedai_protocol::limits::{DESCRIPTOR_LEASE_SECONDS, OFFER_HONOUR_SECONDS};
use fedai_protocol::message::Draft;
use fedai_protocol::node_descriptor::NodeStatus;
use fedai_protocol::{Message, ModelOffer, MsatPerMtok, NodeDescriptor, RefusalCode, UnixMicros};

use super::bench::*;
use crate::core::{Action, Input, OperatorCommand};

fn descriptors(bench: &Bench) -> Vec<(NodeDescriptor, Draft)> {
    let drafts = bench.done.iter().filter_map(|action| match action {
        Action::PublishDescriptor(draft) => Some(draft.clone()),
        _ => None,
    });
    drafts
        .map(|draft| {
            let event = bench.identity.sign(draft.clone(), &mut bench.entropy.clone());
            (NodeDescriptor::parse(&event).unwrap().message, draft)
        })
        .collect()
}

fn statuses(bench: &Bench) -> Vec<NodeStatus> {
    descriptors(bench).iter().map(|(descriptor, _)| descriptor.status).collect()
}

#[test]
fn the_lease_is_renewed_well_before_it_ends_and_times_never_repeat() {
    let mut bench = Bench::new();
    bench.pass(2 * 86_400 * 1_000);
    let published = descriptors(&bench);
    for pair in published.windows(2) {
        let [(_, one), (_, two)] = pair else { panic!() };
        let gap = two.created_at.0 - one.created_at.0;
        assert!((1..=DESCRIPTOR_LEASE_SECONDS / 3 + 60).contains(&gap), "{gap}");
    }
    let keys: std::collections::BTreeSet<_> = published.iter().map(|(d, _)| d.inbox.key).collect();
    assert_eq!(keys.len(), 3, "the inbox key changes daily");
    assert!(published.iter().all(|(d, draft)| d.inbox.valid_until.0 > draft.created_at.0 + 1_800));
    let offers = bench.done.iter().filter(|action| matches!(action, Action::PublishOffer(_))).count();
    assert!((3..=4).contains(&offers), "{offers}: offers are sent again daily");
}

#[test]
fn nothing_is_announced_before_the_runner_answered() {
    let mut bench = Bench::restored(|_| {}, crate::core::Restored::default(), START);
    bench.take(Input::RunnerDown);
    bench.take(Input::RunnerUp);
    assert_eq!(statuses(&bench), [NodeStatus::Active, NodeStatus::Paused, NodeStatus::Active]);
    let policy = crate::core::policy::NodePolicy::new(bench.identity.public_key(), "node");
    let mut quiet = crate::core::NodeCore::new(policy, crate::core::Restored::default());
    let mut out = Vec::new();
    quiet.handle(START, Input::ModelsChanged(vec![model("words")]), &mut out);
    assert!(!out.iter().any(|action| matches!(action, Action::PublishDescriptor(_))));
}

#[test]
fn a_shutdown_says_draining_and_then_lets_the_lease_end() {
    let mut bench = Bench::new();
    let job = bench.running();
    bench.take(Input::Operator(OperatorCommand::Shutdown { patience_ms: 60_000 }));
    bench.say(job, "x");
    bench.finish(job, 1);
    let published = descriptors(&bench);
    assert_eq!(statuses(&bench), [NodeStatus::Active, NodeStatus::Draining, NodeStatus::Draining]);
    let (last, draft) = published.last().unwrap();
    assert!(last.expires_at.0 <= draft.created_at.0 + 5);
}

#[test]
fn a_replaced_offer_is_honoured_for_as_long_as_a_quote_may_live() {
    let mut bench = Bench::new();
    let old = bench.offer_id();
    let mut other = model("words");
    other.context_tokens = 3_000;
    bench.take(Input::ModelsChanged(vec![other.clone()]));
    assert_ne!(bench.offer_id(), old);
    bench.take(Input::ModelsChanged(vec![other]));
    let offers = bench.done.iter().filter(|action| matches!(action, Action::PublishOffer(_))).count();
    assert_eq!(offers, 2, "the same list again publishes nothing");
    let ask = Ask { offer: Some(old), ..Ask::default() };
    bench.pass(OFFER_HONOUR_SECONDS * 1_000);
    let (job, actions) = bench.open(&ask);
    assert_eq!(refusal(&actions, job), None);
    bench.pass(2_000);
    let (job, actions) = bench.open(&ask);
    assert_eq!(refusal(&actions, job), Some(RefusalCode::UnknownOffer));
}

#[test]
fn with_every_renewal_of_the_lease_the_offers_go_out_again_as_they_are() {
    let mut bench = Bench::new();
    let offer = bench.offer_id();
    bench.pass(DESCRIPTOR_LEASE_SECONDS * 1_000);
    let resent: Vec<_> = bench
        .done
        .iter()
        .filter_map(
            |action| if let Action::ResendOffers(offers) = action { Some(offers.clone()) } else { None },
        )
        .collect();
    assert_eq!(resent.len() + 1, descriptors(&bench).len(), "with all but the first descriptor");
    assert!(resent.len() >= 2 && resent.iter().all(|offers| *offers == [offer]));
}

#[test]
fn a_priced_offer_says_its_price_and_never_that_it_is_free() {
    let bench = Bench::with(|p| p.price.output = MsatPerMtok::saturating(40_000));
    let draft = bench.done.iter().find_map(|action| match action {
        Action::PublishOffer(draft) => Some(draft.clone()),
        _ => None,
    });
    let event = bench.identity.sign(draft.unwrap(), &mut bench.entropy.clone());
    let offer = ModelOffer::parse(&event).unwrap().message;
    assert_eq!(offer.price.output.get(), 40_000);
    assert!(!offer.payment.contains(&fedai_protocol::payment_offer::PaymentMethod::Free));
    assert!(event.tags("b").any(|step| step == "out<=50000"));
}

#[test]
fn pings_follow_the_load_within_their_budget() {
    let mut bench = Bench::new();
    let count = |bench: &Bench| bench.done.iter().filter(|a| matches!(a, Action::PublishPing(_))).count();
    bench.pass(60_000);
    let quiet = count(&bench);
    assert!((4..=6).contains(&quiet), "{quiet} pings in a quiet minute");
    for _ in 0..60 {
        let job = bench.running();
        bench.say(job, "x");
        bench.pass(500);
        bench.finish(job, 1);
        bench.pass(500);
    }
    let busy = count(&bench) - quiet;
    assert!((4..=13).contains(&busy), "{busy} pings in a busy minute");
}

/// A machine that booted a day ahead of the time, and got it right a minute later.
#[test]
fn a_clock_that_is_set_back_ends_jobs_and_says_everything_again() {
    let mut bench = Bench::new();
    let job = bench.running();
    bench.done.clear();
    bench.now = bench.now.plus_seconds(86_400);
    bench.take(Input::Tick);
    let ahead = bench.now;
    bench.now = START.plus_seconds(30);
    let actions = bench.take(Input::Tick);
    let said = descriptors(&bench);
    let (descriptor, draft) = said.last().unwrap();
    assert!(
        draft.created_at <= bench.now.seconds().plus(2),
        "dated by the clock, not by what nobody has taken"
    );
    assert!(descriptor.inbox.valid_until < ahead.seconds().plus(86_400), "with a key of this day");
    assert!(actions.iter().any(|action| matches!(action, Action::PublishOffer(_))), "offers as well");
    assert!(bench.node.state(bench.now).open == 0, "{job} has no deadline that means anything");
    assert!(bench.node.poll_timeout().unwrap() < bench.now.plus_seconds(400));
}

#[test]
fn a_clock_that_is_corrected_by_seconds_changes_nothing() {
    let mut bench = Bench::new();
    bench.running();
    bench.done.clear();
    bench.now = UnixMicros(bench.now.0 - 30_000_000);
    bench.take(Input::Tick);
    assert_eq!(bench.node.state(bench.now).open, 1);
    assert!(descriptors(&bench).is_empty());
}
