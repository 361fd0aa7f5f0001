//! Lines and points over two axes: distributions, values over time, growth.

use super::axis::Axis;
use super::style;
use super::svg::{Anchor, FONT, GRID, INK, Picture, width_of};

/// How the points of a series are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A line through all points.
    Line,
    /// A line through all points, with a dot on each.
    DottedLine,
    /// Dots alone.
    Dots,
    /// Level until the next point: a distribution.
    Steps,
}

/// One series.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Which style it has.
    pub style: usize,
    /// Points, by x.
    pub points: Vec<(f64, f64)>,
}

/// A chart.
#[derive(Clone, Debug, PartialEq)]
pub struct LineChart {
    /// What it shows.
    pub title: String,
    /// Across.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// How points are joined.
    pub mark: Mark,
    /// Series, in the order of the legend.
    pub series: Vec<Series>,
}

/// Size of a picture, and of the room for axes.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 430.0;
const LEFT: f64 = 76.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 374.0;

impl LineChart {
    /// Draws it.
    #[must_use]
    pub fn to_svg(&self) -> String {
        let names: Vec<&str> = self.series.iter().map(|series| series.name.as_str()).collect();
        let legend = names.iter().map(|name| width_of(name)).fold(0.0, f64::max) + 50.0;
        let right = if names.len() > 1 { WIDTH - legend } else { WIDTH - 24.0 };
        let description = format!("{} over {}. Lines: {}.", self.y.label, self.x.label, names.join(", "));
        let mut picture = Picture::new(WIDTH, HEIGHT, &self.title, &description);
        picture.heading((16.0, 26.0), &self.title);
        let points = || self.series.iter().flat_map(|series| series.points.iter());
        let x = self.x.fit(points().map(|point| point.0), LEFT, right);
        let y = self.y.fit(points().map(|point| point.1), BOTTOM, TOP);
        let mut last_text = f64::MIN;
        for (value, text) in x.ticks() {
            let at = x.place(value);
            picture.line((at, TOP), (at, BOTTOM), GRID, 1.0);
            let half = width_of(&text) / 2.0;
            if at - half > last_text {
                picture.text((at, BOTTOM + 18.0), Anchor::Middle, &text);
                last_text = at + half + 6.0;
            }
        }
        for (value, text) in y.ticks() {
            let at = y.place(value);
            picture.line((LEFT, at), (right, at), GRID, 1.0);
            picture.text((LEFT - 8.0, at + FONT * 0.35), Anchor::End, &text);
        }
        picture.line((LEFT, BOTTOM), (right, BOTTOM), INK, 1.2);
        picture.line((LEFT, TOP), (LEFT, BOTTOM), INK, 1.2);
        picture.text((LEFT.midpoint(right), HEIGHT - 14.0), Anchor::Middle, &self.x.label);
        picture.upright((20.0, TOP.midpoint(BOTTOM)), &self.y.label);
        // The first series is the one that matters: it is drawn last, on top.
        for series in self.series.iter().rev() {
            let places: Vec<(f64, f64)> =
                series.points.iter().map(|(px, py)| (x.place(*px), y.place(*py))).collect();
            self.draw(&mut picture, series.style, &places);
        }
        if names.len() > 1 {
            self.draw_legend(&mut picture, right);
        }
        picture.finish()
    }

    fn draw(&self, picture: &mut Picture, index: usize, places: &[(f64, f64)]) {
        let look = style(index);
        let width = if index == 0 { 2.6 } else { 1.8 };
        match self.mark {
            Mark::Line | Mark::DottedLine => picture.path(places, look.colour, look.dashes, width),
            Mark::Steps => picture.path(&steps(places), look.colour, look.dashes, width),
            Mark::Dots => {}
        }
        if matches!(self.mark, Mark::Dots | Mark::DottedLine) {
            places.iter().for_each(|place| picture.dot(*place, 3.2, look.colour));
        }
    }

    fn draw_legend(&self, picture: &mut Picture, right: f64) {
        for (row, series) in (0_u32..).zip(&self.series) {
            let at = f64::from(row).mul_add(21.0, TOP + 12.0);
            let ends = [(right + 12.0, at), (right + 38.0, at)];
            let look = style(series.style);
            if self.mark != Mark::Dots {
                picture.path(&ends, look.colour, look.dashes, if series.style == 0 { 2.6 } else { 1.8 });
            }
            if matches!(self.mark, Mark::Dots | Mark::DottedLine) {
                picture.dot((right + 25.0, at), 3.2, look.colour);
            }
            picture.text((right + 44.0, at + FONT * 0.35), Anchor::Start, &series.name);
        }
    }
}

fn steps(places: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut corners: Vec<(f64, f64)> = Vec::with_capacity(places.len() * 2);
    for (x, y) in places {
        if let Some((_, before)) = corners.last().copied() {
            corners.push((*x, before));
        }
        corners.push((*x, *y));
    }
    corners
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::plot::Scale;

    #[test]
    fn a_chart_says_what_it_shows_and_gives_the_same_bytes() {
        let series = |index: usize, name: &str| Series {
            name: name.to_owned(),
            style: index,
            points: (1..50_u32).map(|x| (f64::from(x), f64::from(x * x) / 2_500.0)).collect(),
        };
        for mark in [Mark::Line, Mark::DottedLine, Mark::Dots, Mark::Steps] {
            let chart = LineChart {
                title: "Time & <place>".to_owned(),
                x: Axis::new("time, ms", Scale::Log),
                y: Axis::share("share of requests"),
                mark,
                series: vec![series(0, "fedai"), series(1, "jsq")],
            };
            let svg = chart.to_svg();
            assert_eq!(svg, chart.to_svg());
            assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
            for text in ["Time &amp; &lt;place&gt;", "time, ms", "share of requests", ">fedai<", ">jsq<"] {
                assert!(svg.contains(text), "{text}");
            }
        }
    }
}
