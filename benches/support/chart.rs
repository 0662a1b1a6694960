//! Line charts as SVG, written by hand: two logarithmic axes, a line for each series, a legend.
//!
//! Readable on a light and on a dark page: grey text, saturated lines, no background.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 180.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 8] =
    ["#d9480f", "#1c7ed6", "#2f9e44", "#9c36b5", "#e8a200", "#0b7285", "#c2255c", "#868e96"];

/// A line.
pub(crate) struct Series {
    /// As the legend says.
    pub(crate) name: String,
    /// The points of the line; both coordinates are above zero.
    pub(crate) points: Vec<(f64, f64)>,
    /// A second line of the same colour stands beside the first.
    pub(crate) dashed: bool,
}

/// What is drawn.
pub(crate) struct Chart<'a> {
    pub(crate) title: &'a str,
    pub(crate) across: &'a str,
    pub(crate) up: &'a str,
    pub(crate) series: &'a [Series],
}

/// The powers of ten between which all values lie.
fn decades(values: impl Iterator<Item = f64>) -> (i32, i32) {
    let (least, most) =
        values.fold((f64::MAX, f64::MIN_POSITIVE), |(a, b), v| (a.min(v), b.max(v)));
    let (low, high) = (least.log10().floor() as i32, most.log10().ceil() as i32);
    (low, high.max(low + 1))
}

impl Chart<'_> {
    /// The whole file.
    pub(crate) fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| series.points.iter().copied());
        let across = decades(points().map(|(x, _)| x));
        let up = decades(points().map(|(_, y)| y));
        let x_of = |x: f64| LEFT + share(x, across) * (WIDTH - LEFT - RIGHT);
        let y_of = |y: f64| HEIGHT - BOTTOM - share(y, up) * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\" fill=\"#868e96\">\n"
        );
        let bottom = HEIGHT - BOTTOM;
        text(&mut svg, LEFT, 20.0, "start", self.title);
        text(&mut svg, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 10.0, "middle", self.across);
        text(&mut svg, LEFT - 8.0, TOP - 14.0, "end", self.up);
        for power in across.0..=across.1 {
            let x = x_of(10_f64.powi(power));
            line(&mut svg, (x, TOP), (x, bottom));
            text(&mut svg, x, bottom + 18.0, "middle", &power_of_ten(power));
        }
        for power in up.0..=up.1 {
            let y = y_of(10_f64.powi(power));
            line(&mut svg, (LEFT, y), (WIDTH - RIGHT, y));
            text(&mut svg, LEFT - 8.0, y + 4.0, "end", &power_of_ten(power));
        }
        let mut names: Vec<&str> = Vec::new();
        for series in self.series {
            if !names.contains(&series.name.as_str()) {
                names.push(&series.name);
            }
            let at = names.iter().position(|name| *name == series.name).unwrap_or(0);
            let colour = COLOURS[at % COLOURS.len()];
            let points = series.points.iter();
            let path: Vec<String> =
                points.map(|(x, y)| format!("{:.1},{:.1}", x_of(*x), y_of(*y))).collect();
            let dashes = if series.dashed { " stroke-dasharray=\"5 4\"" } else { "" };
            let path = path.join(" ");
            let _ = writeln!(
                svg,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes} \
                 points=\"{path}\"/>"
            );
            let (x, y) = (WIDTH - RIGHT + 12.0, TOP + 16.0 * at as f64 + 8.0);
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{}\" width=\"14\" height=\"3\" fill=\"{colour}\"/>",
                y - 5.0
            );
            text(&mut svg, x + 20.0, y, "start", &series.name);
        }
        svg + "</svg>\n"
    }
}

/// Where a value lies between two powers of ten, from 0 to 1.
fn share(value: f64, (low, high): (i32, i32)) -> f64 {
    (value.log10() - f64::from(low)) / f64::from(high - low)
}

fn power_of_ten(power: i32) -> String {
    match power {
        9.. => format!("{} G", 10_i64.pow(power as u32 - 9)),
        6..9 => format!("{} M", 10_i64.pow(power as u32 - 6)),
        3..6 => format!("{} k", 10_i64.pow(power as u32 - 3)),
        0..3 => format!("{}", 10_i64.pow(power as u32)),
        ..0 => format!("{:.*}", power.unsigned_abs() as usize, 10_f64.powi(power)),
    }
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#868e96\" \
         stroke-opacity=\"0.3\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, what: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{what}</text>");
}

/// A group of bars: one quantity, a bar for each name.
pub(crate) struct Bars<'a> {
    pub(crate) title: &'a str,
    pub(crate) bars: Vec<(String, f64)>,
}

const BAR_HEIGHT: f64 = 16.0;
const GROUP_GAP: f64 = 34.0;
const BARS_LEFT: f64 = 190.0;
const BARS_WIDTH: f64 = 460.0;

/// Groups of horizontal bars below each other, each with a scale of its own that begins at 0. The
/// shorter the better, and the first name is the one that is compared.
pub(crate) fn bars(groups: &[Bars<'_>]) -> String {
    let rows: usize = groups.iter().map(|group| group.bars.len()).sum();
    let height = rows as f64 * BAR_HEIGHT + groups.len() as f64 * GROUP_GAP + 10.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#868e96\">\n"
    );
    let mut y = 0.0;
    for group in groups {
        y += GROUP_GAP;
        text(&mut svg, 10.0, y - 10.0, "start", group.title);
        let most = group.bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
        for (at, (name, value)) in group.bars.iter().enumerate() {
            let width = (value / most * BARS_WIDTH).max(1.0);
            let colour = COLOURS[usize::from(at > 0)];
            text(&mut svg, BARS_LEFT - 8.0, y + 11.0, "end", name);
            let _ = writeln!(
                svg,
                "<rect x=\"{BARS_LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" \
                 fill=\"{colour}\"/>",
                BAR_HEIGHT - 4.0
            );
            text(&mut svg, BARS_LEFT + width + 6.0, y + 11.0, "start", &short(*value));
            y += BAR_HEIGHT;
        }
    }
    svg + "</svg>\n"
}

/// Three digits or so.
pub(crate) fn short(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
