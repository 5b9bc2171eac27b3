//! What settings `slowburn tune` may try: ranges such as `6..20`, lists such as `1, 2, 4`, and files of them by rule.
//!
//! ```
//! use slowburn::config::bounds::Values;
//! assert_eq!("6..20".parse(), Ok(Values::Between(6.0, 20.0)));
//! assert_eq!("14.4".parse(), Ok(Values::These(vec![14.4])));
//! assert!("20..6".parse::<Values<f64>>().unwrap_err().contains("from the least to the greatest"));
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::{Value, json};

use super::decode::{Decode, Definitions, Findings, Spanned, clipped, object, refuse, scalar};
use super::diagnostic::{Diagnostic, Diagnostics};
use super::files::{Disk, Files as _};
use super::units;
use super::yaml::{self, Kind, Node};
use crate::engine::time::Duration;

/// Larger files are refused unread: a rule needs a line.
const MAX_FILE_BYTES: usize = 1 << 20;
/// More values than this for one setting are no bounds but a table.
pub const MAX_VALUES: usize = 64;

/// The values a setting may have.
#[derive(Debug, Clone, PartialEq)]
pub enum Values<T> {
    /// From the least to the greatest, both included, in steps that read well.
    Between(T, T),
    /// These and no others; at least one.
    These(Vec<T>),
}

/// What may be tried for a rule; `None` leaves the choice to the search.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bounds {
    pub burn_rate: Option<Values<f64>>,
    pub long: Option<Values<Duration>>,
    pub short: Option<Values<Duration>>,
    pub consecutive: Option<Values<u32>>,
}

impl Bounds {
    /// What is said here, and where nothing is, what `other` says.
    pub fn or(self, other: &Bounds) -> Bounds {
        Bounds {
            burn_rate: self.burn_rate.or_else(|| other.burn_rate.clone()),
            long: self.long.or_else(|| other.long.clone()),
            short: self.short.or_else(|| other.short.clone()),
            consecutive: self.consecutive.or_else(|| other.consecutive.clone()),
        }
    }
}

/// A setting that can be bounded.
pub trait Setting: Copy + PartialOrd {
    /// `a burn rate`, and what to write.
    const WHAT: (&'static str, &'static str);

    /// One value, above zero. The error says what is wrong with it, if there is more to say than that it is none.
    fn read(text: &str) -> Result<Self, String>;
}

impl Setting for f64 {
    const WHAT: (&'static str, &'static str) = ("a range of burn rates", "6..20, 14.4, or [6, 10, 14.4]");

    fn read(text: &str) -> Result<Self, String> {
        let decimal = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let number = if decimal { text.parse::<f64>().ok() } else { None };
        number.filter(|rate| (1e-6..=1e6).contains(rate)).ok_or_else(|| format!("'{}' is no burn rate", clipped(text)))
    }
}

impl Setting for Duration {
    const WHAT: (&'static str, &'static str) = ("a range of windows", "5m..6h, 1h, or [10m, 1h]");

    fn read(text: &str) -> Result<Self, String> {
        match units::duration(text)? {
            Duration::ZERO => Err("a window is longer than zero".to_owned()),
            window => Ok(window),
        }
    }
}

impl Setting for u32 {
    const WHAT: (&'static str, &'static str) = ("a range of counts", "1..4, 2, or [1, 2, 4]");

    fn read(text: &str) -> Result<Self, String> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let count = if digits { text.parse().ok() } else { None };
        // As many as a rule may ask for.
        count.filter(|count| (1..=1000).contains(count)).ok_or_else(|| format!("'{}' is no count", clipped(text)))
    }
}

impl<T: Setting> FromStr for Values<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((least, most)) = text.split_once("..") {
            let (least, most) = (T::read(least.trim())?, T::read(most.trim())?);
            let ordered = least < most;
            return if ordered {
                Ok(Values::Between(least, most))
            } else {
                Err("a range goes from the least to the greatest".to_owned())
            };
        }
        let values: Vec<T> = text.split(',').map(|value| T::read(value.trim())).collect::<Result<_, _>>()?;
        these(values)
    }
}

/// Sorted, each once.
fn these<T: Setting>(mut values: Vec<T>) -> Result<Values<T>, String> {
    if values.len() > MAX_VALUES {
        return Err(format!("more than {MAX_VALUES} values"));
    }
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values.dedup();
    Ok(Values::These(values))
}

impl<T: Setting> Decode for Values<T> {
    fn decode(node: &Node, findings: &mut Findings) -> Option<Self> {
        let Kind::List(items) = &node.kind else {
            return scalar(node, findings, T::WHAT, str::parse);
        };
        if items.is_empty() {
            return refuse(node, findings, T::WHAT.0, &format!("write {}", T::WHAT.1));
        }
        let values: Vec<Option<T>> = items.iter().map(|item| scalar(item, findings, T::WHAT, T::read)).collect();
        match these(values.into_iter().collect::<Option<Vec<T>>>()?) {
            Ok(values) => Some(values),
            Err(why) => {
                findings.error(node.span, why);
                None
            }
        }
    }

    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": ["string", "number", "array"] })
    }
}

object! {
    "a file of bounds"
    File {
        /// What may be tried, rule by rule.
        bounds: Vec<Spanned<RuleBounds>>, required;
    }
}

object! {
    "the bounds of a rule"
    RuleBounds {
        /// The rule's name.
        rule: String, required;
        /// Such as 6..20.
        burn_rate: Values<f64>;
        /// Such as 5m..6h.
        long: Values<Duration>;
        /// Such as 1m..30m.
        short: Values<Duration>;
        /// Such as 1..4.
        consecutive: Values<u32>;
    }
}

/// Reads a file of bounds for some of `rules`:
///
/// ```yaml
/// bounds:
///   - {rule: fast-burn, burn_rate: 6..20, long: 5m..2h, consecutive: [1, 2]}
/// ```
///
/// # Errors
/// All mistakes of the file.
pub fn load(path: &Path, rules: &[&str]) -> Result<BTreeMap<String, Bounds>, Diagnostics> {
    match Disk.read(path, MAX_FILE_BYTES) {
        Ok(text) => read(path.to_owned(), text, rules),
        Err(error) => Err(Diagnostics::unreadable(format!("cannot read '{}': {error}", path.display()))),
    }
}

fn read(path: PathBuf, text: String, rules: &[&str]) -> Result<BTreeMap<String, Bounds>, Diagnostics> {
    let mut findings = Findings::default();
    let mut bounds = BTreeMap::new();
    match yaml::parse(&text, 0, &mut findings.list) {
        Some(tree) => bounds = by_rule(File::decode(&tree, &mut findings), rules, &mut findings),
        None if findings.list.is_empty() => {
            findings.add(Diagnostic::nowhere(format!("'{}' is empty", path.display())));
        }
        None => {}
    }
    let diagnostics = Diagnostics::new(vec![(path.display().to_string(), text)], findings);
    if diagnostics.has_errors() { Err(diagnostics) } else { Ok(bounds) }
}

fn by_rule(file: Option<File>, rules: &[&str], findings: &mut Findings) -> BTreeMap<String, Bounds> {
    let mut bounds = BTreeMap::new();
    let list = file.as_ref().and_then(|file| file.bounds.value());
    for entry in list.into_iter().flatten().map(|entry| &entry.value) {
        let Some(rule) = entry.rule.get() else { continue };
        if !rules.contains(&rule.value.as_str()) {
            let message = format!("'{}' is no rule that is tuned", clipped(&rule.value));
            let diagnostic = Diagnostic::error(rule.span, message);
            let diagnostic = match findings.suggest(&rule.value, rules.iter().copied()) {
                Some(name) => diagnostic.label(format!("did you mean '{name}'?")),
                None => diagnostic,
            };
            findings.add(diagnostic.help(format!("one of: {}", rules.join(", "))));
            continue;
        }
        let of_rule = Bounds {
            burn_rate: entry.burn_rate.value().cloned(),
            long: entry.long.value().cloned(),
            short: entry.short.value().cloned(),
            consecutive: entry.consecutive.value().cloned(),
        };
        if bounds.insert(rule.value.clone(), of_rule).is_some() {
            findings.error(rule.span, format!("the bounds of '{}' stand here twice", clipped(&rule.value)));
        }
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_lists() {
        let windows = |text: &str| text.parse::<Values<Duration>>();
        let minutes = Duration::from_minutes;
        assert_eq!(windows("5m..6h"), Ok(Values::Between(minutes(5), minutes(360))));
        assert_eq!(windows("1h, 10m,1h"), Ok(Values::These(vec![minutes(10), minutes(60)])));
        assert_eq!("1..4".parse(), Ok(Values::Between(1_u32, 4)));
        for wrong in ["", "..", "5m..", "6h..5m", "5m..5m", "5..6", "0..5m", "1h;2h"] {
            assert!(windows(wrong).is_err(), "{wrong}");
        }
        for wrong in ["0..4", "x", "1.5", "1..1001", "-1..2"] {
            assert!(wrong.parse::<Values<u32>>().is_err(), "{wrong}");
        }
        for wrong in ["0..4", "1e3", "NaN", "0", "6...20", "inf"] {
            assert!(wrong.parse::<Values<f64>>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_gives_bounds_by_rule_and_all_its_mistakes() {
        let read = |text: &str| read("bounds.yml".into(), text.to_owned(), &["spike", "fast-burn"]);
        let bounds = read("bounds:\n  - {rule: spike, burn_rate: 6..20, consecutive: [4, 1]}\n").expect("sound");
        let spike = Bounds {
            burn_rate: Some(Values::Between(6.0, 20.0)),
            consecutive: Some(Values::These(vec![1, 4])),
            ..Bounds::default()
        };
        assert_eq!(bounds, BTreeMap::from([("spike".to_owned(), spike)]));
        let wrong = "bounds:
  - {rule: spik, burn_rate: 6..20}
  - {rule: spike, burnrate: 6..20, long: 6h..5m, consecutive: []}
  - {rule: fast-burn, long: [10m, 5]}
  - {rule: fast-burn}
";
        let said = read(wrong).unwrap_err().to_string();
        let expected = "\
bounds.yml:2:12: error: 'spik' is no rule that is tuned; did you mean 'spike'?; one of: spike, fast-burn
bounds.yml:3:19: error: unknown key 'burnrate' in the bounds of a rule; did you mean 'burn_rate'?; known keys: rule, burn_rate, long, short, consecutive
bounds.yml:3:42: error: '6h..5m' is not a range of windows; a range goes from the least to the greatest; write 5m..6h, 1h, or [10m, 1h]
bounds.yml:3:63: error: expected a range of counts, found a list; write 1..4, 2, or [1, 2, 4]
bounds.yml:4:35: error: '5' is not a range of windows; a unit is missing after 5: ms, s, m, h, d, w or y; write 5m..6h, 1h, or [10m, 1h]
bounds.yml:5:12: error: the bounds of 'fast-burn' stand here twice";
        assert_eq!(said, expected);
        assert!(read("").unwrap_err().to_string().contains("is empty"));
    }
}
