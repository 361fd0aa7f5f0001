//! Plots as SVG, without any program or library to draw them: lines over linear or logarithmic axes, and bars with
//! intervals.
//!
//! The rule: the same numbers give the same bytes (coordinates have one decimal), colours differ for those who do not
//! see all of them, lines differ by their dashes too, and every axis says what it is and in which unit.

mod axis;
mod bars;
mod lines;
mod svg;

pub use axis::{Axis, Scale};
pub use bars::{Bar, BarChart};
pub use lines::{LineChart, Mark, Series};

/// How one of several things is drawn wherever it appears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Colour.
    pub colour: &'static str,
    /// Dashes of a line, as SVG writes them; empty for a whole line.
    pub dashes: &'static str,
}

/// The style of the first, second, ... thing: colours of Okabe and Ito, the yellow one darkened for a white ground.
#[must_use]
pub fn style(index: usize) -> Style {
    const STYLES: [Style; 9] = [
        Style { colour: "#000000", dashes: "" },
        Style { colour: "#d55e00", dashes: "" },
        Style { colour: "#0072b2", dashes: "" },
        Style { colour: "#009e73", dashes: "" },
        Style { colour: "#cc79a7", dashes: "7 3" },
        Style { colour: "#e69f00", dashes: "7 3" },
        Style { colour: "#56b4e9", dashes: "7 3" },
        Style { colour: "#8a7a00", dashes: "2 3" },
        Style { colour: "#888888", dashes: "" },
    ];
    STYLES.get(index % STYLES.len()).copied().unwrap_or(Style { colour: "#000000", dashes: "" })
}
