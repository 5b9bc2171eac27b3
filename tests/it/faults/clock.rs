//! The wall clock is set, or the machine sleeps: windows stay right, missed slots are counted, nothing is evaluated in the
//! future, nothing is told or resolved because of it.

use std::fs;
use std::time::Duration as StdDuration;

use slowburn::engine::Input;
use slowburn::engine::histogram::{Labels, Snapshot};
use slowburn::engine::rule::Urgency;
use slowburn::engine::time::{Duration, Timestamp};
use tempfile::TempDir;

use crate::daemon::{Daemon, RULES, config, history, pagerduty, pages, paging};
use crate::engine::{STEP, World, burn_rule, slo};
use crate::exporter::Exporter;
use crate::fakes::Fakes;
use crate::history::Random;
use crate::real::Prometheus;

use super::world::{START, World as Simulated};
use super::{UNTIL_OVER, hour, rounds};

const HOUR: Duration = Duration::from_hours(1);

fn world() -> World {
    World::new(vec![slo("database", vec![burn_rule("spike", Urgency::Page)])])
}

/// The same requests for both; the clock of the second was set back. What is known of them must be the same.
fn assert_same(left: &World, back: &World, by: Duration) {
    let [left, back] = [left, back].map(|world| world.engine.view());
    assert_eq!(back.at.map(|at| at + by), left.at);
    for (left, back) in left.slos.iter().zip(&back.slos) {
        assert_eq!((left.events, left.bad_events, left.coverage), (back.events, back.bad_events, back.coverage));
        assert_eq!((&left.windows, left.budget_remaining), (&back.windows, back.budget_remaining));
        assert_eq!((&left.rules, left.sight), (&back.rules, back.sight));
    }
    assert_eq!(left.missed.slots, back.missed.slots);
}

/// How a source has what came before the clock was set back.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Source {
    /// It knows its values of now, and the windows go on.
    Scraped,
    /// The windows are read again.
    WithHistory,
}

fn set_back(world: &mut World, by: Duration, source: Source, past: &[[f64; 2]]) {
    world.slot = world.slot - by;
    world.engine.rewind(world.slot, by);
    if source == Source::Scraped {
        return;
    }
    world.engine.forget_windows();
    let first = world.slot - Duration::from_ms(past.len() as i64 * STEP.ms());
    for (slot, counts) in (0..).map(|n| first + STEP.times(f64::from(n))).zip(past) {
        let id = world.engine.bind(0, &Labels::new(), &[0.1, f64::INFINITY].into()).unwrap();
        let mut snapshot = Snapshot::default();
        snapshot.push(id, counts);
        let effects = world.engine.step(world.slot, Input::Backfilled { slot, snapshot: &snapshot });
        assert_eq!(effects, vec![]);
    }
}

#[test]
fn a_clock_set_back_an_hour_changes_nothing_but_the_time() {
    for source in [Source::Scraped, Source::WithHistory] {
        for at in [3, 20, 110, 118, 135, 150] {
            let (mut straight, mut back) = (world(), world());
            // What the world began with.
            let mut past: Vec<[f64; 2]> = (1..=8).map(|poll| [100.0 * f64::from(poll); 2]).collect();
            for poll in 0..260 {
                if poll == at {
                    set_back(&mut back, HOUR, source, &past);
                }
                // A page, its repetition, its end, and another one.
                let slow = if (5..60).contains(&poll) || (119..145).contains(&poll) { 40.0 } else { 0.0 };
                let (told, expected) = (back.poll(&[slow]), straight.poll(&[slow]));
                let case = format!("{source:?} set back at {at}, poll {poll}");
                // A repetition may come later, by as much as the receiver was told in what is the future now.
                let news = |told: &[String]| -> Vec<String> {
                    told.iter().filter(|told| !told.contains("repeated")).cloned().collect()
                };
                assert_eq!(news(&told), news(&expected), "{case}");
                past.push(back.counts[0]);
                if poll >= at {
                    assert_same(&straight, &back, HOUR);
                }
            }
            let repeated = |world: &World| world.told.iter().filter(|told| told.contains("repeated")).count();
            assert!(repeated(&back).abs_diff(repeated(&straight)) <= 2, "{:?} against {:?}", back.told, straight.told);
            assert_eq!(back.engine.view().missed.clock_set_back, 1);
            back.ids.sort();
            assert!(back.ids.windows(2).all(|pair| pair[0] != pair[1]), "slots come again, ids must not");
        }
    }
}

#[test]
fn nothing_of_an_alert_lies_in_the_future() {
    let mut world = world();
    world.until_told(&[60.0]);
    world.poll(&[60.0]);
    set_back(&mut world, HOUR, Source::Scraped, &[]);
    let view = world.engine.view();
    assert!(view.alerts.iter().all(|alert| alert.breached_at <= world.slot && alert.fired_at <= world.slot));
    assert!(view.incidents.iter().all(|incident| incident.opened_at <= world.slot));
    assert!(view.slos.iter().all(|slo| slo.sight_since <= world.slot));
    // Nor does anybody wait for the clock to catch up before a repetition.
    let (polls, told) = world.until_told(&[60.0]);
    assert!(polls <= 21 && told[0].contains("repeated"), "{polls}: {told:?}");
}

#[test]
fn ten_minutes_of_sleep_are_counted_and_resolve_nothing() {
    let mut world = world();
    world.until_told(&[60.0]);
    world.poll(&[60.0]);
    world.slot += Duration::from_minutes(10);
    let before = world.told.len();
    assert_eq!(world.poll(&[60.0]).iter().filter(|told| !told.contains("repeated")).count(), 0);
    assert_eq!(world.engine.view().missed.slots, 20);
    let (_, told) = world.until_told(&[0.0]);
    assert!(told[0].contains("resolved"), "{told:?}");
    assert!(world.told.len() > before);
}

/// An hour of incidents in which the clock is set eight times.
pub fn set_at_random(seed: u64, scraping: bool) {
    let mut world = hour(seed);
    if scraping {
        world = world.scraping();
    }
    let mut random = Random::new(seed + 3_000_000);
    let (mut ahead_s, mut newest) = (0, None);
    for _ in 0..8 {
        world.run_for(Duration::from_secs(60 + random.below(900) as i64));
        let checked = world.evaluated.split_off(0);
        for (slot, wall) in checked {
            assert!(slot <= wall, "{slot} was evaluated at {wall}");
            assert!(newest.is_none_or(|newest| slot > newest), "{slot} after {newest:?}");
            newest = Some(slot);
        }
        let step_s = [-3600, 3600, 600, -600, -20, 5][random.below(6)];
        ahead_s += step_s;
        world.set_clock(ahead_s * 1000);
        // After it was set back slots come again.
        newest = world.engine.evaluated_slot().filter(|_| step_s < 0).or(newest);
    }
    world.set_clock(0);
    world.run_until(START + UNTIL_OVER + Duration::from_hours(3));
    world.judge();
    let view = world.engine.view();
    assert_eq!((view.alerts.len(), view.incidents.len()), (0, 0), "in the end all is well, and told");
}

#[test]
fn however_the_clock_is_set_nothing_is_evaluated_in_the_future_or_twice() {
    rounds(20, |seed| {
        set_at_random(seed, false);
        set_at_random(seed, true);
    });
}

/// Five days around a change of the clocks in Berlin, in slots of five minutes; slow throughout.
fn around(change: &str) -> Simulated {
    let config = "\
interval: 5m
source: {prometheus: {url: 'http://prometheus.example.com'}}
receivers: [{name: hook, webhook: {url: 'https://ops.example.com/hook'}}]
route:
  receivers: [hook]
  repeat_interval: 1h
  routes: [{receivers: [hook], active: {cron: '0 9 * * *', for: 8h, time_zone: Europe/Berlin}}]
rules:
  - {name: daily, burn_rate: 2, long: 6h, short: 1h, urgency: ticket, cron: {cron: '30 2 * * *', time_zone: Europe/Berlin}, consecutive: 1}
journeys:
  - name: checkout
    budget: 100ms
    objective: 99%
    period: 1d
    rules: [daily]
    layers: [{name: edge, budget: 100ms, histogram: request_seconds}]
";
    let midnight = chrono::DateTime::parse_from_rfc3339(change).unwrap();
    let start = Timestamp::from_unix_ms(midnight.timestamp_millis()) - Duration::from_days(2);
    let mut world = Simulated::new_at(start, config, &[vec![50; 5 * 288]], 7);
    world.run_for(Duration::from_days(5));
    world
}

#[test]
fn a_day_of_23_or_25_hours_has_its_rules_and_hours_once() {
    use chrono::{TimeZone as _, Timelike as _};
    for change in ["2026-03-29T00:00:00Z", "2026-10-25T00:00:00Z"] {
        let world = around(change);
        // Once a night, also where half past two comes twice, or never.
        assert_eq!(world.engine.view().evaluations, 5, "{change}");
        assert_eq!(world.engine.view().missed.slots, 0);
        let local = |at: Timestamp| chrono_tz::Europe::Berlin.timestamp_millis_opt(at.unix_ms()).unwrap();
        let told: Vec<_> = world.decided.iter().map(|decided| local(decided.notification.at)).collect();
        assert!(told.iter().all(|at| (9..17).contains(&at.hour())), "{told:#?}");
        // Eight an day, on each of the five.
        let days = told.iter().map(|at| at.date_naive()).collect::<std::collections::BTreeSet<_>>();
        assert_eq!((days.len(), told.len()), (5, 40), "{change}");
    }
}

/// A wall clock that the test sets.
struct FakeTime {
    file: std::path::PathBuf,
}

impl FakeTime {
    const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

    fn in_folder(dir: &TempDir) -> Self {
        let faketime = Self { file: dir.path().join("clock") };
        faketime.set(0);
        faketime
    }

    /// How many seconds the clock is ahead.
    fn set(&self, ahead_s: i64) {
        // In one step, or else half a number may be read.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{ahead_s:+}\n")).unwrap();
        fs::rename(new, &self.file).unwrap();
    }

    async fn daemon(&self, dir: TempDir) -> Daemon {
        let file = self.file.to_str().unwrap().to_owned();
        let environment = [
            ("LD_PRELOAD", Self::LIBRARY),
            ("FAKETIME_TIMESTAMP_FILE", file.as_str()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ];
        Daemon::start_under(dir, "slowburn.yml", &environment).await
    }
}

fn folder(config: &str, rules: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("slowburn.yml"), config).unwrap();
    fs::write(dir.path().join("rules.yml"), rules).unwrap();
    dir
}

async fn evaluations(daemon: &Daemon) -> u64 {
    daemon.status().await["evaluations"].as_u64().unwrap()
}

/// Waits for some more evaluations; the newest slot must not lie in the daemon's future.
async fn goes_on(daemon: &mut Daemon) {
    let before = evaluations(daemon).await;
    daemon.eventually("evaluations", async |daemon| (evaluations(daemon).await > before + 3).then_some(())).await;
    let status = daemon.status().await;
    let [at, now] = ["at", "now"].map(|name| status[name].as_str().unwrap().to_owned());
    let [day_at, day_now] = [&at, &now].map(|time| &time[..19]);
    assert!(day_at <= day_now, "{at} was evaluated at {now}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs faketime"]
async fn a_scraping_daemon_goes_on_when_the_clock_is_set() {
    let service = Exporter::start(&["edge"]).await;
    let fakes = Fakes::start("/services/T/B/X", None).await;
    let dir = folder(&config(&service.url(), &[("oncall", pagerduty(&fakes))]), RULES);
    let clock = FakeTime::in_folder(&dir);
    let mut daemon = clock.daemon(dir).await;
    daemon.ready().await;
    service.slow("edge", 100);
    daemon.eventually("page", async |_| (!pages(&fakes).is_empty()).then_some(())).await;

    clock.set(-3600);
    daemon.will_log("the wall clock was set back; evaluation goes on from there").await;
    goes_on(&mut daemon).await;
    assert_eq!(pages(&fakes).len(), 1, "neither resolved nor told again: {:?}", pages(&fakes));
    assert_eq!(daemon.status().await["missed"]["clock_set_back"], 1);
    service.slow("edge", 0);
    daemon.eventually("resolve", async |_| (pages(&fakes).len() > 1).then_some(())).await;
    assert_eq!(pages(&fakes)[1], pages(&fakes)[0].replace("trigger", "resolve"));

    // Back on time is a jump ahead: one slot, and the others are counted.
    let missed = daemon.status().await["missed"]["slots"].as_u64().unwrap();
    clock.set(0);
    daemon
        .eventually("missed slots", async |daemon| {
            let now = daemon.status().await["missed"]["slots"].as_u64().unwrap();
            (7100..7300).contains(&(now - missed)).then_some(())
        })
        .await;
    goes_on(&mut daemon).await;
    service.slow("edge", 100);
    daemon.eventually("another page", async |_| (pages(&fakes).len() > 2).then_some(())).await;
    assert_eq!(pages(&fakes).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs faketime, prometheus"]
async fn beside_a_prometheus_an_hour_ahead_is_blindness_and_its_end() {
    let text = history(75);
    let prometheus = tokio::task::spawn_blocking(move || Prometheus::with_history(&text)).await.unwrap();
    let fakes = Fakes::start("/services/T/B/X", None).await;
    let source = format!("prometheus: {{url: '{}', delay: 100ms, timeout: 300ms}}", prometheus.url());
    let text = config("http://unused", &[("oncall", pagerduty(&fakes))])
        .replace("scrape: {targets: ['http://unused']}", &source);
    let dir = folder(&text, &RULES.replace("long: 2s, short: 1s", "long: 5m, short: 1m"));
    let clock = FakeTime::in_folder(&dir);
    let mut daemon = clock.daemon(dir).await;
    daemon.ready().await;
    daemon.eventually("page", async |_| (!pages(&fakes).is_empty()).then_some(())).await;
    let spent = async |daemon: &Daemon| 1.0 - daemon.status().await["slos"][0]["budget_remaining"].as_f64().unwrap();
    let before = spent(&daemon).await;

    clock.set(3600);
    daemon.eventually("blindness", async |_| (pages(&fakes).len() > 1).then_some(())).await;
    assert!(daemon.status().await["missed"]["slots"].as_u64() > Some(7000));
    goes_on_blind(&mut daemon).await;
    assert_eq!(pages(&fakes).len(), 2, "{:?}", pages(&fakes));

    clock.set(0);
    daemon.eventually("sight", async |_| (pages(&fakes).len() > 2).then_some(())).await;
    goes_on(&mut daemon).await;
    let pages = pages(&fakes);
    assert_eq!(pages.len(), 3, "{pages:?}");
    assert_eq!(pages[2], pages[1].replace("trigger", "resolve"));
    assert_eq!(daemon.status().await["alerts"].as_array().unwrap().len(), 1, "it fires on");
    assert!((spent(&daemon).await - before).abs() < 1.0, "the windows are those of before");
}

async fn goes_on_blind(daemon: &mut Daemon) {
    let at = async |daemon: &Daemon| daemon.status().await["at"].as_str().unwrap().to_owned();
    let before = at(daemon).await;
    daemon.eventually("more slots", async |daemon| (at(daemon).await > before).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_counts_what_it_missed() {
    let (_service, fakes, mut daemon) = paging().await;
    let missed = async |daemon: &Daemon| daemon.status().await["missed"]["slots"].as_u64().unwrap();
    let before = missed(&daemon).await;
    let stopwatch = slowburn::clock::Stopwatch::start();
    daemon.signal("STOP");
    tokio::time::sleep(StdDuration::from_secs(4)).await;
    daemon.signal("CONT");
    goes_on(&mut daemon).await;
    let slept = missed(&daemon).await - before;
    assert!((6..=(stopwatch.elapsed_s() / 0.5) as u64).contains(&slept), "{slept} slots");
    assert_eq!(pages(&fakes).len(), 1, "{:?}", pages(&fakes));
}
