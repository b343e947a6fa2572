//! `daemon/agents/<instance>`: what `gt-agent` last noted of an agent, for the ticks after its
//! end. The manager forgets a unit that is down and has not failed.
//!
//! One line: the word, a tab, the time. There is no file for an agent that ended for good.

use std::path::PathBuf;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Town;
use crate::agent::Agent;
use crate::files;

/// The directory, below the town's root.
pub const DIR: &str = "daemon/agents";

/// What was noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Left {
    /// A polecat, or crew that somebody has started in its unit, has begun its work and not ended it.
    AtWork,
    /// The agent ended with status 75 then: it asks to be left alone for a while.
    Waiting(Timestamp),
    /// Somebody closed its session then.
    Closed(Timestamp),
}

/// The note of one agent.
#[derive(Debug, Clone)]
pub struct Note(PathBuf);

impl Note {
    /// Where the agent's note is, or would be.
    pub fn of(town: &Town, agent: &Agent) -> Note {
        Note(town.path(DIR).join(agent.instance()))
    }

    /// The note; `None`: there is none, or it says nothing that is known.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn load(&self) -> Result<Option<Left>> {
        let text = files::read_untrusted(&self.0, files::ENTRY_LIMIT)
            .with_context(|| format!("'{}'", self.0.display()))?;
        Ok(text.as_deref().and_then(parse))
    }

    /// Writes the note, atomically and durably.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, left: Left) -> Result<()> {
        let (word, time) = match left {
            Left::AtWork => ("at-work", Timestamp::now()),
            Left::Waiting(time) => ("waiting", time),
            Left::Closed(time) => ("closed", time),
        };
        files::write(&self.0, format!("{word}\t{time}\n").as_bytes())
    }

    /// Removes the note, if there is one.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn forget(&self) -> Result<()> {
        files::remove(&self.0).map(drop)
    }
}

fn parse(text: &str) -> Option<Left> {
    let (word, time) = text.trim_end().split_once('\t')?;
    let time = time.parse().ok()?;
    match word {
        "at-work" => Some(Left::AtWork),
        "waiting" => Some(Left::Waiting(time)),
        "closed" => Some(Left::Closed(time)),
        _ => None,
    }
}

/// Forgets which sessions were closed: somebody has the town come up.
///
/// # Errors
/// A note cannot be removed.
pub fn forget_closed(town: &Town) -> Result<()> {
    let entries = std::fs::read_dir(town.path(DIR)).into_iter().flatten();
    for entry in entries.flatten() {
        let note = Note(entry.path());
        if matches!(note.load(), Ok(Some(Left::Closed(_)))) {
            note.forget()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back_and_junk_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let town = Town::at(dir.path(), None).unwrap();
        let note = Note::of(&town, &Agent::parse("a/polecats/nux").unwrap());
        let at: Timestamp = "2026-01-16T10:00:00Z".parse().unwrap();
        assert_eq!(note.load().unwrap(), None);
        for left in [Left::AtWork, Left::Waiting(at), Left::Closed(at)] {
            note.save(left).unwrap();
            assert_eq!(note.load().unwrap(), Some(left));
        }
        forget_closed(&town).unwrap();
        assert_eq!(note.load().unwrap(), None);
        note.save(Left::AtWork).unwrap();
        forget_closed(&town).unwrap();
        assert_eq!(note.load().unwrap(), Some(Left::AtWork));
        note.forget().unwrap();
        note.forget().unwrap();
        for junk in [
            "",
            "closed",
            "closed\tsoon\n",
            "gone\t2026-01-16T10:00:00Z\n",
        ] {
            files::write(&note.0, junk.as_bytes()).unwrap();
            assert_eq!(note.load().unwrap(), None, "{junk}");
        }
        files::remove(&note.0).unwrap();
        std::fs::create_dir(&note.0).unwrap();
        assert!(note.load().is_err());
    }
}
