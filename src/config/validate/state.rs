//! Where state is kept.

use std::path::Path;

use crate::config::decode::clipped;
use crate::config::diagnostic::Diagnostic;
use crate::config::{State, raw};
use crate::engine::time::Duration;

use super::Context;

const DEFAULT_RETENTION: Duration = Duration::from_days(30);
const SHORTEST_RETENTION: Duration = Duration::from_hours(1);
const LONGEST_RETENTION: Duration = Duration::from_days(3660);

pub(super) fn state(raw: Option<&raw::State>, context: &mut Context<'_>) -> Option<State> {
    let raw = raw?;
    let mut retention = DEFAULT_RETENTION;
    if let Some(asked) = raw.retention.get() {
        retention = asked.value;
        if retention < SHORTEST_RETENTION || retention > LONGEST_RETENTION {
            let message = format!("{retention} is not between {SHORTEST_RETENTION} and {LONGEST_RETENTION}");
            context.findings.error(asked.span, message);
        }
    }
    let sqlite = raw.sqlite.get()?;
    if sqlite.value.ends_with('/') || Path::new(&sqlite.value).file_name().is_none() {
        let message = format!("'{}' is not a file", clipped(&sqlite.value));
        let help = "write a file in a directory that is there, such as /var/lib/slowburn/state.db";
        context.findings.add(Diagnostic::error(sqlite.span, message).help(help));
        return None;
    }
    let base = context.read.get(usize::from(sqlite.span.file)).and_then(|(path, _)| path.parent());
    Some(State { sqlite: base.unwrap_or(Path::new("")).join(&sqlite.value), retention })
}
