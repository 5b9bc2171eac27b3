//! The demo in virtual time: metrics text, exposition reader, engine and both ways to show it, without a clock.

use super::plain::Log;
use super::script::Kind;
use super::story::{Event, Told};
use super::*;
use crate::engine::histogram::Poll;
use crate::engine::notification::Reason;
use crate::engine::rule::Stage;

const START: Timestamp = Timestamp::from_unix_s(1_772_366_400);
const URL: &str = "http://127.0.0.1:9798/metrics";

/// A run of the demo, and what it told.
struct Run {
    simulation: Simulation,
    story: Story,
    scrape: Scrape,
    log: Log,
    lines: String,
    told: Vec<Told>,
    slot: Timestamp,
}

impl Run {
    fn new(seed: u64) -> Self {
        let config = configuration(URL).unwrap();
        let scrape = scrape(&config).unwrap();
        let simulation = Simulation::new(seed, 1, -PAST.ms());
        let story = Story::new(config, START, URL.to_owned());
        let (simulation, story) = prepare(simulation, story, &scrape, START).unwrap();
        Self { simulation, story, scrape, log: Log::default(), lines: String::new(), told: Vec::new(), slot: START }
    }

    /// Plays until `elapsed_s` after the start, that second included. `read` makes a poll of the simulation.
    fn play_until(&mut self, elapsed_s: i64, mut read: impl FnMut(&Simulation, &Scrape, Timestamp) -> Poll) {
        while self.slot <= START + Duration::from_secs(elapsed_s) {
            self.simulation.advance_to(self.slot.since(START).ms());
            let poll = read(&self.simulation, &self.scrape, self.slot);
            let events = self.story.polled(self.slot, Ok(poll), self.simulation.current_or_next().cloned());
            self.lines.push_str(&self.log.update(&self.story.scene(), &events));
            self.told.extend(events.into_iter().filter_map(|event| match event {
                Event::Told(told) => Some(told),
                Event::Note(_) => None,
            }));
            self.slot += Duration::from_secs(1);
        }
    }

    fn screen(&self, columns: usize, rows: usize) -> String {
        let lines = screen::draw(&self.story.scene(), columns, rows);
        assert!(lines.len() <= rows);
        let lines: Vec<String> = lines.iter().map(|line| line.painted(columns, false)).collect();
        assert!(lines.iter().all(|line| line.chars().count() <= columns));
        lines.join("\n")
    }

    fn log(&self) -> String {
        let scene = self.story.scene();
        let text = format!("{}{}{}", plain::introduction(&scene), self.lines, plain::farewell(&scene));
        assert!(!text.contains('\u{1b}'));
        text
    }

    /// When `receiver` is first told so, in milliseconds after the start.
    fn told_at_ms(&self, receiver: &str, reason: Reason, stage: Stage) -> Option<i64> {
        let matches = |told: &&Told| {
            told.receiver == receiver && told.notification.reason == reason && told.notification.stage == stage
        };
        self.told.iter().find(matches).map(|told| told.elapsed_ms)
    }
}

/// One long run, for the hour before it takes most of the time.
#[test]
fn the_story_that_is_told_unless_one_asks_for_another() {
    let mut run = Run::new(0);
    run.play_until(33, read);
    let transcript = include_str!("../../../docs/demo.txt");
    assert_eq!(transcript.trim_end(), run.screen(80, 24), "docs/demo.txt is no longer what the demo shows");
    insta::assert_snapshot!("screen_120x40", run.screen(120, 40));
    insta::assert_snapshot!("screen_60x20", run.screen(60, 20));
    for (columns, rows) in [(0, 0), (1, 1), (20, 5), (300, 200)] {
        run.screen(columns, rows);
    }
    run.play_until(65, read);
    insta::assert_snapshot!("plain", run.log());
    the_first_incident_paged_and_resolved_within_a_minute(&run);

    let plot: Vec<script::Incident> = script::Script::new(0, 1).take(3).collect();
    // Minutes of text would take seconds to read.
    let mut poll = read(&run.simulation, &run.scrape, run.slot);
    run.play_until(plot[2].ends_ms / 1000 - 1, |simulation, _, _| {
        simulation.update(&mut poll);
        poll.clone()
    });
    a_degradation_warned_and_a_slow_burn_paged_late(&run, &plot);

    // A scrape that fails is told, and resolves nothing.
    let events = run.story.polled(run.slot, Err("no complete answer within 1s".into()), None);
    assert_eq!(events[0], Event::Note("scrape failed: no complete answer within 1s".into()));
    assert_eq!(run.story.scene().view.incidents.len(), 1);
}

fn read(simulation: &Simulation, scrape: &Scrape, slot: Timestamp) -> Poll {
    scrape.read(&simulation.metrics(), slot).unwrap()
}

fn the_first_incident_paged_and_resolved_within_a_minute(run: &Run) {
    let layer = simulation::LAYERS[script::Script::new(0, 1).next().unwrap().layer].name;
    let page = run.told.iter().find(|told| told.receiver == "oncall").unwrap();
    assert_eq!(page.notification.alerts[0].layer.as_deref(), Some(layer));
    let paged_at_ms = run.told_at_ms("oncall", Reason::Opened, Stage::Critical).unwrap();
    assert!((21_000..30_000).contains(&paged_at_ms), "paged at {paged_at_ms} ms");
    let resolved_at_ms = run.told_at_ms("oncall", Reason::Resolved, Stage::Critical).unwrap();
    assert!((38_000..=60_000).contains(&resolved_at_ms), "resolved at {resolved_at_ms} ms");
    assert!(run.story.scene().view.incidents.is_empty());
}

fn a_degradation_warned_and_a_slow_burn_paged_late(run: &Run, plot: &[script::Incident]) {
    assert_eq!(plot.iter().map(|it| it.kind).collect::<Vec<_>>(), [Kind::Outage, Kind::Degradation, Kind::SlowBurn]);
    let during = |incident: &script::Incident, receiver: &str| -> Vec<i64> {
        let within = |told: &&Told| {
            told.receiver == receiver && (incident.begins_ms..incident.ends_ms).contains(&told.elapsed_ms)
        };
        run.told.iter().filter(within).map(|told| told.elapsed_ms - incident.begins_ms).collect()
    };
    assert_eq!((during(&plot[1], "team").is_empty(), during(&plot[1], "oncall")), (false, vec![]));
    let pages = during(&plot[2], "oncall");
    assert!(pages.len() == 1 && pages[0] > 120_000, "{pages:?}");
}

#[tokio::test]
async fn the_metrics_are_scraped_over_a_real_port() {
    let listener = exporter::listen(None).await.unwrap();
    let config = configuration(&format!("http://{}/metrics", listener.local_addr().unwrap())).unwrap();
    let scrape = scrape(&config).unwrap();
    let start = Clock.now();
    let live = Live::new(Simulation::new(1, 1, -2000), Clock, start);
    let served = tokio::spawn(exporter::serve(listener, live));
    let poll = scrape.poll(start, Duration::from_secs(5)).await.unwrap();
    served.abort();
    assert_eq!((poll.series.len(), poll.warnings.len(), poll.partial), (6, 0, false));
    assert!(poll.series.iter().all(|(_, histogram)| histogram.counts.last() >= Some(&500.0)));
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let holder = exporter::listen(None).await.unwrap();
    let taken = holder.local_addr().unwrap();
    let error = exporter::listen(Some(taken)).await.unwrap_err().to_string();
    assert!(error.contains(&taken.to_string()) && error.contains("choose another port"), "{error}");
}
