//! The engine as seen from outside: what `status`, the metrics and the terminal show.

use serde::Serialize;

use super::alert::AlertRecord;
use super::histogram::Labels;
use super::incident::IncidentRecord;
use super::machine::Engine;
use super::memory::Missed;
use super::notification::HeldBack;
use super::outbox::{DeadLetter, DeliveryCounts};
use super::rule::{Limit, Stage, Urgency};
use super::silence::Silence;
use super::sli::Traffic;
use super::slo::{Sight, Slo};
use super::time::{Duration, Timestamp};
use super::window::Age;

/// Everything at one slot, in a stable order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct View {
    /// The newest slot that was counted in; `None` before the first answer.
    pub at: Option<Timestamp>,
    pub interval: Duration,
    pub source: SourceView,
    pub slos: Vec<SloView>,
    /// Alerts that stand, each with the greatest usage of all its stages.
    pub alerts: Vec<AlertRecord>,
    /// Incidents that are open.
    pub incidents: Vec<IncidentRecord>,
    pub silences: Vec<SilenceView>,
    /// Maintenance windows that are open.
    pub maintenance: Vec<MaintenanceView>,
    pub held_back: HeldBack,
    pub missed: Missed,
    pub evaluations: u64,
    pub receivers: Vec<ReceiverView>,
    /// The newest ones, oldest first.
    pub dead_letters: Vec<DeadLetter>,
    /// How many there ever were.
    pub dead_letters_total: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceView {
    /// Whether the newest poll was answered.
    pub up: bool,
    pub last_answer: Option<Timestamp>,
    /// Polls without a usable answer since.
    pub failed_in_a_row: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SloView {
    pub journey: String,
    pub layer: Option<String>,
    pub labels: Labels,
    pub owner: Option<String>,
    pub sight: Sight,
    pub sight_since: Timestamp,
    /// Why it cannot be measured, or not all of it is watched.
    pub problem: Option<String>,
    pub budget_ms: f64,
    pub objective_ppm: u32,
    pub period: Duration,
    /// Requests over the period, and those over the latency budget.
    pub events: f64,
    pub bad_events: f64,
    /// Share of the period's error budget that is left, negative once overspent; `None` if nothing was seen of the period.
    pub budget_remaining: Option<f64>,
    /// Share of the period that was seen.
    pub coverage: f64,
    /// p50, p95 and p99 over the shortest long window of a rule, at most ten minutes.
    pub quantiles_ms: Option<[f64; 3]>,
    /// Every window a rule looks at, shortest first.
    pub windows: Vec<WindowView>,
    pub rules: Vec<RuleView>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WindowView {
    pub window: Duration,
    /// `None` if nothing was seen of the window; 0 if it was seen and held no requests.
    pub burn_rate: Option<f64>,
    pub coverage: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleView {
    pub rule: String,
    pub urgency: Urgency,
    pub limit: Limit,
    /// Share of the limit in use; `None` if nothing was seen of the short window, which every rule needs.
    pub usage: Option<f64>,
    pub stage: Option<Stage>,
    /// Evaluations in a row over the lowest threshold, out of `consecutive`, for an alert that does not stand yet.
    pub pending: u32,
    pub consecutive: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SilenceView {
    #[serde(flatten)]
    pub silence: Silence,
    /// Alerts that stand and match: held back while the silence lasts.
    pub alerts: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MaintenanceView {
    pub name: String,
    /// When it closes; `None` if that never comes.
    pub until: Option<Timestamp>,
    /// Whether the requests of its SLOs count against their budgets meanwhile.
    pub counts: bool,
    /// Alerts that stand and match: held back meanwhile.
    pub alerts: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReceiverView {
    pub name: String,
    /// Notifications that wait or are under way, those left to summaries among them.
    pub pending: usize,
    /// Incidents that stand and that it hears of in summaries, being too many at once.
    pub summarised: u64,
    /// Until when it asked not to be sent anything; past once it was sent to again.
    pub held_until: Option<Timestamp>,
    /// Whether it failed so often in a row that one send at a time finds out when it is there again.
    pub down: bool,
    #[serde(flatten)]
    pub counts: DeliveryCounts,
    /// Why the last send failed, until one succeeds.
    pub problem: Option<String>,
}

impl Engine {
    pub fn view(&self) -> View {
        // As the configuration has them; instances were added as they appeared.
        let mut order: Vec<usize> = (0..self.slos.len()).collect();
        order.sort_by_key(|index| (self.slos[*index].template, &self.slos[*index].labels));
        let standing = self.standing.iter().filter_map(|key| {
            let rule = &self.rules[key.slo][key.rule];
            Some(AlertRecord { peak_usage: rule.peak_usage(), ..rule.standing()?.clone() })
        });
        let receivers = self.spec.receivers.iter().enumerate().map(|(index, receiver)| ReceiverView {
            name: receiver.name.clone(),
            pending: self.outbox.pending(index),
            summarised: self.outbox.summarised(index),
            held_until: self.outbox.held_until(index),
            down: self.outbox.is_down(index),
            counts: self.outbox.counts(index).clone(),
            problem: self.outbox.last_problem(index).map(str::to_string),
        });
        View {
            at: self.newest_slot(),
            interval: self.spec.interval,
            source: SourceView {
                up: self.last_answer.is_some() && self.failed_in_a_row == 0,
                last_answer: self.last_answer,
                failed_in_a_row: self.failed_in_a_row,
            },
            slos: order.into_iter().map(|index| self.slo_view(index)).collect(),
            alerts: standing.collect(),
            incidents: {
                let open = self.incidents.values().filter(|incident| !incident.is_over());
                open.map(|incident| incident.record.clone()).collect()
            },
            silences: self.silence_views(),
            maintenance: self.maintenance_views(),
            held_back: self.held_back,
            missed: self.missed,
            evaluations: self.evaluations,
            receivers: receivers.collect(),
            dead_letters: self.outbox.dead_letters().cloned().collect(),
            dead_letters_total: self.outbox.buried(),
        }
    }

    fn silence_views(&self) -> Vec<SilenceView> {
        let silences = self.holds.silences.all().map(|silence| {
            let alerts = self.count_standing(&silence.matchers);
            SilenceView { silence: silence.clone(), alerts }
        });
        silences.collect()
    }

    fn maintenance_views(&self) -> Vec<MaintenanceView> {
        let Some(now) = self.holds.slot() else { return Vec::new() };
        let open = self.spec.maintenance.iter().filter(|window| self.is_open(window.hours));
        let views = open.map(|window| MaintenanceView {
            name: window.name.clone(),
            until: self.spec.hours[window.hours].next_change(now),
            counts: window.counts,
            alerts: self.count_standing(&window.matchers),
        });
        views.collect()
    }

    /// The alerts that stand, each at the stage it is at and with the greatest usage of that stage alone.
    pub fn standing(&self) -> impl Iterator<Item = &AlertRecord> {
        self.standing.iter().filter_map(|key| self.rules[key.slo][key.rule].standing())
    }

    /// Whether any SLO ever had a series.
    pub fn has_counted(&self) -> bool {
        self.slos.iter().any(Slo::has_counted)
    }

    /// Every SLO's memory, in the order in which they appeared: for drivers that look at each slot.
    pub fn slos(&self) -> &[Slo] {
        &self.slos
    }

    /// Template, values of `by` labels, and requests and slow requests since the engine began, of every SLO.
    pub fn totals(&self) -> impl Iterator<Item = (usize, &Labels, [f64; 2])> {
        self.slos.iter().map(|slo| (slo.template, &slo.labels, slo.totals()))
    }

    /// Requests in the period up to the newest slot, as far as they were seen, in the order of [`Engine::totals`].
    pub fn period_events(&self) -> impl Iterator<Item = f64> {
        self.slos.iter().map(|slo| {
            let period = self.spec.slos[slo.template].period.in_slots(self.spec.interval);
            slo.traffic(Age::in_slots(period)).total
        })
    }

    fn slo_view(&self, index: usize) -> SloView {
        let slo = &self.slos[index];
        let spec = &self.spec.slos[slo.template];
        let traffic = |window: Duration| slo.traffic(Age::in_slots(window.in_slots(self.spec.interval)));
        let burn = |seen: Traffic| (seen.coverage > 0.0).then(|| seen.burn(spec.allowed_ratio()));
        let period = traffic(spec.period);
        let limits = spec.rules.iter().map(|rule| rule.limit);
        let mut windows: Vec<Duration> =
            limits.flat_map(|limit| [limit.short_window(), limit.long_window()]).flatten().collect();
        windows.sort();
        windows.dedup();
        let windows = windows.into_iter().map(|window| WindowView {
            window,
            burn_rate: burn(traffic(window)),
            coverage: traffic(window).coverage,
        });
        let rules = spec.rules.iter().zip(&self.rules[index]).enumerate().map(|(number, (rule, state))| {
            let measured = slo.measure(spec, rule, self.plans[slo.template][number].windows);
            RuleView {
                rule: rule.name.clone(),
                urgency: rule.urgency,
                limit: rule.limit,
                usage: (measured.short.coverage > 0.0).then_some(measured.usage),
                stage: state.stage(),
                pending: state.pending(),
                consecutive: rule.consecutive,
            }
        });
        let misfit = slo.misfit().map(|misfit| misfit.to_string());
        SloView {
            journey: spec.journey.clone(),
            layer: spec.layer.clone(),
            labels: slo.labels.clone(),
            owner: spec.owner.clone(),
            sight: slo.sight,
            sight_since: slo.sight_since,
            problem: misfit.or_else(|| self.refusal(slo.template).map(str::to_string)),
            budget_ms: spec.budget_s * 1000.0,
            objective_ppm: spec.objective_ppm,
            period: spec.period,
            events: period.total,
            bad_events: period.bad(),
            budget_remaining: burn(period).map(|spent| 1.0 - spent),
            coverage: period.coverage,
            quantiles_ms: slo.quantiles_s().map(|quantiles| quantiles.map(|s| s * 1000.0)),
            windows: windows.collect(),
            rules: rules.collect(),
        }
    }
}
