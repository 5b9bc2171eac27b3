//! The windows of a source that keeps no history: saved in turn, and taken up again at a start.

use crate::engine::machine::SloWindows;
use crate::engine::time::Duration;
use crate::source::Source;
use crate::store::{Windows, windows};

use super::live::Live;

/// All SLOs have their turn within this: what a crash loses of a window, and no more.
const ROUND: Duration = Duration::from_minutes(5);

impl Live {
    /// Saves the windows of those SLOs whose turn it is.
    pub(super) fn save_windows_in_turn(&mut self) {
        let slots = (ROUND.ms() / self.world.config.spec.interval.ms()).max(1) as usize;
        self.save_windows(self.engine.instances().div_ceil(slots));
    }

    /// Saves the windows of the next so many SLOs.
    pub(super) fn save_windows(&mut self, slos: usize) {
        let all = self.engine.instances();
        if matches!(self.world.source, Source::Prometheus(_)) || !self.saves.is_durable() || all == 0 {
            return;
        }
        let turns = (0..slos.min(all)).map(|turn| (self.next_windows + turn) % all);
        let windows = turns.filter_map(|slo| self.engine.windows_of(slo)).filter_map(|(slo, counted)| {
            let body = windows::encode(&counted)?;
            Some(Windows { slo, body })
        });
        let windows = windows.collect();
        self.next_windows = (self.next_windows + slos.min(all)) % all;
        self.saves.keep_windows(windows);
    }

    /// Goes on from windows that were saved. Returns for how many SLOs.
    pub(super) fn restore_windows(&mut self, saved: Vec<Windows>) -> usize {
        if matches!(self.world.source, Source::Prometheus(_)) {
            self.saves.forget_windows(saved.into_iter().map(|windows| windows.slo).collect());
            return 0;
        }
        let mut useless = Vec::new();
        let mut restored = 0;
        for Windows { slo, body } in saved {
            if windows::decode::<SloWindows>(&body).is_some_and(|counted| self.engine.restore_windows(counted)) {
                restored += 1;
            } else {
                tracing::warn!(slo, "saved windows do not fit the configuration any more, and begin anew");
                useless.push(slo);
            }
        }
        self.saves.forget_windows(useless);
        restored
    }
}
