//! Several routers: silent, slow, good, full with peers, and lying ones.

use fedai_protocol::SigningKey;
use fedai_protocol::quote::PeerRouter;
use fedai_protocol::quote_request::Mode;

use super::super::super::quote_check::Question;
use super::super::super::router_silence::Unheard;
use super::*;

/// What a router says to everybody who asks.
enum Router {
    Silent,
    /// No relay takes a question to it.
    Unreached,
    /// Has nobody.
    Empty,
    /// Quotes its node, with this expected time to first token.
    Quotes(u64),
    /// Has no room, and names these routers, by their place.
    Full(Vec<usize>),
}

/// A journey among routers; only the first `known` are announced to the client.
struct Town {
    markets: Vec<Market>,
    routers: Vec<Router>,
    journey: Journey,
    ms: u64,
    asked: Vec<Vec<usize>>,
    sought: Vec<usize>,
    opened: Vec<usize>,
    endings: Vec<Result<Answer, JobFailure>>,
}

impl Town {
    fn new(routers: Vec<Router>, known: usize, follow_peers: bool) -> Self {
        Self::bent(routers, known, follow_peers, |_| {})
    }

    fn bent(routers: Vec<Router>, known: usize, follow_peers: bool, bend: impl FnOnce(&mut JobSpec)) -> Self {
        let markets: Vec<Market> = (0..routers.len() as u64)
            .map(|n| {
                let mut market = Market::new(1);
                market.entropy.0 += 1_000 * (n + 1);
                market.router = SigningKey::generate(&mut market.entropy);
                market
            })
            .collect();
        let mut spec = markets[0].spec();
        let target = |market: &Market| RouterTarget::Router(market.router.public_key());
        spec.routers = markets.iter().take(known).map(target).collect();
        (spec.mode, spec.follow_peers) = (Mode::Fastest, follow_peers);
        bend(&mut spec);
        let journey = Journey::new(spec, JourneyTiming::default(), None, micros(0));
        let mut town = Self {
            markets,
            routers,
            journey,
            ms: 0,
            asked: vec![],
            sought: vec![],
            opened: vec![],
            endings: vec![],
        };
        town.input(JourneyInput::Start);
        town
    }

    fn place(&self, key: PublicKey) -> usize {
        self.markets.iter().position(|market| market.router.public_key() == key).unwrap()
    }

    fn input(&mut self, input: JourneyInput) {
        let mut out = Vec::new();
        self.journey.handle(micros(self.ms), input, &mut out);
        for action in out {
            match action {
                JourneyAction::Ask(requests) => {
                    let keys: Vec<PublicKey> = requests.iter().filter_map(|request| request.router).collect();
                    let places: Vec<usize> = keys.into_iter().map(|key| self.place(key)).collect();
                    self.asked.push(places.clone());
                    let questions: Vec<Question> =
                        places.iter().map(|place| self.markets[*place].question()).collect();
                    for (place, question) in places.iter().zip(&questions) {
                        if !matches!(self.routers[*place], Router::Unreached) {
                            self.input(JourneyInput::Asked(*question));
                        }
                    }
                    for (place, question) in places.into_iter().zip(questions) {
                        self.answer(place, &question);
                    }
                }
                JourneyAction::FindRouters(peers) => {
                    let keys: Vec<PublicKey> = peers.iter().map(|peer| peer.router).collect();
                    let places: Vec<usize> = keys.iter().map(|key| self.place(*key)).collect();
                    self.sought.extend(places);
                    self.input(JourneyInput::RoutersFound(keys));
                }
                JourneyAction::Open { ticket, .. } => self.opened.push(self.place(ticket.router)),
                JourneyAction::End(ending) => self.endings.push(*ending),
                _ => {}
            }
        }
    }

    fn answer(&mut self, place: usize, question: &Question) {
        let named = |places: &[usize], markets: &[Market]| -> Vec<PeerRouter> {
            let peer =
                |place: &usize| PeerRouter { router: markets[*place].router.public_key(), relay: None };
            places.iter().map(peer).collect()
        };
        let reply = match &self.routers[place] {
            Router::Silent | Router::Unreached => return,
            Router::Empty => {
                let refusal = Refusal::new(RefusalCode::NoNode, "none");
                self.markets[place].reply(question, QuoteOutcome::Refusal(refusal))
            }
            Router::Quotes(ttft_ms) => {
                let ttft_ms = *ttft_ms;
                let mut quote = self.markets[place].quote(question, &[0]);
                quote.nodes[0].expected_ttft_ms = ttft_ms;
                self.markets[place].reply(question, QuoteOutcome::Quote(Box::new(quote)))
            }
            Router::Full(peers) => {
                let peers = named(peers, &self.markets);
                let refusal = Refusal::new(RefusalCode::Busy, "full").retry_after(5_000);
                let mut reply = self.markets[place].reply(question, QuoteOutcome::Refusal(refusal));
                reply.message.peers = peers;
                reply
            }
        };
        self.input(JourneyInput::Reply(Box::new(reply)));
    }

    fn wait(&mut self, ms: u64) {
        let end = self.ms + ms;
        while let Some(at) = self.journey.poll_timeout().filter(|at| *at <= micros(end)) {
            self.ms = self.ms.max(at.millis_since(micros(0)));
            self.input(JourneyInput::Tick);
        }
        self.ms = end;
    }
}

#[test]
fn of_a_silent_a_slow_and_a_good_router_the_good_one_wins_without_waiting_for_the_silent() {
    let mut town = Town::new(vec![Router::Silent, Router::Quotes(9_000), Router::Quotes(300)], 3, true);
    assert_eq!(town.asked, [[0, 1, 2]], "all at once");
    town.wait(150);
    assert_eq!(town.opened, [2]);
}

#[test]
fn a_full_router_names_others_and_they_are_asked_at_once() {
    let town = Town::new(vec![Router::Full(vec![1, 2]), Router::Silent, Router::Quotes(300)], 1, true);
    assert_eq!(
        (town.sought.as_slice(), town.asked.len()),
        ([1, 2].as_slice(), 2),
        "without the wait of the full one"
    );
    let mut town = town;
    town.wait(150);
    assert_eq!((town.asked[1].len(), town.opened.as_slice()), (2, [2].as_slice()));
}

#[test]
fn who_chose_the_router_gets_no_other_one() {
    let mut town = Town::new(vec![Router::Full(vec![1]), Router::Quotes(300)], 1, false);
    town.wait(60_000);
    assert!(town.sought.is_empty() && town.opened.is_empty());
    assert_eq!(town.endings.len(), 1);
}

#[test]
fn routers_that_name_each_other_and_many_more_cannot_keep_a_client_busy() {
    let all: Vec<usize> = (0..12).collect();
    let liars =
        (0..12).map(|n: usize| Router::Full(all.iter().copied().skip(n % 9).take(4).collect())).collect();
    let mut town = Town::new(liars, 1, true);
    town.wait(60_000);
    assert_eq!(town.endings.len(), 1, "it ends");
    let mut sought = town.sought.clone();
    sought.sort_unstable();
    sought.dedup();
    assert_eq!(sought.len(), town.sought.len(), "none twice");
    assert!(
        town.sought.len() <= 4 && !town.sought.contains(&0),
        "a bounded number, and not itself: {:?}",
        town.sought
    );
    assert!(town.asked.len() <= 4, "within the rounds of a job");
}

#[test]
fn a_router_that_was_not_looked_for_is_not_asked() {
    let mut town = Town::new(vec![Router::Silent, Router::Quotes(300)], 1, true);
    let stranger = town.markets[1].router.public_key();
    town.input(JourneyInput::RoutersFound(vec![stranger, PublicKey::from_byte_array([9; 32])]));
    assert_eq!(town.asked.len(), 1);
}

#[test]
fn silent_routers_are_told_from_unreachable_relays_and_from_routers_without_a_node() {
    use Router::{Empty, Silent, Unreached};
    let check = |routers: Vec<Router>, seconds: u64, code, unheard, text: &str| {
        let known = routers.len();
        let bend = |spec: &mut JobSpec| spec.deadline = micros(seconds * 1_000);
        let mut town = Town::bent(routers, known, true, bend);
        town.wait(60_000);
        assert_eq!(town.endings.len(), 1);
        let failure = town.endings[0].as_ref().unwrap_err();
        assert_eq!((failure.refusal.code, failure.unheard), (code, unheard), "{text}");
        assert_eq!(failure.refusal.message, text);
    };
    let silent = |out_of_time| Some(Unheard::Routers { out_of_time });
    let (timeout, no_node) = (RefusalCode::Timeout, RefusalCode::NoNode);
    let text = "3 routers were asked and none answered in 16 s";
    check(vec![Silent, Silent, Silent], 60, timeout, silent(false), text);
    check(vec![Silent], 60, timeout, silent(false), "1 router was asked and did not answer in 16 s");
    check(vec![Silent], 2, timeout, silent(true), "1 router was asked and did not answer in 2 s");
    let text = "1 router was asked and did not answer in 16 s";
    check(vec![Silent, Unreached], 60, timeout, silent(false), text);
    let text = "no relay took a question to a router in 16 s";
    check(vec![Unreached, Unreached], 60, timeout, Some(Unheard::Relays), text);
    check(vec![Silent, Empty], 60, no_node, None, "none");
    check(vec![Silent, Router::Full(vec![])], 2, timeout, None, "the job's time is up");
}

#[test]
fn a_question_that_took_all_the_time_was_asked() {
    let bend = |spec: &mut JobSpec| spec.deadline = micros(2_000);
    let mut town = Town::bent(vec![Router::Unreached], 1, true, bend);
    let question = town.markets[0].question();
    town.ms = 2_000;
    town.input(JourneyInput::Asked(question));
    let failure = town.endings[0].as_ref().unwrap_err();
    assert_eq!(failure.unheard, Some(Unheard::Routers { out_of_time: true }));
}

#[test]
fn a_stop_while_routers_are_silent_is_a_stop() {
    let mut town = Town::new(vec![Router::Silent], 1, true);
    town.input(JourneyInput::Cancel);
    let failure = town.endings[0].as_ref().unwrap_err();
    assert_eq!((failure.refusal.code, failure.unheard), (RefusalCode::Cancelled, None));
}
