//! Floats that come back from JSON exactly as they were, those included that JSON has no number for.
//!
//! For `#[serde(with = "exact")]`. Finite numbers stay numbers.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

const NAN: &str = "NaN";
const INFINITE: &str = "+Inf";
const MINUS_INFINITE: &str = "-Inf";

/// Whether it is one of the words that stand for what JSON has no number for.
pub fn is_no_number(word: &str) -> bool {
    matches!(word, NAN | INFINITE | MINUS_INFINITE)
}

pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match *value {
        value if value.is_finite() => serializer.serialize_f64(value),
        value if value.is_nan() => serializer.serialize_str(NAN),
        value => serializer.serialize_str(if value > 0.0 { INFINITE } else { MINUS_INFINITE }),
    }
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    deserializer.deserialize_any(Number)
}

/// Three of them, or none.
pub mod three {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Exact(#[serde(with = "super")] f64);

    pub fn serialize<S: Serializer>(values: &Option<[f64; 3]>, serializer: S) -> Result<S::Ok, S::Error> {
        values.map(|values| values.map(Exact)).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[f64; 3]>, D::Error> {
        let values = Option::<[Exact; 3]>::deserialize(deserializer)?;
        Ok(values.map(|values| values.map(|Exact(value)| value)))
    }
}

struct Number;

impl Visitor<'_> for Number {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number, '{NAN}', '{INFINITE}' or '{MINUS_INFINITE}'")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<f64, E> {
        match word {
            NAN => Ok(f64::NAN),
            INFINITE => Ok(f64::INFINITY),
            MINUS_INFINITE => Ok(f64::NEG_INFINITY),
            _ => Err(E::invalid_value(serde::de::Unexpected::Str(word), &self)),
        }
    }
}
