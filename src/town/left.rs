//! `daemon/agents/<instance>`: what `gt-agent` last noted of an agent, for the ticks after the
//! agent's end: systemd forgets a unit that is down and has not failed.
//!
//! One line: the word, a tab, the time. There is no file for an agent that ended for good.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Town, marks};
use crate::agent::{Agent, Role};
use crate::files;

/// The directory, below the town's root.
pub const DIR: &str = "daemon/agents";

/// How many notes are looked at, at most.
const NOTES: usize = 10_000;

/// What was noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Left {
    /// An agent that no patrol wants (a polecat, or crew that somebody started) has begun its work
    /// and not ended it.
    AtWork,
    /// The agent ended with status 75 at this time: it asks to be left alone for a while.
    Waiting(Timestamp),
    /// Somebody closed the agent's session at this time.
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

    /// The note; `None`: there is none, or its text is not one that we write.
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

/// The agents that have a note.
///
/// # Errors
/// The notes cannot be listed: see [`Town::problems`].
pub fn noted(town: &Town) -> Result<Vec<Agent>> {
    let names = files::names(&town.path(DIR), NOTES)?.into_iter();
    let names = names.filter_map(|name| name.into_string().ok());
    Ok(names
        .filter_map(|name| Agent::from_instance(&name).ok())
        .collect())
}

/// Forgets which sessions were closed: who brings the town up wants their agents too.
///
/// # Errors
/// The notes cannot be listed, or one cannot be removed.
pub fn forget_closed(town: &Town) -> Result<()> {
    for agent in noted(town)? {
        let note = Note::of(town, &agent);
        if matches!(note.load(), Ok(Some(Left::Closed(_)))) {
            note.forget()?;
        }
    }
    Ok(())
}

/// Removes the notes and holds of crew and polecats that are down and whose directory is gone: they
/// must not count for a new worker of the same name.
///
/// # Errors
/// A directory cannot be listed, or a note or hold cannot be removed.
pub fn forget_gone(town: &Town, is_down: impl Fn(&Agent) -> bool) -> Result<()> {
    for dir in [DIR, marks::HELD].map(|dir| town.path(dir)) {
        for name in files::names(&dir, NOTES)? {
            let agent = name.to_str().map(Agent::from_instance);
            let is_gone = |agent: Agent| is_down(&agent) && is_gone(town, &agent);
            if agent.is_some_and(|agent| agent.is_ok_and(is_gone)) {
                files::remove(&dir.join(&name))?;
            }
        }
    }
    Ok(())
}

/// Whether the directory of a crew member or polecat is certainly gone. It is not certain when the
/// rig's whole `crew` or `polecats` directory is missing too: a disk may not be mounted.
fn is_gone(town: &Town, agent: &Agent) -> bool {
    let (Some(rig), Some(name), true) = (agent.rig(), agent.name(), agent.role().is_worker())
    else {
        return false;
    };
    let kind = match agent.role() {
        Role::Crew => "crew",
        _ => "polecats",
    };
    let all = town.path(rig).join(kind);
    let is_dir = |dir: &Path| files::is_dir(dir).ok();
    is_dir(&all) == Some(true) && is_dir(&all.join(name)) == Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_that_cannot_be_listed_are_a_problem() {
        let (_dir, town) = crate::town::tests::town_with(1, &[]);
        let is_told = || town.problems().iter().any(|told| told.contains("at work"));
        assert_eq!((noted(&town).unwrap().len(), is_told()), (0, false));
        let dir = town.path(DIR);
        std::fs::create_dir_all(dir.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&dir, &dir).unwrap();
        assert!(noted(&town).is_err() && forget_closed(&town).is_err() && is_told());
    }

    #[test]
    fn notes_of_those_who_are_gone_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let town = Town::at(dir.path(), None).unwrap();
        let notes = [
            ("a/polecats/nux", false),
            ("a/polecats/gone", true),
            ("a/crew/max", true),
            // Of a disk that is not there, and no worker's.
            ("b/polecats/nux", false),
            ("a/witness", false),
        ]
        .map(|(agent, is_gone)| (Note::of(&town, &Agent::parse(agent).unwrap()), is_gone));
        for (note, _) in &notes {
            note.save(Left::AtWork).unwrap();
        }
        for dir in ["a/polecats/nux", "a/crew", "b"] {
            std::fs::create_dir_all(town.path(dir)).unwrap();
        }
        let held = ["a/polecats/nux", "a/polecats/gone"].map(|agent| Agent::parse(agent).unwrap());
        for agent in &held {
            marks::hold(&town, agent, "x", Timestamp::now()).unwrap();
        }
        forget_gone(&town, |_| false).unwrap();
        assert!(notes.iter().all(|(note, _)| note.load().unwrap().is_some()));
        forget_gone(&town, |_| true).unwrap();
        let held = held.map(|agent| marks::held(&town, &agent).unwrap().is_some());
        assert_eq!(held, [true, false]);
        for (note, is_gone) in notes {
            assert_eq!(note.load().unwrap().is_none(), is_gone, "{note:?}");
        }
    }

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
