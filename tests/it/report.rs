//! The page of a replay: that it says all it should, nothing it should not, stays light, and works in a browser that
//! cannot reach anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use slowburn::cli::replay::page;
use slowburn::config::{self, Config};
use slowburn::engine::Spec;
use slowburn::engine::time::{Duration, Timestamp};
use slowburn::notify::reading::Reader;
use slowburn::replay::report::Observed;
use slowburn::replay::report::samples::{Gauge, Samples};
use slowburn::replay::score::Known;
use slowburn::replay::{Recorder, ReplayError, Replayed};
use slowburn::source::prometheus::Detail;
use slowburn::zone::Zone;

use super::browser::{browsed, chromium, objections};
use super::history::{Incident, Layer, Plan, Series};
use super::{quality, replay};

const RULES: &str = include_str!("../../rules/standard.yml");
/// What must stand on no page.
const SECRETS: [&str; 5] =
    ["0123456789abcdef0123456789abcdef", "T000/B000/slacksecret", "hook.example.com/s3cr3t", "mailpass", "sourcepass"];

/// Receivers of every kind, templates of the user's, and a layer for each of the plan's.
fn configured(journey: &str, layers: &[Layer], rules: &str) -> Config {
    configured_as(&[(journey.to_owned(), layers)], rules)
}

fn configured_as(journeys: &[(String, &[Layer])], rules: &str) -> Config {
    let layer = |layer: &Layer| {
        let budget_ms = layer.budget_s * 1e3;
        format!("      - {{name: {0}, budget: {budget_ms}ms, histogram: 'd{{layer=\"{0}\"}}'}}\n", layer.name)
    };
    let journeys = journeys.iter().map(|(journey, layers)| {
        let layers: String = layers.iter().map(layer).collect();
        format!(
            "
  - name: '{journey}'
    owner: payments
    runbook: https://wiki.example.com/checkout
    budget: 400ms
    objective: 99%
    rules: [{rules}]
    layers:
{layers}"
        )
    });
    let main = format!(
        "
source: {{prometheus: {{url: 'http://127.0.0.1:9090', basic_auth: {{username: slo, password: {}}}}}}}
rule_files: [standard.yml]
receivers:
  - {{name: oncall, pagerduty: {{routing_key: '{}'}}}}
  - {{name: team, slack: {{webhook_url: 'https://hooks.slack.com/services/{}'}}, template: {{title: 'Oh no: {{{{ journey }}}}'}}}}
  - {{name: hook, webhook: {{url: 'https://{}'}}}}
  - name: mail
    email: {{smtp: 'smtps://mail.example.com', username: slo, password: {}, from: slo@example.com, to: [team@example.com]}}
route:
  receivers: [team]
  routes:
    - {{match: {{urgency: page, stage: critical}}, receivers: [oncall, team]}}
    - {{match: {{urgency: ticket}}, receivers: [mail, hook]}}
journeys:{}",
        SECRETS[4],
        SECRETS[0],
        SECRETS[1],
        SECRETS[2],
        SECRETS[3],
        journeys.collect::<String>()
    );
    let texts: BTreeMap<String, String> = [("slowburn.yml".into(), main), ("standard.yml".into(), RULES.into())].into();
    match config::load_texts("slowburn.yml", &texts, &|_| None) {
        Ok(loaded) => loaded.config,
        Err(mistakes) => panic!("{}", mistakes.render(false)),
    }
}

/// Replays all days of a plan but the first, which fills the windows; some hours may have partial answers only.
fn observed(config: &Config, plan: &Plan, series: &[Series], partial: &[i64]) -> (Replayed, Observed) {
    let (from, to) = (plan.from + Duration::from_days(1), plan.to() - config.spec.interval);
    let mut recorder = Recorder::new(config.spec.clone(), from, Detail::Buckets);
    let mut samples = Samples::new(config.spec.clone(), from, to);
    for hour in 0..plan.length.in_slots(Duration::from_hours(1)) {
        let mut slice = replay::part(
            plan,
            series,
            plan.from + Duration::from_hours(hour),
            Duration::from_hours(1),
            config.spec.interval,
        );
        slice.partial = partial.contains(&hour);
        recorder.take_observed(&slice, |engine, slot| samples.look(engine, slot));
    }
    let notifications = recorder.notifications().to_vec();
    let observed = Observed { samples: samples.light(), notifications };
    (Replayed { document: recorder.finish(), broken: None }, observed)
}

/// Three days with incidents, a gap of four hours and two hours of partial answers.
fn eventful(journey: &str) -> (Config, Replayed, Observed) {
    let mut plan = quality::plan(1, 3);
    for pod in plan.layers[0].pods.iter_mut() {
        pod.gaps.push((Duration::from_hours(40), Duration::from_hours(4)));
    }
    let config = configured(journey, &plan.layers, "standard, approach, runway");
    let series = plan.series();
    let (replayed, observed) = observed(&config, &plan, &series, &[60, 61]);
    (config, replayed, observed)
}

fn page(config: &Config, replayed: &Replayed, observed: &Observed) -> String {
    page::page(config, replayed, observed)
}

/// What a browser shows for text.
fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Every value of an attribute.
fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    let start = format!(" {attribute}=\"");
    page.split(start.as_str()).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

/// Every part of a page from `start` to `end`, without them.
fn between<'a>(page: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    page.split(start).skip(1).filter_map(|rest| rest.split(end).next()).collect()
}

#[test]
fn a_page_tells_everything_that_would_have_gone_out_and_no_secret() {
    let (config, replayed, observed) = eventful("checkout");
    let page = page(&config, &replayed, &observed);
    let words = Reader::new(&config);
    assert!(observed.notifications.len() > 20, "{}", observed.notifications.len());
    for told in &observed.notifications {
        let read = words.read(told).expect("it has a receiver");
        assert!(page.contains(&escaped(&read.text)), "{read:?}");
        assert!(page.contains(&escaped(&read.title)), "{read:?}");
    }
    assert!(page.contains("Oh no: checkout"), "the user's template");
    for secret in SECRETS {
        assert!(!page.contains(secret), "{secret}");
    }
    for incident in &replayed.document.incidents {
        let opened: String = incident.opened_at.to_string().to_lowercase().replace(['-', ':'], "");
        assert!(page.contains(&format!("<tr id=\"incident-checkout-{opened}\"")), "{incident:?}");
    }
    let ids = values(&page, "id");
    let distinct: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), distinct.len(), "every anchor is one place");
    let inside = values(&page, "href").into_iter().filter_map(|href| href.strip_prefix('#'));
    let dangling: Vec<&str> = inside.filter(|anchor| !distinct.contains(anchor)).collect();
    assert_eq!(dangling, [""; 0]);
    for name in values(&page, "aria-labelledby").into_iter().chain(values(&page, "aria-describedby")) {
        assert!(name.split(' ').all(|name| distinct.contains(name)), "{name}");
    }
    // What the text says stands here, too.
    for line in ["not in consecutive windows", "already told, nothing new", "alerts of <b>spike</b>"] {
        assert!(page.contains(line), "{line}");
    }
    let (config, replayed, observed) = eventful("checkout");
    assert!(page == self::page(&config, &replayed, &observed), "the same replay makes the same bytes");
}

#[test]
fn what_was_not_seen_is_a_gap_and_is_said() {
    let (config, mut replayed, observed) = eventful("checkout");
    let page = page(&config, &replayed, &observed);
    let edge = between(&page, "<details class=\"layer\" id=\"slo-1-checkout-edge\"", "</script>")[0];
    let gateway = between(&page, "<details class=\"layer\" id=\"slo-2-checkout-gateway\"", "</script>")[0];
    assert!(edge.contains("471 lost, 240 partial of 5760 evaluations"), "{}", &edge[..1000]);
    assert!(gateway.contains("240 partial of 5760 evaluations"));
    let plots = |layer: &str| between(layer, "<figure", "</figure>").len();
    assert_eq!(edge.matches("class=\"blind\"").count(), plots(edge), "each plot is hatched");
    assert_eq!(gateway.matches("class=\"blind\"").count(), 0);
    assert_eq!(gateway.matches("class=\"gap partial\"").count(), plots(gateway), "partial is marked as partial");
    for curve in between(edge, "<path class=\"curve strong\" d=\"", "\"") {
        assert_eq!(curve.matches('M').count(), 2, "a gap interrupts the curve: {curve}");
    }
    assert!(page.contains("Not all data was there."));
    assert!(!page.contains("Reading ended early."));
    let interval = config.spec.interval;
    replayed.broken = Some(ReplayError::EmptyRange { from: replayed.document.to, to: replayed.document.to, interval });
    assert!(self::page(&config, &replayed, &observed).contains("Reading ended early."));
}

#[test]
fn usage_that_was_not_evaluated_is_not_drawn() {
    let (config, _, observed) = eventful("checkout");
    let mut compared = 0;
    for slo in &observed.samples.slos {
        for (rule, peak) in slo.peaks.iter().enumerate() {
            let Some(track) = slo.track(Gauge::Usage(rule)) else { continue };
            let highest = track.iter().map(|extent| extent.high).fold(0.0, f32::max);
            let peak = peak.map_or(0.0, |peak| peak.usage as f32);
            assert!(
                highest <= peak,
                "{}: {highest} was drawn, {peak} measured",
                config.spec.slos[slo.template].place()
            );
            compared += 1;
        }
    }
    assert_eq!(compared, 5);
}

#[test]
fn little_that_was_seen_is_no_good_news() {
    let plan = quality::plan(1, 3);
    let config = configured("checkout", &plan.layers, "standard");
    let (replayed, nothing) = observed(&config, &plan, &[], &[]);
    let page = page(&config, &replayed, &nothing);
    assert!(page.contains("<dt>Most budget spent</dt><dd><b class=\"\">–</b> <small>no requests</small>"));
    assert!(page.contains("<dt>Slots not seen in full</dt><dd><b class=\"poor\">5,760</b>"));
    let said = "never seen before of 5760 slots.";
    assert_eq!(page.matches(said).count(), 1, "what is true of all layers is said once");
    // One slot of a few thousand is no warning.
    let (config, replayed, observed) = observed_without_a_slot();
    let page = self::page(&config, &replayed, &observed);
    assert!(page.contains("Nearly all data was there. ") && !page.contains("Not all data was there."));
    // A period that is hardly begun: its budget is gone or left of what was seen alone.
    assert!(
        page.contains("Tinted where less than 95% of the 30d had been seen, 3.3"),
        "the first day filled a thirtieth"
    );
    assert_eq!(page.matches("<rect class=\"unsure\" x=\"0%\"").count(), observed.samples.slos.len());
}

/// Three days of which one slot had a partial answer.
fn observed_without_a_slot() -> (Config, Replayed, Observed) {
    let plan = quality::plan(1, 3);
    let config = configured("checkout", &plan.layers, "standard");
    let (mut replayed, observed) = observed(&config, &plan, &plan.series(), &[]);
    replayed.document.missed.partial = 1;
    (config, replayed, observed)
}

#[test]
fn scores_and_noise_are_part_of_the_page() {
    let (config, mut replayed, observed) = eventful("checkout");
    let first = &replayed.document.incidents[0];
    let known = |start: Timestamp, note: &str| Known {
        journey: "checkout".into(),
        layer: None,
        start,
        end: start + Duration::from_hours(1),
        note: Some(note.into()),
    };
    let list = [known(first.opened_at, "the <great> one"), known(replayed.document.to, "not within")];
    replayed.document.judge(&Zone::named("Europe/Berlin").unwrap(), Some(&list));
    let page = page(&config, &replayed, &observed);
    let plots = page.matches("<figure class=\"plot\"").count();
    assert_eq!(page.matches("<use href=\"#known-journey-1\">").count(), plots, "it is behind every plot");
    assert!(page.contains("<g id=\"known-journey-1\"><rect class=\"known\""));
    for said in [
        "<title>known: 20",
        "Against 1 known incident",
        "the &lt;great&gt; one",
        "Not counted, as they are not within",
        "all rules",
        "at night, 22:00 to 07:00 Europe/Berlin",
        "Longest without a page",
        "href=\"#score\"",
        "href=\"#noise\"",
    ] {
        assert!(page.contains(said), "{said}");
    }
}

/// A cell of a table as a number; not a number where there was nothing.
fn number(cell: &str) -> f64 {
    if cell == "budget gone" {
        return 10_000.0;
    }
    cell.trim_start_matches("at least ").trim_end_matches(['x', '%', 's', 'm']).parse().unwrap_or(f64::NAN)
}

/// `1.2,1.3*4,,` as the page's script reads it.
fn unpacked(packed: &str) -> Vec<f64> {
    let value = |run: &str| {
        let (value, times) = run.split_once('*').unwrap_or((run, "1"));
        vec![value.parse().unwrap_or(f64::NAN); times.parse().unwrap()]
    };
    packed.split(',').flat_map(value).collect()
}

#[test]
fn the_table_behind_each_plot_has_its_numbers() {
    let (config, replayed, observed) = eventful("checkout");
    let page = page(&config, &replayed, &observed);
    let mut compared = 0;
    for layer in between(&page, "<details class=\"layer\"", "</script>") {
        let (shown, data) = layer.split_once("<script type=\"application/json\">").expect("each layer has data");
        let data: Value = serde_json::from_str(data).expect("JSON");
        let [start, step] = ["start", "step"].map(|key| data[key].as_f64().unwrap());
        let figures = between(shown, "<figure", "</figure>");
        assert_eq!(figures.len(), data["plots"].as_array().unwrap().len());
        for (figure, plot) in figures.iter().zip(data["plots"].as_array().unwrap()) {
            assert!(figure.contains("<title id=") && figure.contains("<desc id="), "a plot has a name and words");
            let rows: Vec<Vec<&str>> = between(figure.split("<tbody>").nth(1).unwrap(), "<tr>", "</tr>")
                .iter()
                .map(|row| row.split("</t").map(|cell| cell.rsplit('>').next().unwrap()).collect())
                .collect();
            let starts: Vec<usize> = rows
                .iter()
                .map(|row| {
                    let at: Timestamp = format!("{}:00Z", row[0].replace(' ', "T")).parse().unwrap();
                    ((at.unix_s() - start) / step) as usize
                })
                .collect();
            for (column, line) in plot["lines"].as_array().unwrap().iter().enumerate() {
                let values = unpacked(line[1].as_str().unwrap());
                assert_eq!(values.len() as u64, data["count"].as_u64().unwrap());
                for (row, from) in starts.iter().enumerate() {
                    let to = starts.get(row + 1).copied().unwrap_or(values.len());
                    let of = if plot["low"] == true { f64::min } else { f64::max };
                    let expected = values[*from..to].iter().copied().fold(f64::NAN, of);
                    let found = number(rows[row][column + 1]);
                    let near = (found - expected).abs() <= 0.006 + expected.abs() * 0.005;
                    assert!(near || found.is_nan() && expected.is_nan(), "{} {row}: {found} {expected}", plot["title"]);
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 1000, "{compared}");
}

#[test]
fn a_value_that_may_stand_for_more_says_so() {
    let (config, replayed, mut observed) = eventful("checkout");
    let edge = &mut observed.samples.slos[0];
    let p99 = Gauge::Quantile { quantile: 0.99, over: Duration::from_minutes(5) };
    let track = edge.tracks.iter_mut().find(|track| track.gauge == p99).expect("messages tell it");
    edge.top_ms = f64::from(track.extents.iter().map(|extent| extent.high).fold(f32::MIN, f32::max));
    let page = page(&config, &replayed, &observed);
    let edge = between(&page, "<details class=\"layer\" id=\"slo-1-checkout-edge\"", "</script>")[0];
    assert!(edge.contains("a curve there may be anything above"), "{}", &edge[..1000]);
    assert!(edge.contains("<td>at least ") && edge.contains("p99 over 5m: highest at least "));
    // A budget that is gone uses up a limit without bounds.
    assert!(!page.contains("limit in use: highest 10000%") && !page.contains("<td>10000%</td>"));
}

#[test]
fn names_from_elsewhere_do_nothing() {
    let hostile = "<script>alert(1)</script>\"&";
    let plan = quality::plan(1, 3);
    let mut config = configured("checkout", &plan.layers, "spike");
    let mut spec = Spec::clone(&config.spec);
    spec.slos.iter_mut().for_each(|slo| {
        slo.journey = hostile.to_owned();
        slo.owner = Some("</style><img src=x onerror=alert(1)>".to_owned());
    });
    spec.receivers[0].name = "</script><b>".to_owned();
    config.spec = Arc::new(spec);
    let (replayed, observed) = observed(&config, &plan, &plan.series(), &[]);
    assert!(!observed.notifications.is_empty());
    let page = page(&config, &replayed, &observed);
    assert!(!page.contains("<script>alert") && !page.contains("<img") && !page.contains("</script><b>"));
    assert!(unescaped(&page).contains(hostile));
    // One script runs, and each SLO has its data.
    assert_eq!(page.matches("</script>").count(), 1 + observed.samples.slos.len());
}

/// The standard pack, polled no more often than the plan's processes are scraped.
fn polled_as_scraped(plan: &Plan) -> Config {
    let config = configured("checkout", &plan.layers, "standard");
    let spec = Spec { interval: plan.scrape_interval, ..Spec::clone(&config.spec) };
    Config { spec: Arc::new(spec), ..config }
}

/// Thirty days of ten layers, each of which has incidents, by journeys of so many layers.
fn thirty_days(layers_each: usize, rules: &str) -> (Config, Replayed, Observed) {
    let mut plan = quality::plan(2, 31);
    let copy = |name: &str| format!("{name}-2");
    let more: Vec<Layer> = plan.layers.iter().map(|it| Layer { name: copy(&it.name), ..it.clone() }).collect();
    plan.layers.extend(more);
    let befalls: Vec<Incident> =
        plan.incidents.iter().map(|it| Incident { layer: copy(&it.layer), ..it.clone() }).collect();
    plan.incidents.extend(befalls);
    plan.layers.iter_mut().for_each(|layer| layer.pods.truncate(1));
    plan.scrape_interval = Duration::from_minutes(2);
    let journeys: Vec<_> = plan
        .layers
        .chunks(layers_each)
        .enumerate()
        .map(|(number, layers)| (format!("journey-{number}"), layers))
        .collect();
    let config = configured_as(&journeys, rules);
    let spec = Spec { interval: plan.scrape_interval, ..Spec::clone(&config.spec) };
    let config = Config { spec: Arc::new(spec), ..config };
    let (replayed, observed) = observed(&config, &plan, &plan.series(), &[]);
    (config, replayed, observed)
}

#[test]
fn thirty_days_of_ten_layers_are_light() {
    for (layers_each, rules) in [(1, "standard"), (5, "standard, approach, runway"), (10, "standard")] {
        let (config, replayed, observed) = thirty_days(layers_each, rules);
        let page = page(&config, &replayed, &observed);
        assert!(page.len() < 2_000_000, "{} bytes of journeys of {layers_each}", page.len());
        assert!(observed.samples.stretch <= Duration::from_hours(2), "{}", observed.samples.stretch);
        // What woke somebody reads in full.
        let items = between(&page, "<li id=\"sb-", "</li>");
        let pages: Vec<_> = items.iter().filter(|item| item.contains("data-mark=\"PAGE\"")).collect();
        assert!(!pages.is_empty() && pages.iter().all(|item| item.contains("<pre>")));
        let is_whole = items.iter().all(|item| item.contains("<pre>"));
        assert_eq!(page.contains("Left out to keep this page light: "), !is_whole, "what is left out is said");
        if layers_each == 1 {
            let all = page.len() + observed.notifications.len() * 700;
            assert!(!is_whole && all > 3_000_000, "the heaviest is too light: {all} bytes");
        }
    }
}

#[test]
fn a_page_of_too_many_layers_is_bounded_and_says_what_it_leaves_out() {
    const MORE: usize = 5;
    let mut plan = quality::plan(2, 2);
    plan.layers.iter_mut().for_each(|layer| layer.pods.truncate(1));
    let name = |of: &str, copy: usize| format!("{of}-{copy}");
    let copies = |copy| plan.layers.iter().map(move |layer| Layer { name: name(&layer.name, copy), ..layer.clone() });
    let layers = (0..40 + MORE / 5).flat_map(copies).collect::<Vec<_>>();
    // The first ones have no incidents.
    let befalls = |copy| plan.incidents.iter().map(move |it| Incident { layer: name(&it.layer, copy), ..it.clone() });
    plan.incidents = (1..40 + MORE / 5).flat_map(befalls).collect();
    plan.layers = layers;
    plan.scrape_interval = Duration::from_minutes(4);
    let config = polled_as_scraped(&plan);
    let (replayed, observed) = observed(&config, &plan, &plan.series(), &[]);
    let page = page(&config, &replayed, &observed);
    assert!(page.len() < 7_000_000, "{} bytes", page.len());
    assert!(page.contains("<strong>5 of 205 SLOs are not plotted. </strong>"));
    assert_eq!(page.matches("type=\"application/json\"").count(), 200);
    let left_out = page.split("<details class=\"layer\"").filter(|layer| layer.contains("Not plotted."));
    let alerts: Vec<bool> = left_out.map(|layer| !layer.contains("No alerts.")).collect();
    assert_eq!(alerts, [false; MORE], "those without are left out");
}

#[test]
fn every_peak_that_an_engine_measured_is_on_the_page() {
    let plan = quality::plan(1, 3);
    let config = configured("checkout", &plan.layers, "standard");
    let series = plan.series();
    let from = plan.from + Duration::from_days(1);
    let mut recorder = Recorder::new(config.spec.clone(), from, Detail::Buckets);
    let mut samples = Samples::new(config.spec.clone(), from, plan.to());
    let mut peaks: BTreeMap<(usize, Duration), f64> = BTreeMap::new();
    for day in 0..3 {
        let length = Duration::from_days(1);
        let slice =
            replay::part(&plan, &series, plan.from + length.times(f64::from(day)), length, config.spec.interval);
        recorder.take_observed(&slice, |engine, slot| {
            samples.look(engine, slot);
            if slot.unix_s() as i64 % 600 == 30 {
                for (number, slo) in engine.view().slos.iter().enumerate() {
                    for window in &slo.windows {
                        let peak = peaks.entry((number, window.window)).or_default();
                        *peak = peak.max(window.burn_rate.unwrap_or(0.0));
                    }
                }
            }
        });
    }
    for ((slo, window), peak) in peaks {
        let track = samples.slos[slo].track(Gauge::BurnRate(window)).expect("each window is followed");
        let highest = track.iter().map(|extent| extent.high).fold(f32::MIN, f32::max);
        assert!(highest >= peak as f32, "{slo} {window}: {highest} {peak}");
    }
}

/// Contrast of two colours: 1 to 21.
/// Source: W3C, "Web Content Accessibility Guidelines 2.2", contrast ratio.
fn contrast(a: &str, b: &str) -> f64 {
    let luminance = |colour: &str| {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    };
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn colours_can_be_told_apart_on_light_and_on_dark() {
    const STYLE: &str = include_str!("../../src/replay/report/style.css");
    let themes: Vec<BTreeMap<&str, &str>> = between(STYLE, ":root", "}")
        .into_iter()
        .filter(|theme| theme.contains("--bg"))
        .map(|theme| between(theme, "--", ";").into_iter().filter_map(|it| it.split_once(": ")).collect())
        .collect();
    assert_eq!(themes.len(), 3);
    assert_eq!(themes[1], themes[2], "dark by the system and by the button is the same");
    for theme in &themes {
        for ground in ["bg", "panel", "incident-warning", "incident-critical"] {
            for text in ["text", "soft", "link", "good", "poor", "bad"] {
                let found = contrast(theme[text], theme[ground]);
                assert!(found >= 4.5, "--{text} on --{ground}: {found:.2}");
            }
            // Whoever cannot tell the hues apart can tell dark from light.
            assert!(contrast(theme["warned"], theme["bad"]) >= 1.4);
            for drawn in ["strong", "medium", "weak", "faint", "warned"] {
                let found = contrast(theme[drawn], theme[ground]);
                assert!(found >= 3.0, "--{drawn} on --{ground}: {found:.2}");
            }
        }
    }
}

#[test]
#[ignore = "needs chromium"]
fn on_paper_pages_are_read_and_not_every_notification() {
    let (config, replayed, observed) = eventful("checkout");
    let folder = tempfile::tempdir().unwrap();
    let pdf = folder.path().join("report.pdf");
    chromium(&page(&config, &replayed, &observed), &[&format!("--print-to-pdf={}", pdf.display())]);
    let pdf = std::fs::read(&pdf).unwrap();
    let sheets = String::from_utf8_lossy(&pdf).matches("/Type /Page\n").count();
    // Five layers of ten plots take about two sheets each.
    assert!((8..=25).contains(&sheets), "{sheets} sheets");
}

#[test]
#[ignore = "needs chromium"]
fn a_browser_without_a_network_shows_the_page_and_complains_of_nothing() {
    let (config, replayed, observed) = eventful("checkout");
    let page = page(&config, &replayed, &observed);
    let (dom, console) = browsed(&page);
    assert_eq!(console, "");
    assert_eq!(dom.matches("role=\"slider\"").count(), observed.samples.slos.len(), "the script ran to its end");
    let news = page.matches("<li id=\"sb-").count();
    assert!(dom.contains(&format!("{news} of {news} shown")), "filters work");
    // Policies that do not fit what they guard show at once.
    let (dom, console) = browsed(&page.replace("\"use strict\";", "\"use strict\"; "));
    assert!(console.contains("Content Security Policy"), "{console}");
    assert!(!dom.contains("role=\"slider\""));
}

#[test]
#[ignore = "needs chromium and axe-core"]
fn nobody_is_kept_from_reading_it() {
    let (config, replayed, observed) = eventful("checkout");
    let page = page(&config, &replayed, &observed);
    assert_eq!(objections(&page), "");
    // It does look.
    let nobodys = "<!DOCTYPE html><html><head><title>x</title></head><body><main><h1>x</h1></main></body></html>";
    let found = objections(nobodys);
    assert!(found.contains("html-has-lang"), "{found}");
}
