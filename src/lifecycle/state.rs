//! `daemon/lifecycle/state.json`: what a run has begun, so that the next one can finish it, and
//! what was done lately. Ours alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::request::Action;
use crate::agent::Agent;
use crate::files;

/// For how long it is known what was done.
const KNOWN: SignedDuration = SignedDuration::from_mins(10);

/// For how long it is known how often an agent was restarted a moment after its start.
pub const LOOP_WINDOW: SignedDuration = SignedDuration::from_mins(15);

/// What is about to be done to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// What.
    pub action: Action,
    /// The unit's invocation that it is done to; empty for a unit that has none. Once the unit
    /// has another one, a restart is done. Of an agent that is held already it is the last one
    /// before it is stopped.
    pub invocation: String,
    /// Whether the agent is held already, so that a start since then was somebody's wish.
    #[serde(default)]
    pub held: bool,
    /// The requests, by their names in `cur/`, with what each asks for.
    pub entries: BTreeMap<String, Action>,
}

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Begun and not finished.
    pub planned: BTreeMap<Agent, Planned>,
    /// Finished lately, and when.
    pub done: BTreeMap<Agent, (Action, Timestamp)>,
    /// When agents were restarted a moment after their start.
    pub short: BTreeMap<Agent, Vec<Timestamp>>,
    /// Mails whose requests are finished; they may be in the inbox still.
    pub mails: BTreeSet<String>,
    #[serde(skip)]
    path: PathBuf,
}

impl State {
    /// Reads the file, for those who only look.
    ///
    /// # Errors
    /// It cannot be read, or is broken.
    pub fn read(path: &Path) -> Result<State> {
        let text = files::read(path)?.unwrap_or_else(|| "{}".into());
        Ok(serde_json::from_str(&text)?)
    }

    /// Reads the file for a run. A broken one is put aside: it costs the knowledge of a run that was cut
    /// off, and every request is still judged by its time.
    ///
    /// # Errors
    /// The file cannot be read or put aside.
    pub fn load(path: &Path) -> Result<State> {
        let aside = path.with_extension("json.broken");
        let parse = |text: &str| Ok(serde_json::from_str::<State>(text)?);
        let mut state = files::read_own(path, &aside, parse)?;
        state.path = path.to_path_buf();
        Ok(state)
    }

    /// When the agent was restarted a moment after its start, within [`LOOP_WINDOW`].
    pub fn short_lives(&mut self, agent: &Agent, now: Timestamp) -> &mut Vec<Timestamp> {
        let times = self.short.entry(agent.clone()).or_default();
        times.retain(|at| now.duration_since(*at).abs() < LOOP_WINDOW);
        times
    }

    /// Forgets what is planned for requests that are gone; `there` has those in `cur/`. A run that
    /// was killed after it had done them has left such plans. Tells whether there were any.
    pub fn forget_gone(&mut self, there: &[String]) -> bool {
        let count = |state: &State| {
            state
                .planned
                .values()
                .map(|p| p.entries.len())
                .sum::<usize>()
        };
        let before = count(self);
        self.planned.retain(|_, planned| {
            planned.entries.retain(|name, _| there.contains(name));
            !planned.entries.is_empty()
        });
        count(self) < before
    }

    /// Writes the file, without what is too long ago.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&mut self, now: Timestamp) -> Result<()> {
        self.done
            .retain(|_, (_, at)| now.duration_since(*at) < KNOWN);
        self.short.retain(|_, times| {
            times
                .iter()
                .any(|at| now.duration_since(*at).abs() < LOOP_WINDOW)
        });
        files::write(&self.path, &serde_json::to_vec(self)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_the_old_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        let mut state = State::load(&path).unwrap();
        let now: Timestamp = "2026-01-16T12:00:00Z".parse().unwrap();
        let planned = Planned {
            action: Action::Cycle,
            invocation: "0123".into(),
            held: false,
            entries: [("a.json".to_string(), Action::Cycle)].into(),
        };
        state.planned.insert(Agent::deacon(), planned.clone());
        state.done.insert(Agent::deacon(), (Action::Restart, now));
        state
            .done
            .insert(Agent::mayor(), (Action::Restart, now - KNOWN));
        state.mails.insert("m1".into());
        state.save(now).unwrap();
        let state = State::load(&path).unwrap();
        assert_eq!(state.planned[&Agent::deacon()], planned);
        assert_eq!(state.done.keys().collect::<Vec<_>>(), [&Agent::deacon()]);
        assert!(state.mails.contains("m1"));

        let mut gone = State::load(&path).unwrap();
        assert!(!gone.forget_gone(&["b.json".into(), "a.json".into()]));
        assert!(gone.forget_gone(&["b.json".into()]) && gone.planned.is_empty());

        std::fs::write(&path, "{\"planned\":7}").unwrap();
        assert!(State::load(&path).unwrap().planned.is_empty());
        assert!(dir.path().join("state.json.broken").exists());
    }
}
