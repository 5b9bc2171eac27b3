//! Takes secrets out of a file's text before any of it is shown.
//!
//! Two nets: the spans of every value that was read as a secret, and whatever follows a key that sounds like one (a
//! misspelt `routing_kye`, a secret in the wrong place, a file that is not YAML at all). Masking keeps every byte's
//! position, so that spans still fit.

use super::decode::clipped;
use super::diagnostic::Span;

/// What secrets are called, here and by habit.
const SUSPECTS: [&str; 12] = [
    "secret",
    "token",
    "passw",
    "credential",
    "authorization",
    "cookie",
    "api-key",
    "api_key",
    "apikey",
    "routing",
    "webhook_",
    "private",
];
/// The keys whose misspellings are looked for.
const SECRET_KEYS: [&str; 5] = ["routing_key", "webhook_url", "bearer_token", "password", "secret"];

/// Where nothing is known but the letters, these hold secrets often enough, too.
const SUSPECTS_IN_BROKEN_FILES: [&str; 2] = ["url", "headers"];

/// `text` with each of `spans` and each value after a suspicious key replaced by asterisks. A file that could not be
/// read as YAML (`is_broken`) has no spans, so more keys count as suspicious.
pub(super) fn masked<'a>(text: String, spans: impl Iterator<Item = &'a Span>, is_broken: bool) -> String {
    let mut bytes = text.into_bytes();
    for span in spans {
        cover(&mut bytes, span.start as usize, span.end as usize);
    }
    let mut line_start = 0;
    while line_start < bytes.len() {
        let rest = &bytes[line_start..];
        let line_end = line_start + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        for (from, to) in suspicious_values(&bytes[line_start..line_end], is_broken) {
            cover(&mut bytes, line_start + from, line_start + to);
        }
        line_start = line_end + 1;
    }
    // Whole characters are covered and asterisks are ASCII, so this stays UTF-8.
    String::from_utf8(bytes).unwrap_or_default()
}

/// `message` without values from the environment: each `(as written, as substituted)` is shown as written. Values that
/// are a part of a longer text, or cut short, are found between quotes.
pub(super) fn without_env(message: &str, from_env: &[(String, String)]) -> String {
    const MIN_BYTES: usize = 3;
    let mut message = message.to_owned();
    for (written, text) in from_env {
        let written = clipped(written);
        if text.len() >= MIN_BYTES {
            message = message.replace(text.as_str(), &written);
        }
        let pieces: Vec<&str> = message.split('\'').collect();
        let hidden = pieces.iter().map(|piece| {
            let quoted = piece.trim_end_matches("...");
            let is_value = quoted.len() >= MIN_BYTES && text.contains(quoted) && !written.contains(quoted);
            if is_value { written.as_str() } else { piece }
        });
        message = hidden.collect::<Vec<_>>().join("'");
    }
    message
}

fn cover(bytes: &mut [u8], from: usize, to: usize) {
    let to = to.min(bytes.len());
    for byte in bytes.get_mut(from..to).into_iter().flatten() {
        // Line breaks stay, so that lines keep their numbers.
        if !matches!(*byte, b'\n' | b'\r') {
            *byte = b'*';
        }
    }
}

/// The ranges of the values after suspicious keys in one line.
fn suspicious_values(line: &[u8], is_broken: bool) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(colon) = line[from..].iter().position(|byte| *byte == b':').map(|at| from + at) {
        from = colon + 1;
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let quoted = colon > 0 && matches!(line[colon - 1], b'"' | b'\'');
        let key_end = colon - usize::from(quoted);
        let key_start = line[..key_end].iter().rposition(|byte| !is_word(byte)).map_or(0, |at| at + 1);
        let key = &line[key_start..key_end];
        let is_broken_suspect = is_broken && SUSPECTS_IN_BROKEN_FILES.iter().any(|word| key == word.as_bytes());
        if !is_broken_suspect && !is_suspicious(key) {
            continue;
        }
        let value = &line[colon + 1..];
        let start = value.iter().position(|byte| *byte != b' ').unwrap_or(value.len());
        let end = if key == b"headers" { value.len() - start } else { end_of_value(&value[start..]) };
        if !is_reference(&value[start..start + end]) {
            found.push((colon + 1 + start, colon + 1 + start + end));
        }
        from = colon + 1 + start + end;
    }
    found
}

/// Whether a value is one reference to the environment, which gives nothing away.
fn is_reference(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    let quote = value.first().filter(|quote| matches!(quote, b'"' | b'\''));
    let inside = quote.and_then(|quote| value.get(1..)?.strip_suffix(&[*quote])).unwrap_or(value);
    let name = inside.strip_prefix(b"${").and_then(|rest| rest.strip_suffix(b"}"));
    name.is_some_and(|name| !name.contains(&b'}'))
}

/// A quoted value ends with its quote, another one with the comma or bracket after it.
fn end_of_value(value: &[u8]) -> usize {
    match value.first() {
        Some(quote @ (b'"' | b'\'')) => {
            value[1..].iter().position(|byte| byte == quote).map_or(value.len(), |at| at + 2)
        }
        Some(b'{' | b'[') => 0,
        Some(b'$') if value.starts_with(b"${") => {
            let close = value.iter().position(|byte| *byte == b'}').map_or(value.len(), |at| at + 1);
            close + end_of_plain(&value[close..])
        }
        _ => end_of_plain(value),
    }
}

fn end_of_plain(value: &[u8]) -> usize {
    value.iter().position(|byte| matches!(byte, b',' | b'}' | b']')).unwrap_or(value.len())
}

fn is_suspicious(key: &[u8]) -> bool {
    let key = String::from_utf8_lossy(key).to_ascii_lowercase();
    if key.ends_with("_file") || key == "secrets" {
        return false;
    }
    SUSPECTS.iter().any(|word| key.contains(word))
        || SECRET_KEYS.iter().any(|name| name.len().abs_diff(key.len()) <= 2 && strsim::osa_distance(name, &key) <= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_from_the_environment_are_shown_as_written() {
        let long = "s".repeat(100);
        let from_env = [("x-${A}".to_owned(), "x-hunter2".to_owned()), ("${B}".to_owned(), long.clone())];
        for (message, expected) in [
            ("the journey's name 'x-hunter2' is odd", "the journey's name 'x-${A}' is odd"),
            ("'hunter2' is no unit", "'x-${A}' is no unit"),
            (&format!("'{}' is odd", clipped(&long)), "'${B}' is odd"),
            ("'other' is odd", "'other' is odd"),
        ] {
            assert_eq!(without_env(message, &from_env), expected);
        }
    }

    #[test]
    fn what_follows_a_suspicious_key_is_covered() {
        for (line, expected) in [
            ("routing_key: abc", "routing_key: ***"),
            ("  pagerduty: {routing_kye: abc, url: x}", "  pagerduty: {routing_kye: ***, url: x}"),
            ("\"password\": \"a,b\"  # x", "\"password\": *****  # x"),
            ("routing_key_file: /etc/key", "routing_key_file: /etc/key"),
            ("bearer_token: ${TOKEN}", "bearer_token: ${TOKEN}"),
            ("{bearer_token: '${TOKEN}', password: '${A}b'}", "{bearer_token: '${TOKEN}', password: *******}"),
            ("headers: {Authorization: Bearer x}", "headers: {Authorization: ********}"),
            ("url: http://localhost:9090", "url: http://localhost:9090"),
            ("passwörter: ä", "passwörter: ä"),
            ("password: ä", "password: **"),
        ] {
            assert_eq!(masked(line.to_owned(), [].iter(), false), expected);
        }
        let broken = masked("{url: 'http://x/y', headers: {A: b, [".to_owned(), [].iter(), true);
        assert_eq!(broken, "{url: ************, headers: ********");
    }
}
