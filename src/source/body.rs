//! Sending a request and reading its answer: never more of it than allowed, and every failure with its type.

use prost::bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{RequestBuilder, Response, Url};

use super::error::{SourceError, quote};

/// How much of an error's text is read, in bytes.
const ERROR_BODY_BYTES: usize = 64 * 1024;
/// About how many bytes of lines are handed over at once.
const LINES_BYTES: usize = 1 << 20;

/// An answer that was read to its end.
pub(super) struct Answer {
    pub status: u16,
    pub content_type: String,
    /// Decompressed.
    pub body: Vec<u8>,
}

/// A success that is read as it comes.
pub(super) struct Pieces {
    response: Response,
    /// How much more may come.
    left_bytes: usize,
    max_bytes: usize,
}

/// The same, line by line.
pub(super) struct Lines {
    pieces: Pieces,
    /// The beginning of a line.
    rest: Vec<u8>,
}

/// Sends and reads. `max_bytes` counts decompressed bytes. Knows no deadline: the caller wraps it in one.
pub(super) async fn fetch(request: RequestBuilder, max_bytes: usize) -> Result<Answer, SourceError> {
    whole(send(request).await?, max_bytes).await
}

/// The same, but a success is read as it comes; anything else is the error's answer.
pub(super) async fn pieces(request: RequestBuilder, max_bytes: usize) -> Result<Result<Pieces, Answer>, SourceError> {
    let response = send(request).await?;
    if !response.status().is_success() {
        return whole(response, max_bytes).await.map(Err);
    }
    if response.content_length().is_some_and(|announced| announced > max_bytes as u64) {
        return Err(SourceError::TooLarge { limit_bytes: max_bytes });
    }
    Ok(Ok(Pieces { response, left_bytes: max_bytes, max_bytes }))
}

pub(super) async fn lines(request: RequestBuilder, max_bytes: usize) -> Result<Result<Lines, Answer>, SourceError> {
    let pieces = pieces(request, max_bytes).await?;
    Ok(pieces.map(|pieces| Lines { pieces, rest: Vec::new() }))
}

impl Pieces {
    pub fn content_type(&self) -> &str {
        content_type(&self.response)
    }

    /// What comes next, decompressed; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        let piece = self.response.chunk().await;
        let Some(piece) = piece.map_err(|error| SourceError::Truncated(crate::http::reason(error)))? else {
            return Ok(None);
        };
        let too_large = SourceError::TooLarge { limit_bytes: self.max_bytes };
        self.left_bytes = self.left_bytes.checked_sub(piece.len()).ok_or(too_large)?;
        Ok(Some(piece))
    }
}

impl Lines {
    /// Some lines, each with its end; `None` after the last. An answer that ends inside a line is cut off.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, SourceError> {
        loop {
            let Some(piece) = self.pieces.next().await? else {
                return match self.rest.last() {
                    None => Ok(None),
                    Some(b'\n') => Ok(Some(std::mem::take(&mut self.rest))),
                    Some(_) => Err(SourceError::Truncated("it ends inside a line".into())),
                };
            };
            self.rest.extend_from_slice(&piece);
            // Many lines at once cost fewer turns.
            if self.rest.len() >= LINES_BYTES
                && let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n')
            {
                let rest = self.rest.split_off(end + 1);
                return Ok(Some(std::mem::replace(&mut self.rest, rest)));
            }
        }
    }
}

async fn send(request: RequestBuilder) -> Result<Response, SourceError> {
    let response = request.send().await.map_err(before_answer)?;
    let status = response.status();
    if status.is_redirection() {
        return Err(SourceError::Redirect { status: status.as_u16(), location: location(&response) });
    }
    Ok(response)
}

async fn whole(response: Response, max_bytes: usize) -> Result<Answer, SourceError> {
    let status = response.status();
    let content_type = content_type(&response).to_owned();
    let body = match status.is_success() {
        true => read(response, max_bytes).await?,
        false => read_start(response, ERROR_BODY_BYTES.min(max_bytes)).await,
    };
    Ok(Answer { status: status.as_u16(), content_type, body })
}

fn content_type(response: &Response) -> &str {
    let header = response.headers().get(CONTENT_TYPE);
    header.and_then(|value| value.to_str().ok()).unwrap_or_default()
}

async fn read(mut response: Response, max_bytes: usize) -> Result<Vec<u8>, SourceError> {
    let too_large = SourceError::TooLarge { limit_bytes: max_bytes };
    let announced = response.content_length().unwrap_or(0);
    if announced > max_bytes as u64 {
        return Err(too_large);
    }
    let mut body = Vec::with_capacity(announced as usize);
    while let Some(chunk) =
        response.chunk().await.map_err(|error| SourceError::Truncated(crate::http::reason(error)))?
    {
        if body.len() + chunk.len() > max_bytes {
            return Err(too_large);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The beginning of a body that only explains an error; a broken one is as good as it came.
async fn read_start(mut response: Response, max_bytes: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = max_bytes - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() >= room {
            break;
        }
    }
    body
}

fn before_answer(error: reqwest::Error) -> SourceError {
    let connect = error.is_connect();
    let request = error.is_builder();
    let reason = quote(&crate::http::reason(error));
    match (request, connect) {
        (true, _) => SourceError::Request(reason),
        (_, true) => SourceError::Connect(reason),
        // The connection stood and broke before the headers were whole.
        _ => SourceError::Truncated(reason),
    }
}

/// Where a redirect points, without user, password and query.
fn location(response: &Response) -> String {
    let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let joined = target.and_then(|target| response.url().join(target).ok());
    joined.map_or_else(
        || "nowhere".into(),
        |url: Url| quote(&format!("{}{}", url.origin().ascii_serialization(), url.path())),
    )
}
