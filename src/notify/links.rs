//! Links in messages: to Prometheus, to runbooks. Only addresses that a browser opens, and none with credentials.

use reqwest::Url;

use crate::config::promql::Query;
use crate::config::selector::Selector;
use crate::engine::notification::AlertFacts;
use crate::engine::rule::Limit;
use crate::engine::sli::{Between, SloSpec};
use crate::engine::time::Duration;

/// The longest link that is worth sending; Slack takes no longer one.
pub const MAX_URL: usize = 3000;

/// `text` as a link, if it is one that a browser opens, at most [`MAX_URL`] long.
pub fn web_link(text: &str) -> Option<String> {
    let url = Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let url = String::from(url);
    (url.len() <= MAX_URL).then_some(url)
}

/// A graph in Prometheus of what the alert is about, over a few of its long windows: the burn rate, or the quantile of
/// the objective where the budget may be no bound of the histogram and a burn rate would come out empty.
pub fn query(prometheus: &Url, selector: &Selector, slo: &SloSpec, alert: &AlertFacts) -> Option<String> {
    // Shorter windows hold too few samples for `rate` where scrapes are a minute apart.
    let window = alert.limit.short_window().unwrap_or(Duration::from_hours(1)).max(Duration::from_minutes(5));
    let query = Query { selector, slo, by: &alert.labels, bounds: &[] };
    let expr = match (alert.limit, slo.between) {
        (Limit::Latency { quantile, .. }, _) => query.quantile(quantile, window),
        (_, Between::Refuse) => query.burn_rate(window),
        (_, Between::Lower | Between::Upper | Between::Interpolate) => {
            query.quantile(f64::from(slo.objective_ppm) / 1e6, window)
        }
    };
    let range = alert.limit.long_window().unwrap_or(alert.period).times(4.0);
    graph(prometheus, &expr, range.clamp(Duration::from_hours(1), Duration::from_days(30)))
}

/// The address without credentials and query, which are nobody's business in a chat.
pub fn public_url(text: &str) -> Option<Url> {
    let mut url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    Some(url)
}

fn graph(prometheus: &Url, expr: &str, range: Duration) -> Option<String> {
    let mut url = prometheus.clone();
    url.path_segments_mut().ok()?.pop_if_empty().push("graph");
    url.query_pairs_mut()
        .clear()
        .append_pair("g0.expr", expr)
        .append_pair("g0.tab", "0")
        .append_pair("g0.range_input", &range.to_string());
    // A literal plus is %2B by now; a space as %20 is read by everything, a space as plus only by forms.
    web_link(&url.as_str().replace('+', "%20"))
}
