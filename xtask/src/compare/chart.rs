//! Curves as pictures: a line for each broker, both axes logarithmic, in SVG.
use super::statistics::Spread;
use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
/// Room for the names of the axes.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 130.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 44.0;
/// Told apart also by those who see few colours.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// The curve of a broker: for values of n, what was measured.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(u64, Spread)>,
}

/// Where a value lies between the decades around all of them.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min).log10().floor();
        let high = values.fold(f64::NEG_INFINITY, f64::max).log10().ceil();
        Self { low, high: if high > low { high } else { low + 1.0 }, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        self.from + (value.log10() - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    fn decades(&self) -> impl Iterator<Item = f64> {
        let (low, high) = (self.low, self.high);
        std::iter::successors(Some(low), move |power| (*power < high).then_some(power + 1.0))
            .map(|power| 10_f64.powf(power))
    }
}

/// A picture, or `None` if there is nothing to draw. Values of zero have no place on a logarithmic axis and are left out.
pub(crate) fn svg(title: &str, x: &str, lines: &[Line]) -> Option<String> {
    let points = || lines.iter().flat_map(|line| &line.points).filter(|(_, spread)| spread.min > 0.0);
    points().next()?;
    let across = Axis::new(points().map(|(n, _)| number(*n)), LEFT, WIDTH - RIGHT);
    let up = Axis::new(points().flat_map(|(_, spread)| [spread.min, spread.max]), HEIGHT - BOTTOM, TOP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{}</text>\n",
        escaped(title)
    );
    let mut say = |line: std::fmt::Arguments<'_>| out.write_fmt(line).expect("writing to a String cannot fail");
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for value in across.decades() {
        let at = across.at(value);
        say(format_args!("<path d=\"M{at:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/>\n"));
        say(format_args!(
            "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
            bottom + 16.0,
            short(value)
        ));
    }
    for value in up.decades() {
        let at = up.at(value);
        say(format_args!("<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/>\n"));
        say(format_args!(
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
            LEFT - 6.0,
            at + 4.0,
            short(value)
        ));
    }
    say(format_args!(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
        f64::midpoint(LEFT, right),
        HEIGHT - 8.0,
        escaped(x)
    ));
    for (index, line) in lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let drawn: Vec<(f64, &Spread)> = line
            .points
            .iter()
            .filter(|(_, spread)| spread.min > 0.0)
            .map(|(n, spread)| (across.at(number(*n)), spread))
            .collect();
        let path: Vec<String> =
            drawn.iter().map(|(at, spread)| format!("{at:.1},{:.1}", up.at(spread.median))).collect();
        say(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n",
            path.join(" ")
        ));
        for (at, spread) in drawn {
            let (low, high, middle) = (up.at(spread.min), up.at(spread.max), up.at(spread.median));
            say(format_args!("<path d=\"M{at:.1} {low:.1}V{high:.1}\" stroke=\"{colour}\"/>\n"));
            say(format_args!("<circle cx=\"{at:.1}\" cy=\"{middle:.1}\" r=\"3\" fill=\"{colour}\"/>\n"));
        }
        let at = TOP + 10.0 + 18.0 * f64::from(u32::try_from(index).unwrap_or(0));
        say(format_args!("<text x=\"{}\" y=\"{at}\" fill=\"{colour}\">{}</text>\n", right + 10.0, escaped(&line.name)));
    }
    out.push_str("</svg>\n");
    Some(out)
}

#[expect(clippy::cast_precision_loss, reason = "a count of clients or bytes")]
fn number(n: u64) -> f64 {
    n as f64
}

/// A power of ten.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", value / 1e6),
        value if value >= 1e3 => format!("{}k", value / 1e3),
        value => format!("{value}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(value: f64) -> Spread {
        Spread { median: value, min: value, max: value }
    }

    #[test]
    fn points_lie_where_they_belong() {
        let line = |name: &str, points: &[(u64, f64)]| Line {
            name: name.to_owned(),
            points: points.iter().map(|(n, value)| (*n, spread(*value))).collect(),
        };
        let lines = [line("a<b", &[(1, 10.0), (100, 1000.0)]), line("c", &[(10, 0.0), (10, 100.0)])];
        let svg = svg("title", "n", &lines).expect("there are points");
        // Two decades each way: the ends in the corners, the middle in the middle, and nothing of what is zero.
        assert!(svg.contains("points=\"80.0,316.0 510.0,36.0\""), "{svg}");
        assert!(svg.contains("points=\"295.0,176.0\""), "{svg}");
        assert!(svg.contains(">a&lt;b<"), "{svg}");
        assert!(svg.contains(">1k<") && svg.contains(">100<"), "{svg}");
    }

    #[test]
    fn nothing_is_no_picture() {
        assert!(svg("title", "n", &[]).is_none());
        assert!(svg("title", "n", &[Line { name: "a".to_owned(), points: vec![(1, spread(0.0))] }]).is_none());
    }
}
