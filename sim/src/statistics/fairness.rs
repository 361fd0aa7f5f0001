//! How evenly something is shared.

/// Jain's index of shares: 1 when all are equal, 1/n when one has everything, 1 of nothing.
#[must_use]
pub fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    if squares > 0.0 { sum * sum / (squares * shares.len() as f64) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jain_is_one_when_even_and_a_share_when_not() {
        let cases: [(&[f64], f64); 4] =
            [(&[0.5; 4], 1.0), (&[1.0, 0.0, 0.0, 0.0], 0.25), (&[3.0, 1.0], 0.8), (&[], 1.0)];
        for (shares, expected) in cases {
            assert!((jain(shares) - expected).abs() < 1e-12, "{shares:?}");
        }
    }
}
