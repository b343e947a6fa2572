//! The Deacon's files: `deacon/heartbeat.json`, written by `gt deacon heartbeat` and by
//! `gastownctl heartbeat`, and `.runtime/deacon/paused.json`, written by `gt deacon pause`.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::time::SystemTime;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use super::Town;
use super::json::{self, nullable, time};
use crate::files;

/// The heartbeat, below the town's root.
pub const HEARTBEAT: &str = "deacon/heartbeat.json";

/// An empty file with the time of the last heartbeat as its own, for shell scripts.
const STAMP: &str = "deacon/.deacon-heartbeat";

/// The pause, below the town's root.
const PAUSED: &str = ".runtime/deacon/paused.json";

/// The Deacon's heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Heartbeat {
    /// When the heartbeat was written; `None` when it does not say.
    #[serde(with = "time")]
    pub timestamp: Option<Timestamp>,
    /// How many heartbeats there have been.
    #[serde(deserialize_with = "nullable")]
    pub cycle: i64,
    /// What the Deacon did last, in its words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_action: Option<String>,
    /// How many agents the Deacon found well.
    #[serde(deserialize_with = "nullable")]
    pub healthy_agents: i64,
    /// How many agents the Deacon found not well.
    #[serde(deserialize_with = "nullable")]
    pub unhealthy_agents: i64,
}

/// How old a heartbeat is, by the thresholds of [`super::ours::Ours`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Younger than `stale`.
    Fresh,
    /// From `stale` on.
    Stale,
    /// From `very_stale` on; also a heartbeat that is missing or not readable.
    VeryStale,
    /// The heartbeat's time lies in the future, so that its age is not known.
    Unknown,
}

/// Judges the time of a heartbeat, `None` for one that is missing or not readable.
pub fn freshness(
    timestamp: Option<Timestamp>,
    now: Timestamp,
    stale: SignedDuration,
    very_stale: SignedDuration,
) -> Freshness {
    match timestamp.map(|timestamp| now.duration_since(timestamp)) {
        Some(age) if age.is_negative() => Freshness::Unknown,
        Some(age) if age < stale => Freshness::Fresh,
        Some(age) if age < very_stale => Freshness::Stale,
        _ => Freshness::VeryStale,
    }
}

/// Reads a heartbeat.
///
/// # Errors
/// The text is not the JSON of a heartbeat.
pub fn parse(text: &str) -> Result<Heartbeat> {
    json::parse(text)
}

/// The heartbeat, `None` when there is none.
///
/// # Errors
/// The file is there and cannot be used; the error names it.
pub fn load(town: &Town) -> Result<Option<Heartbeat>> {
    let path = town.path(HEARTBEAT);
    files::read(&path)?
        .map(|text| parse(&text))
        .transpose()
        .with_context(|| format!("Cannot use '{}'", path.display()))
}

/// Writes the next heartbeat. Of the one before, only `cycle` counts on; a broken one counts as
/// none, as in Gas Town.
///
/// # Errors
/// The file cannot be written.
pub fn touch(
    town: &Town,
    action: Option<&str>,
    healthy: i64,
    unhealthy: i64,
    now: Timestamp,
) -> Result<Heartbeat> {
    let before = load(town).ok().flatten().unwrap_or_default();
    let heartbeat = Heartbeat {
        timestamp: Some(now),
        cycle: before.cycle.saturating_add(1),
        last_action: action.map(String::from),
        healthy_agents: healthy,
        unhealthy_agents: unhealthy,
    };
    let text = serde_json::to_string_pretty(&heartbeat)?;
    files::write(&town.path(HEARTBEAT), text.as_bytes())?;
    let stamp = town.path(STAMP);
    OpenOptions::new()
        .create(true)
        .append(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(&stamp)
        .and_then(|file| file.set_modified(SystemTime::now()))
        .with_context(|| format!("Failed to touch '{}'", stamp.display()))?;
    Ok(heartbeat)
}

/// A pause of the Deacon: while it lasts, the Deacon is neither judged nor poked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pause {
    #[serde(deserialize_with = "nullable")]
    paused: bool,
    /// Why, in a person's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when.
    #[serde(with = "time")]
    pub paused_at: Option<Timestamp>,
    /// By whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_by: Option<String>,
}

/// Reads a pause; `None` when the file says that there is none.
///
/// # Errors
/// The text is not the JSON of a pause.
pub fn parse_pause(text: &str) -> Result<Option<Pause>> {
    let pause: Pause = json::parse(text)?;
    Ok(pause.paused.then_some(pause))
}

/// The pause of the Deacon, if there is one.
///
/// # Errors
/// The file is there and cannot be used; the error names it.
pub fn paused(town: &Town) -> Result<Option<Pause>> {
    let path = town.path(PAUSED);
    files::read(&path)?
        .map_or(Ok(None), |text| parse_pause(&text))
        .with_context(|| format!("Cannot use '{}'; mend or remove it", path.display()))
}

/// Pauses the Deacon.
///
/// # Errors
/// The file cannot be written.
pub fn pause(town: &Town, reason: Option<&str>, by: Option<&str>, now: Timestamp) -> Result<()> {
    let pause = Pause {
        paused: true,
        reason: reason.map(String::from),
        paused_at: Some(now),
        paused_by: by.map(String::from),
    };
    let text = serde_json::to_string_pretty(&pause)?;
    files::write(&town.path(PAUSED), text.as_bytes())
}

/// Ends the pause; tells whether there was a file.
///
/// # Errors
/// The file cannot be removed.
pub fn resume(town: &Town) -> Result<bool> {
    files::remove(&town.path(PAUSED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn heartbeats() {
        let full = r#"{"timestamp":"2026-01-16T09:29:10+01:00","cycle":42,
            "last_action":"patrol","healthy_agents":3,"unhealthy_agents":1,"more":0.5}"#;
        let heartbeat = parse(full).unwrap();
        assert_eq!(heartbeat.timestamp, Some(at("2026-01-16T08:29:10Z")));
        assert_eq!((heartbeat.cycle, heartbeat.healthy_agents), (42, 3));
        for text in ["{}", r#"{"timestamp":"0001-01-01T00:00:00Z","cycle":null}"#] {
            assert_eq!(parse(text).unwrap(), Heartbeat::default(), "{text}");
        }
        for text in [
            "",
            "null",
            "[]",
            r#"{"timestamp":"yesterday"}"#,
            r#"{"cycle":"1"}"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn touching_counts_and_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let town = Town::at(dir.path(), None).unwrap();
        let now = at("2026-01-16T09:29:10.5Z");
        assert_eq!(load(&town).unwrap(), None);
        touch(&town, Some("patrol"), 3, 1, now).unwrap();
        touch(&town, None, 0, 0, now).unwrap();
        let path = town.path(HEARTBEAT);
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\n  \"timestamp\": \"2026-01-16T09:29:10.5Z\",\n  \"cycle\": 2,\n  \
             \"healthy_agents\": 0,\n  \"unhealthy_agents\": 0\n}"
        );
        assert_eq!(fs::metadata(town.path(STAMP)).unwrap().len(), 0);
        fs::write(&path, "junk").unwrap();
        assert!(load(&town).is_err());
        assert_eq!(touch(&town, None, 0, 0, now).unwrap().cycle, 1);
    }

    #[test]
    fn ages() {
        let now = at("2026-01-16T10:00:00Z");
        let mins = SignedDuration::from_mins;
        for (timestamp, want) in [
            (Some("2026-01-16T10:00:00Z"), Freshness::Fresh),
            (Some("2026-01-16T09:58:00.001Z"), Freshness::Fresh),
            (Some("2026-01-16T09:58:00Z"), Freshness::Stale),
            (Some("2026-01-16T09:55:00Z"), Freshness::VeryStale),
            (Some("-009999-06-02T00:00:00Z"), Freshness::VeryStale),
            (Some("2026-01-16T10:00:00.001Z"), Freshness::Unknown),
            (Some("9999-12-01T00:00:00Z"), Freshness::Unknown),
            (None, Freshness::VeryStale),
        ] {
            let got = freshness(timestamp.map(at), now, mins(2), mins(5));
            assert_eq!(got, want, "{timestamp:?}");
        }
    }

    #[test]
    fn pauses() {
        let dir = tempfile::tempdir().unwrap();
        let town = Town::at(dir.path(), None).unwrap();
        assert_eq!(paused(&town).unwrap(), None);
        pause(&town, Some("maintenance"), None, at("2026-01-16T10:00:00Z")).unwrap();
        let reason = paused(&town).unwrap().unwrap().reason;
        assert_eq!(reason.as_deref(), Some("maintenance"));
        assert!(resume(&town).unwrap());
        assert!(!resume(&town).unwrap());
        for (text, want) in [
            (r#"{"paused":false}"#, Ok(false)),
            ("{}", Ok(false)),
            (
                r#"{"paused":true,"paused_at":"0001-01-01T00:00:00Z"}"#,
                Ok(true),
            ),
            (r#"{"paused":1}"#, Err(())),
            ("", Err(())),
        ] {
            let got = parse_pause(text).map(|pause| pause.is_some());
            assert_eq!(got.map_err(|_| ()), want, "{text}");
        }
    }
}
