//! What a sample says, and how sure it is: quantiles, means with intervals over seeds, paired differences, fairness.
//!
//! The rule: a number over several seeds is never given without its interval, and sums run in one fixed order, so that
//! the same samples give the same bytes.

pub mod fairness;
pub mod fine_histogram;
pub mod interval;
pub mod quantile;
pub mod student_t;
pub mod warm_up;

pub use interval::Interval;

/// Rounds to so many significant digits, as reports state numbers. What is not finite becomes 0.
#[must_use]
pub fn significant(value: f64, digits: i32) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    // Through the decimal text: dividing by a power of ten would leave its own error in the last digits.
    let places = usize::try_from(digits.saturating_sub(1)).unwrap_or(0);
    format!("{value:.places$e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_cut_where_they_are_said_to_be() {
        let cases = [(123_456.0, 123_500.0), (0.000_123_44, 0.000_123_4), (-98_766.0, -98_770.0), (0.0, 0.0)];
        for (value, expected) in cases {
            assert_eq!(significant(value, 4).to_bits(), f64::to_bits(expected), "{value}");
        }
        assert_eq!(significant(f64::NAN, 4), 0.0);
    }
}
