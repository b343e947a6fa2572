//! `daemon/supervisor.json`: what one tick tells the next. Ours alone, one file, versioned. It
//! can be lost at any time: all that matters is read back from the manager.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::agent::Agent;
use crate::files;
use crate::terminal;
use crate::town::state::State;
use crate::town::{Town, json};

/// The file, below the town's root.
pub const FILE: &str = "daemon/supervisor.json";

/// The version that is written. Files of older versions load: every key has a default.
const VERSION: u32 = 1;

/// Expensive things are done at most this often when files keep changing.
const FULL: SignedDuration = SignedDuration::from_mins(1);

/// The bookkeeping.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// The version of the format.
    pub version: u32,
    /// The clocks at the last tick.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clocks: Option<Clocks>,
    /// When the last tick was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticked: Option<Timestamp>,
    /// How many ticks were complete. In `daemon/state.json` too, which a Go daemon starts anew.
    #[serde(skip_serializing_if = "is_default")]
    pub ticks: i64,
    /// Since when they have been counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted_since: Option<Timestamp>,
    /// When a tick last did the expensive things, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full: Option<Timestamp>,
    /// When the next tick is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Due>,
    /// The watched files, as the last tick read them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stamps: Vec<String>,
    /// When the machine last woke up, or its clock was last set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub woke: Option<Timestamp>,
    /// When somebody last did something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activity: Option<Timestamp>,
    /// How many times in a row `bd` gave no usable answer.
    pub bd_failures: u32,
    /// How many times in a row `tmux` gave none.
    #[serde(skip_serializing_if = "is_default")]
    pub tmux_failures: u32,
    /// Agents that died together and are not all back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mass_death: Vec<Agent>,
    /// Polecats that are down with work on their hooks, as `bd` last had it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hooks: BTreeMap<Agent, Hook>,
    /// What is kept of each agent.
    pub agents: BTreeMap<Agent, Record>,
}

/// The next tick.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// When.
    pub at: Timestamp,
    /// New activity brings it forward.
    pub wake: bool,
}

/// What is kept of one agent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The pokes it got.
    #[serde(skip_serializing_if = "is_default")]
    pub pokes: Pokes,
    /// Its next slow try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// It was tried as soon as it could be started again, and has not been well since.
    #[serde(skip_serializing_if = "is_default")]
    pub early: bool,
    /// When the run began that is stopped because its patrol is off. A run that began later is
    /// somebody's wish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dismissed: Option<Timestamp>,
    /// It crashed, and has not been well for a while since.
    #[serde(skip_serializing_if = "is_default")]
    pub crashed: bool,
    /// The Witness of its rig was told so.
    #[serde(skip_serializing_if = "is_default")]
    pub told: bool,
    /// How many times the manager had restarted it.
    #[serde(skip_serializing_if = "is_default")]
    pub restarts: u64,
    /// What its terminal was ready for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminal: Option<Watch>,
    /// The last disagreement between its screen and its reports that is in the journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disagreement: Option<String>,
}

/// The state of a terminal, over time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// What it was ready for at the last look.
    #[serde(flatten)]
    pub state: terminal::State,
    /// Since when.
    pub since: Timestamp,
    /// The last look showed another state, which a second one has to confirm.
    #[serde(default, skip_serializing_if = "is_default")]
    pub doubted: bool,
}

/// Work on the hook of a polecat that is down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// The issue.
    pub issue: String,
    /// When it was first seen there while the polecat was down, or the polecat was last seen to run.
    pub since: Timestamp,
    /// When the polecat was started for it, unless it has run again since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
}

/// Pokes since the last sign of life.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pokes {
    /// How many since the last heartbeat; it makes the spacing grow.
    pub count: u32,
    /// How many since anything changed on the screen.
    pub unanswered: u32,
    /// The last one. Kept when the counts begin anew: no poke comes too soon after another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// What the screen showed before the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub screen: Option<Shown>,
    /// The CPU time that the agent had used before the last one, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u64>,
    /// The number of the last one's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tip: Option<usize>,
    /// Why the next one, which is due, is not typed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
}

/// A screen, to tell whether it has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shown {
    /// A hash of its last lines, pokes taken out.
    pub hash: String,
    /// The line of the cursor, counted from the first ever shown.
    pub position: u64,
    /// The column of the cursor.
    pub column: usize,
}

/// Slow tries of an agent that gave up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// How many there have been.
    pub count: u32,
    /// When the next one is due.
    pub at: Timestamp,
}

/// The clocks, to tell a suspend or a set clock from passing time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocks {
    /// The kernel's id of this boot.
    pub boot_id: String,
    /// CLOCK_MONOTONIC in milliseconds; it stops in suspend.
    pub monotonic: i64,
    /// CLOCK_BOOTTIME in milliseconds; it does not.
    pub boottime: i64,
    /// CLOCK_REALTIME; people and servers set it.
    pub realtime: Timestamp,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Memory {
    /// The bookkeeping, for those who only look; a broken file counts as none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(town: &Town) -> Result<Memory> {
        let read = files::look_at_own(&town.path(FILE), json::parse)?;
        Ok(read.unwrap_or_default())
    }

    /// The bookkeeping, for a tick; a broken file is put aside as `supervisor.json.bad`.
    ///
    /// # Errors
    /// The file cannot be read, or not be put aside.
    pub fn load(town: &Town) -> Result<Memory> {
        let aside = town.path(&format!("{FILE}.bad"));
        files::read_own(&town.path(FILE), &aside, json::parse)
    }

    /// Writes the bookkeeping.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&mut self, town: &Town) -> Result<()> {
        self.version = VERSION;
        let mut text = serde_json::to_vec_pretty(self).context("Failed to write bookkeeping")?;
        text.push(b'\n');
        files::write(&town.path(FILE), &text)
    }

    /// When the expensive things may be done again; `None`: now.
    pub fn full_due(&self) -> Option<Timestamp> {
        let full = self.full?;
        // One in the future is from before the clock was set.
        let since = self.ticked.is_none_or(|ticked| full <= ticked);
        full.checked_add(FULL).ok().filter(|_| since)
    }

    /// Counts a complete tick. If we have no count yet, that in the file for `gt` is taken over; a Go
    /// daemon that ran since then has put its own count there, without the time since when it counts.
    pub fn count(&mut self, state: &mut State, now: Timestamp) {
        if self.ticks == 0 {
            self.ticks = state.heartbeat_count.max(0);
            self.counted_since = state.counted_since;
        }
        if self.ticks == 0 {
            self.counted_since = Some(now);
        }
        self.ticks = self.ticks.saturating_add(1);
        state.heartbeat_count = self.ticks;
        state.counted_since = self.counted_since;
    }

    /// The record of an agent, made if need be.
    pub fn record(&mut self, agent: &Agent) -> &mut Record {
        self.agents.entry(agent.clone()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_go_daemon_does_not_lose_the_count() {
        let at = |second: i64| Timestamp::from_second(1_768_557_600 + second).unwrap();
        let counts = |memory: &mut Memory, count, since, now| {
            let mut state = State::default();
            (state.heartbeat_count, state.counted_since) = (count, since);
            memory.count(&mut state, now);
            assert_eq!(
                (state.heartbeat_count, state.counted_since),
                (memory.ticks, memory.counted_since)
            );
            (state.heartbeat_count, state.counted_since)
        };
        let mut memory = Memory::default();
        assert_eq!(counts(&mut memory, 0, None, at(0)), (1, Some(at(0))));
        assert_eq!(counts(&mut memory, 1, Some(at(0)), at(1)), (2, Some(at(0))));
        // Its first state, and one after it ran for a while.
        assert_eq!(counts(&mut memory, 0, None, at(2)), (3, Some(at(0))));
        assert_eq!(counts(&mut memory, 70, None, at(3)), (4, Some(at(0))));
        // A town that an earlier version of ours has counted in.
        let mut memory = Memory::default();
        assert_eq!(
            counts(&mut memory, 9, Some(at(0)), at(4)),
            (10, Some(at(0)))
        );
        // A lost memory, and a number that is none.
        let mut memory = Memory::default();
        assert_eq!(counts(&mut memory, -7, None, at(5)), (1, Some(at(5))));
    }

    #[test]
    fn every_version_loads_and_junk_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let town = Town::at(dir.path(), None).unwrap();
        let write = |text: &str| files::write(&town.path(FILE), text.as_bytes()).unwrap();
        for text in [
            "{}",
            r#"{"version":0,"agents":{"deacon":{"more":1}}}"#,
            r#"{"version":1,"agents":{"gastown/witness":{"restarts":3,
                "retry":{"count":2,"at":"2026-01-16T10:00:00Z"},"stopped":"parked"}}}"#,
            r#"{"version":1,"hooks":{"a/polecats/nux":{"issue":"gt-1",
                "since":"2026-01-16T10:00:00Z","tried":true}}}"#,
            r#"{"version":7,"of_later":true}"#,
        ] {
            write(text);
            Memory::load(&town).unwrap();
            assert!(town.path(FILE).exists(), "{text}");
        }
        for text in ["", "[]", "null", r#"{"agents":{"../x":{}}}"#, "\u{0}"] {
            write(text);
            assert_eq!(Memory::read(&town).unwrap(), Memory::default(), "{text}");
            assert!(town.path(FILE).exists(), "{text}");
            let mut memory = Memory::load(&town).unwrap();
            assert_eq!(memory, Memory::default(), "{text}");
            memory.record(&Agent::deacon()).restarts = 4;
            memory.save(&town).unwrap();
            assert_eq!(Memory::read(&town).unwrap(), memory);
            let bad = std::fs::read_to_string(town.path("daemon/supervisor.json.bad"));
            assert_eq!(bad.unwrap(), text);
        }
    }
}
