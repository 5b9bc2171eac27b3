//! The name and labels of a made-up series, as promtool writes them: `name{label="value", ...}`.

use crate::config::quote::unquote;
use crate::engine::histogram::Labels;

use super::notation::Wrong;

/// Reads a series' name and labels; `__name__` may stand among them instead of before, and, as in Prometheus 3, so may the
/// name in quotes, as any name of a label may.
pub(super) fn parse(text: &str) -> Result<(String, Labels), Wrong> {
    let mut parser = Parser { text, at: 0 };
    parser.skip_blanks();
    let mut name = parser.word(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':').to_owned();
    parser.skip_blanks();
    let mut labels = Labels::new();
    if parser.take('{') {
        parser.labels(&mut labels)?;
    }
    parser.skip_blanks();
    if parser.at < text.len() {
        return Err(parser.wrong("expected the end of the series: its values stand in 'values'"));
    }
    if name.is_empty() {
        name = labels.remove("__name__").unwrap_or_default();
    }
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Wrong {
            at: 0,
            length: text.len(),
            message: "this names no series: write name{label=\"value\"}".into(),
        });
    }
    // A label that is empty is one that is not there.
    labels.retain(|_, value| !value.is_empty());
    Ok((name, labels))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    /// From behind `{` to behind `}`.
    fn labels(&mut self, labels: &mut Labels) -> Result<(), Wrong> {
        loop {
            self.skip_blanks();
            if self.take('}') {
                return Ok(());
            }
            let start = self.at;
            let (name, quoted) = self.label_name()?;
            let length = self.at - start;
            self.skip_blanks();
            let (name, value) = if self.take('=') {
                self.skip_blanks();
                (name, self.quoted()?)
            } else if quoted {
                ("__name__".to_owned(), name)
            } else {
                return Err(self.wrong("a series has its labels by '='"));
            };
            if labels.insert(name, value).is_some() {
                return Err(Wrong { at: start, length, message: "this label stands here twice".to_owned() });
            }
            self.skip_blanks();
            if !self.take(',') && !self.text[self.at..].starts_with('}') {
                return Err(self.wrong("expected ',' or '}' after a label"));
            }
        }
    }

    /// And whether it stands in quotes.
    fn label_name(&mut self) -> Result<(String, bool), Wrong> {
        if self.text[self.at..].starts_with(['"', '\'', '`']) {
            return Ok((self.quoted()?, true));
        }
        let start = self.at;
        let name = self.word(|c| c.is_ascii_alphanumeric() || c == '_').to_owned();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            self.at = start;
            return Err(self.wrong("expected the name of a label, or '}'"));
        }
        Ok((name, false))
    }

    fn quoted(&mut self) -> Result<String, Wrong> {
        let (value, length) = unquote(&self.text[self.at..]).map_err(|(offset, message)| Wrong {
            at: self.at + offset,
            length: 1,
            message,
        })?;
        self.at += length;
        Ok(value)
    }

    fn wrong(&self, message: &str) -> Wrong {
        let length = self.text[self.at..].chars().next().map_or(0, char::len_utf8);
        Wrong { at: self.at, length, message: message.to_owned() }
    }

    fn take(&mut self, c: char) -> bool {
        let found = self.text[self.at..].starts_with(c);
        self.at += if found { c.len_utf8() } else { 0 };
        found
    }

    fn word(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let length = rest.find(|c| !accept(c)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn skip_blanks(&mut self) {
        self.word(|c| c.is_ascii_whitespace());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::histogram::braced;

    #[test]
    fn names_and_labels() {
        let check = |text: &str, expected: &str| match parse(text) {
            Ok((name, labels)) => assert_eq!(format!("{name}{}", braced(&labels)), expected, "{text}"),
            Err(wrong) => assert_eq!(format!("{}: {}", wrong.at, wrong.message), expected, "{text}"),
        };
        check("up", "up");
        check(" up { } ", "up");
        check("x_bucket{le=\"+Inf\", a='b',c=`d\\n`,}", r#"x_bucket{a="b",c="d\\n",le="+Inf"}"#);
        check("{__name__=\"up\",a=\"\"}", "up");
        check(r#"{"http.requests", code="200"}"#, r#"http.requests{code="200"}"#);
        check(r#"up{"a.b"="c"}"#, r#"up{a.b="c"}"#);
        check(r#"{"up", "down"}"#, "7: this label stands here twice");
        check("", "0: this names no series: write name{label=\"value\"}");
        check("{a=\"b\"}", "0: this names no series: write name{label=\"value\"}");
        check("up{a=~\"b\"}", "5: expected a quoted value, such as \"checkout\"");
        check("up{a!=\"b\"}", "4: a series has its labels by '='");
        check("up{a=\"b\" c=\"d\"}", "9: expected ',' or '}' after a label");
        check("up{a=\"b\",a=\"c\"}", "9: this label stands here twice");
        check("up{a=\"b\"", "8: expected ',' or '}' after a label");
        check("up 1 2", "3: expected the end of the series: its values stand in 'values'");
        check("up{1=\"b\"}", "3: expected the name of a label, or '}'");
    }
}
