//! A daemon's status as text, 80 columns wide. Colours are for `anstream` to take out where nobody wants them.

use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table};
use owo_colors::OwoColorize as _;

use super::{Answer, Matcher, Slo, State};
use crate::engine::histogram::place;
use crate::engine::time::Duration;

const WIDTH: u16 = 80;
/// Notifications shown of those the daemon remembers.
const TOLD: usize = 5;

pub(super) fn text(answer: &Answer) -> String {
    let mut out = head(answer);
    out += &slos(&answer.slos);
    out += &problems(&answer.slos);
    out += &alerts(answer);
    out += &incidents(answer);
    out += &holds(answer);
    out += &notifications(answer);
    out += &held_back(answer);
    out += &receivers(answer);
    out
}

fn head(answer: &Answer) -> String {
    let mut out = String::new();
    let uptime = Duration::from_secs(answer.uptime_s).coarse();
    let _ = writeln!(out, "slowburn {}, up {uptime}, {}", answer.version, answer.config_file);
    let source = &answer.source;
    let last = source.last_answer.as_deref().unwrap_or("never");
    let _ = match (source.up, &answer.at) {
        (true, Some(at)) => writeln!(out, "The source is {}; evaluated at {at}.", "up".green()),
        (true, None) => writeln!(out, "The source is {}.", "up".green()),
        (false, _) => writeln!(
            out,
            "The source is {} for {}; last answer: {last}.",
            "out of sight".red().bold(),
            counted(source.failed_in_a_row as usize, "poll")
        ),
    };
    if let Some(why) = &answer.not_ready {
        let _ = writeln!(out, "{}: {why}.", "Not ready".yellow());
    }
    if let Some(reading) = &answer.backfill {
        let come = reading.read_to.as_deref().unwrap_or("its beginning");
        let _ = writeln!(out, "Reading history: at {come} of {}.", reading.to);
    }
    if answer.missed.slots + answer.missed.partial > 0 {
        let missed = &answer.missed;
        let _ = writeln!(out, "Missed slots: {}; evaluated on incomplete answers: {}.", missed.slots, missed.partial);
    }
    if answer.missed.clock_set_back > 0 {
        let _ =
            writeln!(out, "The wall clock was set back: {}.", counted(answer.missed.clock_set_back as usize, "time"));
    }
    if let Some(heartbeat) = &answer.heartbeat {
        let last = heartbeat.last_success.as_deref().unwrap_or("never");
        let _ = match &heartbeat.problem {
            None => writeln!(out, "Heartbeat every {}, last taken: {last}.", heartbeat.every),
            Some(why) => {
                let line = format!("The heartbeat is not taken (last taken: {last}): {why}");
                writeln!(out, "{}", wrapped(&line).red())
            }
        };
    }
    if let Some(State { path, degraded: Some(why), since }) = &answer.state {
        let since = since.as_ref().map_or_else(String::new, |since| format!(" since {since}"));
        let _ = writeln!(out, "{}", wrapped(&format!("State ({path}) is degraded{since}: {why}")).red().bold());
    }
    if let Some(error) = &answer.last_reload.error {
        let _ = writeln!(out, "{} at {}: {error}", "The last reload failed".red().bold(), answer.last_reload.at);
    }
    out
}

fn slos(slos: &[Slo]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(WIDTH).enforce_styling();
    table.set_header(["SLO", "budget left", "burn rate by window", "p99 / budget", "sight"]);
    for slo in slos {
        let windows = slo
            .windows
            .iter()
            .map(|window| format!("{}\u{a0}{}", window.window, window.burn_rate.map_or_else(|| "-".into(), short)));
        let burn = windows.collect::<Vec<_>>().join("  ");
        let p99 = slo.quantiles_ms.map_or("-".into(), |[.., p99]| short(p99));
        table.add_row([
            Cell::new(place(&slo.journey, slo.layer.as_deref(), &slo.labels)),
            Cell::new(budget(slo)).set_alignment(CellAlignment::Right).fg(budget_colour(slo.budget_remaining)),
            Cell::new(burn),
            Cell::new(format!("{p99} / {}ms", short(slo.budget_ms))).set_alignment(CellAlignment::Right),
            Cell::new(&slo.sight).fg(sight_colour(&slo.sight)),
        ]);
    }
    format!("\n{}\n", table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n"))
}

/// `93.1% of 30d`, and how much of the period is known if that is not all.
fn budget(slo: &Slo) -> String {
    let Some(left) = slo.budget_remaining else { return "not seen".into() };
    let left = format!("{:.1}% of {}", 100.0 * left, slo.period);
    if slo.coverage < 0.995 { format!("{left} ({:.0}% seen)", 100.0 * slo.coverage) } else { left }
}

fn problems(slos: &[Slo]) -> String {
    let lines = slos.iter().filter_map(|slo| {
        let place = place(&slo.journey, slo.layer.as_deref(), &slo.labels);
        slo.problem.as_ref().map(|problem| wrapped(&format!("{place}: {problem}")).yellow().to_string())
    });
    section("Not measured", lines)
}

fn alerts(answer: &Answer) -> String {
    let lines = answer.alerts.iter().map(|alert| {
        let level = level(&alert.stage, &alert.urgency);
        let place = place(&alert.journey, alert.layer.as_deref(), &alert.labels);
        let peak = 100.0 * alert.peak_usage;
        format!("{level}  {place}  {}\n    since {}, peak {peak:.0}% of its limit", alert.rule, alert.breached_at)
    });
    let quiet = answer.alerts.is_empty() && answer.incidents.is_empty();
    if quiet { "\nNothing fires.\n".into() } else { section("Alerts", lines) }
}

fn incidents(answer: &Answer) -> String {
    let lines = answer.incidents.iter().map(|incident| {
        let level = level(&incident.stage, &incident.urgency);
        let line =
            format!("{level}  {}  {}, since {}", incident.key, counted(incident.alerts, "alert"), incident.opened_at);
        let why = incident.detail.as_ref().map(|why| format!("\n{}", wrapped(&format!("    {why}"))));
        line + &why.unwrap_or_default()
    });
    section("Incidents", lines)
}

fn notifications(answer: &Answer) -> String {
    let lines = answer.notifications.iter().take(TOLD).map(|told| {
        let outcome = told.outcome.as_deref().unwrap_or("under way");
        let told = format!("{}  {} {}: {}", time_of_day(&told.at), told.receiver, told.reason, told.summary);
        format!("{}\n{}", wrapped(&told), wrapped(&format!("    {outcome}")))
    });
    section("Last notifications", lines)
}

/// Silences and maintenance windows that hold something back, or will.
fn holds(answer: &Answer) -> String {
    // Times in one form and zone sort as texts.
    let standing = answer.silences.iter().filter(|silence| silence.ends_at > answer.now);
    let silences = standing.map(|silence| {
        let pending = silence.starts_at > answer.now;
        let from = if pending { format!("from {} ", silence.starts_at) } else { String::new() };
        let matchers: Vec<String> = silence.matchers.iter().map(matcher).collect();
        let holds = if pending { String::new() } else { holding(silence.alerts) };
        let who = format!("    {}: {}{holds}", silence.author, silence.reason);
        let what = format!("{} {from}until {}", matchers.join(" "), silence.ends_at);
        format!("{}\n{}", wrapped(&what), wrapped(&who))
    });
    let windows = answer.maintenance.iter().map(|window| {
        let until = window.until.as_ref().map_or_else(String::new, |until| format!(" until {until}"));
        wrapped(&format!("{}{until}{}", window.name, holding(window.alerts)))
    });
    section("Silences", silences) + &section("Maintenance", windows)
}

fn matcher(matcher: &Matcher) -> String {
    format!("{}{}{}", matcher.label, if matcher.negate { "!=" } else { "=" }, matcher.any_of.join("|"))
}

fn holding(alerts: usize) -> String {
    if alerts == 0 { String::new() } else { format!("; holds back {}", counted(alerts, "alert")) }
}

fn held_back(answer: &Answer) -> String {
    let counts = answer.held_back.iter().filter(|(_, n)| **n > 0);
    let counts: Vec<String> = counts.map(|(reason, n)| format!("{} {n}", reason.replace('_', " "))).collect();
    section("Held back", (!counts.is_empty()).then(|| counts.join(", ")))
}

fn receivers(answer: &Answer) -> String {
    let lines = answer.receivers.iter().map(|receiver| {
        let mut line = format!("{}: {} delivered, {} waiting", receiver.name, receiver.delivered, receiver.pending);
        if receiver.rejected > 0 {
            let _ = write!(line, ", {}", format!("{} refused", receiver.rejected).red());
        }
        if receiver.summarised > 0 {
            let _ = write!(line, ", {} incidents told in summaries", receiver.summarised);
        }
        // Both are RFC 3339 in UTC, where text sorts as time does.
        if let Some(until) = receiver.held_until.as_ref().filter(|until| **until > answer.now) {
            let asked = format!("    waiting until {} as it asked to", time_of_day(until));
            let _ = write!(line, "\n{}", wrapped(&asked).yellow());
        } else if receiver.down {
            let _ = write!(line, "\n{}", "    down: one send at a time tries it".red());
        }
        if let Some(problem) = &receiver.problem {
            let _ = write!(line, "\n{}", wrapped(&format!("    problem: {problem}")).yellow());
        }
        line
    });
    let dead = answer.dead_letters.iter().rev().map(|letter| {
        let told = format!("{}  {}: {}", letter.at, letter.receiver, letter.summary);
        format!("{}\n{}", wrapped(&told), wrapped(&format!("    why: {}", letter.why)).red())
    });
    let title = match answer.dead_letters_total {
        total if total > answer.dead_letters.len() as u64 => {
            format!("Dead letters (the newest {} of {total})", answer.dead_letters.len())
        }
        _ => "Dead letters".to_owned(),
    };
    section("Receivers", lines) + &section(&title, dead)
}

fn section(title: &str, lines: impl IntoIterator<Item = String>) -> String {
    let lines: Vec<String> = lines.into_iter().collect();
    let lines: String = lines.iter().flat_map(|lines| lines.lines()).map(|line| format!("  {line}\n")).collect();
    if lines.is_empty() { lines } else { format!("\n{}\n{lines}", title.bold()) }
}

fn level(stage: &str, urgency: &str) -> String {
    let level = format!("{stage} {urgency}");
    if stage == "critical" { level.red().bold().to_string() } else { level.yellow().to_string() }
}

fn budget_colour(remaining: Option<f64>) -> Color {
    match remaining {
        Some(remaining) if remaining <= 0.0 => Color::Red,
        Some(remaining) if remaining > 0.2 => Color::Green,
        _ => Color::Yellow,
    }
}

fn sight_colour(sight: &str) -> Color {
    match sight {
        "ok" | "idle" => Color::Green,
        "unborn" | "partial" => Color::Yellow,
        _ => Color::Red,
    }
}

/// Breaks a line of a section where it would be too wide; its indentation is kept, and deepened for what follows.
pub(in crate::cli) fn wrapped(line: &str) -> String {
    const ROOM: usize = WIDTH as usize - 2;
    let indent = line.len() - line.trim_start().len();
    let mut out = " ".repeat(indent);
    let mut column = indent;
    for word in line.split_whitespace() {
        let width = word.chars().count();
        if column > indent && column + 1 + width > ROOM {
            let _ = write!(out, "\n{}", " ".repeat(indent + 6));
            column = indent + 6;
        } else if column > indent {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out
}

/// `1 alert`, `2 alerts`.
fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Three digits of a number.
fn short(n: f64) -> String {
    let text = match n.abs() {
        n_abs if n_abs >= 100.0 => return format!("{n:.0}"),
        n_abs if n_abs >= 10.0 => format!("{n:.1}"),
        _ => format!("{n:.2}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn time_of_day(at: &str) -> &str {
    at.split_once('T').and_then(|(_, time)| time.get(.."hh:mm:ss".len())).unwrap_or(at)
}
