//! An axis: from values to places, and round numbers to write beside it.

/// How values are spread over an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithm; values of 0 and below are put at the lower end.
    Log,
}

/// What an axis shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What, with its unit.
    pub label: String,
    /// How.
    pub scale: Scale,
    /// Lower end; none: the least value, or 0 on a linear axis that would begin near it.
    pub low: Option<f64>,
    /// Upper end; none: the greatest value.
    pub high: Option<f64>,
}

impl Axis {
    /// An axis that fits its values.
    #[must_use]
    pub fn new(label: impl Into<String>, scale: Scale) -> Self {
        Self { label: label.into(), scale, low: None, high: None }
    }

    /// The same from 0 to 1, for shares.
    #[must_use]
    pub fn share(label: impl Into<String>) -> Self {
        Self { label: label.into(), scale: Scale::Linear, low: Some(0.0), high: Some(1.0) }
    }

    /// The same with an upper end.
    #[must_use]
    pub const fn up_to(mut self, high: f64) -> Self {
        self.high = Some(high);
        self
    }

    /// Fits it to values and to a stretch of the picture.
    pub(super) fn fit(&self, values: impl Iterator<Item = f64>, from: f64, to: f64) -> FittedAxis {
        let is_log = self.scale == Scale::Log;
        let usable = values.filter(|value| value.is_finite() && (!is_log || *value > 0.0));
        let (least, most) =
            usable.fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)));
        let (least, most) = if least > most { (1.0, 10.0) } else { (least, most) };
        let mut low = self
            .low
            .unwrap_or_else(|| if !is_log && (0.0..most * 0.75).contains(&least) { 0.0 } else { least });
        let mut high = self.high.unwrap_or(most);
        if high <= low {
            high = if is_log { low * 10.0 } else { low + low.abs().max(1.0) };
        }
        let ticks = if is_log { log_ticks(low, high) } else { linear_ticks(low, high) };
        // The ends are round numbers, unless they were asked for.
        if let (Some(first), Some(last)) = (ticks.first(), ticks.last()) {
            low = if self.low.is_some() { low } else { low.min(*first) };
            high = if self.high.is_some() { high } else { high.max(*last) };
        }
        let is_outside = |tick: &f64| *tick < low - 1e-9 * low.abs() || *tick > high + 1e-9 * high.abs();
        let ticks = ticks.into_iter().filter(|tick| !is_outside(tick)).collect();
        FittedAxis { scale: self.scale, low, high, from, to, ticks }
    }
}

/// An axis at its place.
#[derive(Clone, Debug)]
pub(super) struct FittedAxis {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl FittedAxis {
    /// Where a value is; what is beyond an end is at the end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => libm::log(value / self.low) / libm::log(self.high / self.low),
        };
        share.mul_add(self.to - self.from, self.from)
    }

    /// Values to write beside it, with their texts. Texts of a log axis that would touch are left out.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let texts: Vec<String> = self.ticks.iter().map(|tick| number(*tick)).collect();
        self.ticks.iter().copied().zip(texts).collect()
    }
}

/// Five or so round numbers around a range.
fn linear_ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let power = libm::exp10(libm::log10(rough).floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(power * 10.0);
    let (first, last) = ((low / step + 1e-9).floor(), (high / step - 1e-9).ceil());
    let count = (last - first).clamp(0.0, 50.0) as u32;
    (0..=count).map(|number| (first + f64::from(number)) * step).collect()
}

/// Powers of ten around a range, with 2 and 5 in between when there are few.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (libm::log10(low).floor() as i32, libm::log10(high).ceil() as i32);
    let decades = libm::log10(high / low);
    let factors: &[f64] = if decades <= 3.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let all: Vec<f64> = (first..=last)
        .flat_map(|power| factors.iter().map(move |factor| factor * libm::exp10(f64::from(power))))
        .collect();
    // One tick beyond either end is enough.
    let begin = all.iter().rposition(|tick| *tick <= low * (1.0 + 1e-9)).unwrap_or(0);
    let end = all.iter().position(|tick| *tick >= high * (1.0 - 1e-9));
    let end = end.unwrap_or_else(|| all.len().saturating_sub(1));
    all.get(begin..=end.max(begin)).unwrap_or(&[]).to_vec()
}

/// A number as people write it: `0.05`, `12`, `3,500`, `20k`, `1.5M`.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    let (scaled, unit) = match size {
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size >= 0.01 => 3,
        _ => 6,
    };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    match (unit, text.len()) {
        ("", 4) if !text.contains('.') && !text.contains('-') => {
            let (thousands, rest) = text.split_at(1);
            format!("{thousands},{rest}")
        }
        _ => format!("{text}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis, values: &[f64]) -> Vec<String> {
        let fitted = axis.fit(values.iter().copied(), 0.0, 100.0);
        fitted.ticks().into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round_numbers_around_the_values() {
        let linear = Axis::new("x", Scale::Linear);
        assert_eq!(texts(&linear, &[1.0, 47.0]), ["0", "10", "20", "30", "40", "50"]);
        assert_eq!(texts(&Axis::share("x"), &[0.3]), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        let log = Axis::new("x", Scale::Log);
        assert_eq!(texts(&log, &[30.0, 900.0]), ["20", "50", "100", "200", "500", "1,000"]);
        assert_eq!(texts(&log, &[0.0, 1.0, 1e6]), ["1", "10", "100", "1,000", "10k", "100k", "1M"]);
        assert_eq!(texts(&linear, &[]).len(), 6, "nothing to show is no reason to fail");
    }

    #[test]
    fn values_are_placed_in_order_and_never_outside() {
        for scale in [Scale::Linear, Scale::Log] {
            let fitted = Axis::new("x", scale).fit([1.0, 10.0, 100.0].into_iter(), 50.0, 350.0);
            let places: Vec<f64> = [1.0, 10.0, 100.0].into_iter().map(|value| fitted.place(value)).collect();
            assert!(places.is_sorted() && places.iter().all(|place| (49.999..350.001).contains(place)));
            assert!((fitted.place(0.0) - 50.0).abs() < 1e-9 && (fitted.place(1e9) - 350.0).abs() < 1e-9);
        }
    }
}
