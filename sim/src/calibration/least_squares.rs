//! Least squares with coefficients that are not negative, for a handful of terms: every subset of the terms is solved
//! exactly and the best one whose coefficients are all positive is taken. No iteration, so no start and no tolerance.

/// The coefficients that fit `rows` to `values` best, relative to each value. None when no term can.
#[must_use]
pub fn fit<const N: usize>(rows: &[[f64; N]], values: &[f64]) -> Option<[f64; N]> {
    let scaled: Vec<[f64; N]> =
        rows.iter().zip(values).map(|(row, value)| row.map(|term| term / value.abs().max(1e-12))).collect();
    let mut best: Option<(f64, [f64; N])> = None;
    for subset in 1..1_usize << N {
        let terms: Vec<usize> = (0..N).filter(|term| subset >> term & 1 == 1).collect();
        let Some(coefficients) = solve(&scaled, &terms) else { continue };
        let error: f64 = scaled.iter().map(|row| square(1.0 - dot(row, &coefficients))).sum();
        if best.is_none_or(|(least, _)| error < least) {
            best = Some((error, coefficients));
        }
    }
    best.map(|(_, coefficients)| coefficients)
}

/// The sum of terms by their coefficients.
#[must_use]
pub fn dot<const N: usize>(row: &[f64; N], coefficients: &[f64; N]) -> f64 {
    row.iter().zip(coefficients).map(|(term, coefficient)| term * coefficient).sum()
}

/// Fits ones by some of the terms; none when they do not determine a positive answer.
fn solve<const N: usize>(rows: &[[f64; N]], terms: &[usize]) -> Option<[f64; N]> {
    let at = |row: &[f64; N], term: usize| row.get(term).copied().unwrap_or(0.0);
    // Terms differ by many orders of magnitude.
    let largest = |term: usize| rows.iter().map(|row| at(row, term).abs()).fold(0.0, f64::max);
    let scales: Vec<f64> = terms.iter().map(|term| largest(*term)).collect();
    if scales.iter().any(|scale| *scale <= 0.0) {
        return None;
    }
    let columns: Vec<Vec<f64>> = terms
        .iter()
        .zip(&scales)
        .map(|(term, scale)| rows.iter().map(|row| at(row, *term) / scale).collect())
        .collect();
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut system: Vec<Vec<f64>> = columns
        .iter()
        .map(|a| {
            let mut line: Vec<f64> = columns.iter().map(|b| product(a, b)).collect();
            line.push(a.iter().sum());
            line
        })
        .collect();
    let solution = eliminate(&mut system)?;
    let mut coefficients = [0.0; N];
    for ((term, scale), value) in terms.iter().zip(&scales).zip(solution) {
        if value <= 0.0 {
            return None;
        }
        *coefficients.get_mut(*term)? = value / scale;
    }
    Some(coefficients)
}

/// Gauss and Jordan, with the largest pivot.
fn eliminate(system: &mut [Vec<f64>]) -> Option<Vec<f64>> {
    let size = system.len();
    let at = |line: &[f64], column: usize| line.get(column).copied().unwrap_or(0.0);
    for column in 0..size {
        let pivot = (column..size).max_by(|a, b| {
            let value = |line: &usize| system.get(*line).map_or(0.0, |line| at(line, column).abs());
            value(a).total_cmp(&value(b))
        })?;
        system.swap(column, pivot);
        let line = system.get(column)?.clone();
        let divisor = at(&line, column);
        if divisor.abs() < 1e-13 {
            return None;
        }
        for (number, other) in system.iter_mut().enumerate() {
            if number != column {
                let factor = at(other, column) / divisor;
                other.iter_mut().zip(&line).for_each(|(value, own)| *value -= factor * own);
            }
        }
    }
    system.iter().enumerate().map(|(number, line)| Some(line.last()? / at(line, number))).collect()
}

fn square(value: f64) -> f64 {
    value * value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_coefficients_come_back_and_negative_ones_become_nothing() {
        let rows: Vec<[f64; 3]> =
            (1..40).map(|n| [1.0, f64::from(n), f64::from(n * n) * 1e6 * f64::from(1 + n % 3)]).collect();
        let truth = [30.0, 0.5, 2e-9];
        let values: Vec<f64> = rows.iter().map(|row| dot(row, &truth)).collect();
        let found = fit(&rows, &values).unwrap();
        assert!(
            found.iter().zip(truth).all(|(found, truth)| (found / truth - 1.0).abs() < 1e-6),
            "{found:?}"
        );
        let falling: Vec<f64> = (1..40).map(|n| 100.0 - f64::from(n)).collect();
        let found = fit(&rows, &falling).unwrap();
        assert!(found[0] > 50.0 && found[1] == 0.0 && found[2] == 0.0, "{found:?}");
    }
}
