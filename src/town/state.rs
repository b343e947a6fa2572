//! `daemon/state.json`: the last tick, with the keys of the Go daemon, for `gt status` and
//! `gt daemon status`. Informational: nothing is decided by it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Town;
use super::json::{Object, time};
use crate::files;

/// The file, below the town's root.
pub const FILE: &str = "daemon/state.json";

/// The state. Keys that we do not know are kept.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Whether the town was up at the last tick.
    pub running: bool,
    /// The process of the last tick, which has ended.
    pub pid: i64,
    /// When the town came up.
    pub started_at: Option<Timestamp>,
    /// When the last tick was complete.
    pub last_heartbeat: Option<Timestamp>,
    /// How many ticks have been completed.
    pub heartbeat_count: i64,
    /// Since when ticks have been counted; the Go daemon has no such key.
    pub counted_since: Option<Timestamp>,
    file: Object,
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Time(#[serde(with = "time")] Option<Timestamp>);

/// Reads the file.
///
/// # Errors
/// The text is not the JSON of a state.
pub fn parse(text: &str) -> Result<State> {
    let file = Object::parse(text)?;
    let time = |key| -> Result<_> { Ok(file.get::<Time>(key)?.and_then(|time| time.0)) };
    Ok(State {
        running: file.get("running")?.unwrap_or_default(),
        pid: file.get("pid")?.unwrap_or_default(),
        started_at: time("started_at")?,
        last_heartbeat: time("last_heartbeat")?,
        heartbeat_count: file.get("heartbeat_count")?.unwrap_or_default(),
        counted_since: time("counted_since")?,
        file,
    })
}

fn path(town: &Town) -> PathBuf {
    town.path(FILE)
}

/// The state; the zero state when there is no file.
///
/// # Errors
/// The file is there and cannot be used; the error names it.
pub fn load(town: &Town) -> Result<State> {
    let path = path(town);
    match files::read(&path)? {
        Some(text) => parse(&text).with_context(|| format!("Cannot use '{}'", path.display())),
        None => Ok(State::default()),
    }
}

/// Notes that the town is down; everything else stays as the last tick left it. Without a file
/// there is nothing to note.
///
/// # Errors
/// The file cannot be used or written.
pub fn stopped(town: &Town) -> Result<()> {
    let mut state = load(town)?;
    if state.running {
        state.running = false;
        state.save(town)?;
    }
    Ok(())
}

impl State {
    /// Writes the state, atomically and durably.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(mut self, town: &Town) -> Result<()> {
        self.file.set("running", &self.running)?;
        self.file.set("pid", &self.pid)?;
        self.file.set("started_at", &Time(self.started_at))?;
        self.file
            .set("last_heartbeat", &Time(self.last_heartbeat))?;
        self.file.set("heartbeat_count", &self.heartbeat_count)?;
        if let Some(since) = self.counted_since {
            self.file.set("counted_since", &since)?;
        }
        files::write(&path(town), self.file.to_text()?.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn seed_files_load_and_keep_what_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        let town = Town::at(dir.path(), None).unwrap();
        assert_eq!(load(&town).unwrap().heartbeat_count, 0);
        let old = r#"{
  "running": true,
  "pid": 48213,
  "more": [1.50, {}],
  "started_at": "2026-01-16T09:00:00.000000001+01:00",
  "last_heartbeat": "0001-01-01T00:00:00Z",
  "heartbeat_count": 11
}"#;
        files::write(&path(&town), old.as_bytes()).unwrap();
        let mut state = load(&town).unwrap();
        assert_eq!((state.pid, state.last_heartbeat), (48213, None));
        state.heartbeat_count += 1;
        state.save(&town).unwrap();
        stopped(&town).unwrap();
        assert!(!load(&town).unwrap().running);
        state = load(&town).unwrap();
        state.running = true;
        state.save(&town).unwrap();
        assert_eq!(
            fs::read_to_string(path(&town)).unwrap(),
            old.replace(
                "2026-01-16T09:00:00.000000001+01:00",
                "2026-01-16T08:00:00.000000001Z"
            )
            .replace("11", "12")
                + "\n"
        );
    }

    #[test]
    fn a_first_state_has_all_keys() {
        let dir = tempfile::tempdir().unwrap();
        let town = Town::at(dir.path(), None).unwrap();
        State::default().save(&town).unwrap();
        assert_eq!(
            fs::read_to_string(path(&town)).unwrap(),
            "{\n  \"running\": false,\n  \"pid\": 0,\n  \"started_at\": \"0001-01-01T00:00:00Z\",\n  \
             \"last_heartbeat\": \"0001-01-01T00:00:00Z\",\n  \"heartbeat_count\": 0\n}\n"
        );
    }

    #[test]
    fn junk_is_an_error() {
        for text in [
            "",
            "[]",
            r#"{"running":"yes"}"#,
            r#"{"started_at":1}"#,
            r#"{"pid":"1"}"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
