//! What is tried: settings of burn-rate rules on ladders of values that read well.
//!
//! A candidate holds the settings of every tuned rule; it need not lie on the ladders (the present rules may not).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use thiserror::Error;

use crate::config::bounds::{Bounds, Values};
use crate::config::nearest;
use crate::engine::Spec;
use crate::engine::rule::{Limit, Rule, Urgency};
use crate::engine::time::Duration;

use super::random::Random;

/// Steps between bounds; wider bounds take larger steps.
const MAX_STEPS: usize = 24;
/// Burn rates of a decade that people write.
const BURN_RATES: [f64; 11] = [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
/// Windows that people write, in seconds.
const WINDOWS_S: [i64; 32] = [
    1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 300, 600, 900, 1200, 1800, 2700, 3600, 5400, 7200, 10_800, 14_400, 21_600,
    28_800, 43_200, 64_800, 86_400, 172_800, 259_200, 432_000, 604_800, 1_209_600, 2_592_000,
];
/// A window needs this many polls to show an increase, as the configuration demands.
const MIN_POLLS: i64 = 2;
/// Where nobody gives bounds: from the present value divided by this to the present value times this.
const AROUND_BURN_RATE: f64 = 2.5;
const AROUND_WINDOW: f64 = 4.0;
const CONSECUTIVE: (u32, u32) = (1, 4);
/// More rules than this are not tuned together: nothing could be learnt of each.
pub const MAX_RULES: usize = 16;
/// Draws before it is given up to find a sound candidate.
const MAX_DRAWS: usize = 1000;

/// What of a rule is tuned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Setting {
    pub burn_rate: f64,
    pub long: Duration,
    pub short: Duration,
    pub consecutive: u32,
}

/// The settings of all tuned rules, in the order of [`Space::knobs`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Candidate(pub Vec<Setting>);

/// The ladders of one rule, each ascending.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Knobs {
    pub rule: String,
    pub present: Setting,
    pub burn_rate: Vec<f64>,
    pub long: Vec<Duration>,
    pub short: Vec<Duration>,
    pub consecutive: Vec<u32>,
    /// Whether `clear_after` is the short window, as it is where nobody writes it.
    #[serde(skip)]
    pub clears_with_short: bool,
}

/// All that may be tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Space {
    pub knobs: Vec<Knobs>,
}

#[derive(Debug, Error, PartialEq)]
pub enum SpaceError {
    #[error("no rule is tuned: no journey names a burn-rate rule that pages")]
    NoRules,
    #[error("'{0}' is no burn-rate rule of a journey{1}")]
    Unknown(String, String),
    #[error("'{0}' pages nobody, and tune weighs pages: name rules with 'urgency: page'")]
    PagesNobody(String),
    #[error("more than {MAX_RULES} rules cannot be tuned at once; name some of them with --rules")]
    TooMany,
    #[error("the {what} of '{rule}' has no value within its bounds: {why}")]
    Empty { rule: String, what: &'static str, why: String },
    #[error("no short window of '{0}' is shorter than a long one")]
    NoWindows(String),
}

impl Setting {
    /// The setting of a burn-rate rule; `None` for other kinds.
    pub fn of(rule: &Rule) -> Option<Self> {
        let Limit::BurnRate { factor, long, short } = rule.limit else { return None };
        Some(Self { burn_rate: factor, long, short, consecutive: rule.consecutive })
    }

    fn is_sound(&self) -> bool {
        self.short < self.long
    }

    fn key(&self) -> (u64, Duration, Duration, u32) {
        // The bits of positive numbers are in their order.
        (self.burn_rate.to_bits(), self.long, self.short, self.consecutive)
    }

    /// How many of the four differ.
    fn differs(&self, other: &Setting) -> usize {
        let [a, b] = [self.key(), other.key()];
        [a.0 != b.0, a.1 != b.1, a.2 != b.2, a.3 != b.3].into_iter().filter(|differs| *differs).count()
    }
}

impl Eq for Setting {}

impl PartialOrd for Setting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Setting {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl fmt::Display for Setting {
    /// As a rule file has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { burn_rate, long, short, consecutive } = self;
        write!(f, "burn_rate: {burn_rate}, long: {long}, short: {short}, consecutive: {consecutive}")
    }
}

impl Candidate {
    /// How many settings differ.
    pub fn differs(&self, other: &Candidate) -> usize {
        self.0.iter().zip(&other.0).map(|(a, b)| a.differs(b)).sum()
    }
}

/// A burn-rate rule, and how far its settings may go on the SLOs it watches.
struct Reach<'a> {
    rule: &'a Rule,
    /// With every request slow the budget burns no faster.
    highest_burn_rate: f64,
    /// No window is longer than a period.
    longest: Duration,
}

impl Space {
    /// The ladders of the rules in `names`, or of all burn-rate rules that page if there are none, between the bounds
    /// that `bounds` has for each of them. `clears_with_short` says whether a rule leaves `clear_after` to the program.
    pub fn new(
        spec: &Spec,
        names: &[String],
        bounds: impl Fn(&str) -> Bounds,
        clears_with_short: impl Fn(&str) -> bool,
    ) -> Result<Self, SpaceError> {
        let rules = tuned(spec, names)?;
        let knobs = rules.iter().map(|reach| {
            let name = &reach.rule.name;
            Knobs::new(reach, &bounds(name), spec.interval, clears_with_short(name))
        });
        Ok(Self { knobs: knobs.collect::<Result<_, _>>()? })
    }

    pub fn present(&self) -> Candidate {
        Candidate(self.knobs.iter().map(|knobs| knobs.present).collect())
    }

    /// How many candidates there are; `usize::MAX` if they are more than can be counted.
    pub fn size(&self) -> usize {
        self.knobs.iter().map(Knobs::size).fold(1, usize::saturating_mul)
    }

    /// Every candidate, in a fixed order. Only for spaces whose [`Self::size`] is small.
    pub fn all(&self) -> Vec<Candidate> {
        let mut all = vec![Vec::new()];
        for settings in self.knobs.iter().map(Knobs::settings) {
            let longer = |head: &Vec<Setting>| settings.iter().map(|next| [head, &[*next][..]].concat()).collect();
            all = all.iter().flat_map(|head| -> Vec<Vec<Setting>> { longer(head) }).collect();
        }
        all.into_iter().map(Candidate).collect()
    }

    /// Every sound candidate that differs from this one in one setting, or in both windows by as many steps, the nearest
    /// first.
    pub fn around(&self, candidate: &Candidate) -> Vec<Candidate> {
        let mut around = Vec::new();
        for (rule, (knobs, setting)) in self.knobs.iter().zip(&candidate.0).enumerate() {
            for (far, moved) in knobs.around(setting).into_iter().filter(|(_, moved)| moved.is_sound()) {
                let mut near = candidate.clone();
                near.0[rule] = moved;
                around.push((far, rule, near));
            }
        }
        around.sort();
        around.dedup();
        around.into_iter().map(|(.., near)| near).collect()
    }

    /// Any candidate; `None` if none was found.
    pub fn any(&self, random: &mut Random) -> Option<Candidate> {
        let settings = self.knobs.iter().map(|knobs| {
            let mut draws = std::iter::repeat_with(|| {
                AXES.iter()
                    .fold(knobs.present, |setting, axis| knobs.at(&setting, *axis, random.below(knobs.steps(*axis))))
            });
            draws.by_ref().take(MAX_DRAWS).find(Setting::is_sound)
        });
        settings.collect::<Option<Vec<_>>>().map(Candidate)
    }

    /// `candidate` with one setting a step or two up or down its ladder; it may not be sound.
    pub fn step(&self, candidate: &mut Candidate, random: &mut Random) {
        let rule = random.below(self.knobs.len());
        let (knobs, axis) = (&self.knobs[rule], AXES[random.below(AXES.len())]);
        let here = knobs.place(&candidate.0[rule], axis);
        let by = 1 + random.below(2);
        let there = if random.below(2) == 0 { here.saturating_sub(by) } else { here + by };
        candidate.0[rule] = knobs.at(&candidate.0[rule], axis, there.min(knobs.steps(axis) - 1));
    }

    /// A candidate's settings by the rules' names.
    pub fn by_rule(&self, candidate: &Candidate) -> BTreeMap<String, Setting> {
        self.knobs.iter().map(|knobs| knobs.rule.clone()).zip(candidate.0.iter().copied()).collect()
    }

    pub fn is_sound(&self, candidate: &Candidate) -> bool {
        candidate.0.iter().all(Setting::is_sound)
    }

    /// `base` with a candidate's settings.
    pub fn apply(&self, base: &Spec, candidate: &Candidate) -> Spec {
        let mut spec = base.clone();
        for rule in spec.slos.iter_mut().flat_map(|slo| &mut slo.rules) {
            let tuned = self.knobs.iter().zip(&candidate.0).find(|(knobs, _)| knobs.rule == rule.name);
            let Some((knobs, Setting { burn_rate, long, short, consecutive })) = tuned else { continue };
            rule.limit = Limit::BurnRate { factor: *burn_rate, long: *long, short: *short };
            rule.consecutive = *consecutive;
            if knobs.clears_with_short {
                rule.clear_after = *short;
            }
        }
        spec
    }
}

#[derive(Debug, Clone, Copy)]
enum Axis {
    BurnRate,
    Long,
    Short,
    Consecutive,
}

const AXES: [Axis; 4] = [Axis::BurnRate, Axis::Long, Axis::Short, Axis::Consecutive];

impl Knobs {
    fn new(
        reach: &Reach<'_>,
        bounds: &Bounds,
        interval: Duration,
        clears_with_short: bool,
    ) -> Result<Self, SpaceError> {
        let rule = reach.rule;
        let present = Setting::of(rule).ok_or(SpaceError::NoRules)?;
        let Setting { burn_rate, long, short, consecutive } = present;
        let least_short = Duration::from_ms(interval.ms() * MIN_POLLS);
        let (least_s, longest_s) = (least_short.secs(), reach.longest.secs());
        let empty = |what, why: String| SpaceError::Empty { rule: rule.name.clone(), what, why };
        let around = |window: Duration| {
            Values::Between(window.times(1.0 / AROUND_WINDOW), window.times(AROUND_WINDOW).min(reach.longest))
        };
        let windows = |given: &Option<Values<Duration>>, present: Duration| {
            let values = given.clone().unwrap_or_else(|| around(present));
            let nice = WINDOWS_S.map(Duration::from_secs);
            ladder(&values, present, &nice, |window| *window >= least_short && *window <= reach.longest)
        };
        let high = reach.highest_burn_rate;
        let values = bounds.burn_rate.clone().unwrap_or({
            let rounded = |rate: f64| (rate * 10.0).round().max(1.0) / 10.0;
            Values::Between(rounded(burn_rate / AROUND_BURN_RATE), rounded(burn_rate * AROUND_BURN_RATE))
        });
        // An end that cannot be reached gives way to the last step that can.
        let burn_rates = ladder(&values, burn_rate, &nice_burn_rates(), |rate| *rate <= high * (1.0 + 1e-9));
        let counts =
            bounds.consecutive.clone().unwrap_or(Values::Between(CONSECUTIVE.0, CONSECUTIVE.1.max(consecutive)));
        let all_counts: Vec<u32> = (1..=1000).collect();
        let knobs = Self {
            rule: rule.name.clone(),
            present,
            burn_rate: burn_rates,
            long: windows(&bounds.long, long),
            short: windows(&bounds.short, short),
            consecutive: ladder(&counts, consecutive, &all_counts, |_| true),
            clears_with_short,
        };
        if knobs.burn_rate.is_empty() {
            return Err(empty(
                "burn rate",
                format!("with every request slow the budget burns at {high:.1}, not faster"),
            ));
        }
        for (what, windows) in [("long window", &knobs.long), ("short window", &knobs.short)] {
            if windows.is_empty() {
                let why = format!("it lies between two polls ({least_s} s) and the period ({longest_s} s)");
                return Err(empty(what, why));
            }
        }
        if knobs.size() == 0 { Err(SpaceError::NoWindows(rule.name.clone())) } else { Ok(knobs) }
    }

    fn steps(&self, axis: Axis) -> usize {
        match axis {
            Axis::BurnRate => self.burn_rate.len(),
            Axis::Long => self.long.len(),
            Axis::Short => self.short.len(),
            Axis::Consecutive => self.consecutive.len(),
        }
    }

    fn at(&self, setting: &Setting, axis: Axis, step: usize) -> Setting {
        match axis {
            Axis::BurnRate => Setting { burn_rate: self.burn_rate[step], ..*setting },
            Axis::Long => Setting { long: self.long[step], ..*setting },
            Axis::Short => Setting { short: self.short[step], ..*setting },
            Axis::Consecutive => Setting { consecutive: self.consecutive[step], ..*setting },
        }
    }

    /// The step of a setting, or the next higher one, on a ladder.
    fn place(&self, setting: &Setting, axis: Axis) -> usize {
        let place = match axis {
            Axis::BurnRate => self.burn_rate.partition_point(|rate| *rate < setting.burn_rate),
            Axis::Long => self.long.partition_point(|window| *window < setting.long),
            Axis::Short => self.short.partition_point(|window| *window < setting.short),
            Axis::Consecutive => self.consecutive.partition_point(|count| *count < setting.consecutive),
        };
        place.min(self.steps(axis) - 1)
    }

    /// What [`Space::around`] promises, sound or not, and how many steps it is away.
    fn around(&self, setting: &Setting) -> Vec<(usize, Setting)> {
        let mut around = Vec::new();
        for axis in AXES {
            let here = self.place(setting, axis);
            around.extend((0..self.steps(axis)).map(|step| (here.abs_diff(step), self.at(setting, axis, step))));
        }
        let (long, short) = (self.place(setting, Axis::Long), self.place(setting, Axis::Short));
        for (long_step, short_step) in (0..self.long.len()).map(|step| (step, (step + short).checked_sub(long))) {
            if let Some(short_step) = short_step.filter(|step| *step < self.short.len()) {
                let moved = self.at(&self.at(setting, Axis::Long, long_step), Axis::Short, short_step);
                around.push((long.abs_diff(long_step), moved));
            }
        }
        around.retain(|(_, moved)| moved != setting);
        around
    }

    fn size(&self) -> usize {
        let windows = self.long.iter().map(|long| self.short.partition_point(|short| short < long)).sum::<usize>();
        windows * self.burn_rate.len() * self.consecutive.len()
    }

    fn settings(&self) -> Vec<Setting> {
        let mut settings = vec![self.present];
        for axis in AXES {
            let all = |setting: &Setting| (0..self.steps(axis)).map(|step| self.at(setting, axis, step)).collect();
            settings = settings.iter().flat_map(|setting| -> Vec<Setting> { all(setting) }).collect();
        }
        settings.retain(Setting::is_sound);
        settings
    }
}

/// The values of `nice` within the bounds, their ends, and the present value if it lies within; thinned out evenly
/// where that is too many.
fn ladder<T: Copy + PartialOrd>(values: &Values<T>, present: T, nice: &[T], fits: impl Fn(&T) -> bool) -> Vec<T> {
    let mut steps = match values {
        Values::These(these) => these.clone(),
        Values::Between(least, most) => {
            let inside = |value: &&T| **value > *least && **value < *most;
            let mut steps: Vec<T> = nice.iter().filter(inside).copied().filter(&fits).collect();
            // One step stays free for the present value.
            let too_many = steps.len().saturating_sub(MAX_STEPS - 3);
            if too_many > 0 {
                let (all, keep) = (steps.clone(), MAX_STEPS - 3);
                steps = (0..keep).map(|step| all[step * (all.len() - 1) / (keep - 1)]).collect();
            }
            steps.extend([*least, *most].into_iter().chain((*least <= present && present <= *most).then_some(present)));
            steps
        }
    };
    steps.retain(fits);
    steps.sort_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
    steps.dedup();
    steps
}

fn nice_burn_rates() -> Vec<f64> {
    // Divided rather than multiplied where that is exact: 0.3, not 0.30000000000000004.
    let decade = |exponent: i32| {
        BURN_RATES.map(|rate| if exponent < 0 { rate / 10_f64.powi(-exponent) } else { rate * 10_f64.powi(exponent) })
    };
    (-2..=4).flat_map(decade).collect()
}

fn tuned<'a>(spec: &'a Spec, names: &[String]) -> Result<Vec<Reach<'a>>, SpaceError> {
    let mut reaches: Vec<Reach<'a>> = Vec::new();
    for (slo, rule) in spec.slos.iter().flat_map(|slo| slo.rules.iter().map(move |rule| (slo, rule))) {
        if !matches!(rule.limit, Limit::BurnRate { .. }) {
            continue;
        }
        let highest = 1.0 / slo.allowed_ratio() / (f64::from(rule.critical_ppm) / 1e6);
        match reaches.iter_mut().find(|reach| reach.rule.name == rule.name) {
            Some(reach) => {
                reach.highest_burn_rate = reach.highest_burn_rate.min(highest);
                reach.longest = reach.longest.min(slo.period);
            }
            None => reaches.push(Reach { rule, highest_burn_rate: highest, longest: slo.period }),
        }
    }
    if let Some(unknown) = names.iter().find(|name| !reaches.iter().any(|reach| reach.rule.name == **name)) {
        let known = || reaches.iter().map(|reach| reach.rule.name.as_str());
        let hint = match nearest(unknown, known()) {
            Some(name) => format!("; did you mean '{name}'?"),
            None => format!("; one of: {}", known().collect::<Vec<_>>().join(", ")),
        };
        return Err(SpaceError::Unknown(unknown.clone(), hint));
    }
    let pages = |reach: &Reach<'_>| reach.rule.urgency == Urgency::Page;
    if let Some(quiet) = reaches.iter().find(|reach| names.contains(&reach.rule.name) && !pages(reach)) {
        return Err(SpaceError::PagesNobody(quiet.rule.name.clone()));
    }
    let is_named = |reach: &Reach<'_>| match names {
        [] => pages(reach),
        names => names.contains(&reach.rule.name),
    };
    reaches.retain(is_named);
    match reaches.len() {
        0 => Err(SpaceError::NoRules),
        1..=MAX_RULES => Ok(reaches),
        _ => Err(SpaceError::TooMany),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn minutes(minutes: i64) -> Duration {
        Duration::from_minutes(minutes)
    }

    fn knobs(bounds: Bounds) -> Result<Knobs, SpaceError> {
        let rule = crate::engine::rule::Rule {
            name: "fast".into(),
            urgency: Urgency::Page,
            limit: Limit::BurnRate { factor: 14.4, long: minutes(60), short: minutes(5) },
            schedule: crate::engine::rule::Schedule::Every(Duration::from_secs(30)),
            warning_ppm: 800_000,
            critical_ppm: 1_000_000,
            consecutive: 2,
            hysteresis_ppm: 100_000,
            clear_after: minutes(5),
            min_events: 0.0,
            min_bad: 0.0,
            confidence_z: None,
            min_coverage_ppm: 500_000,
        };
        let reach = Reach { rule: &rule, highest_burn_rate: 100.0, longest: Duration::from_days(30) };
        Knobs::new(&reach, &bounds, Duration::from_secs(30), true)
    }

    #[test]
    fn ladders_read_well_and_keep_to_their_bounds() {
        let free = knobs(Bounds::default()).expect("sound");
        assert_eq!(free.burn_rate, [5.8, 6.0, 7.0, 8.0, 10.0, 12.0, 14.4, 15.0, 20.0, 25.0, 30.0, 36.0]);
        assert_eq!(free.long, [15, 20, 30, 45, 60, 90, 120, 180, 240].map(minutes));
        let short = [75, 120, 180, 300, 600, 900, 1200].map(Duration::from_secs);
        assert_eq!(free.short, short);
        assert_eq!(free.consecutive, [1, 2, 3, 4]);
        let bound = |text: &str| Bounds { burn_rate: Some(text.parse().unwrap()), ..Bounds::default() };
        assert_eq!(knobs(bound("50..400")).expect("sound").burn_rate, [50.0, 60.0, 70.0, 80.0, 100.0]);
        assert_eq!(knobs(bound("0.01..90")).expect("sound").burn_rate.len(), MAX_STEPS);
        assert!(knobs(bound("101..400")).unwrap_err().to_string().contains("100.0, not faster"));
        let windows = |long: &str, short: &str| {
            knobs(Bounds { long: long.parse().ok(), short: short.parse().ok(), ..Bounds::default() })
        };
        assert_eq!(windows("5m", "10m"), Err(SpaceError::NoWindows("fast".into())));
        assert!(windows("5m", "30s").unwrap_err().to_string().contains("two polls"), "one poll shows no increase");
    }

    #[test]
    fn all_candidates_are_as_many_as_the_size_says() {
        let windows = Bounds { long: "5m,10m".parse().ok(), short: "1m,5m".parse().ok(), ..Bounds::default() };
        let one = Bounds { burn_rate: "6,10".parse().ok(), consecutive: "1..3".parse().ok(), ..windows };
        let space = Space { knobs: vec![knobs(one.clone()).unwrap(), knobs(one).unwrap()] };
        let mut all = space.all();
        assert_eq!((all.len(), space.size()), (18 * 18, 18 * 18));
        assert!(all.iter().all(|candidate| space.is_sound(candidate)));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 18 * 18, "none comes twice");
    }

    proptest! {
        #[test]
        fn steps_stay_on_the_ladders(seed: u64) {
            let space = Space { knobs: vec![knobs(Bounds::default()).unwrap(); 2] };
            let mut random = Random::new(seed);
            let mut candidate = space.any(&mut random).expect("there are sound ones");
            for _ in 0..50 {
                let is_on_ladders = candidate.0.iter().zip(&space.knobs).all(|(setting, knobs)| {
                    knobs.burn_rate.contains(&setting.burn_rate)
                        && knobs.long.contains(&setting.long)
                        && knobs.short.contains(&setting.short)
                        && knobs.consecutive.contains(&setting.consecutive)
                });
                prop_assert!(is_on_ladders, "{:?}", candidate);
                space.step(&mut candidate, &mut random);
            }
            for near in space.around(&candidate) {
                prop_assert!(near.differs(&candidate) == 1 || near.differs(&candidate) == 2, "{:?}", near);
                prop_assert!(!space.is_sound(&candidate) || space.is_sound(&near));
            }
        }
    }
}
