//! Windows as bytes: a format version, then postcard. What was written in another format is of no use, and is not read.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Changes with any change of what is written.
const FORMAT: u8 = 1;

/// `None` if it cannot be written, which no windows are known for.
pub fn encode<T: Serialize>(windows: &T) -> Option<Vec<u8>> {
    let mut bytes = vec![FORMAT];
    bytes.extend(postcard::to_allocvec(windows).ok()?);
    Some(bytes)
}

pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (format, rest) = bytes.split_first()?;
    postcard::from_bytes(rest).ok().filter(|_| *format == FORMAT)
}
