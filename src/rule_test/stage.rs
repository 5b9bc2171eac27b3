//! The engine on a stage: a made-up world goes by slot by slot, and all that is decided is written down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::Config;
use crate::config::testing::{CheckKind, Test};
use crate::engine::alert::AlertRecord;
use crate::engine::histogram::Snapshot;
use crate::engine::notification::{HeldBack, Notification};
use crate::engine::time::Timestamp;
use crate::engine::view::View;
use crate::engine::{Effect, Engine, Input, Outcome, Report};
use crate::source::feed::bind;
use crate::source::made_up::MadeUp;

/// What is told of the data: beyond this nobody reads on.
const MAX_NOTES: usize = 10;

/// All that was decided in the course of a test.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// In the order of their beginnings; those that stand at the end have no end.
    pub alerts: Vec<AlertRecord>,
    /// In the order they were decided.
    pub notifications: Vec<Arc<Notification>>,
    /// The engine as it stood at the slots that expectations are about.
    pub views: BTreeMap<Timestamp, View>,
    pub notes: BTreeSet<String>,
    /// Over the whole test.
    pub held_back: HeldBack,
}

/// Runs the whole test.
pub(super) fn run(config: &Config, test: &Test) -> Run {
    let looked_at: BTreeSet<Timestamp> =
        test.checks.iter().filter_map(|check| looked_at(config, test, &check.kind)).collect();
    let mut run = Run::default();
    play(config, test, &mut run, |run, slot, engine| {
        if looked_at.contains(&slot) {
            run.views.insert(slot, engine.view());
        }
    });
    run
}

/// Runs the whole test once more, to look at every slot.
pub(super) fn look(config: &Config, test: &Test, mut at: impl FnMut(Timestamp, &View)) {
    play(config, test, &mut Run::default(), |_, slot, engine| at(slot, &engine.view()));
}

/// The slot whose state a check is about: the last one not after its time.
fn looked_at(config: &Config, test: &Test, kind: &CheckKind) -> Option<Timestamp> {
    let at = match kind {
        CheckKind::Alerts { at, .. } | CheckKind::Exported { at, .. } => *at,
        CheckKind::Value(value) => value.at,
        CheckKind::Notifications { .. } | CheckKind::Skipped { .. } => return None,
    };
    Some((test.start + at).align_down(config.spec.interval))
}

fn play(config: &Config, test: &Test, run: &mut Run, mut after: impl FnMut(&mut Run, Timestamp, &Engine)) {
    let spec = &config.spec;
    let world = MadeUp::new(&spec.slos, &config.selectors, &test.series, test.start, test.interval);
    let mut engine = Engine::new(Arc::clone(spec));
    let mut snapshot = Snapshot::default();
    let mut silences = test.silences.iter().collect::<Vec<_>>();
    silences.sort_by_key(|silence| silence.created_at);
    let mut silences = silences.into_iter().peekable();
    let mut slot = (test.start - test.history).align_up(spec.interval);
    while slot < test.start {
        let poll = world.poll(slot);
        bind(&mut engine, &poll, &mut snapshot);
        engine.step(slot, Input::Backfilled { slot, snapshot: &snapshot });
        slot += spec.interval;
    }
    while slot <= test.start + test.until {
        while let Some(silence) = silences.next_if(|silence| silence.created_at <= slot) {
            engine.step(slot, Input::Silence(silence));
        }
        let since = slot.since(test.start);
        let is_out = test.outages.iter().any(|(from, to)| (*from..*to).contains(&since));
        let effects = if is_out {
            engine.step(slot, Input::PollFailed { slot, why: "the source is out, says the test" })
        } else {
            let poll = world.poll(slot);
            poll.warnings.iter().for_each(|warning| run.note(warning));
            bind(&mut engine, &poll, &mut snapshot);
            engine.step(slot, Input::Polled { slot, snapshot: &snapshot })
        };
        run.record(&mut engine, slot, effects);
        after(run, slot, &engine);
        slot += spec.interval;
    }
    let end = engine.view();
    run.held_back = end.held_back;
    run.alerts.extend(end.alerts);
    run.alerts.sort_by_key(|alert| alert.fired_at);
}

impl Run {
    /// Every send succeeds at once.
    fn record(&mut self, engine: &mut Engine, slot: Timestamp, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Alert(record) if record.ended_at.is_some() => self.alerts.push(record),
                Effect::Notify(notification) => self.notifications.push(notification),
                Effect::Deliver(delivery) => {
                    let (id, outcome) = (&delivery.notification.id, &Outcome::Delivered);
                    let next = engine.step(slot, Input::Settled { id, outcome });
                    self.record(engine, slot, next);
                }
                Effect::Report(Report::Unmeasurable { slo, why }) => {
                    self.note(&format!("{slo} cannot be measured: {why}"))
                }
                Effect::Report(Report::Refused { slo, why, .. }) => self.note(&format!("{slo}: {why}")),
                Effect::Alert(_) | Effect::Incident(_) | Effect::Report(_) => {}
            }
        }
    }

    fn note(&mut self, note: &str) {
        if self.notes.len() < MAX_NOTES {
            self.notes.insert(note.to_owned());
        }
    }
}
