//! VictoriaMetrics' `/api/v1/export`: a series' samples a line, stale markers as `null`, put into slots here.
//!
//! Only where queries are refused: over a gap, VictoriaMetrics' queries look back as far as samples are apart, which polls
//! see, and five minutes as in Prometheus, which is done here, they do not. It takes no less time, either.
//!
//! Its `reduce_mem_usage` is not asked for, since then replicas' samples are not deduplicated as they are in queries;
//! lines are kept short by `max_rows_per_line` instead.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use crate::clock::Deadline;
use crate::engine::histogram::Labels;
use crate::source::body;
use crate::source::columns::Column;
use crate::source::error::SourceError;
use crate::source::history::{Part, room};
use crate::source::plan::MetricRequest;
use crate::source::sampler::{Grid, Lookback, Sampler};
use crate::source::series::Bounded;
use crate::source::xor::STALE_BITS;

use super::answer::{self, Metric};
use super::remote::is_missing;
use super::{Prometheus, refused, seconds};

/// Samples of a line: 200 kB or so.
const ROWS_PER_LINE: usize = 10_000;

/// The samples of some series.
#[derive(Debug, Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    metric: Metric<'a>,
    values: Vec<Value>,
    timestamps: Vec<i64>,
}

/// A number, or what stands for those that JSON has not.
#[derive(Debug, Clone, Copy)]
struct Value(f64);

/// What was exported so far.
struct Exported {
    /// Samples with their times by labels, then by `le` as it is written.
    series: Bounded<Labels, BTreeMap<String, Vec<(i64, f64)>>>,
    /// How many more samples may come.
    room: usize,
    max_bytes: usize,
}

impl Prometheus {
    /// The samples of a metric in slots; `None` if the server has no export.
    pub(super) async fn export(
        &self,
        index: usize,
        grid: Grid,
        matcher: &str,
        deadline: Deadline,
    ) -> Result<Option<Part>, SourceError> {
        let exported = tokio::time::timeout(deadline.remaining().to_std(), self.exported(index, grid, matcher));
        let exported = match exported.await.map_err(|_elapsed| SourceError::Timeout(deadline.length()))? {
            Err(error) if is_missing(&error) => return Ok(None),
            exported => exported?,
        };
        let plan = Arc::clone(&self.plan);
        let put = tokio::task::spawn_blocking(move || exported.put(&plan.requests[index], grid));
        put.await.unwrap_or_else(|_panicked| Err(SourceError::decoder())).map(Some)
    }

    async fn exported(&self, index: usize, grid: Grid, matcher: &str) -> Result<Exported, SourceError> {
        let selectors = self.plan.requests[index].selectors(matcher).into_iter().map(|selector| ("match[]", selector));
        let from = grid.from - Lookback::default().length;
        let range = [("start", seconds(from)), ("end", seconds(grid.last()))];
        let lines = [("max_rows_per_line", ROWS_PER_LINE.to_string())];
        let form: Vec<(&str, String)> = selectors.chain(range).chain(lines).collect();
        let request = self.client.post(format!("{}/api/v1/export", self.url)).form(&form);
        let mut lines = match body::lines(request, self.max_response_bytes).await? {
            Ok(lines) => lines,
            Err(answer) => return Err(refused(answer.status, &answer.body)),
        };
        let mut exported = Exported {
            series: Bounded::new(self.max_series),
            room: room(self.max_response_bytes),
            max_bytes: self.max_response_bytes,
        };
        while let Some(some) = lines.next().await? {
            // A megabyte of numbers must not hold up the other tasks.
            let read = tokio::task::spawn_blocking(move || exported.take(&some).map(|()| exported));
            exported = read.await.unwrap_or_else(|_panicked| Err(SourceError::decoder()))?;
        }
        Ok(exported)
    }
}

impl Exported {
    fn take(&mut self, lines: &[u8]) -> Result<(), SourceError> {
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let Line { metric, values, timestamps } =
                serde_json::from_slice(line).map_err(|error| answer::misread(line, &error))?;
            if values.len() != timestamps.len() {
                let why = format!("a line has {} values and {} timestamps", values.len(), timestamps.len());
                return Err(SourceError::WrongShape(why));
            }
            let too_large = SourceError::TooLarge { limit_bytes: self.max_bytes };
            self.room = self.room.checked_sub(values.len()).ok_or(too_large)?;
            let le = metric.le.into_owned();
            if let Some(buckets) = self.series.entry(answer::owned(metric.labels)) {
                let samples = timestamps.into_iter().zip(values.into_iter().map(|Value(value)| value));
                buckets.entry(le).or_default().extend(samples);
            }
        }
        Ok(())
    }

    fn put(self, request: &MetricRequest, grid: Grid) -> Result<Part, SourceError> {
        let mut part = Part::default();
        if self.series.overflowed {
            part.overflow(request, self.series.limit);
        }
        let mut filling = part.filling(request, grid.slots, self.max_bytes);
        for (labels, buckets) in self.series.into_series() {
            let mut columns = Vec::new();
            for (le, mut samples) in buckets {
                // A series may come in pieces, from several of the server's threads.
                samples.sort_by_key(|(unix_ms, _)| *unix_ms);
                let mut sampler = Sampler::new(grid, Lookback::default());
                samples.into_iter().for_each(|(unix_ms, value)| sampler.push(unix_ms, value));
                let (bound, run) = (le.parse().unwrap_or(f64::NAN), sampler.finish());
                columns.push(Column { bound, run });
            }
            filling.add(&labels, columns)?;
        }
        Ok(filling.finish())
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(InValue)
    }
}

struct InValue;

impl Visitor<'_> for InValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, null or \"Infinity\"")
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value(value as f64))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value(value as f64))
    }

    /// No count is NaN: it is how a stale marker is written.
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value(f64::from_bits(STALE_BITS)))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        match text.parse::<f64>() {
            Ok(value) if value.is_nan() => self.visit_unit(),
            Ok(value) => Ok(Value(value)),
            Err(_) => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_or_not_at_all() {
        let line = |values: &str, timestamps: &str| {
            format!(
                "{{\"metric\":{{\"__name__\":\"m_bucket\",\"le\":\"1\"}},\"values\":{values},\"timestamps\":{timestamps}}}\n"
            )
        };
        let take = |lines: &str| {
            let mut exported = Exported { series: Bounded::new(10), room: 5, max_bytes: 0 };
            exported.take(lines.as_bytes()).map_err(|error| error.kind())?;
            let series = exported.series.into_series().remove(&Labels::new()).unwrap_or_default();
            Ok(series.get("1").into_iter().flatten().map(|(at, value)| (*at, value.to_bits())).collect::<Vec<_>>())
        };
        let expected = [(1, 2f64.to_bits()), (2, STALE_BITS), (3, f64::INFINITY.to_bits()), (4, 1.5f64.to_bits())];
        let all = line("[2,null,\"Infinity\",1.5]", "[1,2,3,4]");
        assert_eq!(take(&all), Ok(expected.to_vec()));
        // In pieces.
        let pieces = line("[2,null]", "[1,2]") + &line("[\"Infinity\",1.5]", "[3,4]");
        assert_eq!(take(&pieces), Ok(expected.to_vec()));
        assert_eq!(take(&line("[1,2]", "[1]")), Err("wrong_shape"));
        assert_eq!(take(&line("[\"x\"]", "[1]")), Err("wrong_shape"));
        assert_eq!(take(&line("7", "[1]")), Err("wrong_shape"));
        assert_eq!(take("{\"metric\":{}}\n"), Err("wrong_shape"));
        assert_eq!(take("<html>\n"), Err("not_json"));
        assert_eq!(take(&(all.trim_end()[..40].to_owned() + "\n")), Err("truncated"));
        assert_eq!(take(&line("[1,1,1,1,1,1]", "[1,2,3,4,5,6]")), Err("too_large"));
    }
}
