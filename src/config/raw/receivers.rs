//! Receivers of notifications.

use crate::config::decode::object;
use crate::config::secret::Secret;
use crate::config::types::{SecretUrl, Url};

use super::alertmanager::Alertmanager;
use super::email::Email;
use super::source::Http;
use super::template::Template;

object! {
    "a receiver"
    Receiver {
        /// Unique among receivers.
        name: String, required;
        /// PagerDuty, by Events API v2.
        pagerduty: PagerDuty;
        /// Slack, by an incoming webhook.
        slack: Slack;
        /// Any HTTP server: Alertmanager's webhook format, signed as Standard Webhooks says.
        webhook: Webhook;
        /// Alertmanager, by API v2: all instances, told again and again what stands.
        alertmanager: Alertmanager;
        /// Mail, over SMTP.
        email: Email;
        /// What this receiver is told, in words of your own.
        template: Template;
        /// The receiver that is told what this one refuses for good.
        fallback: String;
    }
}

object! {
    "'pagerduty'"
    PagerDuty {
        /// The integration key: 32 characters.
        routing_key: Secret;
        /// A file that holds it.
        routing_key_file: String;
        /// The whole address events are posted to (default https://events.pagerduty.com/v2/enqueue).
        url: Url;
    }
}

object! {
    "'slack'"
    Slack {
        /// The incoming webhook's address.
        webhook_url: SecretUrl;
        /// A file that holds it.
        webhook_url_file: String;
    }
}

object! {
    "'webhook'"
    Webhook {
        /// The address that is posted to.
        url: SecretUrl;
        /// A file that holds it.
        url_file: String;
        /// Signs each request: whsec_ and base64 of 24 to 64 bytes.
        secret: Secret;
        /// A file that holds it.
        secret_file: String;
        ..http: Http;
    }
}
