//! The daemon and its state file, as its users run it: killed, restarted, with a disk that fails.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::daemon::{Daemon, RULES, config, pagerduty, pages};
use crate::exporter::Exporter;
use crate::fakes::{Fakes, Fault, Kind};

/// Kills in one run, unless the environment says how many.
const KILLS: u64 = 20;

const ROUTING_KEY: &str = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk";
const SIGNING_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr";

struct World {
    service: Exporter,
    fakes: Fakes,
    daemon: Daemon,
}

impl World {
    /// A daemon that pages by PagerDuty and a signed webhook and keeps its state in `state`.
    async fn start(state: &str) -> Self {
        Self::start_with(state, &["edge"], RULES).await
    }

    async fn start_with(state: &str, layers: &[&'static str], rules: &str) -> Self {
        let service = Exporter::start(layers).await;
        let fakes = Fakes::start("/services/T/B/X", Some(SIGNING_SECRET)).await;
        let hook = format!("webhook: {{url: '{}/hook?token=s3cretInTheUrl', secret: {SIGNING_SECRET}}}", fakes.base);
        let receivers = [("oncall", pagerduty(&fakes)), ("hook", hook)];
        let text = config(&service.url(), &receivers) + &format!("state: {{sqlite: {state}}}\n");
        let daemon = Daemon::start_with(&text, rules).await;
        Self { service, fakes, daemon }
    }

    /// Waits for this many pages and all they say.
    async fn pages(&mut self, expected: &[&str]) {
        let fakes = &self.fakes;
        self.daemon.eventually("page", async |_| (pages(fakes).len() >= expected.len()).then_some(())).await;
        assert_eq!(pages(&self.fakes), expected);
    }

    async fn evaluations(&mut self, more: u64) {
        let count = async |daemon: &Daemon| daemon.status().await["evaluations"].as_u64().unwrap_or_default();
        let goal = count(&self.daemon).await + more;
        self.daemon.eventually("evaluations", async |daemon| (count(daemon).await >= goal).then_some(())).await;
    }

    /// Waits until all that was told is known to be: what is killed before is told again, under its id.
    async fn settled(&mut self) {
        let waits = |status: &Value| status["receivers"].as_array().unwrap().iter().any(|to| to["pending"] != 0);
        self.daemon
            .eventually("the ends of sends", async |daemon| (!waits(&daemon.status().await)).then_some(()))
            .await;
        self.evaluations(1).await;
    }

    /// What the webhook accepted: id and incident, in order.
    fn hooks(&self) -> Vec<(String, String)> {
        let accepted =
            self.fakes.seen().into_iter().filter(|seen| seen.kind == Kind::Webhook && seen.status == Some(204));
        let id = |seen: &crate::fakes::Seen| seen.headers["webhook-id"].to_str().unwrap().to_owned();
        accepted.map(|seen| (id(&seen), seen.body["groupKey"].to_string())).collect()
    }
}

const TRIGGER: &str = "trigger checkout";
const RESOLVE: &str = "resolve checkout";

#[tokio::test(flavor = "multi_thread")]
async fn firing_stays_firing_over_a_stop_and_a_kill() {
    let mut world = World::start("state.db").await;
    world.daemon.ready().await;
    world.service.slow("edge", 100);
    world.pages(&[TRIGGER]).await;

    world.daemon.signal("TERM");
    assert!(world.daemon.ended().await.success());
    world.daemon.start_again(&[]).await;
    let restored = world.daemon.will_log("state restored").await;
    assert_eq!((&restored["alerts"], &restored["incidents"]), (&1.into(), &1.into()), "{restored}");
    let told = world.daemon.status().await["notifications"].clone();
    assert!(told.as_array().unwrap().iter().all(|told| told["outcome"] == "delivered"), "{told}");
    assert_eq!(told.as_array().unwrap().len(), 2, "{told}");
    world.evaluations(8).await;
    assert_eq!(pages(&world.fakes), [TRIGGER], "nothing is told again");

    world.settled().await;
    world.daemon.kill();
    world.daemon.start_again(&[]).await;
    assert_eq!(world.daemon.status().await["alerts"][0]["stage"], "critical");
    world.evaluations(8).await;
    assert_eq!(pages(&world.fakes), [TRIGGER]);

    // Back to normal while nobody looks: told once.
    world.daemon.kill();
    world.service.slow("edge", 0);
    world.daemon.start_again(&[]).await;
    world.pages(&[TRIGGER, RESOLVE]).await;
    world.evaluations(8).await;
    assert_eq!(pages(&world.fakes), [TRIGGER, RESOLVE]);
    assert_eq!(world.daemon.status().await["state"]["degraded"], Value::Null);
    assert!(world.daemon.get("/metrics").await.1.contains("slowburn_state_degraded 0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_sent_is_sent_after_the_restart() {
    let mut world = World::start("state.db").await;
    world.daemon.ready().await;
    for _ in 0..3 {
        world.fakes.fail(Kind::PagerDuty, Fault::status(503, "later").with_header("retry-after", "3600"));
    }
    world.fakes.fail(Kind::Webhook, Fault::Hang);
    world.service.slow("edge", 100);
    let under_way = |fakes: &Fakes| fakes.seen().iter().any(|seen| seen.status.is_none()) && fakes.seen().len() >= 2;
    let fakes = &world.fakes;
    world.daemon.eventually("sends", async |_| under_way(fakes).then_some(())).await;
    let first_id =
        world.fakes.seen().iter().find(|seen| seen.kind == Kind::Webhook).unwrap().headers["webhook-id"].clone();

    // One was told to come back in an hour, the other hangs: both are kept, and that is no failure.
    let stopwatch = slowburn::clock::Stopwatch::start();
    world.daemon.signal("TERM");
    assert!(world.daemon.ended().await.success());
    assert!(stopwatch.elapsed_s() < 10.0);
    assert!(world.daemon.log().contains("what waits is in the state file"), "{}", world.daemon.log());
    world.daemon.start_again(&[]).await;
    let world = &mut world;
    let fakes = &world.fakes;
    let hook = async |_: &mut Daemon| {
        fakes.seen().iter().find(|seen| seen.kind == Kind::Webhook && seen.status == Some(204)).cloned()
    };
    let hook = world.daemon.eventually("delivery", hook).await;
    assert_eq!(hook.headers["webhook-id"], first_id, "under the same id");
    let oncall = world.daemon.status().await["receivers"][0].clone();
    assert_eq!((&oncall["name"], &oncall["pending"]), (&"oncall".into(), &1.into()), "{oncall}");

    let secrets = [ROUTING_KEY, SIGNING_SECRET, "s3cretInTheUrl"];
    world.daemon.signal("TERM");
    world.daemon.ended().await;
    for file in std::fs::read_dir(world.daemon.path("")).unwrap().map(|entry| entry.unwrap().path()) {
        if file.file_name().unwrap().to_string_lossy().starts_with("state.db") {
            let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
            assert!(secrets.iter().all(|secret| !text.contains(secret)), "a secret stands in {}", file.display());
        }
    }
}

/// A number that looks random and is the same in every run.
fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// Each incident with what was told of it, one after the other, repetitions left out.
fn by_incident(told: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, Vec<String>> {
    let mut by_incident: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (incident, what) in told {
        let told = by_incident.entry(incident).or_default();
        if told.last() != Some(&what) {
            told.push(what);
        }
    }
    by_incident
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_moment_lose_no_transition() {
    let kills = std::env::var("SLOWBURN_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    // Two transitions each, so that nothing flaps.
    let journeys: Vec<&'static str> = (0..kills).map(|number| &*format!("j{number}").leak()).collect();
    let (rules, _) = RULES.split_once("journeys:").unwrap();
    let lines = journeys.iter().map(|name| {
        format!(
            "  - {{name: {name}, budget: 100ms, objective: 99%, period: 1h, rules: [spike], \
             layers: [{{name: edge, budget: 10ms, histogram: 'request_seconds{{layer=\"{name}\"}}'}}]}}\n"
        )
    });
    let rules = format!("{rules}journeys:\n{}", lines.collect::<String>());
    let mut world = World::start_with("state.db", &journeys, &rules).await;
    world.daemon.ready().await;
    let page = |told: &String| {
        let (what, incident) = told.split_once(' ').unwrap();
        (incident.to_owned(), what.to_owned())
    };
    let (mut seed, mut transitions, mut killed) = (7_u64, 0, 0);
    while killed < kills {
        // Each turn is heard of before the next: so a transition that is lost is one that is waited for in vain.
        let (journey, slow) = (journeys[transitions / 2], transitions % 2 == 0);
        transitions += 1;
        world.service.slow(journey, if slow { 100 } else { 0 });
        for _ in 0..1 + random(&mut seed) % 3 {
            tokio::time::sleep(Duration::from_millis(random(&mut seed) % 1500)).await;
            world.daemon.kill();
            world.daemon.start_again(&[]).await;
            killed += 1;
        }
        let fakes = &world.fakes;
        let heard = format!("{} {journey}", if slow { "trigger" } else { "resolve" });
        world.daemon.eventually("transition", async |_| pages(fakes).contains(&heard).then_some(())).await;
    }
    world.evaluations(4).await;
    let turns = ["trigger", "resolve"];
    for (incident, told) in by_incident(pages(&world.fakes).iter().map(page)) {
        assert!(!told.is_empty() && told[..] == turns[..told.len().min(2)], "{incident}: {told:?}");
    }
    // A duplicate has the id of what it repeats, nothing of its incident comes between, and there is at most one a kill.
    let hooks = world.hooks();
    let ids: std::collections::BTreeSet<&String> = hooks.iter().map(|(id, _)| id).collect();
    let in_turn = by_incident(hooks.iter().map(|(id, incident)| (incident.clone(), id.clone())));
    assert_eq!(in_turn.values().map(Vec::len).sum::<usize>(), ids.len(), "{hooks:?}");
    assert_eq!(ids.len(), transitions, "{hooks:?}");
    let duplicates = (hooks.len() - ids.len()) as u64;
    assert!(duplicates <= killed, "{duplicates} duplicates after {killed} kills");
    println!("{killed} kills, {transitions} transitions, {duplicates} duplicates");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_directory_it_pages_and_says_so_until_there_is_one() {
    let mut world = World::start("kept/state.db").await;
    let status = world.daemon.status().await;
    assert!(status["state"]["degraded"].as_str().unwrap().contains("kept/state.db"), "{}", status["state"]);
    assert!(world.daemon.get("/metrics").await.1.contains("slowburn_state_degraded 1"));
    let shown = Command::new(env!("CARGO_BIN_EXE_slowburn"))
        .args(["status", "--url", &world.daemon.base])
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("is degraded since"), "{shown}");
    world.service.slow("edge", 100);
    world.pages(&[TRIGGER]).await;
    assert_eq!(world.daemon.log().matches("state cannot be saved").count(), 1);

    std::fs::create_dir(world.daemon.path("kept")).unwrap();
    world.daemon.will_log("state is saved again").await;
    assert_eq!(world.daemon.status().await["state"]["degraded"], Value::Null);
    // Everything from before is in it.
    world.daemon.kill();
    world.daemon.start_again(&[]).await;
    assert_eq!(world.daemon.will_log("state restored").await["alerts"], 1);
    world.evaluations(6).await;
    assert_eq!(pages(&world.fakes), [TRIGGER]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_named_and_pages_go_out() {
    let mut world = World::start("state.db").await;
    world.daemon.ready().await;
    world.daemon.signal("TERM");
    world.daemon.ended().await;
    let file = world.daemon.path("state.db");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    // What was written last may stand there, and would mend it.
    let _ = std::fs::remove_file(world.daemon.path("state.db-wal"));
    world.daemon.start_again(&[]).await;
    let state = world.daemon.status().await["state"].clone();
    let aside = state["set_aside"].as_str().unwrap();
    assert!(aside.contains("state.db.corrupt-") && std::path::Path::new(aside).exists(), "{state}");
    assert!(state["degraded"].as_str().unwrap().contains(aside), "{state}");
    world.service.slow("edge", 100);
    world.pages(&[TRIGGER]).await;
}

/// A file may grow no further, as on a disk that is full.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_stops_no_page() {
    let mut world = World::start("state.db").await;
    world.daemon.kill();
    world.daemon.start_again(&["sh", "-c", "trap '' XFSZ; ulimit -f 160; exec \"$@\"", "sh"]).await;
    let degraded = async |daemon: &mut Daemon| daemon.status().await["state"]["degraded"].as_str().map(str::to_owned);
    world.daemon.eventually("full disk", degraded).await;
    world.service.slow("edge", 100);
    world.pages(&[TRIGGER]).await;
    world.service.slow("edge", 0);
    world.pages(&[TRIGGER, RESOLVE]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn a_disk_that_cannot_be_written_is_still_read() {
    let mut world = World::start("kept/state.db").await;
    std::fs::create_dir(world.daemon.path("kept")).unwrap();
    world.daemon.will_log("state is saved again").await;
    world.service.slow("edge", 100);
    world.pages(&[TRIGGER]).await;
    world.settled().await;
    world.daemon.kill();
    let kept = world.daemon.path("kept");
    let mount = format!("mount --bind {0} {0} && mount -o remount,ro,bind {0} && exec \"$@\"", kept.display());
    world.daemon.start_again(&["unshare", "-m", "sh", "-c", &mount, "sh"]).await;
    let state = world.daemon.status().await["state"].clone();
    assert!(state["degraded"].as_str().is_some(), "{state}");
    world.evaluations(6).await;
    assert_eq!(pages(&world.fakes), [TRIGGER], "what fires was known");
    world.service.slow("edge", 0);
    world.pages(&[TRIGGER, RESOLVE]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn a_full_disk_stops_no_page() {
    let mut world = World::start("kept/state.db").await;
    std::fs::create_dir(world.daemon.path("kept")).unwrap();
    world.daemon.kill();
    let mount = format!("mount -t tmpfs -o size=160k tmpfs {} && exec \"$@\"", world.daemon.path("kept").display());
    world.daemon.start_again(&["unshare", "-m", "sh", "-c", &mount, "sh"]).await;
    let degraded = async |daemon: &mut Daemon| daemon.status().await["state"]["degraded"].as_str().map(str::to_owned);
    world.daemon.eventually("full disk", degraded).await;
    world.service.slow("edge", 100);
    world.pages(&[TRIGGER]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_of_scraped_services_go_on() {
    let mut world = World::start("state.db").await;
    world.daemon.ready().await;
    world.service.slow("edge", 40);
    world.evaluations(8).await;
    let slo = async |daemon: &Daemon| daemon.status().await["slos"][0].clone();
    let before = slo(&world.daemon).await;
    world.daemon.signal("TERM");
    assert!(world.daemon.ended().await.success());
    world.daemon.start_again(&[]).await;
    assert_eq!(world.daemon.will_log("state restored").await["windows"], 1);
    let after = slo(&world.daemon).await;
    assert!(after["events"].as_f64() >= before["events"].as_f64() && after["events"].as_f64() > Some(500.0), "{after}");
    let left = |slo: &Value| slo["budget_remaining"].as_f64().unwrap();
    // A scrape or two may lie between the two questions.
    assert!((left(&after) - left(&before)).abs() < 8.0 && left(&after) < 0.0, "{before} {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_never_share_a_file_nor_does_a_reload_change_it() {
    let mut world = World::start("state.db").await;
    world.daemon.ready().await;
    let second = Command::new(env!("CARGO_BIN_EXE_slowburn"))
        .args(["run", "--config"])
        .arg(world.daemon.path("slowburn.yml"))
        .output()
        .unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!((second.status.code(), said.matches("in use by another slowburn").count()), (Some(2), 1), "{said}");

    let text = std::fs::read_to_string(world.daemon.path("slowburn.yml")).unwrap();
    std::fs::write(world.daemon.path("slowburn.yml"), text.replace("state.db", "other.db")).unwrap();
    let (code, answer) = world.daemon.post("/-/reload").await;
    assert!(code == 422 && answer.contains("takes a restart"), "{code} {answer}");
}

/// Far more to tell than can be told until the stop: what was not sent by then is in the file, and told after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_loses_nothing() {
    const JOURNEYS: usize = 300;
    let service = Exporter::start(&["edge"]).await;
    let fakes = Fakes::start("/services/T/B/X", None).await;
    let slack = format!("slack: {{webhook_url: '{}/services/T/B/X'}}", fakes.base);
    let text = config(&service.url(), &[("oncall", pagerduty(&fakes)), ("team", slack)]);
    let name = |number: usize| format!("journey-{number:03}.");
    let (rules, journey) = RULES.split_once("journeys:\n").unwrap();
    let journeys: String = (0..JOURNEYS).map(|number| journey.replace("checkout", &name(number))).collect();
    let rules = format!("{rules}journeys:\n{journeys}");
    let mut daemon = Daemon::start_with(&(text + "state: {sqlite: state.db}\n"), &rules).await;
    daemon.ready().await;
    service.slow("edge", 100);
    daemon.eventually("a page", async |_| (!pages(&fakes).is_empty()).then_some(())).await;

    let stopwatch = slowburn::clock::Stopwatch::start();
    daemon.signal("TERM");
    assert!(daemon.ended().await.success(), "{}", daemon.log());
    assert!(stopwatch.elapsed_s() < 10.0);
    let unheard = |kind: Kind, status: u16| {
        let taken = fakes.seen().into_iter().filter(|seen| seen.kind == kind && seen.status == Some(status));
        let bodies: Vec<String> = taken.map(|seen| seen.body.to_string()).collect();
        (0..JOURNEYS).filter(|number| !bodies.iter().any(|body| body.contains(&name(*number)))).count()
    };
    assert!(unheard(Kind::Slack, 200) > 0, "there was no load");
    daemon.start_again(&[]).await;
    for (kind, status) in [(Kind::PagerDuty, 202), (Kind::Slack, 200)] {
        daemon.eventually("everything to be told", async |_| (unheard(kind, status) == 0).then_some(())).await;
    }
    assert!(fakes.seen().iter().all(|seen| seen.status != Some(429)), "nobody was told too much at once");
}
