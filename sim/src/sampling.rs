//! Samples of the usual distributions, the same on every machine: transcendental functions come from a library that is
//! compiled with the program, not from the platform.

use crate::chance::Chance;

/// Evenly in (0, 1]: a logarithm of it is finite.
fn unit_above_zero(chance: &mut Chance) -> f64 {
    1.0 - chance.unit()
}

/// Exponential with mean 1.
pub fn exponential(chance: &mut Chance) -> f64 {
    -libm::log(unit_above_zero(chance))
}

/// Normal with mean 0 and deviation 1, by Box and Muller's transform.
pub fn normal(chance: &mut Chance) -> f64 {
    let radius = (-2.0 * libm::log(unit_above_zero(chance))).sqrt();
    radius * libm::cos(core::f64::consts::TAU * chance.unit())
}

/// Log-normal with this mean and coefficient of variation.
pub fn log_normal(chance: &mut Chance, mean: f64, cv: f64) -> f64 {
    let variance = libm::log1p(cv * cv);
    libm::exp(variance.sqrt().mul_add(normal(chance), libm::log(mean) - variance / 2.0))
}

/// Gamma with this shape and scale 1, by Marsaglia and Tsang's method.
pub fn gamma(chance: &mut Chance, shape: f64) -> f64 {
    if shape < 1.0 {
        let boost = libm::pow(unit_above_zero(chance), 1.0 / shape);
        return boost * gamma(chance, shape + 1.0);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(chance);
        let v = c.mul_add(x, 1.0);
        if v <= 0.0 {
            continue;
        }
        let cube = v * v * v;
        if libm::log(unit_above_zero(chance)) < 0.5 * x * x + d * (1.0 - cube + libm::log(cube)) {
            return d * cube;
        }
    }
}

/// Weibull with this shape and mean 1.
pub fn weibull(chance: &mut Chance, shape: f64) -> f64 {
    libm::pow(exponential(chance), 1.0 / shape) / libm::tgamma(1.0 + 1.0 / shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Stream;

    fn moments(mut draw: impl FnMut(&mut Chance) -> f64) -> (f64, f64) {
        let mut chance = Chance::new(11, Stream::Workload);
        let values: Vec<f64> = (0..100_000).map(|_| draw(&mut chance)).collect();
        let mean = values.iter().sum::<f64>() / 1e5;
        let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / 1e5;
        (mean, variance.sqrt() / mean)
    }

    #[test]
    fn every_distribution_has_its_mean_and_its_spread() {
        type Draw = fn(&mut Chance) -> f64;
        let cases: [(&str, Draw, f64, f64); 6] = [
            ("exponential", exponential, 1.0, 1.0),
            ("gamma 4", |c| gamma(c, 4.0), 4.0, 0.5),
            ("gamma 1/4", |c| gamma(c, 0.25), 0.25, 2.0),
            ("weibull 1", |c| weibull(c, 1.0), 1.0, 1.0),
            ("weibull 2", |c| weibull(c, 2.0), 1.0, 0.5227),
            ("log-normal", |c| log_normal(c, 200.0, 1.5), 200.0, 1.5),
        ];
        for (name, draw, mean, cv) in cases {
            let (got_mean, got_cv) = moments(draw);
            assert!((got_mean / mean - 1.0).abs() < 0.03, "{name}: mean {got_mean}, not {mean}");
            assert!((got_cv / cv - 1.0).abs() < 0.06, "{name}: cv {got_cv}, not {cv}");
        }
    }
}
