//! Maintenance windows: times at which certain alerts are expected, known beforehand.

use super::route::Matcher;

/// Alerts that match all of `matchers` are held back while the window is open.
#[derive(Debug, Clone)]
pub struct Maintenance {
    pub name: String,
    /// Index into [`super::Spec::hours`].
    pub hours: usize,
    pub matchers: Vec<Matcher>,
    /// Whether the requests of SLOs that match count meanwhile. If not, they are neither good nor bad.
    pub counts: bool,
}

impl Maintenance {
    pub fn matches<'a>(&self, label: &dyn Fn(&str) -> Option<&'a str>) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(label))
    }
}
