//! The dead man's switch.

use crate::config::decode::object;
use crate::config::types::SecretUrl;
use crate::engine::time::Duration;

use super::source::Http;

object! {
    "'heartbeat'"
    Heartbeat {
        /// Who raises the alarm when it hears nothing any more.
        webhook: HeartbeatWebhook, required;
        /// A beat follows an evaluation once this long has passed since the last beat (default 1m).
        every: Duration;
    }
}

object! {
    "the 'webhook' of 'heartbeat'"
    HeartbeatWebhook {
        /// The address that is posted to.
        url: SecretUrl;
        /// A file that holds it.
        url_file: String;
        ..http: Http;
    }
}
