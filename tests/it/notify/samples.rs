//! A configuration with one receiver of each kind, and notifications of an evening on which checkout was slow.

use std::sync::Arc;

use slowburn::config::secret::Secret;
use slowburn::config::selector::Selector;
use slowburn::config::{Access, Config, HttpClient, Prometheus, Receiver, ReceiverKind, Server, Source, Templates};
use slowburn::engine::histogram::Labels;
use slowburn::engine::notification::{AlertFacts, Digest, DigestEntry, DigestKind, Notification, Reason};
use slowburn::engine::rule::{Limit, Stage, Urgency};
use slowburn::engine::sli::{Between, NewSeries, SloSpec};
use slowburn::engine::time::{Duration, Timestamp};
use slowburn::engine::{ReceiverSpec, Spec};

pub const PAGERDUTY: usize = 0;
pub const SLACK: usize = 1;
pub const WEBHOOK: usize = 2;

pub const ROUTING_KEY: &str = "R0UT1NGKEY0123456789abcdef012345";
pub const SLACK_PATH: &str = "/services/T0SECRET1/B0SECRET2/x0SecretTokenOfSlack";
pub const HOOK_PATH: &str = "/hooks/h00kSecretPath";
pub const SIGNING_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

const LAYERS: [(&str, f64); 5] =
    [("edge", 0.010), ("gateway", 0.005), ("service", 0.030), ("database", 0.040), ("network", 0.010)];
pub const DATABASE: usize = 3;

/// Saturday, 2026-03-07, a quarter past three at night.
pub fn night() -> Timestamp {
    Timestamp::from_unix_s(1_772_853_300)
}

/// Three receivers at `base`, such as `http://127.0.0.1:4000`.
pub fn config(base: &str) -> Config {
    let receivers = [
        (
            "oncall",
            ReceiverKind::PagerDuty { routing_key: Secret::new(ROUTING_KEY.into()), url: format!("{base}/v2/enqueue") },
        ),
        ("team", ReceiverKind::Slack { webhook_url: Secret::new(format!("{base}{SLACK_PATH}")) }),
        (
            "hook",
            ReceiverKind::Webhook {
                url: Secret::new(format!("{base}{HOOK_PATH}")),
                secret: Some(Secret::new(SIGNING_SECRET.into())),
                http: HttpClient::default(),
            },
        ),
    ];
    let slos: Vec<SloSpec> = LAYERS.iter().map(|(layer, budget_s)| slo(layer, *budget_s)).collect();
    let external_url = "https://reader:s3cretReader@prometheus.example.com/prom".to_owned();
    Config {
        selectors: slos.iter().map(|slo| Selector::parse(&slo.selector).unwrap()).collect(),
        spec: Arc::new(Spec {
            interval: Duration::from_secs(30),
            blind_after: 3,
            slos,
            receivers: receivers.iter().map(|(name, _)| ReceiverSpec::new(name)).collect(),
            ..Spec::default()
        }),
        source: Source::Prometheus(Prometheus {
            url: external_url.clone(),
            external_url,
            timeout: Duration::from_secs(10),
            delay: Duration::from_secs(2),
            max_response_bytes: 1 << 26,
            http: HttpClient::default(),
        }),
        receivers: receivers
            .into_iter()
            .map(|(name, kind)| Receiver { name: name.into(), kind, template: Templates::default() })
            .collect(),
        server: Server { listen: ([127, 0, 0, 1], 9797).into(), tls: None, access: Access::default() },
        heartbeat: None,
        state: None,
        files: vec![],
    }
}

fn slo(layer: &str, budget_s: f64) -> SloSpec {
    SloSpec {
        journey: "checkout".into(),
        layer: Some(layer.into()),
        tier: None,
        owner: Some("payments".into()),
        runbook: Some("https://wiki.example.com/checkout".into()),
        labels: Labels::from([("team".into(), "payments".into())]),
        selector: format!("request_duration_seconds{{layer=\"{layer}\"}}"),
        budget_s,
        objective_ppm: 990_000,
        period: Duration::from_days(30),
        between: Between::Refuse,
        new_series: NewSeries::Skip,
        by: vec![],
        max_by: 100,
        rules: vec![],
    }
}

/// The database is slow: the page that opens the incident.
pub fn opened() -> Notification {
    Notification {
        id: "01955f8e-2c1a-7000-8000-000000000001".into(),
        at: night(),
        receiver: SLACK,
        reason: Reason::Opened,
        incident: "checkout".into(),
        journey: Some("checkout".into()),
        owner: Some("payments".into()),
        runbook: Some("https://wiki.example.com/checkout".into()),
        group: Labels::from([("journey".into(), "checkout".into())]),
        stage: Stage::Critical,
        urgency: Urgency::Page,
        opened_at: night() - Duration::from_minutes(3),
        resolved_at: None,
        alerts: vec![spike()],
        detail: None,
        digest: None,
        summary: String::new(),
    }
}

/// 34% of the database's requests over 40 ms, for three minutes.
pub fn spike() -> AlertFacts {
    AlertFacts {
        slo: DATABASE,
        layer: Some("database".into()),
        labels: Labels::new(),
        rule: "spike".into(),
        limit: Limit::BurnRate { factor: 14.4, long: Duration::from_minutes(10), short: Duration::from_minutes(1) },
        urgency: Urgency::Page,
        stage: Stage::Critical,
        usage: 2.361,
        breached_at: night() - Duration::from_minutes(3),
        fired_at: night() - Duration::from_minutes(2),
        ended_at: None,
        burn_long: 34.0,
        burn_short: 51.2,
        events: 12_300.0,
        bad_events: 4182.0,
        share_of_slow: 0.92,
        quantiles_s: Some([0.0123, 0.0877, 0.2411]),
        budget_s: 0.040,
        objective_ppm: 990_000,
        period: Duration::from_days(30),
        budget_remaining: 0.613,
        exhausted_in: Some(Duration::from_minutes(518)),
        period_coverage: 1.0,
    }
}

/// An alert of another layer that came with the first.
pub fn joined(slo: usize, layer: &str, stage: Stage, urgency: Urgency) -> AlertFacts {
    AlertFacts {
        slo,
        layer: Some(layer.into()),
        rule: "fast-burn".into(),
        limit: Limit::BurnRate { factor: 14.4, long: Duration::from_hours(1), short: Duration::from_minutes(5) },
        urgency,
        stage,
        burn_long: 12.9,
        burn_short: 15.1,
        share_of_slow: 0.08,
        breached_at: night() - Duration::from_minutes(1),
        ..spike()
    }
}

/// Each notification that has a golden file, by the file's name.
pub fn all() -> Vec<(&'static str, Notification)> {
    let hour_later = night() + Duration::from_hours(4);
    let ended = |alert: AlertFacts| AlertFacts { ended_at: Some(night() + Duration::from_minutes(57)), ..alert };
    let mut all = vec![
        ("opened", opened()),
        ("escalated", escalated()),
        ("repeated", Notification { at: hour_later, reason: Reason::Repeated, ..escalated() }),
        (
            "resolved",
            Notification {
                at: night() + Duration::from_hours(1),
                reason: Reason::Resolved,
                resolved_at: Some(night() + Duration::from_hours(1)),
                alerts: vec![
                    ended(AlertFacts {
                        burn_long: 0.4,
                        burn_short: 0.0,
                        quantiles_s: Some([0.0088, 0.0211, 0.0312]),
                        budget_remaining: 0.544,
                        exhausted_in: None,
                        ..spike()
                    }),
                    ended(joined(2, "service", Stage::Warning, Urgency::Page)),
                ],
                ..opened()
            },
        ),
        ("blind", blind()),
        (
            "blind_resolved",
            Notification {
                at: night() + Duration::from_minutes(12),
                reason: Reason::Resolved,
                resolved_at: Some(night() + Duration::from_minutes(12)),
                ..blind()
            },
        ),
        ("many_layers", many_layers()),
        ("other_rules", other_rules()),
        ("no_traffic", no_traffic()),
        ("long_names", long_names()),
        ("hostile", hostile()),
        ("fallback", Notification { detail: Some("receiver 'oncall' refused this: gone".into()), ..opened() }),
        ("warning", warning()),
        ("nothing_left", nothing_left()),
        ("flood", flood()),
        ("flood_over", flood_over()),
        ("scheduled", scheduled()),
    ];
    all.iter_mut().for_each(|(_, notification)| notification.summarize());
    all
}

fn escalated() -> Notification {
    Notification {
        reason: Reason::Escalated,
        alerts: vec![spike(), joined(2, "service", Stage::Warning, Urgency::Page)],
        ..opened()
    }
}

fn blind() -> Notification {
    Notification {
        reason: Reason::Blind,
        incident: "source".into(),
        journey: None,
        owner: None,
        runbook: None,
        group: Labels::new(),
        alerts: vec![],
        detail: Some("3 polls in a row failed: no answer from the source within 10s".into()),
        ..opened()
    }
}

fn many_layers() -> Notification {
    let regions = ["eu-west-1", "eu-central-1", "us-east-1", "us-west-2", "ap-south-1", "sa-east-1", "af-south-1"];
    let layer = |(i, region): (usize, &&str)| AlertFacts {
        labels: Labels::from([("region".into(), (*region).into())]),
        burn_long: 30.0 - i as f64,
        share_of_slow: 0.05,
        ..joined(i % 5, LAYERS[i % 5].0, Stage::Critical, Urgency::Page)
    };
    let mut alerts = vec![spike()];
    alerts.extend(regions.iter().enumerate().map(layer));
    alerts.extend(regions.iter().enumerate().map(|(i, region)| layer((i + 2, region))));
    Notification { alerts, ..opened() }
}

/// The kinds of rule beside the burn rate, on a budget that is overspent and hardly seen.
fn other_rules() -> Notification {
    let budget = AlertFacts {
        rule: "budget".into(),
        limit: Limit::BudgetConsumed { share: 1.0 },
        urgency: Urgency::Ticket,
        budget_remaining: -0.12,
        exhausted_in: None,
        period_coverage: 0.031,
        events: 124_410_927.0,
        bad_events: 1_393_402.0,
        usage: 1.12,
        burn_long: 1.12,
        ..spike()
    };
    let runway = AlertFacts {
        rule: "runway".into(),
        limit: Limit::Exhaustion { within: Duration::from_hours(1), short: Duration::from_minutes(5) },
        exhausted_in: Some(Duration::from_minutes(48)),
        budget_remaining: 0.03,
        usage: 1.25,
        ..joined(1, "gateway", Stage::Critical, Urgency::Page)
    };
    let approach = AlertFacts {
        rule: "approach".into(),
        limit: Limit::Latency { quantile: 0.99, over: Duration::from_hours(1) },
        urgency: Urgency::Ticket,
        stage: Stage::Warning,
        usage: 0.95,
        budget_s: 0.010,
        ..joined(0, "edge", Stage::Warning, Urgency::Ticket)
    };
    Notification { urgency: Urgency::Ticket, alerts: vec![budget, runway, approach], ..opened() }
}

/// An incident of a digest, told on the `number`th minute of the night.
pub fn entry(number: i64, reason: Reason, stage: Stage, urgency: Urgency) -> DigestEntry {
    let began_at = night() - Duration::from_minutes(number);
    let mut opened = Notification {
        incident: format!("journey-{number}"),
        journey: Some(format!("journey-{number}")),
        stage,
        urgency,
        reason,
        opened_at: began_at,
        resolved_at: (reason == Reason::Resolved).then(night),
        ..opened()
    };
    opened.summarize();
    DigestEntry::of(&opened)
}

fn digest(kind: DigestKind, entries: Vec<DigestEntry>, open: u64) -> Notification {
    let key = "slowburn:flood:team".to_owned();
    let digest = Digest::new(kind, entries, open);
    Notification { receiver: SLACK, ..digest.into_notification("sb-0a1b".into(), night(), SLACK, key) }
}

fn flood() -> Notification {
    let mut entries = vec![
        entry(4, Reason::Resolved, Stage::Critical, Urgency::Page),
        entry(5, Reason::Escalated, Stage::Critical, Urgency::Ticket),
        entry(6, Reason::Repeated, Stage::Warning, Urgency::Ticket),
    ];
    entries.extend((7..12).map(|number| entry(number, Reason::Opened, Stage::Critical, Urgency::Page)));
    digest(DigestKind::Flood, entries, 1234)
}

fn flood_over() -> Notification {
    let over = |number| entry(number, Reason::Resolved, Stage::Critical, Urgency::Page);
    digest(DigestKind::Flood, (1..4).map(over).collect(), 0)
}

/// A night's soft warnings, more than fit.
fn scheduled() -> Notification {
    let warning = |number| DigestEntry {
        held: number % 10 != 0,
        ended_at: (number % 3 == 0).then(night),
        ..entry(number, Reason::Opened, Stage::Warning, Urgency::Ticket)
    };
    let kind = DigestKind::Scheduled { name: "daily".into() };
    let mut told = digest(kind, (1..13).map(warning).collect(), 25);
    told.digest.iter_mut().for_each(|digest| digest.left_out = 27);
    told.summarize();
    told
}

/// A ticket for what may become slow.
fn warning() -> Notification {
    let approach = AlertFacts {
        rule: "approach".into(),
        limit: Limit::Latency { quantile: 0.999, over: Duration::from_hours(1) },
        usage: 0.95,
        burn_long: 0.4,
        burn_short: 0.5,
        bad_events: 49.2,
        share_of_slow: 0.31,
        quantiles_s: Some([0.0123, 0.0211, 0.0311]),
        exhausted_in: Some(Duration::from_days(45)),
        ..joined(DATABASE, "database", Stage::Warning, Urgency::Ticket)
    };
    Notification { stage: Stage::Warning, urgency: Urgency::Ticket, alerts: vec![approach], ..opened() }
}

/// The budget is gone, so there is no time left and no end to the usage.
fn nothing_left() -> Notification {
    let runway = AlertFacts {
        rule: "runway".into(),
        limit: Limit::Exhaustion { within: Duration::from_hours(1), short: Duration::from_minutes(5) },
        usage: f64::INFINITY,
        exhausted_in: None,
        budget_remaining: -0.002,
        ..spike()
    };
    Notification { alerts: vec![runway], ..opened() }
}

fn no_traffic() -> Notification {
    let idle = AlertFacts {
        layer: None,
        events: 0.0,
        bad_events: 0.0,
        burn_long: 0.0,
        burn_short: 0.0,
        usage: 0.0,
        share_of_slow: 0.0,
        quantiles_s: None,
        budget_remaining: 1.0,
        exhausted_in: None,
        period_coverage: 0.0,
        ..spike()
    };
    Notification {
        reason: Reason::Repeated,
        owner: None,
        runbook: Some("ask Ada, desk 4".into()),
        alerts: vec![idle],
        ..opened()
    }
}

fn long_names() -> Notification {
    let long = |word: &str| format!("{word}-").repeat(400);
    let alert = AlertFacts {
        layer: Some(long("database")),
        labels: Labels::from([("region".into(), long("eu"))]),
        rule: long("spike"),
        ..spike()
    };
    Notification {
        journey: Some(long("checkout")),
        owner: Some(long("payments")),
        runbook: Some(format!("https://wiki.example.com/{}", long("page"))),
        incident: long("checkout"),
        alerts: vec![alert.clone(), alert],
        ..opened()
    }
}

fn hostile() -> Notification {
    let alert = AlertFacts {
        layer: Some("<!channel> *bold* `code` & <script>alert(1)</script>".into()),
        labels: Labels::from([("path".into(), "/a\"b\\c{d}\u{202e}gpj\u{0}\r\n> quote".into())]),
        rule: "<http://evil.example.com|click>".into(),
        ..spike()
    };
    Notification {
        journey: Some("צ'ק-אאוט 🔥 <@U123>".into()),
        owner: Some("payments\n\n*Owner*\nmallory".into()),
        runbook: Some("javascript:alert(1)".into()),
        incident: "צ'ק-אאוט 🔥\n<!here>".into(),
        alerts: vec![alert.clone(), alert],
        ..opened()
    }
}
