//! The chart, as SVG: three rows of the table side by side. It has its own ground, so that it can be read
//! wherever it is shown, and follows the reader's choice of light or dark.

use std::fmt::Write as _;

use crate::peer::About;
use crate::peers::MAPLOG;
use crate::results::Results;
use crate::row::Row;
use crate::table::three_digits;

const WIDTH: f64 = 960.0;
const TOP: f64 = 88.0;
const LINE: f64 = 24.0;
const BAR: f64 = 14.0;
const LABELS: f64 = 130.0;
const FOOT: f64 = 58.0;
/// A bar shorter than this could not be seen.
const LEAST: f64 = 2.0;

const STYLE: &str = "
  text { font: 13px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #1f2328 }
  .title { font-size: 15px; font-weight: 600 }
  .small { font-size: 12px; fill: #59636e }
  .end { text-anchor: end }
  .middle { text-anchor: middle }
  .own { font-weight: 700 }
  .ground { fill: #ffffff; stroke: #d1d9e0 }
  .grid { stroke: #e4e8ec }
  .a { fill: #6b8fb8 }
  .own-a { fill: #d9730d }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .small { fill: #9aa6b2 }
    .ground { fill: #0d1117; stroke: #30363d }
    .grid { stroke: #262c34 }
    .a { fill: #5d87b5 }
    .own-a { fill: #f0883e }
  }
";

/// A column of the chart, on a logarithmic scale.
struct Panel {
    row: Row,
    left: f64,
    title: &'static str,
    note: &'static str,
    from: f64,
    to: f64,
}

const PANEL: f64 = 200.0;

impl Panel {
    fn x(&self, value: f64) -> f64 {
        let part = (value / self.from).log10() / (self.to / self.from).log10();
        self.left + (part * PANEL).clamp(LEAST, PANEL)
    }

    fn draw_scale(&self, svg: &mut String, bottom: f64) {
        let Panel { left, title, note, .. } = self;
        line(svg, &format!("<text class='title' x='{left}' y='32'>{title}</text>"));
        line(svg, &format!("<text class='small' x='{left}' y='50'>{note}</text>"));
        let mut at = self.from;
        while at <= self.to * 1.001 {
            let x = if at == self.from { *left } else { self.x(at) };
            let top = TOP - 12.0;
            line(
                svg,
                &format!("<line class='grid' x1='{x:.1}' x2='{x:.1}' y1='{top}' y2='{bottom}'/>"),
            );
            let y = bottom + 18.0;
            let at_most = three_digits(at).trim_end_matches('0').trim_end_matches('.').to_owned();
            let label = if at < 100.0 { at_most } else { format!("{at}") };
            line(svg, &format!("<text class='small middle' x='{x:.1}' y='{y}'>{label}</text>"));
            at *= 10.0;
        }
    }

    fn draw_bar(&self, svg: &mut String, top: f64, value: f64, is_own: bool) {
        let (class, weight) = if is_own { ("own-a", " own") } else { ("a", "") };
        let (left, width) = (self.left, self.x(value) - self.left);
        line(
            svg,
            &format!(
                "<rect class='{class}' x='{left}' y='{top}' width='{width:.1}' height='{BAR}' rx='2'/>"
            ),
        );
        let (x, y, value) = (left + width + 5.0, top + BAR - 3.0, three_digits(value));
        line(svg, &format!("<text class='small{weight}' x='{x:.1}' y='{y}'>{value}</text>"));
    }
}

fn line(svg: &mut String, element: &str) {
    let _ = writeln!(svg, "{element}");
}

pub fn draw(peers: &[&'static About], results: &Results) -> String {
    let panel = |index: usize, row, title, note, from, to| {
        let left = LABELS + index as f64 * (PANEL + 75.0);
        Panel { row, left, title, note, from, to }
    };
    let panels = [
        panel(0, Row::Append64, "Append 64 B", "ns a record; less is better", 10.0, 10_000.0),
        panel(1, Row::Iterate, "Iterate 64 B, checked", "ns a record; less is better", 1.0, 1000.0),
        panel(2, Row::Durable16, "Durable, 16 threads", "appends/s; more is better", 1e3, 1e6),
    ];
    let of = |about: &About, panel: &Panel| results.median(about.name, panel.row);
    let mut rows: Vec<&&About> =
        peers.iter().filter(|about| of(about, &panels[0]).is_some()).collect();
    rows.sort_by(|one, other| {
        of(one, &panels[0]).partial_cmp(&of(other, &panels[0])).expect("numbers")
    });
    let bottom = TOP + LINE * rows.len() as f64;
    let mut svg = head(bottom + FOOT);
    for panel in &panels {
        panel.draw_scale(&mut svg, bottom);
    }
    for (index, about) in rows.into_iter().enumerate() {
        let top = TOP + LINE * index as f64;
        let is_own = about.name.starts_with(MAPLOG);
        let class = if is_own { "end own" } else { "end" };
        let (x, y) = (LABELS - 12.0, top + BAR - 2.0);
        line(&mut svg, &format!("<text class='{class}' x='{x}' y='{y}'>{}</text>", about.name));
        for panel in &panels {
            if let Some(value) = of(about, panel) {
                panel.draw_bar(&mut svg, top, value, is_own);
            }
        }
    }
    let note = "All scales are logarithmic. What is missing in the third column never syncs. xchannel, nano-wal, \
                SQLite, LMDB and redb check no checksum when they read.";
    let y = bottom + FOOT - 18.0;
    line(&mut svg, &format!("<text class='small' x='24' y='{y}'>{note}</text>"));
    svg + "</svg>\n"
}

fn head(height: f64) -> String {
    let alt = "Appending, iterating and durable appends of maplog and its peers";
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' \
         height='{height}' role='img' aria-label='{alt}'>\n<style>{STYLE}</style>\n\
         <rect class='ground' x='0.5' y='0.5' width='{}' height='{}' rx='8'/>\n",
        WIDTH - 1.0,
        height - 1.0
    )
}
