//! Silences as text, 80 columns wide. `slowburn status` shows them the same way.

use std::fmt::Write as _;

use owo_colors::OwoColorize as _;
use serde::Deserialize;

use super::span;
use crate::cli::status::show::wrapped;

/// As `/api/v1/silences` lists them.
#[derive(Debug, Deserialize)]
pub struct Silences {
    now: String,
    silences: Vec<Silence>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Silence {
    id: String,
    status: State,
    matchers: Vec<Matcher>,
    starts_at: String,
    ends_at: String,
    created_by: String,
    comment: String,
    alerts: usize,
}

#[derive(Debug, Deserialize)]
struct State {
    state: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Matcher {
    name: String,
    value: String,
    is_regex: bool,
    is_equal: bool,
}

/// Active ones first, then those to come; what is over, if it is wanted, last.
pub fn text(answer: &Silences, with_expired: bool) -> String {
    let mut out = String::new();
    for state in ["active", "pending", "expired"] {
        if state == "expired" && !with_expired {
            continue;
        }
        let mut silences: Vec<&Silence> = answer.silences.iter().filter(|it| it.status.state == state).collect();
        silences.sort_by(|a, b| (&a.ends_at, &a.id).cmp(&(&b.ends_at, &b.id)));
        for silence in silences {
            out += &shown(silence, state, &answer.now);
        }
    }
    if out.is_empty() { "No silences.\n".into() } else { out }
}

fn shown(silence: &Silence, state: &str, now: &str) -> String {
    let left = |to: &str| span(now, to).map_or_else(String::new, |left| format!(", {} from now", left.coarse()));
    let when = match state {
        "active" => format!("until {}{}", silence.ends_at, left(&silence.ends_at)),
        "pending" => format!("from {}{}, to {}", silence.starts_at, left(&silence.starts_at), silence.ends_at),
        _ => format!("ended {}", silence.ends_at),
    };
    let coloured = match state {
        "active" => state.yellow().to_string(),
        state => state.to_owned(),
    };
    let matchers: Vec<String> = silence.matchers.iter().map(Matcher::in_words).collect();
    let mut out = format!("{}  {coloured}\n", silence.id);
    let _ = writeln!(out, "{}", wrapped(&format!("  {}", matchers.join(" "))).bold());
    let _ = writeln!(out, "{}", wrapped(&format!("  {when}")));
    let _ = writeln!(out, "{}", wrapped(&format!("  {}: {}", silence.created_by, silence.comment)));
    if state == "active" {
        let holds = match silence.alerts {
            0 => "nothing that stands".to_owned(),
            1 => "1 alert".to_owned(),
            n => format!("{n} alerts"),
        };
        let _ = writeln!(out, "  holds back: {holds}");
    }
    out
}

impl Matcher {
    fn in_words(&self) -> String {
        let operator = match (self.is_equal, self.is_regex) {
            (true, false) => "=",
            (false, false) => "!=",
            (true, true) => "=~",
            (false, true) => "!~",
        };
        format!("{}{operator}{}", self.name, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn active_ones_first_and_each_says_what_until_when_by_whom_and_why() {
        let silence = |id: &str, state: &str, starts_at: &str, ends_at: &str, alerts: usize| {
            let id = format!("{id}0000000-1111-2222-3333-444444444444");
            json!({
                "id": id, "status": {"state": state}, "startsAt": starts_at, "endsAt": ends_at, "createdAt": starts_at,
                "createdBy": "ada", "comment": "vacuum of the shards in eu, which takes longer than it did last time around",
                "matchers": [
                    {"name": "layer", "value": "database|cache", "isRegex": true, "isEqual": true},
                    {"name": "stage", "value": "critical", "isRegex": false, "isEqual": false},
                ],
                "alerts": alerts,
            })
        };
        let answer = json!({"now": "2026-03-01T12:00:00Z", "silences": [
            silence("a", "pending", "2026-03-01T14:00:00Z", "2026-03-01T16:00:00Z", 0),
            silence("b", "expired", "2026-03-01T10:00:00Z", "2026-03-01T11:00:00Z", 0),
            silence("c", "active", "2026-03-01T11:00:00Z", "2026-03-01T13:30:00Z", 2),
        ]});
        let answer: Silences = serde_json::from_value(answer).unwrap();
        let plain = |with_expired| anstream::adapter::strip_str(&text(&answer, with_expired)).to_string();
        let expected = "\
c0000000-1111-2222-3333-444444444444  active
  layer=~database|cache stage!=critical
  until 2026-03-01T13:30:00Z, 1h30m from now
  ada: vacuum of the shards in eu, which takes longer than it did last time
        around
  holds back: 2 alerts
a0000000-1111-2222-3333-444444444444  pending
  layer=~database|cache stage!=critical
  from 2026-03-01T14:00:00Z, 2h from now, to 2026-03-01T16:00:00Z
  ada: vacuum of the shards in eu, which takes longer than it did last time
        around
b0000000-1111-2222-3333-444444444444  expired
  layer=~database|cache stage!=critical
  ended 2026-03-01T11:00:00Z
  ada: vacuum of the shards in eu, which takes longer than it did last time
        around
";
        assert_eq!(plain(true), expected);
        assert_eq!(plain(false), expected[..expected.find("b0000000").unwrap()]);
    }
}
