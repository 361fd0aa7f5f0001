//! The pool against a relay that takes every request and says nothing of its own accord: what may be assumed, and when.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use fedai_protocol::event_kinds::{QUOTE, QUOTE_REQUEST, RECEIPT, SESSION_FRAME};
use fedai_relay_bridge::connection::{
    Command, Connector, Incoming, IncomingSink, OpenRequest, RelayConnection, SendError,
};
use fedai_relay_bridge::{
    ConnectionState, Filter, PoolOptions, RelayList, RelayPool, RelayRole, filters, wall_clock,
};
use support::{PATIENCE, eventually, key, tagged_to};
use tokio::time::Instant;

const MOMENT: Duration = Duration::from_millis(5);

#[derive(Clone, Default)]
struct SilentRelay {
    sink: Arc<Mutex<Option<Arc<dyn IncomingSink>>>>,
    taken: Arc<Mutex<Vec<Command>>>,
    full: Arc<AtomicBool>,
    /// Who hands something over lets another one go first who comes within a moment.
    is_polite: Arc<AtomicBool>,
    overtaken: Arc<Condvar>,
}

impl SilentRelay {
    fn pool(&self, role: RelayRole) -> RelayPool {
        let mut list = RelayList::single("ws://silent").unwrap();
        list.relays[0].roles = [role].into();
        RelayPool::connect(
            list,
            PoolOptions { connector: Some(Arc::new(self.clone())), ..PoolOptions::default() },
        )
    }

    fn say(&self, message: Incoming) {
        let sink = self.sink.lock().unwrap().clone().unwrap();
        sink.incoming(message);
    }

    fn last_request(&self) -> (String, Vec<Filter>) {
        let taken = self.taken.lock().unwrap();
        let mut requests = taken.iter().filter_map(|command| match command {
            Command::Subscribe { id, filters } => Some((id.clone(), filters.clone())),
            _ => None,
        });
        requests.next_back().unwrap()
    }
}

impl Connector for SilentRelay {
    fn open(&self, _: OpenRequest) -> Arc<dyn RelayConnection> {
        Arc::new(self.clone())
    }
}

impl RelayConnection for SilentRelay {
    fn start(&self, sink: Arc<dyn IncomingSink>) {
        *self.sink.lock().unwrap() = Some(sink);
        self.say(Incoming::State(ConnectionState::Connected, None));
    }

    fn send(&self, command: Command) -> Result<(), SendError> {
        if self.full.load(Ordering::Relaxed) {
            return Err(SendError::Full);
        }
        let mut taken = self.taken.lock().unwrap();
        if self.is_polite.swap(false, Ordering::Relaxed) {
            let before = taken.len();
            let nobody = |taken: &mut Vec<Command>| taken.len() == before;
            taken = self.overtaken.wait_timeout_while(taken, MOMENT, nobody).unwrap().0;
            self.is_polite.store(true, Ordering::Relaxed);
        }
        taken.push(command);
        self.overtaken.notify_one();
        Ok(())
    }

    fn close(&self) {}

    fn ended(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }

    fn library(&self) -> &'static str {
        "silent"
    }
}

#[tokio::test(start_paused = true)]
async fn silence_counts_as_yes_only_after_three_seconds_and_a_word_at_once() {
    let relay = SilentRelay::default();
    let pool = relay.pool(RelayRole::Stream);
    let asked_at = Instant::now();
    let frames = pool.subscribe(RelayRole::Stream, vec![filters::of_kinds(&[SESSION_FRAME])]);
    assert_eq!(frames.ready(Duration::from_secs(2)).await, 0, "a loaded relay may not have read it");
    assert_eq!(frames.ready(PATIENCE).await, 1);
    let waited = asked_at.elapsed();
    assert!(waited >= Duration::from_secs(3) && waited < Duration::from_secs(4), "{waited:?}");
    let others = pool.subscribe(RelayRole::Stream, vec![filters::of_kinds(&[SESSION_FRAME])]);
    relay.say(Incoming::EndOfStored { subscription: relay.last_request().0 });
    assert_eq!(others.ready(Duration::ZERO).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_question_goes_out_at_half_the_time_and_leaves_the_rest_for_the_answer() {
    let relay = SilentRelay::default();
    let pool = relay.pool(RelayRole::Control);
    let (asker, answerer) = (key(), key());
    let question = tagged_to(&asker, QUOTE_REQUEST, &answerer, "how much?");
    let reply_filter = filters::of_kinds_to(&[QUOTE], [asker.public_key()]);
    let asked_at = Instant::now();
    let mut replies =
        pool.ask(RelayRole::Control, question.clone(), reply_filter, Duration::from_secs(2)).await;
    let waited = asked_at.elapsed();
    assert!(waited >= Duration::from_secs(1) && waited < Duration::from_millis(1_200), "{waited:?}");
    assert_eq!(replies.asked(), 1);
    let taken = relay.taken.lock().unwrap().clone();
    assert!(
        matches!(&taken[..], [Command::Subscribe { .. }, Command::Event(event)] if *event == question),
        "{taken:?}"
    );
    let answer = tagged_to(&answerer, QUOTE, &asker, "nothing");
    let event = Box::new(answer.as_event().clone());
    relay.say(Incoming::Event { subscription: relay.last_request().0, event });
    assert_eq!(replies.next().await.unwrap().content(), "nothing");
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_handed_over_is_not_assumed_and_blocks_nobody_for_ever() {
    let relay = SilentRelay::default();
    relay.full.store(true, Ordering::Relaxed);
    let pool = relay.pool(RelayRole::Control);
    let (asker, answerer) = (key(), key());
    let pings = pool.subscribe(RelayRole::Control, vec![filters::of_kinds(&[QUOTE_REQUEST])]);
    let asked_at = Instant::now();
    let question = tagged_to(&asker, QUOTE_REQUEST, &answerer, "how much?");
    let reply_filter = filters::of_kinds_to(&[QUOTE], [asker.public_key()]);
    let replies = pool.ask(RelayRole::Control, question, reply_filter, Duration::from_secs(2)).await;
    assert_eq!((replies.asked(), asked_at.elapsed()), (0, Duration::from_secs(2)));
    assert_eq!(pings.ready(Duration::from_secs(60)).await, 0);
    relay.full.store(false, Ordering::Relaxed);
    assert_eq!(pings.ready(PATIENCE).await, 1, "it was handed over again by itself");
}

#[tokio::test]
async fn catching_up_begins_at_the_last_word_of_a_relay_and_not_where_its_loss_is_noticed() {
    let relay = SilentRelay::default();
    let pool = relay.pool(RelayRole::Discovery);
    let _receipts = pool.subscribe(RelayRole::Discovery, vec![filters::of_kinds(&[RECEIPT])]);
    let (subscription, first) = relay.last_request();
    assert_eq!(first[0].since, None);
    relay.say(Incoming::EndOfStored { subscription });
    let heard_by = wall_clock::now_seconds();
    eventually("two seconds pass", || wall_clock::now_seconds() >= heard_by.plus(2)).await;
    relay.say(Incoming::State(ConnectionState::Disconnected, None));
    relay.say(Incoming::State(ConnectionState::Connected, None));
    let since = relay.last_request().1[0].since.unwrap().as_secs();
    assert!(since <= heard_by.minus(900).0, "{since} is later than 15 minutes before {heard_by:?}");
    assert!(since >= heard_by.minus(902).0, "{since} is long before {heard_by:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_joins_at_the_same_moment_is_in_what_a_relay_is_asked_for_last() {
    let relay = SilentRelay::default();
    let pool = relay.pool(RelayRole::Stream);
    relay.is_polite.store(true, Ordering::Relaxed);
    let listening = (0..200).map(|n| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let listen = || {
                let reader = key().public_key();
                (
                    reader.to_hex(),
                    pool.subscribe(RelayRole::Stream, vec![filters::of_kinds_to(&[SESSION_FRAME], [reader])]),
                )
            };
            let first = listen();
            if n % 4 == 0 { listen() } else { first }
        })
    });
    let listening: Vec<_> = listening.collect();
    let mut all = Vec::new();
    for listener in listening {
        all.push(listener.await.unwrap());
    }
    let mut asked = HashMap::new();
    for command in relay.taken.lock().unwrap().iter() {
        match command {
            Command::Subscribe { id, filters } => drop(asked.insert(id.clone(), filters.clone())),
            Command::Unsubscribe { id } => drop(asked.remove(id)),
            _ => {}
        }
    }
    let keys: HashSet<&String> =
        asked.values().flatten().flat_map(|filter| filter.generic_tags.values()).flatten().collect();
    let missing = all.iter().filter(|(reader, _)| !keys.contains(reader)).count();
    assert_eq!(missing, 0, "of {}", all.len());
}
