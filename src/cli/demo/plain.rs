//! The demo as lines for a log, in the order in which things happen: no colours, nothing redrawn.

use super::story::{Event, Scene};
use super::words::{self, LEGEND, Reading, SCALE, SETTING};

const SIMULATED: &str = "Receivers are simulated: nothing is sent.";
/// The state of everything is told this often.
const STATE_EVERY_MS: i64 = 5_000;

/// Remembers what was said, so that only news is.
#[derive(Debug, Default)]
pub struct Log {
    incident_under_way: bool,
    said_state_at_ms: Option<i64>,
}

/// What this is, before anything happens.
pub fn introduction(scene: &Scene<'_>) -> String {
    let (url, legend) = (scene.metrics_url, LEGEND.join("\n"));
    format!("{SETTING}\nScraped each second from {url}\n{SCALE}\n{legend}\n{SIMULATED}\n\n")
}

/// What there was to be seen.
pub fn farewell(scene: &Scene<'_>) -> String {
    format!(
        "slowburn demo, {}: {} notifications would have gone out; receivers were simulated, nothing was sent.\n\
         Held back: {}.\n\
         Next: examples/checkout shows a configuration; 'slowburn check --config FILE' validates yours.\n",
        words::clock(scene.elapsed_ms),
        scene.told_in_all,
        words::held_back(&scene.view.held_back),
    )
}

impl Log {
    /// The lines for what is new.
    pub fn update(&mut self, scene: &Scene<'_>, events: &[Event]) -> String {
        let now_ms = scene.elapsed_ms;
        let mut lines = String::new();
        let under_way = scene.incident.is_some_and(|incident| incident.begins_ms <= now_ms);
        if self.incident_under_way != under_way || self.said_state_at_ms.is_none() {
            lines.push_str(&line(now_ms, "simulated", &words::plot(scene.incident, now_ms)));
            self.incident_under_way = under_way;
        }
        lines.extend(events.iter().map(|event| match event {
            Event::Told(told) => {
                let to = format!("{}, {}", told.receiver, told.notification.reason.as_str());
                line(now_ms, "NOTIFY", &format!("{to}: {}", told.notification.summary))
            }
            Event::Note(text) => line(now_ms, "note", text),
        }));
        if self.said_state_at_ms.is_none_or(|said_at_ms| now_ms - said_at_ms >= STATE_EVERY_MS) {
            lines.extend(state(scene).iter().map(|text| line(now_ms, "state", text)));
            self.said_state_at_ms = Some(now_ms);
        }
        lines
    }
}

/// What is not ok in full, the rest in passing.
fn state(scene: &Scene<'_>) -> Vec<String> {
    let readings = words::readings(scene);
    let (fine, burning): (Vec<&Reading<'_>>, Vec<_>) = readings.iter().partition(|reading| reading.stage.is_none());
    let mut texts: Vec<String> = burning.iter().map(|reading| in_full(reading)).collect();
    if !fine.is_empty() {
        let who = if burning.is_empty() { "all".to_owned() } else { format!("{} others", fine.len()) };
        let least = fine.iter().map(|reading| reading.left).fold(1.0, f64::min);
        texts.push(format!("{who} ok, with {} or more of their error budgets left", words::percent(least)));
    }
    texts
}

fn in_full(reading: &Reading<'_>) -> String {
    let burns: Vec<String> =
        reading.burns.iter().map(|(window, burn)| format!("{} over {window}", words::factor(*burn))).collect();
    format!(
        "{} {}: burns {}; p95 {} of {}; {} of its error budget left",
        reading.name,
        reading.verdict,
        burns.join(", "),
        words::latency(reading.p95_ms),
        words::latency(Some(reading.budget_ms)),
        words::percent(reading.left),
    )
}

fn line(elapsed_ms: i64, what: &str, text: &str) -> String {
    format!("{}  {what:<9}  {text}\n", words::clock(elapsed_ms))
}
