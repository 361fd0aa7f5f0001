//! Latency by percentile, as SVG: the further right, the rarer. Each step of the scale is ten times rarer than the one
//! before, so the tail, which an average hides, takes most of the picture.

use std::fmt::Write;

use crate::shell::load_test::{Quantiles, Tally};

const SIZE: (f64, f64) = (860.0, 420.0);
/// Left, right, top and bottom of a field with curves.
const FIELDS: [(f64, f64); 2] = [(70.0, 410.0), (500.0, 840.0)];
const TOP: f64 = 60.0;
const BOTTOM: f64 = 340.0;
/// Colours that people tell apart also when they see few.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
/// Percentiles that are written below, with the share of requests that are slower.
const MARKS: [(&str, f64); 4] = [("50 %", 0.5), ("90 %", 0.1), ("99 %", 0.01), ("99.9 %", 0.001)];
/// Points of a curve.
const STEPS: u32 = 120;

/// The picture.
pub(crate) struct BenchPlot<'a> {
    fields: Vec<(&'static str, Vec<(&'a str, &'a Quantiles)>)>,
}

impl<'a> BenchPlot<'a> {
    pub(crate) fn new(measured: &[(&'a str, &'a Tally)], is_streamed: bool) -> Self {
        let of = |pick: fn(&Tally) -> &Quantiles| {
            measured.iter().map(|(url, tally)| (*url, pick(tally))).collect()
        };
        let mut fields = vec![("Whole answer, ms", of(|tally| &tally.total))];
        if is_streamed {
            fields.insert(0, ("First token, ms", of(|tally| &tally.first)));
        }
        Self { fields }
    }

    /// Draws it.
    pub(crate) fn to_svg(&self) -> String {
        let (width, height) = SIZE;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<title>Latency by percentile</title>\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
        );
        for ((name, curves), field) in self.fields.iter().zip(FIELDS) {
            draw_field(&mut svg, name, curves, field);
        }
        let names = self.fields.first().map(|(_, curves)| curves.as_slice()).unwrap_or_default();
        for (index, (url, _)) in names.iter().enumerate() {
            let (x, y) = if index % 2 == 0 { (70, 380) } else { (500, 380) };
            let (y, colour) = (y + 16 * (index / 2), colour(index));
            push(
                &mut svg,
                format_args!("<rect x=\"{x}\" y=\"{}\" width=\"14\" height=\"4\" fill=\"{colour}\"/>", y - 6),
            );
            push(&mut svg, format_args!("<text x=\"{}\" y=\"{y}\">{}</text>", x + 20, escaped(url)));
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn draw_field(svg: &mut String, name: &str, curves: &[(&str, &Quantiles)], (left, right): (f64, f64)) {
    push(svg, format_args!("<text x=\"{left}\" y=\"{}\" font-weight=\"bold\">{name}</text>", TOP - 20.0));
    let ends = curves.iter().flat_map(|(_, times)| [times.at(0.0), times.max()]).flatten();
    let (low, high) = ends.fold((f64::MAX, f64::MIN), |(low, high), ms| (low.min(ms), high.max(ms)));
    // Whole powers of ten, in hundredths of a millisecond at least.
    let low = low.clamp(0.001, 1e9).log10().floor();
    let high = high.clamp(0.001, 1e9).log10().ceil().max(low + 1.0);
    let height = |ms: f64| {
        let share = (ms.max(1e-6).log10() - low) / (high - low);
        BOTTOM - share.clamp(0.0, 1.0) * (BOTTOM - TOP)
    };
    let (mut power, grid) = (low, "stroke=\"#ddd\"");
    while power <= high {
        let (ms, y) = (10_f64.powf(power), height(10_f64.powf(power)));
        push(svg, format_args!("<path d=\"M{left} {y:.1}H{right}\" {grid}/>"));
        push(
            svg,
            format_args!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{ms}</text>", left - 6.0, y + 4.0),
        );
        power += 1.0;
    }
    // Nothing can be said of a share that is rarer than one request.
    let most = curves.iter().map(|(_, times)| times.count()).max().unwrap_or(1);
    let rarest = (1.0 / most.max(10) as f64).min(0.1);
    let across = |slower: f64| left + (right - left) * slower.log10() / rarest.log10();
    for (text, slower) in MARKS.iter().filter(|(_, slower)| *slower >= rarest) {
        let x = across(*slower);
        push(svg, format_args!("<path d=\"M{x:.1} {TOP}V{BOTTOM}\" {grid}/>"));
        push(
            svg,
            format_args!("<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>", BOTTOM + 18.0),
        );
    }
    for (index, (_, times)) in curves.iter().enumerate() {
        let mut path = String::new();
        for step in 0..=STEPS {
            let slower = rarest.powf(f64::from(step) / f64::from(STEPS));
            let Some(ms) = times.at(1.0 - slower) else { continue };
            let verb = if path.is_empty() { 'M' } else { 'L' };
            push(&mut path, format_args!("{verb}{:.1} {:.1}", across(slower), height(ms)));
        }
        let (path, colour) = (path.replace('\n', ""), colour(index));
        push(svg, format_args!("<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"));
    }
}

fn colour(index: usize) -> &'static str {
    COLOURS.get(index % COLOURS.len()).copied().unwrap_or_default()
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a text cannot fail.
    let _always_ok = writeln!(text, "{line}");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_its_curve_and_its_name_and_none_leaves_the_picture() {
        let quick = Tally::of_totals_ms(&[1, 1, 2, 900]);
        let (slow, none) = (Tally::of_totals_ms(&[20, 30, 40, 50]), Tally::default());
        let measured = [("http://a/v1", &quick), ("http://b/v1?<&", &slow), ("http://c/v1", &none)];
        let svg = BenchPlot::new(&measured, false).to_svg();
        assert!(svg.contains("http://b/v1?&lt;&amp;") && svg.contains("http://c/v1"), "{svg}");
        assert_eq!(svg.matches("stroke-width").count(), 3);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let curve = svg.lines().find(|line| line.contains("stroke-width")).unwrap();
        let places = curve.split(['M', 'L', '"']).filter_map(|place| place.split_once(' '));
        let places: Vec<(f64, f64)> =
            places.filter_map(|(x, y)| Some((x.parse().ok()?, y.parse().ok()?))).collect();
        assert!(places.len() > 100, "{curve}");
        assert!(
            places.is_sorted_by(|one, next| one.0 <= next.0 && one.1 >= next.1),
            "later is slower: {curve}"
        );
        assert!(places.iter().all(|(x, y)| (69.9..410.1).contains(x) && (TOP..=BOTTOM).contains(y)));
    }
}
