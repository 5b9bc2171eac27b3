//! The configuration: what the user wrote (`raw`) and what the program needs (this module's types).
//!
//! Loading is whole or nothing. It never stops at the first mistake: every diagnostic of every file is collected,
//! each with file, line and column, what was expected and the nearest valid name.
//!
//! The way of a file: `yaml` (a tree with places), `env` (`${NAME}`), `decode` (what the user wrote, as `raw` declares
//! it), `validate` (defaults, names, secrets, contradictions), and `diagnostic` (what is said of it, with every secret
//! masked). Nothing here asks the source or a receiver anything.
//!
//! ```
//! use std::collections::BTreeMap;
//! let text = "
//! source: {prometheus: {url: 'http://localhost:9090'}}
//! receivers: [{name: hook, webhook: {url: 'http://localhost:8080'}}]
//! rules: [{name: fast-burn, burn_rate: 14.4, long: 1h, urgency: page}]
//! journeys:
//!   - {name: search, histogram: search_seconds, budget: 100ms, objctive: 99%, rules: [fast-burn]}
//! ";
//! let texts = BTreeMap::from([("slowburn.yml".to_owned(), text.to_owned())]);
//! let diagnostics = slowburn::config::load_texts("slowburn.yml", &texts, &|_| None).unwrap_err();
//! let said = "slowburn.yml:6:62: error: unknown key 'objctive' in a journey; did you mean 'objective'?";
//! assert!(diagnostics.to_string().starts_with(said), "{diagnostics}");
//! ```

pub mod bounds;
mod confidence;
pub mod cron;
mod decode;
pub mod diagnostic;
mod email;
mod env;
pub mod exported;
mod files;
pub mod incidents;
mod load;
mod mask;
pub mod promql;
pub mod quote;
mod raw;
pub mod rewrite;
pub mod schema;
pub mod secret;
pub mod selector;
mod server;
pub mod testing;
mod types;
pub mod units;
mod validate;
mod yaml;

pub use self::decode::nearest;
pub use self::diagnostic::Diagnostics;
pub use self::email::{Email, Encryption, Login, Mailbox};
pub use self::env::{Env, process_env};
pub use self::load::{
    Loaded, load, load_needing, load_other_needing, load_other_texts, load_texts, load_with_process_env,
};
pub use self::server::{Access, Server, ServerTls};
pub use self::validate::Secrets;
pub use self::yaml::texts_at;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::engine::spec::Pace;
use crate::engine::time::Duration;
use crate::template::Template;

use self::secret::Secret;
use self::selector::Selector;

/// A validated configuration, every default filled in and every secret read.
#[derive(Debug, Clone)]
pub struct Config {
    /// What the engine runs.
    pub spec: Arc<crate::engine::Spec>,
    /// The histogram of each of `spec.slos`, in the same order.
    pub selectors: Vec<Selector>,
    pub source: Source,
    /// In the order of `spec.receivers`.
    pub receivers: Vec<Receiver>,
    /// `None` for nowhere.
    pub state: Option<State>,
    pub server: Server,
    pub heartbeat: Option<Heartbeat>,
    /// Every file that was read, for reload and error messages.
    pub files: Vec<PathBuf>,
}

/// Where state is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub sqlite: PathBuf,
    /// How long the delivery log is kept.
    pub retention: Duration,
}

/// Where histograms come from.
#[derive(Debug, Clone)]
pub enum Source {
    Prometheus(Prometheus),
    Scrape(Scrape),
}

/// Anything that speaks Prometheus' HTTP API.
#[derive(Debug, Clone)]
pub struct Prometheus {
    /// Without a trailing slash.
    pub url: String,
    /// What links in messages start with; `url` unless the user says otherwise.
    pub external_url: String,
    pub timeout: Duration,
    /// The poll for slot T is made at T + delay.
    pub delay: Duration,
    /// The largest answer that is read, in bytes.
    pub max_response_bytes: usize,
    pub http: HttpClient,
}

/// Services' `/metrics` read directly.
#[derive(Debug, Clone)]
pub struct Scrape {
    pub targets: Vec<String>,
    pub timeout: Duration,
    pub max_response_bytes: usize,
    /// More series than this in one target's answer are refused as a label explosion.
    pub max_series: usize,
    pub http: HttpClient,
}

/// How to speak to an HTTP server.
#[derive(Debug, Clone, Default)]
pub struct HttpClient {
    pub headers: BTreeMap<String, Secret>,
    pub auth: Auth,
    pub tls: Tls,
}

#[derive(Debug, Clone, Default)]
pub enum Auth {
    #[default]
    None,
    Bearer(Secret),
    Basic {
        username: String,
        password: Secret,
    },
}

/// PEM texts, already read.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    pub ca_pem: Option<Vec<u8>>,
    /// Certificate chain and key of the client, one after the other.
    pub identity_pem: Option<Secret>,
}

/// A place notifications go to.
#[derive(Debug, Clone)]
pub struct Receiver {
    pub name: String,
    pub kind: ReceiverKind,
    pub template: Templates,
}

/// What a receiver is told in the user's own words; the built-in message where there is none.
#[derive(Debug, Clone, Default)]
pub struct Templates {
    pub title: Option<Template>,
    pub text: Option<Template>,
    pub html: Option<Template>,
    pub body: Option<Template>,
    pub blocks: Option<Template>,
}

#[derive(Debug, Clone)]
pub enum ReceiverKind {
    PagerDuty {
        routing_key: Secret,
        /// The whole address events are posted to.
        url: String,
    },
    Slack {
        webhook_url: Secret,
    },
    Webhook {
        url: Secret,
        /// `whsec_` and base64, as Standard Webhooks writes it.
        secret: Option<Secret>,
        http: HttpClient,
    },
    Alertmanager {
        /// Base addresses of all instances, without a trailing slash.
        urls: Vec<String>,
        /// How often what stands is posted again.
        resend: Duration,
        http: HttpClient,
    },
    Email(Box<Email>),
}

impl ReceiverKind {
    /// As people call it.
    pub fn name(&self) -> &'static str {
        match self {
            ReceiverKind::PagerDuty { .. } => "PagerDuty",
            ReceiverKind::Slack { .. } => "Slack",
            ReceiverKind::Webhook { .. } => "webhook",
            ReceiverKind::Alertmanager { .. } => "Alertmanager",
            ReceiverKind::Email(_) => "mail",
        }
    }

    /// How often a receiver is told what stands, though nothing changed; `None` for one that remembers what it was told.
    pub fn resend(&self) -> Option<Duration> {
        match self {
            ReceiverKind::Alertmanager { resend, .. } => Some(*resend),
            ReceiverKind::PagerDuty { .. }
            | ReceiverKind::Slack { .. }
            | ReceiverKind::Webhook { .. }
            | ReceiverKind::Email(_) => None,
        }
    }

    /// How much it takes. PagerDuty takes 120 events a minute: half of them at once and one a second never are more in
    /// any 60 s. Slack takes about one message a second. Mail services differ; 30 a minute, made up in the same way, is
    /// what the strictest of the large ones takes, and more than anybody reads.
    pub fn pace(&self) -> Option<Pace> {
        match self {
            ReceiverKind::PagerDuty { .. } => Some(Pace { burst: 60, every: Duration::from_secs(1) }),
            ReceiverKind::Slack { .. } => Some(Pace { burst: 1, every: Duration::from_secs(1) }),
            ReceiverKind::Email(_) => Some(Pace { burst: 15, every: Duration::from_secs(4) }),
            ReceiverKind::Webhook { .. } | ReceiverKind::Alertmanager { .. } => None,
        }
    }

    /// Whether it keeps an alert for each incident until it hears of its end, and wakes people for it.
    pub fn keeps_alerts(&self) -> bool {
        match self {
            ReceiverKind::PagerDuty { .. } | ReceiverKind::Alertmanager { .. } => true,
            ReceiverKind::Slack { .. } | ReceiverKind::Webhook { .. } | ReceiverKind::Email(_) => false,
        }
    }
}

/// The dead man's switch.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    pub url: Secret,
    pub http: HttpClient,
    /// From one beat to the next, at least.
    pub every: Duration,
}
