//! The chart, as SVG: for each work and way a line from the median to the longest call, on a logarithmic
//! scale. It has its own ground and follows the reader's choice of light or dark.

use std::fmt::Write;

use super::contest::Held;
use super::report::{PARTS, Report, brief};
use crate::text::Grouped;

const WIDTH: f64 = 880.0;
const TOP: f64 = 96.0;
const ROW: f64 = 20.0;
const GAP: f64 = 14.0;
const LEFT: f64 = 200.0;
const RIGHT: f64 = 700.0;
const FOOT: f64 = 34.0;

const STYLE: &str = "
  text { font: 13px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #1f2328 }
  .title { font-size: 16px; font-weight: 600 }
  .small { font-size: 12px; fill: #59636e }
  .end { text-anchor: end }
  .middle { text-anchor: middle }
  .own { font-weight: 700 }
  .ground { fill: #ffffff; stroke: #d1d9e0 }
  .grid { stroke: #e4e8ec }
  line.way { stroke: #6b8fb8; stroke-width: 2 }
  circle.way { fill: #6b8fb8 }
  line.ours { stroke: #d9730d; stroke-width: 2 }
  circle.ours { fill: #d9730d }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .small { fill: #9aa6b2 }
    .ground { fill: #0d1117; stroke: #30363d }
    .grid { stroke: #262c34 }
  }
";

/// Powers of ten that hold all that is drawn, in nanoseconds.
struct Scale {
    from: i32,
    to: i32,
}

impl Scale {
    fn of(report: &Report<'_>) -> Self {
        let all = report.works.iter().flat_map(|held| &held.ways);
        let nanos = all.flat_map(|(_, times)| [times.nanos(0.5), times.nanos(1.0)]);
        let (least, most) =
            nanos.fold((u64::MAX, 1), |(least, most), nanos| (least.min(nanos), most.max(nanos)));
        let from = (least.max(1) as f64).log10().floor() as i32;
        Scale { from, to: ((most as f64).log10().ceil() as i32).max(from + 1) }
    }

    fn x(&self, nanos: u64) -> f64 {
        let part = (nanos.max(1) as f64).log10() - f64::from(self.from);
        LEFT + part / f64::from(self.to - self.from) * (RIGHT - LEFT)
    }
}

pub(super) fn draw(report: &Report<'_>) -> String {
    let rows: usize = report.works.iter().map(|held| held.ways.len()).sum();
    let bottom = TOP + rows as f64 * ROW + report.works.len() as f64 * GAP;
    let height = bottom + FOOT;
    let scale = Scale::of(report);
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' \
         height='{height}'>\n<style>{STYLE}</style>\n\
         <rect class='ground' x='0.5' y='0.5' width='{}' height='{}' rx='6'/>\n\
         <text class='title' x='24' y='34'>maplog bench: {}</text>\n\
         <text class='small' x='24' y='54'>Time of a call, from the median to the longest; points at {}. \
         Further left is better.</text>\n\
         <text class='small end' x='{}' y='84'>records/s</text>\n",
        WIDTH - 1.0,
        height - 1.0,
        escaped(&report.title()),
        PARTS.map(|(name, _)| name).join(", "),
        WIDTH - 24.0,
    );
    for power in scale.from..=scale.to {
        let nanos = 10_u64.pow(power as u32);
        let x = scale.x(nanos);
        let _never_fails = writeln!(
            svg,
            "<line class='grid' x1='{x:.1}' y1='{}' x2='{x:.1}' y2='{bottom:.1}'/>\n\
             <text class='small middle' x='{x:.1}' y='84'>{}</text>",
            TOP - 4.0,
            brief(nanos).replace(".00", "").replace(".0", ""),
        );
    }
    let mut y = TOP;
    for held in &report.works {
        y = draw_work(&mut svg, held, &scale, y + GAP);
    }
    svg + "</svg>\n"
}

/// Gives where the next may begin.
fn draw_work(svg: &mut String, held: &Held, scale: &Scale, top: f64) -> f64 {
    let mut y = top + ROW / 2.0;
    let label = y + 4.0;
    let _never_fails =
        writeln!(svg, "<text x='24' y='{label:.1}'>{}</text>", escaped(held.work.name()));
    for (at, (way, times)) in held.ways.iter().enumerate() {
        let class = if at == 0 { "ours" } else { "way" };
        let name_class = if at == 0 { "small own end" } else { "small end" };
        let [from, to] = [0.5, 1.0].map(|part| scale.x(times.nanos(part)));
        let _never_fails = writeln!(
            svg,
            "<text class='{name_class}' x='{}' y='{:.1}'>{}</text>\n\
             <line class='{class}' x1='{from:.1}' y1='{y:.1}' x2='{to:.1}' y2='{y:.1}'/>",
            LEFT - 12.0,
            y + 4.0,
            way.name(),
        );
        for (name, part) in PARTS {
            let nanos = times.nanos(part);
            let radius = if part < 0.6 { 5 } else { 3 };
            let _never_fails = writeln!(
                svg,
                "<circle class='{class}' cx='{:.1}' cy='{y:.1}' r='{radius}'><title>{name} {}</title></circle>",
                scale.x(nanos),
                brief(nanos),
            );
        }
        let rate = times
            .records_per_second()
            .map_or("-".to_owned(), |rate| Grouped(rate as u64).to_string());
        let _never_fails = writeln!(
            svg,
            "<text class='{name_class}' x='{}' y='{:.1}'>{rate}</text>",
            WIDTH - 24.0,
            y + 4.0,
        );
        y += ROW;
    }
    y - ROW / 2.0
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
