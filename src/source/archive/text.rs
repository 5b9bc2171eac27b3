//! Text with timestamps: OpenMetrics as `promtool tsdb dump-openmetrics` writes it, the older `promtool tsdb dump`, and
//! Prometheus' text; plain or gzip.
//!
//! Such text has one series after the other, so all of it is read before the first slot is known. What is kept are the
//! buckets that the configuration asks for, as chunks of two or three bytes a sample.

use std::io::{BufRead, Read};
use std::path::Path;
use std::sync::Arc;

use crate::engine::histogram::Labels;
use crate::source::error::SourceError;
use crate::source::exposition::{Format, MAX_LINE_BYTES, Reader};
use crate::source::plan::Plan;
use crate::source::xor::STALE_BITS;

use super::{Archive, MAX_CHUNK_BYTES, MAX_SERIES, Packer, Stored};

/// Timestamps from here on are milliseconds: as seconds they would be in the year 5138.
const MILLISECONDS_FROM: f64 = 1e11;
const SUFFIX: &str = "_bucket";

/// Reads all of `input`. A text that breaks off yields what stood before; [`Archive::broken`] says where. One that holds
/// native histograms instead of buckets is an error.
pub(in crate::source) fn read(path: &Path, input: impl BufRead, plan: Arc<Plan>) -> Result<Archive, SourceError> {
    let mut reading =
        Reading { archive: Archive::new(plan), prefix: String::new(), open: None, in_seconds: false, left_out: false };
    let read = reading.all(input);
    reading.close();
    let Reading { mut archive, left_out, .. } = reading;
    if let Err((line, why)) = read {
        let (file, place) = (path.display().to_string(), format!("line {line}"));
        // The series before it are whole, whatever time it is about.
        archive.breaks(i64::MAX, SourceError::File { file, place, why });
    }
    if left_out {
        archive.warnings.push(format!("more than {MAX_SERIES} series of a metric; those beyond are left out"));
    }
    archive.sort();
    archive.refuse_native()?;
    Ok(archive)
}

struct Reading {
    archive: Archive,
    /// The name and labels of the line before, with the blank behind them.
    prefix: String,
    /// Its series, if the plan asks for it.
    open: Option<Open>,
    /// Some timestamp was: then it is OpenMetrics, which says where it ends.
    in_seconds: bool,
    left_out: bool,
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
                Some("# EOF") => return Ok(()),
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
            let end = series_end(text).ok_or("expected a series, a value and a timestamp")?;
            self.prefix = text[..end].to_owned();
            self.open = self.series(end, text[end..].starts_with('{'))?;
        }
        if text[self.prefix.len()..].starts_with('{') {
            // A native histogram: `{count:5, sum:1.5, (0.5,1]:5}`.
            return Ok(());
        }
        let mut words = text[self.prefix.len()..].split_ascii_whitespace();
        let (value, at) = (words.next().and_then(number), words.next().and_then(number));
        let value = value.ok_or("expected a number after the series")?;
        let at = at.filter(|at| at.is_finite()).ok_or("expected a timestamp after the value")?;
        let unix_ms = if at.abs() < MILLISECONDS_FROM {
            self.in_seconds = true;
            (at * 1000.0).round() as i64
        } else {
            at as i64
        };
        self.sample(unix_ms, value)
    }

    /// What the prefix, which ends before `end`, names; `None` if nobody asks for it.
    fn series(&mut self, end: usize, is_native: bool) -> Result<Option<Open>, String> {
        let mut series = self.prefix[..end].trim_end().to_owned();
        // The older dump has the name among the labels.
        if let Some(rest) = series.strip_prefix("{__name__=\"")
            && let Some((name, labels)) = rest.split_once('"')
        {
            series = format!("{name}{{{}", labels.trim_start_matches([',', ' ']));
        }
        let line = format!("{series} 0\n");
        let sample = Reader::new(&line, Format::Prometheus).next();
        let sample = sample
            .ok_or("expected a series")?
            .map_err(|error| format!("column {}: expected {}, found {}", error.column, error.expected, error.found))?;
        let metric = if is_native { Some(&*sample.name) } else { sample.name.strip_suffix(SUFFIX) };
        let Some(request) = metric.and_then(|metric| self.archive.plan.position(metric)) else { return Ok(None) };
        let mut labels: Labels =
            sample.labels.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        let le = labels.remove("le").unwrap_or_default();
        let slos = self.archive.plan.requests[request].assign(&labels);
        if is_native {
            self.archive.native.extend(slos);
            return Ok(None);
        }
        Ok((!slos.is_empty()).then(|| Open { request, labels, le, packer: Packer::default() }))
    }

    fn sample(&mut self, unix_ms: i64, value: f64) -> Result<(), String> {
        let Some(open) = &mut self.open else { return Ok(()) };
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
            self.left_out |= !self.archive.add(request, labels, Stored::new(le, places, Vec::new()));
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
            b' ' if !quoted && !braced => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn number(word: &str) -> Option<f64> {
    word.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::selector::MatchOp;
    use crate::engine::time::{Duration, Timestamp};
    use crate::source::history::{Detail, History};
    use crate::source::plan::tests::{plan, selector};

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
        assert!(first.broken.is_none());
        let expected = history(&first);
        assert_eq!((expected.series.len(), &expected.series[0].bounds[..]), (2, &[0.1, f64::INFINITY][..]));
        assert_eq!(&expected.series[0].counts[38..], [570.0, 1140.0, 600.0, 1200.0]);
        assert_eq!(expected.series[1].labels["pod"], "b} 1");
        // Gone at its stale marker, in the twelfth slot.
        let gone: Vec<bool> = expected.series[1].counts.chunks(2).map(|row| row[0].is_nan()).collect();
        assert_eq!(gone.iter().position(|gone| *gone), Some(11));
        let dump = text(|pod, le, s, value| {
            format!(
                "{{__name__=\"m_bucket\", layer=\"edge\", le=\"{le}\", pod=\"{pod}\"}} {value} {}\n",
                s * 1000 + 1_000_000_000_000
            )
        });
        let other = archive(&dump);
        assert!(other.broken.is_none());
        let from = Timestamp::from_unix_s(1_000_000_000);
        let found = other.history(from, from + Duration::from_secs(600), Duration::from_secs(30), Detail::Buckets);
        let bits = |history: &History| -> Vec<Vec<u64>> {
            history.series.iter().map(|series| series.counts.iter().map(|count| count.to_bits()).collect()).collect()
        };
        assert_eq!(bits(&found.unwrap()), bits(&expected));
        let with_others = format!("# HELP m x\nother 1 5\n{}go_gc{{a=\"b\"}} 1 5\n# EOF\n", openmetrics());
        assert_eq!(bits(&history(&archive(&with_others))), bits(&expected));
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
            let error = archive.broken.as_ref().map(|broken| &broken.error);
            let Some(SourceError::File { file, place: at, why: said }) = error else { panic!("{text}") };
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
        check(&"x".repeat(70_000), "line 1", "bytes in a line");
    }
}
