//! What a server answered, put into slots: the points of a query over a range, or chunks.

use crate::engine::histogram::Labels;
use crate::source::chunks::{self, Answer};
use crate::source::columns::Column;
use crate::source::error::SourceError;
use crate::source::history::{Part, room};
use crate::source::plan::MetricRequest;
use crate::source::sampler::{Grid, Lookback, Run};
use crate::source::series::Bounded;
use crate::source::xor::Samples;

use super::answer::{self, Key, MatrixRow, Notes, Shape};

pub(super) fn read_range(
    body: &[u8],
    request: &MetricRequest,
    grid: Grid,
    max_series: usize,
    max_bytes: usize,
) -> Result<Part, SourceError> {
    let mut series: Bounded<Key, Vec<Column>> = Bounded::new(max_series);
    let mut astray = None;
    let mut room = Some(room(max_bytes));
    let read = answer::read(body, Shape::Result("matrix"), |row: MatrixRow| {
        let bound = row.metric.bound();
        let Some(columns) = series.entry(row.metric.labels) else { return };
        let mut run = Run::default();
        for point in row.values {
            if !grid.slot(point.0).is_some_and(|slot| run.push(slot, point.1)) {
                astray = Some(point.0);
            }
        }
        room = room.and_then(|room| room.checked_sub(run.len()));
        if room.is_some() {
            columns.push(Column { bound, run });
        }
    });
    let Notes { warnings, partial } = read?;
    if let Some(unix_s) = astray {
        let why = format!("there is a point at {unix_s}, where none was asked for");
        return Err(SourceError::WrongShape(why));
    }
    if room.is_none() {
        return Err(SourceError::TooLarge { limit_bytes: max_bytes });
    }
    let mut part = Part { warnings, partial, ..Part::default() };
    if series.overflowed {
        part.overflow(request, series.limit);
    }
    let mut filling = part.filling(request, grid.slots, max_bytes);
    for (key, columns) in series.into_series() {
        filling.add(&answer::owned(key), columns)?;
    }
    Ok(filling.finish())
}

pub(super) fn put_chunks(
    answer: &Answer,
    request: &MetricRequest,
    grid: Grid,
    lookback: Lookback,
    max_series: usize,
    max_bytes: usize,
) -> Result<Part, SourceError> {
    let mut series: Bounded<&Labels, Vec<&chunks::Packed>> = Bounded::new(max_series);
    for packed in &answer.series {
        if let Some(buckets) = series.entry(&packed.labels) {
            buckets.push(packed);
        }
    }
    let mut part = Part::default();
    if answer.native {
        part.warnings.push(&format!("{}_bucket holds native histograms, which are not read", request.metric));
    }
    if series.overflowed {
        part.overflow(request, series.limit);
    }
    let mut filling = part.filling(request, grid.slots, max_bytes);
    let mut samples = Samples::default();
    for (labels, buckets) in series.into_series() {
        let mut columns = Vec::new();
        for chunks::Packed { bound, chunks, .. } in buckets {
            let run = chunks::sample(chunks, grid, lookback, &mut samples);
            let run = run.map_err(|broken| SourceError::Truncated(broken.to_string()))?;
            columns.push(Column { bound: *bound, run });
        }
        filling.add(labels, columns)?;
    }
    Ok(filling.finish())
}
