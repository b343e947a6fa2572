//! What is known of waiting spawns from one run to the next: `daemon/spawn/state.json`. One file
//! for all, so that a pass writes at most once before it types, however many it types to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::files;
use crate::tmux::Pane;

/// What is known of a spawn besides what its writer said; it outlives the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Names this arrival of the spawn, in hexadecimal digits.
    pub id: String,
    /// When the spawn fails, if its agent is not ready by then.
    pub deadline: Timestamp,
    /// Where its agent was seen.
    #[serde(default)]
    pub seen: Option<Seen>,
    /// The word may have been typed there: written before the attempt.
    #[serde(default)]
    pub typing: bool,
}

/// A process in a pane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The pid of the tmux server.
    pub server: u32,
    /// The pane's id, which the server does not use again.
    pub pane: String,
    /// The pid of the pane's process.
    pub pid: u32,
    /// Since when.
    pub at: Timestamp,
}

impl Record {
    /// The record of a spawn that is read for the first time and may take `patience`.
    pub fn new(
        id: &str,
        spawned_at: Option<Timestamp>,
        patience: SignedDuration,
        now: Timestamp,
    ) -> Record {
        // A time from the future says nothing.
        let begin = spawned_at.filter(|t| *t <= now).unwrap_or(now);
        Record {
            id: id.to_string(),
            deadline: begin.saturating_add(patience).unwrap_or(now),
            seen: None,
            typing: false,
        }
    }

    /// Gives the spawn more time.
    pub fn extend(&mut self, by: SignedDuration) {
        let deadline = self.deadline.saturating_add(by);
        self.deadline = deadline.unwrap_or(self.deadline);
    }

    /// Bounds the time that the spawn has left: only a clock that was set back makes that longer.
    pub fn bound(&mut self, patience: SignedDuration, now: Timestamp) {
        let latest = now.saturating_add(patience);
        self.deadline = self.deadline.min(latest.unwrap_or(self.deadline));
    }

    /// Notes where the agent is now. Where the word may have been typed is not forgotten.
    pub fn see(&mut self, pane: &Pane, now: Timestamp) {
        // From a time in the future on, of a clock that was set back, nothing would pass for long.
        let same = |s: &Seen| {
            (s.server, &s.pane, s.pid) == (pane.server, &pane.id, pane.pid) && s.at <= now
        };
        if !self.typing && !self.seen.as_ref().is_some_and(same) {
            self.seen = Some(Seen {
                server: pane.server,
                pane: pane.id.clone(),
                pid: pane.pid,
                at: now,
            });
        }
    }
}

/// The records by id, and their file.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    written: BTreeMap<String, Record>,
    /// What is to be written next.
    pub records: BTreeMap<String, Record>,
}

impl State {
    /// Reads the file. A broken file is put aside. Nothing is typed twice without it, as long as
    /// the tmux server lives, because the marks of the panes tell what was typed.
    ///
    /// # Errors
    /// The file cannot be read, or not be put aside.
    pub fn load(path: &Path) -> Result<State> {
        let aside = path.with_extension("broken");
        let parse = |text: &str| Ok(serde_json::from_str::<BTreeMap<String, Record>>(text)?);
        let records = files::read_own(path, &aside, parse)?;
        Ok(State {
            path: path.to_path_buf(),
            written: records.clone(),
            records,
        })
    }

    /// Gives every spawn more time: nobody looked for so long.
    pub fn extend(&mut self, gap: SignedDuration) {
        for record in self.records.values_mut() {
            record.extend(gap);
        }
    }

    /// Writes the records durably, unless the file has them already.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&mut self) -> Result<()> {
        if self.records != self.written {
            let text = serde_json::to_string_pretty(&self.records)? + "\n";
            files::write(&self.path, text.as_bytes())?;
            self.written = self.records.clone();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_outlive_the_program_and_a_broken_file_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let minutes = SignedDuration::from_mins;
        let mut state = State::load(&path).unwrap();
        state.save().unwrap();
        assert!(!path.exists());
        let record = Record::new("a1", None, minutes(5), now);
        state.records.insert("a1".into(), record);
        state.save().unwrap();

        let mut again = State::load(&path).unwrap();
        assert_eq!(again.records, state.records);
        again.extend(minutes(10));
        let deadline = "2026-01-01T00:15:00Z".parse().unwrap();
        assert_eq!(again.records["a1"].deadline, deadline);

        // A clock that was set back gives no spawn more time.
        let mut record = again.records["a1"].clone();
        record.bound(minutes(20), now);
        assert_eq!(record.deadline, deadline);
        record.bound(minutes(5), now);
        assert_eq!(record.deadline, now + minutes(5));

        for broken in [&b"{"[..], b"\xff\xfe"] {
            std::fs::write(&path, broken).unwrap();
            assert!(State::load(&path).unwrap().records.is_empty());
            let aside = std::fs::read(dir.path().join("state.broken")).unwrap();
            assert!(aside == broken && !path.exists());
        }
        // What cannot be read is not broken.
        std::os::unix::fs::symlink("/nowhere", &path).unwrap();
        assert!(State::load(&path).is_err() && path.is_symlink());
    }
}
