//! The kinds of history that the comparisons run over: each adds one thing that befalls real services to the same two
//! layers with the same two incidents each.

use slowburn::engine::sli::Between;
use slowburn::engine::time::{Duration, Timestamp};

use super::history::{Incident, Layer, Plan, Pod, Random};

/// A history and how a budget between two bounds is to be measured on it.
pub struct Kind {
    pub name: &'static str,
    pub plan: Plan,
    pub between: Between,
}

const LENGTH: Duration = Duration::from_hours(72);

impl Kind {
    fn new(name: &'static str, change: impl FnOnce(&mut Plan)) -> Self {
        let mut plan = two_layers();
        change(&mut plan);
        Self { name, plan, between: Between::Refuse }
    }
}

pub fn plain() -> Kind {
    Kind::new("plain", |_| {})
}

pub fn scraped_twice_a_slot() -> Kind {
    Kind::new("scraped twice a slot", |plan| plan.scrape_interval = Duration::from_secs(15))
}

/// Six resets a pod, at any time.
pub fn resets() -> Kind {
    let mut random = Random::new(11);
    Kind::new("resets", |plan| {
        for pod in pods(plan) {
            pod.resets = (0..6).map(|_| random.duration(LENGTH)).collect();
        }
    })
}

/// Every six hours all pods of a layer are replaced one after the other, three minutes apart.
pub fn rolling_restarts() -> Kind {
    Kind::new("rolling restarts", |plan| {
        for layer in &mut plan.layers {
            layer.pods = layer.pods.iter().zip(0..).flat_map(|(pod, number)| generations(pod, number)).collect();
        }
    })
}

/// Scrapes of one pod lost, up to three minutes; and of all pods for four minutes, within the lookback.
pub fn short_gaps() -> Kind {
    let minutes = Duration::from_minutes;
    Kind::new("short gaps", |plan| {
        for (pod, number) in pods(plan).zip(0..) {
            let own = (0..16).map(|gap| (minutes(101 + 211 * gap + 7 * number), minutes(1 + gap % 3)));
            let common = [300, 1700, 3100].map(|start| (minutes(start), minutes(4)));
            pod.gaps = own.chain(common).collect();
        }
    })
}

/// Half an hour without any samples, while all is well and while a layer is slow. What was counted meanwhile
/// is known once the samples return.
pub fn long_gaps() -> Kind {
    let minutes = Duration::from_minutes;
    Kind::new("long gaps", |plan| {
        for pod in pods(plan) {
            pod.gaps = [720, 1720, 3100].map(|start| (minutes(start), minutes(30))).to_vec();
        }
    })
}

pub fn idle_hours() -> Kind {
    Kind::new("idle hours", |plan| plan.idle = Duration::from_hours(4))
}

/// Three more pods a layer, each for some hours.
pub fn new_and_vanishing_series() -> Kind {
    Kind::new("new and vanishing series", |plan| {
        for layer in &mut plan.layers {
            for number in 3..6 {
                let (born, dies) = (Duration::from_minutes(150 * number + 7), Duration::from_minutes(610 * number + 1));
                layer.pods.push(Pod { born, dies: Some(dies), ..pod(&layer.name, number) });
            }
        }
    })
}

pub fn budget_between_bounds_interpolated() -> Kind {
    between_bounds("between: interpolate", Between::Interpolate)
}

pub fn budget_between_bounds_lower() -> Kind {
    between_bounds("between: lower", Between::Lower)
}

pub fn budget_between_bounds_upper() -> Kind {
    between_bounds("between: upper", Between::Upper)
}

fn between_bounds(name: &'static str, between: Between) -> Kind {
    let kind = Kind::new(name, |plan| {
        for layer in &mut plan.layers {
            layer.bounds_s = [0.25, 0.5, 0.8, 1.2, 2.0, 5.0].map(|share| layer.budget_s * share).to_vec();
        }
    });
    Kind { between, ..kind }
}

fn two_layers() -> Plan {
    let from = Timestamp::from_unix_s(1_772_409_600);
    let layer = |name: &str, budget_s: f64| Layer {
        name: name.to_owned(),
        bounds_s: [0.25, 0.5, 0.8, 1.0, 2.0, 5.0].map(|share| budget_s * share).to_vec(),
        budget_s,
        slow: 0.003,
        rps: 10_000.0,
        pods: (0..3).map(|number| pod(name, number)).collect(),
    };
    let incident = |layer: &str, from_h: i64, length_h: i64, slow: f64| {
        let from = from + Duration::from_hours(from_h);
        Incident { layer: layer.to_owned(), from, to: from + Duration::from_hours(length_h), slow }
    };
    Plan {
        seed: 7,
        from,
        length: LENGTH,
        scrape_interval: Duration::from_secs(30),
        layers: vec![layer("edge", 0.01), layer("database", 0.04)],
        incidents: vec![
            incident("edge", 8, 2, 0.4),
            incident("edge", 27, 4, 0.6),
            incident("database", 14, 5, 0.085),
            incident("database", 30, 3, 0.25),
        ],
        idle: Duration::ZERO,
    }
}

/// Each pod is scraped at its own time within the interval.
fn pod(layer: &str, number: i64) -> Pod {
    Pod { name: format!("{layer}-{number}"), offset: Duration::from_secs(4 + 9 * number), ..Pod::default() }
}

fn pods(plan: &mut Plan) -> impl Iterator<Item = &mut Pod> {
    plan.layers.iter_mut().flat_map(|layer| layer.pods.iter_mut())
}

/// The pod and those that replace it.
fn generations(pod: &Pod, number: i64) -> impl Iterator<Item = Pod> {
    let starts = move |generation: i64| Duration::from_minutes(360 * generation + 3 * number);
    (0..12).map(move |generation| Pod {
        name: format!("{}-{generation}", pod.name),
        born: if generation == 0 { Duration::ZERO } else { starts(generation) },
        dies: Some(starts(generation + 1)),
        ..pod.clone()
    })
}
