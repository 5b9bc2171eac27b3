//! Silences over HTTP, in Alertmanager's words. Matchers are compared as they are: of regular expressions only plain
//! alternatives, `database|cache`, are taken.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::units;
use crate::daemon::silences::{End, Made, NotMade, Wanted};
use crate::engine::route::Matcher;
use crate::engine::silence::Silence;
use crate::engine::time::Timestamp;

use super::NoAnswer;
use super::api::{Server, failure, success};

/// What is posted. Either `endsAt` or `duration` says how long.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Posted {
    id: Option<String>,
    #[serde(default)]
    matchers: Vec<PostedMatcher>,
    starts_at: Option<String>,
    ends_at: Option<String>,
    duration: Option<String>,
    #[serde(default)]
    created_by: String,
    #[serde(default)]
    comment: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostedMatcher {
    name: String,
    value: String,
    #[serde(default)]
    is_regex: bool,
    #[serde(default = "yes")]
    is_equal: bool,
}

fn yes() -> bool {
    true
}

pub async fn list(State(server): State<Server>) -> Result<Response, NoAnswer> {
    let status = server.asker.status().await?;
    let silences = status.view.silences.iter();
    let silences: Vec<Value> = silences.map(|known| shape(&known.silence, Some(known.alerts), status.now)).collect();
    Ok(success(json!({"now": status.now, "silences": silences})))
}

pub async fn one(State(server): State<Server>, Path(id): Path<String>) -> Result<Response, NoAnswer> {
    let status = server.asker.status().await?;
    let found = status.view.silences.iter().find(|known| known.silence.id == id);
    Ok(found.map_or_else(|| unknown(&id), |known| success(shape(&known.silence, Some(known.alerts), status.now))))
}

pub async fn set(
    State(server): State<Server>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, NoAnswer> {
    // A page of another site cannot send this without asking first.
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let why = "a silence is posted as application/json";
        return Ok(failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, "bad_data", why));
    }
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return Ok(failure(rejection.status(), "bad_data", &rejection.body_text())),
    };
    let wanted = match serde_json::from_slice::<Posted>(&body) {
        Ok(posted) => read(posted),
        Err(error) => Err(format!("this is no silence: {error}")),
    };
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(why) => return Ok(failure(StatusCode::BAD_REQUEST, "bad_data", &why)),
    };
    let id = wanted.id.clone().unwrap_or_default();
    Ok(match server.asker.silence(wanted).await? {
        Ok(Made { silence, warnings }) => {
            let data = json!({"silenceID": silence.id, "silence": shape(&silence, None, silence.created_at)});
            Json(json!({"status": "success", "data": data, "warnings": warnings})).into_response()
        }
        Err(NotMade::Unknown) => unknown(&id),
        Err(NotMade::Refused(why)) => failure(StatusCode::BAD_REQUEST, "bad_data", &why),
    })
}

pub async fn end(State(server): State<Server>, Path(id): Path<String>) -> Result<Response, NoAnswer> {
    let ended = server.asker.unsilence(id.clone()).await?;
    Ok(ended.map_or_else(|| unknown(&id), |silence| success(json!({"silenceID": silence.id}))))
}

fn unknown(id: &str) -> Response {
    failure(StatusCode::NOT_FOUND, "not_found", &format!("there is no silence {id:.100}"))
}

/// As Alertmanager shows a silence, and how many standing alerts match it.
fn shape(silence: &Silence, alerts: Option<usize>, now: Timestamp) -> Value {
    let state = if silence.is_over(now) {
        "expired"
    } else if silence.starts_at > now {
        "pending"
    } else {
        "active"
    };
    let matchers = silence.matchers.iter().map(|matcher| {
        let is_regex = matcher.any_of.len() > 1;
        let escaped = matcher.any_of.iter().map(|value| if is_regex { regex::escape(value) } else { value.clone() });
        let value = escaped.collect::<Vec<_>>().join("|");
        json!({"name": matcher.label, "value": value, "isRegex": is_regex, "isEqual": !matcher.negate})
    });
    let mut shaped = json!({
        "id": silence.id,
        "status": {"state": state},
        "matchers": matchers.collect::<Vec<_>>(),
        "startsAt": silence.starts_at,
        "endsAt": silence.ends_at,
        "createdAt": silence.created_at,
        "createdBy": silence.author,
        "comment": silence.reason,
    });
    if let Some(alerts) = alerts {
        shaped["alerts"] = alerts.into();
    }
    shaped
}

/// Everything that is wrong with it at once, or what is wanted.
fn read(posted: Posted) -> Result<Wanted, String> {
    let mut wrong = Vec::new();
    // One that cannot be read is wrong, but not missing.
    let says_end = posted.ends_at.is_some() || posted.duration.is_some();
    let mut matchers = Vec::new();
    for matcher in posted.matchers {
        match read_matcher(matcher) {
            Ok(matcher) => matchers.push(matcher),
            Err(why) => wrong.push(why),
        }
    }
    if matchers.is_empty() && wrong.is_empty() {
        wrong.push("'matchers' is missing: a silence of everything is none".to_owned());
    }
    let mut time = |name: &str, text: Option<String>| {
        let read =
            text.map(|text| units::instant(&text).ok_or_else(|| format!("'{name}' is not like 2026-03-01T12:00:00Z")));
        read.and_then(|read| read.map_err(|why| wrong.push(why)).ok())
    };
    let (starts_at, ends_at) = (time("startsAt", posted.starts_at), time("endsAt", posted.ends_at));
    let duration = posted.duration.and_then(|text| {
        let read = units::duration(&text).map_err(|why| format!("'duration' is not like 2h or 1h30m: {why}"));
        read.map_err(|why| wrong.push(why)).ok()
    });
    let end = match (ends_at, duration) {
        (Some(at), None) => Some(End::At(at)),
        (None, Some(length)) => Some(End::After(length)),
        (Some(_), Some(_)) => {
            wrong.push("both 'endsAt' and 'duration' are given; keep one".to_owned());
            None
        }
        (None, None) => {
            if !says_end {
                wrong.push("'endsAt' or 'duration' is missing: a silence must end".to_owned());
            }
            None
        }
    };
    for (name, text) in [("createdBy", &posted.created_by), ("comment", &posted.comment)] {
        if text.trim().is_empty() {
            wrong.push(format!("'{name}' is missing: others must know who silenced what, and why"));
        } else if text.chars().any(char::is_control) {
            wrong.push(format!("'{name}' holds a line break or another control character"));
        }
    }
    match end {
        Some(end) if wrong.is_empty() => {
            let (author, reason) = (posted.created_by, posted.comment);
            Ok(Wanted { id: posted.id.filter(|id| !id.is_empty()), matchers, starts_at, end, author, reason })
        }
        _ => Err(wrong.join("; ")),
    }
}

/// What it says, in the engine's terms; an error names the label.
pub fn read_matcher(posted: PostedMatcher) -> Result<Matcher, String> {
    let PostedMatcher { name, value, is_regex, is_equal } = posted;
    if name.is_empty() {
        return Err("a matcher names no label".to_owned());
    }
    let any_of = if is_regex {
        alternatives(&value).ok_or_else(|| {
            format!("the matcher of '{name}' is a regular expression; write its values out: {name}=~\"this|that\"")
        })?
    } else {
        vec![value]
    };
    Ok(Matcher { label: name, any_of, negate: !is_equal })
}

/// The alternatives of `a|b`, `(a|b)` or `^(?:a|b)$`, if there is no more to it.
fn alternatives(pattern: &str) -> Option<Vec<String>> {
    let inner = pattern.strip_prefix('^').unwrap_or(pattern);
    let inner = inner.strip_suffix('$').unwrap_or(inner);
    let inner = match inner.strip_prefix('(') {
        Some(rest) => rest.strip_prefix("?:").unwrap_or(rest).strip_suffix(')')?,
        None => inner,
    };
    let mut values = vec![String::new()];
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '|' => values.push(String::new()),
            '\\' => values.last_mut()?.push(chars.next().filter(char::is_ascii_punctuation)?),
            c if ".*+?()[]{}^$".contains(c) => return None,
            c => values.last_mut()?.push(c),
        }
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_regular_expressions_only_plain_alternatives_are_taken() {
        let check = |pattern: &str, expected: Option<&[&str]>| {
            let values = expected.map(|values| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>());
            assert_eq!(alternatives(pattern), values, "{pattern}");
        };
        check("database", Some(&["database"]));
        check("database|cache", Some(&["database", "cache"]));
        check("^(?:database|cache)$", Some(&["database", "cache"]));
        check("(a|b)", Some(&["a", "b"]));
        check(r"eu\.west|us\|x", Some(&["eu.west", "us|x"]));
        for more in ["data.*", "a+", "[ab]", "(a|b", "a(b|c)", r"\d", r"a\", "x{2}", "a.b"] {
            check(more, None);
        }
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let read = |text: &str| serde_json::from_str::<Posted>(text).map_err(|error| error.to_string()).and_then(read);
        let told = |text: &str| read(text).expect_err(text);
        assert_eq!(
            told("{}"),
            "'matchers' is missing: a silence of everything is none; 'endsAt' or 'duration' is missing: a silence must \
             end; 'createdBy' is missing: others must know who silenced what, and why; 'comment' is missing: others \
             must know who silenced what, and why"
        );
        let good = r#"{"matchers": [{"name": "layer", "value": "a|b", "isRegex": true, "isEqual": false}],
                       "startsAt": "2026-03-01T12:00:00+01:00", "duration": "1h30m", "createdBy": "ada", "comment": "x"}"#;
        let wanted = read(good).unwrap();
        assert_eq!(
            wanted.matchers,
            [Matcher { label: "layer".into(), any_of: vec!["a".into(), "b".into()], negate: true }]
        );
        assert_eq!(wanted.starts_at.unwrap().to_string(), "2026-03-01T11:00:00Z");
        assert!(told(&good.replace("a|b", "a.*")).starts_with("the matcher of 'layer' is a regular expression"));
        assert!(told(&good.replace("\"duration\"", "\"durration\"")).contains("unknown field `durration`"));
        assert!(told(&good.replace("1h30m", "1h30")).starts_with("'duration' is not like 2h or 1h30m"));
        assert!(told(&good.replace("2026-03-01T", "2026-03-01 at ")).starts_with("'startsAt' is not like"));
        assert!(told(&good.replace("\"x\"", "\"x\\ny\"")).contains("'comment' holds a line break"));
        let both = good.replace("\"startsAt\"", "\"endsAt\"");
        assert_eq!(told(&both), "both 'endsAt' and 'duration' are given; keep one");
    }
}
