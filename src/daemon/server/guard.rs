//! Who is let in: basic authentication with bcrypt, or a bearer token.
//!
//! A wrong password and an unknown name take the same time and get the same answer. The password that was right last
//! is known again by a salted hash, so that a scrape every few seconds does not cost a bcrypt each time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use crate::config::Access;
use crate::config::secret::Secret;
use crate::engine::time::Duration;

/// Bcrypts at once: the rest of the machine evaluates.
const CHECKS_AT_ONCE: usize = 1;
/// How long a check waits for its turn.
const CHECK_PATIENCE: Duration = Duration::from_secs(5);
/// Far longer than what bcrypt tells apart.
const MAX_PASSWORD_BYTES: usize = 1024;

/// What came of asking who is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Said who they are, and are.
    Known,
    /// Nobody is asked.
    Anybody,
    Unknown,
    /// Too many ask at once.
    Busy,
}

/// One configuration's rules of who is let in.
#[derive(Debug)]
pub struct Guard {
    access: Access,
    /// Stands in for the hash of a name that nobody has; as costly as the costliest.
    nobody: Secret,
    /// By name: the salted hash of the password that was right last.
    right: Mutex<BTreeMap<String, Hash>>,
    turns: Semaphore,
}

type Hash = [u8; 32];

impl Guard {
    pub fn new(access: Access) -> Self {
        let cost = |hash: &Secret| hash.expose().parse::<bcrypt::HashParts>().map_or(0, |parts| parts.get_cost());
        let cost = access.users.values().map(cost).max().unwrap_or_default();
        // No password has this hash; checking it takes as long as checking one that has.
        let nobody = Secret::new(format!("$2b${cost:02}$......................{}", ".".repeat(31)));
        Self { access, nobody, right: Mutex::default(), turns: Semaphore::new(CHECKS_AT_ONCE) }
    }

    /// Judges the `Authorization` of a request.
    pub async fn judge(self: &Arc<Self>, headers: &HeaderMap) -> Verdict {
        if !self.access.is_guarded() {
            return Verdict::Anybody;
        }
        let Some((scheme, credentials)) = headers.get(AUTHORIZATION).and_then(split) else { return Verdict::Unknown };
        if scheme.eq_ignore_ascii_case("bearer") {
            let expected = self.access.bearer_token.as_ref();
            let is_right =
                expected.is_some_and(|token| are_same(&salted("", token.expose()), &salted("", credentials)));
            return if is_right { Verdict::Known } else { Verdict::Unknown };
        }
        let decoded = BASE64.decode(credentials).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        match decoded.as_deref().and_then(|decoded| decoded.split_once(':')) {
            Some((user, password)) if scheme.eq_ignore_ascii_case("basic") => self.check(user, password).await,
            _ => Verdict::Unknown,
        }
    }

    async fn check(self: &Arc<Self>, user: &str, password: &str) -> Verdict {
        if password.len() > MAX_PASSWORD_BYTES || self.access.users.is_empty() {
            return Verdict::Unknown;
        }
        let expected = self.access.users.get(user);
        let hash = expected.unwrap_or(&self.nobody).clone();
        let salted = salted(hash.expose(), password);
        if self.was_right(user, &salted) {
            return Verdict::Known;
        }
        let turn = tokio::time::timeout(CHECK_PATIENCE.to_std(), self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Verdict::Busy };
        // Whoever had the turn before may have been the same.
        if self.was_right(user, &salted) {
            return Verdict::Known;
        }
        let password = Secret::new(password.to_owned());
        let verified = tokio::task::spawn_blocking(move || bcrypt::verify(password.expose(), hash.expose()));
        if !matches!(verified.await, Ok(Ok(true))) || expected.is_none() {
            return Verdict::Unknown;
        }
        self.lock().insert(user.to_owned(), salted);
        Verdict::Known
    }

    fn was_right(&self, user: &str, given: &Hash) -> bool {
        self.lock().get(user).is_some_and(|known| are_same(known, given))
    }

    /// A panic while it was held left nothing half done.
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Hash>> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn split(value: &HeaderValue) -> Option<(&str, &str)> {
    let (scheme, credentials) = value.to_str().ok()?.split_once(' ')?;
    Some((scheme, credentials.trim()))
}

/// SHA-256 of both; a zero byte keeps them apart.
fn salted(salt: &str, text: &str) -> Hash {
    Sha256::new().chain_update(salt).chain_update([0]).chain_update(text).finalize().into()
}

/// Takes the same time wherever they differ.
fn are_same(one: &Hash, other: &Hash) -> bool {
    one.iter().zip(other).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(users: &[(&str, &str)], token: Option<&str>) -> Arc<Guard> {
        let hash = |password: &&str| Secret::new(bcrypt::hash(password, 4).unwrap());
        let users = users.iter().map(|(name, password)| ((*name).to_owned(), hash(password))).collect();
        Arc::new(Guard::new(Access { users, bearer_token: token.map(|token| Secret::new(token.to_owned())) }))
    }

    async fn judge(guard: &Arc<Guard>, credentials: &str) -> Verdict {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, credentials.parse().unwrap());
        guard.judge(&headers).await
    }

    fn basic(user: &str, password: &str) -> String {
        format!("Basic {}", BASE64.encode(format!("{user}:{password}")))
    }

    #[tokio::test]
    async fn who_is_let_in() {
        let token = "0123456789abcdef";
        let both = guard(&[("ann", "an:n"), ("bob", "b")], Some(token));
        for (credentials, expected) in [
            (basic("ann", "an:n"), Verdict::Known),
            (basic("ann", "an:n").replace("Basic", "bASIC"), Verdict::Known),
            (basic("bob", "b"), Verdict::Known),
            (basic("bob", "an:n"), Verdict::Unknown),
            (basic("ann", ""), Verdict::Unknown),
            (basic("eve", ""), Verdict::Unknown),
            (basic("", ""), Verdict::Unknown),
            (basic("ann", &"x".repeat(2000)), Verdict::Unknown),
            (format!("Bearer {token}"), Verdict::Known),
            (format!("Bearer {token}0"), Verdict::Unknown),
            ("Bearer ".into(), Verdict::Unknown),
            ("Basic !!".into(), Verdict::Unknown),
            ("Digest ann".into(), Verdict::Unknown),
            (String::new(), Verdict::Unknown),
        ] {
            assert_eq!(judge(&both, &credentials).await, expected, "{credentials}");
        }
        assert_eq!(both.judge(&HeaderMap::new()).await, Verdict::Unknown);
        assert_eq!(guard(&[], None).judge(&HeaderMap::new()).await, Verdict::Anybody);
        let only_token = guard(&[], Some(token));
        assert_eq!(judge(&only_token, &basic("", "")).await, Verdict::Unknown);
        assert_eq!(judge(&guard(&[("ann", "a")], None), "Bearer ").await, Verdict::Unknown);
    }

    #[tokio::test]
    async fn only_the_right_password_is_remembered() {
        let guard = guard(&[("ann", "right")], None);
        judge(&guard, &basic("ann", "wrong")).await;
        judge(&guard, &basic("eve", "right")).await;
        assert!(guard.lock().is_empty());
        judge(&guard, &basic("ann", "right")).await;
        assert_eq!(guard.lock().keys().collect::<Vec<_>>(), ["ann"]);
        // A password that is known again takes no turn; any other waits for one.
        let _turn = guard.turns.acquire().await;
        assert_eq!(judge(&guard, &basic("ann", "right")).await, Verdict::Known);
        let wrong = basic("ann", "wrong");
        let waits = tokio::time::timeout(std::time::Duration::from_millis(50), judge(&guard, &wrong)).await;
        assert!(waits.is_err());
    }

    #[test]
    fn a_name_that_nobody_has_costs_as_much_as_one_that_somebody_has() {
        let guard = guard(&[("ann", "a")], None);
        let parts: bcrypt::HashParts = guard.nobody.expose().parse().unwrap();
        assert_eq!(parts.get_cost(), 4);
        assert_eq!(bcrypt::verify("", guard.nobody.expose()).ok(), Some(false));
    }
}
