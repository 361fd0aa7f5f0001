//! What each strategy does, one situation a line.

use super::pricing::Pricing;
use super::*;
use crate::chance::Stream;

fn mtok(price: u64) -> MsatPerMtok {
    MsatPerMtok::saturating(price)
}

fn outlook(own: u64, utilisation: f64, others: &[MsatPerMtok]) -> Outlook<'_> {
    Outlook {
        own: mtok(own),
        list: mtok(1_000),
        cost: mtok(400),
        utilisation,
        earned: Msat::saturating(900),
        spent: Msat::saturating(100),
        others,
    }
}

fn once(pricing: Pricing, outlook: &Outlook<'_>) -> u64 {
    pricing.strategy().reprice(outlook, &mut Chance::new(1, Stream::Fleet)).get()
}

#[test]
fn each_strategy_in_its_situations() {
    let rows = [
        (Pricing::Fixed, 1_000, 1.0, vec![10], 1_000),
        (Pricing::CostPlus, 1_000, 1.0, vec![10], 560),
        (Pricing::Undercut, 1_000, 0.0, vec![900, 700], 693),
        // The cheapest is below what the work costs: the next one up is undercut.
        (Pricing::Undercut, 1_000, 0.0, vec![900, 300], 891),
        (Pricing::Undercut, 1_000, 0.0, vec![], 1_000),
        (Pricing::LoadPriced, 1_000, 1.0, vec![], 1_100),
        (Pricing::LoadPriced, 1_000, 0.2, vec![], 900),
        (Pricing::LoadPriced, 425, 0.0, vec![], 420),
    ];
    for (pricing, own, utilisation, others, expected) in rows {
        let others: Vec<MsatPerMtok> = others.into_iter().map(mtok).collect();
        assert_eq!(once(pricing, &outlook(own, utilisation, &others)), expected, "{pricing:?} at {own}");
    }
}

#[test]
fn nobody_sells_below_cost_or_leaves_the_bounds() {
    for pricing in Pricing::ALL.into_iter().filter(|pricing| *pricing != Pricing::Fixed) {
        let (mut strategy, mut chance) = (pricing.strategy(), Chance::new(3, Stream::Fleet));
        let mut own = 1_000;
        for round in 0..500_u64 {
            let others = [mtok(1 + round % 700)];
            let outlook = outlook(own, (round % 11) as f64 / 10.0, &others);
            own = strategy.reprice(&outlook, &mut chance).get();
            assert!((420..=4_000).contains(&own), "{pricing:?} asks {own}");
        }
    }
}

#[test]
fn the_learner_finds_the_price_that_pays_most() {
    let (mut strategy, mut chance) = (Pricing::Learning.strategy(), Chance::new(5, Stream::Fleet));
    let (mut own, mut at_best) = (1_000, 0);
    for round in 0..2_000 {
        // Demand falls with price: the profit is greatest at 1,250 of the arms.
        let jobs = 2_000_u64.saturating_sub(own);
        let earned = Msat::saturating(jobs * own / 1_000);
        let view = Outlook { earned, spent: Msat::saturating(jobs * 400 / 1_000), ..outlook(own, 0.5, &[]) };
        own = strategy.reprice(&view, &mut chance).get();
        at_best += u32::from(round >= 1_000 && own == 1_250);
    }
    assert!(at_best > 700, "{at_best} of 1000 periods at the best price");
}

#[test]
fn a_price_keeps_its_proportions() {
    let list = Price {
        input: mtok(300),
        cached_input: Some(mtok(30)),
        output: mtok(900),
        request: Msat::saturating(9),
    };
    let price = price_at(&list, mtok(1_800));
    assert_eq!((price.input, price.cached_input, price.request.get()), (mtok(600), Some(mtok(60)), 18));
}

#[test]
fn fewer_can_pay_when_prices_rise() {
    let budget = budget::Budget::around(mtok(1_000_000));
    let mut chance = Chance::new(1, Stream::Workload);
    let tokens = fedai_protocol::Tokens::saturating;
    let worth: Vec<u64> =
        (0..1_000).map(|_| budget.draw(tokens(300), tokens(100), &mut chance).get()).collect();
    let buyers = |price: u64| worth.iter().filter(|worth| **worth >= price).count();
    assert_eq!(buyers(150), 1_000);
    assert!(buyers(200) > buyers(400) && buyers(400) > 100, "{} {}", buyers(200), buyers(400));
}

#[test]
fn names_are_read_back_and_a_mixed_market_has_all() {
    assert!(Pricing::ALL.into_iter().all(|pricing| Pricing::named(pricing.as_str()) == Some(pricing)));
    assert!((0..5).all(|index| Pricing::ALL.contains(&Pricing::mixed(index))));
    assert_ne!(Pricing::mixed(0), Pricing::mixed(1));
}
