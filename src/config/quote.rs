//! PromQL's string literals: double, single and backtick quotes.
//!
//! ```
//! use slowburn::config::quote::{quote, unquote};
//! assert_eq!(quote("a\"b\n"), r#""a\"b\n""#);
//! assert_eq!(unquote(r#"'it\'s' rest"#), Ok(("it's".to_owned(), 7)));
//! ```

use std::fmt::Write as _;
use std::ops::Range;

/// `text` as a double-quoted literal.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                // Four digits hold every control character there is.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The literal that `text` starts with: its value and its length in bytes, quotes included.
///
/// On failure: the offset in `text`, and what is wrong there.
pub fn unquote(text: &str) -> Result<(String, usize), (usize, String)> {
    let Some(quote @ ('"' | '\'' | '`')) = text.chars().next() else {
        return Err((0, "expected a quoted value, such as \"checkout\"".to_owned()));
    };
    // Bytes, because `\xc3\xa9` spells one character in two escapes.
    let mut value = Vec::new();
    let mut at = 1;
    while let Some(c) = text[at..].chars().next() {
        let next = at + c.len_utf8();
        match c {
            c if c == quote => {
                let value = String::from_utf8(value)
                    .map_err(|_| (0, "the escapes of this value do not spell UTF-8 text".to_owned()))?;
                return Ok((value, next));
            }
            '\n' if quote != '`' => break,
            '\\' if quote != '`' => {
                at = next + unescape(&text[next..], quote, &mut value).map_err(|message| (at, message))?;
                continue;
            }
            _ => value.extend_from_slice(&text.as_bytes()[at..next]),
        }
        at = next;
    }
    Err((0, format!("this value is not closed: write {quote} at its end")))
}

/// Reads what follows a backslash, appends what it stands for and returns its length in bytes.
fn unescape(rest: &str, quote: char, value: &mut Vec<u8>) -> Result<usize, String> {
    let unknown = || "this escape is not known: write \\\\ for a backslash, or put the value in backticks".to_owned();
    let (number, len, is_byte) = match rest.chars().next().ok_or_else(unknown)? {
        'a' => (0x07, 1, true),
        'b' => (0x08, 1, true),
        'f' => (0x0c, 1, true),
        'n' => (0x0a, 1, true),
        'r' => (0x0d, 1, true),
        't' => (0x09, 1, true),
        'v' => (0x0b, 1, true),
        '\\' => (0x5c, 1, true),
        c if c == quote => (u32::from(quote), 1, true),
        '0'..='7' => (digits(rest, 0..3, 8).ok_or_else(unknown)?, 3, true),
        'x' => (digits(rest, 1..3, 16).ok_or_else(unknown)?, 3, true),
        'u' => (digits(rest, 1..5, 16).ok_or_else(unknown)?, 5, false),
        'U' => (digits(rest, 1..9, 16).ok_or_else(unknown)?, 9, false),
        _ => return Err(unknown()),
    };
    if is_byte {
        value.push(u8::try_from(number).map_err(|_| unknown())?);
    } else {
        let c = char::from_u32(number).ok_or_else(|| "this escape is not a Unicode character".to_owned())?;
        value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(len)
}

fn digits(text: &str, range: Range<usize>, radix: u32) -> Option<u32> {
    let digits = text.get(range)?;
    // `from_str_radix` would take a sign.
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_escape_of_go_is_read() {
        let check = |text: &str, expected: &str| assert_eq!(unquote(text), Ok((expected.to_owned(), text.len())));
        check(r#""\a\b\f\n\r\t\v\\\"""#, "\u{7}\u{8}\u{c}\n\r\t\u{b}\\\"");
        check(r"'it\'s'", "it's");
        check("`raw \\n\nand \"all\"`", "raw \\n\nand \"all\"");
        check(r#""\x41\101\u00e9\U0001F525\xc3\xa9""#, "AAé🔥é");
        check(r#""""#, "");
    }

    #[test]
    fn broken_literals_say_where_and_why() {
        let check = |text: &str, at: usize, message: &str| {
            let (found_at, found) = unquote(text).unwrap_err();
            assert_eq!(found_at, at, "{text}: {found}");
            assert!(found.contains(message), "{text}: {found}");
        };
        check("", 0, "expected a quoted value");
        check("plain", 0, "expected a quoted value");
        check("\"open", 0, "not closed: write \"");
        check("'two\nlines'", 0, "not closed: write '");
        check(r#""a\d""#, 2, "write \\\\ for a backslash");
        check(r#""\'""#, 1, "escape");
        check(r#""\x4""#, 1, "escape");
        check(r#""\+12""#, 1, "escape");
        check(r#""\x+1""#, 1, "escape");
        check(r#""\400""#, 1, "escape");
        check(r#""\ud800""#, 1, "not a Unicode character");
        check(r#""\xff""#, 0, "UTF-8");
        check("\"\\", 1, "escape");
    }

    proptest! {
        #[test]
        fn what_is_quoted_reads_back(text in any::<String>()) {
            let quoted = quote(&text);
            prop_assert_eq!(unquote(&quoted), Ok((text, quoted.len())));
        }

        #[test]
        fn nothing_panics(text in "[\"'`][\\\\xuU0-9a-fé\n\"'`]{0,12}") {
            let _ = unquote(&text);
        }
    }
}
