//! The chart, as SVG: for each way what goes through it, and how long one message takes. It has its own
//! ground, so that it can be read wherever it is shown, and follows the reader's choice of light or dark.

use std::fmt::Write as _;

use crate::plan::Measure;
use crate::results::Results;
use crate::table::three_digits;
use crate::ways::{Known, MAPLOG};

const WIDTH: f64 = 880.0;
const TOP: f64 = 104.0;
const ROW: f64 = 42.0;
const BAR: f64 = 14.0;
const LABELS: f64 = 218.0;
const FOOT: f64 = 58.0;
/// A bar shorter than this could not be seen.
const LEAST: f64 = 2.0;

const STYLE: &str = "
  text { font: 13px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #1f2328 }
  .title { font-size: 16px; font-weight: 600 }
  .small { font-size: 12px; fill: #59636e }
  .end { text-anchor: end }
  .middle { text-anchor: middle }
  .own { font-weight: 700 }
  .ground { fill: #ffffff; stroke: #d1d9e0 }
  .grid { stroke: #e4e8ec }
  .band { fill: #fff3e6 }
  .a { fill: #6b8fb8 }
  .b { fill: #b9cbe0 }
  .own-a { fill: #d9730d }
  .own-b { fill: #f2b279 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .small { fill: #9aa6b2 }
    .ground { fill: #0d1117; stroke: #30363d }
    .grid { stroke: #262c34 }
    .band { fill: #2a1f14 }
    .a { fill: #5d87b5 }
    .b { fill: #2f4a68 }
    .own-a { fill: #f0883e }
    .own-b { fill: #97561f }
  }
";

/// One of the two halves: a logarithmic scale, and two bars a row.
struct Panel {
    left: f64,
    width: f64,
    title: &'static str,
    note: &'static str,
    bars: [&'static str; 2],
    from: f64,
    to: f64,
}

/// The values of a row's bars, upper and lower.
type Bars = [Option<f64>; 2];

impl Panel {
    fn x(&self, value: f64) -> f64 {
        let part = (value / self.from).log10() / (self.to / self.from).log10();
        self.left + (part * self.width).clamp(LEAST, self.width)
    }

    fn draw_scale(&self, svg: &mut String, bottom: f64) {
        let Panel { left, title, note, .. } = self;
        line(svg, &format!("<text class='title' x='{left}' y='32'>{title}</text>"));
        line(svg, &format!("<text class='small' x='{left}' y='50'>{note}</text>"));
        let mut legend = *left;
        for (name, class) in self.bars.iter().zip(["a", "b"]) {
            line(
                svg,
                &format!(
                    "<rect class='{class}' x='{legend}' y='64' width='12' height='12' rx='2'/>"
                ),
            );
            line(svg, &format!("<text class='small' x='{}' y='74'>{name}</text>", legend + 18.0));
            legend += 40.0 + 7.0 * name.len() as f64;
        }
        let mut at = self.from;
        while at <= self.to * 1.001 {
            let x = if at == self.from { *left } else { self.x(at) };
            line(
                svg,
                &format!(
                    "<line class='grid' x1='{x:.1}' x2='{x:.1}' y1='{}' y2='{bottom}'/>",
                    TOP - 12.0
                ),
            );
            let y = bottom + 18.0;
            line(svg, &format!("<text class='small middle' x='{x:.1}' y='{y}'>{at}</text>"));
            // What 0.1 times 10 comes to is not 1 to the last bit.
            at = (at * 10.0 * 1e6).round() / 1e6;
        }
    }

    fn draw_row(&self, svg: &mut String, top: f64, bars: Bars, is_own: bool) {
        for (index, value) in bars.into_iter().enumerate() {
            let Some(value) = value else { continue };
            let class = [["a", "b"], ["own-a", "own-b"]][usize::from(is_own)][index];
            let y = top + index as f64 * (BAR + 2.0);
            let (left, width) = (self.left, self.x(value) - self.left);
            line(
                svg,
                &format!(
                    "<rect class='{class}' x='{left}' y='{y}' width='{width:.1}' height='{BAR}' rx='2'/>"
                ),
            );
            let (x, y) = (left + width + 5.0, y + BAR - 3.0);
            let weight = if is_own { " own" } else { "" };
            let value = three_digits(value);
            line(svg, &format!("<text class='small{weight}' x='{x:.1}' y='{y}'>{value}</text>"));
        }
    }
}

fn line(svg: &mut String, element: &str) {
    let _ = writeln!(svg, "{element}");
}

pub fn draw(ways: &[&Known], results: &Results) -> String {
    let throughput = Panel {
        left: LABELS,
        width: 270.0,
        title: "Throughput",
        note: "millions of messages a second, one way; more is better",
        bars: ["64 B", "1 KiB"],
        from: 0.1,
        to: 100.0,
    };
    let latency = Panel {
        left: LABELS + 350.0,
        width: 250.0,
        title: "Latency",
        note: "half a round trip, 64 B, median in µs; less is better",
        bars: ["reader spins", "reader sleeps"],
        from: 0.1,
        to: 100.0,
    };
    let mut rows: Vec<(&Known, Bars, Bars)> =
        ways.iter().filter_map(|way| row(way, results)).collect();
    rows.sort_by(|one, other| other.1[0].partial_cmp(&one.1[0]).expect("numbers"));
    let bottom = TOP + ROW * rows.len() as f64;
    let mut svg = head(bottom + FOOT);
    for panel in [&throughput, &latency] {
        panel.draw_scale(&mut svg, bottom);
    }
    for (index, (way, messages, microseconds)) in rows.into_iter().enumerate() {
        let top = TOP + ROW * index as f64;
        let is_own = way.key == MAPLOG;
        let class = if is_own { "end own" } else { "end" };
        let (x, y) = (LABELS - 12.0, top + BAR + 5.0);
        line(&mut svg, &format!("<text class='{class}' x='{x}' y='{y}'>{}</text>", way.short));
        throughput.draw_row(&mut svg, top, messages, is_own);
        latency.draw_row(&mut svg, top, microseconds, is_own);
    }
    let note = "Both scales are logarithmic. Every message is verified by the reader; maplog also checks a \
                CRC-32 and keeps every message in a file.";
    line(
        &mut svg,
        &format!("<text class='small' x='24' y='{}'>{note}</text>", bottom + FOOT - 18.0),
    );
    svg + "</svg>\n"
}

/// What there is to show of a way: with the reader that lets most through, and pages touched before.
fn row<'w>(way: &&'w Known, results: &Results) -> Option<(&'w Known, Bars, Bars)> {
    let best = |size| {
        let of = |measure| results.median(way.key, size, measure, 0);
        let figures = [of(Measure::Throughput), of(Measure::PausingThroughput)];
        figures.into_iter().flatten().max_by(f64::total_cmp)
    };
    let half_trip = |measure| results.median(way.key, 64, measure, 0);
    let messages = [best(64), best(1024)];
    messages[0]?;
    Some((way, messages, [half_trip(Measure::Spinning), half_trip(Measure::Sleeping)]))
}

fn head(height: f64) -> String {
    let alt = "Throughput and latency of ways between two processes";
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' \
         height='{height}' role='img' aria-label='{alt}'>\n<style>{STYLE}</style>\n\
         <rect class='ground' x='0.5' y='0.5' width='{}' height='{}' rx='8'/>\n",
        WIDTH - 1.0,
        height - 1.0
    )
}
