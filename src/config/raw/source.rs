//! Where histograms come from, and how to speak HTTP.

use crate::config::decode::{Spanned, object};
use crate::config::secret::Secret;
use crate::config::types::{Bytes, MaybeZero, Named, Url};
use crate::engine::time::Duration;

object! {
    "'source'"
    Source {
        /// Prometheus, Thanos, Mimir, Cortex, VictoriaMetrics: anything that speaks the HTTP API.
        prometheus: Prometheus;
        /// Services' /metrics, read directly.
        scrape: Scrape;
        /// The source counts as out of sight after this many polls without an answer (default 3).
        blind_after: u32;
    }
}

object! {
    "'prometheus'"
    Prometheus {
        /// Base address, such as http://localhost:9090.
        url: Url, required;
        /// What links in messages start with (default url).
        external_url: Url;
        /// The longest a poll may take (default 10s).
        timeout: Duration;
        /// The poll for slot T is made at T + delay (default 2s).
        delay: MaybeZero;
        /// The largest answer that is read (default 64MiB).
        max_response_bytes: Bytes;
        ..http: Http;
    }
}

object! {
    "'scrape'"
    Scrape {
        /// Addresses of metrics pages, such as http://10.0.0.5:9102/metrics.
        targets: Vec<Spanned<Url>>, required;
        /// The longest a scrape may take (default 10s).
        timeout: Duration;
        /// The largest answer that is read (default 64MiB).
        max_response_bytes: Bytes;
        /// More series than this in one answer are refused (default 50000).
        max_series: u32;
        ..http: Http;
    }
}

object! {
    "the HTTP options"
    Http {
        /// Sent with each request.
        headers: Named<Secret>;
        /// Sent as Authorization: Bearer.
        bearer_token: Secret;
        /// A file that holds it.
        bearer_token_file: String;
        /// Sent as Authorization: Basic.
        basic_auth: BasicAuth;
        /// Certificates.
        tls: Tls;
    }
}

object! {
    "'basic_auth'"
    BasicAuth {
        /// Not a secret.
        username: String, required;
        /// Shown nowhere.
        password: Secret;
        /// A file that holds it.
        password_file: String;
    }
}

object! {
    "'tls'"
    Tls {
        /// PEM file with the authorities to trust instead of the system's.
        ca_file: String;
        /// PEM file with the client's certificate.
        cert_file: String;
        /// PEM file with its key.
        key_file: String;
    }
}
