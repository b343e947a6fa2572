//! JSON as Go programs write it: `null` for empty, and Go's zero time. And objects in which we
//! change one key and leave the rest exactly as it is written.

use std::fmt;

use anyhow::{Context, Result, anyhow, ensure};
use jiff::{SignedDuration, Timestamp};
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Go's zero time, `0001-01-01T00:00:00Z`.
const ZERO: &str = "0001-01-01T00:00:00Z";

/// Go's zero time and a day, in Unix seconds: an earlier time is the zero time in some zone.
const ZERO_DAY_END: i64 = -62_135_596_800 + 86_400;

/// Reads a document that is an object. serde alone would take an array for a struct too.
///
/// # Errors
/// The text is not the JSON of a `T`.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    ensure!(
        !text.starts_with('\u{feff}'),
        "it begins with a byte order mark, which JSON has not; save it as UTF-8 without one"
    );
    ensure!(
        text.trim_start().starts_with('{'),
        "it is not a JSON object"
    );
    serde_json::from_str(text).map_err(told)
}

/// How much of a parser's message is told, in characters: it may quote all of a file.
const TOLD: usize = 400;

/// What a parser says of a text.
pub(super) fn told(e: impl fmt::Display) -> anyhow::Error {
    let text: String = e.to_string().chars().take(TOLD).collect();
    anyhow!(text)
}

/// The longest duration of a setting, so that no sum of times and durations overflows.
pub const LONGEST: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Reads a duration such as `"5m"`: longer than nothing, at most 30 days.
///
/// # Errors
/// The text is no such duration.
pub fn duration(text: &str) -> Result<SignedDuration> {
    let bad = || format!("{text:?} is not a duration such as \"90s\", \"5m\" or \"1h 30m\"");
    let length: SignedDuration = text.parse().with_context(bad)?;
    ensure!(
        length.is_positive() && length <= LONGEST,
        "{text:?} is not between nothing and 720h"
    );
    Ok(length)
}

/// For `#[serde(deserialize_with)]`: `null` reads as the default, as in Go.
///
/// # Errors
/// The value is neither `null` nor a `T`.
pub fn nullable<'de, D, T>(de: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(de)?.unwrap_or_default())
}

/// For `#[serde(with)]`: a time of RFC 3339, with the zero time and `null` as `None`.
pub mod time {
    use super::*;

    /// Reads a time.
    ///
    /// # Errors
    /// The text is no time with a zone.
    pub fn deserialize<'de, D: Deserializer<'de>>(de: D) -> Result<Option<Timestamp>, D::Error> {
        let time: Option<Timestamp> = Option::deserialize(de)?;
        Ok(time.filter(|t| t.as_second() >= ZERO_DAY_END))
    }

    /// Writes a time in UTC, `None` as the zero time.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(time: &Option<Timestamp>, ser: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => ser.collect_str(time),
            None => ser.serialize_str(ZERO),
        }
    }
}

/// A JSON object that keeps what it is not told to change: the order of keys, unknown keys, and
/// every value as it was written.
#[derive(Debug, Clone, Default)]
pub struct Object(Vec<(String, Box<RawValue>)>);

impl Object {
    /// Reads an object.
    ///
    /// # Errors
    /// The text is not one JSON object.
    pub fn parse(text: &str) -> Result<Object> {
        parse(text)
    }

    /// The value of a key; `None` for a missing key and for `null`.
    ///
    /// # Errors
    /// The value is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        // As in Go, the last of several wins.
        let Some((_, raw)) = self.0.iter().rev().find(|(k, _)| k == key) else {
            return Ok(None);
        };
        serde_json::from_str(raw.get()).map_err(|e| told(format_args!("'{key}': {e}")))
    }

    /// Sets a key, in its place if it is there, else at the end.
    ///
    /// # Errors
    /// The value has no JSON form.
    pub fn set(&mut self, key: &str, value: &impl Serialize) -> Result<()> {
        let raw = serde_json::value::to_raw_value(value).with_context(|| format!("'{key}'"))?;
        let place = self.0.iter().position(|(k, _)| k == key);
        self.remove(key);
        let place = place.unwrap_or(self.0.len());
        self.0.insert(place, (key.to_string(), raw));
        Ok(())
    }

    /// Removes a key; tells whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(k, _)| k != key);
        self.0.len() < before
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The object as text, indented by two spaces, with a newline at the end.
    ///
    /// # Errors
    /// Never in practice: every value has been JSON before.
    pub fn to_text(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, ser: S) -> Result<S::Ok, S::Error> {
        let mut map = ser.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Object;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Object(entries))
            }
        }
        de.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_changes_nothing_else() {
        let text = r#"{"z":1e400,"big":12345678901234567890123,"f":1.50,"a":{"y":1, "x":[ 2.0 ]},"flag":true,"z2":null}"#;
        let mut object = Object::parse(text).unwrap();
        object.set("flag", &false).unwrap();
        object.set("new", &"x\ny").unwrap();
        assert!(object.remove("z2"));
        assert!(!object.remove("z2"));
        assert_eq!(
            object.to_text().unwrap(),
            r#"{
  "z": 1e400,
  "big": 12345678901234567890123,
  "f": 1.50,
  "a": {"y":1, "x":[ 2.0 ]},
  "flag": false,
  "new": "x\ny"
}
"#
        );
    }

    #[test]
    fn get_tells_missing_from_wrong() {
        let object = Object::parse(r#"{"a":1,"b":null,"c":"x","a":2}"#).unwrap();
        for (key, want) in [("a", Ok(Some(2))), ("b", Ok(None)), ("d", Ok(None))] {
            assert_eq!(object.get::<i64>(key).map_err(|e| e.to_string()), want);
        }
        let error = object.get::<i64>("c").unwrap_err().to_string();
        assert!(error.starts_with("'c': invalid type: string"), "{error}");
        let mut object = object;
        object.set("a", &3).unwrap();
        assert_eq!(object.get("a").unwrap(), Some(3));
    }

    #[test]
    fn only_objects_are_objects() {
        for text in ["", "[]", "null", "{", "{} {}", "{\"a\"}", "\u{0}"] {
            assert!(Object::parse(text).is_err(), "{text}");
        }
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Object::parse(&deep).unwrap().get::<i64>("b").unwrap(), None);
    }

    #[test]
    fn a_message_does_not_quote_a_whole_file() {
        let text = format!(r#"{{"at":"{}"}}"#, "x".repeat(1 << 20));
        let error = parse::<Times>(&text).unwrap_err().to_string();
        assert!(error.len() < 1000, "{}", error.len());
        let error = Object::parse(&text).unwrap().get::<i64>("at").unwrap_err();
        assert!(error.to_string().len() < 1000);
    }

    #[derive(Deserialize, Serialize, Debug, PartialEq)]
    struct Times {
        #[serde(with = "time", default)]
        at: Option<Timestamp>,
    }

    #[test]
    fn times_of_go() {
        for (text, want) in [
            (r#"{"at":"0001-01-01T00:00:00Z"}"#, Ok(ZERO)),
            (r#"{"at":null}"#, Ok(ZERO)),
            ("{}", Ok(ZERO)),
            (
                r#"{"at":"2026-01-16T09:30:00.123456789+01:00"}"#,
                Ok("2026-01-16T08:30:00.123456789Z"),
            ),
            (
                r#"{"at":"2026-01-16T09:30:00.5Z"}"#,
                Ok("2026-01-16T09:30:00.5Z"),
            ),
            (r#"{"at":"2026-01-16T09:30:00"}"#, Err(())),
            (r#"{"at":"soon"}"#, Err(())),
            (r#"{"at":1768552200}"#, Err(())),
        ] {
            let got = serde_json::from_str::<Times>(text)
                .map(|times| serde_json::to_string(&times).unwrap());
            let want = want.map(|at| format!(r#"{{"at":"{at}"}}"#));
            assert_eq!(got.map_err(|_| ()), want, "{text}");
        }
    }
}
