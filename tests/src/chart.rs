//! Draws the benchmark results as a bar chart in SVG, readable on light and dark backgrounds.

use std::fmt::Write as _;

/// Bars that are compared with each other; the longest fills the width.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// Label of the group.
    pub label: String,
    /// Name and value; the first is ours.
    pub bars: Vec<(String, f64)>,
}

const LABEL_WIDTH: f64 = 190.0;
const BAR_WIDTH: f64 = 400.0;
const VALUE_WIDTH: f64 = 110.0;
const BAR_HEIGHT: f64 = 16.0;
const GAP: f64 = 12.0;
const HEAD: f64 = 34.0;

/// Draws the groups below each other.
#[must_use]
pub fn svg(title: &str, unit: &str, groups: &[Group]) -> String {
    let bars: usize = groups.iter().map(|group| group.bars.len()).sum();
    let height = HEAD + bars as f64 * (BAR_HEIGHT + 2.0) + groups.len() as f64 * GAP;
    let width = LABEL_WIDTH + BAR_WIDTH + VALUE_WIDTH;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\" role=\"img\" \
         aria-label=\"{0}\">\n<style>text{{fill:#24292f}}.ours{{fill:#0969da}}.peer{{fill:#8c959f}}\
         @media(prefers-color-scheme:dark){{text{{fill:#e6edf3}}.ours{{fill:#58a6ff}}.peer{{fill:#6e7681}}}}</style>\n\
         <text x=\"0\" y=\"16\" font-weight=\"bold\">{0}</text>\n",
        escaped(title)
    );
    let mut y = HEAD;
    for group in groups {
        let most = group.bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
        for (number, (name, value)) in group.bars.iter().enumerate() {
            let (class, label) = if number == 0 { ("ours", format!("{}: {name}", group.label)) } else { ("peer", name.clone()) };
            let (text, bar) = (y + BAR_HEIGHT - 4.0, value / most * BAR_WIDTH);
            // A string takes whatever is written to it.
            let _ = writeln!(
                out,
                "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text><rect class=\"{class}\" x=\"{LABEL_WIDTH}\" y=\"{y}\" width=\"{bar:.1}\" \
                 height=\"{BAR_HEIGHT}\"/><text x=\"{:.1}\" y=\"{text}\">{value:.0} {}</text>",
                LABEL_WIDTH - 8.0,
                escaped(&label),
                LABEL_WIDTH + bar + 6.0,
                escaped(unit)
            );
            y += BAR_HEIGHT + 2.0;
        }
        y += GAP;
    }
    out.push_str("</svg>\n");
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values_and_text_is_escaped() {
        let group = Group { label: "a<b".into(), bars: vec![("ours".into(), 300.0), ("peer & co".into(), 75.0)] };
        let picture = svg("speed", "MB/s", &[group]);
        assert!(picture.contains("width=\"400.0\"") && picture.contains("width=\"100.0\""), "{picture}");
        assert!(picture.contains("a&lt;b: ours") && picture.contains("peer &amp; co") && !picture.contains("a<b"), "{picture}");
        assert_eq!(picture.matches("<rect").count(), 2);
    }
}
