//! Quantiles by nearest rank: of n sorted values, the q-quantile is number ceil(q·n), counted from 1. It is always a
//! value that was seen, it needs no interpolation, and it is what reports of this program mean by p50, p95 and p99.

/// Sorts values for [`nearest_rank`].
#[must_use]
pub fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// The quantile of sorted values at so many thousandths; none of none.
#[must_use]
pub fn nearest_rank(sorted: &[f64], permille: usize) -> Option<f64> {
    let rank = sorted.len().checked_mul(permille)?.div_ceil(1_000).max(1);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantile_is_the_nearest_rank() {
        let values = sorted((1..=100).rev().map(f64::from).collect());
        let cases = [(0, 1.0), (10, 1.0), (500, 50.0), (950, 95.0), (951, 96.0), (990, 99.0), (1_000, 100.0)];
        for (permille, expected) in cases {
            assert_eq!(nearest_rank(&values, permille), Some(expected), "{permille}");
        }
        assert_eq!(nearest_rank(&[7.0], 990), Some(7.0));
        assert_eq!(nearest_rank(&[], 500), None);
    }
}
