//! Takes secrets out of what others say: a server, or a proxy before it, may repeat any it was sent.
//!
//! ```
//! use slowburn::http::Scrubber;
//! let scrubber = Scrubber::new(&["hunter2hunter2".to_owned()]);
//! assert_eq!(scrubber.redact("no hunter2hunter2 here"), "no [secret] here");
//! ```

use crate::config::secret::Secret;
use crate::config::{Auth, HttpClient};

use super::basic;

/// Shorter parts are left as they are: the `slo` of an address gives nothing away, and without it words fall apart.
const SHORTEST: usize = 6;
/// As much of a secret's beginning is taken out where a text was cut.
const SHORTEST_BEGINNING: usize = 4;
/// How a cut text ends.
const CUT: char = '…';

/// The secrets of one side. Prints none of them.
#[derive(Debug, Clone, Default)]
pub struct Scrubber {
    /// Longest first, so that no part is taken out of a whole that would then stay.
    secrets: Vec<Secret>,
}

impl Scrubber {
    pub fn new(secrets: &[String]) -> Self {
        let mut secrets: Vec<&str> = secrets.iter().map(String::as_str).filter(|it| it.len() >= SHORTEST).collect();
        secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        secrets.dedup();
        Self { secrets: secrets.into_iter().map(|secret| Secret::new(secret.to_owned())).collect() }
    }

    /// `said` with each secret, and what is left of one where it was cut, replaced by `[secret]`.
    pub fn redact(&self, said: &str) -> String {
        let mut said = said.to_owned();
        for secret in &self.secrets {
            said = said.replace(secret.expose(), "[secret]");
        }
        if !said.contains(CUT) {
            return said;
        }
        let whole = |piece: &str| match self.beginning_at_end(piece) {
            0 => piece.to_owned(),
            cut => format!("{}[secret]", &piece[..piece.len() - cut]),
        };
        let (cut, last) = said.rsplit_once(CUT).unwrap_or_default();
        let mut pieces: Vec<String> = cut.split(CUT).map(whole).collect();
        pieces.push(last.to_owned());
        pieces.join(&CUT.to_string())
    }

    /// The length of the longest secret, in bytes.
    pub fn longest(&self) -> usize {
        self.secrets.first().map_or(0, |secret| secret.expose().len())
    }

    /// How many bytes at the end of `text` begin a secret.
    fn beginning_at_end(&self, text: &str) -> usize {
        let at_end = |secret: &Secret| {
            let begins = |n: &usize| secret.expose().get(..*n).is_some_and(|beginning| text.ends_with(beginning));
            (SHORTEST_BEGINNING..secret.expose().len()).rev().find(begins)
        };
        self.secrets.iter().filter_map(at_end).max().unwrap_or(0)
    }
}

/// The secrets that requests with these settings carry, in each form in which they could come back.
pub fn secrets(settings: &HttpClient) -> Vec<String> {
    let mut secrets: Vec<String> = settings.headers.values().map(|value| value.expose().to_owned()).collect();
    match &settings.auth {
        Auth::None => {}
        Auth::Bearer(token) => secrets.push(token.expose().to_owned()),
        Auth::Basic { username, password } => {
            let (plain, packed) = (password.expose(), basic(username, password));
            // Some servers leave the padding out when they repeat what they read.
            let bare = packed.trim_end_matches('=').to_owned();
            secrets.extend([plain.to_owned(), format!("{username}:{plain}"), bare, packed]);
        }
    }
    // As JSON, or a debugging print, shows them.
    let escaped: Vec<String> = secrets.iter().map(|secret| secret.escape_debug().to_string()).collect();
    secrets.extend(escaped);
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_whole_and_where_they_are_cut() {
        let scrubber = Scrubber::new(&["hunter2", "https://x.test/hunter2/and-more", "abc"].map(str::to_owned));
        for (said, expected) in [
            ("bad https://x.test/hunter2/and-more, hunter2, abc", "bad [secret], [secret], abc"),
            ("bad https://x.test/hun…", "bad [secret]…"),
            ("a: hunter…; b: hunt…; c: hun…", "a: [secret]…; b: [secret]…; c: hun…"),
            ("nothing… hunter", "nothing… hunter"),
            ("…", "…"),
        ] {
            assert_eq!(scrubber.redact(said), expected);
        }
    }

    #[test]
    fn credentials_are_secret_in_each_of_their_forms() {
        let auth = Auth::Basic { username: "Aladdin".into(), password: Secret::new("open \"sesame".into()) };
        let mut settings = HttpClient { auth, ..HttpClient::default() };
        settings.headers.insert("X-Token".into(), Secret::new("t0ken-t0ken".into()));
        let scrubber = Scrubber::new(&secrets(&settings));
        for said in
            ["open \"sesame", r#"open \"sesame"#, "Aladdin:open \"sesame", "QWxhZGRpbjpvcGVuICJzZXNhbWU", "t0ken-t0ken"]
        {
            assert_eq!(scrubber.redact(&format!("no {said}!")), "no [secret]!");
        }
    }
}
