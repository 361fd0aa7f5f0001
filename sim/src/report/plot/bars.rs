//! Horizontal bars with intervals: one number for each of a few things.

use super::axis::{Axis, FittedAxis, number};
use super::style;
use super::svg::{Anchor, FONT, GRID, INK, Picture, width_of};
use crate::statistics::Interval;

/// One bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// What it stands for.
    pub name: String,
    /// Which style it has.
    pub style: usize,
    /// Its value.
    pub value: Interval,
}

/// A chart.
#[derive(Clone, Debug, PartialEq)]
pub struct BarChart {
    /// What it shows.
    pub title: String,
    /// What the bars measure.
    pub axis: Axis,
    /// Bars, from above.
    pub bars: Vec<Bar>,
}

const WIDTH: f64 = 760.0;
const TOP: f64 = 44.0;
const ROW: f64 = 30.0;
/// Room for the number beside a bar.
const NUMBER: f64 = 70.0;

impl BarChart {
    /// Draws it.
    #[must_use]
    pub fn to_svg(&self) -> String {
        let rows = f64::from(u32::try_from(self.bars.len()).unwrap_or(0));
        let bottom = rows.mul_add(ROW, TOP + 6.0);
        let left = self.bars.iter().map(|bar| width_of(&bar.name)).fold(40.0, f64::max) + 28.0;
        let right = WIDTH - NUMBER;
        let values = self.bars.iter().flat_map(|bar| [bar.value.mean, bar.value.high, 0.0]);
        let axis = self.axis.fit(values, left, right);
        let names: Vec<&str> = self.bars.iter().map(|bar| bar.name.as_str()).collect();
        let description = format!("{} of {}.", self.axis.label, names.join(", "));
        let mut picture = Picture::new(WIDTH, bottom + 52.0, &self.title, &description);
        picture.heading((16.0, 26.0), &self.title);
        for (value, text) in axis.ticks() {
            let at = axis.place(value);
            picture.line((at, TOP), (at, bottom), GRID, 1.0);
            picture.text((at, bottom + 17.0), Anchor::Middle, &text);
        }
        for (row, bar) in (0_u32..).zip(&self.bars) {
            draw(&mut picture, bar, &axis, left, f64::from(row).mul_add(ROW, TOP + ROW / 2.0 + 3.0));
        }
        picture.line((left, TOP), (left, bottom), INK, 1.2);
        picture.text((left.midpoint(right), bottom + 40.0), Anchor::Middle, &self.axis.label);
        picture.finish()
    }
}

fn draw(picture: &mut Picture, bar: &Bar, axis: &FittedAxis, left: f64, middle: f64) {
    let Interval { mean, low, high } = bar.value;
    let end = axis.place(mean);
    picture.text((left - 8.0, middle + FONT * 0.35), Anchor::End, &bar.name);
    picture.bar((left, middle - 9.0), ((end - left).max(0.5), 18.0), style(bar.style).colour);
    let (from, to) = (axis.place(low), axis.place(high));
    if to - from > 0.5 {
        // White under grey: an interval shows on a bar of any colour and beyond it.
        picture.line((from, middle), (to, middle), "#ffffff", 4.0);
        picture.line((from, middle), (to, middle), "#777777", 1.6);
        for at in [from, to] {
            picture.line((at, middle - 6.0), (at, middle + 6.0), "#ffffff", 4.0);
            picture.line((at, middle - 5.0), (at, middle + 5.0), "#777777", 1.6);
        }
    }
    picture.text((end.max(to) + 8.0, middle + FONT * 0.35), Anchor::Start, &number(mean));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::plot::Scale;

    #[test]
    fn every_bar_has_its_name_and_its_number() {
        let bar = |index: usize, name: &str, mean: f64| Bar {
            name: name.to_owned(),
            style: index,
            value: Interval { mean, low: mean * 0.9, high: mean * 1.1 },
        };
        for scale in [Scale::Linear, Scale::Log] {
            let bars = vec![bar(0, "fedai", 1_234.0), bar(1, "cheapest", 56_789.0), bar(2, "none", 0.0)];
            let axis = Axis::new("p95, ms", scale);
            let svg = BarChart { title: "Latency".to_owned(), axis, bars }.to_svg();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            for text in [">fedai<", ">1,234<", ">56.8k<", ">p95, ms<", ">none<"] {
                assert!(svg.contains(text), "{text} in {svg}");
            }
        }
    }
}
