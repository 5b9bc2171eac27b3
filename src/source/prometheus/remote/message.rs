//! What is sent to remote read. Source: Prometheus' `prompb/remote.proto` and `types.proto`.

use prost::Message;

const STREAMED_XOR_CHUNKS: i32 = 1;

#[derive(Clone, PartialEq, Message)]
pub(super) struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    queries: Vec<Query>,
    #[prost(int32, repeated, tag = "2")]
    accepted_response_types: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Query {
    #[prost(int64, tag = "1")]
    pub start_timestamp_ms: i64,
    #[prost(int64, tag = "2")]
    pub end_timestamp_ms: i64,
    #[prost(message, repeated, tag = "3")]
    pub matchers: Vec<Matcher>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Matcher {
    /// Of `=`, `!=`, `=~` and `!~`, which one.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub value: String,
}

impl ReadRequest {
    /// Asks for chunks.
    pub fn of(queries: Vec<Query>) -> Self {
        Self { queries, accepted_response_types: vec![STREAMED_XOR_CHUNKS] }
    }

    /// The body of a request.
    pub fn packed(&self) -> Vec<u8> {
        // Compressing into memory cannot fail.
        snap::raw::Encoder::new().compress_vec(&self.encode_to_vec()).unwrap_or_default()
    }
}
