//! Keeps receivers' secrets out of what is said about a send: a receiver may repeat any of them in its answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::Url;

use crate::config::secret::Secret;
use crate::config::{HttpClient, Login, ReceiverKind};
use crate::http;

pub use crate::http::Scrubber;

use super::text;
use super::transport::MAX_ANSWER_BYTES;

/// The most of another's words that a reason repeats.
const MAX_WORD: usize = 160;

impl Scrubber {
    /// One short line of `said`, each secret replaced by `[secret]`.
    pub fn scrub(&self, said: &str) -> String {
        text::line(&self.redact(said), MAX_WORD)
    }

    /// As [`Self::scrub`], of an answer. Where one was cut, its end may be half a secret, so that goes first.
    pub fn scrub_answer(&self, said: &str) -> String {
        let lost = if said.len() < MAX_ANSWER_BYTES { 0 } else { self.longest() };
        self.scrub(&said[..said.floor_char_boundary(said.len().saturating_sub(lost))])
    }
}

/// What must not be told of a receiver, in each form in which it could come back.
pub fn of(kind: &ReceiverKind) -> Vec<String> {
    match kind {
        ReceiverKind::PagerDuty { routing_key, url } => {
            let mut secrets = vec![routing_key.expose().to_owned()];
            secrets.extend(Url::parse(url).iter().flat_map(of_query_and_user));
            secrets
        }
        ReceiverKind::Slack { webhook_url } => of_address(webhook_url.expose()),
        ReceiverKind::Webhook { url, secret, http } => {
            let mut secrets = of_webhook(url, http);
            secrets.extend(secret.iter().map(|secret| secret.expose().to_owned()));
            secrets
        }
        ReceiverKind::Alertmanager { http: settings, .. } => http::secrets(settings),
        ReceiverKind::Email(email) => email.login.iter().flat_map(of_login).collect(),
    }
}

/// The same of an address that is posted to with these credentials.
pub fn of_webhook(url: &Secret, settings: &HttpClient) -> Vec<String> {
    of_address(url.expose()).into_iter().chain(http::secrets(settings)).collect()
}

/// An address that is a secret as a whole, and so are its parts.
fn of_address(address: &str) -> Vec<String> {
    let mut secrets = vec![address.to_owned()];
    if let Ok(url) = Url::parse(address) {
        secrets.extend([url.to_string(), url.path().to_owned(), url.authority().to_owned()]);
        secrets.extend(url.host_str().map(str::to_owned));
        secrets.extend(url.path_segments().into_iter().flatten().map(str::to_owned));
        secrets.extend(of_query_and_user(&url));
    }
    secrets
}

fn of_query_and_user(url: &Url) -> Vec<String> {
    let mut secrets: Vec<String> = url.query().into_iter().chain(url.password()).map(str::to_owned).collect();
    secrets.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
    secrets
}

/// A password, and what the login makes of it: AUTH PLAIN sends all in one, AUTH LOGIN each alone.
fn of_login(login: &Login) -> Vec<String> {
    let password = login.password.expose();
    let plain = BASE64.encode(format!("\0{}\0{password}", login.username));
    let login = BASE64.encode(password);
    // Some servers leave the padding out when they repeat what they read.
    let bare = [&plain, &login].map(|text| text.trim_end_matches('=').to_owned());
    [password.to_owned(), plain, login].into_iter().chain(bare).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_answer_ends_in_no_half_secret() {
        let scrubber = Scrubber::new(&["x".repeat(MAX_ANSWER_BYTES - 10), "hunter2".into()]);
        let mut said = "x".repeat(MAX_ANSWER_BYTES - 10) + " hunter2hunter2";
        said.truncate(MAX_ANSWER_BYTES);
        assert!(!scrubber.scrub_answer(&said).contains("hunt"));
    }

    #[test]
    fn each_part_of_an_address_is_one() {
        let address =
            Secret::new("https://user:passw0rd@hooks.test/services/T0123456/tok%2Fen?sig=c2lnbmF0dXJl".into());
        let scrubber = Scrubber::new(&of(&ReceiverKind::Slack { webhook_url: address }));
        for said in ["/services/T0123456/tok%2Fen", "T0123456", "c2lnbmF0dXJl", "passw0rd", "hooks.test"] {
            assert_eq!(scrubber.scrub(&format!("no {said}!")), "no [secret]!");
        }
    }
}
