//! Two configurations over one reading of history.

use std::sync::Arc;
use std::thread;

use crate::config::Config;
use crate::engine::Spec;
use crate::engine::silence::Silence;
use crate::engine::time::Timestamp;
use crate::replay::document::Document;
use crate::replay::driver::{
    Given, Progress, Recorder, ReplayError, SLICE_DEADLINE, detail, each_slice, inwards, warm_from,
};
use crate::source::prometheus::{Detail, History, HistorySeries};
use crate::source::reader::{Origin, Reader};

/// Two configurations, and what must be read for both of them.
#[derive(Debug)]
pub struct Pair {
    configs: [Config; 2],
    /// The first, and the histograms that only the second looks at.
    union: Config,
    /// By SLO of the union: those of the second that it is read for.
    seconds: Vec<Vec<usize>>,
}

/// What was replayed of both.
#[derive(Debug)]
pub struct Replayed {
    pub documents: [Document; 2],
    /// Why reading ended before `to`, if it did.
    pub broken: Option<ReplayError>,
}

impl Pair {
    /// History comes from the first one's source.
    ///
    /// # Errors
    /// If their intervals differ: their slots would.
    pub fn new(first: Config, second: Config) -> Result<Self, ReplayError> {
        if first.spec.interval != second.spec.interval {
            return Err(ReplayError::Intervals { first: first.spec.interval, second: second.spec.interval });
        }
        let mut spec = Spec::clone(&first.spec);
        let mut selectors = first.selectors.clone();
        let mut seconds = vec![Vec::new(); spec.slos.len()];
        for (index, (slo, selector)) in second.spec.slos.iter().zip(&second.selectors).enumerate() {
            // What is read depends on the histogram and the budget only.
            let same = spec.slos.iter().position(|it| (&it.selector, it.budget_s) == (&slo.selector, slo.budget_s));
            let place = same.unwrap_or_else(|| {
                spec.slos.push(slo.clone());
                selectors.push(selector.clone());
                seconds.push(Vec::new());
                spec.slos.len() - 1
            });
            seconds[place].push(index);
        }
        let union = Config { spec: Arc::new(spec), selectors, ..first.clone() };
        Ok(Self { configs: [first, second], union, seconds })
    }

    pub fn configs(&self) -> &[Config; 2] {
        &self.configs
    }

    /// What must be read: a configuration to open a reader with, and to look journeys up in.
    pub fn union(&self) -> &Config {
        &self.union
    }

    /// Gives both these silences.
    pub fn silence(&mut self, silences: &[Silence]) {
        for config in &mut self.configs {
            Arc::make_mut(&mut config.spec).silences = silences.to_vec();
        }
    }

    /// Opens what both read.
    pub fn open(&self, origin: &Origin) -> Result<Reader, ReplayError> {
        Reader::open(&self.union, origin)?.ok_or(ReplayError::NoHistory)
    }

    /// Replays `[from, to]` for both, each in a thread of its own. The windows of both are filled from where the longer
    /// ones begin.
    pub async fn replay(
        &self,
        reader: Reader,
        range: (Timestamp, Timestamp),
        given: &Given,
        progress: impl FnMut(Progress) -> bool,
    ) -> Result<Replayed, ReplayError> {
        let specs = [0, 1].map(|index| self.configs[index].spec.clone());
        let interval = specs[0].interval;
        let (from, to) = inwards(range, interval)?;
        let first_slot = specs.iter().map(|spec| warm_from(spec, from)).fold(from, Timestamp::min);
        let details = [0, 1].map(|index| detail(&specs[index]));
        let most = if details.contains(&Detail::Buckets) { Detail::Buckets } else { Detail::Counts };
        let reading = reader.read(first_slot, to, interval, most, SLICE_DEADLINE);
        let recorder = |index: usize| Recorder::new(specs[index].clone(), from, details[index]).knowing(&given.known);
        let (mut first, mut second) = (recorder(0), recorder(1));
        let broken = each_slice(reading, (first_slot, to), interval, progress, |history| {
            let [of_first, of_second] = self.parts(history);
            thread::scope(|scope| {
                scope.spawn(|| second.take(of_second.as_ref().unwrap_or(history)));
                first.take(of_first.as_ref().unwrap_or(history));
            });
        })
        .await?;
        Ok(Replayed { documents: [first.finish(), second.finish()], broken })
    }

    /// What of a slice either of them sees; `None` for all of it as it is.
    fn parts(&self, history: &History) -> [Option<History>; 2] {
        let of_first = self.configs[0].spec.slos.len();
        let first = |slo: usize| (slo < of_first).then_some(slo);
        let is_whole = self.union.spec.slos.len() == of_first;
        let is_same = self.seconds.iter().enumerate().all(|(place, seconds)| seconds[..] == [place]);
        [
            (!is_whole).then(|| renumbered(history, |slo| first(slo).into_iter())),
            (!is_same).then(|| renumbered(history, |slo| self.seconds[slo].iter().copied())),
        ]
    }
}

/// The same slice for other SLOs: `to` says which of them each SLO is.
fn renumbered<I: Iterator<Item = usize>>(history: &History, to: impl Fn(usize) -> I) -> History {
    let series = history.series.iter();
    let mut series: Vec<HistorySeries> =
        series.flat_map(|series| to(series.slo).map(move |slo| HistorySeries { slo, ..series.clone() })).collect();
    // Stable: labels and bounds stay sorted within an SLO.
    series.sort_by_key(|series| series.slo);
    let flawed = history.flawed.iter();
    let mut flawed: Vec<(usize, usize)> =
        flawed.flat_map(|(slot, slo)| to(*slo).map(move |slo| (*slot, slo))).collect();
    flawed.sort_unstable();
    History { series, flawed, warnings: history.warnings.clone(), ..*history }
}
