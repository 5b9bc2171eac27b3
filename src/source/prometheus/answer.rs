//! The shape of the HTTP API's answers, read row by row: no row is kept longer than its reader wants it.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use crate::engine::histogram::Labels;
use crate::source::error::{SourceError, quote};
use crate::source::series::Warnings;

/// What an answer says beside its rows.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub warnings: Warnings,
    /// VictoriaMetrics' `isPartial`, or any warning.
    pub partial: bool,
}

/// One series of an instant query's answer.
#[derive(Debug, Deserialize)]
pub(super) struct VectorRow<'a> {
    #[serde(borrow)]
    pub metric: Metric<'a>,
    pub value: Option<Point>,
    /// A native histogram.
    pub histogram: Option<IgnoredAny>,
}

/// One series of a range query's answer.
#[derive(Debug, Deserialize)]
pub(super) struct MatrixRow<'a> {
    #[serde(borrow)]
    pub metric: Metric<'a>,
    pub values: Vec<Point>,
}

/// Unix seconds and a value written as a string.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Point(pub f64, #[serde(deserialize_with = "number_text")] pub f64);

/// A series' labels without `__name__` and `le`, sorted, and the `le`.
#[derive(Debug)]
pub(super) struct Metric<'a> {
    pub labels: Key<'a>,
    /// As written; empty if there is none.
    pub le: Cow<'a, str>,
}

pub(super) type Key<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

impl Metric<'_> {
    /// The bucket's upper bound in seconds; NaN if there is no number.
    pub fn bound(&self) -> f64 {
        self.le.parse().unwrap_or(f64::NAN)
    }
}

/// The rows an answer must have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shape {
    /// `data` is an object with this `resultType`.
    Result(&'static str),
    /// `data` is the array of rows itself.
    Plain,
}

/// Hands every row of `body` to `each`.
pub(super) fn read<'a, R: Deserialize<'a>>(
    body: &'a [u8],
    shape: Shape,
    each: impl FnMut(R),
) -> Result<Notes, SourceError> {
    let mut reader = Reader { shape, each, rows: PhantomData };
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = reader.envelope(&mut json).and_then(|envelope| json.end().map(|()| envelope));
    let envelope = read.map_err(|error| misread(body, &error))?;
    if envelope.status != "success" {
        let kind = quote(&envelope.error_type.unwrap_or_default());
        let message = quote(&envelope.error.unwrap_or_default());
        return Err(SourceError::Api { status: 200, kind, message });
    }
    if !envelope.has_data {
        return Err(SourceError::WrongShape("there is no \"data\"".into()));
    }
    let partial = envelope.is_partial || !envelope.warnings.is_empty();
    let mut warnings = Warnings::default();
    envelope.warnings.iter().for_each(|warning| warnings.push(warning));
    Ok(Notes { warnings, partial })
}

/// An error of the API's own making, if `body` holds one.
pub(super) fn refusal(status: u16, body: &[u8]) -> Option<SourceError> {
    #[derive(Deserialize)]
    struct Refusal {
        #[serde(rename = "errorType")]
        error_type: String,
        #[serde(default)]
        error: String,
    }
    let refusal: Refusal = serde_json::from_slice(body).ok()?;
    Some(SourceError::Api { status, kind: quote(&refusal.error_type), message: quote(&refusal.error) })
}

pub(super) fn misread(body: &[u8], error: &serde_json::Error) -> SourceError {
    let is_json = body.trim_ascii_start().first().is_some_and(|byte| matches!(byte, b'{' | b'['));
    match error.classify() {
        Category::Eof if is_json => SourceError::Truncated(quote(&error.to_string())),
        Category::Data => SourceError::WrongShape(quote(&error.to_string())),
        _ if is_json => SourceError::NotJson(quote(&error.to_string())),
        _ => SourceError::NotJson(quote(&String::from_utf8_lossy(&body[..body.len().min(1000)]))),
    }
}

#[derive(Default)]
struct Envelope {
    status: String,
    has_data: bool,
    error_type: Option<String>,
    error: Option<String>,
    warnings: Vec<String>,
    is_partial: bool,
}

struct Reader<R, F> {
    shape: Shape,
    each: F,
    rows: PhantomData<fn(R)>,
}

impl<'de, R: Deserialize<'de>, F: FnMut(R)> Reader<R, F> {
    fn envelope<D: Deserializer<'de>>(&mut self, json: D) -> Result<Envelope, D::Error> {
        json.deserialize_map(InEnvelope(self))
    }
}

struct InEnvelope<'r, R, F>(&'r mut Reader<R, F>);

impl<'de, R: Deserialize<'de>, F: FnMut(R)> Visitor<'de> for InEnvelope<'_, R, F> {
    type Value = Envelope;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with \"status\" and \"data\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match &*key.0 {
                "status" => envelope.status = map.next_value()?,
                "data" => envelope.has_data |= map.next_value_seed(InData(self.0))?,
                "errorType" => envelope.error_type = map.next_value()?,
                "error" => envelope.error = map.next_value()?,
                "warnings" => envelope.warnings = map.next_value::<Option<_>>()?.unwrap_or_default(),
                "isPartial" => envelope.is_partial = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(envelope)
    }
}

/// `data`: whether it is there at all.
struct InData<'r, R, F>(&'r mut Reader<R, F>);

impl<'de, R: Deserialize<'de>, F: FnMut(R)> DeserializeSeed<'de> for InData<'_, R, F> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, R: Deserialize<'de>, F: FnMut(R)> Visitor<'de> for InData<'_, R, F> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.shape {
            Shape::Result(kind) => write!(f, "an object with a {kind} in \"result\""),
            Shape::Plain => f.write_str("an array of series"),
        }
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let Shape::Result(wanted) = self.0.shape else { return Err(A::Error::custom("\"data\" is not an array")) };
        let mut found = false;
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match &*key.0 {
                "resultType" => {
                    let kind: Text<'de> = map.next_value()?;
                    if kind.0 != wanted {
                        return Err(A::Error::custom(format!("it is a {:?}, not a {wanted:?}", quote(&kind.0))));
                    }
                }
                "result" => found |= map.next_value_seed(InRows(self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<bool, A::Error> {
        match self.0.shape {
            Shape::Plain => InRows(self.0).visit_seq(seq),
            Shape::Result(_) => Err(A::Error::custom("\"data\" is not an object")),
        }
    }
}

struct InRows<'r, R, F>(&'r mut Reader<R, F>);

impl<'de, R: Deserialize<'de>, F: FnMut(R)> DeserializeSeed<'de> for InRows<'_, R, F> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de, R: Deserialize<'de>, F: FnMut(R)> Visitor<'de> for InRows<'_, R, F> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of series")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        while let Some(row) = seq.next_element::<R>()? {
            (self.0.each)(row);
        }
        Ok(true)
    }
}

/// A string, borrowed from the answer unless it holds escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_str(InText)
    }
}

struct InText;

impl<'de> Visitor<'de> for InText {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Metric<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(InMetric)
    }
}

struct InMetric;

impl<'de> Visitor<'de> for InMetric {
    type Value = Metric<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of labels")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metric<'de>, A::Error> {
        let mut metric = Metric { labels: Vec::new(), le: Cow::Borrowed("") };
        while let Some((name, value)) = map.next_entry::<Text<'de>, Text<'de>>()? {
            match &*name.0 {
                "__name__" => {}
                "le" => metric.le = value.0,
                _ => metric.labels.push((name.0, value.0)),
            }
        }
        metric.labels.sort_unstable();
        Ok(metric)
    }
}

fn number_text<'de, D: Deserializer<'de>>(json: D) -> Result<f64, D::Error> {
    let Text(text) = Text::deserialize(json)?;
    text.parse().map_err(|_| D::Error::custom(format!("{:?} is not a number", quote(&text))))
}

/// Labels that outlive the answer.
pub(super) fn owned(labels: Key<'_>) -> Labels {
    labels.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}
