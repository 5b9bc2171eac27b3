//! A plot as SVG: curves over a time axis, thresholds, stages and incidents, and the table of the same numbers.
//!
//! Curves lie in an inner drawing that is stretched to the width there is; everything that must keep its form, text and
//! hatching, lies outside it, placed by percent. So a plot is readable on a phone, on a wide screen and on paper, with
//! no script and no inline style.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::axis::{Scale, TimeAxis};
use super::samples::{Extent, Sights};
use super::words::{self, Unit};
use crate::engine::rule::Stage;
use crate::engine::time::Timestamp;

/// The height of a plot in pixels, and how many units of the inner drawing a pixel has.
const HEIGHT_PX: i32 = 140;
const UNITS_PX: i32 = 2;
const HEIGHT: i32 = HEIGHT_PX * UNITS_PX;
/// The strip at the top in which stages are told, and the one at the bottom for what was not seen, in pixels.
const STAGE_PX: i32 = 6;
const UNSEEN_PX: i32 = 4;
/// Above the highest value there is room for the stages.
const HEADROOM_PX: i32 = 10;
/// The height of what is known to have happened.
const KNOWN_PX: i32 = 5;
/// The names of thresholds are no closer to each other than this.
const LABEL_PX: i32 = 12;
/// A value at this share of another is the same, as it was thinned to fewer digits.
pub const NEAR: f64 = 1.0 - 1e-6;
/// What is shorter than this share of the width would not be seen, in percent.
const MIN_WIDTH: f64 = 0.2;

/// One plot.
pub struct Plot<'a> {
    /// Unique on the page.
    pub id: String,
    pub title: String,
    /// What is plotted and what its limits are, in one sentence.
    pub about: String,
    pub unit: Unit,
    pub scale: Scale,
    pub lines: Vec<Line<'a>>,
    pub limits: Vec<LimitLine>,
    /// When alerts stood at a stage.
    pub stages: Vec<Band>,
    /// Stretches, from and to, in which the curves say little.
    pub unsure: Vec<(usize, usize)>,
    /// A value that may stand for anything above, and what is said instead of it.
    pub cap: Option<(f64, String)>,
}

pub struct Line<'a> {
    pub label: String,
    /// How it is drawn: `strong`, `medium` or `weak`.
    pub weight: &'static str,
    /// Whether the lowest value of a stretch is what counts, and not the highest.
    pub lowest: bool,
    pub extents: &'a [Extent],
}

/// A threshold.
pub struct LimitLine {
    pub value: f64,
    pub label: &'static str,
    pub stage: Stage,
}

/// A time at a stage.
#[derive(Debug, Clone, Copy)]
pub struct Band {
    pub from: Timestamp,
    pub to: Timestamp,
    pub stage: Stage,
}

/// What all plots of an SLO have in common.
pub struct Backdrop<'a> {
    pub axis: TimeAxis,
    /// The anchor of the journey's incidents, drawn once.
    pub incidents: &'a str,
    /// The anchors of what is known to have happened.
    pub known: &'a [String],
    pub sights: &'a [Sights],
}

impl Line<'_> {
    /// What counts of a stretch.
    pub fn value(&self, extent: Extent) -> f32 {
        if self.lowest { extent.low } else { extent.high }
    }

    fn extreme(&self) -> &'static str {
        if self.lowest { "lowest" } else { "highest" }
    }

    /// The value that stands out, and the stretch it is in.
    pub fn peak(&self) -> Option<(usize, f64)> {
        let values = self.extents.iter().enumerate().filter(|(_, extent)| !extent.is_none());
        let values = values.map(|(stretch, extent)| (stretch, f64::from(self.value(*extent))));
        values.reduce(|best, it| if (it.1 < best.1) == self.lowest && it.1 != best.1 { it } else { best })
    }

    /// All values in few characters: `1.2,1.3*4,,` is one of them, four times another, and a gap of two.
    pub fn data(&self, unit: Unit) -> String {
        let written = |extent: &Extent| {
            let value = unit.scaled(f64::from(self.value(*extent)));
            if extent.is_none() { String::new() } else { words::compact(value) }
        };
        let values: Vec<String> = self.extents.iter().map(written).collect();
        let runs = values.chunk_by(|a, b| a == b).map(|run| match run.len() {
            // Shorter ones are longer with a count.
            times if times * (run[0].len() + 1) > run[0].len() + 4 => format!("{}*{times}", run[0]),
            times => vec![run[0].as_str(); times].join(","),
        });
        runs.collect::<Vec<_>>().join(",")
    }

    /// Whether all values of a stretch are shown, and not only what counts.
    fn is_shaded(&self) -> bool {
        self.weight == "strong"
    }
}

impl Plot<'_> {
    pub fn render(&self, backdrop: &Backdrop<'_>) -> Markup {
        let id = &self.id;
        html! {
            figure.plot aria-labelledby={ (id) "-c" } {
                figcaption id={ (id) "-c" } {
                    strong { (self.title) } " " span.about { (self.about) } " "
                    span.keys { @for line in &self.lines { span.key.(line.weight) { (line.label) } " " } }
                }
                div.frame {
                    (self.values())
                    svg.area width="100%" height=(HEIGHT_PX) role="img" aria-labelledby={ (id) "-t " (id) "-d" } {
                        title id={ (id) "-t" } { (self.title) }
                        desc id={ (id) "-d" } { (self.in_words(backdrop)) }
                        (backdrop.markup())
                        @for (from, to) in &self.unsure {
                            @let (x, width) = backdrop.axis.place(*from, *to);
                            rect.unsure x=(x) width=(width) y="0" height=(HEIGHT_PX) {}
                        }
                        (self.curves(backdrop))
                        (self.stages(&backdrop.axis))
                    }
                    (self.limit_labels())
                    (times())
                }
                (self.table(backdrop))
            }
        }
    }

    /// `14.4x`, or what is said of a value that may stand for more.
    fn words(&self, value: f64) -> String {
        match &self.cap {
            Some((cap, said)) if value >= cap * NEAR => said.clone(),
            _ => self.unit.words(value),
        }
    }

    /// From the top, in units of the inner drawing.
    fn y(&self, value: f64) -> i32 {
        // A line at the very edge would be cut in half.
        let (top, bottom) = (HEADROOM_PX * UNITS_PX, HEIGHT - UNSEEN_PX * UNITS_PX - 1);
        bottom - (self.scale.share(value) * f64::from(bottom - top)).round() as i32
    }

    fn ticks(&self) -> Vec<f64> {
        self.scale.ticks(f64::from(HEIGHT_PX - HEADROOM_PX - UNSEEN_PX))
    }

    /// The numbers at the left.
    fn values(&self) -> Markup {
        html! {
            svg.values width="100%" height=(HEIGHT_PX) aria-hidden="true" {
                @for value in self.ticks() {
                    // A number at the top would be cut.
                    @let y = (f64::from(self.y(value)) / f64::from(UNITS_PX) + 3.5).clamp(9.0, f64::from(HEIGHT_PX - 1));
                    text x="100%" dx="-4" y=(y) text-anchor="end" { (self.unit.words(value)) }
                }
            }
        }
    }

    fn curves(&self, backdrop: &Backdrop<'_>) -> Markup {
        let width = 2 * backdrop.axis.stretches;
        let level = |value: f64| format!("M0 {}H{width}", self.y(value));
        let grid: String = self.ticks().into_iter().map(level).collect();
        html! {
            svg width="100%" height=(HEIGHT_PX) viewBox={ "0 0 " (width) " " (HEIGHT) } preserveAspectRatio="none" {
                path.grid d=(grid) {}
                @for limit in &self.limits { path.limit.(limit.stage.as_str()) d=(level(limit.value)) {} }
                // The strongest curve is drawn last, over the others.
                @for line in self.lines.iter().rev() {
                    @let (shade, curve) = self.paths(line);
                    @if !shade.is_empty() { path.shade.(line.weight) d=(shade) {} }
                    @if !curve.is_empty() { path.curve.(line.weight) d=(curve) {} }
                }
            }
        }
    }

    /// What lies between the lowest and the highest, and the curve of what counts. A gap interrupts both.
    fn paths(&self, line: &Line<'_>) -> (String, String) {
        let (mut shade, mut curve) = (String::new(), String::new());
        let known = |extent: &Extent| !extent.is_none();
        let mut stretch = 0;
        for run in line.extents.chunk_by(|a, b| known(a) == known(b)) {
            if known(&run[0]) {
                let level = |value: f32| self.y(f64::from(value));
                let counts: Vec<i32> = run.iter().map(|extent| level(line.value(*extent))).collect();
                let other: Vec<i32> = run.iter().map(|it| level(if line.lowest { it.high } else { it.low })).collect();
                trace(&mut curve, 2 * stretch as i32, &counts);
                if line.is_shaded() {
                    shade_between(&mut shade, 2 * stretch as i32, &counts, &other);
                }
            }
            stretch += run.len();
        }
        (shade, curve)
    }

    fn stages(&self, axis: &TimeAxis) -> Markup {
        html! {
            @for band in &self.stages {
                @let (x, width) = span(axis, band);
                // A warning is thinner, for those who cannot tell the colours apart.
                @let height = if band.stage == Stage::Critical { STAGE_PX } else { STAGE_PX / 2 };
                rect.stage.(band.stage.as_str()) x=(x) width=(width) y="0" height=(height) {}
            }
        }
    }

    /// At the right of the plot, where they cover nothing; each as near to its line as the others let it.
    fn limit_labels(&self) -> Markup {
        let mut limits: Vec<(i32, &LimitLine)> =
            self.limits.iter().map(|limit| (self.y(limit.value) / UNITS_PX + 4, limit)).collect();
        limits.sort_by_key(|(y, _)| *y);
        let mut lowest = HEIGHT_PX - 1;
        for (y, _) in limits.iter_mut().rev() {
            *y = (*y).min(lowest);
            lowest = *y - LABEL_PX;
        }
        html! {
            svg.labels width="100%" height=(HEIGHT_PX) aria-hidden="true" {
                @for (y, limit) in limits {
                    text.threshold.(limit.stage.as_str()) x="4" y=(y.max(9)) {
                        tspan.word { (limit.label) " " } (self.unit.words(limit.value))
                    }
                }
            }
        }
    }

    /// The plot for those who cannot see it.
    fn in_words(&self, backdrop: &Backdrop<'_>) -> String {
        let mut said = self.about.clone();
        for line in &self.lines {
            match line.peak() {
                Some((stretch, value)) => {
                    let (at, value) = (words::time(backdrop.axis.begins(stretch)), self.words(value));
                    let _ = write!(said, " {}: {} {value} at {at} UTC.", line.label, line.extreme());
                }
                None => {
                    let _ = write!(said, " {}: nothing was measured.", line.label);
                }
            }
        }
        let of = |stage: Stage| self.stages.iter().filter(|band| band.stage == stage).count();
        let _ = write!(said, " Alerts: {} critical, {} warnings.", of(Stage::Critical), of(Stage::Warning));
        said.push_str(" The table after the plot has the numbers.");
        said
    }

    fn table(&self, backdrop: &Backdrop<'_>) -> Markup {
        let unseen = backdrop.sights.iter().any(|sights| sights.unseen() + sights.partial > 0);
        html! {
            details.numbers {
                summary { "Table" span.unseen { " of " (self.title) } }
                div.wide tabindex="0" role="group" aria-label={ "Table of " (self.title) } {
                    table {
                        thead {
                            tr {
                                th scope="col" { "From (UTC)" }
                                @for line in &self.lines { th scope="col" { (line.label) ", " (line.extreme()) } }
                                @if unseen { th scope="col" { "Not seen" } }
                            }
                        }
                        tbody { @for row in backdrop.axis.rows() { (self.row(backdrop, row, unseen)) } }
                    }
                }
            }
        }
    }

    fn row(&self, backdrop: &Backdrop<'_>, row: std::ops::Range<usize>, unseen: bool) -> Markup {
        let mut sights = Sights::default();
        backdrop.sights[row.clone()].iter().for_each(|it| sights.join(*it));
        html! {
            tr {
                th scope="row" { (words::time(backdrop.axis.begins(row.start))) }
                @for line in &self.lines {
                    @let mut whole = Extent::NONE;
                    @let () = line.extents[row.clone()].iter().for_each(|it| whole.join(*it));
                    td { @if whole.is_none() { "–" } @else { (self.words(f64::from(line.value(whole)))) } }
                }
                @if unseen { td { (sights.in_words()) } }
            }
        }
    }
}

impl Backdrop<'_> {
    /// Incidents, and what was not seen.
    fn markup(&self) -> Markup {
        let bottom = HEIGHT_PX - UNSEEN_PX;
        html! {
            use href={ "#" (self.incidents) } {}
            use href="#ticks" {}
            @for known in self.known { use href={ "#" (known) } {} }
            @for (class, from, to) in self.gaps() {
                @let (x, width) = self.axis.place(from, to);
                @if class == "blind" {
                    rect.blind x=(x) width=(width) y="0" height=(HEIGHT_PX) fill="url(#hatch)" {}
                }
                rect.gap.(class) x=(x) width=(width) y=(bottom) height=(UNSEEN_PX) {}
            }
        }
    }

    /// Runs of stretches of which nothing (`blind`), not everything (`holey`), or only partial answers (`partial`) were
    /// seen.
    fn gaps(&self) -> Vec<(&'static str, usize, usize)> {
        let mut gaps: Vec<(&'static str, usize, usize)> = Vec::new();
        for (stretch, sights) in self.sights.iter().enumerate() {
            let class = match sights {
                _ if sights.whole + sights.partial == 0 => "blind",
                _ if sights.unseen() > 0 => "holey",
                _ if sights.partial > 0 => "partial",
                _ => continue,
            };
            match gaps.last_mut() {
                Some((known, _, end)) if *known == class && *end == stretch => *end += 1,
                _ => gaps.push((class, stretch, stretch + 1)),
            }
        }
        gaps
    }
}

/// The incidents of a journey, as high as a plot, for all plots of its layers.
pub fn incidents(axis: &TimeAxis, bands: &[Band]) -> Markup {
    html! {
        @for band in bands {
            @let (x, width) = span(axis, band);
            rect.incident.(band.stage.as_str()) x=(x) width=(width) y="0" height=(HEIGHT_PX) {}
        }
    }
}

/// What is known to have happened, for all plots of what it happened to. What would be drawn as one is one.
pub fn known(axis: &TimeAxis, bands: &[Band]) -> Markup {
    let mut places: Vec<(i64, i64)> = Vec::new();
    let place = |at: Timestamp| (axis.share(at).clamp(0.0, 1.0) * 100.0 / MIN_WIDTH) as i64;
    let mut all: Vec<(i64, i64)> = bands.iter().map(|band| (place(band.from), place(band.to) + 1)).collect();
    all.sort_unstable();
    for (from, to) in all {
        match places.last_mut() {
            Some((_, end)) if from < *end => *end = (*end).max(to),
            _ => places.push((from, to)),
        }
    }
    let share = |place: i64| percent(place as f64 * MIN_WIDTH / 100.0);
    html! {
        @for (from, to) in places {
            rect.known x=(share(from)) width=(share(to - from)) y=(HEIGHT_PX - UNSEEN_PX - KNOWN_PX - 1) height=(KNOWN_PX) {}
        }
    }
}

/// Round times, as lines through plots and as words under them, once for all plots.
pub fn ticks(axis: &TimeAxis) -> Markup {
    let ticks = axis.ticks();
    html! {
        g id="ticks" {
            @for (share, _) in &ticks {
                @let x = percent(*share);
                line.grid x1=(x) x2=(x) y1="0" y2="100%" {}
            }
        }
        g id="times" {
            @for (share, label) in &ticks {
                // What stands at an edge must not stand over it.
                @let anchor = if *share < 0.02 { "start" } else if *share > 0.98 { "end" } else { "middle" };
                text x=(percent(*share)) y="13" text-anchor=(anchor) { (label) }
            }
        }
    }
}

/// The times under a plot.
pub fn times() -> Markup {
    html! { svg.times width="100%" height="18" aria-hidden="true" { use href="#times" {} } }
}

/// Where a band begins and how wide it is, in percent.
pub fn span(axis: &TimeAxis, band: &Band) -> (String, String) {
    let [from, to] = [band.from, band.to].map(|at| 100.0 * axis.share(at).clamp(0.0, 1.0));
    let width = (to - from).max(MIN_WIDTH);
    // At the right edge it grows to the left.
    (percent(from.min(100.0 - width) / 100.0), percent(width / 100.0))
}

/// With two places, and none that say nothing.
pub fn percent(share: f64) -> String {
    let text = format!("{:.2}", 100.0 * share);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A line through the middle of each stretch, from edge to edge of the run that begins at `x`.
fn trace(path: &mut String, x: i32, levels: &[i32]) {
    let _ = write!(path, "M{x} {}", levels[0]);
    let mut pen = Pen::default();
    walk(&mut pen, levels.iter().copied(), levels[0]);
    path.push_str(&pen.finish());
}

/// The area between two levels, for each part of the run where they differ.
fn shade_between(path: &mut String, x: i32, a: &[i32], b: &[i32]) {
    let pairs: Vec<(i32, i32)> = a.iter().copied().zip(b.iter().copied()).collect();
    let mut before = 0;
    for part in pairs.chunk_by(|one, next| (one.0 == one.1) == (next.0 == next.1)) {
        if part[0].0 != part[0].1 {
            let start = x + 2 * before;
            let _ = write!(path, "M{start} {}", part[0].0);
            let mut pen = Pen::default();
            walk(&mut pen, part.iter().map(|pair| pair.0), part[0].0);
            let last = part[part.len() - 1];
            pen.line(0, last.1 - last.0);
            pen.backwards = true;
            walk(&mut pen, part.iter().rev().map(|pair| pair.1), last.1);
            path.push_str(&pen.finish());
            path.push('Z');
        }
        before += part.len() as i32;
    }
}

fn walk(pen: &mut Pen, levels: impl Iterator<Item = i32>, first: i32) {
    let mut level = first;
    for (number, next) in levels.enumerate() {
        pen.line(if number == 0 { 1 } else { 2 }, next - level);
        level = next;
    }
    pen.line(1, 0);
}

/// Writes relative lines in few characters: level ones as one.
#[derive(Default)]
struct Pen {
    path: String,
    level: i32,
    /// Whether the last command was a line, which need not be named again.
    lines: bool,
    backwards: bool,
}

impl Pen {
    fn line(&mut self, dx: i32, dy: i32) {
        let dx = if self.backwards { -dx } else { dx };
        if dy == 0 {
            self.level += dx;
            return;
        }
        self.flush();
        let separator = if !self.lines {
            "l"
        } else if dx < 0 {
            ""
        } else {
            " "
        };
        let space = if dy < 0 { "" } else { " " };
        let _ = write!(self.path, "{separator}{dx}{space}{dy}");
        self.lines = true;
    }

    fn flush(&mut self) {
        if self.level != 0 {
            let _ = write!(self.path, "h{}", self.level);
            (self.level, self.lines) = (0, false);
        }
    }

    fn finish(mut self) -> String {
        self.flush();
        self.path
    }
}
