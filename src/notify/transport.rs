//! One HTTP exchange with a receiver: within one deadline, a bounded answer, and an [`Outcome`] free of secrets.

use chrono::NaiveDateTime;
use reqwest::header::RETRY_AFTER;
use reqwest::{RequestBuilder, Response, StatusCode};

use crate::clock::Stopwatch;
use crate::engine::Outcome;
use crate::engine::time::{Duration, Timestamp};
use crate::http;

use super::secrets::Scrubber;

/// The most that is read of an answer.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// The share of the deadline that an answer's body may take after its status.
const BODY_SHARE: f64 = 0.2;
/// A receiver that asks for more patience is asked again after this.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// What a receiver said.
pub struct Answer {
    pub status: StatusCode,
    pub retry_after: Option<Duration>,
    pub body: String,
}

/// Sends and reads the answer. Nothing about a broken exchange is final; only without a connection it is certain that
/// nothing was taken.
pub async fn post(
    request: RequestBuilder,
    deadline: Duration,
    now: Timestamp,
    scrubber: &Scrubber,
) -> Result<Answer, Outcome> {
    match tokio::time::timeout(deadline.to_std(), exchange(request, deadline.times(BODY_SHARE), now)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if error.is_connect() => {
            let why = format!("cannot connect: {}", http::reason(error));
            Err(Outcome::Retry { after: None, why: scrubber.scrub(&why) })
        }
        Ok(Err(error)) => {
            let why = format!("the exchange broke off: {}", http::reason(error));
            Err(Outcome::Unanswered { why: scrubber.scrub(&why) })
        }
        Err(_) => Err(Outcome::Unanswered { why: format!("no whole answer within {deadline}") }),
    }
}

impl Answer {
    /// The usual reading of a status: 2xx delivered; 408, 429 and 5xx again; all else refused for good.
    pub fn outcome(&self, word: Option<String>) -> Outcome {
        if self.status.is_success() {
            return Outcome::Delivered;
        }
        let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&self.status);
        if passing || self.status.is_server_error() {
            return Outcome::Retry { after: self.retry_after, why: self.why(word) };
        }
        Outcome::Rejected { why: self.why(word) }
    }

    /// `answered 404 Not Found: no_service`.
    pub fn why(&self, word: Option<String>) -> String {
        let mut why = format!("answered {}", self.status);
        if self.status.is_redirection() {
            why.push_str(" (redirects are not followed)");
        }
        if let Some(word) = word.filter(|word| !word.is_empty()) {
            why.push_str(": ");
            why.push_str(&word);
        }
        why
    }
}

async fn exchange(request: RequestBuilder, body_patience: Duration, now: Timestamp) -> reqwest::Result<Answer> {
    let stopwatch = Stopwatch::start();
    let response = request.send().await?;
    // What an answer says of time holds from when it came.
    let now = now + Duration::from_secs(stopwatch.elapsed_s() as i64);
    let status = response.status();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| retry_after(value, now));
    // The status has decided; an answer that breaks off or drags on after it only loses the receiver's word.
    let body = tokio::time::timeout(body_patience.to_std(), bounded_body(response)).await;
    Ok(Answer { status, retry_after, body: body.ok().and_then(Result::ok).unwrap_or_default() })
}

async fn bounded_body(mut response: Response) -> reqwest::Result<String> {
    let mut body = Vec::new();
    while body.len() < MAX_ANSWER_BYTES {
        let Some(chunk) = response.chunk().await? else { break };
        let room = MAX_ANSWER_BYTES - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// Seconds, or a date in one of the three forms of RFC 9110, section 5.6.7. What cannot be read is as if not said.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    const FORMS: [&str; 3] = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let value = value.trim();
    let wait = if value.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds: i64 = value.parse().ok()?;
        Duration::from_secs(seconds.min(MAX_RETRY_AFTER.ms() / 1000))
    } else {
        let date = FORMS.iter().find_map(|form| NaiveDateTime::parse_from_str(value, form).ok())?;
        Timestamp::from_unix_ms(date.and_utc().timestamp_millis()).since(now)
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_never_long() {
        // 1994-11-06 08:49:07, half a minute before the RFC's example.
        let now = Timestamp::from_unix_s(784_111_747);
        let wait = |value| retry_after(value, now).map(|wait| wait.to_string());
        for said in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "30"]
        {
            assert_eq!(wait(said).as_deref(), Some("30s"), "{said}");
        }
        assert_eq!(wait("86400").as_deref(), Some("1h"));
        assert_eq!(wait("Sun, 06 Nov 2044 08:49:37 GMT").as_deref(), Some("1h"));
        assert_eq!(wait("Tue, 06 Nov 1984 08:49:37 GMT").as_deref(), Some("0s"));
        for nonsense in ["", "-1", "1.5", "soon", "99999999999999999999", "Sun, 06 Nov", "0x10"] {
            assert_eq!(wait(nonsense), None, "{nonsense}");
        }
    }
}
