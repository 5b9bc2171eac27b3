//! Takes secrets out of a file's text before any of it is shown.
//!
//! Two nets: the spans of every value that was read as a secret, and whatever follows a key that sounds like one (a
//! misspelt `routing_kye`, a secret in the wrong place, a file that is not YAML at all). Masking keeps every byte's
//! position, so that spans still fit.

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

/// `text` with each of `spans` and each value after a suspicious key replaced by asterisks.
pub(super) fn masked<'a>(text: String, spans: impl Iterator<Item = &'a Span>) -> String {
    let mut bytes = text.into_bytes();
    for span in spans {
        cover(&mut bytes, span.start as usize, span.end as usize);
    }
    let mut line_start = 0;
    while line_start < bytes.len() {
        let rest = &bytes[line_start..];
        let line_end = line_start + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        for (from, to) in suspicious_values(&bytes[line_start..line_end]) {
            cover(&mut bytes, line_start + from, line_start + to);
        }
        line_start = line_end + 1;
    }
    // Whole characters are covered and asterisks are ASCII, so this stays UTF-8.
    String::from_utf8(bytes).unwrap_or_default()
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
fn suspicious_values(line: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(colon) = line[from..].iter().position(|byte| *byte == b':').map(|at| from + at) {
        from = colon + 1;
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let quoted = colon > 0 && matches!(line[colon - 1], b'"' | b'\'');
        let key_end = colon - usize::from(quoted);
        let key_start = line[..key_end].iter().rposition(|byte| !is_word(byte)).map_or(0, |at| at + 1);
        if !is_suspicious(&line[key_start..key_end]) {
            continue;
        }
        let value = &line[colon + 1..];
        let start = value.iter().position(|byte| *byte != b' ').unwrap_or(value.len());
        let end = end_of_value(&value[start..]);
        // A reference to the environment is no secret.
        if !value[start..start + end].starts_with(b"${") {
            found.push((colon + 1 + start, colon + 1 + start + end));
        }
        from = colon + 1 + start + end;
    }
    found
}

/// A quoted value ends with its quote, another one with the comma or bracket after it.
fn end_of_value(value: &[u8]) -> usize {
    match value.first() {
        Some(quote @ (b'"' | b'\'')) => {
            value[1..].iter().position(|byte| byte == quote).map_or(value.len(), |at| at + 2)
        }
        Some(b'{' | b'[') => 0,
        _ => value.iter().position(|byte| matches!(byte, b',' | b'}' | b']')).unwrap_or(value.len()),
    }
}

pub(super) fn is_suspicious(key: &[u8]) -> bool {
    let key = String::from_utf8_lossy(key).to_ascii_lowercase();
    if key.ends_with("_file") || key == "secrets" {
        return false;
    }
    SUSPECTS.iter().any(|word| key.contains(word))
        || SECRET_KEYS.iter().any(|name| strsim::osa_distance(name, &key) <= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_suspicious_key_is_covered() {
        for (line, expected) in [
            ("routing_key: abc", "routing_key: ***"),
            ("  pagerduty: {routing_kye: abc, url: x}", "  pagerduty: {routing_kye: ***, url: x}"),
            ("\"password\": \"a,b\"  # x", "\"password\": *****  # x"),
            ("routing_key_file: /etc/key", "routing_key_file: /etc/key"),
            ("bearer_token: ${TOKEN}", "bearer_token: ${TOKEN}"),
            ("headers: {Authorization: Bearer x}", "headers: {Authorization: ********}"),
            ("url: http://localhost:9090", "url: http://localhost:9090"),
            ("passwörter: ä", "passwörter: ä"),
            ("password: ä", "password: **"),
        ] {
            assert_eq!(masked(line.to_owned(), [].iter()), expected);
        }
    }
}
