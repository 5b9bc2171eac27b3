//! A long range of history, oldest first: asked for in slices that fit an answer, and put into slots in pieces that fit a
//! processor's cache.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::clock::Deadline;
use crate::engine::time::{Duration, Timestamp};
use crate::source::error::{SourceError, scrubbed};
use crate::source::sampler::Grid;

use super::history::{self, MAX_SLOTS, MAX_SLOTS_OF_CHUNKS, Surveys, columns, grid};
use super::{Detail, History, Prometheus, slots_per_slice};

/// What an answer of queries may take for one slice, in bytes: small enough that a few are nothing, large enough that the
/// requests themselves are.
const ANSWER_BYTES: usize = 16 << 20;
/// What the counts of a slice of chunks would take, in bytes, were they all put into slots at once: half of it where they
/// are whole. Its chunks are a third or less, and the server's search for them costs as much for a short slice.
const SLICE_BYTES: usize = 32 << 20;
/// What the counts of one piece may take in memory, in bytes, and half of it where they are whole: a processor's cache
/// holds them from when they are decoded until they are counted, and the next piece takes their place.
const PIECE_BYTES: usize = 640 << 10;
/// Slots of a piece, at least and at most. Chunks at its edges are decoded for the next piece once more.
const PIECE_SLOTS: RangeInclusive<usize> = 960..=4_096;
/// Pieces put into slots before they are asked for.
const PIECES_AHEAD: usize = 1;
/// Slices asked for at once: the server reads one while another is decoded here.
const SLICES_AT_ONCE: usize = 2;
/// Buckets an SLO that slices are cut for before it is known how many there are: two of each of two instances.
const USUAL_COLUMNS: usize = 4;
const ATTEMPTS: u32 = 3;
const FIRST_BACKOFF: Duration = Duration::from_ms(500);

/// Reads `[from, to]` piece by piece.
#[derive(Debug)]
pub struct Slices {
    prometheus: Prometheus,
    /// The first slot that was not handed over.
    at: Timestamp,
    /// The first slot that was not asked for.
    next: Timestamp,
    to: Timestamp,
    step: Duration,
    detail: Detail,
    deadline: Duration,
    /// Slices are asked for on a guess, until one is wrong.
    guesses: bool,
    /// Unknown as long as guesses do.
    slots: Option<usize>,
    surveys: Arc<Surveys>,
    /// What was asked for, the oldest first.
    asked: VecDeque<Asked>,
    /// Ends once the newest of them has been put into slots.
    put: oneshot::Receiver<()>,
}

/// A slice that is being read; dropping it stops that. One that was asked for on a wrong guess ends before its first piece.
#[derive(Debug)]
struct Asked {
    to: Timestamp,
    pieces: mpsc::Receiver<Result<History, SourceError>>,
    task: AbortHandle,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Slices {
    /// `from` and `to` are multiples of `step`, both included; `deadline` is for each request.
    pub fn new(
        prometheus: Prometheus,
        from: Timestamp,
        to: Timestamp,
        step: Duration,
        detail: Detail,
        deadline: Duration,
    ) -> Self {
        let guesses = detail == Detail::Counts && prometheus.may_guess();
        let (slots, surveys, asked, put) = (None, Arc::new(Surveys::new()), VecDeque::new(), oneshot::channel().1);
        Self { prometheus, at: from, next: from, to, step, detail, deadline, guesses, slots, surveys, asked, put }
    }

    /// The next piece; `None` when all are read. After an error the next call goes on behind the slice that failed, so
    /// a caller may leave a gap or give up.
    pub async fn next(&mut self) -> Option<Result<History, SourceError>> {
        let next = self.following().await?;
        Some(scrubbed(&self.prometheus.scrubber, next, |history| &mut history.warnings))
    }

    async fn following(&mut self) -> Option<Result<History, SourceError>> {
        let mut attempt = 0;
        while self.at <= self.to {
            let guessed = if self.guesses { self.guess().await } else { None };
            let (to, piece) = match guessed {
                Some(guessed) => guessed,
                None => match self.size().await {
                    Ok(slots) => self.oldest(slots).await?,
                    Err(error) => (self.at, Err(error)),
                },
            };
            let error = match piece {
                Ok(history) => {
                    self.at = history.to() + self.step;
                    if self.at > to {
                        self.asked.pop_front();
                    }
                    return Some(Ok(history));
                }
                Err(error) => error,
            };
            // Once more from there, or on behind it.
            self.ask_anew();
            match error {
                _ if std::mem::take(&mut self.guesses) => {}
                SourceError::TooManySlots { .. } if self.slots.is_some_and(|slots| slots > MAX_SLOTS) => {
                    self.slots = Some(slots_per_slice(columns(&self.surveys, self.detail), ANSWER_BYTES));
                }
                SourceError::TooLarge { .. } if self.slots.is_some_and(|slots| slots > 1) => {
                    self.slots = self.slots.map(|slots| slots / 2);
                }
                error if error.is_transient() && attempt + 1 < ATTEMPTS => {
                    tokio::time::sleep(FIRST_BACKOFF.times(f64::from(1 << attempt)).to_std()).await;
                    attempt += 1;
                }
                error => {
                    self.at = to + self.step;
                    self.next = self.at;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// Forgets what was asked for and did not come yet.
    fn ask_anew(&mut self) {
        self.asked.clear();
        self.next = self.at;
    }

    /// The next piece, and where its slice ends, as long as what was asked for on a guess is what is needed.
    async fn guess(&mut self) -> Option<(Timestamp, Result<History, SourceError>)> {
        self.ask(slots_of_chunks(USUAL_COLUMNS * self.prometheus.slos()), None);
        let piece = self.piece().await;
        if piece.is_none() {
            self.ask_anew();
            self.guesses = false;
        }
        piece
    }

    /// How many slots a slice has.
    async fn size(&mut self) -> Result<usize, SourceError> {
        if let Some(slots) = self.slots {
            return Ok(slots);
        }
        // Once for all slices: where bounds come or go, the slices that it concerns show it.
        let deadline = Deadline::after(self.deadline);
        let surveys = self.prometheus.surveys(self.next, self.to, deadline);
        // Every slice needs what the server says of itself; where it does not answer, the first slice meets that.
        let (surveys, _) = tokio::join!(surveys, self.prometheus.external_labels(deadline));
        let surveys = surveys?;
        self.prometheus.refuse_native(&surveys, self.to, deadline).await?;
        let columns = columns(&surveys, self.detail).max(1);
        let slots = if self.prometheus.may_have_chunks() {
            slots_of_chunks(columns)
        } else {
            slots_per_slice(columns, ANSWER_BYTES)
        };
        (self.slots, self.surveys) = (Some(slots), Arc::new(surveys));
        Ok(slots)
    }

    /// The next piece of the oldest slice, and where that slice ends, while others are being read.
    async fn oldest(&mut self, slots: usize) -> Option<(Timestamp, Result<History, SourceError>)> {
        self.ask(slots, Some(Arc::clone(&self.surveys)));
        let at = self.at;
        Some(self.piece().await.unwrap_or_else(|| (at, Err(SourceError::decoder()))))
    }

    /// The next piece of what was asked for. A caller may stop waiting and come back.
    async fn piece(&mut self) -> Option<(Timestamp, Result<History, SourceError>)> {
        let Asked { to, pieces, .. } = self.asked.front_mut()?;
        Some((*to, pieces.recv().await?))
    }

    /// Asks for slices of so many slots, until enough are being read; on a guess if nobody knows what there is.
    fn ask(&mut self, slots: usize, surveys: Option<Arc<Surveys>>) {
        while self.asked.len() < SLICES_AT_ONCE && self.next <= self.to {
            let from = self.next;
            let to = (from + Duration::from_ms(self.step.ms() * (slots as i64 - 1))).min(self.to);
            self.next = to + self.step;
            let (prometheus, surveys) = (self.prometheus.clone(), surveys.clone());
            let (step, detail, deadline) = (self.step, self.detail, self.deadline);
            let (send, pieces) = mpsc::channel(PIECES_AHEAD);
            let (turn, put) = oneshot::channel();
            let earlier = std::mem::replace(&mut self.put, put);
            let task = tokio::spawn(async move {
                let _turn = turn;
                let read =
                    read(&prometheus, surveys.as_deref(), (from, to, step), detail, deadline, earlier, &send).await;
                if let Err(error) = read {
                    // Nobody listens any more.
                    let _ = send.send(Err(error)).await;
                }
            });
            self.asked.push_back(Asked { to, pieces, task: task.abort_handle() });
        }
    }
}

/// How many slots of so many buckets a slice of chunks has.
fn slots_of_chunks(columns: usize) -> usize {
    (SLICE_BYTES / size_of::<f64>() / columns.max(1)).clamp(1, MAX_SLOTS_OF_CHUNKS)
}

/// Reads one slice and hands its pieces to `send`, as long as somebody wants them. Without `surveys` it guesses what is
/// needed, and hands over nothing if that is not it. It is put into slots when `earlier` ones are, so that their pieces'
/// memory serves its own.
async fn read(
    prometheus: &Prometheus,
    surveys: Option<&Surveys>,
    (from, to, step): (Timestamp, Timestamp, Duration),
    detail: Detail,
    deadline: Duration,
    earlier: oneshot::Receiver<()>,
    send: &mpsc::Sender<Result<History, SourceError>>,
) -> Result<(), SourceError> {
    let grid = grid(from, to, step)?;
    let asked = match surveys {
        Some(surveys) => Some(prometheus.ask_history(surveys, grid, detail, Deadline::after(deadline)).await?),
        None => prometheus.guess(grid, Deadline::after(deadline)).await,
    };
    let Some(asked) = asked else { return Ok(()) };
    // What nothing is in needs no putting, however many slots it has.
    let (idle, busy) = grid.split_at(asked.idle_slots(grid));
    if idle.slots > 0 && send.send(Ok(History::empty(idle.from, idle.step, idle.slots))).await.is_err() {
        return Ok(());
    }
    let pieces = match asked.columns() {
        columns @ 1.. if asked.is_packed() => {
            pieces(busy, (PIECE_BYTES / size_of::<f64>() / columns).clamp(*PIECE_SLOTS.start(), *PIECE_SLOTS.end()))
        }
        _ => busy.pieces(grid.slots).collect(),
    };
    // Nobody says so; the end of whoever might have does.
    let _ = earlier.await;
    put(prometheus, asked, pieces, deadline, send).await
}

/// Pieces of so many slots, after shorter ones: whoever takes them has nothing to do until the first is there.
fn pieces(grid: Grid, slots: usize) -> VecDeque<Grid> {
    let mut left = grid;
    let short = [8, 4, 2].map(|part| {
        let (piece, others) = left.split_at((slots / part).min(left.slots));
        left = others;
        piece
    });
    short.into_iter().filter(|piece| piece.slots > 0).chain(left.pieces(slots)).collect()
}

/// Puts what came into the slots of `pieces`, one piece after the other.
async fn put(
    prometheus: &Prometheus,
    mut asked: history::Asked,
    mut pieces: VecDeque<Grid>,
    deadline: Duration,
    send: &mpsc::Sender<Result<History, SourceError>>,
) -> Result<(), SourceError> {
    let Some(last) = pieces.back().map(Grid::last) else { return Ok(()) };
    loop {
        let (putting, sending) = (prometheus.clone(), send.clone());
        // As far as the chunks will do, in one go: a thread that is woken for each piece costs more than the piece.
        let put = tokio::task::spawn_blocking(move || {
            while let Some(history) = pieces.front().and_then(|piece| putting.put_chunks(&asked, *piece)) {
                pieces.pop_front();
                if sending.blocking_send(Ok(history)).is_err() {
                    pieces.clear();
                }
            }
            (asked, pieces)
        });
        (asked, pieces) = put.await.map_err(|_panicked| SourceError::decoder())?;
        let Some(piece) = pieces.pop_front() else { return Ok(()) };
        let history = prometheus.put(&mut asked, piece, last, Deadline::after(deadline)).await?;
        if send.send(Ok(history)).await.is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pieces_are_short_and_nothing_is_left_out() {
        let grid = |slots| Grid { from: Timestamp::from_unix_s(0), step: Duration::from_secs(30), slots };
        let lengths = |slots| -> Vec<usize> { pieces(grid(slots), 8).iter().map(|piece| piece.slots).collect() };
        assert_eq!(lengths(33), [1, 2, 4, 8, 8, 8, 2]);
        assert_eq!(lengths(5), [1, 2, 2]);
        assert!(lengths(0).is_empty());
        for slots in 1..100 {
            let mut next = grid(slots).from;
            for piece in pieces(grid(slots), 8) {
                assert_eq!(piece.from, next);
                next = piece.last() + piece.step;
            }
            assert_eq!(next, grid(slots).last() + Duration::from_secs(30));
        }
    }
}
