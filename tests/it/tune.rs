//! `slowburn tune` on made-up histories whose incidents are known: against trying everything, and from the command line
//! to the rule file and back.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::{Value, json};
use slowburn::config::bounds::Bounds;
use slowburn::config::incidents::Known;
use slowburn::engine::Spec;
use slowburn::engine::rule::Limit;
use slowburn::engine::time::Duration;
use slowburn::replay::tune::space::{Setting, Space};
use slowburn::replay::tune::{Options, Step, Stops, Store, Tuning, tune};
use slowburn::source::prometheus::Detail;
use tokio::sync::watch;

use super::history::{Plan, openmetrics};
use super::{golden, quality, replay};

/// Nine days of two layers, with a process each; every third incident is grave, the others should page nobody.
fn plan() -> Plan {
    let mut plan = quality::plan(3, 9);
    plan.layers.truncate(2);
    plan.layers.iter_mut().for_each(|layer| layer.pods.truncate(1));
    for (number, incident) in plan.incidents.iter_mut().enumerate() {
        incident.layer = plan.layers[number % 2].name.clone();
    }
    plan
}

fn known(plan: &Plan) -> Vec<Known> {
    let grave = plan.incidents.iter().filter(|i| i.slow >= 0.5 && i.to.since(i.from) >= Duration::from_minutes(15));
    let known = grave.map(|incident| Known {
        journey: "checkout".into(),
        layer: Some(incident.layer.clone()),
        start: incident.from,
        end: incident.to,
        note: None,
    });
    known.collect()
}

fn store(plan: &Plan) -> Store {
    let series = plan.series();
    let days = plan.length.ms() / Duration::from_days(1).ms();
    let slices = (0..days).map(|day| replay::slice(plan, &series, plan.from + Duration::from_days(day)));
    Store::of(slices, plan.from, Detail::Counts)
}

/// One rule that pages, far too slow and too lax.
fn bad_rules() -> Arc<Spec> {
    let mut spec = Spec::clone(&quality::spec("fast-burn", 4));
    spec.slos.truncate(2);
    for rule in spec.slos.iter_mut().flat_map(|slo| &mut slo.rules) {
        let (long, short) = (Duration::from_hours(2), Duration::from_minutes(30));
        rule.limit = Limit::BurnRate { factor: 40.0, long, short };
        rule.clear_after = short;
    }
    Arc::new(spec)
}

fn space(spec: &Spec, bounds: &Bounds) -> Space {
    Space::new(spec, &[], |_| bounds.clone(), |_| true).expect("there is a rule to tune")
}

fn tiny() -> Bounds {
    Bounds {
        burn_rate: "6,14.4,30".parse().ok(),
        long: "10m,1h".parse().ok(),
        short: "1m,5m".parse().ok(),
        consecutive: "2,4".parse().ok(),
    }
}

fn options(trials: usize, threads: usize) -> Options {
    Options { trials, seed: 1, threads, max_pages_a_week: Some(12.0) }
}

fn json(tuning: &Tuning) -> String {
    let mut json = Vec::new();
    tuning.write_json(&mut json).expect("memory takes all");
    String::from_utf8(json).expect("JSON is UTF-8")
}

#[test]
fn bad_rules_are_beaten_and_few_trials_find_what_trying_everything_finds() {
    let (plan, spec) = (plan(), bad_rules());
    let (store, known, space) = (store(&plan), known(&plan), space(&spec, &tiny()));
    let run =
        |trials, threads| tune(&store, &spec, &space, &known, &options(trials, threads), &Stops::default(), |_| {});
    let all = run(100, 2);
    assert!(all.exhausted && all.tried.len() == space.size() + 1, "{} tried", all.tried.len());
    let best = all.recommended().expect("some keep the limit");
    let now = &all.present;
    assert!(best.searched.goals().missed < now.searched.goals().missed, "{all}");
    assert!(best.searched.delay.unwrap().median < Duration::from_minutes(5), "{all}");
    let held_back = best.held_back.expect("nothing stopped it");
    assert!(held_back.detected > now.held_back.unwrap().detected, "{all}");
    for point in &all.frontier {
        let beaten = |tried: &slowburn::replay::tune::Tried| tried.goals.dominates(&point.searched.goals());
        assert!(!all.tried.iter().any(beaten), "{point:?}");
    }
    // The oracle: everything that keeps the limit, by the words of the promise.
    let within = || all.tried.iter().filter(|tried| tried.goals.pages <= 10);
    let missed = within().map(|tried| tried.goals.missed).min();
    assert_eq!(Some(best.searched.goals().missed), missed, "12 pages a week are 10 in six days");

    let some = run(18, 2);
    assert!(!some.exhausted && some.tried.len() == 18);
    assert_eq!(some.recommended().map(|point| &point.settings), Some(&best.settings), "{some}\n{all}");
    assert_eq!(json(&run(6, 2)), json(&run(6, 1)), "threads change what is found");
    golden::check("tune/tiny.txt", &some.to_string());
    assert!(some.to_string().lines().all(|line| line.chars().count() <= 80), "{some}");
}

#[test]
fn the_part_held_back_goes_on_where_the_other_ends() {
    let (plan, spec) = (plan(), bad_rules());
    let store = store(&plan);
    // A rule file is as good as its replay: what is counted part by part is what one run over all of it counts.
    let fast = Bounds { burn_rate: "14.4".parse().ok(), long: "10m".parse().ok(), short: "1m".parse().ok(), ..tiny() };
    let space = space(&spec, &fast);
    let known = known(&plan);
    let tuning = tune(&store, &spec, &space, &known, &options(10, 2), &Stops::default(), |_| {});
    assert!(known.iter().all(|known| known.end < tuning.split.cut || known.start > tuning.split.cut));
    for point in &tuning.frontier {
        let candidate = slowburn::replay::tune::space::Candidate(point.settings.values().copied().collect());
        let spec = Arc::new(space.apply(&spec, &candidate));
        let document = store.replay(spec, store.to, |_| true).expect("nothing stops it");
        let figures = slowburn::replay::score::score(&document, &known).overall;
        let held_back = point.held_back.expect("nothing stopped it");
        assert_eq!(figures.pages, point.searched.pages + held_back.pages, "{point:?}");
        assert_eq!(figures.detected, point.searched.detected + held_back.detected, "{point:?}");
        assert_eq!(figures.unexplained_pages, point.searched.unexplained_pages + held_back.unexplained_pages);
    }
}

#[test]
fn windows_that_are_filled_once_serve_every_candidate() {
    let (plan, spec) = (plan(), bad_rules());
    let series = plan.series();
    // Hours that are not a whole number of slices, so that one of them is about both.
    let (half_a_day, interval) = (Duration::from_hours(12), Duration::from_secs(30));
    let from = |number: i64| plan.from + Duration::from_hours(12 * number);
    let slices = (0..18).map(|number| replay::part(&plan, &series, from(number), half_a_day, interval));
    let store = Store::of(slices, plan.from + Duration::from_hours(40), Detail::Counts);
    let space = space(&spec, &tiny());
    let warm = store.warm(Arc::clone(&spec));
    let document = |document: Option<slowburn::replay::Document>| {
        let mut json = Vec::new();
        document.expect("nothing stops it").write_json(&mut json).expect("memory takes all");
        String::from_utf8(json).expect("JSON is UTF-8")
    };
    for candidate in space.all().iter().step_by(5) {
        let spec = Arc::new(space.apply(&spec, candidate));
        let cold = document(store.replay(Arc::clone(&spec), store.to, |_| true));
        assert_eq!(document(store.replay_warm(&warm, spec, store.to, |_| true)), cold, "{candidate:?}");
        assert!(cold.contains("\"fired_at\""), "{cold}");
    }
}

#[test]
fn what_is_stopped_shows_what_it_has() {
    let (plan, spec) = (plan(), bad_rules());
    let (store, known, space) = (store(&plan), known(&plan), space(&spec, &tiny()));
    let (stop, all) = watch::channel(false);
    let stops = Stops { search: all.clone(), all };
    let stopped = tune(&store, &spec, &space, &known, &options(14, 1), &stops, |step| {
        if matches!(step, Step::Tried { done: 3, .. }) {
            stop.send(true).expect("the search looks at it");
        }
    });
    assert!(stopped.stopped && (3..6).contains(&stopped.tried.len()), "{stopped}");
    assert!(stopped.recommended().is_some_and(|point| point.held_back.is_none()), "{stopped}");
    assert!(stopped.cautions[0].contains("nothing confirms these figures"), "{stopped}");
}

const RULES: &str = "\
# Ours.
rules:
  - {name: spike, burn_rate: 40, long: 2h, short: 30m, urgency: page, consecutive: 4, min_events: 5}
  - {name: drain, burn_rate: 3, long: 1d, short: 2h, urgency: ticket}
packs:
  ours: [spike, drain]
";

fn main_file(rules: &str) -> String {
    format!(
        "
source: {{prometheus: {{url: 'http://127.0.0.1:9'}}}}
rule_files: [{rules}]
receivers: [{{name: oncall, webhook: {{url: 'http://127.0.0.1:9'}}}}]
journeys:
  - name: checkout
    budget: 100ms
    objective: 99%
    period: 3d
    rules: [ours]
    layers:
      - {{name: edge, budget: 10ms, histogram: 'request_duration_seconds{{layer=\"edge\"}}'}}
      - {{name: gateway, budget: 5ms, histogram: 'request_duration_seconds{{layer=\"gateway\"}}'}}
"
    )
}

/// The command in a folder with a configuration, a history and its incidents.
fn slowburn(folder: &Path, args: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slowburn"));
    command.current_dir(folder).args(args.split(' ')).output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it writes UTF-8")
}

fn folder() -> tempfile::TempDir {
    let (folder, plan) = (tempfile::tempdir().expect("a folder"), plan());
    let write = |name: &str, text: String| fs::write(folder.path().join(name), text).expect("it can be written to");
    write("rules.yml", RULES.to_owned());
    write("slowburn.yml", main_file("rules.yml"));
    write("tuned-slowburn.yml", main_file("tuned.yml"));
    write("history.txt", openmetrics(&plan.series()));
    let incident = |known: &Known| {
        let layer = known.layer.as_deref().unwrap_or_default();
        format!("{},{layer},{},{}\n", known.journey, known.start, known.end)
    };
    let incidents: String = known(&plan).iter().map(incident).collect();
    write("incidents.csv", format!("journey,layer,start,end\n{incidents}"));
    folder
}

#[test]
fn a_rule_file_is_checked_and_replays_to_what_was_promised() {
    let folder = folder();
    let run = |args: &str| slowburn(folder.path(), args);
    let given = "--recording history.txt --incidents incidents.csv";
    let search = "--burn-rate 6,14.4,30 --long 10m,1h --short 1m,5m --consecutive 1..4 --trials 12";
    let tuned = run(&format!("tune {given} {search} --format json --max-pages-per-week 12 --out tuned.yml"));
    assert!(tuned.status.success(), "{}", text(&tuned.stderr));
    let promise: Value = serde_json::from_slice(&tuned.stdout).expect("JSON");
    let said = text(&tuned.stderr);
    assert!(said.contains("To use it, name tuned.yml in 'rule_files' instead of rules.yml."), "{said}");

    let written = fs::read_to_string(folder.path().join("tuned.yml")).expect("it was written");
    for kept in ["urgency: page", "min_events: 5", "{name: drain, burn_rate: 3, long: 1d, short: 2h, urgency: ticket}"]
    {
        assert!(written.contains(kept), "{written}");
    }
    assert!(written.contains("packs:\n  ours: [spike, drain]\n") && !written.contains("Ours."), "{written}");
    let checked = run("check --config tuned-slowburn.yml");
    assert!(checked.status.success(), "{}", text(&checked.stderr));

    let replayed = run(&format!("replay --config tuned-slowburn.yml {given} --format json"));
    assert!(replayed.status.success(), "{}", text(&replayed.stderr));
    let replayed: Value = serde_json::from_slice(&replayed.stdout).expect("JSON");
    let frontier = promise["frontier"].as_array().expect("a list");
    let point = frontier.iter().find(|point| point["trial"] == promise["recommended"]).expect("it is shown");
    for (figure, promised) in [("pages", "pages"), ("detected", "detected"), ("unexplained_pages", "unexplained_pages")]
    {
        let sum = ["searched", "held_back"].map(|part| point[part][promised].as_u64().expect("a count"));
        let found = replayed["score"]["overall"][figure].as_u64();
        assert_eq!(found, Some(sum[0] + sum[1]), "{figure}: {point:#}");
    }

    // What stands there stays, unless somebody says otherwise.
    let again = run(&format!("tune {given} {search} --out tuned.yml"));
    assert_eq!(again.status.code(), Some(2));
    assert!(
        text(&again.stderr).contains("'tuned.yml' is there already; --force writes it anew"),
        "{}",
        text(&again.stderr)
    );
    assert_eq!(fs::read_to_string(folder.path().join("tuned.yml")).unwrap(), written);
    let forced = run(&format!("tune {given} {search} --max-pages-per-week 12 --out tuned.yml --force"));
    assert!(forced.status.success(), "{}", text(&forced.stderr));
    let body = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(body(&fs::read_to_string(folder.path().join("tuned.yml")).unwrap()), body(&written), "but for its date");
    golden::check("tune/checkout.txt", &text(&forced.stdout));
    golden::check("tune/tuned.yml", &body(&written).join("\n"));
}

#[test]
fn what_silences_hold_back_pages_nobody_in_a_search_either() {
    let folder = folder();
    let given = "--recording history.txt --incidents incidents.csv --format json --trials 2 --burn-rate 6 --long 10m \
                 --short 1m --consecutive 1";
    let tried = |args: &str| -> Value {
        let output = slowburn(folder.path(), format!("tune {given} {args}").trim());
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["tried"].take()
    };
    let plain = tried("");
    assert!(plain[1]["pages"].as_u64() > Some(0), "{plain}");
    let silences = |journey: &str| {
        let matcher = json!({"name": "journey", "value": journey, "isRegex": false, "isEqual": true});
        let times = ["2026-03-01T00:00:00Z", "2026-03-20T00:00:00Z"];
        let one = json!({"id": "a", "matchers": [matcher], "startsAt": times[0], "endsAt": times[1]});
        fs::write(folder.path().join("silences.json"), json!([one]).to_string()).expect("it can be written to");
        tried("--silences silences.json")
    };
    assert_eq!(silences("no-such"), plain);
    let silenced = silences("checkout");
    assert_eq!((&silenced[1]["pages"], &silenced[1]["missed"]), (&json!(0), &json!(7)), "{silenced}");
    let output = slowburn(folder.path(), &format!("tune {given} --silences none.json"));
    assert!(text(&output.stderr).contains("cannot read 'none.json'"), "{}", text(&output.stderr));
}

#[test]
fn mistakes_are_told_before_anything_is_read() {
    let folder = folder();
    let said = |args: &str| {
        let output =
            slowburn(folder.path(), format!("tune --recording none.txt --incidents incidents.csv {args}").trim());
        assert_eq!(output.status.code(), Some(2), "{args}");
        text(&output.stderr)
    };
    assert!(said("--rules drain").contains("'drain' pages nobody, and tune weighs pages"));
    assert!(said("--rules spik").contains("'spik' is no burn-rate rule of a journey; did you mean 'spike'?"));
    assert!(said("--burn-rate 200..300").contains("the budget burns at 100.0, not faster"));
    assert!(said("--long 1h..5m").contains("from the least to the greatest"));
    assert!(said("--max-pages-per-week many").contains("write a number such as 2"));
    fs::write(folder.path().join("bounds.yml"), "bounds: [{rule: spike, burnrate: 6..20}]").unwrap();
    let bounds = said("--bounds bounds.yml");
    assert!(bounds.contains("unknown key 'burnrate'") && bounds.contains("bounds.yml:1:24"), "{bounds}");
    fs::write(folder.path().join("incidents.csv"), "journey,start,end\nchekout,0,60\n").unwrap();
    let incidents = said("");
    assert!(incidents.contains("did you mean 'checkout'?"), "{incidents}");
}

#[test]
fn no_candidate_within_the_limit_is_an_answer_of_its_own() {
    let folder = folder();
    let args = "tune --recording history.txt --incidents incidents.csv --burn-rate 6 --long 10m --short 1m --consecutive 1 \
                --max-pages-per-week 0 --out none.yml";
    // The present rules page as well.
    fs::write(folder.path().join("rules.yml"), RULES.replace("40, long: 2h, short: 30m", "6, long: 1h, short: 5m"))
        .unwrap();
    let output = slowburn(folder.path(), args);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("Nothing that was tried keeps to 0 pages a week"),
        "{}",
        text(&output.stdout)
    );
    assert!(!folder.path().join("none.yml").exists());
    assert!(text(&output.stderr).contains("'none.yml' was not written"));
}

#[test]
fn the_guide_shows_what_is_printed() {
    let golden =
        |name: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/tune").join(name));
    let guide =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tune.md")).expect("there is a guide");
    let shown = golden("checkout.txt").expect("another test writes it");
    assert!(guide.contains(shown.trim_end()), "docs/tune.md shows other output than tests/it/golden/tune/checkout.txt");
}

#[test]
fn only_what_is_tuned_differs() {
    let spec = bad_rules();
    let space = space(&spec, &tiny());
    let settings: BTreeMap<String, Setting> = space.by_rule(&space.present());
    assert_eq!(settings.keys().collect::<Vec<_>>(), ["fast-burn"]);
    let same = space.apply(&spec, &space.present());
    assert_eq!(format!("{same:?}"), format!("{spec:?}"));
    let mut other = space.present();
    other.0[0].short = Duration::from_minutes(1);
    let changed = space.apply(&spec, &other);
    assert!(changed.slos.iter().flat_map(|slo| &slo.rules).all(|rule| rule.clear_after == Duration::from_minutes(1)));
}

#[test]
fn without_an_incident_to_judge_by_nothing_is_recommended() {
    let folder = folder();
    // After all that is searched on.
    let late = "journey,start,end\ncheckout,2026-03-10T10:00:00Z,2026-03-10T11:00:00Z\n";
    fs::write(folder.path().join("incidents.csv"), late).unwrap();
    let search = "--burn-rate 6,14.4,30 --long 10m,1h --short 1m,5m --consecutive 1..4 --trials 12";
    let args = format!("tune --recording history.txt --incidents incidents.csv {search} --out tuned.yml");
    let output = slowburn(folder.path(), &args);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}{}", text(&output.stderr));
    assert!(said.contains("Nothing is recommended.") && said.contains("No known incident lies in the"), "{said}");
    assert!(!folder.path().join("tuned.yml").exists());
}
