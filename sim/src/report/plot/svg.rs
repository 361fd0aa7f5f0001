//! The few elements of SVG that plots are made of.

use core::fmt::Write as _;

/// Where a text is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture under way.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    text: String,
}

/// Colour of axes and texts.
pub(super) const INK: &str = "#222222";
/// Colour of the grid.
pub(super) const GRID: &str = "#dddddd";
/// Size of most texts.
pub(super) const FONT: f64 = 13.0;

impl Picture {
    /// A white picture with a title for those who hear it.
    pub(super) fn new(width: f64, height: f64, title: &str, description: &str) -> Self {
        let (title, description) = (escaped(title), escaped(description));
        let mut picture = Self { text: String::new() };
        picture.put(&format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" font-family=\"Helvetica, Arial, sans-serif\" \
             font-size=\"{FONT:.0}\" fill=\"{INK}\">\n<title>{title}</title>\n<desc>{description}</desc>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        ));
        picture
    }

    /// A straight line.
    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.put(&format!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" \
             stroke-width=\"{width:.1}\"/>\n"
        ));
    }

    /// A line through points.
    pub(super) fn path(&mut self, points: &[(f64, f64)], colour: &str, dashes: &str, width: f64) {
        if points.len() < 2 {
            return;
        }
        let mut text = String::new();
        for (at, (x, y)) in points.iter().enumerate() {
            let _infallible = write!(text, "{}{x:.1} {y:.1}", if at == 0 { "M" } else { "L" });
        }
        let dashes =
            if dashes.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dashes}\"") };
        self.put(&format!(
            "<path d=\"{text}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width:.1}\" \
             stroke-linejoin=\"round\"{dashes}/>\n"
        ));
    }

    /// A dot.
    pub(super) fn dot(&mut self, at: (f64, f64), radius: f64, colour: &str) {
        let (x, y) = at;
        self.put(&format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" fill=\"{colour}\"/>\n"));
    }

    /// A filled box.
    pub(super) fn bar(&mut self, at: (f64, f64), size: (f64, f64), colour: &str) {
        let ((x, y), (width, height)) = (at, size);
        self.put(&format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>\n"
        ));
    }

    /// A text on its base line.
    pub(super) fn text(&mut self, at: (f64, f64), anchor: Anchor, text: &str) {
        self.styled(at, anchor, "", text);
    }

    /// The title of the picture.
    pub(super) fn heading(&mut self, at: (f64, f64), text: &str) {
        self.styled(at, Anchor::Start, " font-size=\"16\" font-weight=\"bold\"", text);
    }

    /// A text from below to above, around its middle.
    pub(super) fn upright(&mut self, at: (f64, f64), text: &str) {
        let (x, y) = at;
        self.styled(at, Anchor::Middle, &format!(" transform=\"rotate(-90 {x:.1} {y:.1})\""), text);
    }

    fn styled(&mut self, at: (f64, f64), anchor: Anchor, style: &str, text: &str) {
        let ((x, y), text) = (at, escaped(text));
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        self.put(&format!("<text x=\"{x:.1}\" y=\"{y:.1}\"{anchor}{style}>{text}</text>\n"));
    }

    /// The whole file.
    pub(super) fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }

    fn put(&mut self, element: &str) {
        self.text.push_str(element);
    }
}

/// What a text is wide, about, in this font.
pub(super) fn width_of(text: &str) -> f64 {
    text.chars().count() as f64 * FONT * 0.56
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
