//! What trust is worth, what it costs to earn, and what nobody gains.

use super::*;

const NOW: UnixMicros = UnixMicros(1_000_000_000_000_000);
const PAID: Msat = Msat::saturating(1_000_000);
const DAY: u64 = 86_400;

fn paid() -> JobWeight {
    JobWeight::new(PAID, 1_000, 0)
}

fn free() -> JobWeight {
    JobWeight::new(Msat::ZERO, 900, 0)
}

fn after(jobs: usize, weight: JobWeight) -> Trust {
    let mut trust = Trust::default();
    for _ in 0..jobs {
        trust.accepted(NOW, weight, true);
    }
    trust
}

#[test]
fn a_newcomer_starts_at_zero_and_rises_with_work() {
    let mut trust = Trust::default();
    assert_eq!((trust.score(NOW), trust.p_ok(NOW)), (0.0, 0.0));
    assert!(trust.is_new(NOW));
    let mut last = 0.0;
    for _ in 0..100 {
        trust.accepted(NOW, paid(), true);
        assert!(trust.score(NOW) >= last);
        last = trust.score(NOW);
    }
    assert!(last > 0.9, "{last}");
}

#[test]
fn a_network_where_all_is_free_learns() {
    assert!(after(2, free()).is_new(NOW) && !after(3, free()).is_new(NOW));
    assert!(after(100, free()).score(NOW) > 0.7);
    assert!(after(320, free()).score(NOW) > 0.9);
}

#[test]
fn money_and_chance_weigh_and_what_a_client_arranged_does_not() {
    let weight = |amount, luck, before| JobWeight::new(amount, luck, before).0;
    assert!((weight(PAID, 1_000, 0) - 1.0).abs() < 1e-12);
    assert_eq!(weight(Msat::MAX, 1_000, 0), weight(PAID, 1_000, 0), "one whale is capped");
    assert!(weight(Msat::saturating(30_000), 1_000, 0) > 0.5, "by the logarithm");
    assert_eq!(weight(PAID, 0, 0), 0.0, "the client named the node");
    assert_eq!(weight(PAID, 1, 0), CERTAIN_WEIGHT, "the only node there was");
    assert!((weight(Msat::ZERO, 500, 0) - 0.1).abs() < 1e-12);
    // 64 jobs under one ticket are less than five tickets.
    let one_ticket: f64 = (0..64).map(|n| weight(PAID, 1_000, n)).sum();
    assert!(one_ticket < 5.0, "{one_ticket}");
}

/// An honest node: a constant part of its jobs goes well, three quarters or more. Whatever its age, its pace and the
/// pause that it made, it is never better off under a new key, on no day after.
#[test]
fn whitewashing_never_pays_for_an_honest_node() {
    let work = |trust: &mut Trust, now: UnixMicros, perday: f64, bad: f64| {
        let jobs = perday.ceil();
        for _ in 0..jobs as u32 {
            trust.accepted(now, JobWeight(perday / jobs * (1.0 - bad)), true);
            trust.accepted(now, JobWeight(perday / jobs * bad), false);
        }
    };
    for bad in [0.0, 0.02, 0.1, 0.25] {
        for perday in [0.1, 1.0, 8.0, 60.0] {
            for (active, pause) in [(1, 0), (1, 30), (5, 7), (14, 0), (30, 60), (90, 0), (90, 100), (90, 300)]
            {
                let mut old = Trust::default();
                for day in 0..active {
                    work(&mut old, NOW.plus_seconds(day * DAY), perday, bad);
                }
                let mut fresh = Trust::default();
                for day in 0..60 {
                    let now = NOW.plus_seconds((active + pause + day) * DAY);
                    let story = format!("{bad} bad, {perday} a day, {active} days, pause {pause}, day {day}");
                    let (o, f) = ((old.score(now), old.p_ok(now)), (fresh.score(now), fresh.p_ok(now)));
                    // The normal approximation is off by that much.
                    assert!(o.0 + 1e-3 >= f.0 && o.1 + 1e-3 >= f.1, "{story}: {o:?} < {f:?}");
                    work(&mut old, now, perday, bad);
                    work(&mut fresh, now, perday, bad);
                }
            }
        }
    }
}

/// And a record is worth something: what is thrown away with a key takes days to earn again.
#[test]
fn a_fresh_identity_is_worth_less_than_any_record() {
    for jobs in [30, 100, 1_000] {
        let mut old = after(jobs, free());
        for _ in 0..jobs / 20 {
            old.accepted(NOW, free(), false);
        }
        assert!(old.score(NOW.plus_seconds(7 * DAY)) > Trust::default().score(NOW), "{jobs}");
    }
}

#[test]
fn one_proof_caps_its_dimension_and_leaves_the_others() {
    for (about, code) in [(Dimension::Price, "wrong_amount"), (Dimension::Metering, "usage_bounds")] {
        assert_eq!(Dimension::of_dispute(code), about);
        let mut trust = after(10_000, paid());
        let before = trust.dimensions(NOW);
        trust.proven(NOW, about);
        let after = trust.dimensions(NOW);
        assert_eq!(after.delivery_permille, before.delivery_permille);
        assert!(trust.score(NOW) <= 0.25, "however long the record");
        for _ in 0..10_000 {
            trust.accepted(NOW, paid(), true);
        }
        assert!(trust.score(NOW) <= 0.25, "and however much is added");
        let month = NOW.plus_seconds(30 * DAY);
        assert!((0.5..0.7).contains(&trust.score(month)), "it fades: {}", trust.score(month));
        let (mut twice, one) = (trust, trust.score(NOW));
        twice.proven(NOW, about);
        assert!(twice.score(NOW) < one);
    }
}

#[test]
fn throwaway_clients_do_not_sink_a_node() {
    for (jobs, least) in [(100, 0.4), (1_000, 0.55), (10_000, 0.6)] {
        let mut trust = after(jobs, free());
        for _ in 0..50_000 {
            trust.disputed(NOW, free(), Dimension::Delivery);
        }
        assert!(trust.p_ok(NOW) > least, "{jobs}: {}", trust.p_ok(NOW));
    }
    let mut trust = after(300, free());
    let before = trust.dimensions(NOW);
    for _ in 0..5 {
        trust.disputed(NOW, free(), Dimension::Metering);
    }
    assert_eq!(trust.dimensions(NOW), before, "a few claims about metering are noise");
    for _ in 0..50 {
        trust.disputed(NOW, free(), Dimension::Metering);
    }
    assert!(trust.score(NOW) < 0.85, "many are not");
}

#[test]
fn a_long_record_makes_no_room_for_a_long_fraud() {
    let mut trust = after(1_000_000, paid());
    let before = trust.p_ok(NOW);
    for _ in 0..60 {
        trust.accepted(NOW, paid(), false);
    }
    assert!(before > 0.95 && trust.p_ok(NOW) < 0.8, "{before} to {}", trust.p_ok(NOW));
}

#[test]
fn a_model_is_what_it_says_until_evidence_speaks_against_it() {
    let trust = after(1_000, paid());
    assert_eq!(trust.dimensions(NOW).identity_permille, None);
    let finding = |good, bad| Opinion { identity: Pseudo { good, bad }, ..Opinion::default() };
    assert_eq!(trust.with(finding(8.0, 0.0)).score(NOW), trust.score(NOW), "a passed audit takes nothing");
    assert!(trust.with(finding(0.0, 8.0)).score(NOW) < 0.3);
    assert!(trust.with(finding(4.0, 4.0)).score(NOW) < trust.score(NOW));
}

#[test]
fn trust_fades_towards_the_prior() {
    let trust = after(100, paid());
    let year_later = NOW.plus_seconds(365 * DAY);
    assert!(trust.score(year_later) < 0.2);
    assert!(trust.is_new(year_later));
}

#[test]
fn one_proof_bars_a_node_for_weeks_and_no_word_of_others_does() {
    let day = |days: u64| NOW.plus_seconds(days * 86_400);
    let mut trust = after(1_000, paid());
    for _ in 0..10_000 {
        trust.disputed(NOW, paid(), Dimension::Metering);
        trust.disputed(NOW, paid(), Dimension::Price);
        trust.disputed(NOW, paid(), Dimension::Identity);
    }
    let bad = Pseudo { good: 0.0, bad: 8.0 };
    let slandered = trust.with(Opinion { delivery: bad, metering: bad, price: bad, identity: bad });
    assert!(!slandered.has_misbehaved(NOW), "claims and opinions are no proof, however many");
    trust.proven(NOW, Dimension::Price);
    assert!(trust.has_misbehaved(NOW) && trust.has_misbehaved(day(17)) && !trust.has_misbehaved(day(18)));
    trust.proven(day(18), Dimension::Price);
    assert!(
        trust.has_misbehaved(day(18 + 23)) && !trust.has_misbehaved(day(18 + 26)),
        "longer the second time"
    );
}

#[test]
fn what_auditors_found_makes_an_answer_worth_a_quarter_at_least() {
    let opinion = |good: f64, bad: f64| Pseudo { good, bad };
    let factor = |identity: Pseudo, metering: Pseudo| {
        Trust::default().with(Opinion { identity, metering, ..Opinion::default() }).doubt_factor()
    };
    let none = Pseudo::default();
    assert_eq!(factor(none, none), 1.0, "nobody said anything");
    assert_eq!(factor(opinion(8.0, 0.0), opinion(6.0, 0.0)), 1.0, "nothing was found");
    let found = factor(opinion(0.0, 8.0), none);
    assert!((3.9..4.2).contains(&found), "{found}");
    assert!(factor(none, opinion(0.0, 2.0)) < factor(none, opinion(0.0, 8.0)), "less weight says less");
    assert!(factor(opinion(0.0, 1e9), none) <= 5.0, "and never all");
    let mut claimed = Trust::default();
    (0..1_000).for_each(|_| claimed.disputed(NOW, paid(), Dimension::Identity));
    assert_eq!(claimed.doubt_factor(), 1.0, "what clients claim is no audit");
}
