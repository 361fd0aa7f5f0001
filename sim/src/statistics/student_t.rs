//! Student's t distribution: how far a mean of few values may be off.

/// The value that |t| stays below with probability `confidence`, at so many degrees of freedom (at least 1).
#[must_use]
pub fn two_sided(confidence: f64, degrees: u32) -> f64 {
    let (degrees, wanted) = (f64::from(degrees.max(1)), confidence.clamp(0.0, 0.999_999));
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    while within(high, degrees) < wanted {
        (low, high) = (high, high * 2.0);
    }
    // Halving an interval ends at neighbouring numbers, and does not depend on how well a guess was.
    for _ in 0..200 {
        let middle = low.midpoint(high);
        if within(middle, degrees) < wanted {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// Probability that |t| is below a value: 1 - I(v / (v + t²); v/2, 1/2).
fn within(t: f64, degrees: f64) -> f64 {
    1.0 - incomplete_beta(degrees / t.mul_add(t, degrees), degrees / 2.0, 0.5)
}

/// The regularised incomplete beta function, by its continued fraction.
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    let log_front = libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b);
    let front = libm::exp(log_front + a * libm::log(x) + b * libm::log1p(-x));
    // The fraction converges fast on the side of the mean; the other side is its mirror.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(x, a, b) / a
    } else {
        1.0 - front * fraction(1.0 - x, b, a) / b
    }
}

/// Lentz's method.
fn fraction(x: f64, a: f64, b: f64) -> f64 {
    let away_from_zero = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let (mut c, mut d) = (1.0, 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0)));
    let mut result = d;
    for step in 1..=300_u32 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for term in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + term * d);
            c = away_from_zero(1.0 + term / c);
            change = c * d;
            result *= change;
        }
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn critical_values_are_those_of_the_tables() {
        let cases = [
            (0.95, 1, 12.706_204_74),
            (0.95, 2, 4.302_652_73),
            (0.95, 4, 2.776_445_11),
            (0.95, 9, 2.262_157_16),
            (0.95, 19, 2.093_024_05),
            (0.95, 29, 2.045_229_64),
            (0.95, 120, 1.979_930_41),
            (0.99, 9, 3.249_835_54),
            (0.90, 9, 1.833_112_93),
        ];
        for (confidence, degrees, expected) in cases {
            let got = two_sided(confidence, degrees);
            assert!((got - expected).abs() < 1e-6, "{confidence} {degrees}: {got}, not {expected}");
        }
    }
}
