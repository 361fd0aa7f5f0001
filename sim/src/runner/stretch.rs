//! Steps of a batch that does not change: each takes a little longer than the one before, by the same amount, so the
//! time of any number of them has a closed form.

/// Equal steps in a row. Times in femtoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stretch {
    /// The first step.
    pub(super) first: u128,
    /// What each further one takes longer.
    pub(super) growth: u128,
}

impl Stretch {
    /// Time of the first `steps`.
    pub(super) const fn span(&self, steps: u64) -> u128 {
        let steps = steps as u128;
        steps * self.first + self.growth * (steps * steps.saturating_sub(1) / 2)
    }

    /// The fewest steps, at least one and at most `most`, that take no less than this.
    pub(super) const fn steps_to(&self, span: u128, most: u64) -> u64 {
        let (mut low, mut high) = (1, if most == 0 { 1 } else { most });
        // Most questions are about the next few steps.
        let mut reach = 1;
        while reach < high && self.span(reach) < span {
            low = reach + 1;
            reach *= 2;
        }
        if reach < high {
            high = reach;
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if self.span(middle) >= span {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closed_form_is_the_sum_and_its_inverse_the_first_that_reaches() {
        for (first, growth) in [(1, 0), (7, 3), (100, 1), (5, 0)] {
            let stretch = Stretch { first, growth };
            let mut sum = 0;
            for steps in 1..60_u64 {
                sum += first + growth * u128::from(steps - 1);
                assert_eq!(stretch.span(steps), sum);
                assert_eq!(stretch.steps_to(sum, 1_000), steps);
                assert_eq!(stretch.steps_to(sum + 1, 1_000), steps + 1);
                assert_eq!(stretch.steps_to(sum + 1, steps), steps, "no more than asked for");
            }
        }
        assert_eq!(Stretch { first: 9, growth: 0 }.steps_to(0, 5), 1);
    }
}
