//! History from wherever it lies, behind one interface: the configured source, a recording, text, or a database on disk.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::read::MultiGzDecoder;
use tokio::sync::watch;

use crate::config::{self, Config};
use crate::engine::time::{Duration, Timestamp};

use super::archive::{Archive, Break, text, tsdb};
use super::error::SourceError;
use super::history::{Detail, History};
use super::plan::Plan;
use super::prometheus::{Prometheus, Slices};
use super::recording::{self, MAGIC};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const BUFFER_BYTES: usize = 1 << 20;

/// Where history is to come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The source that the configuration names.
    Source,
    /// A recording of slowburn's own, or text with timestamps; either may be packed with gzip.
    Recording(PathBuf),
    /// A Prometheus data or snapshot directory.
    Tsdb(PathBuf),
}

/// Says when nothing more is to be read.
pub type Stop = watch::Receiver<bool>;

/// Different remarks that are kept; the rest is left out. Each slice has a bounded number of them.
const MAX_REMARKS: usize = 20;

/// What is to be known of history that was read: what was left out of it, and by which way it came. Each remark once, in
/// the order of arrival.
#[derive(Debug, Clone, Default)]
pub struct Remarks(Arc<Mutex<Vec<String>>>);

impl Remarks {
    fn note(&self, history: &History) {
        if history.warnings.is_empty() {
            return;
        }
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for warning in &history.warnings {
            if list.len() < MAX_REMARKS && !list.contains(warning) {
                list.push(warning.clone());
            }
        }
    }

    pub fn list(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// History that was found, before it is read.
pub struct Reader {
    kind: Kind,
    stop: Option<Stop>,
    remarks: Remarks,
}

enum Kind {
    Source(Prometheus),
    Archive(Box<Archive>),
    Recording(Box<recording::Reader>),
}

/// History that is read slice by slice, oldest first.
pub struct Reading {
    next: Timestamp,
    to: Timestamp,
    step: Duration,
    kind: ReadingKind,
    stop: Option<Stop>,
    remarks: Remarks,
}

enum ReadingKind {
    Source(Slices),
    Archive {
        archive: Arc<Archive>,
        detail: Detail,
        slots: usize,
        /// Nothing is read from here on; it is told once what was read before is handed over.
        broken: Option<Break>,
        /// Told at the end.
        missing: Option<SourceError>,
    },
    /// `None` once it is at its end or broken; the slice that was read ahead waits for the gap before it to be passed.
    Recording {
        reader: Option<Box<recording::Reader>>,
        detail: Detail,
        waiting: Option<History>,
    },
}

impl Reader {
    /// Opens `origin`. Text is read whole here; `None` if the source keeps no history.
    pub fn open(config: &Config, origin: &Origin) -> Result<Option<Self>, SourceError> {
        let plan = Arc::new(Plan::new(&config.spec.slos, &config.selectors));
        let kind = match (origin, &config.source) {
            (Origin::Source, config::Source::Prometheus(source)) => Kind::Source(Prometheus::new(source, plan)?),
            (Origin::Source, config::Source::Scrape(_)) => return Ok(None),
            (Origin::Recording(path), _) => open_file(path, config, plan)?,
            (Origin::Tsdb(folder), _) => Kind::Archive(Box::new(tsdb::open(folder, plan)?)),
        };
        if let Kind::Archive(archive) = &kind
            && archive.span.is_none()
            && let Some(error) = archive.fault()
        {
            // Nothing stood before it.
            return Err(error.clone());
        }
        let remarks = Remarks::default();
        if let Kind::Archive(archive) = &kind {
            remarks.0.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&archive.warnings);
        }
        Ok(Some(Self { kind, stop: None, remarks }))
    }

    /// Ends as if there was no more once `stop` says so, in the middle of a request if need be.
    pub fn until(self, stop: Stop) -> Self {
        Self { stop: Some(stop), ..self }
    }

    /// The time that a file is about; `None` for a source, and where nothing is of use.
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        match &self.kind {
            Kind::Source(_) => None,
            Kind::Archive(archive) => archive.span,
            Kind::Recording(reader) => Some(reader.span()),
        }
    }

    /// Why not all of a file was read, as far as that is known by now.
    pub fn fault(&self) -> Option<&SourceError> {
        match &self.kind {
            Kind::Archive(archive) => archive.fault(),
            Kind::Source(_) | Kind::Recording(_) => None,
        }
    }

    /// What should be known of it: some before it is read, all once it was.
    pub fn remarks(&self) -> Remarks {
        self.remarks.clone()
    }

    /// Reads what polls at the multiples of `step` from `from` to `to` would have seen. `deadline` is for each request
    /// to a source.
    pub fn read(self, from: Timestamp, to: Timestamp, step: Duration, detail: Detail, deadline: Duration) -> Reading {
        let kind = match self.kind {
            Kind::Source(prometheus) => ReadingKind::Source(Slices::new(prometheus, from, to, step, detail, deadline)),
            Kind::Archive(archive) => {
                let slots = archive.slots_per_slice(detail);
                let (broken, missing) = (archive.broken.clone(), archive.missing.clone());
                ReadingKind::Archive { archive: Arc::from(archive), detail, slots, broken, missing }
            }
            Kind::Recording(reader) => ReadingKind::Recording { reader: Some(reader), detail, waiting: None },
        };
        Reading { next: from, to, step, kind, stop: self.stop, remarks: self.remarks }
    }
}

impl Reading {
    /// Whether the next slice is read while nobody asks for it.
    pub fn reads_ahead(&self) -> bool {
        matches!(self.kind, ReadingKind::Source(_))
    }

    /// The next slice; `None` when all are read.
    pub async fn next(&mut self) -> Option<Result<History, SourceError>> {
        let slice = self.read_or_stop().await;
        if let Some(Ok(history)) = &slice {
            self.remarks.note(history);
        }
        slice
    }

    async fn read_or_stop(&mut self) -> Option<Result<History, SourceError>> {
        let Some(mut stop) = self.stop.clone() else { return self.read().await };
        let stopped = async {
            // Whoever could say so is gone.
            if stop.wait_for(|stop| *stop).await.is_err() {
                std::future::pending().await
            }
        };
        tokio::select! {
            biased;
            () = stopped => None,
            slice = self.read() => slice,
        }
    }

    async fn read(&mut self) -> Option<Result<History, SourceError>> {
        match &mut self.kind {
            ReadingKind::Source(slices) => slices.next().await,
            ReadingKind::Archive { .. } => self.next_of_archive().await,
            ReadingKind::Recording { .. } => self.next_of_recording().await,
        }
    }

    async fn next_of_archive(&mut self) -> Option<Result<History, SourceError>> {
        let ReadingKind::Archive { archive, detail, slots, broken, missing } = &mut self.kind else { return None };
        loop {
            let last = broken.as_ref().map_or(self.to, |broken| self.to.min(before(broken.unix_ms, self.step)));
            if self.next > last {
                // Once, and nothing after it.
                self.next = self.next.max(self.to + self.step);
                // What is broken behind a range that ends before the data does is no concern of its.
                let ends_before = archive.span.is_some_and(|(_, last)| self.to + self.step <= last);
                let broken = broken.take().filter(|broken| !ends_before || broken.unix_ms <= self.to.unix_ms());
                return broken.map(|broken| broken.error).or(missing.take()).map(Err);
            }
            let end = (self.next + Duration::from_ms(self.step.ms() * (*slots as i64 - 1))).min(last);
            let (archive, from, step, detail) = (Arc::clone(archive), self.next, self.step, *detail);
            let read = tokio::task::spawn_blocking(move || archive.history(from, end, step, detail)).await;
            match read {
                Ok(Ok(history)) => {
                    self.next = end + step;
                    return Some(Ok(history));
                }
                // A shorter slice ends before it.
                Ok(Err(found)) => *broken = Some(found),
                Err(_panicked) => *broken = Some(Break { unix_ms: i64::MIN, error: SourceError::decoder() }),
            }
        }
    }

    async fn next_of_recording(&mut self) -> Option<Result<History, SourceError>> {
        let ReadingKind::Recording { reader, detail, waiting } = &mut self.kind else { return None };
        if waiting.is_none()
            && let Some(mut open) = reader.take()
        {
            let (from, to, step, detail) = (self.next, self.to, self.step, *detail);
            let read = tokio::task::spawn_blocking(move || {
                let read = open.next(from, to, step, detail);
                (open, read)
            });
            match read.await {
                Ok((open, Ok(Some(history)))) => (*reader, *waiting) = (Some(open), Some(history)),
                Ok((_, Ok(None))) => {}
                Ok((_, Err(error))) => return Some(Err(error)),
                Err(_panicked) => return Some(Err(SourceError::decoder())),
            }
        }
        let until = waiting.as_ref().map_or(self.to + self.step, |history| history.from);
        if self.next < until {
            let slots = until.slot_number(self.step) - self.next.slot_number(self.step);
            let gap = History::empty(self.next, self.step, slots as usize);
            self.next = until;
            return Some(Ok(gap));
        }
        let history = waiting.take()?;
        self.next = history.to() + self.step;
        Some(Ok(history))
    }
}

/// The last slot before `unix_ms`.
fn before(unix_ms: i64, step: Duration) -> Timestamp {
    Timestamp::from_unix_ms(unix_ms.saturating_sub(1)).align_down(step)
}

fn open_file(path: &Path, config: &Config, plan: Arc<Plan>) -> Result<Kind, SourceError> {
    let because = |why: String| SourceError::Unreadable { file: path.display().to_string(), why };
    let unreadable = |error: std::io::Error| because(error.to_string());
    if path.is_dir() {
        return Err(because("it is a directory; did you mean --tsdb?".to_owned()));
    }
    let file = File::open(path).map_err(unreadable)?;
    let mut input = BufReader::with_capacity(BUFFER_BYTES, Box::new(file) as Box<dyn Read + Send>);
    if input.fill_buf().map_err(unreadable)?.starts_with(&GZIP) {
        let unpacked: Box<dyn Read + Send> = Box::new(MultiGzDecoder::new(input));
        input = BufReader::with_capacity(BUFFER_BYTES, unpacked);
    }
    let broken = |error: std::io::Error| SourceError::File {
        file: path.display().to_string(),
        place: "its beginning".into(),
        why: error.to_string(),
    };
    let begin = input.fill_buf().map_err(broken)?;
    if let Some(why) = not_read(begin) {
        return Err(because(why));
    }
    if !begin.starts_with(MAGIC) {
        return Ok(Kind::Archive(Box::new(text::read(path, input, plan)?)));
    }
    input.consume(MAGIC.len());
    let reader = recording::Reader::new(path, Box::new(input), config, plan)?;
    Ok(Kind::Recording(Box::new(reader)))
}

/// What a file that begins so is, if it is none that can be read.
fn not_read(begin: &[u8]) -> Option<String> {
    const PACKED: [(&[u8], &str); 4] = [
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
        (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz"),
        (b"BZh", "bzip2"),
        (b"PK\x03\x04", "zip"),
    ];
    if let Some((_, how)) = PACKED.iter().find(|(magic, _)| begin.starts_with(magic)) {
        return Some(format!("it is packed with {how}, and only gzip is unpacked here; unpack it first"));
    }
    if begin.get(257..262) == Some(b"ustar") {
        return Some("it is a tar archive; unpack it first".to_owned());
    }
    let known = MAGIC.strip_suffix(b"1\n").unwrap_or(MAGIC);
    let is_newer = begin.starts_with(known) && !begin.starts_with(MAGIC) && begin.len() >= MAGIC.len();
    is_newer.then(|| "a newer slowburn recorded it; read it with that one".to_owned())
}
