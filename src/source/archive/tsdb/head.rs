//! The newest hours, which are in no block yet: put together from the write-ahead log, and from the log of what came
//! out of order.
//!
//! What is kept are the buckets that the configuration asks for, as chunks of two or three bytes a sample.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::engine::histogram::Labels;
use crate::source::plan::Plan;

use super::super::{Archive, MAX_CHUNK_BYTES, Packer, Stored};
use super::record::{Entry, entries};
use super::wal::Log;

const SUFFIX: &str = "_bucket";

/// A log's samples in the making.
struct Head<'a> {
    archive: &'a mut Archive,
    plan: Arc<Plan>,
    /// Samples before this are in blocks.
    oldest_ms: i64,
    /// Which of `buckets` a reference stands for: a series that ended and came back has several.
    references: HashMap<u64, usize>,
    buckets: Vec<Bucket>,
    by_labels: BTreeMap<(usize, Labels, String), usize>,
    /// The metric itself, where a native histogram would be, and the SLOs that select it.
    bases: HashMap<u64, Vec<usize>>,
    /// Those of them that are plain numbers.
    plain: HashSet<u64>,
    has_native: bool,
    unknown: BTreeSet<u8>,
    newest_ms: Option<i64>,
}

#[derive(Default)]
struct Bucket {
    packer: Packer,
    /// What came out of order.
    late: Packer,
    deleted: Vec<(i64, i64)>,
}

/// Adds what the logs hold to `archive`: samples from `oldest_ms` on of `log`, and all of `late`. Where one of them is
/// broken, what stands before is added, and the archive says where.
pub(super) fn read(log: Log, late: Log, oldest_ms: i64, archive: &mut Archive) {
    let plan = Arc::clone(&archive.plan);
    let mut head = Head {
        archive,
        plan,
        oldest_ms,
        references: HashMap::new(),
        buckets: Vec::new(),
        by_labels: BTreeMap::new(),
        bases: HashMap::new(),
        plain: HashSet::new(),
        has_native: false,
        unknown: BTreeSet::new(),
        newest_ms: None,
    };
    let in_order = log.read(|record| head.take(record, false));
    // What is late is of use before the time at which the other log breaks.
    let late = late.read(|record| head.take(record, true));
    if let Err(error) = in_order.and(late) {
        // Records are written as samples come: what follows is later, but for what is late anyhow.
        let from_ms = head.newest_ms.unwrap_or(oldest_ms).saturating_add(1);
        head.archive.breaks(from_ms, error);
    }
    head.finish();
}

impl Head<'_> {
    fn take(&mut self, record: &[u8], is_late: bool) -> Result<(), String> {
        entries(record, |entry| match entry {
            Entry::Series { reference, labels } => self.series(reference, &labels),
            Entry::Sample { reference, unix_ms, value } => self.sample(reference, unix_ms, value, is_late),
            Entry::Deleted { reference, from_ms, to_ms } => {
                if let Some(bucket) = self.references.get(&reference) {
                    self.buckets[*bucket].deleted.push((from_ms, to_ms));
                }
            }
            Entry::Native => self.has_native = true,
            Entry::Oldest(unix_ms) => self.oldest_ms = self.oldest_ms.max(unix_ms),
            Entry::Unknown(kind) => drop(self.unknown.insert(kind)),
        })
        .ok_or("a record is damaged")?;
        if self.archive.keeper.is_full() {
            return Err(format!("its samples take more than {} MB", MAX_CHUNK_BYTES >> 20));
        }
        Ok(())
    }

    fn series(&mut self, reference: u64, labels: &[(&str, &str)]) {
        let name = labels.iter().find(|(name, _)| *name == "__name__").map_or("", |(_, name)| name);
        let base = name.strip_suffix(SUFFIX);
        let Some(request) = self.plan.position(base.unwrap_or(name)) else { return };
        let mut le = String::new();
        let mut own = Labels::new();
        for (name, value) in labels {
            match *name {
                "__name__" => {}
                "le" => le = (*value).to_owned(),
                name => drop(own.insert(name.to_owned(), (*value).to_owned())),
            }
        }
        let slos = self.plan.requests[request].assign(&own);
        if slos.is_empty() {
            return;
        }
        if base.is_none() {
            self.bases.insert(reference, slos);
            return;
        }
        let bucket = *self.by_labels.entry((request, own, le)).or_insert_with(|| {
            self.buckets.push(Bucket::default());
            self.buckets.len() - 1
        });
        self.references.insert(reference, bucket);
    }

    fn sample(&mut self, reference: u64, unix_ms: i64, value: f64, is_late: bool) {
        let Some(bucket) = self.references.get(&reference) else {
            if self.bases.contains_key(&reference) {
                self.plain.insert(reference);
            }
            return;
        };
        let (bucket, keeper) = (&mut self.buckets[*bucket], &mut self.archive.keeper);
        if is_late {
            bucket.late.push_anyhow(keeper, unix_ms, value);
        } else if unix_ms >= self.oldest_ms {
            // What is not later was refused, or is in the other log.
            bucket.packer.push(keeper, unix_ms, value);
            self.newest_ms = self.newest_ms.max(Some(unix_ms));
        }
    }

    fn finish(self) {
        let Self { archive, buckets, by_labels, bases, plain, has_native, unknown, .. } = self;
        let mut buckets: Vec<Option<Bucket>> = buckets.into_iter().map(Some).collect();
        for ((request, labels, le), bucket) in by_labels {
            let Some(Bucket { packer, late, deleted }) = buckets[bucket].take() else { continue };
            let mut places = packer.finish(&mut archive.keeper);
            places.extend(late.finish(&mut archive.keeper));
            if !places.is_empty() {
                archive.add(request, labels, Stored::new(le, places, deleted));
            }
        }
        if has_native {
            archive.native.extend(bases.iter().filter(|(base, _)| !plain.contains(base)).flat_map(|(_, slos)| slos));
        }
        if !unknown.is_empty() {
            let kinds: Vec<String> = unknown.iter().map(u8::to_string).collect();
            let kinds = kinds.join(", ");
            archive.warnings.push(format!(
                "the write-ahead log has records of kind {kinds}, which a newer Prometheus wrote; they are left out"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::open;
    use super::super::record::tests::{deleted, samples, samples_with_starts, series};
    use super::super::wal::tests::segment;
    use super::*;
    use crate::config::selector::MatchOp;
    use crate::engine::time::{Duration, Timestamp};
    use crate::source::error::SourceError;
    use crate::source::history::Detail;
    use crate::source::plan::tests::{plan, selector};

    fn write(folder: &Path, name: &str, records: &[Vec<u8>]) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, segment(records, 0)).unwrap();
    }

    fn archive(folder: &Path) -> Result<Archive, SourceError> {
        let plan = plan(&[(selector("m", &[("layer", MatchOp::Equal, "edge")]), 0.1)]);
        open(folder, Arc::new(plan))
    }

    /// The counts under `+Inf` at the first minutes, a dash where there is none.
    fn counts(archive: &Archive, minutes: i64) -> String {
        let to = Timestamp::from_unix_s(minutes * 60);
        let history = archive.history(Timestamp::from_unix_s(0), to, Duration::from_minutes(1), Detail::Buckets);
        let history = history.unwrap();
        assert_eq!(history.series.len(), 1);
        let counts = &history.series[0].counts;
        let shown = (0..counts.slots()).map(|slot| match counts.count(slot, 1) {
            none if none.is_nan() => "-".to_owned(),
            count => count.to_string(),
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    const BOUND: [(&str, &str); 3] = [("__name__", "m_bucket"), ("layer", "edge"), ("le", "0.1")];
    const ALL: [(&str, &str); 3] = [("__name__", "m_bucket"), ("layer", "edge"), ("le", "+Inf")];
    const OTHER: [(&str, &str); 3] = [("__name__", "m_bucket"), ("layer", "cache"), ("le", "+Inf")];

    fn minute(minute: i64, count: f64) -> [(u64, i64, f64); 3] {
        [(1, minute * 60_000, 0.0), (2, minute * 60_000, count), (3, minute * 60_000, 77.0)]
    }

    #[test]
    fn checkpoint_then_segments_then_what_was_late() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert!(archive(folder).is_err_and(|error| error.to_string().contains("neither a block nor")));
        let known = || vec![series(1, &BOUND), series(2, &ALL), series(3, &OTHER)];
        write(folder, "wal/00000000", &[known(), vec![samples(&minute(0, 99.0))]].concat());
        write(folder, "wal/00000001", &[samples(&minute(1, 99.0))]);
        write(folder, "wal/checkpoint.00000000/00000000", &[vec![9, 9]]);
        write(folder, "wal/checkpoint.00000001/00000000", &[known(), vec![samples(&minute(1, 1.0))]].concat());
        // The series ended and came back under another number; a sample comes twice, and one too late.
        let again = [(11, 240_000, 0.0), (12, 240_000, 4.0), (12, 180_000, 50.0), (12, 240_000, 51.0)];
        let records = vec![
            samples_with_starts(&minute(2, 2.0)),
            series(11, &BOUND),
            series(12, &ALL),
            samples(&again),
            deleted(2, 55_000, 65_000),
            vec![6, 0],
        ];
        write(folder, "wal/00000002", &records);
        write(folder, "wal/00000003", &[samples(&[(1, 480_000, 0.0), (2, 480_000, 8.0)])]);
        let read = archive(folder).unwrap();
        assert!(read.broken.is_none() && read.warnings.is_empty(), "{:?} {:?}", read.broken, read.warnings);
        assert_eq!(counts(&read, 9), "- - 2 2 4 4 4 4 8 8");
        // What came late is between them, in whatever order it came.
        let late = [(12, 360_000, 6.0), (1, 360_000, 0.0), (2, 180_000, 3.0), (1, 420_000, 0.0), (2, 420_000, 7.0)];
        write(folder, "wbl/00000000", &[samples(&late), vec![5, 0, 0]]);
        assert_eq!(counts(&archive(folder).unwrap(), 9), "- - 2 3 4 4 6 7 8 8");
    }

    #[test]
    fn what_is_not_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let known = || vec![series(1, &BOUND), series(2, &ALL)];
        let counts_at = |minute| samples(&super::tests::minute(minute, minute as f64));
        write(folder, "wal/00000000", &[known(), vec![counts_at(1), vec![99, 1], vec![98], counts_at(2)]].concat());
        let read = archive(folder).unwrap();
        assert_eq!(counts(&read, 2), "- 1 2");
        assert!(read.warnings[0].contains("records of kind 98, 99"), "{:?}", read.warnings);
        // A record whose bytes are sound and make no sense, after which nothing is known.
        write(folder, "wal/00000000", &[known(), vec![counts_at(1), vec![1, 0, 0], counts_at(2)]].concat());
        let broken = archive(folder).unwrap().broken.unwrap();
        assert_eq!(broken.unix_ms, 60_001);
        assert!(broken.error.to_string().contains("a record is damaged"), "{}", broken.error);
        // Samples that are in blocks already, as a checkpoint says.
        let oldest = [&[14][..], &120_000i64.to_be_bytes()].concat();
        write(folder, "wal/00000000", &[known(), vec![oldest, counts_at(1), counts_at(2)]].concat());
        assert_eq!(counts(&archive(folder).unwrap(), 2), "- - 2");
    }

    #[test]
    fn segments_that_are_missing_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let known = || vec![series(1, &BOUND), series(2, &ALL)];
        let first = [known(), vec![samples(&minute(1, 1.0))]].concat();
        // Without a checkpoint that stands for the segment before it.
        write(folder, "wal/00000003", &first);
        let told = |why: &str| {
            let error = archive(folder).map_or_else(Some, |read| read.fault().cloned()).unwrap().to_string();
            assert!(error.contains(why), "{error}");
        };
        told("the segment 00000000 before it is missing");
        write(folder, "wal/checkpoint.00000001/00000000", &known());
        told("the segment 00000002 before it is missing");
        write(folder, "wal/checkpoint.00000002/00000000", &known());
        assert!(archive(folder).unwrap().fault().is_none());
        // The other log is cut off at its beginning, and is of use whatever became of the first.
        write(folder, "wbl/00000007", &[samples(&[(1, 30_000, 0.0), (2, 30_000, 0.5)])]);
        write(folder, "wal/00000003", &[first, vec![vec![1, 0, 0]]].concat());
        let read = archive(folder).unwrap();
        assert_eq!((read.broken.as_ref().map(|broken| broken.unix_ms), &*counts(&read, 1)), (Some(60_001), "- 1"));
        let [from, to] = [0, 30].map(Timestamp::from_unix_s);
        let history = read.history(from, to, Duration::from_secs(30), Detail::Buckets).unwrap();
        assert_eq!(history.series[0].counts.row(1).unwrap().collect::<Vec<_>>(), [0.0, 0.5]);
        // What cannot be listed is not taken for nothing.
        fs::remove_dir_all(folder.join("wbl")).unwrap();
        fs::write(folder.join("wbl"), "").unwrap();
        told("cannot read");
    }

    #[test]
    fn folders_that_are_no_blocks_are_left_alone_and_blocks_without_meta_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let known = vec![series(1, &BOUND), series(2, &ALL), samples(&minute(1, 1.0))];
        write(folder, "wal/00000000", &known);
        const BLOCK: &str = "01JN8Z3QK5V7T9W2X4Y6A8B0CD";
        let meta = format!(r#"{{"ulid":"{BLOCK}","minTime":0,"maxTime":9000000,"version":1}}"#);
        let with_meta = |name: &str, meta: &str| {
            fs::create_dir(folder.join(name)).unwrap();
            fs::write(folder.join(name).join("meta.json"), meta).unwrap();
        };
        for name in [".tmp-for-deletion", ".tmp-for-creation", "X"].map(|end| format!("{BLOCK}{end}")) {
            with_meta(&name, &meta);
        }
        with_meta("backup", &meta);
        let read = archive(folder).unwrap();
        assert_eq!((&*counts(&read, 1), read.fault()), ("- 1", None));
        for meta in ["", "{}", "\0\0\0"] {
            with_meta(BLOCK, meta);
            let read = archive(folder).unwrap();
            let error = read.fault().unwrap().to_string();
            assert!(error.contains(BLOCK) && error.contains("what this block holds is missing"), "{error}");
            assert_eq!(counts(&read, 1), "- 1");
            fs::remove_dir_all(folder.join(BLOCK)).unwrap();
        }
        fs::create_dir(folder.join(BLOCK)).unwrap();
        assert!(archive(folder).unwrap().fault().is_some());
    }

    #[test]
    fn native_histograms_are_refused_unless_there_are_buckets_too() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let base = |layer| series(5, &[("__name__", "m"), ("layer", layer)]);
        write(folder, "wal/00000000", &[base("edge"), vec![7, 1]]);
        assert_eq!(archive(folder).map(drop).unwrap_err().kind(), "native_histogram");
        write(folder, "wal/00000000", &[base("cache"), vec![7, 1]]);
        assert!(archive(folder).unwrap().span.is_none());
        // A gauge of that name.
        write(folder, "wal/00000000", &[base("edge"), vec![7, 1], samples(&[(5, 60_000, 1.0)])]);
        assert!(archive(folder).is_ok());
        let both = [base("edge"), vec![7, 1], series(2, &ALL), samples(&[(2, 60_000, 1.0)])];
        write(folder, "wal/00000000", &both);
        assert!(archive(folder).unwrap().span.is_some());
    }
}
