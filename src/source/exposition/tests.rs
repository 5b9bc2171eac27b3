//! What the reader accepts, what it says of the rest, and that it agrees with others.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::Format::{OpenMetrics, Prometheus};
use super::*;

/// Shows a text's samples one a line, then the error if there is one.
fn shown(text: &str, format: Format) -> String {
    let mut out = String::new();
    for entry in Reader::new(text, format) {
        let line = match entry {
            Ok(Sample { name, labels, value, timestamp_ms }) => {
                let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
                let at = timestamp_ms.map_or(String::new(), |ms| format!(" @{ms}"));
                format!("{name} {} {value}{at}", labels.join(" "))
            }
            Err(error) => error.to_string(),
        };
        out += &line;
        out.push('\n');
    }
    out
}

#[track_caller]
fn check(format: Format, text: &str, expected: &str) {
    assert_eq!(shown(text, format).trim_end(), expected, "{text:?}");
}

#[test]
fn prometheus_text_is_read_as_its_servers_read_it() {
    check(Prometheus, "", "");
    check(Prometheus, "\n  \n# just a comment\n#\n", "");
    check(Prometheus, "# HELP m C:\\Temp\n# TYPE m counter\nm 1\n", "m  1");
    check(Prometheus, "m{} 1\nm{ } 2\n", "m  1\nm  2");
    check(Prometheus, "a:b:c{x=\"1\",} 1e3 1772366400000\n", "a:b:c x=\"1\" 1000 @1772366400000");
    check(Prometheus, " m \t{ a = \"1\" , b=\"2\" }\t+Inf -5 \n", "m a=\"1\" b=\"2\" inf @-5");
    check(
        Prometheus,
        r#"m{path="/users/{id}",q="a=b,c}"} NaN"#.to_owned().as_str(),
        "line 1, column 1: expected a line feed after the last line, found the end of the text",
    );
    check(Prometheus, "m{path=\"/users/{id}\",q=\"a=b,c}\"} NaN\n", "m path=\"/users/{id}\" q=\"a=b,c}\" NaN");
    check(Prometheus, "m{a=\"x\\\\\\\"\\ny\"}1\n", r#"m a="x\\\"\ny" 1"#);
    check(Prometheus, "{\"a.b\",\"l.1\"=\"2\"} -Inf\n", "a.b l.1=\"2\" -inf");
    check(Prometheus, "m{a=\"ü\"} 1\n", "m a=\"ü\" 1");
}

#[test]
fn openmetrics_text_is_read_to_its_end() {
    check(OpenMetrics, "# EOF\n", "");
    check(OpenMetrics, "# TYPE m histogram\n# UNIT m seconds\n# EOF", "");
    check(OpenMetrics, "m_bucket{le=\"1.0\"} 7 1772366400.25\n# EOF\n", "m_bucket le=\"1.0\" 7 @1772366400250");
    check(OpenMetrics, "m{le=\"1\"} 7 # {trace_id=\"a#b\"} 0.5 1772366400.1\n# EOF\n", "m le=\"1\" 7");
    check(OpenMetrics, "m 7 1.5 # {} 0.5\n# EOF\n", "m  7 @1500");
}

#[test]
fn errors_say_where_and_what() {
    let prometheus = |text, expected: &str| check(Prometheus, text, expected);
    prometheus(
        "m 1\nm 1 x\n",
        "m  1\nline 2, column 5: expected a timestamp in whole milliseconds or the end of the line, found \"x\"",
    );
    prometheus(
        "m 1 1.5\n",
        "line 1, column 5: expected a timestamp in whole milliseconds or the end of the line, found \"1.5\"",
    );
    prometheus("m 1 2 3\n", "line 1, column 7: expected the end of the line, found \"3\"");
    prometheus("m\n", "line 1, column 2: expected a number, found the end of the line");
    prometheus("m 0x1p4\n", "line 1, column 3: expected a number, found \"0x1p4\"");
    prometheus("1m 1\n", "line 1, column 1: expected a metric's name, found \"1m 1\"");
    prometheus("m{a=\"1} 1\n", "line 1, column 10: expected a closing double quote, found the end of the line");
    prometheus(
        "m{a=\"\\t\"} 1\n",
        "line 1, column 6: expected one of the escapes \\\\, \\\" and \\n, found \"\\\\t\\\"} 1\"",
    );
    prometheus(
        "m{a=\"1\" b=\"2\"} 1\n",
        "line 1, column 9: expected \",\" or \"}\" after the label, found \"b=\\\"2\\\"} 1\"",
    );
    prometheus(
        "m{a:b=\"1\"} 1\n",
        "line 1, column 4: expected \"=\" after the label's name, found \":b=\\\"1\\\"} 1\"",
    );
    prometheus("m{a=\"1\",a=\"2\"} 1\n", "line 1, column 9: expected each label only once, found \"a=\\\"2\\\"} 1\"");
    prometheus("{a=\"1\"} 1\n", "line 1, column 9: expected a metric's name within or before the braces, found \"1\"");
    prometheus(
        "# TYPE m histgram\n",
        "line 1, column 10: expected one of counter, gauge, histogram, summary, untyped, found \"histgram\"",
    );
    prometheus("<html>\n", "line 1, column 1: expected a metric's name, found \"<html>\"");
    let openmetrics = |text, expected: &str| check(OpenMetrics, text, expected);
    openmetrics("m 1\n", "m  1\nline 1, column 1: expected \"# EOF\", found the end of the text");
    openmetrics("# EOF\nm 1\n", "line 1, column 1: expected nothing after \"# EOF\", found more lines");
    openmetrics("m  1\n", "line 1, column 3: expected a number, found \" 1\"");
    openmetrics("\n", "line 1, column 1: expected a sample or a comment, found the end of the line");
    openmetrics("# note\n", "line 1, column 3: expected TYPE, HELP, UNIT or EOF after \"# \", found \"note\"");
    openmetrics("m 1 NaN\n", "line 1, column 5: expected a timestamp in seconds or the end of the line, found \"NaN\"");
}

#[test]
fn lines_and_labels_are_bounded() {
    let long = format!("m{{a=\"{}\"}} 1\n", "x".repeat(MAX_LINE_BYTES));
    check(Prometheus, &long, "line 1, column 1: expected at most 65536 bytes in a line, found more");
    let labels: String = (0..200).fold(String::new(), |mut out, n| {
        let _ = write!(out, "l{n}=\"\",");
        out
    });
    let error = Reader::new(&format!("m{{{labels}}} 1\n"), Prometheus).next().unwrap().unwrap_err();
    assert_eq!(error.expected, "at most 128 labels");
}

fn any_sample() -> impl Strategy<Value = Sample<'static>> {
    let value = prop_oneof![any::<f64>(), Just(f64::INFINITY), Just(0.0), (0..1_000_000u32).prop_map(f64::from)];
    let labels = prop::collection::btree_map("[a-zA-Z_][a-zA-Z0-9_]{0,5}", any::<String>(), 0..5);
    ("[a-zA-Z_:][a-zA-Z0-9_:]{0,9}", labels, value, prop::option::of(0..4_000_000_000_000i64)).prop_map(
        |(name, labels, value, timestamp_ms)| {
            let labels = labels.into_iter().map(|(name, value)| (Cow::Owned(name), Cow::Owned(value))).collect();
            Sample { name: Cow::Owned(name), labels, value, timestamp_ms }
        },
    )
}

fn written(samples: &[Sample], format: Format) -> String {
    let mut out = String::new();
    for sample in samples {
        let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> =
            sample.labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
        let at = sample.timestamp_ms.map_or(String::new(), |ms| match format {
            Prometheus => format!(" {ms}"),
            OpenMetrics => format!(" {}.{:03}", ms / 1000, ms % 1000),
        });
        let _ = writeln!(out, "{}{{{}}} {}{at}", sample.name, labels.join(","), sample.value);
    }
    if format == OpenMetrics { out + "# EOF\n" } else { out }
}

fn same(a: &Sample, b: &Sample) -> bool {
    let value = a.value == b.value || a.value.is_nan() && b.value.is_nan();
    value && (&a.name, &a.labels, a.timestamp_ms) == (&b.name, &b.labels, b.timestamp_ms)
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(samples in prop::collection::vec(any_sample(), 0..20)) {
        for format in [Prometheus, OpenMetrics] {
            let text = written(&samples, format);
            let read: Vec<Sample> = Reader::new(&text, format).collect::<Result<_, _>>().map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(read.len(), samples.len());
            prop_assert!(read.iter().zip(&samples).all(|(read, written)| same(read, written)), "{text}");
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[a#{}\"\\\\=, \\n\\t0-9.EOFTYP+-NaIü]{0,80}", any in any::<String>()) {
        for format in [Prometheus, OpenMetrics] {
            Reader::new(&text, format).for_each(drop);
            Reader::new(&any, format).for_each(drop);
        }
    }

    /// A cut text is an error unless the cut falls on the end of a line, and even then in OpenMetrics.
    #[test]
    fn a_cut_text_is_noticed(samples in prop::collection::vec(any_sample(), 1..4), cut in any::<prop::sample::Index>()) {
        for format in [Prometheus, OpenMetrics] {
            let text = written(&samples, format);
            let cut = cut.index(text.trim_end().len());
            let Some(text) = text.get(..cut) else { continue };
            let whole = format == Prometheus && (text.is_empty() || text.ends_with('\n'));
            prop_assert_eq!(Reader::new(text, format).all(|entry| entry.is_ok()), whole, "{}", text);
        }
    }

    /// prometheus-parse drops what it cannot read without a word, so only plain lines are compared.
    #[test]
    fn plain_lines_are_read_as_prometheus_parse_does(
        lines in prop::collection::vec(("[a-z_]{1,6}", prop::collection::btree_map("[a-z]{1,3}", "[a-z0-9/.:-]{1,6}", 0..4), -1e9..1e9f64, 0..4_000_000_000_000i64), 0..15),
    ) {
        let sample = |(name, labels, value, ms): (String, std::collections::BTreeMap<String, String>, f64, i64)| Sample {
            name: name.into(),
            labels: labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            value,
            timestamp_ms: Some(ms),
        };
        let samples: Vec<Sample> = lines.into_iter().map(sample).collect();
        let text = written(&samples, Prometheus).replace("{}", "");
        let read: Vec<Sample> = Reader::new(&text, Prometheus).collect::<Result<_, _>>().unwrap();
        let oracle = prometheus_parse::Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap().samples;
        prop_assert_eq!(read.len(), oracle.len());
        for (ours, theirs) in read.iter().zip(oracle) {
            let labels = theirs.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect::<std::collections::BTreeMap<_, _>>();
            let ours_labels = ours.labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            prop_assert_eq!(&ours.name, &theirs.metric);
            prop_assert_eq!(labels, ours_labels);
            prop_assert_eq!(theirs.value, prometheus_parse::Value::Untyped(ours.value));
            prop_assert_eq!(ours.timestamp_ms, Some(theirs.timestamp.timestamp_millis()));
        }
    }
}
