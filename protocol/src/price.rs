//! Prices, the one rounding rule, and the ladder that stands in for range queries.
//!
//! Rule: sum all parts exactly (in millionths of a millisatoshi), then round **up** once, to the whole millisatoshi.

use serde::{Deserialize, Serialize};

use crate::limits::PRICE_LADDER_STEPS;
use crate::msat::{Msat, MsatPerMtok, Tokens};
use crate::usage::Usage;

/// What one model costs at one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Per million prompt tokens.
    pub input: MsatPerMtok,
    /// Per million prompt tokens served from the prefix cache; the input price where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<MsatPerMtok>,
    /// Per million completion tokens.
    pub output: MsatPerMtok,
    /// Per request that delivered output.
    #[serde(default)]
    pub request: Msat,
}

impl Price {
    /// Nothing.
    pub const FREE: Self =
        Self { input: MsatPerMtok::ZERO, cached_input: None, output: MsatPerMtok::ZERO, request: Msat::ZERO };

    /// True when no part costs anything.
    #[must_use]
    pub fn is_free(&self) -> bool {
        let cached = self.cached_input.unwrap_or_default();
        self.input.get() == 0 && self.output.get() == 0 && self.request.get() == 0 && cached.get() == 0
    }

    /// What is owed for `usage`. Nothing for empty output: an answer that did not arrive costs nothing, whatever was
    /// computed. `None` when the sum passes the limit of [`Msat`].
    #[must_use]
    pub fn amount(&self, usage: &Usage) -> Option<Msat> {
        if usage.output_bytes == 0 || usage.output_tokens.get() == 0 {
            return Some(Msat::ZERO);
        }
        self.cost(usage.input_tokens, usage.cached_tokens, usage.output_tokens)
    }

    /// The most that a request within these token counts can cost: nothing cached.
    #[must_use]
    pub fn ceiling(&self, input: Tokens, output: Tokens) -> Option<Msat> {
        let dearer = self.cached_input.map_or(self.input, |cached| cached.max(self.input));
        Self { input: dearer, cached_input: None, ..*self }.cost(input, Tokens::ZERO, output)
    }

    fn cost(&self, input: Tokens, cached: Tokens, output: Tokens) -> Option<Msat> {
        let cached = cached.min(input);
        let fresh = u128::from(input.saturating_sub(cached).get());
        let part = |tokens: u128, price: MsatPerMtok| tokens.checked_mul(u128::from(price.get()));
        let micros = part(fresh, self.input)?
            .checked_add(part(u128::from(cached.get()), self.cached_input.unwrap_or(self.input))?)?
            .checked_add(part(u128::from(output.get()), self.output)?)?;
        let whole = u64::try_from(micros.div_ceil(1_000_000)).ok()?;
        Msat::new(whole)?.checked_add(self.request)
    }

    /// The `price` tags of an offer.
    #[must_use]
    pub fn tags(&self) -> Vec<Vec<String>> {
        let tag = |amount: u64, per: &str| {
            vec!["price".to_owned(), amount.to_string(), "msat".to_owned(), per.to_owned()]
        };
        let mut tags =
            vec![tag(self.input.get(), "1M-input-token"), tag(self.output.get(), "1M-output-token")];
        if let Some(cached) = self.cached_input {
            tags.push(tag(cached.get(), "1M-cached-input-token"));
        }
        if self.request.get() > 0 {
            tags.push(tag(self.request.get(), "request"));
        }
        tags
    }

    /// The `b` tags of an offer: every ladder step at or above the price, so that `#b = out<=50000` finds it.
    #[must_use]
    pub fn ladder_tags(&self) -> Vec<Vec<String>> {
        let side = |name: &str, price: MsatPerMtok| {
            ladder(price.get())
                .into_iter()
                .map(|step| vec!["b".to_owned(), format!("{name}<={step}")])
                .collect::<Vec<_>>()
        };
        let mut tags = side("in", self.input);
        tags.extend(side("out", self.output));
        tags
    }
}

/// The 1-2-5 steps at or above `price`, at most [`PRICE_LADDER_STEPS`]. A free offer begins at 0.
#[must_use]
pub fn ladder(price: u64) -> Vec<u64> {
    let mut steps = Vec::with_capacity(PRICE_LADDER_STEPS);
    if price == 0 {
        steps.push(0);
    }
    let mut decade: u64 = 1;
    while steps.len() < PRICE_LADDER_STEPS {
        for factor in [1_u64, 2, 5] {
            let Some(step) = decade.checked_mul(factor) else { return steps };
            if step >= price && steps.len() < PRICE_LADDER_STEPS {
                steps.push(step);
            }
        }
        let Some(next) = decade.checked_mul(10) else { return steps };
        decade = next;
    }
    steps
}

/// The ladder step to ask for when the most to be paid is `ceiling`: the highest step that is not above it.
#[must_use]
pub fn ladder_step_within(ceiling: u64) -> u64 {
    let mut best = 0;
    let mut decade: u64 = 1;
    loop {
        for factor in [1_u64, 2, 5] {
            match decade.checked_mul(factor) {
                Some(step) if step <= ceiling => best = step,
                _ => return best,
            }
        }
        let Some(next) = decade.checked_mul(10) else { return best };
        decade = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(input: u64, cached: u64, output: u64) -> Usage {
        Usage {
            input_tokens: Tokens::saturating(input),
            cached_tokens: Tokens::saturating(cached),
            output_tokens: Tokens::saturating(output),
            output_bytes: output,
            ..Usage::default()
        }
    }

    fn price(input: u64, output: u64) -> Price {
        Price {
            input: MsatPerMtok::saturating(input),
            output: MsatPerMtok::saturating(output),
            ..Price::FREE
        }
    }

    #[test]
    fn parts_are_summed_before_the_one_rounding_up() {
        // 0.4 + 0.4 msat: rounding each part would give 2.
        assert_eq!(price(400_000, 400_000).amount(&usage(1, 0, 1)), Msat::new(1));
        assert_eq!(price(500_000, 500_000).amount(&usage(1, 0, 1)), Msat::new(1));
        assert_eq!(price(500_000, 500_001).amount(&usage(1, 0, 1)), Msat::new(2));
    }

    #[test]
    fn empty_output_is_owed_nothing() {
        assert_eq!(price(1_000_000, 1_000_000).amount(&usage(1_000, 0, 0)), Some(Msat::ZERO));
    }

    #[test]
    fn cached_tokens_have_their_own_price_and_never_raise_the_ceiling_above_itself() {
        let price = Price { cached_input: MsatPerMtok::new(100_000), ..price(1_000_000, 2_000_000) };
        assert_eq!(price.amount(&usage(10, 4, 5)), Msat::new(17));
        assert_eq!(price.ceiling(Tokens::saturating(10), Tokens::saturating(5)), Msat::new(20));
    }

    #[test]
    fn the_largest_price_and_counts_do_not_overflow_but_are_refused() {
        let price = price(u64::MAX, u64::MAX);
        assert_eq!(price.ceiling(Tokens::MAX, Tokens::MAX), None);
    }

    #[test]
    fn the_ladder_starts_at_the_price_and_has_twelve_steps() {
        assert_eq!(ladder(0).first(), Some(&0));
        assert_eq!(
            ladder(200),
            vec![200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000]
        );
        assert_eq!(ladder(201).first(), Some(&500));
        assert_eq!(ladder_step_within(499), 200);
        assert_eq!(ladder_step_within(0), 0);
        for price in [0, 1, 3, 999, 123_456_789] {
            assert_eq!(ladder(price).len(), PRICE_LADDER_STEPS);
        }
    }
}
