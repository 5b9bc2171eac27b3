//! What was recommended, as a rule file that stands in for those the rules come from.

use std::collections::BTreeMap;

use crate::config::rewrite::WrittenRules;
use crate::config::units;
use crate::engine::time::Timestamp;

use super::space::Setting;
use super::text::sentence;
use super::{Point, Tuning};

/// The rules of `written` with a point's settings; every other key, rule and pack as it was. `file` is what the user
/// calls it, `now` when it is written.
pub fn rule_file(tuning: &Tuning, point: &Point, written: &WrittenRules, file: &str, now: Timestamp) -> String {
    let settings: BTreeMap<String, Vec<(&str, String)>> = point
        .settings
        .iter()
        .map(|(rule, setting)| {
            let Setting { burn_rate, long, short, consecutive } = setting;
            let keys = vec![
                ("burn_rate", burn_rate.to_string()),
                ("long", long.to_string()),
                ("short", short.to_string()),
                ("consecutive", consecutive.to_string()),
            ];
            (rule.clone(), keys)
        })
        .collect();
    written.with(&settings, &comment(tuning, point, written, file, now))
}

fn comment(tuning: &Tuning, point: &Point, written: &WrittenRules, file: &str, now: Timestamp) -> Vec<String> {
    let split = &tuning.split;
    let names: Vec<&str> = point.settings.keys().map(String::as_str).collect();
    let limit = units::short(tuning.max_pages_a_week);
    let mut lines = vec![
        format!("Written by 'slowburn tune' at {now}; tuned: {}.", names.join(", ")),
        String::new(),
        format!(
            "Searched on {} to {}: {} candidates, seed {}, at most {limit} pages a week.",
            split.from,
            split.cut,
            tuning.tried.len(),
            tuning.seed
        ),
        format!("  these:  {}", sentence(&point.searched)),
        format!("  before: {}", sentence(&tuning.present.searched)),
    ];
    if tuning.stopped {
        lines.insert(3, "The search was stopped early: there may be better ones.".to_owned());
    }
    if let (Some(held_back), Some(before)) = (&point.held_back, &tuning.present.held_back) {
        lines.push(format!("Held back: {} to {}.", split.cut, split.to));
        lines.push(format!("  these:  {}", sentence(held_back)));
        lines.push(format!("  before: {}", sentence(before)));
    }
    if !tuning.cautions.is_empty() {
        lines.extend([String::new(), "Beware:".to_owned()]);
        lines.extend(tuning.cautions.iter().map(|caution| format!("- {caution}")));
    }
    lines.extend([String::new(), format!("To use it, {}.", written.adoption(file))]);
    lines
}
