//! Text with timestamps: OpenMetrics as `promtool tsdb dump-openmetrics` writes it, the older `promtool tsdb dump`, and
//! Prometheus' text; plain or gzip.
//!
//! Such text has one series after the other, so all of it is read before the first slot is known. What is kept are the
//! buckets that the configuration asks for, as chunks of two or three bytes a sample.

use std::borrow::Cow;
use std::io::{BufRead, Read};
use std::path::Path;
use std::sync::Arc;

use crate::engine::histogram::Labels;
use crate::source::error::SourceError;
use crate::source::exposition::{Format, MAX_LINE_BYTES, Reader};
use crate::source::history::TIMES_MS;
use crate::source::plan::Plan;
use crate::source::series::Named;
use crate::source::xor::STALE_BITS;

use super::{Archive, MAX_CHUNK_BYTES, Packer, Stored};

/// Timestamps from here on are milliseconds: as seconds they would be in the year 5138.
const MILLISECONDS_FROM: f64 = 1e11;
const SUFFIX: &str = "_bucket";

/// Reads all of `input`. A text that breaks off yields what stood before; [`Archive::missing`] says where. One that holds
/// native histograms instead of buckets is an error.
pub(in crate::source) fn read(path: &Path, input: impl BufRead, plan: Arc<Plan>) -> Result<Archive, SourceError> {
    let mut reading = Reading { archive: Archive::new(plan), prefix: String::new(), open: None, in_seconds: false };
    let read = reading.all(input);
    reading.close();
    let mut archive = reading.archive;
    if let Err((line, why)) = read {
        let (file, place) = (path.display().to_string(), format!("line {line}"));
        // The series before it are whole, whatever time it is about.
        let why = format!("{why}; what follows is missing from all of the time");
        archive.misses(SourceError::File { file, place, why });
    }
    archive.sort();
    archive.refuse_native()?;
    Ok(archive)
}

struct Reading {
    archive: Archive,
    /// The name and labels of the line before, with the blank behind them; empty if nobody asks for the metric.
    prefix: String,
    /// Its series, if the plan asks for it.
    open: Option<Open>,
    /// Some timestamp was: then it is OpenMetrics, which says where it ends.
    in_seconds: bool,
}

struct Open {
    request: usize,
    labels: Labels,
    le: String,
    packer: Packer,
}

type Broken = (usize, String);

impl Reading {
    fn all(&mut self, mut input: impl BufRead) -> Result<(), Broken> {
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let limited = input.by_ref().take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line);
            limited.map_err(|error| (number, error.to_string()))?;
            let text = std::str::from_utf8(&line).map_err(|_| (number, "it is not UTF-8".to_owned()))?;
            match text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text)) {
                Some("# EOF") => return rest_is_blank(input).map_err(|why| (number + 1, why)),
                Some(text) => self.line(text).map_err(|why| (number, why))?,
                None if text == "# EOF" => return Ok(()),
                None if text.is_empty() && self.in_seconds => {
                    return Err((number, "the text ends without \"# EOF\"".to_owned()));
                }
                None if text.is_empty() => return Ok(()),
                None if line.len() > MAX_LINE_BYTES => {
                    return Err((number, format!("more than {MAX_LINE_BYTES} bytes in a line")));
                }
                None => return Err((number, "the text ends inside a line".to_owned())),
            }
        }
        Ok(())
    }

    fn line(&mut self, text: &str) -> Result<(), String> {
        if text.is_empty() || text.starts_with('#') {
            return Ok(());
        }
        if self.prefix.is_empty() || !text.starts_with(&*self.prefix) {
            self.close();
            self.prefix.clear();
            if !self.is_asked_for(name(text)) {
                // Whatever else stands in it.
                self.see_unit(text);
                return Ok(());
            }
            let end = series_end(text).ok_or("expected a series, a value and a timestamp")?;
            self.prefix = text[..end].to_owned();
            // That of a native histogram is `{count:5, sum:1.5, (0.5,1]:5}`.
            self.open = self.series(end, text[end..].starts_with('{'))?;
        }
        if self.open.is_none() {
            self.see_unit(text);
            return Ok(());
        }
        let (value, at) = value_and_time(&text[self.prefix.len()..]);
        let value = value.ok_or("expected a number after the series")?;
        let at = at.filter(|at| at.is_finite()).ok_or("expected a timestamp after the value")?;
        self.in_seconds |= at.abs() < MILLISECONDS_FROM;
        self.sample(at, value)
    }

    fn is_asked_for(&self, name: &str) -> bool {
        let plan = &self.archive.plan;
        name.strip_suffix(SUFFIX).is_some_and(|metric| plan.position(metric).is_some()) || plan.position(name).is_some()
    }

    /// Looks at the timestamp of a line that nobody asks for, if it has one.
    fn see_unit(&mut self, text: &str) {
        if !self.in_seconds
            && let Some(end) = series_end(text)
        {
            self.in_seconds = value_and_time(&text[end..]).1.is_some_and(|at| at.abs() < MILLISECONDS_FROM);
        }
    }

    /// What the prefix, which ends before `end`, names; `None` if nobody asks for it.
    fn series(&mut self, end: usize, is_native: bool) -> Result<Option<Open>, String> {
        let series = without_go_escapes(self.prefix[..end].trim_end());
        // The older dump has the name among the labels.
        let is_dump = series.starts_with('{') && !series.starts_with("{\"");
        let line = format!("{}{series} 0\n", if is_dump { "_" } else { "" });
        let sample = Reader::new(&line, Format::Prometheus).next();
        let sample = sample
            .ok_or("expected a series")?
            .map_err(|error| format!("column {}: expected {}, found {}", error.column, error.expected, error.found))?;
        let labels: Labels =
            sample.labels.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        let Named { name, le, own: labels } = Named::from(labels);
        let name = if is_dump { &*name } else { &*sample.name };
        let metric = if is_native { Some(name) } else { name.strip_suffix(SUFFIX) };
        let Some(request) = metric.and_then(|metric| self.archive.plan.position(metric)) else { return Ok(None) };
        let slos = self.archive.plan.requests[request].assign(&labels);
        if is_native {
            self.archive.native.extend(slos);
            return Ok(None);
        }
        Ok((!slos.is_empty()).then(|| Open { request, labels, le, packer: Packer::default() }))
    }

    fn sample(&mut self, at: f64, value: f64) -> Result<(), String> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let unix_ms = unix_ms(at)?;
        // No count is NaN: it is how a stale marker is written.
        let value = if value.is_nan() { f64::from_bits(STALE_BITS) } else { value };
        let keeper = &mut self.archive.keeper;
        if !open.packer.push(keeper, unix_ms, value) {
            return Err(format!("{unix_ms} ms is not later than the sample before it"));
        }
        if keeper.is_full() {
            return Err(format!("its samples take more than {} MB; make a recording of it", MAX_CHUNK_BYTES >> 20));
        }
        Ok(())
    }

    fn close(&mut self) {
        let Some(Open { request, labels, le, packer }) = self.open.take() else { return };
        let places = packer.finish(&mut self.archive.keeper);
        if !places.is_empty() {
            self.archive.add(request, labels, Stored::new(le, places, Vec::new()));
        }
    }
}

/// Where a line's name and labels end: behind the blank after them.
fn series_end(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped, mut braced) = (false, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' if !quoted => braced = true,
            b'}' if !quoted => braced = false,
            b' ' | b'\t' if !quoted && !braced => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// A line's metric, wherever its name stands.
fn name(text: &str) -> &str {
    let end_of_plain = |text: &str| text.find(['{', ' ', '\t']).unwrap_or(text.len());
    let Some(labels) = text.strip_prefix('{') else { return &text[..end_of_plain(text)] };
    let quoted = match labels.strip_prefix('"') {
        Some(quoted) => quoted,
        None => labels.split_once("__name__=\"").map_or("", |(_, quoted)| quoted),
    };
    quoted.split('"').next().unwrap_or_default()
}

/// What stands behind a line's labels.
fn value_and_time(text: &str) -> (Option<f64>, Option<f64>) {
    let mut words = text.split_ascii_whitespace().map(|word| word.parse().ok());
    (words.next().flatten(), words.next().flatten())
}

/// Of a timestamp in seconds or milliseconds.
fn unix_ms(at: f64) -> Result<i64, String> {
    let unix_ms = if at.abs() < MILLISECONDS_FROM { (at * 1000.0).round() } else { at } as i64;
    if TIMES_MS.contains(&unix_ms) {
        return Ok(unix_ms);
    }
    let unit = match at {
        1e14..1e17 => "; it seems to be in microseconds, and seconds or milliseconds are read",
        1e17..1e20 => "; it seems to be in nanoseconds, and seconds or milliseconds are read",
        _ => "",
    };
    let shown = format!("{at:?}");
    let at = shown.trim_end_matches(".0");
    Err(format!("the timestamp {at} is not between 1970 and 2200{unit}"))
}

/// promtool writes labels as Go does: what an exposition has no escape for stands for itself then.
fn without_go_escapes(series: &str) -> Cow<'_, str> {
    let Some(first) = series.find('\\') else { return Cow::Borrowed(series) };
    let (mut plain, mut rest) = (series[..first].to_owned(), &series[first..]);
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let escape = &rest[at..];
        let (c, length) = go_escape(escape.as_bytes());
        let length = length.min(escape.len());
        match c {
            Some(c) if !['"', '\\', '\n'].contains(&c) => plain.push(c),
            _ => plain.push_str(escape.get(..length).unwrap_or(escape)),
        }
        rest = escape.get(length..).unwrap_or_default();
    }
    Cow::Owned(plain + rest)
}

/// What an escape stands for, unless an exposition has it too, and its length in bytes. Source: Go's `strconv.Quote`.
fn go_escape(escape: &[u8]) -> (Option<char>, usize) {
    let coded = |digits: usize| {
        let digits = escape.get(2..2 + digits).and_then(|digits| std::str::from_utf8(digits).ok());
        digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).and_then(char::from_u32)
    };
    match escape.get(1) {
        Some(b'a') => (Some('\x07'), 2),
        Some(b'b') => (Some('\x08'), 2),
        Some(b'f') => (Some('\x0c'), 2),
        Some(b'r') => (Some('\r'), 2),
        Some(b't') => (Some('\t'), 2),
        Some(b'v') => (Some('\x0b'), 2),
        Some(b'x') => (coded(2), 4),
        Some(b'u') => (coded(4), 6),
        Some(b'U') => (coded(8), 10),
        _ => (None, 2),
    }
}

/// Nothing that matters may follow the mark of the end.
fn rest_is_blank(mut input: impl BufRead) -> Result<(), String> {
    loop {
        let rest = input.fill_buf().map_err(|error| error.to_string())?;
        if rest.is_empty() {
            return Ok(());
        }
        if !rest.trim_ascii().is_empty() {
            let why =
                "more text follows \"# EOF\": keep one text in a file, and each series' samples side by side in it";
            return Err(why.to_owned());
        }
        let read = rest.len();
        input.consume(read);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::selector::MatchOp;
    use crate::engine::time::{Duration, Timestamp};
    use crate::source::history::{Detail, History};
    use crate::source::plan::tests::{plan, selector};
    use crate::source::series::MAX_SERIES;

    /// Ten minutes of two buckets, every 30 s; the second half of one label's values is gone.
    fn text(line: impl Fn(&str, &str, i64, &str) -> String) -> String {
        let mut text = String::new();
        for (pod, until) in [("a", 600), ("b} 1", 300)] {
            for (place, le) in [(1, "0.1"), (2, "+Inf")] {
                for s in (0..=until).step_by(30) {
                    text += &line(pod, le, s, &(s * place).to_string());
                }
                if until == 300 {
                    text += &line(pod, le, 330, "NaN");
                }
            }
        }
        text
    }

    fn openmetrics() -> String {
        text(|pod, le, s, value| format!("m_bucket{{layer=\"edge\",pod=\"{pod}\",le=\"{le}\"}} {value} {s}\n"))
    }

    fn archive(text: &str) -> Archive {
        let plan = plan(&[(selector("m", &[("layer", MatchOp::Equal, "edge")]), 0.1)]);
        read(Path::new("t.om"), text.as_bytes(), Arc::new(plan)).unwrap()
    }

    fn history(archive: &Archive) -> History {
        let [from, to] = [0, 600].map(Timestamp::from_unix_s);
        archive.history(from, to, Duration::from_secs(30), Detail::Counts).unwrap()
    }

    #[test]
    fn every_way_to_write_it_says_the_same() {
        let first = archive(&(openmetrics() + "# EOF\n"));
        assert!(first.missing.is_none());
        let expected = history(&first);
        assert_eq!((expected.series.len(), &expected.series[0].bounds[..]), (2, &[0.1, f64::INFINITY][..]));
        assert_eq!(expected.series[0].counts.iter().skip(38).collect::<Vec<_>>(), [570.0, 1140.0, 600.0, 1200.0]);
        assert_eq!(expected.series[1].labels["pod"], "b} 1");
        // Gone at its stale marker, in the twelfth slot.
        let gone = (0..expected.slots).find(|slot| !expected.series[1].counts.is_present(*slot));
        assert_eq!(gone, Some(11));
        let dump = text(|pod, le, s, value| {
            format!(
                "{{__name__=\"m_bucket\", layer=\"edge\", le=\"{le}\", pod=\"{pod}\"}} {value} {}\n",
                s * 1000 + 1_000_000_000_000
            )
        });
        let other = archive(&dump);
        assert!(other.missing.is_none());
        let from = Timestamp::from_unix_s(1_000_000_000);
        let found = other.history(from, from + Duration::from_secs(600), Duration::from_secs(30), Detail::Buckets);
        let bits = |history: &History| -> Vec<Vec<u64>> {
            history.series.iter().map(|series| series.counts.iter().map(f64::to_bits).collect()).collect()
        };
        assert_eq!(bits(&found.unwrap()), bits(&expected));
        // Whatever stands in lines that nobody asks for; and blanks are blanks.
        let others =
            "# HELP m x\nother 1 5\nup 1\ngo_gc{a=\"\\x01\"} 1 5\n{__name__=\"go\", a=\"\\t\"} 1 5\nm_bucketful 1\n";
        for others in
            [format!("{others}{}{others}# EOF\n\n \n", openmetrics()), openmetrics().replace("} ", "}\t") + "# EOF"]
        {
            let read = archive(&others);
            assert_eq!((bits(&history(&read)), read.missing), (bits(&expected), None));
        }
    }

    #[test]
    fn labels_that_go_escapes_are_read_wherever_the_name_stands() {
        let written = r#"DC="x\\ny", __name__="m_bucket", layer="edge", le="+Inf", pod="a\t\x01\u00ad\"""#;
        for line in
            [format!("{{{written}}}"), format!("m_bucket{{{}}}", written.replace("__name__=\"m_bucket\", ", ""))]
        {
            let read = archive(&format!("{line} 1 1772366400\n# EOF\n"));
            assert_eq!(read.missing, None);
            let labels: Vec<&Labels> = read.series[0].series().keys().collect();
            assert_eq!((&*labels[0]["pod"], &*labels[0]["DC"]), ("a\t\u{1}\u{ad}\"", "x\\ny"));
        }
    }

    #[test]
    fn too_many_series_make_it_partial() {
        let line = |pod: usize| format!("m_bucket{{layer=\"edge\",pod=\"{pod:05}\",le=\"+Inf\"}} 1 0\n");
        let text: String = (0..=MAX_SERIES).rev().map(line).collect();
        let history = history(&archive(&(text + "# EOF\n")));
        assert!(history.partial && history.warnings[0].contains("more than 50000 series"), "{:?}", history.warnings);
        // Which ones stay does not depend on their order.
        assert_eq!((history.series.len(), &*history.series[0].labels["pod"]), (MAX_SERIES, "00000"));
    }

    #[test]
    fn native_histograms_are_refused_unless_there_are_buckets_too() {
        let native = "m{layer=\"edge\"} {count:5, sum:1.5, (0.5,1]:5} 1\nm{layer=\"edge\"} {count:6, sum:1.5} 2\n";
        let plan = Arc::new(plan(&[(selector("m", &[("layer", MatchOp::Equal, "edge")]), 0.1)]));
        let refused = read(Path::new("t.om"), native.as_bytes(), Arc::clone(&plan)).map(drop);
        assert_eq!(refused.map_err(|error| error.kind()), Err("native_histogram"));
        let both = native.to_owned() + &openmetrics() + "# EOF\n";
        assert_eq!(history(&archive(&both)).series.len(), 2);
        let other = native.replace("edge", "cache") + "# EOF\n";
        assert!(archive(&other).span.is_none());
    }

    #[test]
    fn what_breaks_off_is_told_and_what_came_before_is_there() {
        let whole = openmetrics() + "# EOF\n";
        let check = |text: &str, place: &str, why: &str| {
            let archive = archive(text);
            let Some(SourceError::File { file, place: at, why: said }) = &archive.missing else { panic!("{text}") };
            assert_eq!((file.as_str(), at.as_str()), ("t.om", place), "{said}");
            assert!(said.contains(why), "{said}");
            archive
        };
        let lines = whole.lines().count();
        check(whole.strip_suffix("# EOF\n").unwrap(), &format!("line {lines}"), "without \"# EOF\"");
        let half = &whole[..whole.len() / 2];
        let read = check(half, &format!("line {}", half.lines().count()), "inside a line");
        assert_eq!(history(&read).series.len(), 1);
        check(&(openmetrics() + "m_bucket{layer=\"edge\"} 1\n"), &format!("line {lines}"), "a timestamp");
        check(&(openmetrics() + "m_bucket{layer=edge} 1 2\n"), &format!("line {lines}"), "a value in double quotes");
        check(&(openmetrics() + "m_bucket\n"), &format!("line {lines}"), "a series");
        let back = "m_bucket{layer=\"edge\",le=\"1\"} 1 20\nm_bucket{layer=\"edge\",le=\"1\"} 1 10\n";
        check(back, "line 2", "not later");
        check(&(whole.clone() + &whole), &format!("line {}", lines + 1), "more text follows \"# EOF\"");
        for (at, why) in [
            ("1772366400000000", "microseconds"),
            ("1772366400000000000", "nano"),
            ("1e300", "timestamp 1e300 is not between 1970"),
            ("-1", "1970"),
        ] {
            let stray = format!("m_bucket{{layer=\"edge\",le=\"1\"}} 1 {at}\n# EOF\n");
            let read = check(&stray, "line 1", why);
            assert!(read.span.is_none());
        }
        check(&"x".repeat(70_000), "line 1", "bytes in a line");
    }
}
