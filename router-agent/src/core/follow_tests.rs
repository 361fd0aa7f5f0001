//! What reporters can do to a score, and what they cannot.

use fedai_protocol::EventId;
use fedai_protocol::Msat;
use fedai_protocol::trust_assertion::{TrustDimensions, TrustEvidence};

use super::super::trust::{JobWeight, Trust};
use super::*;

const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);

fn key(n: u64) -> PublicKey {
    PublicKey::from_byte_array(fedai_protocol::domain_separation::digest("test", &[&n.to_be_bytes()]))
}

fn weights(good: u32, bad: u32) -> EvidenceWeights {
    EvidenceWeights { good_milli: good * 1_000, bad_milli: bad * 1_000 }
}

/// The same weights in every dimension.
fn says(good: u32, bad: u32) -> TrustAssertion {
    let all = weights(good, bad);
    TrustAssertion {
        node: key(1),
        rank: 50,
        dimensions: TrustDimensions::default(),
        evidence: Some(TrustEvidence { delivery: all, metering: all, price: all, identity: all }),
        receipts: 100,
    }
}

fn heard(reporter: u64, assertion: TrustAssertion, at: UnixSeconds) -> Received<TrustAssertion> {
    let id = EventId::from_byte_array(key(reporter + at.0).to_bytes());
    Received { message: assertion, author: key(reporter), id, created_at: at }
}

fn book(followed: &[(u64, f64)], said: &[(u64, TrustAssertion)]) -> FollowBook {
    let mut book = FollowBook::new(followed.iter().map(|(n, weight)| (key(*n), *weight)).collect());
    for (reporter, assertion) in said {
        assert!(book.hear(NOW, &heard(*reporter, *assertion, NOW.seconds())), "{reporter}");
    }
    book
}

fn record(jobs: usize, good: bool) -> Trust {
    let mut trust = Trust::default();
    for _ in 0..jobs {
        trust.accepted(NOW, JobWeight::new(Msat::saturating(1_000_000), 1_000, 0), good);
    }
    trust
}

#[test]
fn nobody_counts_who_is_not_followed_and_nobody_vouches_for_itself() {
    let mut book = FollowBook::new([(key(10), 1.0), (key(1), 1.0)].into());
    assert!(!book.hear(NOW, &heard(11, says(1_000, 0), NOW.seconds())));
    assert!(!book.hear(NOW, &heard(1, says(1_000, 0), NOW.seconds())), "about itself");
    assert_eq!(book.opinion(NOW, &key(1)), Opinion::default());
}

/// The bounds that the documentation states.
#[test]
fn one_followed_liar_moves_a_score_at_most_by_the_bound() {
    let lies = [says(u32::MAX / 1_000, 0), says(0, u32::MAX / 1_000), says(500, 500)];
    let (mut up, mut down) = (0.0_f64, 0.0_f64);
    for jobs in [0, 1, 5, 20, 50, 200, 1_000] {
        for good in [true, false] {
            let own = record(jobs, good);
            for lie in lies {
                for weight in [0.25, 1.0] {
                    let told = own.with(book(&[(10, weight)], &[(10, lie)]).opinion(NOW, &key(1)));
                    let moved = told.score(NOW) - own.score(NOW);
                    up = up.max(moved);
                    if weight < 0.5 {
                        assert!(moved > -0.45, "at a quarter of the weight: {moved}");
                    }
                    down = down.min(moved);
                    assert!(told.p_ok(NOW) - own.p_ok(NOW) > -0.30, "{jobs} {good}");
                }
            }
        }
    }
    assert!(up > 0.0 && up <= 0.56, "a newcomer is lifted by {up}");
    assert!((-0.70..0.0).contains(&down), "a veteran is lowered by {down}");
}

#[test]
fn nobody_is_lifted_above_what_own_evidence_contradicts() {
    let own = record(40, false);
    let praise = book(&[(10, 1.0), (11, 1.0)], &[(10, says(9_000, 0)), (11, says(9_000, 0))]);
    let told = own.with(praise.opinion(NOW, &key(1)));
    assert!(told.score(NOW) < 0.1, "{}", told.score(NOW));
}

#[test]
fn one_liar_among_three_moves_nothing_beyond_the_others() {
    let own = record(30, true);
    let honest = [(10, says(95, 5)), (11, says(190, 10))];
    let score = |lie: TrustAssertion| {
        let said = [honest[0], honest[1], (12, lie)];
        let told = book(&[(10, 1.0), (11, 1.0), (12, 1.0)], &said);
        own.with(told.opinion(NOW, &key(1))).score(NOW)
    };
    let honest = score(says(95, 5));
    for lie in [says(0, 100_000), says(100_000, 0)] {
        assert!((score(lie) - honest).abs() < 0.01);
    }
}

#[test]
fn an_auditor_is_heard_over_a_long_record_of_acceptances() {
    let own = record(10_000, true);
    let mut finding = says(0, 0);
    finding.evidence = Some(TrustEvidence { metering: weights(0, 12), ..TrustEvidence::default() });
    let told = own.with(book(&[(10, 1.0)], &[(10, finding)]).opinion(NOW, &key(1)));
    assert!(own.score(NOW) > 0.9 && told.score(NOW) < 0.3, "{}", told.score(NOW));
}

#[test]
fn a_newer_word_replaces_an_older_one_and_old_words_fade() {
    let mut book = book(&[(10, 1.0)], &[(10, says(0, 8))]);
    let later = NOW.plus_seconds(60);
    assert!(!book.hear(later, &heard(10, says(8, 0), NOW.seconds().minus(5))));
    assert!(book.hear(later, &heard(10, says(8, 0), later.seconds())));
    let fresh = book.opinion(later, &key(1)).delivery;
    assert!(fresh.good > 7.9 && fresh.bad == 0.0);
    let month = book.opinion(later.plus_seconds(28 * 86_400), &key(1)).delivery;
    assert!((month.good - fresh.good / 4.0).abs() < 0.01, "{month:?}");
    // A date in the future does not keep it fresh.
    assert!(book.hear(later, &heard(10, says(8, 0), later.seconds().plus(10_000_000))));
    assert!(book.opinion(later.plus_seconds(28 * 86_400), &key(1)).delivery.good < 2.1);
}

#[test]
fn a_bare_rank_of_another_program_counts_by_its_receipts() {
    let mut bare = says(0, 0);
    bare.evidence = None;
    bare.dimensions.delivery_permille = 900;
    let of = |receipts| {
        let said = TrustAssertion { receipts, ..bare };
        book(&[(10, 1.0)], &[(10, said)]).opinion(NOW, &key(1)).delivery.good
    };
    assert!(of(0) == 0.0 && of(20) > of(2) && of(1_000_000) <= OPINION_WEIGHT_MAX);
}
