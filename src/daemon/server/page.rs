//! The page at `/`: what somebody woken at night looks at first. Plain HTML that needs no script and no other file.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::daemon::silences::in_words;
use crate::daemon::status::{Status, Told};
use crate::engine::alert::AlertRecord;
use crate::engine::notification::HeldBack;
use crate::engine::slo::Sight;
use crate::engine::view::{RuleView, SloView, WindowView};

const STYLE: &str = include_str!("page.css");
/// The page asks for itself anew this often, in seconds.
const REFRESH_S: u32 = 15;

pub fn page(status: &Status) -> Markup {
    let view = &status.view;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="refresh" content=(REFRESH_S);
                title { (title(status)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { h1 { "slowburn" } (summary(status)) }
                main {
                    @if !view.incidents.is_empty() { (incidents(status)) }
                    (holds(status))
                    (slos(&view.slos))
                    (notifications(&status.notifications, &view.held_back))
                    (receivers(status))
                }
                footer {
                    "slowburn " (status.version) ", up " (crate::engine::time::Duration::from_secs(status.uptime_s).coarse())
                    " · " (status.config_file.display()) " · "
                    a href="api/v1/status" { "status" } " · " a href="api/v1/rules" { "rules" } " · " a href="metrics" { "metrics" }
                }
            }
        }
    }
}

fn title(status: &Status) -> String {
    match status.view.incidents.len() {
        0 => "slowburn".into(),
        n => format!("({n}) slowburn"),
    }
}

fn summary(status: &Status) -> Markup {
    let source = &status.view.source;
    html! {
        p {
            @if let Some(why) = &status.not_ready {
                strong.bad { "Not ready: " (why) }
            } @else if source.up {
                span.good { "Source up" }
                @if let Some(at) = status.view.at { ", evaluated at " time { (at) } }
            } @else {
                strong.bad { "Source out of sight" } " for " (source.failed_in_a_row) " polls"
                @if let Some(at) = source.last_answer { ", last answer at " time { (at) } }
            }
            @if let Some(reading) = &status.backfill { ", reading history up to " time { (reading.to) } }
        }
        @if let Some(why) = status.heartbeat.as_ref().and_then(|heartbeat| heartbeat.problem.as_ref()) {
            p.bad { strong { "The heartbeat is not taken: " } (why) }
        }
        @if let Some(error) = &status.last_reload.error {
            p.bad { strong { "The last reload failed: " } (error) }
        }
    }
}

fn incidents(status: &Status) -> Markup {
    html! {
        section.incidents {
            h2 { "Incidents" }
            @for incident in &status.view.incidents {
                article class=(incident.stage.as_str()) {
                    h3 { (incident.key) " " small { (incident.stage.as_str()) " " (incident.urgency.as_str()) } }
                    p { "since " time { (incident.opened_at) } }
                    ul {
                        @for alert in status.view.alerts.iter().filter(|alert| Some(&alert.journey) == incident.journey.as_ref()) {
                            li { (alert_line(alert)) }
                        }
                    }
                }
            }
        }
    }
}

/// Silences that are active or to come, and maintenance windows that are open.
fn holds(status: &Status) -> Markup {
    let (view, now) = (&status.view, status.now);
    let mut silences: Vec<_> = view.silences.iter().filter(|known| !known.silence.is_over(now)).collect();
    // What holds now stands first.
    silences.sort_by_key(|known| (known.silence.starts_at > now, known.silence.ends_at));
    html! {
        @if !silences.is_empty() || !view.maintenance.is_empty() {
            section {
                h2 { "Silences and maintenance" }
                ul {
                    @for known in silences {
                        @let silence = &known.silence;
                        li {
                            strong { (in_words(&silence.matchers)) }
                            @if silence.starts_at > now {
                                " will be silenced from " time { (silence.starts_at) } " until " time { (silence.ends_at) }
                            } @else {
                                " is silenced until " time { (silence.ends_at) } (holding(known.alerts))
                            }
                            br; small { (silence.author) ": " (silence.reason) }
                        }
                    }
                    @for window in &view.maintenance {
                        li {
                            "Maintenance " strong { (window.name) }
                            @if let Some(until) = window.until { " until " time { (until) } }
                            (holding(window.alerts))
                        }
                    }
                }
            }
        }
    }
}

fn holding(alerts: usize) -> Markup {
    html! {
        @match alerts {
            0 => ", nothing that stands is held back",
            1 => { ", " strong.poor { "1 alert" } " is held back" },
            n => { ", " strong.poor { (n) " alerts" } " are held back" },
        }
    }
}

fn alert_line(alert: &AlertRecord) -> Markup {
    html! {
        strong { (alert.layer.as_deref().unwrap_or("the whole journey")) } " " (labels(&alert.labels)) " "
        (alert.rule) ", " (alert.stage.as_str()) " since " time { (alert.breached_at) }
        ", peak " (percent(alert.peak_usage)) " of its limit"
    }
}

fn slos(slos: &[SloView]) -> Markup {
    html! {
        section {
            h2 { "Budgets" }
            div.wide {
                table {
                    thead {
                        tr { th { "SLO" } th { "Error budget left" } th { "Burn rate" } th { "p99 / budget" } th { "Rules" } }
                    }
                    tbody { @for slo in slos { (slo_row(slo)) } }
                }
            }
        }
    }
}

fn slo_row(slo: &SloView) -> Markup {
    html! {
        tr {
            th scope="row" {
                (slo.journey) @if let Some(layer) = &slo.layer { "/" (layer) } " " (labels(&slo.labels))
                @if !matches!(slo.sight, Sight::Ok | Sight::Idle) {
                    " " span.bad { (format!("{:?}", slo.sight).to_lowercase()) }
                }
                @if let Some(problem) = &slo.problem { p.bad { (problem) } }
            }
            td { (budget(slo)) }
            td { @for window in &slo.windows { (burn(window)) " " } }
            td.number {
                @match slo.quantiles_ms { Some([.., p99]) => (short(p99)), None => "–" }
                " / " (short(slo.budget_ms)) " ms"
            }
            td { @for rule in &slo.rules { (rule_mark(rule)) " " } }
        }
    }
}

/// A bar of what is left of the budget, with its number.
fn budget(slo: &SloView) -> Markup {
    if slo.coverage == 0.0 {
        return html! { small { "not seen yet" } };
    }
    let left = slo.budget_remaining;
    let class = if left <= 0.0 {
        "bad"
    } else if left <= 0.2 {
        "poor"
    } else {
        "good"
    };
    html! {
        meter aria-label="error budget left" min="0" max="1" low="0.2" optimum="1" value=(format!("{:.4}", left.clamp(0.0, 1.0))) {}
        " " span class=(class) { (percent(left)) } " of " (slo.period)
        @if slo.coverage < 0.995 { small { ", " (percent(slo.coverage)) " seen" } }
    }
}

fn burn(window: &WindowView) -> Markup {
    let class = if window.burn_rate >= 1.0 { "burn hot" } else { "burn" };
    html! { span class=(class) title=(format!("{} seen", percent(window.coverage))) { (window.window) " " b { (short(window.burn_rate)) } } }
}

fn rule_mark(rule: &RuleView) -> Markup {
    let stage = rule.stage.map_or("quiet", |stage| stage.as_str());
    html! { span class={ "rule " (stage) } title=(format!("{} of its limit, {}", percent(rule.usage), rule.urgency.as_str())) { (rule.rule) } }
}

fn notifications(told: &[Told], held: &HeldBack) -> Markup {
    html! {
        section {
            h2 { "Last notifications" }
            @if told.is_empty() { p { "None since the start." } } @else {
                div.wide {
                    table {
                        thead { tr { th { "Decided" } th { "Receiver" } th { "Reason" } th { "What" } th { "Outcome" } } }
                        tbody {
                            @for told in told.iter().take(20) {
                                tr {
                                    td { time { (told.at) } } td { (told.receiver) } td { (told.reason.as_str()) }
                                    td { (told.summary) } td { (told.outcome.as_deref().unwrap_or("under way")) }
                                }
                            }
                        }
                    }
                }
            }
            (held_back(held))
        }
    }
}

/// What passed a threshold and was not told, as far as there is any.
fn held_back(held: &HeldBack) -> Markup {
    let counts = [
        (held.same_stage, "told already"),
        (held.joined, "joined an open incident"),
        (held.not_consecutive, "not often enough in a row"),
        (held.low_traffic, "too few requests"),
        (held.silenced, "silenced"),
        (held.maintenance, "in maintenance"),
        (held.inactive_hours, "out of active hours"),
    ];
    let told: Vec<String> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, why)| format!("{n} {why}")).collect();
    html! { @if !told.is_empty() { p { "Not told: " (told.join(", ")) "." } } }
}

fn receivers(status: &Status) -> Markup {
    html! {
        section {
            h2 { "Receivers" }
            ul {
                @for receiver in &status.view.receivers {
                    li {
                        strong { (receiver.name) } ": " (receiver.counts.delivered) " delivered, " (receiver.pending) " waiting"
                        @if receiver.summarised > 0 { ", " (receiver.summarised) " incidents told in summaries" }
                        @if let Some(until) = receiver.held_until.filter(|until| *until > status.now) {
                            ", waiting until " time { (until) } " as it asked to"
                        } @else if receiver.down { ", " span.bad { "down" } }
                        @if receiver.counts.rejected > 0 { ", " span.bad { (receiver.counts.rejected) " refused" } }
                        @if let Some(problem) = &receiver.problem { " – " span.bad { (problem) } }
                    }
                }
            }
            @if !status.view.dead_letters.is_empty() {
                h3 { "Dead letters" @if status.view.dead_letters_total > 0 { " (" (status.view.dead_letters_total) " in all)" } }
                ul {
                    @for letter in status.view.dead_letters.iter().rev() {
                        li { time { (letter.at) } " " (letter.receiver) ": " (letter.summary) " – " span.bad { (letter.why) } }
                    }
                }
            }
        }
    }
}

fn labels(labels: &crate::engine::histogram::Labels) -> Markup {
    html! { @for (name, value) in labels { small { (name) "=" (value) } " " } }
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

/// Three digits of a number.
fn short(n: f64) -> String {
    match n.abs() {
        n_abs if n_abs >= 100.0 => format!("{n:.0}"),
        n_abs if n_abs >= 10.0 => format!("{n:.1}"),
        _ => format!("{n:.2}"),
    }
}
