//! `--silences FILE`: silences as a daemon or Alertmanager lists them, which hold back in the replay what they held, or
//! would have held, back then.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::config::units;
use crate::daemon::{PostedMatcher, read_matcher};
use crate::engine::silence::{MAX_SILENCES, Silence};
use crate::engine::time::Timestamp;

/// Ten thousand silences take about 5 MB.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// So many mistakes of a file are listed; the rest is counted.
const MAX_MISTAKES: usize = 10;

/// One of the list. What else it says, such as its state, follows from its times.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    id: String,
    matchers: Vec<PostedMatcher>,
    starts_at: String,
    ends_at: String,
    #[serde(default)]
    created_by: String,
    #[serde(default)]
    comment: String,
}

/// The silences of `path` that hold somewhere in `[from, to]`.
pub fn read(path: &Path, from: Timestamp, to: Timestamp) -> anyhow::Result<Vec<Silence>> {
    let shown = path.display();
    let mut text = Vec::new();
    let file = File::open(path).with_context(|| format!("cannot read '{shown}'"))?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text).with_context(|| format!("cannot read '{shown}'"))?;
    ensure!(text.len() as u64 <= MAX_FILE_BYTES, "'{shown}' has more than {} MB", MAX_FILE_BYTES >> 20);
    let value = serde_json::from_slice(&text)
        .with_context(|| format!("'{shown}' is not JSON; 'slowburn silence list --json' writes what is wanted"))?;
    let mut silences = silences(value).map_err(|mistakes| anyhow::anyhow!("'{shown}': {mistakes}"))?;
    silences.retain(|silence| silence.starts_at <= to && silence.ends_at > from);
    ensure!(
        silences.len() <= MAX_SILENCES,
        "'{shown}' has {} silences in the range, and at most {MAX_SILENCES} may be; replay a shorter one",
        silences.len()
    );
    Ok(silences)
}

/// What stands in the list, or all that is wrong with it.
fn silences(value: Value) -> anyhow::Result<Vec<Silence>> {
    let list = match value {
        Value::Array(list) => list,
        mut value => {
            // The daemon's answer, or only what is in it.
            let inner = value.get_mut("data").map(Value::take).unwrap_or(value);
            match inner {
                Value::Object(mut object) => match object.remove("silences") {
                    Some(Value::Array(list)) => list,
                    _ => bail!("there is no list of \"silences\" in it"),
                },
                Value::Array(list) => list,
                _ => bail!("there is no list of \"silences\" in it"),
            }
        }
    };
    let (mut silences, mut mistakes) = (Vec::new(), Vec::new());
    for (number, value) in (1..).zip(list) {
        let id = value.get("id").and_then(Value::as_str).map_or_else(String::new, |id| format!(" ({id:.40})"));
        match serde_json::from_value(value).map_err(|error| error.to_string()).and_then(silence) {
            Ok(silence) => silences.push(silence),
            Err(why) => mistakes.push(format!("silence {number}{id}: {why}")),
        }
    }
    let more = mistakes.len().saturating_sub(MAX_MISTAKES);
    mistakes.truncate(MAX_MISTAKES);
    if more > 0 {
        mistakes.push(format!("and {more} more"));
    }
    if mistakes.is_empty() { Ok(silences) } else { bail!(mistakes.join("; ")) }
}

fn silence(listed: Listed) -> Result<Silence, String> {
    let Listed { id, matchers, starts_at, ends_at, created_by, comment } = listed;
    let matchers: Result<Vec<_>, String> = matchers.into_iter().map(read_matcher).collect();
    let (starts_at, ends_at) = (time("startsAt", &starts_at)?, time("endsAt", &ends_at)?);
    let silence = Silence {
        id,
        matchers: matchers?,
        starts_at,
        ends_at,
        author: created_by,
        reason: comment,
        created_at: starts_at,
    };
    // One that ended before it began, as Alertmanager keeps those that were withdrawn, holds nothing.
    match silence.is_over(starts_at) {
        true => Ok(silence),
        false => crate::engine::silence::Silences::default()
            .check(starts_at, &silence)
            .map(|()| silence)
            .map_err(|refused| refused.to_string()),
    }
}

fn time(name: &str, text: &str) -> Result<Timestamp, String> {
    units::instant(text).ok_or_else(|| format!("'{name}' is '{text:.40}', not like 2026-03-01T12:00:00Z"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one() -> Value {
        json!({
            "id": "a", "status": {"state": "expired"}, "alerts": 0, "createdAt": "2026-03-01T09:00:00Z",
            "startsAt": "2026-03-01T10:00:00Z", "endsAt": "2026-03-01T12:00:00.000+01:00",
            "createdBy": "ada", "comment": "vacuum", "updatedAt": "2026-03-01T09:00:00Z",
            "matchers": [{"name": "layer", "value": "database|cache", "isRegex": true, "isEqual": false}],
        })
    }

    #[test]
    fn a_daemons_list_and_alertmanagers() {
        for value in [json!({"status": "success", "data": {"now": "x", "silences": [one()]}}), json!([one()])] {
            let found = silences(value).unwrap();
            assert_eq!((found.len(), found[0].matchers[0].negate), (1, true));
            assert_eq!(found[0].matchers[0].any_of, ["database", "cache"]);
            assert_eq!(found[0].ends_at.since(found[0].starts_at).secs(), 3600.0);
        }
        assert!(silences(json!([])).unwrap().is_empty());
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let with = |name: &str, value: Value| {
            let mut silence = one();
            silence[name] = value;
            silence
        };
        let regex = json!([{"name": "layer", "value": "data.*", "isRegex": true}]);
        let list = [
            one(),
            with("startsAt", "yesterday".into()),
            with("matchers", json!([])),
            with("matchers", regex),
            json!({"id": "b"}),
            json!(7),
        ];
        let said = silences(json!(list)).unwrap_err().to_string();
        for part in [
            "silence 2 (a): 'startsAt' is 'yesterday', not like 2026-03-01T12:00:00Z; silence 3 (a): a silence needs",
            "silence 4 (a): the matcher of 'layer' is a regular expression",
            "silence 5 (b): missing field `matchers`",
            "silence 6: invalid type",
        ] {
            assert!(said.contains(part), "{part} is not in {said}");
        }
        assert!(silences(json!({"data": {}})).unwrap_err().to_string().contains("no list of \"silences\""));
        let many = vec![json!(1); 30];
        assert!(silences(json!(many)).unwrap_err().to_string().ends_with("and 20 more"));
    }
}
