//! Plots as SVG, by hand: lines over two axes are all that a bench draws.

use std::fmt::Write as _;

/// Lines with names, over axes with names.
pub struct Chart {
    pub title: String,
    pub x: &'static str,
    pub y: &'static str,
    /// Whether `y` grows by factors.
    pub log: bool,
    pub lines: Vec<(String, Vec<(f64, f64)>)>,
}

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 420.0;
/// Room for titles and numbers: left, right, top, bottom.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 160.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 6] = ["#1b6ca8", "#d1495b", "#3b8132", "#e1a100", "#7d4fa5", "#555555"];

/// A range of values, and where each lies in it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Axis {
    from: f64,
    to: f64,
    log: bool,
}

impl Axis {
    fn linear(most: f64) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let step = step(most);
        Self { from: 0.0, to: (most / step).ceil() * step, log: false }
    }

    /// Whole powers of ten.
    fn log(least: f64, most: f64) -> Self {
        let from = 10_f64.powf(least.log10().floor());
        let to = 10_f64.powf(most.log10().ceil());
        Self { from, to: if to > from { to } else { 10.0 * from }, log: true }
    }

    /// From 0 to 1.
    fn place(&self, value: f64) -> f64 {
        match self.log {
            true => (value / self.from).log10() / (self.to / self.from).log10(),
            false => (value - self.from) / (self.to - self.from),
        }
    }

    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let count = (self.to / self.from).log10().round() as i32;
            return (0..=count).map(|power| self.from * 10_f64.powi(power)).collect();
        }
        let step = step(self.to);
        (0..=(self.to / step).round() as u32).map(|n| f64::from(n) * step).collect()
    }
}

/// 1, 2 or 5 of a power of ten, so that four to nine steps make up the whole.
fn step(most: f64) -> f64 {
    let power = 10_f64.powf((most / 5.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|of| of * power);
    steps.into_iter().find(|step| most / step <= 8.0).unwrap_or(steps[3])
}

impl Chart {
    pub fn svg(&self) -> String {
        let drawable =
            |&&(x, y): &&(f64, f64)| x.is_finite() && y.is_finite() && (!self.log || y > 0.0);
        let points = || self.lines.iter().flat_map(|(_, points)| points).filter(drawable);
        let most = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(0.0, f64::max);
        let x = Axis::linear(most(|(x, _)| *x));
        let y = match (self.log, points().map(|(_, y)| *y).reduce(f64::min)) {
            (true, Some(least)) => Axis::log(least, most(|(_, y)| *y)),
            (true, None) => Axis::log(1.0, 10.0),
            (false, _) => Axis::linear(most(|(_, y)| *y)),
        };
        let mut svg = self.frame(x, y);
        for (number, (name, points)) in self.lines.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let drawn = points.iter().filter(drawable);
            let drawn = drawn.map(|(px, py)| format!("{:.1},{:.1}", across(x, *px), up(y, *py)));
            let drawn: Vec<String> = drawn.collect();
            let all = drawn.join(" ");
            let _ = writeln!(
                svg,
                r#"<polyline points="{all}" fill="none" stroke="{colour}" stroke-width="2"/>"#
            );
            // Points say where it was measured, as long as they do not hide the line.
            for at in drawn.iter().take_while(|_| drawn.len() <= 30) {
                let (cx, cy) = at.split_once(',').unwrap_or_default();
                let _ = writeln!(svg, r#"<circle cx="{cx}" cy="{cy}" r="3" fill="{colour}"/>"#);
            }
            let (at, row) = (WIDTH - RIGHT + 12.0, TOP + 12.0 + 20.0 * number as f64);
            let name = escaped(name);
            let _ = writeln!(svg, r#"<text x="{at}" y="{row}" fill="{colour}">{name}</text>"#);
        }
        svg + "</svg>\n"
    }

    fn frame(&self, x: Axis, y: Axis) -> String {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        svg += &text((LEFT, 22.0), "start", &self.title);
        for tick in y.ticks() {
            let at = up(y, tick);
            svg += &path(&format!("M{LEFT},{at:.1}H{right}"), "#ddd");
            svg += &text((LEFT - 8.0, at + 4.0), "end", &number(tick));
        }
        for tick in x.ticks() {
            let at = across(x, tick);
            svg += &path(&format!("M{at:.1},{bottom}v5"), "#555");
            svg += &text((at, bottom + 18.0), "middle", &number(tick));
        }
        svg += &path(&format!("M{LEFT},{TOP}V{bottom}H{right}"), "#555");
        svg += &text(((LEFT + right) / 2.0, HEIGHT - 10.0), "middle", self.x);
        svg + &text((8.0, TOP - 8.0), "start", self.y)
    }
}

fn text((x, y): (f64, f64), anchor: &str, text: &str) -> String {
    let text = escaped(text);
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>\n")
}

fn path(along: &str, colour: &str) -> String {
    format!("<path d=\"{along}\" fill=\"none\" stroke=\"{colour}\"/>\n")
}

fn across(axis: Axis, value: f64) -> f64 {
    LEFT + axis.place(value) * (WIDTH - LEFT - RIGHT)
}

fn up(axis: Axis, value: f64) -> f64 {
    HEIGHT - BOTTOM - axis.place(value) * (HEIGHT - TOP - BOTTOM)
}

fn number(value: f64) -> String {
    match value {
        value if value >= 1_000_000.0 => format!("{}M", value / 1_000_000.0),
        value if value >= 10_000.0 => format!("{}k", value / 1_000.0),
        value => format!("{}", (value * 1_000.0).round() / 1_000.0),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_that_cover_the_values() {
        assert_eq!(
            Axis::linear(3_700.0).ticks(),
            [0.0, 500.0, 1_000.0, 1_500.0, 2_000.0, 2_500.0, 3_000.0, 3_500.0, 4_000.0]
        );
        assert_eq!(Axis::linear(0.0).to, 1.0);
        assert_eq!(Axis::log(0.4, 70.0).ticks().len(), 4);
        assert_eq!(Axis::log(10.0, 10.0).place(10.0), 0.0);
    }

    #[test]
    fn every_line_is_drawn_within_the_frame_and_named() {
        let line = |name: &str| (name.to_owned(), vec![(0.0, 1.0), (5.0, 120.0), (9.0, 0.0)]);
        let chart = Chart {
            title: "a < b & c".to_owned(),
            x: "orders/s",
            y: "ms",
            log: true,
            lines: vec![line("p50"), line("p99")],
        };
        let svg = chart.svg();
        assert_eq!(svg.matches("<polyline").count(), 2);
        // What has no logarithm is left out.
        assert_eq!(svg.matches("<circle").count(), 4);
        assert!(svg.contains("a &lt; b &amp; c") && svg.contains(">p99</text>"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
