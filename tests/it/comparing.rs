//! Two configurations side by side over the same history.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use proptest::prelude::*;
use slowburn::config;
use slowburn::engine::Spec;
use slowburn::engine::rule::{Stage, Urgency};
use slowburn::engine::time::Duration;
use slowburn::replay::compare::{Changes, Comparison, Judged, Kept, Moment, Pair};
use slowburn::replay::{Document, Given, replay_from};
use slowburn::source::reader::{Origin, Reader};
use slowburn::zone::Zone;

use super::history::openmetrics;
use super::scoring::cases::{BEGINS, Page, document, page};
use super::scoring::{DAY, replayed_with, shipped_incidents};
use super::{golden, quality};

fn compared(first: &Document, second: &Document) -> Comparison {
    let spec = Spec::default();
    let judged = |name, document| Judged { name, spec: &spec, document };
    Comparison::new(judged("first.yml", first), judged("second.yml", second))
}

#[test]
fn a_comparison_reads_well() {
    let plan = quality::plan(1, 3);
    let (series, known) = (plan.series(), shipped_incidents().list);
    let (first, mut second) = (quality::spec("standard", 2), Spec::clone(&quality::spec("page-rules-of-sloth", 1)));
    // Not quite the same journey either.
    second.slos[4].layer = Some("backbone".into());
    second.slos[0].budget_s *= 4.0;
    let documents = [first.clone(), second.clone().into()].map(|spec| {
        let mut document = replayed_with(spec, &plan, &series, plan.from + DAY, &known);
        document.judge(&Zone::UTC, Some(&known));
        document
    });
    let judged = |name, spec, index: usize| Judged { name, spec, document: &documents[index] };
    let comparison = Comparison::new(judged("slowburn.yml", &first, 0), judged("rules/sloth.yml", &second, 1));
    let text = comparison.to_string();
    golden::check("replay/compare.txt", &text);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let mut json = Vec::new();
    comparison.write_json(&mut json).expect("memory takes all");
    golden::check("replay/compare.json", &String::from_utf8(json).expect("JSON is UTF-8"));
}

/// Start and end of pages, in minutes; what is gained and lost, and how much later what is kept is told.
#[track_caller]
fn check(first: &[(i64, i64)], second: &[(i64, i64)], gained: &[i64], lost: &[i64], kept: &[i64]) {
    let pages = |pages: &[(i64, i64)]| pages.iter().map(|(from, to)| page("edge", *from, *to)).collect::<Vec<_>>();
    let begins = BEGINS;
    let (first, second) = (document(&pages(first), begins), document(&pages(second), begins));
    let Changes { gained: more, lost: less, kept: both } = compared(&first, &second).pages;
    let minutes =
        |moments: &[Moment]| moments.iter().map(|moment| moment.at.since(begins).ms() / 60_000).collect::<Vec<_>>();
    assert_eq!((minutes(&more), minutes(&less)), (gained.to_vec(), lost.to_vec()));
    assert_eq!(both.iter().map(|kept| kept.later_s as i64 / 60).collect::<Vec<_>>(), kept);
}

#[test]
fn episodes_are_matched() {
    check(&[], &[], &[], &[], &[]);
    check(&[(10, 20)], &[(12, 30)], &[], &[], &[2]);
    check(&[(10, 20)], &[(8, 9)], &[], &[], &[-2]);
    // Half an hour after the end is still of it.
    check(&[(10, 20)], &[(50, 60)], &[], &[], &[40]);
    check(&[(10, 20)], &[(51, 60)], &[51], &[10], &[]);
    // Each has one counterpart, the nearest.
    check(&[(10, 15), (30, 90)], &[(31, 90)], &[], &[10], &[1]);
    check(&[(31, 90)], &[(10, 15), (30, 90)], &[10], &[], &[-1]);
    check(&[(10, 100)], &[(11, 30), (60, 90)], &[60], &[], &[1]);
}

#[test]
fn a_page_of_another_layer_or_a_ticket_of_another_kind_does_not_stand_in() {
    let pages = |pages: &[(&'static str, i64)]| {
        pages.iter().map(|(layer, from)| page(layer, *from, from + 60)).collect::<Vec<_>>()
    };
    let [first, second] = [pages(&[("database", 10)]), pages(&[("edge", 10), ("database", 30)])];
    let changes = compared(&document(&first, BEGINS), &document(&second, BEGINS)).pages;
    assert_eq!((changes.gained.len(), changes.lost.len(), changes.kept[0].later_s), (1, 0, 1200.0));
    // Rather another layer than none.
    let changes = compared(&document(&first, BEGINS), &document(&second[..1], BEGINS)).pages;
    assert_eq!((changes.gained.len(), changes.lost.len(), changes.kept.len()), (0, 0, 1));
    assert_ne!(changes.kept[0].first_summary, changes.kept[0].summary);

    let told = |stage: Stage, urgency: Urgency, rule: &str| {
        let mut document = document(&[Page { urgency, ..page("edge", 10, 20) }], BEGINS);
        for told in &mut document.notifications {
            told.stage = stage;
            told.alerts.iter_mut().for_each(|alert| (alert.stage, alert.rule) = (stage, rule.to_owned()));
        }
        document
    };
    let warning = told(Stage::Warning, Urgency::Page, "spike");
    let ticket = |rule: &str| told(Stage::Critical, Urgency::Ticket, rule);
    let check = |first: &Document, second: &Document, kept: usize| {
        let changes = compared(first, second).tickets;
        assert_eq!([changes.gained.len(), changes.lost.len(), changes.kept.len()], [1 - kept, 1 - kept, kept]);
    };
    check(&ticket("drain"), &warning, 0);
    check(&ticket("drain"), &ticket("drain"), 1);
    check(&ticket("drain"), &ticket("slow"), 1);
    // The same rule, which pages no more.
    check(&warning, &ticket("spike"), 1);
}

fn any_pages() -> impl Strategy<Value = Vec<Page>> {
    prop::collection::vec((1i64..200, 1i64..100, any::<bool>()), 0..10).prop_map(|gaps| {
        let mut minute = 0;
        let pages = gaps.into_iter().map(|(gap, length, database)| {
            let from = minute + gap;
            minute = from + length;
            page(if database { "database" } else { "edge" }, from, minute)
        });
        pages.collect()
    })
}

proptest! {
    #[test]
    fn a_set_compared_with_itself_gains_and_loses_nothing(pages in any_pages()) {
        let document = document(&pages, BEGINS);
        let Comparison { pages: changes, tickets, .. } = compared(&document, &document);
        prop_assert!(changes.gained.is_empty() && changes.lost.is_empty() && tickets == Changes::default());
        prop_assert_eq!(changes.kept.len(), pages.len());
        prop_assert!(changes.kept.iter().all(|kept| kept.later_s == 0.0));
    }

    /// The other way round what is gained is lost, and nothing is ever counted twice.
    #[test]
    fn the_other_way_round((first, second) in (any_pages(), any_pages())) {
        let documents = [document(&first, BEGINS), document(&second, BEGINS)];
        let there = compared(&documents[0], &documents[1]).pages;
        let back = compared(&documents[1], &documents[0]).pages;
        prop_assert_eq!((&there.gained, &there.lost), (&back.lost, &back.gained));
        prop_assert_eq!(there.kept.len() + there.lost.len(), first.len());
        prop_assert_eq!(there.kept.len() + there.gained.len(), second.len());
        let times = |kept: &Kept, there: bool| if there { (kept.first_at, kept.second_at) } else { (kept.second_at, kept.first_at) };
        let [mut there, mut back] = [(there.kept, true), (back.kept, false)].map(|(kept, there)| kept.iter().map(|kept| times(kept, there)).collect::<Vec<_>>());
        there.sort();
        back.sort();
        prop_assert_eq!(there, back);
    }
}

#[test]
fn a_rule_file_replaces_what_has_its_names() {
    let main = "
source: {prometheus: {url: 'http://127.0.0.1:9090'}}
rule_files: [rules.yml]
receivers: [{name: oncall, webhook: {url: 'http://127.0.0.1:8080'}}]
packs: {all: [spike, slow]}
journeys: [{name: checkout, histogram: m, budget: 100ms, objective: 99%, rules: [all]}]
";
    let rules = "rules: [{name: spike, burn_rate: 10, long: 10m, urgency: page}, {name: slow, burn_rate: 6, long: 6h, urgency: page}]";
    let tuned = "rules: [{name: spike, burn_rate: 12, long: 20m, urgency: page}]";
    let repacked = "{rules: [{name: fast, burn_rate: 9, long: 1h, urgency: page}], packs: {all: [fast]}}";
    let other = main.replace("[all]", "[slow]");
    let broken = "rules: [{name: spike, burn_rate: 12, long: 20m, urgency: pager}]";
    let files = [
        ("main.yml", main),
        ("rules.yml", rules),
        ("tuned.yml", tuned),
        ("repacked.yml", repacked),
        ("other.yml", &other),
        ("broken.yml", broken),
    ];
    let texts: BTreeMap<String, String> = files.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
    let rules_of = |other: &str| {
        let loaded =
            config::load_other_texts("main.yml", other, &texts, &|_| None).map_err(|wrong| wrong.to_string())?;
        let rules = loaded.config.spec.slos[0].rules.iter();
        Ok(rules
            .map(|rule| format!("{} {}", rule.name, rule.limit.long_window().unwrap_or_default()))
            .collect::<Vec<_>>())
    };
    let check = |other: &str, expected: &[&str]| {
        let found: Result<Vec<String>, String> = rules_of(other);
        assert_eq!(found, Ok(expected.iter().map(|rule| (*rule).to_owned()).collect()), "{other}");
    };
    check("tuned.yml", &["spike 20m", "slow 6h"]);
    check("rules.yml", &["spike 10m", "slow 6h"]);
    check("repacked.yml", &["fast 1h"]);
    check("other.yml", &["slow 6h"]);
    assert!(
        rules_of("broken.yml").is_err_and(|said| said.starts_with("broken.yml:1:")),
        "{:?}",
        rules_of("broken.yml")
    );
    assert!(rules_of("nowhere.yml").is_err_and(|said| said.contains("cannot read 'nowhere.yml'")));
}

/// What either of two that are read together decides is what it decides alone.
#[tokio::test(flavor = "multi_thread")]
async fn both_decide_what_each_decides_alone() {
    let plan = quality::plan(2, 1);
    let folder = tempfile::tempdir().expect("a folder");
    let recording = folder.path().join("history.om");
    fs::write(&recording, openmetrics(&plan.series())).expect("room");
    let (first, mut second) = (quality::configuration("standard"), quality::configuration("page-rules-of-sloth"));
    // Another budget, and no network.
    let mut spec = Spec::clone(&second.spec);
    spec.slos[0].budget_s *= 4.0;
    spec.slos[1].objective_ppm = 995_000;
    spec.slos.pop();
    second.spec = spec.into();
    second.selectors.pop();
    let origin = Origin::Recording(recording);
    let range = (plan.from + Duration::from_hours(6), plan.to());
    let given = Given::default();
    let mut alone = Vec::new();
    for config in [&first, &second] {
        let reader = Reader::open(config, &origin).expect("it is sound").expect("it is a file");
        let replayed = replay_from(config, reader, range.0, range.1, &given, |_| true).await;
        alone.push(replayed.expect("it can be replayed").document);
    }
    let pair = Pair::new(first.clone(), second).expect("their intervals are the same");
    let together = pair.replay(pair.open(&origin).expect("it is sound"), range, &given, |_| true).await;
    let together = together.expect("it can be replayed").documents;
    assert!(alone[0].alerts.len() > 2 && alone[1].alerts.len() > 2, "the history holds too little");
    assert!(alone[..] == together[..], "{}\n{}", alone[1], together[1]);
    // Nothing is read twice for the same histograms, and intervals must be the same.
    let same = Pair::new(first.clone(), first.clone()).expect("they are the same");
    assert_eq!(same.union().selectors.len(), first.selectors.len());
    let mut slower = Spec::clone(&first.spec);
    slower.interval = Duration::from_minutes(1);
    let slower = config::Config { spec: slower.into(), ..first.clone() };
    let error = Pair::new(first, slower).expect_err("their slots differ").to_string();
    assert!(error.contains("every 30s and every 1m"), "{error}");
}

/// The command itself: what it prints, and that it reads nothing it could trip over before it says what is wrong.
#[test]
fn the_command_scores_and_compares() {
    let plan = quality::plan(1, 1);
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("room");
    quality::texts("standard").iter().for_each(|(name, text)| write(name, text));
    write("history.om", &openmetrics(&plan.series()));
    write("tuned.yml", "rules: [{name: spike, burn_rate: 2, long: 10m, short: 1m, urgency: page}]");
    let incident = &plan.incidents[2];
    let layer = &incident.layer;
    write("known.csv", &format!("journey,layer,start,end\ncheckout,{layer},{},{}\n", incident.from, incident.to));
    write("broken.csv", "journey,start,end\nchekout,2026-03-02T14:00:00Z,tomorrow\n");
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slowburn"));
        command
            .env("NO_COLOR", "1")
            .current_dir(folder.path())
            .args(["replay", "--recording", "history.om"])
            .args(args);
        let output = command.output().expect("the binary runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, out, err) = run(&["--incidents", "known.csv", "--time-zone", "asia/tokyo"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("22:00-07:00 Asia/Tokyo") && out.contains("1 detected, 0 missed; recall 100.0%"), "{out}");
    let (code, out, err) = run(&["--incidents", "known.csv", "--compare", "tuned.yml", "--format", "json"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let document: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert!(document["second"]["statistics"]["pages"].as_u64() > document["first"]["statistics"]["pages"].as_u64());
    assert_eq!(document["second"]["score"]["overall"]["detected"], 1);
    assert!(document["pages"]["gained"].as_array().is_some_and(|gained| !gained.is_empty()), "{out}");
    let (code, out, err) = run(&["--incidents", "broken.csv"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(
        err.contains("broken.csv:2:1") && err.contains("did you mean 'checkout'?") && err.contains("'tomorrow'"),
        "{err}"
    );
    // Before the recording begins.
    write("known.csv", "journey,start,end\ncheckout,2020-03-02T14:00:00Z,2020-03-02T15:00:00Z\n");
    let (code, out, err) = run(&["--incidents", "known.csv"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("warning: this incident is not within the replayed range"), "{err}");
    assert!(out.contains("Not counted"), "{out}");
    let (code, _, err) = run(&["--compare", "tuned.yml", "--format", "html"]);
    assert!(code == Some(2) && err.contains("a comparison has no page"), "{err}");
    let (code, _, err) = run(&["--time-zone", "Europe/Berln"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("did you mean 'Europe/Berlin'?"), "{err}");
}
