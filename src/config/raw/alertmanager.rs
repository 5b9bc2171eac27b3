//! Alertmanager as a receiver.

use crate::config::decode::{Spanned, object};
use crate::config::types::Url;
use crate::engine::time::Duration;

use super::source::Http;

object! {
    "'alertmanager'"
    Alertmanager {
        /// Base addresses of every instance of the cluster, such as http://am-0:9093; each is told everything.
        urls: Vec<Spanned<Url>>, required;
        /// How often what stands is posted again (default 1m); a post holds for four times as long.
        resend: Duration;
        ..http: Http;
    }
}
