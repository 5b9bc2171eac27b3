//! The terminal view, drawn anew each second: what every layer does, and what slowburn tells whom.

use crate::engine::notification::Reason;
use crate::engine::rule::Stage;

use super::line::{Line, Paint, wrap};
use super::story::{Scene, Told};
use super::words::{self, LEGEND, Reading, SCALE, SETTING};

/// Columns that the table needs beside the bar.
const TABLE_COLUMNS: usize = 70;
/// Terminals with fewer rows do without the legend.
const ROWS_WITH_LEGEND: usize = 24;
/// Lines for older notifications that must fit beside the newest in full.
const ROWS_BESIDE_MESSAGE: usize = 9;

/// At most `rows` lines; paint them no wider than `columns`.
pub fn draw(scene: &Scene<'_>, columns: usize, rows: usize) -> Vec<Line> {
    let mut lines = vec![title(scene, columns), Line::new(SCALE, Paint::Dim), Line::default()];
    lines.extend(table(scene, columns));
    lines.push(Line::default());
    if rows >= ROWS_WITH_LEGEND {
        lines.extend(LEGEND.map(legend));
    }
    let plot = words::plot(scene.incident, scene.elapsed_ms);
    lines.push(Line::new("Simulated: ", Paint::Title).then(plot, Paint::Plain));
    if rows > ROWS_WITH_LEGEND {
        lines.push(Line::default());
    }
    let head = "NOTIFICATIONS as they would go out; receivers are simulated, nothing is sent";
    lines.push(Line::new(head, Paint::Title));
    let feet = [
        Line::new("Held back: ", Paint::Title).then(words::held_back(&scene.view.held_back), Paint::Plain),
        Line::new(format!("Metrics: {}   Ctrl-C ends", scene.metrics_url), Paint::Dim),
    ];
    let room = rows.saturating_sub(lines.len() + feet.len());
    lines.extend(notifications(scene, columns, room));
    lines.extend(feet);
    lines.truncate(rows);
    lines
}

/// `Term: what it means.`
fn legend(text: &str) -> Line {
    let (term, meaning) = text.split_at(text.find(':').map_or(0, |colon| colon + 1));
    Line::new(term, Paint::Title).then(meaning, Paint::Dim)
}

fn title(scene: &Scene<'_>, columns: usize) -> Line {
    let clock = words::clock(scene.elapsed_ms);
    let gap = columns.saturating_sub(SETTING.len() + clock.len()).max(2);
    Line::new(SETTING, Paint::Title).then(format!("{:gap$}{clock}", ""), Paint::Plain)
}

fn table(scene: &Scene<'_>, columns: usize) -> Vec<Line> {
    // At 80 columns the bar is eight wide; a narrower terminal loses it first, a wider one lengthens it.
    let bar = columns.saturating_sub(TABLE_COLUMNS + 2).min(24);
    let left = if bar == 0 { 5 } else { bar + 7 };
    let head = format!(
        "{:<8} {:>6} {:>7}  {:<left$}  {:<18}  STAGE AND RULE",
        "LAYER",
        "BUDGET",
        "P95 NOW",
        if bar == 0 { "LEFT" } else { "BUDGET LEFT" },
        "BURN RATE / WINDOW",
    );
    let rows = words::readings(scene).into_iter().map(|reading| row(&reading, bar));
    [Line::new(head, Paint::Title)].into_iter().chain(rows).collect()
}

fn row(reading: &Reading<'_>, bar: usize) -> Line {
    let Reading { name, budget_ms, p95_ms, left, burns, stage, verdict } = reading;
    let over = p95_ms.is_some_and(|p95_ms| p95_ms > *budget_ms);
    let burns: Vec<String> = burns.iter().map(|(window, burn)| format!("{}/{window}", words::factor(*burn))).collect();
    let paint = match stage {
        Some(Stage::Critical) => Paint::Critical,
        Some(Stage::Warning) => Paint::Warning,
        None => Paint::Good,
    };
    let gauge = if bar == 0 { String::new() } else { gauge(*left, bar) };
    Line::new(format!("{name:<8} "), if stage.is_some() { paint } else { Paint::Plain })
        .then(format!("{:>6} ", words::latency(Some(*budget_ms))), Paint::Plain)
        .then(format!("{:>7}  ", words::latency(*p95_ms)), if over { Paint::Warning } else { Paint::Plain })
        .then(gauge, if *left > 0.0 { Paint::Good } else { Paint::Critical })
        .then(format!("{:>5}  ", words::percent(*left)), Paint::Plain)
        .then(format!("{:<18}  ", burns.join(" ")), Paint::Plain)
        .then(verdict.as_str(), paint)
}

/// `[#####---]`: empty only once the budget is.
fn gauge(left: f64, width: usize) -> String {
    let filled = (left * width as f64).round().clamp(0.0, width as f64) as usize;
    let filled = if left > 0.0 { filled.max(1) } else { 0 };
    format!("[{}{}]", "#".repeat(filled), "-".repeat(width - filled))
}

/// Exactly `room` lines: the newest notifications, and the newest in full where there is room for it too.
fn notifications(scene: &Scene<'_>, columns: usize, room: usize) -> Vec<Line> {
    let mut message = scene.message.as_deref().map_or_else(Vec::new, |message| full(message, columns));
    if room < message.len() + ROWS_BESIDE_MESSAGE {
        message.clear();
    }
    let mut lines: Vec<Line> = Vec::new();
    let told: Vec<&Told> = scene.told.iter().collect();
    for group in told.chunk_by(|a, b| said_at_once(a, b)).rev() {
        let entry = entry(group, columns);
        if lines.len() + entry.len() + message.len() > room {
            break;
        }
        lines.splice(0..0, entry);
    }
    if scene.told.is_empty() {
        lines.push(Line::new("none yet", Paint::Dim));
    }
    lines.extend(message);
    lines.resize(room, Line::default());
    lines
}

/// Whether two receivers heard the same at the same time.
fn said_at_once(a: &Told, b: &Told) -> bool {
    a.elapsed_ms == b.elapsed_ms && a.notification.summary == b.notification.summary
}

/// `00:24  oncall opened, team escalated: what they are told`.
fn entry(group: &[&Told], columns: usize) -> Vec<Line> {
    let Some(first) = group.first() else { return Vec::new() };
    let paint = match (first.notification.reason, first.notification.stage) {
        (Reason::Resolved, _) => Paint::Good,
        (_, Stage::Critical) => Paint::Critical,
        (_, Stage::Warning) => Paint::Warning,
    };
    let whom: Vec<String> =
        group.iter().map(|told| format!("{} {}", told.receiver, told.notification.reason.as_str())).collect();
    let whom = format!("{}:", whom.join(", "));
    let start = format!("{}  ", words::clock(first.elapsed_ms));
    let indent = start.len();
    let text = format!("{whom} {}", first.notification.summary);
    let mut texts = wrap(&text, columns.saturating_sub(indent).max(20)).into_iter();
    let beginning = texts.next().unwrap_or_default();
    let (painted, plain) = beginning.split_at(whom.len().min(beginning.len()));
    let head = Line::new(start, Paint::Plain).then(painted, paint).then(plain, Paint::Plain);
    let rest = texts.map(|text| Line::new(format!("{:indent$}{text}", ""), Paint::Plain));
    [head].into_iter().chain(rest).collect()
}

/// The newest notification as its receiver would read it.
fn full(message: &str, columns: usize) -> Vec<Line> {
    let head = [Line::default(), Line::new("THE NEWEST IN FULL", Paint::Title)];
    let lines = message.lines().filter(|line| !line.trim().is_empty());
    let lines = lines.map(|line| Line::new(line.chars().take(columns).collect::<String>(), Paint::Plain));
    head.into_iter().chain(lines).collect()
}
